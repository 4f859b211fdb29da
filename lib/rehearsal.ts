/** The sandbox as the world of a script: started in this process, or found at a URL. The only importer of the sandbox here. */

import { rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { LandfallError } from './errors.ts'
import type { MigrationSpec } from './estate/migration.ts'
import { flagValues, hasFlag, type Session } from './script.ts'

export interface Rehearsal {
  /** Variables that replace the process's own. */
  readonly variables: Readonly<Record<string, string>>
  readonly simulated: readonly string[]
  readonly machines: MachineKind
  close(): Promise<void>
}

const STAND_INS =
  'Hetzner, DigitalOcean, Cloudflare, DNS, the certificate authority and Dokploy are stand-ins on this machine; nothing was bought or published.'
const NO_NIXOS =
  'No image is built and no NixOS boots: Packer, Nix, nixos-anywhere and the repositories of services are left out or stand-ins.'

const SIMULATED = {
  simulated: [
    STAND_INS,
    'The machines are simulated: their SSH, HTTP and TLS are real protocols, what runs behind them is not.',
    NO_NIXOS,
  ],
  container: [
    STAND_INS,
    'The machines are containers with a real system; the images of Dokploy, Postgres and Traefik in them are stand-ins.',
    NO_NIXOS,
  ],
} as const
type MachineKind = keyof typeof SIMULATED

const oldHostSays = (name: string) =>
  `${name === 'the old host' ? 'The old host' : name}, which the names move away from, is a stand-in too.`

export interface RehearsedEstate {
  readonly zones: readonly string[]
  readonly migration?: Pick<MigrationSpec, 'names' | 'oldHost'>
}

/** Files of the sandbox's world, removed for a fresh one. */
const FILES = ['sandbox.sqlite', 'sandbox.sqlite-wal', 'sandbox.sqlite-shm', 'sandbox-ca.pem']

/** @throws LandfallError locked when another process runs this sandbox, network when nothing answers at the URL */
export async function startRehearsal(
  how: 'kept' | 'fresh' | { readonly url: string },
  stateDirectory: string,
  { zones, migration }: RehearsedEstate,
): Promise<Rehearsal> {
  const oldHost = migration && {
    names: migration.names.map(({ name, kind }) => ({ name, kind })),
    domains: migration.oldHost.domains,
    headers: migration.oldHost.headers,
  }
  const told = (kind: MachineKind) => (migration ? [...SIMULATED[kind], oldHostSays(migration.oldHost.name)] : SIMULATED[kind])
  if (typeof how === 'object') {
    const { LANDFALL_MACHINES: kind, ...variables } = await joinSandbox(how.url)
    // The zone may be one that the running sandbox does not have; then the names have no former place either.
    if (oldHost) await fetch(new URL('/_sandbox/old-host', how.url), { method: 'POST', body: JSON.stringify(oldHost) })
    const machines = kind === 'container' ? kind : 'simulated'
    return { variables, machines, simulated: told(machines), close: async () => {} }
  }
  if (how === 'fresh') for (const file of FILES) rmSync(join(stateDirectory, file), { force: true })
  const { startSandbox } = await import('./sandbox/sandbox.ts')
  const sandbox = await startSandbox({ path: join(stateDirectory, 'sandbox.sqlite'), seed: { zones, goldenImage: true } })
  if (oldHost) await sandbox.openOldHost(oldHost)
  return { variables: sandbox.environment, machines: 'simulated', simulated: told('simulated'), close: () => sandbox.close() }
}

async function joinSandbox(url: string): Promise<Rehearsal['variables']> {
  const hint = 'Start one in another terminal: bun scripts/sandbox.ts  (it prints its URL)'
  if (!/^http:\/\/(127\.0\.0\.1|localhost|\[::1\]):\d+\/?$/.test(url))
    throw new LandfallError('usage', `"${url}" is not a sandbox on this machine: a URL like http://127.0.0.1:4000 is wanted.`, {
      hint,
    })
  let answer: Response
  try {
    answer = await fetch(new URL('/_sandbox/environment', url), { signal: AbortSignal.timeout(5_000) })
  } catch (error) {
    throw new LandfallError('network', `No sandbox answers at ${url}.`, { hint, cause: error })
  }
  if (!answer.ok) throw new LandfallError('network', `What answers at ${url} is not a sandbox (HTTP ${answer.status}).`, { hint })
  return (await answer.json()) as Record<string, string>
}

const parseMachines = (word: string): MachineKind => {
  if (word === 'simulated' || word === 'container') return word
  throw new LandfallError('usage', `--machines wants simulated or container, not "${word}".`, {
    hint: 'bun scripts/sandbox.ts --help',
  })
}

const FAST = { actionMs: { create_server: 50, start_server: 20, other: 20 }, bootMs: 50, dokployStartMs: 100 } as const

/** Runs a sandbox until the operator interrupts; prints how other clients reach it. Answers with the exit code. */
export async function serveRehearsal(session: Session): Promise<number> {
  const { startSandbox } = await import('./sandbox/sandbox.ts')
  const zones = flagValues(session, 'zone')
  const latencyMs = Number(flagValues(session, 'latency-ms')[0] ?? 0)
  if (!Number.isFinite(latencyMs) || latencyMs < 0 || latencyMs > 60_000)
    throw new LandfallError('usage', '--latency-ms wants milliseconds between 0 and 60000.', {
      hint: 'bun scripts/sandbox.ts --help',
    })
  const kind = parseMachines(flagValues(session, 'machines')[0] ?? 'simulated')
  const machinesDirectory = resolve(session.environment.lookup('LANDFALL_MACHINES_DIR') ?? join('.landfall', 'machines'))
  const sandbox = await startSandbox({
    ...(kind === 'container' ? { machines: { kind, directory: machinesDirectory } } : {}),
    ...(hasFlag(session, 'memory') ? {} : { path: join('.landfall', 'sandbox.sqlite') }),
    seed: { zones: zones.length > 0 ? zones : ['example.com'], goldenImage: true },
    settings: { latencyMs, ...(hasFlag(session, 'fast') ? FAST : {}) },
  })
  try {
    const exports = Object.entries(sandbox.environment).map(([name, value]) => `export ${name}=${value}`)
    session.reporter.page(
      [
        `The sandbox runs until Ctrl-C. For other clients, paste:`,
        '',
        ...exports,
        '',
        `or add to any script:  --sandbox=${sandbox.environment.LANDFALL_INTERNET}`,
      ].join('\n'),
      { sandbox: sandbox.environment.LANDFALL_INTERNET ?? '', environment: sandbox.environment },
    )
    await new Promise<void>(resolve => {
      // A pending promise alone does not keep the process alive.
      const alive = setInterval(() => {}, 60_000)
      const stop = () => {
        clearInterval(alive)
        resolve()
      }
      if (session.signal.aborted) stop()
      else session.signal.addEventListener('abort', stop, { once: true })
    })
    return 0
  } finally {
    await sandbox.close()
  }
}
