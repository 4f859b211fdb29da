/**
 * NixOS over a stock server, phase by phase. Where an installation stands is read from the machine: a stock system, the installer with the
 * phases that it has finished, or a NixOS that one of our runs installed. The new system's host key is made here, recorded on the
 * server before it is sent, and pinned when the new system answers with it.
 */

import { blocked, type Change, done, refused, todo } from '../engine/step.ts'
import type { World, WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { ServerSpec } from '../estate/estate.ts'
import { encodeHostKey, LABEL_KEYS } from '../estate/labels.ts'
import type { Labels, Server } from '../providers/ports/cloud.ts'
import type { Target } from '../providers/ports/machine.ts'
import { INSTALL_PHASES, type InstallPhase, type NixosAnywhere, type SeedFiles } from '../providers/ports/nixos-anywhere.ts'
import type { Deps, EstateStep } from './deps.ts'
import { type Facts, readFacts, runProgram, targetOf } from './machine.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

/** What a system is built from, and what the operator has said about its installation. */
export interface NixosDeps {
  readonly installer: NixosAnywhere
  /** Directory with flake.nix, and the hash of all that decides what a system is. */
  readonly flake: {
    readonly directory: string
    readonly content: string
    /** Files of it that Git does not know. */
    readonly untracked: readonly string[]
    /** What `content` is the hash of, as base64 of a .tar.gz. */
    archive(): Promise<string>
  }
  /** Servers whose disk may be erased although a NixOS is on it already. */
  readonly reinstall: readonly string[]
  readonly lowMemory: boolean
}

type SystemDeps = Pick<Deps, 'estate' | 'cloud' | 'machines' | 'programs' | 'clock' | 'runId' | 'nixos'>
type NixosServer = ServerSpec & Required<Pick<ServerSpec, 'nixos'>>

export const hasNixos = (spec: ServerSpec): spec is NixosServer => spec.nixos !== undefined

/** nixos-anywhere asks for 1.5 GB; a machine that is sold as that shows a little less. */
const LEAST_MEMORY_MB = 1_400
const REBOOT_TIMEOUT_MS = 10 * 60_000
/** After the installer has taken over, and after it has gone, the machine is looked at this often. */
const POLL_MS = 2_000
const TYPICAL_MS = 9 * 60_000

/** Id of the step after which the machine runs what it shall run. */
export const readyStep = (spec: ServerSpec): string => `${hasNixos(spec) ? 'system' : 'machine'} ${spec.name}`

/** The phases that are left to do. Pure. */
export const phasesLeft = (facts: Pick<Facts, 'system' | 'installPhase'>, hasNextKey: boolean): readonly InstallPhase[] => {
  if (facts.system !== 'installer') return INSTALL_PHASES
  if (facts.installPhase === 'none') return INSTALL_PHASES.slice(1)
  // Without a record of the key that was put on the disk nobody could tell the new system from an impostor.
  return facts.installPhase === 'install' && hasNextKey ? INSTALL_PHASES.slice(3) : INSTALL_PHASES.slice(2)
}

/** Why nothing is built from sources that Git does not know wholly. Pure. */
export const refusedUntracked = (files: readonly string[]) =>
  refused(
    `Git does not know ${files.join(', ')}, and from a repository Nix builds only what Git knows.`,
    `git add ${files.join(' ')}  (or take it out of nixos/)`,
  )

/** The machine runs the NixOS that the estate wants it to have been installed with. */
export function systemStep(deps: SystemDeps, spec: NixosServer): EstateStep {
  const { estate, nixos } = deps
  const named = nixos.reinstall.includes(spec.name)
  const summary = `install NixOS (${spec.nixos.system}) on ${spec.name}`
  const erase = `erase everything on ${spec.name} and ${summary}`
  return {
    id: `system ${spec.name}`,
    noun: 'machine',
    title: `${spec.name} runs NixOS (${spec.nixos.system})`,
    needs: [`machine ${spec.name}`],
    reads: ['servers', 'serverTypes', 'machines', 'installer'],
    typicalMs: TYPICAL_MS,
    look(world) {
      const server = findServer(estate.name, spec.name, world.get('servers'))
      const machine = world.get('machines')[spec.name]
      const isFresh = server === undefined || server.labels[LABEL_KEYS.os] === 'nixos'
      const later = named || !isFresh ? ({ kind: 'destroy', summary: erase } as const) : ({ kind: 'create', summary } as const)
      const facts = machine?.state === 'ready' ? machine.facts : undefined
      const isOurs = facts?.system === 'nixos' && facts.installedBy !== ''
      if (isOurs && (!named || facts.installedBy === deps.runId)) {
        return machine?.state === 'ready' && machine.trust === 'pinned'
          ? done(facts.os)
          : blocked(`machine ${spec.name}`, { kind: 'wait', summary: `pin the host key of ${spec.name}` })
      }

      const installer = world.get('installer')
      if (installer.state === 'missing') return refused(installer.why, installer.hint)
      if (nixos.flake.untracked.length > 0) return refusedUntracked(nixos.flake.untracked)
      const memoryMb = facts?.memoryMb ?? memoryOf(server, spec, world)
      if (memoryMb < LEAST_MEMORY_MB && !nixos.lowMemory)
        return refused(
          `${spec.name} has ${(memoryMb / 1000).toFixed(1)} GB of memory, and the installer of NixOS needs 1.5 GB.`,
          'Choose a larger type in config.json (2 GB are enough), or try it with less: add --low-memory to the command.',
        )
      if (!server || !facts || machine?.state !== 'ready' || machine.trust !== 'pinned')
        return blocked(`machine ${spec.name}`, later)
      if (facts.system === 'nixos' && !named)
        return refused(
          `${spec.name} runs a NixOS already (${facts.os}) that Landfall did not install.`,
          `If everything on it may be erased, name it: bun scripts/provision.ts --reinstall ${spec.name}`,
        )

      const phases = phasesLeft(facts, server.labels[LABEL_KEYS.nextHostKey] !== undefined)
      const goesOn = facts.system === 'installer'
      const change: Change<EstateWorld> = {
        // The installer is there because somebody has agreed to it already.
        kind: goesOn ? 'create' : later.kind,
        summary: goesOn ? `go on to ${summary}, from the phase ${phases[0]}` : later.summary,
        details: [`phases: ${phases.join(', ')}; over ${facts.os}`],
        apply: ({ world: live, signal, log }) => install(deps, spec, { phases, live, signal, log }),
      }
      return todo(change)
    },
  }
}

/** As sold, in MB as a machine shows them; infinite when the type is not known here. */
function memoryOf(server: Server | undefined, spec: ServerSpec, world: WorldView<EstateWorld>): number {
  const wanted = server ? [server.type] : spec.types
  const known = world.get('serverTypes').filter(type => wanted.includes(type.name))
  return known.length === 0 ? Number.POSITIVE_INFINITY : Math.min(...known.map(type => type.memoryGb)) * 1024 * 0.95
}

interface Installation {
  readonly phases: readonly InstallPhase[]
  readonly live: World<EstateWorld>
  readonly signal: AbortSignal
  readonly log: (line: string) => void
}

async function install(deps: SystemDeps, spec: NixosServer, { phases, live, signal, log }: Installation): Promise<void> {
  const { machines, nixos } = deps
  const serverNow = (): Server => {
    const server = findServer(deps.estate.name, spec.name, live.get('servers'))
    if (!server) throw new LandfallError('not_found', `${spec.name} is gone.`)
    return server
  }
  const target = targetOf(deps.estate.name, serverNow())
  if (!target) throw new LandfallError('not_found', `${spec.name} has no address or no recorded host key.`)
  const setLabels = async (labels: Labels): Promise<void> => {
    const { id } = serverNow()
    await deps.cloud.setServerLabels(id, labels)
    live.update('servers', all => all.map(each => (each.id === id ? { ...each, labels } : each)))
  }

  for (const phase of phases) {
    // nixos-anywhere would try a key that is refused for ever.
    await checkLogin(deps, target)
    let files: SeedFiles = {}
    if (phase === 'install') {
      const hostKey = await machines.generateKey()
      files = seedFiles(deps, hostKey, spec.nixos.system)
      await setLabels({ ...serverNow().labels, [LABEL_KEYS.nextHostKey]: encodeHostKey(hostKey.publicKey) })
    }
    log(`phase ${phase}`)
    const { directory: flake } = nixos.flake
    const common = { phase, target, flake, system: spec.nixos.system, files, lowMemory: nixos.lowMemory, signal }
    await nixos.installer.run({ ...common, onLine: line => log(`${phase}: ${line}`) })
    if (phase === 'kexec') await awaitInstaller(deps, target, signal)
    if (phase === 'disko' || phase === 'install') await runProgram(deps, target, 'mark-install', { PHASE: phase }, signal)
  }

  const next = targetOf(deps.estate.name, serverNow(), LABEL_KEYS.nextHostKey)
  if (!next) throw new LandfallError('not_found', `${spec.name} has lost the record of its new host key.`)
  await machines.disconnect(target)
  log('waiting for the new system')
  await awaitNewSystem(deps, target, next, signal)
  const { [LABEL_KEYS.nextHostKey]: _, ...rest } = serverNow().labels
  await setLabels({ ...rest, [LABEL_KEYS.hostKey]: encodeHostKey(next.hostKey), [LABEL_KEYS.trust]: 'pinned' })
  const facts = await readFacts(deps, next, signal)
  if (facts.system !== 'nixos' || facts.installedBy === '')
    throw new LandfallError('unhealthy', `${spec.name} came back as ${facts.os}, not as the NixOS that was installed.`, {
      hint: `Look at it: bun scripts/status.ts --machine ${spec.name}`,
    })
  live.update('machines', all => ({ ...all, [spec.name]: { state: 'ready', trust: 'pinned', facts } }))
}

/** Its own host key, the mark that keeps the metadata service's from replacing it, and who installed it from what. */
const seedFiles = (
  deps: Pick<SystemDeps, 'runId' | 'nixos'>,
  hostKey: Awaited<ReturnType<Deps['machines']['generateKey']>>,
  system: string,
): SeedFiles => ({
  'etc/ssh/ssh_host_ed25519_key': { content: hostKey.privateKey, mode: 0o600 },
  'etc/ssh/ssh_host_ed25519_key.pub': { content: `${hostKey.publicKey}\n`, mode: 0o644 },
  'var/lib/landfall/host-key-seeded': { content: '', mode: 0o600 },
  'var/lib/landfall/installed': {
    content: `run=${deps.runId}\ncontent=${deps.nixos.flake.content}\nsystem=${system}\n`,
    mode: 0o600,
  },
})

async function checkLogin({ machines }: Pick<SystemDeps, 'machines'>, target: Target): Promise<void> {
  const seen = await machines.look(target)
  if (seen.state === 'ready') return
  throw new LandfallError(
    seen.state === 'impostor' ? 'host_key' : seen.state === 'key_refused' ? 'forbidden' : 'network',
    `${target.name} cannot be reached for the next phase of its installation: ${seen.why}`,
    { hint: 'Look at its console at the vendor, then run the same command again: it goes on from this phase.' },
  )
}

/** The installer answers under the old key and address. */
async function awaitInstaller(deps: SystemDeps, target: Target, signal: AbortSignal): Promise<void> {
  await deps.machines.disconnect(target)
  await deps.machines.waitReady(target, REBOOT_TIMEOUT_MS, signal)
  const facts = await readFacts(deps, target, signal)
  if (facts.system === 'installer') return
  throw new LandfallError('unhealthy', `${target.name} still runs ${facts.os} after the phase kexec.`, {
    hint: 'Its console at the vendor shows why the installer does not start; a larger type or Ubuntu 24.04 as image may.',
  })
}

/** Waits for the new key. While the machine still answers with the old one it has not yet gone down. */
async function awaitNewSystem(deps: SystemDeps, old: Target, next: Target, signal: AbortSignal): Promise<void> {
  const deadlineMs = deps.clock.monotonicMs() + REBOOT_TIMEOUT_MS
  for (;;) {
    const seen = await deps.machines.look(next)
    if (seen.state === 'ready') return
    if (seen.state === 'impostor' && (await deps.machines.look(old)).state === 'impostor')
      throw new LandfallError(
        'host_key',
        `${next.name} answers with a host key that is neither the old nor the new one: ${seen.why}`,
        {
          hint: 'Somebody may be in between: nothing was sent. Look at its console at the vendor.',
        },
      )
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError(
        'timeout',
        `${next.name} (${next.address}) did not come back within ${REBOOT_TIMEOUT_MS / 60_000} minutes after the phase reboot.`,
        { hint: 'Look at its console at the vendor, then run the same command again: bun scripts/provision.ts apply' },
      )
    await deps.clock.sleep(POLL_MS, signal)
  }
}
