/** The rows behind a simulated Dokploy's projects and services, with the vendor's field names where they go over the wire. */

import type { Collection, Store } from '../../kit.ts'

export interface ProjectRow {
  readonly projectId: string
  readonly name: string
  readonly description: string | null
  readonly createdAt: string
  readonly organizationId: string
  readonly env: string
}

export interface EnvironmentRow {
  readonly environmentId: string
  readonly name: string
  readonly description: string | null
  readonly createdAt: string
  readonly env: string
  readonly projectId: string
  readonly isDefault: boolean
}

/** An application, a compose stack or a database: all columns as the vendor names them, `kind` is ours. */
export interface ServiceRow {
  readonly id: string
  readonly kind: ServiceKind
  readonly environmentId: string
  readonly name: string
  readonly appName: string
  readonly columns: Readonly<Record<string, unknown>>
}
export type ServiceKind = 'application' | 'compose' | DatabaseKind
export const DATABASES = ['postgres', 'mysql', 'mariadb', 'mongo', 'redis'] as const
export type DatabaseKind = (typeof DATABASES)[number]

/** Rows that are kept as they go over the wire. */
export type WireRow = Readonly<Record<string, unknown>>

export interface DeploymentRow {
  readonly deploymentId: string
  /** Service, schedule or backup that it belongs to. */
  readonly ownerId: string
  readonly title: string
  readonly description: string
  readonly status: 'running' | 'done' | 'error' | 'cancelled'
  readonly createdAt: string
  readonly startedAtMs: number
  readonly finishedAt: string | null
  readonly errorMessage: string | null
  readonly rollbackId: string | null
  readonly log: readonly string[]
  /** Of what was built: written over title and description some time after "done". */
  readonly commit?: { readonly hash: string; readonly message: string; readonly shownAtMs: number }
}

/** A deploy that waits for its turn, or is being built. */
export interface JobRow {
  readonly id: string
  readonly n: number
  readonly serviceId: string
  readonly title: string
  readonly description: string
  readonly queuedAtMs: number
  readonly again: boolean
  readonly deploymentId?: string
  readonly endsAtMs?: number
}

export type Behaviour =
  | 'healthy'
  | 'crash-loop'
  | 'wrong-port'
  | 'wrong-path'
  | 'never-healthy'
  | 'needs-env'
  | 'oom'
  | 'build-fails'
  | 'no-image'

/** What a container was started as. */
export interface Release {
  /** As in the container's config: the name that the service was given, with a digest only where that name had one. */
  readonly image: string
  readonly digest: string
  readonly version: string
  readonly behaviour: Behaviour
  readonly env: Readonly<Record<string, string>>
  readonly port: number
  readonly startedAtMs: number
  readonly containerId: string
}

/** One Swarm service or one container of a compose project. */
export interface RunRow {
  /** `appName`, or `appName.service`. */
  readonly id: string
  readonly serviceId: string
  readonly service?: string
  /** New beside old, and back when it fails. */
  readonly rolling: boolean
  readonly checked: boolean
  readonly replicas: number
  /** Serving, or the last that was. */
  readonly current?: Release
  /** Being started. */
  readonly next?: Release
  /** Newest first. */
  readonly failed: readonly { readonly release: Release; readonly atMs: number; readonly error: string }[]
}

export interface RollbackRow {
  readonly rollbackId: string
  readonly deploymentId: string
  readonly serviceId: string
  readonly version: number
  readonly image: string
  readonly release: Release
  readonly env: string
}

export interface ExecRow {
  readonly id: string
  readonly appName: string
  readonly service: string
  readonly command: string
  readonly by: 'schedule' | 'compose_command'
  readonly atMs: number
}

export interface OutgoingRow {
  readonly id: string
  readonly to: string
  readonly body: unknown
  readonly atMs: number
}

/** How long things take; kept, so that another process meets the same. */
export interface TimingRow {
  readonly queueMs: number
  readonly buildMs: number
  readonly startMs: number
  /** From "done" until the commit is told: a panel with slow notifications takes long. */
  readonly commitMs: number
}

export interface PlatformState {
  readonly projects: Collection<ProjectRow>
  readonly environments: Collection<EnvironmentRow>
  readonly services: Collection<ServiceRow>
  readonly domains: Collection<WireRow>
  readonly mounts: Collection<WireRow>
  readonly deployments: Collection<DeploymentRow>
  readonly jobs: Collection<JobRow>
  readonly runs: Collection<RunRow>
  readonly rollbacks: Collection<RollbackRow>
  readonly schedules: Collection<WireRow>
  readonly destinations: Collection<WireRow>
  readonly backups: Collection<WireRow>
  readonly volumeBackups: Collection<WireRow>
  readonly notifications: Collection<WireRow>
  readonly registries: Collection<WireRow>
  readonly localImages: Collection<LocalImageRow>
  readonly sshKeys: Collection<WireRow>
  readonly githubApps: Collection<WireRow>
  readonly execs: Collection<ExecRow>
  readonly outgoing: Collection<OutgoingRow>
  readonly timing: Collection<TimingRow>
  /** Shared by all panels of the sandbox: what lies in registries, repositories and buckets. */
  readonly images: Collection<ImageRow>
  readonly heads: Collection<HeadRow>
  readonly objects: Collection<ObjectRow>
  readonly nextId: (sequence: string) => number
}

export interface ImageRow {
  readonly digest: string
  /** Without tag and digest. */
  readonly name: string
  readonly version: string
  readonly behaviour: Behaviour
}

/** An image that has a name on the machine. */
export interface LocalImageRow extends ImageRow {
  /** "web-abc123:latest" */
  readonly id: string
}

export interface HeadRow {
  /** `<url>#<branch>` */
  readonly id: string
  readonly commit: string
  readonly message: string
  readonly behaviour: Behaviour
  readonly files: Readonly<Record<string, string>>
}

export interface ObjectRow {
  /** `<endpoint>/<bucket>/<key>` */
  readonly id: string
  readonly key: string
  readonly bytes: number
  readonly kind: string
  readonly damaged: boolean
}

/** What one panel keeps, and the field that its rows are filed under. */
const LOCAL = {
  projects: 'projectId',
  environments: 'environmentId',
  services: 'id',
  domains: 'domainId',
  mounts: 'mountId',
  deployments: 'deploymentId',
  jobs: 'id',
  runs: 'id',
  rollbacks: 'rollbackId',
  schedules: 'scheduleId',
  destinations: 'destinationId',
  backups: 'backupId',
  volumeBackups: 'volumeBackupId',
  notifications: 'notificationId',
  registries: 'registryId',
  localImages: 'id',
  sshKeys: 'sshKeyId',
  githubApps: 'githubId',
  execs: 'id',
  outgoing: 'id',
} as const

export const openPlatform = (store: Store, serverId: string): PlatformState => {
  const open = <T>(name: keyof typeof LOCAL | 'timing') => store.collection<T>(`dokploy.${serverId}.${name}`)
  return {
    projects: open('projects'),
    environments: open('environments'),
    services: open('services'),
    domains: open('domains'),
    mounts: open('mounts'),
    deployments: open('deployments'),
    jobs: open('jobs'),
    runs: open('runs'),
    rollbacks: open('rollbacks'),
    schedules: open('schedules'),
    destinations: open('destinations'),
    backups: open('backups'),
    volumeBackups: open('volumeBackups'),
    notifications: open('notifications'),
    registries: open('registries'),
    localImages: open('localImages'),
    sshKeys: open('sshKeys'),
    githubApps: open('githubApps'),
    execs: open('execs'),
    outgoing: open('outgoing'),
    timing: open('timing'),
    images: store.collection('registry.images'),
    heads: store.collection('git.heads'),
    objects: store.collection('s3.objects'),
    nextId: sequence => store.nextId(`dokploy.${serverId}.${sequence}`),
  }
}

/** What a rebuilt server has lost; registries, repositories and buckets are elsewhere. */
export const clearPlatform = (store: Store, serverId: string): void => {
  for (const [name, field] of Object.entries(LOCAL)) {
    const rows = store.collection<WireRow>(`dokploy.${serverId}.${name}`)
    for (const row of rows.all()) rows.delete(String(row[field]))
  }
}
