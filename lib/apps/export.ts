/** What exists in Dokploy, as the sections of config.json that would describe it. Variables by name only; passwords not at all. */

import { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import { slug } from '../estate/naming.ts'
import type { Application, Compose, Database, DokployApps, Domain, Service, Source } from '../providers/ports/dokploy-apps.ts'
import type { Opened, Session } from '../script.ts'
import { openPanel } from '../steps/app-world.ts'
import { findServer } from '../steps/server.ts'

export interface Exported {
  readonly apps: Readonly<Record<string, unknown>>
  readonly databases: Readonly<Record<string, unknown>>
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

const common = (service: Service, place: { project: string; environment: string; server: string }) => ({
  server: place.server,
  project: place.project,
  environment: place.environment === 'production' ? undefined : place.environment,
  source: sourceOf(service.source),
  env_file: service.env.length > 0 ? `.env.${slug(service.name)}` : undefined,
  domains: service.domains.length > 0 ? service.domains.map(domainOf) : undefined,
})

const applicationOf = (app: Application) => {
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
          publish: build.type === 'static' ? build.publish : undefined,
        }),
    port: app.domains[0]?.port,
    health: settings.health ? { command: settings.health.command } : { none: true },
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

const composeOf = (stack: Compose) => ({
  compose: without({
    file: stack.source.kind === 'raw' ? `compose.${slug(stack.name)}.yml` : stack.path.replace(/^\.?\//, ''),
    type: stack.type === 'stack' ? 'stack' : undefined,
  }),
  deploy_on: stack.source.kind === 'raw' ? undefined : stack.autoDeploy ? 'push' : 'command',
})

const notesOf = (service: Service): string[] => [
  ...(service.source.kind === 'other' ? [`${service.name}: its source (${service.source.name}) has no word in config.json`] : []),
  ...(service.env.length > 0
    ? [
        `${service.name}: ${service.env.length} variables (${service.env.map(([name]) => name).join(', ')}); write them with: bun scripts/env.ts pull ${slug(service.name)}`,
      ]
    : []),
  ...(service.kind === 'application' && service.mounts.some(mount => mount.type !== 'volume')
    ? [`${service.name}: binds or files are mounted, which config.json has no word for`]
    : []),
  ...(service.kind === 'compose' && service.source.kind === 'raw'
    ? [`${service.name}: copy its compose file out of the panel`]
    : []),
]

/** Reads one panel whole. */
export async function exportPanel(api: DokployApps, server: string): Promise<Exported> {
  const apps: Record<string, unknown> = {}
  const databases: Record<string, unknown> = {}
  const left: string[] = []
  for (const project of await api.listProjects())
    for (const environment of project.environments)
      for (const listed of environment.services) {
        const place = { server, project: project.name, environment: environment.name }
        const name = slug(listed.name)
        if (listed.kind !== 'application' && listed.kind !== 'compose') {
          databases[name] = databaseOf(await api.readDatabase(listed.kind, listed.id), place)
          continue
        }
        const service = await api.readService({ kind: listed.kind, id: listed.id })
        if (Object.hasOwn(apps, name))
          left.push(`${listed.name} in ${project.name}/${environment.name}: another app has that name already`)
        else
          apps[name] = without({
            ...common(service, place),
            ...(service.kind === 'application' ? applicationOf(service) : composeOf(service)),
          })
        left.push(...notesOf(service))
      }
  return { apps, databases, left }
}

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
  const sections = { apps: {}, databases: {} }
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
    Object.assign(sections.apps, part.apps)
    Object.assign(sections.databases, part.databases)
    left.push(...part.left)
  }
  if (Object.keys(sections.apps).length + Object.keys(sections.databases).length === 0 && left.length === 0)
    throw new LandfallError('not_found', 'No Dokploy of this estate holds an application.', { hint: 'bun scripts/app.ts --plan' })
  session.reporter.page([JSON.stringify(sections, null, 2), '', ...left.map(line => `# ${line}`)].join('\n'), {
    export: sections,
    left,
  })
  return 0
}
