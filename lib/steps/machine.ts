/**
 * The machine behind a server, over SSH. Its host key is pinned before it exists (a label on the server holds it, so that every
 * laptop and every CI runner with the API token trusts the same key) and is replaced in the first session, because the first one
 * travelled in cloud-init, where it stays readable.
 */

import { blocked, type Change, done, refused, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { hasCode, LandfallError } from '../errors.ts'
import type { ServerSpec } from '../estate/estate.ts'
import { decodeHostKey, encodeHostKey, LABEL_KEYS } from '../estate/labels.ts'
import { hostKeyAlias } from '../estate/naming.ts'
import type { ProgramName } from '../estate/programs.ts'
import type { Labels, Server } from '../providers/ports/cloud.ts'
import type { ProgramInput, Target } from '../providers/ports/machine.ts'
import type { Deps, EstateStep } from './deps.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

const INSTALL_STATES = ['absent', 'installing', 'failed', 'installed'] as const
type InstallState = (typeof INSTALL_STATES)[number]

export interface Facts {
  readonly os: string
  readonly memoryMb: number
  readonly diskFreeMb: number
  readonly docker: string
  readonly swarm: string
  /** Its id in the swarm; empty when it is in none. */
  readonly swarmNode: string
  /** Whom its guard lets in to the swarm's ports. */
  readonly swarmPeers: readonly string[]
  /** Whether it was made ready to join a swarm. */
  readonly worker: InstallState
  readonly cloudInit: string
  readonly dokploy: InstallState
  readonly dokployLogin: 'present' | 'absent'
  /** `installer`: the installer of NixOS runs in place of the system on the disk. */
  readonly system: 'stock' | 'installer' | 'nixos'
  /** The last phase that the installer has finished. */
  readonly installPhase: 'none' | 'disko' | 'install'
  /** The run that installed NixOS; empty when none of ours did. */
  readonly installedBy: string
  /** In its own words, where it failed. */
  readonly cloudInitError?: string
  /** What the machine itself does about the panel's port; `unguarded` also on an image that brings its own firewall. */
  readonly panelPort: 'unguarded' | 'open' | 'closed'
  /** The address that this session comes from, as the machine sees it. */
  readonly sshClient: string
  /** Seconds since the epoch by the machine's clock. */
  readonly clockS: number
}

export type MachineState =
  | { readonly state: 'unreachable'; readonly why: string }
  | { readonly state: 'impostor'; readonly why: string }
  | { readonly state: 'key_refused'; readonly why: string }
  | { readonly state: 'unpinned' }
  | { readonly state: 'ready'; readonly trust: 'bootstrap' | 'pinned'; readonly facts: Facts }

export interface MachineReader {
  /** One look, without waiting for a machine that does not answer. */
  read(spec: ServerSpec, server: Server): Promise<MachineState>
}

type MachineDeps = Pick<Deps, 'estate' | 'cloud' | 'machines' | 'programs' | 'clock'>

/** Where `server` is reached and which key it must show; undefined when no key is recorded or it has no address. */
export function targetOf(estate: string, server: Server, label: string = LABEL_KEYS.hostKey): Target | undefined {
  const hostKey = decodeHostKey(server.labels[label] ?? '')
  const address = server.ipv4 ?? server.ipv6
  if (!hostKey || !address) return undefined
  return { name: server.name, address, port: 22, user: 'root', hostKeyAlias: hostKeyAlias(estate, server.id), hostKey }
}

/** What running a program on a machine takes. */
export type ProgramDeps = Pick<Deps, 'programs'> & { readonly machines: Pick<Deps['machines'], 'run'> }

/** Runs a program that has to succeed; its own last words become the error. @throws LandfallError vendor */
export async function runProgram(
  deps: ProgramDeps,
  target: Target,
  name: ProgramName,
  input: ProgramInput = {},
  signal?: AbortSignal,
): Promise<string> {
  const result = await deps.machines.run(target, deps.programs[name], input, signal)
  if (result.exitCode === 0) return result.stdout
  const words = result.stderr.trim().split('\n').at(-1) ?? ''
  throw new LandfallError(
    'vendor',
    `"${name}" failed on ${target.name} with exit code ${result.exitCode}${words ? `: ${words}` : '.'}`,
    {
      hint: `Look at the machine: bun scripts/status.ts --machine ${target.name}`,
    },
  )
}

/** `key=value` lines as a record. Pure. */
export const parseFactLines = (text: string): Record<string, string> =>
  Object.fromEntries(
    text.split('\n').flatMap(line => {
      const at = line.indexOf('=')
      return at > 0 ? [[line.slice(0, at), line.slice(at + 1)]] : []
    }),
  )

const SYSTEMS = ['stock', 'installer', 'nixos'] as const
const PHASES = ['none', 'disko', 'install'] as const
const PANEL_PORTS = ['unguarded', 'open', 'closed'] as const

function parseFacts(text: string): Facts {
  const facts = parseFactLines(text)
  const complaint = Buffer.from(facts.cloud_init_error ?? '', 'base64').toString('utf8')
  return {
    os: facts.os ?? 'unknown',
    memoryMb: Number(facts.memory_mb ?? 0),
    diskFreeMb: Number(facts.disk_free_mb ?? 0),
    docker: facts.docker ?? 'none',
    swarm: facts.swarm ?? 'inactive',
    swarmNode: facts.swarm_node ?? '',
    swarmPeers: (facts.swarm_peers ?? '').split(' ').filter(each => each !== ''),
    worker: INSTALL_STATES.find(each => each === facts.worker) ?? 'absent',
    cloudInit: facts.cloud_init ?? 'none',
    dokploy: INSTALL_STATES.find(each => each === facts.dokploy) ?? 'absent',
    dokployLogin: facts.dokploy_login === 'present' ? 'present' : 'absent',
    system: SYSTEMS.find(each => each === facts.system) ?? 'stock',
    installPhase: PHASES.find(each => each === facts.install_phase) ?? 'none',
    installedBy: facts.installed_by ?? '',
    ...(complaint === '' ? {} : { cloudInitError: complaint }),
    panelPort: PANEL_PORTS.find(each => each === facts.panel_port) ?? 'unguarded',
    sshClient: facts.ssh_client ?? '',
    clockS: Number(facts.clock_s ?? 0),
  }
}

export function createMachineReader(deps: Pick<MachineDeps, 'estate' | 'machines' | 'programs'>): MachineReader {
  return {
    async read(_spec, server) {
      if (server.status !== 'running') return { state: 'unreachable', why: `the server is ${server.status}` }
      const pinned = targetOf(deps.estate.name, server)
      if (!pinned) return { state: 'unpinned' }
      const next = targetOf(deps.estate.name, server, LABEL_KEYS.nextHostKey)
      let target = pinned
      let seen = await deps.machines.look(pinned)
      // A run that ended between replacing the key and recording it left the new one under the second label.
      if (seen.state === 'impostor' && next) {
        target = next
        seen = await deps.machines.look(next)
      }
      if (seen.state !== 'ready') return seen
      const trust = target === pinned && server.labels[LABEL_KEYS.trust] === 'pinned' ? 'pinned' : 'bootstrap'
      try {
        return { state: 'ready', trust, facts: await readFacts(deps, target) }
      } catch (error) {
        if (!hasCode(error, 'network', 'timeout')) throw error
        return { state: 'unreachable', why: error.message }
      }
    },
  }
}

/** What the machine says of itself now. @throws as `runProgram` */
export const readFacts = async (
  deps: Pick<Deps, 'machines' | 'programs'>,
  target: Target,
  signal?: AbortSignal,
): Promise<Facts> => parseFacts(await runProgram(deps, target, 'facts', {}, signal))

const BOOT_TIMEOUT_MS = 5 * 60_000
const CLOUD_INIT_TIMEOUT_MS = 10 * 60_000
const CLOUD_INIT_POLL_MS = 2_000

/** SSH answers with our key, the key is one that only the machine has, and its first boot is finished. */
export function machineStep(deps: MachineDeps, spec: ServerSpec): EstateStep {
  const { estate } = deps
  const trust = { kind: 'change', summary: `replace the bootstrap SSH host key of ${spec.name} and pin the new one` } as const
  return {
    id: `machine ${spec.name}`,
    noun: 'machine',
    title: `${spec.name} answers SSH with a pinned key`,
    needs: [`server ${spec.name} running`],
    reads: ['servers', 'machines'],
    typicalMs: 25_000,
    look(world) {
      const server = findServer(estate.name, spec.name, world.get('servers'))
      if (server?.status !== 'running') return blocked(`server ${spec.name}`, trust)
      const machine = world.get('machines')[spec.name]
      if (machine?.state === 'unpinned')
        return refused(
          `${spec.name} carries no recorded SSH host key, so nobody can tell it from an impostor.`,
          `It was not created by Landfall, or its labels were edited: put the key of /etc/ssh/ssh_host_ed25519_key.pub back into its label ${LABEL_KEYS.hostKey}.`,
        )
      if (machine?.state === 'impostor')
        return refused(
          `${spec.name} answers with an SSH host key that is not the pinned one (${machine.why}).`,
          'If you reinstalled it yourself, rebuild it with Landfall: bun scripts/provision.ts rebuild --plan; otherwise somebody may be in between: nothing was sent.',
        )
      if (machine?.state === 'key_refused')
        return refused(
          `${spec.name} does not accept this SSH key (${machine.why}).`,
          'Use a key that the server was created with: LANDFALL_SSH_KEY=/path/to/key, or ssh-add one that config.json names in ssh.public_keys.',
        )
      if (machine?.state === 'ready' && machine.trust === 'pinned' && machine.facts.cloudInit !== 'running') {
        return done([machine.facts.os, ...complaints(machine.facts)].join('; '))
      }
      const connect = {
        kind: 'wait',
        summary: `reach ${spec.name} over SSH`,
        apply: ({ world: live, signal, log }) => connectAndTrust(deps, spec, live, signal, log),
      } satisfies Change<EstateWorld>
      const isPinned = machine?.state === 'ready' ? machine.trust === 'pinned' : isLabelledPinned(server)
      return todo(isPinned ? connect : { ...trust, apply: connect.apply })
    },
  }
}

const isLabelledPinned = ({ labels }: Server): boolean =>
  labels[LABEL_KEYS.trust] === 'pinned' && labels[LABEL_KEYS.nextHostKey] === undefined

type LiveWorld = World<EstateWorld>

const complaints = ({ cloudInit, cloudInitError }: Facts): string[] =>
  cloudInit === 'error' ? [`its cloud-init failed: ${cloudInitError ?? 'it does not say why'}`] : []

async function connectAndTrust(
  deps: MachineDeps,
  spec: ServerSpec,
  live: LiveWorld,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const server = findServer(deps.estate.name, spec.name, live.get('servers'))
  let target = server && targetOf(deps.estate.name, server)
  if (!server || !target) throw new LandfallError('not_found', `${spec.name} has no address or no recorded host key.`)
  const next = targetOf(deps.estate.name, server, LABEL_KEYS.nextHostKey)
  log(`waiting for SSH on ${target.address}`)
  target = await waitForOneOf(deps, target, next, signal)
  if (target === next || server.labels[LABEL_KEYS.trust] !== 'pinned')
    target = await replaceHostKey(deps, server, target, live, signal, log)

  const facts = await waitFirstBoot(deps, target, signal, log)
  for (const line of complaints(facts)) log(line)
  live.update('machines', all => ({ ...all, [spec.name]: { state: 'ready', trust: 'pinned', facts } }))
}

/** Waits for the machine under the first key, or the second where it shows that one. @throws as `Machines.waitReady` */
async function waitForOneOf(
  { machines }: Pick<Deps, 'machines'>,
  first: Target,
  second: Target | undefined,
  signal: AbortSignal,
): Promise<Target> {
  try {
    await machines.waitReady(first, BOOT_TIMEOUT_MS, signal)
    return first
  } catch (error) {
    if (!second || !hasCode(error, 'host_key')) throw error
    await machines.waitReady(second, BOOT_TIMEOUT_MS, signal)
    return second
  }
}

/** Records the new key before the machine uses it, so that a kill at any point leaves a key that some label names. */
async function replaceHostKey(
  deps: MachineDeps,
  server: Server,
  target: Target,
  live: LiveWorld,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<Target> {
  const setLabels = async (labels: Labels) => {
    await deps.cloud.setServerLabels(server.id, labels)
    live.update('servers', all => all.map(each => (each.id === server.id ? { ...each, labels } : each)))
  }
  log('replacing the host key that travelled in cloud-init')
  const fresh = await deps.machines.generateKey()
  const labels: Record<string, string> = { ...server.labels, [LABEL_KEYS.hostKey]: encodeHostKey(target.hostKey) }
  await setLabels({ ...labels, [LABEL_KEYS.nextHostKey]: encodeHostKey(fresh.publicKey) })
  const pinned: Target = { ...target, hostKey: fresh.publicKey }
  const rotate = () => runProgram(deps, target, 'rotate-host-key', { PRIVATE: fresh.privateKey, PUBLIC: fresh.publicKey })
  try {
    await rotate()
  } catch (error) {
    if (!hasCode(error, 'network', 'timeout')) throw error
    log('there was no answer: looking which of the two keys it has')
    await deps.machines.disconnect(target)
    if ((await waitForOneOf(deps, target, pinned, signal)) === target) await rotate()
  }
  await deps.machines.disconnect(target)
  const { [LABEL_KEYS.nextHostKey]: _, ...rest } = labels
  await setLabels({ ...rest, [LABEL_KEYS.hostKey]: encodeHostKey(fresh.publicKey), [LABEL_KEYS.trust]: 'pinned' })
  return pinned
}

async function waitFirstBoot(
  deps: MachineDeps,
  target: Target,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<Facts> {
  const deadlineMs = deps.clock.monotonicMs() + CLOUD_INIT_TIMEOUT_MS
  for (;;) {
    const facts = await readFacts(deps, target, signal).catch((error: unknown) => {
      // A daemon that is just taking its new key closes what knocks at that moment, and a machine that boots is slow.
      if (hasCode(error, 'network', 'timeout') && deps.clock.monotonicMs() < deadlineMs) return undefined
      throw error
    })
    if (facts && facts.cloudInit !== 'running') return facts
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError(
        'timeout',
        `cloud-init on ${target.name} did not finish within ${CLOUD_INIT_TIMEOUT_MS / 60_000} minutes.`,
        {
          hint: `Look at it: bun scripts/status.ts --machine ${target.name}`,
        },
      )
    log('waiting for cloud-init to finish')
    await deps.clock.sleep(CLOUD_INIT_POLL_MS, signal)
  }
}
