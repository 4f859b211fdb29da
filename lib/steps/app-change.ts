/** What has to change of a service, each part with its own lines in the plan, and how each is made so. */

import { type Change, done, type Finding, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import type { AppSpec } from '../estate/apps.ts'
import type { DokployApps, Service, ServiceRef } from '../providers/ports/dokploy-apps.ts'
import {
  type AppInput,
  describeDomain,
  desiredBuild,
  desiredCommand,
  desiredEnv,
  desiredMark,
  desiredScript,
  desiredSettings,
  desiredSource,
  diffService,
  HOOK_FILE,
  HOOK_SCHEDULE,
  NEVER,
  type ServiceDiff,
  scriptOf,
} from './app-diff.ts'
import { type AppDeps, panelApi, updateView } from './app-place.ts'
import type { AppsView } from './app-world.ts'
import type { EstateWorld } from './world.ts'

/** The service and its schedules, read after a change. */
export async function readAgain(api: DokployApps, app: AppSpec, ref: ServiceRef, live: World<EstateWorld>): Promise<void> {
  const scheduled = app.postDeploy.action === 'exec' && app.postDeploy.via === 'deploy'
  const [service, schedules] = await Promise.all([api.readService(ref), scheduled ? api.listSchedules(ref) : []])
  updateView(live, app.server, view => ({
    ...view,
    services: { ...view.services, [ref.id]: service },
    ...(scheduled ? { schedules: { ...view.schedules, [ref.id]: schedules } } : {}),
  }))
}

export async function applyDiff(
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
    const script = desiredScript(app)
    const kept = scriptOf(service)
    // Before the command that copies it.
    if (script !== undefined && kept?.file?.text !== script)
      await api.setFile(service.id, { ...(kept ? { id: kept.id } : {}), name: HOOK_FILE, text: script })
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
export function findingOf(
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
