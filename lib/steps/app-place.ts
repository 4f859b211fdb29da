/** Where applications live in a Dokploy: the project and its environment; and what every step about applications shares. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { Place } from '../estate/apps.ts'
import type { DokployApps } from '../providers/ports/dokploy-apps.ts'
import type { AppInput } from './app-diff.ts'
import { type AppsOn, type AppsView, environmentsOf, openPanel, projectsOf } from './app-world.ts'
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

export const nameOf = (place: Place): string => `${place.project}/${place.environment} on ${place.server}`
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
      if (found.length === 1) return done(found[0]?.environments.map(each => each.name).join(', ') ?? '')
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

export const ambiguous = (what: string, server: string, count: number) =>
  refused(
    `Dokploy on ${server} has ${count} of ${what}: which one is meant is not clear.`,
    'Rename or delete the others in the panel, then run the same command again.',
  )

/** Steps that must be done before a service can be made in `place`. */
export const placeNeeds = (place: Place): string[] => [
  place.environment === 'production' ? projectStepId(place) : environmentStepId(place),
]
