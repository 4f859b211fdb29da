/** What is observed of the applications: one look at each panel, with one request per kind of thing and one per wanted service or environment of databases. */

import type { AppSpec, DatabaseSpec, DomainSpec, Place, Platform } from '../estate/apps.ts'
import { EMPTY_PLATFORM } from '../estate/apps.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type {
  Backup,
  Bucket,
  Database,
  DokployApps,
  Domain,
  Environment,
  ListedService,
  Notification,
  Project,
  Registry,
  Schedule,
  Service,
  ServiceRef,
  VolumeBackup,
} from '../providers/ports/dokploy-apps.ts'
import type { GitHub, Hook } from '../providers/ports/github.ts'
import type { Target } from '../providers/ports/machine.ts'
import type { Secret } from '../secret.ts'
import { domainDiff } from './app-diff.ts'
import type { Deps } from './deps.ts'
import { targetOf } from './machine.ts'
import { type PanelState, readLogin } from './panel.ts'
import { findServer } from './server.ts'

export interface Neighbour extends Place {
  readonly name: string
  readonly domains: readonly Domain[]
}

export interface AppsView {
  readonly state: 'open'
  readonly projects: readonly Project[]
  /** Services that the estate wants, by id. */
  readonly services: Readonly<Record<string, Service>>
  /** Services that the estate does not want; read only where one that it wants is to get a domain. */
  readonly neighbours: readonly Neighbour[]
  readonly databases: Readonly<Record<string, Database>>
  /** By service id. */
  readonly schedules: Readonly<Record<string, readonly Schedule[]>>
  readonly volumeBackups: Readonly<Record<string, readonly VolumeBackup[]>>
  readonly buckets: readonly Bucket[]
  readonly panelBackups: readonly Backup[]
  readonly registries: readonly Registry[]
  readonly notifications: readonly Notification[]
  readonly sshKeys: readonly { readonly id: string; readonly name: string }[]
  readonly githubApps: readonly { readonly id: string; readonly name: string }[]
}

/** `closed`: the panel can't be asked yet. */
export type AppsState = { readonly state: 'closed'; readonly why: string } | AppsView

/** `unseen`: the token does not see the repository's webhooks. */
export type HooksState =
  | { readonly state: 'seen'; readonly hooks: readonly Hook[] }
  | { readonly state: 'unseen'; readonly why: string }

export type AppsOn = (target: Target, apiKey: Secret) => Promise<DokployApps>

/** The API of the Dokploy on a server; undefined while it is not ours. */
export async function openPanel(
  deps: Pick<Deps, 'estate' | 'machines' | 'programs'> & { readonly appsOn: AppsOn },
  server: Server | undefined,
): Promise<{ readonly api: DokployApps; readonly target: Target } | undefined> {
  const target = server && targetOf(deps.estate.name, server)
  const login = target && (await readLogin(deps, target))
  return target && login?.apiKey ? { api: await deps.appsOn(target, login.apiKey), target } : undefined
}

/** Every match of a name in a place; more than one is the operator's to sort out. */
export const matchesOf = (
  view: Pick<AppsView, 'projects'>,
  place: Place,
  name: string,
  kinds: readonly ListedService['kind'][],
): readonly ListedService[] =>
  environmentsOf(view, place).flatMap(environment =>
    environment.services.filter(each => each.name === name && kinds.includes(each.kind)),
  )

export const projectsOf = ({ projects }: Pick<AppsView, 'projects'>, place: Pick<Place, 'project'>): readonly Project[] =>
  projects.filter(project => project.name === place.project)

export const environmentsOf = (view: Pick<AppsView, 'projects'>, place: Place): readonly Environment[] =>
  projectsOf(view, place).flatMap(project => project.environments.filter(each => each.name === place.environment))

export const SERVICE_KINDS = ['application', 'compose'] as const

export const platformFor = (deps: Pick<Deps, 'estate'>): Platform => deps.estate.platform ?? EMPTY_PLATFORM

const refsOf = (projects: readonly Project[], apps: readonly AppSpec[]): ServiceRef[] =>
  apps.flatMap(app =>
    matchesOf({ projects }, app, app.name, SERVICE_KINDS).flatMap(each =>
      each.kind === 'application' || each.kind === 'compose' ? [{ kind: each.kind, id: each.id }] : [],
    ),
  )

const byKey = <T>(entries: readonly (readonly [string, T])[]): Readonly<Record<string, T>> => Object.fromEntries(entries)

/** One look at what `serverName` shall hold. */
export async function readApps(api: DokployApps, platform: Platform, serverName: string): Promise<AppsView> {
  const apps = platform.apps.filter(app => app.server === serverName)
  const databases = platform.databases.filter(each => each.server === serverName)
  const backups = platform.backups.filter(each => each.server === serverName)
  const projects = await api.listProjects()
  const refs = refsOf(projects, apps)
  const scheduled = refs.filter(ref => isScheduled(projects, apps, ref))
  const saved = refs.filter(ref => isSaved(projects, apps, backups, ref))
  const wants = <T>(wanted: boolean, read: () => Promise<readonly T[]>): Promise<readonly T[]> =>
    wanted ? read() : Promise.resolve([])
  const [services, dbs, schedules, volumes, buckets, panelBackups, registries, notifications, sshKeys, githubApps] =
    await Promise.all([
      Promise.all(refs.map(async ref => [ref.id, await api.readService(ref)] as const)),
      Promise.all(
        databases
          .flatMap(spec => databaseIds(projects, spec))
          .map(async ({ kind, id }) => [id, await api.readDatabase(kind, id)] as const),
      ),
      Promise.all(scheduled.map(async ref => [ref.id, await api.listSchedules(ref)] as const)),
      Promise.all(saved.map(async ref => [ref.id, await api.listVolumeBackups(ref)] as const)),
      wants(backups.length > 0 || platform.buckets.length > 0, () => api.listBuckets()),
      wants(
        backups.some(each => each.what.kind === 'panel'),
        () => api.listPanelBackups(),
      ),
      wants(
        platform.registries.some(each => each.server === serverName),
        () => api.listRegistries(),
      ),
      wants(
        platform.notifications.some(each => each.server === serverName) || apps.some(app => app.postDeploy.action === 'call'),
        () => api.listNotifications(),
      ),
      wants(
        apps.some(app => sshKeyOf(app) !== undefined),
        () => api.listSshKeys(),
      ),
      wants(apps.some(isFromGithub), () => api.listGithubApps()),
    ])
  const known = byKey(services)
  return {
    state: 'open',
    projects,
    services: known,
    neighbours: apps.some(app => newDomains({ projects, services: known }, app).length > 0)
      ? await readNeighbours(api, projects, serverName, refs)
      : [],
    databases: byKey(dbs),
    schedules: byKey(schedules),
    volumeBackups: byKey(volumes),
    buckets,
    panelBackups,
    registries,
    notifications,
    sshKeys,
    githubApps,
  }
}

/** What the app is to answer and does not yet. */
export const newDomains = (view: Pick<AppsView, 'projects' | 'services'>, app: AppSpec): readonly DomainSpec[] => {
  const [listed] = matchesOf(view, app, app.name, SERVICE_KINDS)
  return domainDiff((listed && view.services[listed.id]?.domains) ?? [], app.domains).creates
}

const readNeighbours = (
  api: Pick<DokployApps, 'readService'>,
  projects: readonly Project[],
  server: string,
  wanted: readonly ServiceRef[],
): Promise<Neighbour[]> =>
  Promise.all(
    projects.flatMap(project =>
      project.environments.flatMap(environment =>
        environment.services.flatMap(({ kind, id, name }) =>
          (kind === 'application' || kind === 'compose') && !wanted.some(each => each.id === id)
            ? [
                api.readService({ kind, id }).then(({ domains }) => ({
                  server,
                  project: project.name,
                  environment: environment.name,
                  name,
                  domains,
                })),
              ]
            : [],
        ),
      ),
    ),
  )

const specOf = (projects: readonly Project[], apps: readonly AppSpec[], ref: ServiceRef): AppSpec | undefined =>
  apps.find(app => matchesOf({ projects }, app, app.name, [ref.kind]).some(each => each.id === ref.id))

const isScheduled = (projects: readonly Project[], apps: readonly AppSpec[], ref: ServiceRef): boolean => {
  const spec = specOf(projects, apps, ref)
  return spec?.postDeploy.action === 'exec' && spec.postDeploy.via === 'deploy'
}

const isSaved = (
  projects: readonly Project[],
  apps: readonly AppSpec[],
  backups: Platform['backups'],
  ref: ServiceRef,
): boolean => {
  const spec = specOf(projects, apps, ref)
  return backups.some(({ what }) => what.kind === 'volume' && what.app === spec?.name)
}

const databaseIds = (projects: readonly Project[], spec: DatabaseSpec) =>
  matchesOf({ projects }, spec, spec.name, [spec.kind]).flatMap(({ id }) => [{ kind: spec.kind, id }])

export const sshKeyOf = ({ source }: AppSpec): string | undefined =>
  source.kind === 'image' ? undefined : source.repository?.sshKey
export const isFromGithub = ({ source }: AppSpec): boolean => source.kind !== 'image' && source.repository?.kind === 'github'

/** Reads a server's apps through its panel, once that is ours. */
export async function readAppsOf(
  deps: Pick<Deps, 'estate' | 'machines' | 'programs'> & { readonly appsOn: AppsOn },
  serverName: string,
  servers: readonly Server[],
  panel: PanelState | undefined,
): Promise<AppsState> {
  if (panel?.state !== 'up') return { state: 'closed', why: panel?.why ?? `there is no server ${serverName}` }
  if (panel.admin !== 'ours') return { state: 'closed', why: 'its Dokploy has no admin of ours' }
  const open = await openPanel(deps, findServer(deps.estate.name, serverName, servers))
  return open
    ? readApps(open.api, platformFor(deps), serverName)
    : { state: 'closed', why: 'its API key is not kept on the machine' }
}

/** The webhooks of a repository, as far as the token sees them. */
export async function readHooks(
  github: GitHub,
  repository: { readonly owner: string; readonly name: string },
): Promise<HooksState> {
  try {
    return { state: 'seen', hooks: await github.listHooks(repository) }
  } catch (error) {
    if (isDenied(error)) return { state: 'unseen', why: error.message }
    throw error
  }
}

const DENIED = ['token_missing', 'token_invalid', 'forbidden', 'not_found']
const isDenied = (error: unknown): error is Error =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' && DENIED.includes(error.code)
