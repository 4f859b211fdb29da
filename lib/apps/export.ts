/**
 * What exists in Dokploy, as the sections of config.json that would describe it: read back, they ask for no change. Variables by name only;
 * passwords not at all.
 */

import { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import { DEFAULT_PORT } from '../estate/derive-apps.ts'
import { slug } from '../estate/naming.ts'
import type {
  Application,
  Compose,
  Database,
  DokployApps,
  Domain,
  Registry,
  Service,
  Source,
} from '../providers/ports/dokploy-apps.ts'
import type { Opened, Session } from '../script.ts'
import { scriptOf, VERSION_VARIABLE } from '../steps/app-diff.ts'
import { openPanel } from '../steps/app-world.ts'
import { findServer } from '../steps/server.ts'
import { type Belongings, callNameOf, exportBelongings, type Section, variableFor } from './export-belongings.ts'

export interface Exported extends Belongings {
  readonly apps: Section
  readonly databases: Section
  /** What the config has no word for, in sentences. */
  readonly left: readonly string[]
}

const without = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined)) as T

const sourceOf = (source: Source): Record<string, unknown> | undefined => {
  switch (source.kind) {
    case 'image':
      return { image: source.image }
    case 'github':
      return without({
        github: `${source.owner}/${source.repository}`,
        branch: source.branch,
        path: source.path === '/' ? undefined : source.path,
        watch: source.watch.length > 0 ? source.watch : undefined,
      })
    case 'git':
      return without({
        git: source.url.replace(/\/\/[^/@]*@/, '//'),
        branch: source.branch,
        path: source.path === '/' ? undefined : source.path,
        watch: source.watch.length > 0 ? source.watch : undefined,
      })
    default:
      return undefined
  }
}

const domainOf = (domain: Domain): Record<string, unknown> =>
  without({
    host: domain.host,
    path: domain.path === '/' ? undefined : domain.path,
    port: domain.port,
    service: domain.service,
    https: domain.https ? undefined : false,
    certificate: domain.certificate === 'letsencrypt' || !domain.https ? undefined : domain.certificate,
    resolver: domain.resolver,
    strip_path: domain.stripPath || undefined,
  })

/** Without the one that deploys set. */
const ownVariables = ({ env }: Service): readonly string[] => env.map(([name]) => name).filter(name => name !== VERSION_VARIABLE)

const common = (service: Service, place: { project: string; environment: string; server: string }) => ({
  server: place.server,
  project: place.project,
  environment: place.environment === 'production' ? undefined : place.environment,
  source: sourceOf(service.source),
  env_file: ownVariables(service).length > 0 ? `.env.${slug(service.name)}` : undefined,
  domains: service.domains.length > 0 ? service.domains.map(domainOf) : undefined,
})

const healthOf = ({ settings: { health }, domains }: Application): Record<string, unknown> => {
  if (!health) return { none: true }
  const port = domains[0]?.port ?? DEFAULT_PORT
  const [, path] = health.command.at(-1)?.match(new RegExp(`http://127\\.0\\.0\\.1:${port}(/\\S*) \\|\\| curl`)) ?? []
  return without({
    ...(path === undefined ? { command: health.command } : { path: path === '/' ? undefined : path }),
    interval_s: health.intervalMs / 1000,
    timeout_s: health.timeoutMs / 1000,
    start_s: health.startMs / 1000,
    retries: health.retries,
  })
}

const applicationOf = (app: Application, registries: readonly Registry[]) => {
  const { build, settings } = app
  const isImage = app.source.kind === 'image'
  return {
    build: isImage
      ? undefined
      : without({
          type: build.type,
          dockerfile: build.type === 'dockerfile' ? build.dockerfile : undefined,
          context: build.type === 'dockerfile' ? build.context : undefined,
          stage: build.type === 'dockerfile' ? build.stage : undefined,
          publish: build.type === 'static' || build.type === 'nixpacks' ? build.publish : undefined,
          spa: build.type === 'static' && build.spa ? true : undefined,
        }),
    port: app.domains[0]?.port,
    health: healthOf(app),
    registry: registries.find(each => each.id === settings.rollbackRegistryId)?.name,
    replicas: settings.replicas === 1 ? undefined : settings.replicas,
    memory_mb: settings.memoryBytes > 0 ? Math.round(settings.memoryBytes / 1_048_576) : undefined,
    volumes: app.mounts.some(mount => mount.type === 'volume')
      ? Object.fromEntries(
          app.mounts.flatMap(mount => (mount.type === 'volume' && mount.volume ? [[mount.volume, mount.path]] : [])),
        )
      : undefined,
    deploy_on: isImage ? undefined : settings.autoDeploy ? 'push' : 'command',
  }
}

/** The cache action that is chained to a stack's deploys. */
const postDeployOf = (stack: Compose): Record<string, unknown> | undefined => {
  const [, service, said = ''] = / up -d --build --remove-orphans && .*exec -T (\S+) (.+)$/.exec(stack.command) ?? []
  if (service === undefined) return undefined
  const command = scriptOf(stack)?.file?.text.split('\n')[1] ?? said
  const [, pattern] = /^redis-cli --scan --pattern '([^']+)' \| tr /.exec(command) ?? []
  if (command === 'redis-cli FLUSHALL') return { action: 'flush', service }
  return pattern === undefined ? { action: 'command', service, command } : { action: 'selective', service, pattern }
}

const composeOf = (stack: Compose) => ({
  compose: without({
    file: stack.source.kind === 'raw' ? `compose.${slug(stack.name)}.yml` : stack.path.replace(/^\.?\//, ''),
    type: stack.type === 'stack' ? 'stack' : undefined,
  }),
  deploy_on: stack.source.kind === 'raw' ? undefined : stack.autoDeploy ? 'push' : 'command',
  post_deploy: postDeployOf(stack),
})

const notesOf = (service: Service): string[] => [
  ...(service.source.kind === 'other' ? [`${service.name}: its source (${service.source.name}) has no word in config.json`] : []),
  ...(ownVariables(service).length > 0
    ? [
        `${service.name}: ${ownVariables(service).length} variables (${ownVariables(service).join(', ')}); write them with: bun scripts/env.ts pull ${slug(service.name)}`,
      ]
    : []),
  ...(service.kind === 'application' && service.mounts.some(mount => mount.type !== 'volume')
    ? [`${service.name}: binds or files are mounted, which config.json has no word for`]
    : []),
  ...(service.kind === 'compose' && service.command !== '' && !postDeployOf(service)
    ? [`${service.name}: its own command (${service.command}) has no word in config.json`]
    : []),
  ...(service.kind === 'compose' && service.source.kind === 'raw'
    ? [`${service.name}: copy its compose file out of the panel`]
    : []),
]

/** Reads one panel whole. */
export async function exportPanel(api: DokployApps, server: string): Promise<Exported> {
  const apps: Section = {}
  const databases: Section = {}
  const services: Record<string, Service> = {}
  const dumps: Record<string, Database['backups']> = {}
  const left: string[] = []
  const [registries, notifications] = await Promise.all([api.listRegistries(), api.listNotifications()])
  for (const project of await api.listProjects())
    for (const environment of project.environments)
      for (const listed of environment.services) {
        const place = { server, project: project.name, environment: environment.name }
        const name = slug(listed.name)
        if (listed.kind !== 'application' && listed.kind !== 'compose') {
          const database = await api.readDatabase(listed.kind, listed.id)
          databases[name] = databaseOf(database, place)
          dumps[name] = database.backups
          continue
        }
        const service = await api.readService({ kind: listed.kind, id: listed.id })
        if (Object.hasOwn(apps, name))
          left.push(`${listed.name} in ${project.name}/${environment.name}: another app has that name already`)
        else {
          const isCalled = notifications.some(each => each.name === callNameOf(service.name))
          apps[name] = without({
            ...(isCalled ? { post_deploy: { action: 'flush', url_env: variableFor(name, 'POST_DEPLOY_URL') } } : {}),
            ...common(service, place),
            ...(service.kind === 'application' ? applicationOf(service, registries) : composeOf(service)),
          })
          services[name] = service
        }
        left.push(...notesOf(service))
      }
  const around = await exportBelongings(api, server, services, dumps, registries, notifications)
  return { ...around, apps, databases, left: [...left, ...around.left] }
}

const SECTIONS = ['apps', 'databases', 'registries', 'buckets', 'backups', 'notifications'] as const

const databaseOf = (database: Database, place: { project: string; environment: string; server: string }) =>
  without({
    server: place.server,
    project: place.project,
    environment: place.environment === 'production' ? undefined : place.environment,
    kind: database.kind,
    image: database.image,
    database: database.database || undefined,
    user: database.user || undefined,
  })

/** Prints the sections for every Dokploy of the estate. */
export async function showExport(session: Session, opened: Opened): Promise<number> {
  const { composition, estate } = opened
  const world = new World(composition.readers)
  await world.look(['servers', 'panels'])
  const sections: Partial<Record<(typeof SECTIONS)[number], Section>> = {}
  const left: string[] = []
  for (const spec of estate.servers.filter(each => each.dokploy)) {
    const panel = world.get('panels')[spec.name]
    const open =
      panel?.state === 'up' && panel.admin === 'ours'
        ? await openPanel(
            { ...composition.deps, appsOn: composition.appsOn },
            findServer(estate.name, spec.name, world.get('servers')),
          )
        : undefined
    if (!open) {
      left.push(`${spec.name}: its Dokploy cannot be asked${panel?.state === 'down' ? ` (${panel.why})` : ''}`)
      continue
    }
    const part = await exportPanel(open.api, spec.name)
    for (const name of SECTIONS) {
      const before = sections[name] ?? {}
      left.push(
        ...Object.keys(part[name])
          .filter(each => Object.hasOwn(before, each))
          .map(each => `${name}.${each}: on more than one server; the one on ${spec.name} is not shown`),
      )
      const all = { ...part[name], ...before }
      if (Object.keys(all).length > 0) sections[name] = all
    }
    left.push(...part.left)
  }
  if (Object.keys(sections).length === 0 && left.length === 0)
    throw new LandfallError('not_found', 'No Dokploy of this estate holds an application.', { hint: 'bun scripts/app.ts --plan' })
  session.reporter.page(JSON.stringify(sections, null, 2), { export: sections, left })
  for (const line of left) session.reporter.warning(line)
  return 0
}
