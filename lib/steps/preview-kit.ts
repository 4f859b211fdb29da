/** What the steps of previews share: what they act through, and what they read off the world. */

import type { World } from '../engine/world.ts'
import { type PreviewSpec, previewServerName } from '../estate/previews.ts'
import { desiredPreviews, type Run, type Verdict, type Words } from '../preview/desired.ts'
import type { Way } from '../preview/edge.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { PullRequests } from '../providers/ports/github.ts'
import type { Target } from '../providers/ports/machine.ts'
import type { Secret } from '../secret.ts'
import type { Deps } from './deps.ts'
import { targetOf } from './machine.ts'
import { type PreviewRun, type PreviewsState, previewServers } from './preview-world.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

export interface PreviewDeps
  extends Pick<Deps, 'estate' | 'runId' | 'clock' | 'cloud' | 'dns' | 'machines' | 'programs' | 'outside' | 'takeOver'> {
  readonly spec: PreviewSpec
  readonly github: PullRequests
  /** What the operator says about single pull requests. */
  readonly words: Words
  /** Where repositories are fetched from: "https://github.com". */
  readonly cloneBase: string
  readonly gitToken?: Secret
  /** Values of `spec.variables`; names without one are absent. */
  readonly variables: Readonly<Record<string, Secret>>
  /** One at a time writes the edge's file. */
  readonly alone: <T>(work: () => Promise<T>) => Promise<T>
}

export type Live = World<EstateWorld>
export type View = Pick<Live, 'get'>

/** Where the app's port is published on a server of its own. */
export const PUBLISHED_PORT = 8080

export const verdictsIn = ({ spec, words }: Pick<PreviewDeps, 'spec' | 'words'>, world: View): readonly Verdict[] => {
  const { pulls, nowMs } = world.get('pulls')
  return desiredPreviews(pulls, spec, nowMs, words)
}

export const readyOn = (world: View, server: string): Extract<PreviewsState, { state: 'ready' }> | undefined => {
  const state = world.get('previews')[server]
  return state?.state === 'ready' ? state : undefined
}

export const serverOf = ({ estate, spec }: Pick<PreviewDeps, 'estate' | 'spec'>, number: number): string =>
  spec.substrate === 'shared' ? spec.host : previewServerName(estate.name, number)

type Runs = readonly (Run & Pick<PreviewRun, 'state' | 'why' | 'sinceMs'>)[]
type Place = Pick<PreviewDeps, 'estate' | 'spec'>

const runsOn = (deps: Place, world: View): Record<PreviewSpec['substrate'], Runs> => ({
  shared: readyOn(world, deps.spec.host)?.runs ?? [],
  // A server without a deploy on it counts too: it is billed.
  servers: [...previewServers(deps.estate.name, world.get('servers'))].map(([number, server]) => {
    const run = readyOn(world, server.name)?.runs.find(each => each.number === number)
    return run ?? { number, head: '', generation: '', state: 'partial', why: '', sinceMs: Date.parse(server.createdAt) }
  }),
})

export const otherSubstrate = ({ substrate }: PreviewSpec): PreviewSpec['substrate'] =>
  substrate === 'shared' ? 'servers' : 'shared'

/** Everything that runs or is left of previews where the config has them. */
export const runsIn = (deps: Place, world: View): Runs => runsOn(deps, world)[deps.spec.substrate]

/** What runs or is left of them where the config had them before: on servers of their own, or on the host. */
export const straysIn = (deps: Place, world: View): Runs => runsOn(deps, world)[otherSubstrate(deps.spec)]

/** Settled: what was wanted runs, or was tried and cannot be. */
export const isSettled = (run: Pick<PreviewRun, 'state'>): boolean => run.state === 'up' || run.state === 'failed'

/** What the edge has to lead to, as the world is. */
export function waysIn(deps: Pick<PreviewDeps, 'estate' | 'spec'>, world: View): readonly Way[] {
  const { spec, estate } = deps
  const network = spec.substrate === 'servers' && world.get('networks').find(each => each.name === estate.network?.name)
  return runsIn(deps, world)
    .filter(run => run.state === 'up')
    .flatMap(({ number }): Way[] => {
      if (spec.substrate === 'shared') return [{ number, upstream: `pr-${number}:${spec.port}` }]
      const server = previewServers(estate.name, world.get('servers')).get(number)
      const address = server?.privateIps.find(each => network && each.networkId === network.id)?.ip
      return address === undefined ? [] : [{ number, upstream: `${address}:${PUBLISHED_PORT}` }]
    })
}

export const PREVIEW_SLICES = ['pulls', 'previews', 'servers', 'networks'] as const satisfies readonly (keyof EstateWorld)[]

export const targetIn = (deps: PreviewDeps, live: Live, name: string): { target: Target; server: Server } => {
  const server = findServer(deps.estate.name, name, live.get('servers'))
  const target = server && targetOf(deps.estate.name, server)
  if (!server || !target) throw new Error(`bug: ${name} has no address or key`)
  return { target, server }
}

export const updateReady = (
  live: Live,
  server: string,
  change: (state: Extract<PreviewsState, { state: 'ready' }>) => PreviewsState,
): void =>
  live.update('previews', all => {
    const state = all[server]
    return state?.state === 'ready' ? { ...all, [server]: change(state) } : all
  })
