/** What config.json says about applications, resolved: plain data with every default filled in. */

export interface Place {
  /** Name of the server whose Dokploy it lives in. */
  readonly server: string
  readonly project: string
  readonly environment: string
}

export interface RepositorySource {
  /** `github`: "owner/name" at GitHub; `git`: any other, `url` as it is cloned. */
  readonly kind: 'github' | 'git'
  readonly url: string
  /** Only for `github`. */
  readonly repository?: { readonly owner: string; readonly name: string }
  readonly branch: string
  readonly path: string
  readonly watch: readonly string[]
  /** Name of an SSH key kept in Dokploy. */
  readonly sshKey?: string
}

export interface BuildSpec {
  readonly type: 'dockerfile' | 'nixpacks' | 'railpack' | 'static' | 'heroku_buildpacks' | 'paketo_buildpacks'
  readonly dockerfile?: string
  readonly context?: string
  readonly stage?: string
  readonly publish?: string
  readonly spa: boolean
}

export type AppSource =
  | { readonly kind: 'image'; readonly image: string }
  | { readonly kind: 'build'; readonly repository: RepositorySource; readonly build: BuildSpec }
  | {
      readonly kind: 'compose'
      readonly type: 'docker-compose' | 'stack'
      /** In the repository, or beside the config file. */
      readonly file: string
      readonly repository?: RepositorySource
    }

export interface HealthSpec {
  /** What runs in the container; exit code 0 is healthy. */
  readonly command: readonly string[]
  readonly path: string
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly startMs: number
  readonly retries: number
}

export interface DomainSpec {
  readonly host: string
  readonly path: string
  readonly port: number
  readonly service?: string
  readonly https: boolean
  readonly certificate: 'letsencrypt' | 'custom' | 'none'
  readonly resolver?: string
  readonly stripPath: boolean
}

/**
 * `via`: `compose_command` and `compose_script` are chained to the stack's own deploys, so a push runs them too; the script is for what a
 * chained command may not hold. `deploy` happens only after deploy.ts.
 */
export type PostDeploy =
  | { readonly action: 'none' }
  | { readonly action: 'versioned' }
  | {
      readonly action: 'exec'
      readonly what: 'flush' | 'selective' | 'command'
      readonly service: string
      readonly command: string
      readonly via: 'compose_command' | 'compose_script' | 'deploy'
    }
  | { readonly action: 'call'; readonly urlVariable: string }

export interface AppSpec extends Place {
  readonly name: string
  readonly source: AppSource
  /** `.env` file beside the config file. */
  readonly envFile?: string
  readonly port: number
  readonly domains: readonly DomainSpec[]
  readonly health?: HealthSpec
  readonly version?: { readonly in: 'header' | 'path'; readonly name: string }
  readonly replicas: number
  readonly memoryMb?: number
  readonly volumes: readonly { readonly name: string; readonly path: string }[]
  readonly deployOn: 'push' | 'command'
  readonly registry?: string
  /** It is built on a server with workers, who run it too: they pull it from its registry. */
  readonly isShared: boolean
  readonly postDeploy: PostDeploy
}

export interface DatabaseSpec extends Place {
  readonly name: string
  readonly kind: 'postgres' | 'mysql' | 'mariadb' | 'mongo' | 'redis'
  readonly image?: string
  readonly database: string
  readonly user: string
}

export interface RegistrySpec {
  readonly name: string
  readonly server: string
  readonly url: string
  readonly username: string
  readonly passwordVariable: string
  readonly prefix: string
}

export interface BucketSpec {
  readonly name: string
  readonly server: string
  readonly endpoint: string
  readonly region: string
  readonly bucket: string
  readonly provider: string
  readonly accessKeyVariable: string
  readonly secretKeyVariable: string
}

export interface BackupSpec {
  readonly name: string
  readonly server: string
  readonly bucket: string
  readonly what:
    | { readonly kind: 'database'; readonly database: string }
    | {
        readonly kind: 'volume'
        readonly app: string
        readonly volume: string
        /** Of a compose stack. */
        readonly service?: string
        readonly stop: boolean
      }
    | { readonly kind: 'panel' }
  readonly schedule: string
  readonly keep: number
  readonly prefix: string
}

export type NotificationEvent =
  | 'deploy'
  | 'build_error'
  | 'database_backup'
  | 'volume_backup'
  | 'panel_backup'
  | 'restart'
  | 'cleanup'
  | 'threshold'

export type NotificationTarget =
  | { readonly kind: 'slack'; readonly urlVariable: string; readonly channel: string }
  | { readonly kind: 'discord' | 'webhook'; readonly urlVariable: string }
  | {
      readonly kind: 'email'
      readonly server: string
      readonly port: number
      readonly username: string
      readonly passwordVariable: string
      readonly from: string
      readonly to: readonly string[]
    }

export interface NotificationSpec {
  readonly name: string
  readonly server: string
  readonly target: NotificationTarget
  readonly on: readonly NotificationEvent[]
}

/** Everything of an estate that lives inside Dokploy. */
export interface Platform {
  readonly apps: readonly AppSpec[]
  readonly databases: readonly DatabaseSpec[]
  readonly registries: readonly RegistrySpec[]
  readonly buckets: readonly BucketSpec[]
  readonly backups: readonly BackupSpec[]
  readonly notifications: readonly NotificationSpec[]
}

export const EMPTY_PLATFORM: Platform = {
  apps: [],
  databases: [],
  registries: [],
  buckets: [],
  backups: [],
  notifications: [],
}

/** The compose file's or the image's own repository, when the app has one. */
export const repositoryOf = (source: AppSource): RepositorySource | undefined =>
  source.kind === 'image' ? undefined : source.repository
