/** What a service is, beside what the estate wants it to be: field by field, values of variables never shown. Pure. */

import type { AppSpec, DomainSpec, RepositorySource } from '../estate/apps.ts'
import type {
  Application,
  ApplicationSettings,
  Build,
  Compose,
  Domain,
  EnvSet,
  Service,
  Source,
} from '../providers/ports/dokploy-apps.ts'
import type { Secret } from '../secret.ts'
import type { AppsView } from './app-world.ts'

/** What comes from files and from the environment, beside the estate. */
export interface AppInput {
  /** Variables of the app's env file. */
  readonly env?: EnvSet
  /** Text of a compose file that lies beside the config. */
  readonly file?: Secret
}

/** Set by each deploy of ours, so a difference in it is none. */
export const VERSION_VARIABLE = 'DEPLOY_VERSION'

export const desiredMark = (estate: string, app: string): string => `landfall estate=${estate} app=${app}`

const sshKeyId = (view: AppsView, repository: RepositorySource): string | undefined =>
  repository.sshKey === undefined ? undefined : view.sshKeys.find(key => key.name === repository.sshKey)?.id

/** A GitHub repository comes through the App that is installed at the panel, else by its public address or a key. */
export function desiredSource(app: AppSpec, view: AppsView): Source {
  const { source } = app
  if (source.kind === 'image') return { kind: 'image', image: source.image }
  const { repository } = source
  if (!repository) return { kind: 'raw' }
  const { branch, path, watch } = repository
  const [githubApp] = view.githubApps
  if (repository.kind === 'github' && repository.repository && githubApp && repository.sshKey === undefined)
    return {
      kind: 'github',
      githubId: githubApp.id,
      owner: repository.repository.owner,
      repository: repository.repository.name,
      branch,
      path,
      watch,
    }
  const key = sshKeyId(view, repository)
  return { kind: 'git', url: repository.url, branch, path, watch, ...(key === undefined ? {} : { sshKeyId: key }) }
}

export function desiredBuild(app: AppSpec): Build | undefined {
  if (app.source.kind !== 'build') return undefined
  const { type, dockerfile, context, stage, publish, spa } = app.source.build
  return {
    type,
    ...(dockerfile === undefined ? (type === 'dockerfile' ? { dockerfile: 'Dockerfile' } : {}) : { dockerfile }),
    ...(context === undefined ? {} : { context }),
    ...(stage === undefined ? {} : { stage }),
    ...(publish === undefined ? {} : { publish }),
    spa,
  }
}

export function desiredSettings(app: AppSpec, view: AppsView): ApplicationSettings {
  const registry = app.registry === undefined ? undefined : view.registries.find(each => each.name === app.registry)
  const { health } = app
  return {
    replicas: app.replicas,
    memoryBytes: (app.memoryMb ?? 0) * 1_048_576,
    ...(health
      ? {
          health: {
            command: health.command,
            intervalMs: health.intervalMs,
            timeoutMs: health.timeoutMs,
            startMs: health.startMs,
            retries: health.retries,
          },
        }
      : {}),
    update: 'start_first_rollback',
    autoDeploy: app.deployOn === 'push',
    ...(registry ? { rollbackRegistryId: registry.id } : {}),
    ...(registry && app.isShared ? { registryId: registry.id } : {}),
  }
}

const show = (value: unknown): string =>
  value === undefined ? 'nothing' : typeof value === 'string' ? value || '""' : JSON.stringify(value)

/** `field: before → after` for each field that differs. */
export function fieldDiff<T extends object>(before: T, after: T, fields: readonly (keyof T & string)[]): string[] {
  return fields
    .filter(field => show(before[field]) !== show(after[field]))
    .map(field => `${field}: ${show(before[field])} → ${show(after[field])}`)
}

const SOURCE_FIELDS = ['kind', 'image', 'url', 'owner', 'repository', 'branch', 'path', 'watch', 'sshKeyId'] as const

export function sourceDiff(before: Source, after: Source): string[] {
  // Shown by its name elsewhere; an address may hold a login that somebody typed in the panel.
  const hide = (source: Source): Record<string, unknown> => ({
    ...source,
    ...('url' in source ? { url: source.url.replace(/\/\/[^/@]*@/, '//…@') } : {}),
  })
  return fieldDiff(hide(before), hide(after), [...SOURCE_FIELDS]).map(line => `source ${line}`)
}

export const buildDiff = (before: Build, after: Build): string[] => {
  const fields: readonly (keyof Build)[] =
    after.type === 'dockerfile' ? ['type', 'dockerfile', 'context', 'stage'] : ['type', 'publish', 'spa']
  return fieldDiff(before, after, fields).map(line => `build ${line}`)
}

export const settingsDiff = (before: ApplicationSettings, after: ApplicationSettings): string[] =>
  fieldDiff(before, after, [
    ...(['replicas', 'memoryBytes', 'health', 'update', 'autoDeploy', 'rollbackRegistryId'] as const),
    ...(after.registryId === undefined ? [] : (['registryId'] as const)),
  ])

/** By name only: what is new, what changes, what goes. */
export function envDiff(before: EnvSet, after: EnvSet): string[] {
  const have = new Map(before.map(([name, value]) => [name, value.reveal()]))
  const want = new Map(after.map(([name, value]) => [name, value.reveal()]))
  return [
    ...[...want.keys()].filter(name => !have.has(name)).map(name => `+ ${name}`),
    ...[...want].filter(([name, value]) => have.has(name) && have.get(name) !== value).map(([name]) => `~ ${name}`),
    ...[...have.keys()].filter(name => !want.has(name)).map(name => `- ${name}`),
  ]
}

/** The wanted variables, with the version that the last deploy set. */
export const desiredEnv = (wanted: EnvSet, current: EnvSet): EnvSet => {
  const version = current.find(([name]) => name === VERSION_VARIABLE)
  return wanted.some(([name]) => name === VERSION_VARIABLE) || version === undefined ? wanted : [...wanted, version]
}

const domainKey = (domain: Pick<Domain, 'host' | 'path' | 'service'>): string =>
  `${domain.host}${domain.path} ${domain.service ?? ''}`
const DOMAIN_FIELDS = ['port', 'https', 'certificate', 'resolver', 'stripPath', 'enabled'] as const

export interface DomainDiff {
  readonly creates: readonly DomainSpec[]
  readonly updates: readonly { readonly id: string; readonly domain: DomainSpec; readonly lines: readonly string[] }[]
  readonly deletes: readonly Domain[]
}

export function domainDiff(before: readonly Domain[], after: readonly DomainSpec[]): DomainDiff {
  const used = new Set<string>()
  const pairs = after.map(domain => {
    const found = before.find(each => domainKey(each) === domainKey(domain) && !used.has(each.id))
    if (found) used.add(found.id)
    return { domain, found }
  })
  return {
    creates: pairs.filter(pair => !pair.found).map(pair => pair.domain),
    updates: pairs.flatMap(({ domain, found }) => {
      if (!found) return []
      const lines = fieldDiff<Omit<Domain, 'id'>>(found, { ...domain, enabled: true }, [...DOMAIN_FIELDS])
      return lines.length > 0 ? [{ id: found.id, domain, lines }] : []
    }),
    // Made twice by hand, or not in the file any more.
    deletes: before.filter(each => !used.has(each.id)),
  }
}

export const describeDomain = ({
  host,
  path,
  port,
  https,
  service,
}: Pick<Domain, 'host' | 'path' | 'port' | 'https' | 'service'>): string =>
  `${https ? 'https' : 'http'}://${host}${path === '/' ? '' : path} → ${service === undefined ? '' : `${service}:`}${port}`

/** The command that a stack's deploys run, when a cache action is chained to it; undefined: Dokploy's own. */
export function desiredCommand(app: AppSpec, stack: Pick<Compose, 'appName'>): string | undefined {
  const { postDeploy, source } = app
  if (postDeploy.action !== 'exec' || postDeploy.via === 'deploy' || source.kind !== 'compose') return undefined
  const file = source.repository ? source.file : 'docker-compose.yml'
  const project = `compose -p ${stack.appName} -f ${file}`
  const up = `${project} up -d --build --remove-orphans`
  const exec = `docker ${project} exec -T ${postDeploy.service}`
  if (postDeploy.via === 'compose_command') return `${up} && ${exec} ${postDeploy.command}`
  const inside = `/tmp/${HOOK_FILE}`
  return `${up} && docker ${project} cp ../files/${HOOK_FILE} ${postDeploy.service}:${inside} && ${exec} sh ${inside}`
}

/** The file beside a stack's code that holds an action which no command may hold. */
export const HOOK_FILE = 'landfall-post-deploy.sh'

/** Its text; undefined when the action needs none. */
export const desiredScript = ({ postDeploy }: Pick<AppSpec, 'postDeploy'>): string | undefined =>
  postDeploy.action === 'exec' && postDeploy.via === 'compose_script' ? `set -e\n${postDeploy.command}\n` : undefined

export const scriptOf = (service: Pick<Service, 'mounts'>): Service['mounts'][number] | undefined =>
  service.mounts.find(each => each.file?.name === HOOK_FILE)

/** The schedule that holds an action which only our own deploys run; never due by itself. */
export const HOOK_SCHEDULE = 'landfall post-deploy'
export const NEVER = '0 0 31 2 *'

export interface ServiceDiff {
  readonly source: readonly string[]
  readonly build: readonly string[]
  readonly settings: readonly string[]
  readonly env: readonly string[]
  readonly domains: DomainDiff
  readonly volumes: readonly { readonly name: string; readonly path: string }[]
  readonly compose: readonly string[]
  readonly schedule: readonly string[]
}

/** Everything that is not as wanted. */
export function diffService(app: AppSpec, input: AppInput, service: Service, view: AppsView): ServiceDiff {
  const wantedEnv = input.env === undefined ? undefined : desiredEnv(input.env, service.env)
  return {
    source: sourceDiff(service.source, desiredSource(app, view)),
    build: service.kind === 'application' ? diffBuild(app, service) : [],
    settings: service.kind === 'application' ? settingsDiff(service.settings, desiredSettings(app, view)) : [],
    env: wantedEnv === undefined ? [] : envDiff(service.env, wantedEnv),
    domains: domainDiff(service.domains, app.domains),
    volumes: app.volumes.filter(
      volume => !service.mounts.some(mount => mount.volume === volume.name && mount.path === volume.path),
    ),
    compose: service.kind === 'compose' ? diffCompose(app, input, service) : [],
    schedule: diffSchedule(app, view, service),
  }
}

function diffBuild(app: AppSpec, service: Application): string[] {
  const build = desiredBuild(app)
  return build ? buildDiff(service.build, build) : []
}

const barePath = (path: string): string => path.replace(/^\.?\//, '')

function diffCompose(app: AppSpec, input: AppInput, service: Compose): string[] {
  if (app.source.kind !== 'compose') return []
  const command = desiredCommand(app, service) ?? ''
  const script = desiredScript(app)
  return [
    ...(service.type === app.source.type ? [] : [`type: ${service.type} → ${app.source.type}`]),
    ...(input.file !== undefined && input.file.reveal() !== service.file.reveal() ? ['compose file: changed'] : []),
    ...(app.source.repository && barePath(service.path) !== barePath(app.source.file)
      ? [`path: ${service.path} → ${app.source.file}`]
      : []),
    ...(script === undefined || scriptOf(service)?.file?.text === script ? [] : [`post-deploy: ${script.split('\n')[1] ?? ''}`]),
    ...(service.command === command ? [] : [`command: ${command === '' ? "Dokploy's own" : command}`]),
    ...(service.autoDeploy === (app.deployOn === 'push')
      ? []
      : [`autoDeploy: ${service.autoDeploy} → ${app.deployOn === 'push'}`]),
  ]
}

function diffSchedule(app: AppSpec, view: AppsView, service: Service): string[] {
  const { postDeploy } = app
  if (postDeploy.action !== 'exec' || postDeploy.via !== 'deploy') return []
  const found = view.schedules[service.id]?.find(each => each.name === HOOK_SCHEDULE)
  if (found && found.command === postDeploy.command && (found.service ?? '') === postDeploy.service && !found.enabled) return []
  return [`post-deploy: ${postDeploy.service === '' ? '' : `in ${postDeploy.service}: `}${postDeploy.command}`]
}
