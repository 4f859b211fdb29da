/**
 * What lives inside one Dokploy, in our words: projects, applications, compose stacks, databases, deploys, backups, notifications.
 * One instance speaks to one panel with one API key. Nothing is unique by name over there, so every `find` matches exactly and
 * an ambiguous name is an error; every `create` is sent once and, after a lost answer, read back by the nonce in its description.
 */

import type { Secret } from '../../secret.ts'

/** Variables in their order. Values are secrets all of them: no one can tell which are not. */
export type EnvSet = readonly (readonly [name: string, value: Secret])[]

export type ServiceKind = 'application' | 'compose'
export type DatabaseKind = 'postgres' | 'mysql' | 'mariadb' | 'mongo' | 'redis'

export interface ServiceRef {
  readonly kind: ServiceKind
  readonly id: string
}

export interface ListedService {
  readonly kind: ServiceKind | DatabaseKind
  readonly id: string
  readonly name: string
}

export interface Environment {
  readonly id: string
  readonly name: string
  readonly isDefault: boolean
  readonly services: readonly ListedService[]
}

export interface Project {
  readonly id: string
  readonly name: string
  readonly description: string
  readonly environments: readonly Environment[]
}

export type Source =
  | { readonly kind: 'image'; readonly image: string }
  | {
      readonly kind: 'git'
      readonly url: string
      readonly branch: string
      readonly path: string
      readonly watch: readonly string[]
      readonly sshKeyId?: string
    }
  | {
      /** Through the GitHub App that is installed at the panel. */
      readonly kind: 'github'
      readonly githubId: string
      readonly owner: string
      readonly repository: string
      readonly branch: string
      readonly path: string
      readonly watch: readonly string[]
    }
  /** A compose file that is stored in Dokploy. */
  | { readonly kind: 'raw' }
  /** A source that Landfall does not speak: gitlab, bitbucket, gitea, an upload. */
  | { readonly kind: 'other'; readonly name: string }

export interface Build {
  readonly type: 'dockerfile' | 'nixpacks' | 'railpack' | 'static' | 'heroku_buildpacks' | 'paketo_buildpacks'
  readonly dockerfile?: string
  readonly context?: string
  readonly stage?: string
  readonly publish?: string
  readonly spa: boolean
}

export interface Health {
  readonly command: readonly string[]
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly startMs: number
  readonly retries: number
}

export interface ApplicationSettings {
  readonly replicas: number
  /** Bytes; 0: no limit. */
  readonly memoryBytes: number
  readonly health?: Health
  /** How a new version replaces the old one. */
  readonly update: 'start_first_rollback' | 'default' | 'other'
  readonly autoDeploy: boolean
  /** Registry that keeps former versions; absent: none are kept. */
  readonly rollbackRegistryId?: string
  /** Registry that built images go to, for every node of the swarm to run; absent: not looked after. */
  readonly registryId?: string
}

export interface Domain {
  readonly id: string
  readonly host: string
  readonly path: string
  readonly port: number
  readonly service?: string
  readonly https: boolean
  readonly certificate: 'letsencrypt' | 'custom' | 'none'
  readonly resolver?: string
  readonly stripPath: boolean
  readonly enabled: boolean
}

export interface Mount {
  readonly id: string
  readonly type: 'volume' | 'bind' | 'file'
  readonly volume?: string
  readonly path: string
  /** For `file`: its name beside the code, and its text. */
  readonly file?: { readonly name: string; readonly text: string }
}

export interface Deployment {
  readonly id: string
  readonly title: string
  readonly description: string
  readonly status: 'running' | 'done' | 'error' | 'cancelled'
  readonly createdAt: string
  readonly error?: string
}

/** As only the list of deployments has it. */
export interface ListedDeployment extends Deployment {
  readonly rollback?: { readonly id: string; readonly version: number; readonly image: string }
}

interface ServiceBase {
  readonly id: string
  readonly name: string
  /** Name in Swarm or of the compose project; chosen by Dokploy. */
  readonly appName: string
  readonly description: string
  readonly source: Source
  readonly env: EnvSet
  readonly domains: readonly Domain[]
  readonly mounts: readonly Mount[]
  /** Newest first; at most ten. */
  readonly deployments: readonly Deployment[]
  /** The secret part of the deploy webhook's address. */
  readonly refreshToken: Secret
  readonly status: 'idle' | 'running' | 'done' | 'error'
}

export interface Application extends ServiceBase {
  readonly kind: 'application'
  readonly build: Build
  readonly settings: ApplicationSettings
}

export interface Compose extends ServiceBase {
  readonly kind: 'compose'
  readonly type: 'docker-compose' | 'stack'
  /** For `raw`: the text; may hold anything, so it is treated as a secret. */
  readonly file: Secret
  /** For a repository: where the file lies in it. */
  readonly path: string
  /** What runs instead of the default command, without "docker". */
  readonly command: string
  readonly autoDeploy: boolean
}

export type Service = Application | Compose

export interface ComposeChange {
  readonly type?: 'docker-compose' | 'stack'
  readonly source?: Source
  readonly file?: Secret
  readonly path?: string
  readonly command?: string
  readonly autoDeploy?: boolean
}

/** One task of a Swarm service, or one container of a compose project. */
export interface Task {
  readonly id: string
  readonly name: string
  /** What Swarm wants: "running", "shutdown"; "ready" before it is tried again. */
  readonly wanted: string
  /** What it is: "running 5 seconds ago", "failed 2 seconds ago"; for compose the status with its health. */
  readonly state: string
  readonly error: string
}

export interface StackTask extends Task {
  /** As the compose file names it. */
  readonly service: string
}

export interface Container {
  readonly id: string
  readonly name: string
  readonly state: string
}

export interface ContainerReport {
  /** As it was started: "web:1", with "@sha256:…" where the registry said it. */
  readonly image: string
  /** "sha256:…" of the image on this machine. */
  readonly imageId: string
  readonly running: boolean
  readonly health: 'none' | 'starting' | 'healthy' | 'unhealthy'
  /** What the last health check wrote: it stands in no log of the container. */
  readonly healthOutput: string
  /** Health checks that failed in a row; a container that stopped is "unhealthy" whatever its checks said. */
  readonly healthFailures: number
  readonly exitCode: number
  readonly oomKilled: boolean
  readonly restarts: number
  readonly startedAt: string
  /** Compose service, when it is one. */
  readonly service?: string
}

export interface Schedule {
  readonly id: string
  readonly name: string
  readonly command: string
  readonly service?: string
  readonly shell: 'sh' | 'bash'
  readonly enabled: boolean
  readonly cron: string
}

export interface Bucket {
  readonly id: string
  readonly name: string
  readonly provider: string
  readonly endpoint: string
  readonly region: string
  readonly bucket: string
  readonly accessKey: Secret
  readonly secretKey: Secret
}

export interface Backup {
  readonly id: string
  /** Dokploy's own name of it. The panel's backups lie in a folder of this name, a database's in one of the database's. */
  readonly appName: string
  readonly bucketId: string
  readonly prefix: string
  readonly schedule: string
  readonly keep: number
  readonly enabled: boolean
  readonly database: string
  readonly withEncryptionKey: boolean
}

/** What one list of a bucket holds at most: routers/backup.ts of v0.30.2. */
export const BACKUP_FILES_LISTED = 100

export interface VolumeBackup {
  readonly id: string
  readonly name: string
  /** As Docker calls it: a stack's has the stack's name before its own. */
  readonly volume: string
  /** Of a compose stack: the service that stops meanwhile. The files lie in a folder of the stack's name and its. */
  readonly service?: string
  readonly bucketId: string
  readonly prefix: string
  readonly schedule: string
  readonly keep: number
  readonly enabled: boolean
  readonly stop: boolean
}

export interface Database {
  readonly kind: DatabaseKind
  readonly id: string
  readonly name: string
  readonly appName: string
  readonly description: string
  readonly image: string
  readonly database: string
  readonly user: string
  readonly status: 'idle' | 'running' | 'done' | 'error'
  readonly backups: readonly Backup[]
}

export interface Registry {
  readonly id: string
  readonly name: string
  readonly url: string
  readonly username: string
  readonly prefix: string
}

export const NOTIFICATION_EVENTS = [
  'deploy',
  'build_error',
  'database_backup',
  'volume_backup',
  'panel_backup',
  'restart',
  'cleanup',
  'threshold',
] as const
export type NotificationEvent = (typeof NOTIFICATION_EVENTS)[number]

export type NotificationTarget =
  | { readonly kind: 'slack'; readonly url: Secret; readonly channel: string }
  | { readonly kind: 'discord'; readonly url: Secret }
  | { readonly kind: 'webhook'; readonly url: Secret }
  | {
      readonly kind: 'email'
      readonly server: string
      readonly port: number
      readonly username: string
      readonly password: Secret
      readonly from: string
      readonly to: readonly string[]
    }
  | { readonly kind: 'other'; readonly name: string }

export interface Notification {
  readonly id: string
  /** Of the row that holds the target. */
  readonly targetId: string
  readonly name: string
  readonly target: NotificationTarget
  readonly on: readonly NotificationEvent[]
}

export interface DokployApps {
  /** Everything's names: one request, and one more for each environment that holds databases. */
  listProjects(): Promise<readonly Project[]>
  createProject(input: {
    name: string
    description: string
  }): Promise<{ readonly projectId: string; readonly environmentId: string }>
  createEnvironment(input: { projectId: string; name: string; description: string }): Promise<{ readonly id: string }>

  readService(ref: ServiceRef): Promise<Service>
  createService(input: {
    kind: ServiceKind
    environmentId: string
    name: string
    description: string
    compose?: { type: 'docker-compose' | 'stack'; file?: Secret }
  }): Promise<ServiceRef>
  /** The free text that says whose it is. */
  setDescription(ref: ServiceRef, description: string): Promise<void>
  setSource(applicationId: string, source: Source): Promise<void>
  setBuild(applicationId: string, build: Build): Promise<void>
  setSettings(applicationId: string, settings: ApplicationSettings): Promise<void>
  setCompose(composeId: string, change: ComposeChange): Promise<void>
  /** Replaces all variables. @throws LandfallError config, naming a variable whose value Dokploy cannot keep byte for byte */
  setEnv(ref: ServiceRef, env: EnvSet): Promise<void>
  /** The command that a deploy of this compose stack runs, without "docker". */
  readCommand(composeId: string): Promise<string>
  /** The compose file that would run now, with what Dokploy adds to it. */
  readComposeFile(composeId: string): Promise<string>

  createDomain(ref: ServiceRef, domain: Omit<Domain, 'id' | 'enabled'>): Promise<void>
  setDomain(id: string, domain: Omit<Domain, 'id' | 'enabled'>): Promise<void>
  deleteDomain(id: string): Promise<void>
  /** A text that Dokploy keeps beside a stack's code, as `../files/<name>`. */
  setFile(composeId: string, file: { id?: string; name: string; text: string }): Promise<void>
  createVolume(applicationId: string, mount: { volume: string; path: string }): Promise<void>

  /** Queued; answers with the deployment that came of it. */
  startDeploy(ref: ServiceRef, deploy: { title: string; description: string; again?: boolean }): Promise<Deployment>
  /** Newest first. */
  listDeployments(ref: ServiceRef): Promise<readonly ListedDeployment[]>
  readDeploymentLog(deploymentId: string, lines: number): Promise<string>
  readComposeLog(composeId: string, containerId: string, lines: number): Promise<string>
  /** Applies the service's settings again, without a build. */
  reload(application: { id: string; appName: string }): Promise<void>
  /** Back to a version that the registry keeps. */
  rollBack(rollbackId: string): Promise<void>

  /** Replicas as Swarm counts them: "1/1"; undefined when there is no such service. */
  readReplicas(appName: string): Promise<{ readonly running: number; readonly wanted: number } | undefined>
  listTasks(appName: string): Promise<readonly Task[]>
  /** Of a compose stack that Swarm runs, on every node. */
  listStackTasks(appName: string): Promise<readonly StackTask[]>
  listContainers(appName: string, kind: ServiceKind): Promise<readonly Container[]>
  /** @param id of a container or a task. Undefined when it is gone. */
  inspectContainer(id: string): Promise<ContainerReport | undefined>

  listSchedules(ref: ServiceRef): Promise<readonly Schedule[]>
  setSchedule(ref: ServiceRef, schedule: Omit<Schedule, 'id'> & { id?: string; description: string }): Promise<void>
  /** Runs it to its end. */
  runSchedule(id: string): Promise<{ readonly status: 'done' | 'error'; readonly log: string }>

  createDatabase(input: {
    kind: DatabaseKind
    environmentId: string
    name: string
    description: string
    database: string
    user: string
    password: Secret
    image?: string
  }): Promise<string>
  readDatabase(kind: DatabaseKind, id: string): Promise<Database>
  startDatabase(kind: DatabaseKind, id: string): Promise<void>

  listBuckets(): Promise<readonly Bucket[]>
  setBucket(bucket: Omit<Bucket, 'id'> & { id?: string }): Promise<void>
  /** @throws LandfallError vendor, when the bucket can't be reached with these keys */
  testBucket(bucket: Omit<Bucket, 'id'>): Promise<void>
  /** Of the panel itself. */
  listPanelBackups(): Promise<readonly Backup[]>
  setBackup(
    owner: { kind: DatabaseKind; id: string } | { kind: 'panel' },
    backup: Omit<Backup, 'id' | 'appName' | 'enabled'> & { id?: string },
  ): Promise<void>
  listVolumeBackups(ref: ServiceRef): Promise<readonly VolumeBackup[]>
  setVolumeBackup(ref: ServiceRef, backup: Omit<VolumeBackup, 'id' | 'enabled'> & { id?: string; appName: string }): Promise<void>
  /** Of a volume nothing is said when it fails: whether there is a new file decides. */
  runBackup(backup: { kind: Exclude<DatabaseKind, 'redis'> | 'panel' | 'volume'; id: string }): Promise<void>
  /**
   * What lies in a bucket's folder: `search` is the folder with its slash, and behind it a part of the names. At most
   * `BACKUP_FILES_LISTED` of them, the first by name.
   */
  listBackupFiles(bucketId: string, search: string): Promise<readonly { readonly path: string; readonly bytes: number }[]>

  listRegistries(): Promise<readonly Registry[]>
  createRegistry(registry: Omit<Registry, 'id'> & { password: Secret }): Promise<void>
  listNotifications(): Promise<readonly Notification[]>
  setNotification(notification: Omit<Notification, 'id' | 'targetId'> & { id?: string; targetId?: string }): Promise<void>
  listSshKeys(): Promise<readonly { readonly id: string; readonly name: string }[]>
  /** GitHub Apps that are installed at the panel. */
  listGithubApps(): Promise<readonly { readonly id: string; readonly name: string }[]>
}
