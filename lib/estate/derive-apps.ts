/** What follows from config.json's sections about applications. Assumes nothing about their correctness: `check-apps.ts` judges. */

import type {
  AppSource,
  AppSpec,
  BackupSpec,
  BuildSpec,
  DomainSpec,
  HealthSpec,
  NotificationEvent,
  NotificationTarget,
  Place,
  Platform,
  PostDeploy,
  RepositorySource,
} from './apps.ts'
import { isInCluster } from './cluster.ts'
import { projectOf, type ServerGroup, serverGroupsOf } from './derive.ts'
import type { Config } from './schema.ts'

export type AppConfig = NonNullable<Config['apps']>[string]
type NotificationConfig = NonNullable<Config['notifications']>[string]

export const DEFAULT_PORT = 3000
const ALL_EVENTS: readonly NotificationEvent[] = [
  'deploy',
  'build_error',
  'database_backup',
  'volume_backup',
  'panel_backup',
  'restart',
  'threshold',
]

/** Servers with a Dokploy, which is what apps live in. */
export const dokployGroupsOf = (config: Config): readonly ServerGroup[] => serverGroupsOf(config).filter(group => group.dokploy)

/** The server that a `server` key means: a name or a role; the only one when nothing is said. Undefined when it is not clear. */
export const serverNamed = (config: Config, wanted: string | undefined): string | undefined => {
  const groups = dokployGroupsOf(config)
  const found =
    wanted === undefined
      ? groups.length === 1
        ? groups[0]
        : undefined
      : (groups.find(group => group.name === wanted) ?? groups.find(group => group.role === wanted))
  return found?.names[0]
}

const placeOf = (config: Config, at: { server?: string; project?: string; environment?: string }): Place => ({
  server: serverNamed(config, at.server) ?? '',
  project: at.project ?? projectOf(config) ?? '',
  environment: at.environment ?? 'production',
})

const repositoryFrom = (app: AppConfig): RepositorySource | undefined => {
  const { github, git, branch = 'main', path = '/', watch = [], ssh_key: sshKey } = app.source ?? {}
  const more = { branch, path, watch, ...(sshKey === undefined ? {} : { sshKey }) }
  if (github !== undefined) {
    const [owner = '', name = ''] = github.split('/')
    const url = sshKey === undefined ? `https://github.com/${github}.git` : `git@github.com:${github}.git`
    return { kind: 'github', url, repository: { owner, name: name.replace(/\.git$/, '') }, ...more }
  }
  if (git === undefined) return undefined
  // A GitHub address is GitHub, however it is written: its webhooks can be registered.
  const [, owner, name] = /^(?:https:\/\/github\.com\/|git@github\.com:)([^/]+)\/([^/]+?)(?:\.git)?$/.exec(git) ?? []
  return { kind: 'git', url: git, ...(owner && name ? { repository: { owner, name } } : {}), ...more }
}

const buildFrom = ({ build = {} }: AppConfig): BuildSpec => ({
  type: build.type ?? (build.dockerfile === undefined ? 'nixpacks' : 'dockerfile'),
  ...(build.dockerfile === undefined ? {} : { dockerfile: build.dockerfile }),
  ...(build.context === undefined ? {} : { context: build.context }),
  ...(build.stage === undefined ? {} : { stage: build.stage }),
  ...(build.publish === undefined ? {} : { publish: build.publish }),
  spa: build.spa ?? false,
})

const sourceFrom = (app: AppConfig): AppSource => {
  const repository = repositoryFrom(app)
  if (app.compose !== undefined)
    return {
      kind: 'compose',
      type: app.compose.type ?? 'docker-compose',
      file: app.compose.file ?? 'docker-compose.yml',
      ...(repository ? { repository } : {}),
    }
  if (repository) return { kind: 'build', repository, build: buildFrom(app) }
  return { kind: 'image', image: app.source?.image ?? '' }
}

const healthFrom = (app: AppConfig, port: number): HealthSpec | undefined => {
  const { none, command, path = '/', interval_s = 10, timeout_s = 5, start_s = 30, retries = 3 } = app.health ?? {}
  if (none === true || app.compose !== undefined) return undefined
  const url = `http://127.0.0.1:${port}${path}`
  return {
    path,
    // Docker's own first word for "as it stands" says nothing.
    command: (command?.[0] === 'CMD' ? command.slice(1) : command) ?? [
      'CMD-SHELL',
      `wget -q -O /dev/null ${url} || curl -fsS -o /dev/null ${url}`,
    ],
    intervalMs: interval_s * 1000,
    timeoutMs: timeout_s * 1000,
    startMs: start_s * 1000,
    retries,
  }
}

const domainFrom = (port: number, domain: NonNullable<AppConfig['domains']>[number]): DomainSpec => {
  const https = domain.https ?? true
  return {
    host: domain.host ?? '',
    path: domain.path ?? '/',
    port: domain.port ?? port,
    ...(domain.service === undefined ? {} : { service: domain.service }),
    https,
    certificate: https ? (domain.certificate ?? 'letsencrypt') : 'none',
    ...(domain.resolver === undefined ? {} : { resolver: domain.resolver }),
    stripPath: domain.strip_path ?? false,
  }
}

/** What Dokploy refuses in a compose command (facts/dokploy 13): such an action travels as a file. */
const REFUSED_IN_CHAIN = /[;|`$(){}<>\n\\&"]/

/** The command that an action runs inside a container. Pure. */
const commandOf = (app: AppConfig): string => {
  const { action, pattern = '', command = '' } = app.post_deploy ?? {}
  if (action === 'flush') return 'redis-cli FLUSHALL'
  // A key may hold spaces: split at them, other keys than the meant ones would go.
  if (action === 'selective') return `redis-cli --scan --pattern '${pattern}' | tr '\\n' '\\000' | xargs -0 -r redis-cli UNLINK`
  return command
}

const postDeployFrom = (app: AppConfig): PostDeploy => {
  const { action = 'none', service, url_env: urlVariable } = app.post_deploy ?? {}
  if (action === 'none' || action === 'versioned') return { action }
  if (urlVariable !== undefined) return { action: 'call', urlVariable }
  const command = commandOf(app)
  const chained = app.compose !== undefined && app.compose.type !== 'stack'
  return {
    action: 'exec',
    what: action,
    service: app.compose === undefined ? '' : (service ?? 'cache'),
    command,
    via: !chained ? 'deploy' : REFUSED_IN_CHAIN.test(command) ? 'compose_script' : 'compose_command',
  }
}

/** Assumes that it lives somewhere; the cluster's apps have no Dokploy. */
export const appFrom = (config: Config, name: string, app: AppConfig): AppSpec => {
  const port = app.port ?? DEFAULT_PORT
  const source = sourceFrom(app)
  const health = healthFrom(app, port)
  const version = app.version?.header ?? app.version?.path
  return {
    name,
    ...placeOf(config, app),
    source,
    ...(app.env_file === undefined ? {} : { envFile: app.env_file }),
    port,
    domains: (app.domains ?? []).map(domain => domainFrom(port, domain)),
    ...(health ? { health } : {}),
    ...(version === undefined ? {} : { version: { in: app.version?.header === undefined ? 'path' : 'header', name: version } }),
    replicas: app.replicas ?? 1,
    ...(app.memory_mb === undefined ? {} : { memoryMb: app.memory_mb }),
    volumes: Object.entries(app.volumes ?? {}).map(([volume, path]) => ({ name: volume, path })),
    deployOn: app.deploy_on ?? (repositoryFrom(app) ? 'push' : 'command'),
    ...(app.registry === undefined ? {} : { registry: app.registry }),
    isShared: isShared(config, app),
    postDeploy: postDeployFrom(app),
  }
}

/** Whether workers run what is built here. A stack of Compose and what has a volume stay on the server itself. */
export const isShared = (config: Config, app: AppConfig): boolean =>
  app.compose === undefined &&
  app.source?.image === undefined &&
  Object.keys(app.volumes ?? {}).length === 0 &&
  serverGroupsOf(config).some(group => group.joins !== undefined && group.joins === serverNamed(config, app.server))

const targetFrom = (notification: NotificationConfig): NotificationTarget => {
  const urlVariable = notification.url_env ?? ''
  switch (notification.kind) {
    case 'slack':
      return { kind: 'slack', urlVariable, channel: notification.channel ?? '' }
    case 'email':
      return {
        kind: 'email',
        server: notification.smtp_server ?? '',
        port: notification.smtp_port ?? 587,
        username: notification.username ?? '',
        passwordVariable: notification.password_env ?? '',
        from: notification.from ?? '',
        to: notification.to ?? [],
      }
    default:
      return { kind: notification.kind ?? 'webhook', urlVariable }
  }
}

const backupsFrom = (config: Config): BackupSpec[] => {
  const buckets = Object.keys(config.buckets ?? {})
  return Object.entries(config.backups ?? {}).map(([name, backup]) => {
    const owner =
      backup.database !== undefined
        ? config.databases?.[backup.database]?.server
        : backup.app !== undefined
          ? config.apps?.[backup.app]?.server
          : backup.panel
    return {
      name,
      server: serverNamed(config, owner) ?? '',
      bucket: backup.to ?? buckets[0] ?? '',
      what:
        backup.database !== undefined
          ? { kind: 'database', database: backup.database }
          : backup.app !== undefined
            ? {
                kind: 'volume',
                app: backup.app,
                volume: backup.volume ?? '',
                ...(backup.service === undefined ? {} : { service: backup.service }),
                stop: backup.stop ?? false,
              }
            : { kind: 'panel' },
      schedule: (backup.schedule ?? '0 3 * * *').replace(/\s+/g, ' '),
      keep: backup.keep ?? 14,
      prefix: backup.prefix ?? name,
    }
  })
}

/** Everything that shall live inside Dokploy. The same file gives the same, in the same order. */
export const platformOf = (config: Config): Platform => ({
  apps: Object.entries(config.apps ?? {}).flatMap(([name, app]) =>
    isInCluster(config, app) ? [] : [appFrom(config, name, app)],
  ),
  databases: Object.entries(config.databases ?? {}).map(([name, database]) => ({
    name,
    ...placeOf(config, database),
    kind: database.kind ?? 'postgres',
    ...(database.image === undefined ? {} : { image: database.image }),
    database: database.database ?? 'app',
    user: database.user ?? 'app',
  })),
  registries: Object.entries(config.registries ?? {}).map(([name, registry]) => ({
    name,
    server: serverNamed(config, registry.server) ?? '',
    url: registry.url ?? '',
    username: registry.username ?? '',
    passwordVariable: registry.password_env ?? '',
    prefix: registry.prefix ?? registry.username ?? '',
  })),
  buckets: Object.entries(config.buckets ?? {}).map(([name, bucket]) => ({
    name,
    server: serverNamed(config, bucket.server) ?? '',
    endpoint: bucket.endpoint ?? '',
    region: bucket.region ?? 'us-east-1',
    bucket: bucket.bucket ?? '',
    provider: bucket.provider ?? 'Other',
    accessKeyVariable: bucket.access_key_env ?? '',
    secretKeyVariable: bucket.secret_key_env ?? '',
  })),
  backups: backupsFrom(config),
  notifications: Object.entries(config.notifications ?? {}).map(([name, notification]) => ({
    name,
    server: serverNamed(config, notification.server) ?? '',
    target: targetFrom(notification),
    on: [...(notification.on ?? ALL_EVENTS)].sort(),
  })),
})
