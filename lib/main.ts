/** The composition root: the only file that touches the process, its arguments, environment, signals and exit code. */

import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readConfigFile } from './config-file.ts'
import { type Environment, readEnvironment } from './environment.ts'
import { exitCodeOf, hasCode, LandfallError } from './errors.ts'
import type { Estate } from './estate/estate.ts'
import type { Opened, Script, Session } from './script.ts'
import { knownSecrets } from './secret.ts'
import { checkSurroundings } from './surroundings.ts'
import { parseArgs, renderHelp } from './ui/args.ts'
import { createRefusingAsk, createTerminalAsk } from './ui/ask.ts'
import { renderMasks } from './ui/github.ts'
import { createRedactor } from './ui/redact.ts'
import { createReporter } from './ui/report.ts'
import type { Ask, ParsedArgs, Reporter } from './ui/types.ts'
import { adviseFor } from './view.ts'

export const VERSION = '0.1.0'
const MINIMUM_BUN = '1.4.5'
const STATE_DIRECTORY = '.landfall'

/** Runs a script as the program. Sets the exit code; returns when everything is closed. */
export async function main(script: Script): Promise<void> {
  const json = process.argv.includes('--json')
  const environment = readEnvironment(process.env)
  const clean = createRedactor(knownSecrets)
  outliveReaders(process.stdout, process.stderr)
  const reporter = createReporter({
    mode: json ? 'json' : 'human',
    color: !json && process.stdout.isTTY === true && !environment.noColor,
    width: process.stdout.columns ?? 80,
    write: text => void process.stdout.write(text),
    writeError: text => void process.stderr.write(text),
    clean,
    githubActions: environment.githubActions,
  })
  let told: Reporter = reporter
  const closers: (() => Promise<void>)[] = []
  const interrupt = listenForInterrupts(reporter)
  try {
    checkRuntime()
    // A masked value is masked only in what comes after it.
    if (environment.githubActions) for (const line of renderMasks(knownSecrets())) process.stderr.write(`${line}\n`)
    const args = parseArgs(process.argv.slice(2), script.manual)
    if (args.help) {
      process.stdout.write(renderHelp(script.manual))
      return
    }
    checkSurroundings({
      directory: process.cwd(),
      home: dirname(import.meta.dir),
      files: readdirSync('.'),
      flags: process.execArgv,
      variables: process.env,
    })
    const session = createSession(script, args, {
      environment,
      reporter,
      clean,
      signal: interrupt.signal,
      closers,
      waited: { ms: 0 },
    })
    told = session.reporter
    process.exitCode = await script.run(session)
  } catch (error) {
    if (hasCode(error, 'cancelled')) told.warning(error.message)
    else told.error(error)
    process.exitCode = interrupt.signal.aborted ? 130 : exitCodeOf(error)
  } finally {
    for (const close of closers.reverse()) await close()
    interrupt.end()
  }
}

interface SessionParts {
  readonly environment: Environment
  readonly reporter: Reporter
  readonly clean: (text: string) => string
  readonly signal: AbortSignal
  readonly closers: (() => Promise<void>)[]
  /** How long questions have waited for their answers. */
  readonly waited: { ms: number }
}

function createSession(script: Script, args: ParsedArgs, parts: SessionParts): Session {
  const { environment, clean, signal, closers } = parts
  const reporter = adviseFor(parts.reporter, args)
  const hasTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true
  const interactive = hasTerminal && !args.yes && !args.json && !environment.ci
  const ask: Ask = interactive ? createTerminalAsk(signal, {}, ms => (parts.waited.ms += ms)) : createRefusingAsk()
  let opened: Promise<Opened> | undefined
  const session: Session = {
    manual: script.manual,
    args,
    ask,
    reporter,
    environment,
    interactive,
    ...(hasTerminal && !args.json ? { terminal: process.stdout } : {}),
    signal,
    clean,
    version: VERSION,
    reveal(label, value) {
      const text = args.json ? JSON.stringify({ type: 'log', label, value: value.reveal() }) : `${label}: ${value.reveal()}`
      process.stdout.write(`${text}
`)
    },
    elapsedMs: () => performance.now() - parts.waited.ms,
    open() {
      opened ??= openEstate(session, closers, args.plan || script.looksOnly?.(args) === true)
      return opened
    },
    with: change => createSession(script, change.args ?? args, { ...parts, environment: change.environment ?? environment }),
  }
  return session
}

async function openEstate(session: Session, closers: (() => Promise<void>)[], looksOnly: boolean): Promise<Opened> {
  const { args, reporter, signal } = session
  const [{ parseConfig, resolveEstate }, { compose }, { findAgentKeys, findIdentities, findPublicKeys }] = await Promise.all([
    import('./estate/load.ts'),
    import('./compose.ts'),
    import('./operator-keys.ts'),
  ])
  const config = parseConfig(readConfigFile(args.config), args.config)
  const draft = resolveEstate(config, { publicKeys: [] })

  let environment = session.environment
  let rehearsed: Pick<Opened, 'simulated' | 'machines'> = { simulated: [] }
  if (args.sandbox !== undefined) {
    const { startRehearsal } = await import('./rehearsal.ts')
    const rehearsal = await startRehearsal(args.sandbox, STATE_DIRECTORY, {
      zones: draft.dns ? [draft.dns.zone] : [],
      ...(draft.migration ? { migration: draft.migration } : {}),
    })
    closers.push(rehearsal.close)
    rehearsed = { simulated: rehearsal.simulated, machines: rehearsal.machines }
    environment = readEnvironment({ ...process.env, ...rehearsal.variables })
  }
  const directory = join(STATE_DIRECTORY, ...(args.sandbox === undefined ? [] : ['sandbox']), draft.name)
  const held = await findAgentKeys(environment)
  const publicKeys = await findPublicKeys({ environment, directory, looksOnly, named: linesOf(draft), held })
  const estate = resolveEstate(config, { publicKeys })
  const composition = await compose({
    estate,
    environment,
    identities: findIdentities({ environment, directory, named: linesOf(estate), held }),
    directory,
    signal,
    log: line => reporter.log(line),
    configPath: args.config,
    takeOver: namesOf(args, 'take-over').map(name => name.toLowerCase()),
    reinstall: namesOf(args, 'reinstall'),
    lowMemory: args.flags['low-memory'] === true,
  })
  closers.push(composition.close)
  return { estate, composition, directory, ...rehearsed, configPath: args.config }
}

const linesOf = ({ keys }: Estate): readonly string[] => keys.map(key => key.publicKey)

const namesOf = (args: ParsedArgs, flag: string): readonly string[] => {
  const names = args.flags[flag]
  return names === undefined || names === true ? [] : names
}

function checkRuntime(): void {
  if (typeof Bun === 'undefined' || Bun.semver.order(Bun.version, MINIMUM_BUN) < 0)
    throw new LandfallError('usage', `Landfall needs Bun ${MINIMUM_BUN} or newer: older ones may send a request twice.`, {
      hint: `Run it with the right one: npx --yes bun@${MINIMUM_BUN} scripts/setup.ts`,
    })
}

/** Whoever reads the output may have enough of it (`| head`); the run goes on to its end, and its exit code says how it went. */
function outliveReaders(...streams: readonly NodeJS.WriteStream[]): void {
  for (const stream of streams)
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
    })
}

/** The first interrupt asks everything to come to an end; the second ends the process at once. */
function listenForInterrupts(reporter: Reporter): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController()
  const onSignal = () => {
    if (controller.signal.aborted) {
      // The task list hides the cursor while it draws.
      if (process.stdout.isTTY) process.stdout.write('\x1b[?25h')
      process.exit(130)
    }
    controller.abort()
    reporter.warning('Interrupted: letting the current calls end. Press Ctrl-C again to stop at once.')
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return {
    signal: controller.signal,
    /** Nothing is listened for any more, and nothing waits any longer for what nobody will read: it would keep the process. */
    end() {
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
      controller.abort()
    },
  }
}
