/**
 * Runs the real `packer` from PATH. It creates a server that costs money until it has deleted it again, so it is never killed while
 * it can still clean up: it runs in a process group of its own, which an interrupt at the terminal does not reach, and is told once.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { Packer, PackerBuild } from '../ports/packer.ts'
import { declaredVariables, isAtLeast, type PackerEvent, parseLine } from './output.ts'

export interface PackerOptions {
  readonly token: Secret
  readonly endpoint?: string
  /** What a child may see of our environment; only names of `MAY_SEE` and `PACKER_…` are passed on. */
  readonly variables: Readonly<Record<string, string>>
  /** For the whole build: what it calls, nixos-anywhere, waits for ever. */
  readonly timeoutMs?: number
  /** How long the clean-up may take after an interrupt. */
  readonly cleanupMs?: number
}

const MAY_SEE = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'SSL_CERT_FILE', 'NIX_PATH', 'NIX_REMOTE', 'NIX_SSL_CERT_FILE']
const BUILD_TIMEOUT_MS = 90 * 60_000
const CLEANUP_TIMEOUT_MS = 10 * 60_000
const SHORT_TIMEOUT_MS = 5 * 60_000
/** Older ones have the hcloud builder compiled in and refuse a template that asks for plugins. */
const PLUGINS_SINCE = { major: 1, minor: 7 }
const PLUGINS_FILE = 'plugins.pkr.hcl'
const ERRORS_KEPT = 5

const SWEEP_HINT = 'Look for what it left: bun scripts/image.ts sweep'

export function createPacker(options: PackerOptions): Packer {
  const { token, timeoutMs = BUILD_TIMEOUT_MS, cleanupMs = CLEANUP_TIMEOUT_MS } = options
  const env = environmentOf(options)
  const redact = (text: string): string => text.replaceAll(token.reveal(), token.toString())

  /** Runs one command of Packer's; `events` is told everything it says. */
  const run = async (words: readonly string[], given: RunOptions): Promise<Outcome> => {
    if (given.signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
    const child = spawn('packer', ['-machine-readable', ...words], {
      cwd: given.workingDirectory,
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const errors: string[] = []
    let stopped: 'cancelled' | 'timeout' | undefined
    let killed = false
    const stop = (why: 'cancelled' | 'timeout') => {
      if (stopped) return
      stopped = why
      signalGroup(child, 'SIGINT')
      killTimer = setTimeout(() => {
        killed = true
        signalGroup(child, 'SIGKILL')
      }, cleanupMs)
    }
    let killTimer: ReturnType<typeof setTimeout> | undefined
    const timer = setTimeout(() => stop('timeout'), given.timeoutMs)
    const onAbort = () => {
      given.events({ kind: 'progress', text: 'interrupted: Packer is cleaning up' })
      stop('cancelled')
    }
    given.signal.addEventListener('abort', onAbort, { once: true })
    try {
      const reading = Promise.all([
        readLines(child.stdout, line => {
          const event = parseLine(redact(line))
          if (event?.kind === 'error') errors.push(...event.text.split('\n').filter(each => each.trim() !== ''))
          if (event) given.events(event)
        }),
        readLines(child.stderr, line => errors.push(redact(line))),
      ])
      const exitCode = await exitOf(child)
      await reading
      return { exitCode, errors, ...(stopped ? { stopped } : {}), killed }
    } finally {
      clearTimeout(timer)
      clearTimeout(killTimer)
      given.signal.removeEventListener('abort', onAbort)
    }
  }

  const readVersion = async (build: PackerBuild): Promise<string> => {
    let version = ''
    const outcome = await run(['version'], {
      ...build,
      timeoutMs: SHORT_TIMEOUT_MS,
      events: event => {
        if (event.kind === 'version') version = event.version
      },
    })
    if (outcome.exitCode === 0 && version !== '') return version
    throw failed('tell its version', outcome)
  }

  return {
    async build(build) {
      const version = await readVersion(build)
      const takesPlugins = isAtLeast(version, PLUGINS_SINCE.major, PLUGINS_SINCE.minor)
      const template = findTemplate(build, version, takesPlugins)
      const say = (event: PackerEvent) => {
        if (event.kind === 'progress' || event.kind === 'error') for (const line of event.text.split('\n')) build.onLine(line)
      }
      if (takesPlugins) {
        const outcome = await run(['init', template.path], { ...build, timeoutMs: SHORT_TIMEOUT_MS, events: say })
        if (outcome.exitCode !== 0 || outcome.stopped) throw failed('load its plugins', outcome)
      }
      let snapshotId: string | undefined
      const variables = Object.entries(template.variables).flatMap(([name, value]) => ['-var', `${name}=${value}`])
      const outcome = await run(['build', '-color=false', ...variables, template.path], {
        ...build,
        timeoutMs,
        events: event => {
          if (event.kind === 'artifact') snapshotId = event.id
          else say(event)
        },
      })
      if (outcome.exitCode !== 0 || outcome.stopped) throw failed('build the image', outcome)
      return snapshotId === undefined ? {} : { snapshotId }
    },
  }
}

interface RunOptions extends Pick<PackerBuild, 'workingDirectory' | 'signal'> {
  readonly timeoutMs: number
  readonly events: (event: PackerEvent) => void
}

interface Outcome {
  readonly exitCode: number
  /** Its last words about what went wrong. */
  readonly errors: readonly string[]
  readonly stopped?: 'cancelled' | 'timeout'
  /** It did not end in time, so what it made may still be there. */
  readonly killed: boolean
}

function environmentOf({ token, endpoint, variables }: PackerOptions): Record<string, string> {
  const passed = Object.entries(variables).filter(([name]) => MAY_SEE.includes(name) || name.startsWith('PACKER_'))
  return {
    ...Object.fromEntries(passed),
    CHECKPOINT_DISABLE: '1',
    HCLOUD_TOKEN: token.reveal(),
    ...(endpoint === undefined ? {} : { HCLOUD_ENDPOINT: endpoint }),
  }
}

/** The template in the form that this version reads, and the variables that it declares. */
function findTemplate(build: PackerBuild, version: string, takesPlugins: boolean) {
  const files = readdirSync(build.directory).filter(name => name.endsWith('.pkr.hcl'))
  const own = files.filter(name => name !== PLUGINS_FILE)
  const [only, ...others] = own
  if (only === undefined) throw new LandfallError('config', `There is no Packer template in ${build.directory}.`)
  if (!takesPlugins && others.length > 0)
    throw new LandfallError(
      'config',
      `Packer ${version} reads one template file, and ${build.directory} has ${own.join(', ')}.`,
      {
        hint: 'Use Packer 1.7 or newer, or put the template into one file.',
      },
    )
  const declared = declaredVariables(own.map(name => readFileSync(join(build.directory, name), 'utf8')).join('\n'))
  const unknown = Object.keys(build.variables).filter(name => !declared.has(name))
  if (unknown.length > 0)
    throw new LandfallError('config', `The Packer template in ${build.directory} declares no variable ${unknown.join(', ')}.`, {
      hint: `It declares: ${[...declared].sort().join(', ')}.`,
    })
  const optional = Object.entries(build.optionalVariables).filter(([name]) => declared.has(name))
  return {
    path: takesPlugins ? build.directory : join(build.directory, only),
    variables: { ...Object.fromEntries(optional), ...build.variables },
  }
}

const readLines = async (stream: NodeJS.ReadableStream, onLine: (line: string) => void): Promise<void> => {
  for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) onLine(line)
}

const exitOf = (child: ChildProcess): Promise<number> =>
  new Promise((resolve, reject) => {
    child.once('error', error =>
      reject(
        new LandfallError('config', 'The program packer could not be started here.', {
          hint: 'Install Packer (https://developer.hashicorp.com/packer/install, or apt-get install packer) and run the same command again.',
          cause: error,
        }),
      ),
    )
    // A signal that ended it is nobody's exit code; the shells' convention for it.
    child.once('close', code => resolve(code ?? 128))
  })

/** To Packer and all that it started, as a terminal would. */
function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch (error) {
    // It ended by itself in the meantime.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

function failed(what: string, { exitCode, errors, stopped, killed }: Outcome): LandfallError {
  if (killed)
    return new LandfallError('ambiguous', `Packer was told to end and did not, so it was killed; it may have left a server.`, {
      hint: SWEEP_HINT,
    })
  if (stopped === 'cancelled') return new LandfallError('cancelled', 'Interrupted; Packer has cleaned up.')
  if (stopped === 'timeout')
    return new LandfallError('timeout', `Could not ${what}: Packer was not done in time and has been ended.`, {
      hint: SWEEP_HINT,
    })
  const said = errors.slice(-ERRORS_KEPT).join('; ')
  return new LandfallError('vendor', `Could not ${what}: Packer ended with exit code ${exitCode}${said ? `: ${said}` : ''}.`, {
    hint: `Its output above says what failed. ${SWEEP_HINT}`,
  })
}
