/** Applications and compose stacks in Dokploy: matched by exact name, made once, and every field that was changed elsewhere is shown. */

import { blocked, refused, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import type { AppSpec } from '../estate/apps.ts'
import { applyDiff, findingOf, readAgain } from './app-change.ts'
import { describeDomain, desiredMark, diffService } from './app-diff.ts'
import { APP_SLICES, type AppDeps, ambiguous, nameOf, panelApi, placeNeeds, updateView } from './app-place.ts'
import { type AppsView, environmentsOf, isFromGithub, matchesOf, newDomains, SERVICE_KINDS, sshKeyOf } from './app-world.ts'
import type { EstateStep } from './deps.ts'
import type { EstateWorld } from './world.ts'

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
      const taken = refuseTaken(app, view)
      if (taken) return taken
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

/** Another service answers there already: Traefik would send requests to either. */
function refuseTaken(app: AppSpec, view: AppsView) {
  for (const { host, path } of newDomains(view, app)) {
    const other = view.neighbours.find(({ domains }) =>
      domains.some(each => each.enabled && each.host === host && each.path === path),
    )
    if (other)
      return refused(
        `${host}${path === '/' ? '' : path} is answered by ${other.name} in ${nameOf(other)} already; ${app.name} beside it would get some of its requests.`,
        `If ${app.name} is another name for ${other.name}, keep the old one in config.json. Otherwise take the domain off ${other.name} in the panel, then run the same command again.`,
      )
  }
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
