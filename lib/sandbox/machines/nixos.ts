/**
 * NixOS on a simulated machine: what each phase of an installation leaves behind, and the backend service that may run there. Nothing is
 * built; a revision of a repository is a number that the sandbox counts, and whether it is healthy is up to who pushed it.
 */

import { createHash } from 'node:crypto'
import type { Collection } from '../kit.ts'
import { withoutComment } from './cloud-config.ts'
import type { Disks } from './disks.ts'
import { fail, lines, type Outcome } from './outcome.ts'
import type { Emulation, ProgramMachine, Values } from './programs.ts'
import type { DiskRow, HostKey, MachineServer } from './state.ts'

/** What is known of NixOS on a disk, or of the installer that runs in its place. */
export interface NixosRow {
  readonly system: 'installer' | 'nixos'
  readonly phase: 'none' | 'disko' | 'install'
  /** Copied onto the disk for the next boot. */
  readonly hostKey?: HostKey
  readonly installedBy: string
  readonly content: string
  /** The name of the system in the flake. */
  readonly name?: string
  readonly settings?: Readonly<Record<string, string>>
  readonly settingsHash?: string
  readonly revision?: string
  /** The repository whose code is in force. */
  readonly origin?: string
  /** Repositories whose revisions the clone holds. */
  readonly fetched?: readonly string[]
  /** What ran before the last update. */
  readonly previous?: string
  /** Where a rollback has led, until another revision is in force. */
  readonly rollback?: string
  readonly update?: UpdateRow
}

interface UpdateRow {
  readonly kind: 'service' | 'system'
  readonly startedAtMs: number
  readonly result: string
  readonly log: readonly string[]
}

/** The branch of a repository somewhere on the internet. */
export interface RemoteRow {
  readonly repository: string
  /** Newest last. */
  readonly revisions: readonly { readonly id: string; readonly healthy: boolean }[]
}

const revisionId = (repository: string, n: number): string => createHash('sha1').update(`${repository} ${n}`).digest('hex')

export const remoteOf = (remotes: Collection<RemoteRow>, repository: string): RemoteRow =>
  remotes.get(repository) ?? { repository, revisions: [{ id: revisionId(repository, 1), healthy: true }] }

/** A new commit on the repository's branch; gives its id. */
export const pushRevision = (remotes: Collection<RemoteRow>, repository: string, healthy: boolean): string => {
  const remote = remoteOf(remotes, repository)
  const id = revisionId(repository, remote.revisions.length + 1)
  remotes.put(repository, { ...remote, revisions: [...remote.revisions, { id, healthy }] })
  return id
}

/** What the clone holds: code stays where it is, whatever repository the settings name. */
const revisionsOf = (remotes: Collection<RemoteRow>, { fetched = [] }: NixosRow): RemoteRow['revisions'] =>
  fetched.flatMap(repository => remoteOf(remotes, repository).revisions)

const isHealthy = (remotes: Collection<RemoteRow>, row: NixosRow): boolean =>
  row.settings !== undefined && revisionsOf(remotes, row).some(each => each.id === row.revision && each.healthy)

/** The running service of a machine: under which name it answers, and whether it does. */
export const serviceOf = (
  remotes: Collection<RemoteRow>,
  disk: DiskRow | undefined,
): { readonly host: string; readonly healthy: boolean } | undefined => {
  const host = disk?.nixos?.system === 'nixos' ? disk.nixos.settings?.LANDFALL_DOMAIN : undefined
  return disk?.nixos && host ? { host, healthy: isHealthy(remotes, disk.nixos) } : undefined
}

export interface PhaseInput {
  readonly phase: string
  readonly files: Readonly<Record<string, string>>
}

/** What a phase does to a machine; a sentence when it cannot be done. */
export const runPhase = (disks: Disks, server: MachineServer, { phase, files }: PhaseInput): string | undefined => {
  const disk = disks.get(server)
  const now = disk?.nixos
  if (phase === 'kexec') {
    disks.change(server, { nixos: { system: 'installer', phase: 'none', installedBy: '', content: '' } })
    return undefined
  }
  if (now?.system !== 'installer') return `${server.name} does not run the installer.`
  if (phase === 'disko') {
    disks.erase(server)
    disks.change(server, { nixos: { system: 'installer', phase: 'none', installedBy: '', content: '' } })
    return undefined
  }
  if (phase === 'install') {
    const privateKey = files['etc/ssh/ssh_host_ed25519_key']
    const publicKey = files['etc/ssh/ssh_host_ed25519_key.pub']
    const written = files['var/lib/landfall/installed'] ?? ''
    const field = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(written)?.[1] ?? ''
    const hostKey = privateKey && publicKey ? { hostKey: { privateKey, publicKey: withoutComment(publicKey) } } : {}
    disks.change(server, {
      nixos: { ...now, ...hostKey, installedBy: field('run'), content: field('content'), name: field('system') },
    })
    return undefined
  }
  if (phase !== 'reboot') return `There is no phase ${phase}.`
  const { hostKey, ...rest } = now
  disks.change(server, { ...(hostKey ? { hostKey } : {}), nixos: { ...rest, system: 'nixos', phase: 'none' } })
  return undefined
}

const encoded = (text: string): string => Buffer.from(text).toString('base64')
const notNixos = fail(3, 'This machine does not run a NixOS that Landfall installed.')

/** The part of a machine that these programs change. */
export interface NixosMachine {
  readonly row: NixosRow | undefined
  readonly remotes: Collection<RemoteRow>
  set(row: NixosRow): void
}

export const nixosFacts = ({ nixos: { row } }: ProgramMachine): Readonly<Record<string, string>> => ({
  system: row?.system ?? 'stock',
  install_phase: row?.phase ?? 'none',
  installed_by: row?.system === 'nixos' ? row.installedBy : '',
})

const markInstall = ({ nixos }: ProgramMachine, { PHASE: phase }: Values): Outcome => {
  if (phase !== 'disko' && phase !== 'install') return fail(65, 'PHASE is disko or install.')
  if (nixos.row?.system !== 'installer') return fail(3, 'This is not the installer of NixOS.')
  nixos.set({ ...nixos.row, phase })
  return lines({ ok: 1 })
}

const serviceFacts = ({ nixos: { row, remotes } }: ProgramMachine): Outcome => {
  if (row?.system !== 'nixos') return notNixos
  const repository = row.settings?.LANDFALL_REPOSITORY
  const remote = repository === undefined ? undefined : remoteOf(remotes, repository).revisions.at(-1)?.id
  return lines({
    settings: row.settingsHash ?? '',
    unit: row.settings ? 'active' : 'inactive',
    health: isHealthy(remotes, row) ? 'healthy' : 'unhealthy',
    caddy: row.settings ? 'active' : 'inactive',
    revision: row.revision ?? '',
    origin: row.origin ?? '',
    previous: row.previous ?? '',
    back: row.rollback ?? row.previous ?? '',
    remote: remote ?? '',
    content: row.content,
    system: row.name ?? '',
  })
}

const writeSettings = ({ nixos }: ProgramMachine, { SETTINGS = '', HASH = '' }: Values): Outcome => {
  const { row, remotes } = nixos
  if (row?.system !== 'nixos') return notNixos
  const settings = Object.fromEntries(
    SETTINGS.split('\n').flatMap(line => {
      const [, name, value] = /^([A-Z_][A-Z0-9_]*)="(.*)"$/.exec(line) ?? []
      return name === undefined || value === undefined ? [] : [[name, value]]
    }),
  )
  const repository = settings.LANDFALL_REPOSITORY ?? ''
  const clone =
    row.revision === undefined
      ? { revision: remoteOf(remotes, repository).revisions.at(-1)?.id ?? '', origin: repository, fetched: [repository] }
      : {}
  nixos.set({ ...row, settings, settingsHash: HASH, ...clone })
  return lines({ ok: 1 })
}

/** What is in force after an update to a healthy revision. */
const inForce = ({ revision, previous, rollback }: NixosRow, target: string, back: boolean): Partial<NixosRow> => {
  const before = target === revision ? previous : revision
  const goal = back || target === rollback ? target : undefined
  return {
    revision: target,
    ...(before === undefined ? {} : { previous: before }),
    ...(goal === undefined ? {} : { rollback: goal }),
  }
}

const startServiceUpdate = (machine: ProgramMachine, { REVISION: wanted = '', BACK: back = 'no' }: Values): Outcome => {
  const { row: now, remotes } = machine.nixos
  if (now?.system !== 'nixos' || !now.settings) return notNixos
  const find = (revisions: RemoteRow['revisions']) => revisions.find(each => each.id.startsWith(wanted))
  const local = wanted === '' ? undefined : find(revisionsOf(remotes, now))
  const origin = now.settings.LANDFALL_REPOSITORY ?? ''
  const { revisions } = remoteOf(remotes, origin)
  const target = local ?? (wanted === '' ? revisions.at(-1) : find(revisions))
  const row = local ? now : { ...now, fetched: [...new Set([...(now.fetched ?? []), origin])] }
  const log = target
    ? [`switching to ${target.id.slice(0, 12)}`, target.healthy ? 'healthy' : 'not healthy: going back']
    : [`there is no revision ${wanted}`]
  const result = !target ? 'failed' : !target.healthy ? 'returned' : target.id === row.revision ? 'unchanged' : 'updated'
  const update: UpdateRow = { kind: 'service', startedAtMs: machine.nowMs, result, log }
  const { rollback: _, ...rest } = row
  machine.nixos.set(
    target?.healthy
      ? { ...rest, update, ...(local ? {} : { origin }), ...inForce(row, target.id, back === 'yes') }
      : { ...row, update },
  )
  return lines({ unit: 'started' })
}

const startSystemUpdate = (machine: ProgramMachine, { CONTENT: content = '', SYSTEM: name = '' }: Values): Outcome => {
  const { row } = machine.nixos
  if (row?.system !== 'nixos') return notNixos
  const update: UpdateRow = { kind: 'system', startedAtMs: machine.nowMs, result: 'updated', log: ['switched'] }
  machine.nixos.set({ ...row, update, content, name })
  return lines({ unit: 'started' })
}

const watchUpdate = ({ nixos: { row } }: ProgramMachine, { KIND: kind }: Values): Outcome => {
  const update = row?.update?.kind === kind ? row?.update : undefined
  if (!update) return lines({ unit: 'absent', stage: 'none', result: 'none' })
  const unit = update.result === 'updated' || update.result === 'unchanged' ? 'done' : 'failed'
  return lines(
    { unit, stage: 'done', result: update.result },
    update.log.map(line => `log ${encoded(line)}`),
  )
}

const serviceLogs = ({ nixos: { row }, nowMs }: ProgramMachine, { CURSOR: cursor = '' }: Values): Outcome => {
  if (row?.system !== 'nixos' || !row.settings) return notNixos
  const text = `${new Date(nowMs).toISOString()} landfall-backend: serving revision ${(row.revision ?? '').slice(0, 12)}`
  return lines({ cursor: 'sandbox-1' }, cursor === 'sandbox-1' ? [] : [`log ${encoded(text)}`])
}

export const NIXOS_PROGRAMS = {
  'mark-install': { accepts: ['PHASE'], run: markInstall },
  'service-facts': { accepts: [], run: serviceFacts },
  'write-service-settings': { accepts: ['SETTINGS', 'VARIABLES', 'HASH'], run: writeSettings },
  'start-service-update': { accepts: ['REVISION', 'BRANCH', 'PORT', 'HEALTH', 'BACK'], run: startServiceUpdate },
  'start-system-update': { accepts: ['ARCHIVE', 'SYSTEM', 'CONTENT'], run: startSystemUpdate },
  'watch-update': { accepts: ['KIND'], run: watchUpdate },
  'service-logs': { accepts: ['LINES', 'CURSOR'], run: serviceLogs },
} satisfies Record<string, Emulation>
