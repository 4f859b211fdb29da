/** Applications and compose stacks in Dokploy: matched by exact name, made once, and every field that was changed elsewhere is shown. */

import { blocked, type Change, done, type Finding, refused, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { AppSpec, Place } from '../estate/apps.ts'
import type { DokployApps, Service, ServiceRef } from '../providers/ports/dokploy-apps.ts'
import {
  type AppInput,
  describeDomain,
  desiredBuild,
  desiredCommand,
  desiredEnv,
  desiredMark,
  desiredSettings,
  desiredSource,
  diffService,
  HOOK_SCHEDULE,
  NEVER,
  type ServiceDiff,
} from './app-diff.ts'
import {
  type AppsOn,
  type AppsView,
  environmentsOf,
  isFromGithub,
  matchesOf,
  openPanel,
  projectsOf,
  SERVICE_KINDS,
  sshKeyOf,
} from './app-world.ts'
import type { Deps, EstateStep } from './deps.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

export interface AppDeps extends Pick<Deps, 'estate' | 'machines' | 'programs' | 'runId' | 'takeOver' | 'clock'> {
  readonly appsOn: AppsOn
  readonly inputOf: (app: string) => AppInput
}

export const APP_SLICES = ['servers', 'machines', 'panels', 'apps'] as const satisfies readonly (keyof EstateWorld)[]

/** The API of a server's panel, for a change. @throws LandfallError not_found */
export async function panelApi(deps: AppDeps, server: string, live: World<EstateWorld>): Promise<DokployApps> {
  const open = await openPanel(deps, findServer(deps.estate.name, server, live.get('servers')))
  if (open) return open.api
  throw new LandfallError('not_found', `The API key of Dokploy on ${server} is not kept on the machine any more.`, {
    hint: 'bun scripts/dokploy.ts',
  })
}

/** Writes into what is known of one server's apps. */
export const updateView = (live: World<EstateWorld>, server: string, change: (view: AppsView) => AppsView): void =>
  live.update('apps', all => {
    const view = all[server]
    return view?.state === 'open' ? { ...all, [server]: change(view) } : all
  })

const nameOf = (place: Place): string => `${place.project}/${place.environment} on ${place.server}`
const projectStepId = (place: Pick<Place, 'server' | 'project'>): string => `project ${place.project} on ${place.server}`
const environmentStepId = (place: Place): string => `environment ${nameOf(place)}`

/** The project, and the environment when it is not the one that every project has. */
export function placeSteps(deps: AppDeps, place: Place): EstateStep[] {
  const { server, project, environment } = place
  const mark = `landfall estate=${deps.estate.name} run=${deps.runId}`
  const projectStep: EstateStep = {
    id: projectStepId(place),
    noun: 'app',
    title: `project ${project} exists on ${server}`,
    needs: [`dokploy ${server} owner`],
    reads: APP_SLICES,
    look(world) {
      const create = { kind: 'create', summary: `create project ${project} on ${server}` } as const
      const view = world.get('apps')[server]
      if (view?.state !== 'open') return blocked(view?.why ?? `Dokploy on ${server}`, create)
      const found = projectsOf(view, place)
      if (found.length > 1) return ambiguous(`project ${project}`, server, found.length)
      if (found.length === 1) return done(`${found[0]?.environments.length ?? 0} environments`)
      return todo({
        ...create,
        async apply({ world: live }) {
          const api = await panelApi(deps, server, live)
          const made = await api.createProject({ name: project, description: mark })
          updateView(live, server, all => ({
            ...all,
            projects: [
              ...all.projects,
              {
                id: made.projectId,
                name: project,
                description: mark,
                environments: [{ id: made.environmentId, name: 'production', isDefault: true, services: [] }],
              },
            ],
          }))
        },
      })
    },
  }
  if (environment === 'production') return [projectStep]
  return [
    projectStep,
    {
      id: environmentStepId(place),
      noun: 'app',
      title: `environment ${environment} of ${project} exists on ${server}`,
      needs: [projectStep.id],
      reads: APP_SLICES,
      look(world) {
        const create = {
          kind: 'create',
          summary: `create environment ${environment} of project ${project} on ${server}`,
        } as const
        const view = world.get('apps')[server]
        const [owner] = view?.state === 'open' ? projectsOf(view, place) : []
        if (view?.state !== 'open' || !owner) return blocked(`project ${project}`, create)
        const found = environmentsOf(view, place)
        if (found.length > 1) return ambiguous(`environment ${environment}`, server, found.length)
        if (found.length === 1) return done(`${found[0]?.services.length ?? 0} services`)
        return todo({
          ...create,
          async apply({ world: live }) {
            const api = await panelApi(deps, server, live)
            const { id } = await api.createEnvironment({ projectId: owner.id, name: environment, description: mark })
            updateView(live, server, all => ({
              ...all,
              projects: all.projects.map(each =>
                each.id === owner.id
                  ? { ...each, environments: [...each.environments, { id, name: environment, isDefault: false, services: [] }] }
                  : each,
              ),
            }))
          },
        })
      },
    },
  ]
}

const ambiguous = (what: string, server: string, count: number) =>
  refused(
    `Dokploy on ${server} has ${count} of ${what}: which one is meant is not clear.`,
    'Rename or delete the others in the panel, then run the same command again.',
  )

/** Steps that must be done before a service can be made in `place`. */
export const placeNeeds = (place: Place): string[] => [
  place.environment === 'production' ? projectStepId(place) : environmentStepId(place),
]

/** What an app is, in a few words for the preview. */
export const describeApp = (app: AppSpec): string[] => {
  const { source } = app
  const from =
    source.kind === 'image'
      ? `image ${source.image}`
      : source.kind === 'compose'
        ? `${source.type} ${source.file}${source.repository ? ` of ${source.repository.url} (${source.repository.branch})` : ''}`
        : `${source.build.type} of ${source.repository.url} (${source.repository.branch})`
  return [
    from,
    ...app.domains.map(describeDomain),
    ...(app.health ? [`health check on port ${app.port}, new container before the old one goes`] : []),
  ]
}

/** The app exists and every field is as the estate wants it. */
export function appStep(deps: AppDeps, app: AppSpec): EstateStep {
  const { server } = app
  const kind = app.source.kind === 'compose' ? 'compose' : 'application'
  const input = deps.inputOf(app.name)
  const create = { kind: 'create', summary: `create ${kind} ${app.name} in ${nameOf(app)}` } as const
  return {
    id: `app ${app.name}`,
    noun: 'app',
    title: `${app.name} is set up in ${nameOf(app)}`,
    needs: [...placeNeeds(app), ...(app.registry === undefined ? [] : [`registry ${app.registry}`])],
    reads: APP_SLICES,
    look(world) {
      const view = world.get('apps')[server]
      if (view?.state !== 'open') return blocked(view?.why ?? `Dokploy on ${server}`, create)
      const missing = refuseMissing(app, view)
      if (missing) return missing
      if (app.registry !== undefined && !view.registries.some(each => each.name === app.registry))
        return blocked(`registry ${app.registry}`, create)
      const [environment] = environmentsOf(view, app)
      if (!environment) return blocked(`project ${app.project}`, create)
      const found = matchesOf(view, app, app.name, SERVICE_KINDS)
      if (found.length > 1) return ambiguous(`${app.name}`, server, found.length)
      const listed = found[0]
      if (!listed)
        return todo({
          ...create,
          details: describeApp(app),
          apply: ({ world: live }) => createApp(deps, app, environment.id, live),
        })
      const service = view.services[listed.id]
      if (listed.kind !== kind || !service)
        return refused(
          `${app.name} in ${nameOf(app)} is ${listed.kind === 'compose' ? 'a compose stack' : `an ${listed.kind}`}; the file wants ${kind}.`,
          'Give one of them another name.',
        )
      const ours = service.description.startsWith(`landfall estate=${deps.estate.name} `)
      if (!ours && !deps.takeOver.includes(app.name))
        return refused(
          `${app.name} in ${nameOf(app)} was not made by Landfall for this estate.`,
          `If its settings may be replaced: bun scripts/app.ts --take-over ${app.name}. To see them first: bun scripts/app.ts export`,
        )
      return findingOf(deps, app, input, service, view, ours ? 'ours' : 'taken_over')
    },
  }
}

/** What the file names and the panel does not have. */
function refuseMissing(app: AppSpec, view: AppsView) {
  const key = sshKeyOf(app)
  if (key !== undefined && !view.sshKeys.some(each => each.name === key))
    return refused(
      `Dokploy on ${app.server} has no SSH key "${key}".`,
      'Make it in the panel (SSH Keys), and add its public half to the repository.',
    )
  if (key === undefined && isFromGithub(app) && view.githubApps.length > 1)
    return refused(
      `Dokploy on ${app.server} has ${view.githubApps.length} GitHub Apps: which one is meant is not clear.`,
      'Name the repository with git and ssh_key instead.',
    )
  return undefined
}

async function createApp(deps: AppDeps, app: AppSpec, environmentId: string, live: World<EstateWorld>): Promise<void> {
  const api = await panelApi(deps, app.server, live)
  const input = deps.inputOf(app.name)
  const kind = app.source.kind === 'compose' ? 'compose' : 'application'
  const ref = await api.createService({
    kind,
    environmentId,
    name: app.name,
    description: `${desiredMark(deps.estate.name, app.name)} run=${deps.runId}`,
    ...(app.source.kind === 'compose'
      ? { compose: { type: app.source.type, ...(input.file && !app.source.repository ? { file: input.file } : {}) } }
      : {}),
  })
  updateView(live, app.server, view => ({
    ...view,
    projects: view.projects.map(project => ({
      ...project,
      environments: project.environments.map(each =>
        each.id === environmentId ? { ...each, services: [...each.services, { kind, id: ref.id, name: app.name }] } : each,
      ),
    })),
  }))
  const view = live.get('apps')[app.server]
  if (view?.state !== 'open') return
  const service = await api.readService(ref)
  await applyDiff(api, deps, app, service, view, diffService(app, input, service, view))
  await readAgain(api, app, ref, live)
}

/** The service and its schedules, read after a change. */
async function readAgain(api: DokployApps, app: AppSpec, ref: ServiceRef, live: World<EstateWorld>): Promise<void> {
  const scheduled = app.postDeploy.action === 'exec' && app.postDeploy.via === 'deploy'
  const [service, schedules] = await Promise.all([api.readService(ref), scheduled ? api.listSchedules(ref) : []])
  updateView(live, app.server, view => ({
    ...view,
    services: { ...view.services, [ref.id]: service },
    ...(scheduled ? { schedules: { ...view.schedules, [ref.id]: schedules } } : {}),
  }))
}

async function applyDiff(
  api: DokployApps,
  deps: AppDeps,
  app: AppSpec,
  service: Service,
  view: AppsView,
  diff: ServiceDiff,
): Promise<void> {
  const input = deps.inputOf(app.name)
  const ref: ServiceRef = { kind: service.kind, id: service.id }
  if (service.kind === 'compose' && app.source.kind === 'compose') {
    if (diff.source.length + diff.compose.length > 0)
      await api.setCompose(service.id, {
        type: app.source.type,
        source: desiredSource(app, view),
        ...(app.source.repository ? { path: app.source.file } : input.file ? { file: input.file } : {}),
        command: desiredCommand(app, service) ?? '',
        autoDeploy: app.deployOn === 'push',
      })
  } else {
    if (diff.source.length > 0) await api.setSource(service.id, desiredSource(app, view))
    const build = desiredBuild(app)
    if (build && diff.build.length > 0) await api.setBuild(service.id, build)
    if (diff.settings.length > 0) await api.setSettings(service.id, desiredSettings(app, view))
    for (const volume of diff.volumes) await api.createVolume(service.id, { volume: volume.name, path: volume.path })
  }
  if (input.env && diff.env.length > 0) await api.setEnv(ref, desiredEnv(input.env, service.env))
  for (const domain of diff.domains.deletes) await api.deleteDomain(domain.id)
  for (const { id, domain } of diff.domains.updates) await api.setDomain(id, domain)
  for (const domain of diff.domains.creates) await api.createDomain(ref, domain)
  const { postDeploy } = app
  if (diff.schedule.length > 0 && postDeploy.action === 'exec') {
    const found = view.schedules[service.id]?.find(each => each.name === HOOK_SCHEDULE)
    await api.setSchedule(ref, {
      ...(found ? { id: found.id } : {}),
      name: HOOK_SCHEDULE,
      description: desiredMark(deps.estate.name, app.name),
      command: postDeploy.command,
      ...(postDeploy.service === '' ? {} : { service: postDeploy.service }),
      shell: 'sh',
      enabled: false,
      cron: NEVER,
    })
  }
}

/** One change per part that differs, so that each stands in the plan with its own lines. */
function findingOf(
  deps: AppDeps,
  app: AppSpec,
  input: AppInput,
  service: Service,
  view: AppsView,
  owner: 'ours' | 'taken_over',
): Finding<EstateWorld> {
  const diff = diffService(app, input, service, view)
  const none: ServiceDiff = {
    source: [],
    build: [],
    settings: [],
    env: [],
    domains: { creates: [], updates: [], deletes: [] },
    volumes: [],
    compose: [],
    schedule: [],
  }
  const change = (
    kind: Change<EstateWorld>['kind'],
    summary: string,
    details: readonly string[],
    part: Partial<ServiceDiff>,
  ): Change<EstateWorld> => ({
    kind,
    summary,
    details,
    async apply({ world: live }) {
      const api = await panelApi(deps, app.server, live)
      const current = live.get('apps')[app.server]
      if (current?.state !== 'open') return
      await applyDiff(api, deps, app, current.services[service.id] ?? service, current, { ...none, ...part })
      await readAgain(api, app, { kind: service.kind, id: service.id }, live)
    },
  })
  const settings = [...diff.source, ...diff.build, ...diff.settings, ...diff.compose, ...diff.schedule]
  const { creates, updates, deletes } = diff.domains
  const relabel = service.kind === 'compose' ? ['a compose stack’s domains count after its next deploy'] : []
  const takeOver: Change<EstateWorld> = {
    kind: 'change',
    summary: `take ${app.name} over into the estate ${deps.estate.name}`,
    async apply({ world: live }) {
      const api = await panelApi(deps, app.server, live)
      const ref = { kind: service.kind, id: service.id }
      await api.setDescription(ref, `${desiredMark(deps.estate.name, app.name)} run=${deps.runId}`)
      await readAgain(api, app, ref, live)
    },
  }
  const changes = [
    ...(owner === 'taken_over' ? [takeOver] : []),
    ...(settings.length > 0
      ? [
          change('change', `set up ${app.name} as in config.json`, settings, {
            source: diff.source,
            build: diff.build,
            settings: diff.settings,
            compose: diff.compose,
            schedule: diff.schedule,
          }),
        ]
      : []),
    ...(diff.volumes.length > 0
      ? [
          change(
            'change',
            `mount ${diff.volumes.map(each => each.name).join(', ')} in ${app.name}`,
            diff.volumes.map(each => `+ ${each.name} at ${each.path}`),
            { volumes: diff.volumes },
          ),
        ]
      : []),
    ...(diff.env.length > 0
      ? [
          change('change', `set ${diff.env.length} variables of ${app.name}`, [...diff.env, 'they count after the next deploy'], {
            env: diff.env,
          }),
        ]
      : []),
    ...(creates.length + updates.length > 0
      ? [
          change(
            'change',
            `serve ${app.name} at ${[...creates, ...updates.map(each => each.domain)].map(each => each.host).join(', ')}`,
            [
              ...creates.map(each => `+ ${describeDomain(each)}`),
              ...updates.flatMap(each => each.lines.map(line => `~ ${each.domain.host}: ${line}`)),
              ...relabel,
            ],
            { domains: { creates, updates, deletes: [] } },
          ),
        ]
      : []),
    ...(deletes.length > 0
      ? [
          change(
            'destroy',
            `stop serving ${app.name} at ${deletes.map(each => each.host).join(', ')}`,
            deletes.map(each => `- ${describeDomain(each)}`),
            { domains: { creates: [], updates: [], deletes } },
          ),
        ]
      : []),
  ]
  return changes.length > 0 ? todo(...changes) : done(service.appName)
}
