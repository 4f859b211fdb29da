/**
 * Runs `nixos-anywhere` from PATH, one phase at a time. By itself it accepts any host key, tries a refused login for ever and waits for
 * ever in three places; here every ssh that it starts checks the pinned key, and every phase has an end.
 */

import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { LandfallError } from '../../errors.ts'
import type { Target } from '../ports/machine.ts'
import type { InstallPhase, NixosAnywhere, PhaseRun, SeedFiles } from '../ports/nixos-anywhere.ts'
import { quoteForSh } from '../ssh/quote.ts'
import { runChild } from './processes.ts'

export interface NixosAnywhereOptions {
  /** The estate's directory; what a phase needs on disk lies below it, for its owner only, and is gone with its end. */
  readonly directory: string
  /** The private key to log in with; without one the agent's are offered, and nixos-anywhere adds one of its own for the installation. */
  readonly identityFile?: string
  /** Public lines of the agent's keys to log in with; its others are not offered then. */
  readonly agentKeys?: readonly string[]
  /** What the child sees of our environment; no token is among it. */
  readonly variables: Readonly<Record<string, string>>
  /** Stands in for nixos-anywhere, and for the Nix and ssh that it needs. */
  readonly command?: string
  readonly deadlinesMs?: Readonly<Record<InstallPhase, number>>
  /** Between the word to end and the end. */
  readonly graceMs?: number
}

const MINUTE_MS = 60_000
/** The phases download, build and format; `reboot` ends when the machine is gone, which the caller waits on from there. */
const DEADLINES_MS: Readonly<Record<InstallPhase, number>> = {
  kexec: 10 * MINUTE_MS,
  disko: 10 * MINUTE_MS,
  install: 45 * MINUTE_MS,
  reboot: 10 * MINUTE_MS,
}
const GRACE_MS = 5_000
const LINES_KEPT = 4
const NEEDED = ['nixos-anywhere', 'nix', 'ssh', 'ssh-copy-id', 'ssh-keygen'] as const
const WORK_PREFIX = 'install-'

const INSTALL_HINT =
  'Enter the shell of this project, which has all of it but Bun: nix develop  (Nix: https://nixos.org/download; nixos-anywhere alone: ' +
  'nix profile install nixpkgs#nixos-anywhere)'

export function createNixosAnywhere(options: NixosAnywhereOptions): NixosAnywhere {
  const { command, deadlinesMs = DEADLINES_MS, graceMs = GRACE_MS } = options
  const path = options.variables.PATH ?? ''
  const base = resolve(options.directory)
  let swept = false

  /** A directory of its own: phases of several servers run side by side. */
  const makeWork = (): string => {
    mkdirSync(base, { recursive: true, mode: 0o700 })
    // What a killed run left goes once, before there is one of ours: a key may lie in it.
    if (!swept)
      for (const name of readdirSync(base))
        if (name.startsWith(WORK_PREFIX)) rmSync(join(base, name), { recursive: true, force: true })
    swept = true
    return mkdtempSync(join(base, WORK_PREFIX))
  }

  const look: NixosAnywhere['look'] = async () => {
    const missing = command === undefined ? NEEDED.filter(name => findProgram(name, path) === undefined) : []
    return missing.length === 0
      ? { state: 'ready' }
      : {
          state: 'missing',
          why: `NixOS is installed from this machine, and ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not installed here.`,
          hint: INSTALL_HINT,
        }
  }

  return {
    look,

    async run(run) {
      const ready = await look()
      if (ready.state === 'missing') throw new LandfallError('config', ready.why, { hint: ready.hint })
      const work = makeWork()
      try {
        const said: string[] = []
        const { exitCode, stopped } = await runChild({
          words: wordsOf(run, options, work),
          directory: run.flake,
          env: environmentOf(run, options, work),
          timeoutMs: deadlinesMs[run.phase],
          graceMs,
          signal: run.signal,
          onLine: line => {
            const text = line.trim()
            if (text === '') return
            said.push(text)
            run.onLine(text)
          },
        })
        if (exitCode === 0 && stopped === undefined) return
        throw failure(run, { exitCode, stopped, said, deadlineMs: deadlinesMs[run.phase] })
      } finally {
        rmSync(work, { recursive: true, force: true })
      }
    },
  }
}

function wordsOf(run: PhaseRun, { command, identityFile }: NixosAnywhereOptions, work: string): readonly [string, ...string[]] {
  const { target, phase } = run
  const files = phase === 'install' && Object.keys(run.files).length > 0 ? ['--extra-files', writeFiles(run.files, work)] : []
  return [
    command ?? 'nixos-anywhere',
    ...['--flake', `${run.flake}#${run.system}`],
    ...['--target-host', `${target.user}@${target.address}`],
    ...['--ssh-port', String(target.port)],
    ...['--post-kexec-ssh-port', String(target.port)],
    ...(identityFile === undefined ? [] : ['-i', resolve(identityFile)]),
    ...(run.lowMemory ? ['--no-disko-deps'] : []),
    ...files,
    ...['--phases', phase],
  ]
}

/** The files as a tree with their modes; directories that only root reads in the new system are made so here. */
function writeFiles(files: SeedFiles, work: string): string {
  const root = join(work, 'files')
  mkdirSync(root, { mode: 0o755 })
  for (const [name, { content, mode }] of Object.entries(files)) {
    const path = join(root, name)
    if (!path.startsWith(`${root}/`)) throw new Error(`bug: ${JSON.stringify(name)} leads out of the new system`)
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
    writeFileSync(path, typeof content === 'string' ? content : content.reveal(), { mode })
    chmodSync(path, mode)
    if (name.startsWith('var/lib/landfall/')) chmodSync(dirname(path), 0o700)
  }
  return root
}

function environmentOf({ target }: PhaseRun, { variables, command, agentKeys = [] }: NixosAnywhereOptions, work: string) {
  const path = variables.PATH ?? ''
  const env = { ...variables, TMPDIR: work }
  if (command !== undefined) return env
  const shims = join(work, 'bin')
  mkdirSync(shims, { mode: 0o700 })
  const pins = join(work, 'known_hosts')
  writeFileSync(pins, `${target.hostKeyAlias} ${target.hostKey}\n`, { mode: 0o600 })
  const ssh = findProgram('ssh', path) ?? 'ssh'
  // nixos-anywhere switches the check of host keys off on its command lines; ssh takes the first word that it is given.
  const checks = ['StrictHostKeyChecking=yes', `UserKnownHostsFile=${pins}`, 'GlobalKnownHostsFile=/dev/null']
  const settings = [
    ...checks,
    `HostKeyAlias=${target.hostKeyAlias}`,
    'HostKeyAlgorithms=ssh-ed25519',
    'UpdateHostKeys=no',
    'BatchMode=yes',
  ]
  for (const [index, key] of agentKeys.entries()) {
    const file = join(work, `agent-key-${index}.pub`)
    writeFileSync(file, `${key}\n`, { mode: 0o600 })
    settings.push(...(index === 0 ? ['IdentitiesOnly=yes'] : []), `IdentityFile=${file}`)
  }
  const words = [ssh, ...settings.flatMap(each => ['-o', each])].map(quoteForSh).join(' ')
  writeFileSync(join(shims, 'ssh'), `#!/bin/sh\nexec ${words} "$@"\n`, { mode: 0o700 })
  return { ...env, PATH: `${shims}${delimiter}${path}` }
}

const findProgram = (name: string, path: string): string | undefined => Bun.which(name, { PATH: path }) ?? undefined

interface Ended {
  readonly exitCode: number
  readonly stopped: 'cancelled' | 'timeout' | undefined
  readonly said: readonly string[]
  readonly deadlineMs: number
}

const RESUME_HINT = 'Go on from this phase: bun scripts/provision.ts apply'

function failure({ phase, target }: { phase: InstallPhase; target: Target }, { exitCode, stopped, said, deadlineMs }: Ended) {
  const where = `${target.name} (${target.address})`
  const last = said.slice(-LINES_KEPT).join('; ')
  const hint =
    phase === 'kexec' ? `${RESUME_HINT}  (the server's console at the vendor shows why it does not start)` : RESUME_HINT
  if (stopped === 'cancelled')
    return new LandfallError('cancelled', `Interrupted in the phase ${phase} of installing NixOS on ${where}.`, {
      hint: RESUME_HINT,
    })
  if (stopped === 'timeout')
    return new LandfallError(
      'timeout',
      `The phase ${phase} of installing NixOS on ${where} did not end within ${inWords(deadlineMs)}${last ? `; its last words: ${last}` : '.'}`,
      { hint },
    )
  return new LandfallError(
    'vendor',
    `The phase ${phase} of installing NixOS on ${where} failed with exit code ${exitCode}${last ? `: ${last}` : '.'}`,
    { hint },
  )
}

const inWords = (ms: number): string => (ms >= MINUTE_MS ? `${Math.round(ms / MINUTE_MS)} minutes` : `${ms / 1_000} seconds`)
