/** What has to be done to a stack, judged from what runs and what is wanted. Pure. */

import { createHash } from 'node:crypto'
import { listed } from '../estate/words.ts'
import type { FileText, Rollout, StackState } from './model.ts'
import type { Resolved, ResolvedService } from './resolved.ts'
import { servicesServed } from './upstream.ts'

/** The part of a container that decisions need. */
export interface SeenContainer {
  readonly id: string
  readonly service: string
  readonly state: string
  readonly health: string
  readonly exitCode: number
  readonly imageId: string
  readonly image: string
  readonly configHash: string
  /** The recorded release that Landfall made it from; empty when somebody else made it. */
  readonly release: string
  readonly networks: readonly { readonly network: string; readonly address: string; readonly aliases: readonly string[] }[]
}

export interface Seen {
  readonly resolved: Resolved
  /** Compose's hash of each wanted service. */
  readonly hashes: Readonly<Record<string, string>>
  /** The same, of services without dependencies. */
  readonly looseHashes: Readonly<Record<string, string>>
  readonly images: Readonly<Record<string, { readonly id: string; readonly digests: readonly string[] }>>
  readonly containers: readonly SeenContainer[]
  readonly state: StackState
  /** The proxy's files on the host. */
  readonly nginxFiles: readonly FileText[]
  /** What those files shall be at rest; equal to `nginxFiles` on a host that has its own. */
  readonly wantedNginxFiles: readonly FileText[]
  /** Whether the wanted files come from the project, or are whatever the host has. */
  readonly nginxFrom: 'project' | 'host'
}

export interface Roles {
  /** Rolled services in the order of the deploy, without the proxy. */
  readonly rolled: readonly string[]
  readonly nginx: string
  /** All others that the operator left out of the list, by name. */
  readonly fixed: readonly string[]
}

/** `missing`: no container. `stopped`: containers that do not run. `unwell`: as wanted, but not healthy. */
export type ServiceState = 'current' | 'missing' | 'stopped' | 'outdated' | 'unwell'

export interface Verdict {
  readonly service: string
  readonly state: ServiceState
  /** Without a full stop: "image app:1 → app:2". */
  readonly why: string
  readonly containers: readonly SeenContainer[]
}

export const isUp = (container: Pick<SeenContainer, 'state' | 'health'>): boolean =>
  container.state === 'running' && (container.health === 'healthy' || container.health === 'none')

export function judge(service: ResolvedService, seen: Seen): Verdict {
  const containers = seen.containers.filter(container => container.service === service.name)
  const verdict = (state: ServiceState, why: string): Verdict => ({ service: service.name, state, why, containers })
  if (containers.length === 0)
    return service.replicas === 0 ? verdict('current', 'is switched off') : verdict('missing', 'there is no container')
  const imageId = seen.images[service.image]?.id
  const hashes = [seen.hashes[service.name], seen.looseHashes[service.name]]
  const older = containers.find(container => container.imageId !== imageId)
  const differs = containers.some(container => !hashes.includes(container.configHash))
  const whys = [
    ...(older
      ? [older.image === service.image ? `a newer image ${service.image}` : `image ${older.image} → ${service.image}`]
      : []),
    ...(differs && (!older || older.image === service.image) ? ['its configuration differs'] : []),
    ...(containers.length === service.replicas ? [] : [`${containers.length} → ${service.replicas} containers`]),
  ]
  if (whys.length > 0) return verdict('outdated', listed(whys))
  if (service.ends)
    return containers.every(({ state, exitCode }) => state === 'exited' && exitCode === 0)
      ? verdict('current', 'has ended well')
      : verdict('stopped', 'it has not ended well')
  if (containers.every(container => container.state !== 'running')) return verdict('stopped', 'its container does not run')
  if (!containers.every(isUp)) return verdict('unwell', 'it is not healthy')
  return verdict('current', 'runs as wanted')
}

/** The same content is the same release, whoever deploys it and when. */
export function releaseId(resolved: Resolved, images: Seen['images']): string {
  const ids = Object.values(resolved.services)
    .map(({ name, image }) => [name, images[image]?.id ?? image])
    .sort()
  const digest = createHash('sha256')
    .update(JSON.stringify([resolved.value, ids]))
    .digest('hex')
  return `r${digest.slice(0, 11)}`
}

export const filesDigest = (files: readonly FileText[]): string =>
  createHash('sha256')
    .update(JSON.stringify(files.map(({ path, text }) => [path, text]).sort()))
    .digest('hex')
    .slice(0, 16)

const pathsOf = (files: readonly FileText[]): readonly string[] => files.map(({ path }) => path)
const without = (paths: readonly string[], files: readonly FileText[]): readonly string[] =>
  paths.filter(path => !files.some(file => file.path === path))

type Proxied = Pick<Seen, 'state' | 'nginxFiles' | 'wantedNginxFiles' | 'nginxFrom'>

/** Files that Landfall put on the host and that `wanted` has no longer. */
export const goneFiles = ({ state }: Pick<Seen, 'state'>, wanted: readonly FileText[]): readonly string[] =>
  without(state.nginxPaths ?? [], wanted)

/** Files that a rollout added, which go when it is taken back. */
export const addedFiles = ({ rest, restBefore }: Pick<Rollout, 'rest' | 'restBefore'>): readonly string[] =>
  without(pathsOf(rest), restBefore)

/** What Landfall may remove later once `files` lie on the host. */
export const ownPaths = ({ nginxFrom }: Pick<Seen, 'nginxFrom'>, files: readonly FileText[]): readonly string[] =>
  nginxFrom === 'project' ? pathsOf(files) : []

/** Whether the proxy's files on the host are the wanted ones, with none that is wanted no longer. */
export const filesInPlace = (seen: Proxied): boolean =>
  goneFiles(seen, seen.wantedNginxFiles).length === 0 &&
  seen.wantedNginxFiles.every(({ path, text }) => seen.nginxFiles.some(file => file.path === path && file.text === text))

/** Whose containers of a service go on when a rollout is ended. `foreign`: somebody made them by hand. `none`: nobody's run. */
export type Side = 'old' | 'fresh' | 'foreign' | 'none'

export interface Recovery {
  /** `keep`: some of these, some of those. `forget`: nobody's do all the work, so nothing goes and the ordinary steps start what is missing. */
  readonly word: 'finish' | 'revert' | 'keep' | 'forget'
  readonly sides: Readonly<Record<string, Side>>
  /** `turned` to what goes on. `left`: it does not run, and finds its files when it starts. `untouched`: it never heard of the rollout. */
  readonly proxy: 'turned' | 'left' | 'untouched'
}

/**
 * What becomes of a rollout that was left, by what runs now: only behind the switch the new containers are known to serve, and
 * neither they nor the old need run any more. Containers that somebody else made never go.
 */
export function recovery(rollout: Rollout, containers: readonly SeenContainer[], proxy: string): Recovery {
  const services = Object.keys(rollout.old)
  const all = (side: Side) => Object.fromEntries(services.map(service => [service, side]))
  if (rollout.phase === 'starting') return { word: 'revert', sides: all('old'), proxy: 'untouched' }
  const order = orderOf(rollout)
  const served = servicesServed(rollout.restBefore, services)
  const has = (service: string, side: Side, good: (container: SeenContainer) => boolean) =>
    sideOf(rollout, containers, service, side).some(good)
  // Where the proxy knew none before, having none is how it was.
  const isNew = (service: string) => rollout.old[service]?.length === 0 && !served.has(service)
  const works = (service: string, side: Side) => has(service, side, isUp) || (side === 'old' && isNew(service))
  const whole = order.find(side => services.every(service => works(service, side)))
  const sides: Recovery['sides'] =
    whole === undefined
      ? Object.fromEntries(
          services.map(service => [
            service,
            order.find(side => works(service, side)) ?? order.find(side => has(service, side, isRunning)) ?? 'none',
          ]),
        )
      : all(whole)
  const used = new Set<Side>(Object.values(sides))
  const runs = containers.some(container => container.service === proxy && isRunning(container))
  const hasFiles = rollout.rest.length + rollout.restBefore.length > 0
  return {
    word: used.has('none') ? 'forget' : used.size > 1 || used.has('foreign') ? 'keep' : used.has('fresh') ? 'finish' : 'revert',
    sides,
    proxy: runs || !hasFiles ? 'turned' : 'left',
  }
}

const orderOf = ({ phase }: Pick<Rollout, 'phase'>): readonly [Side, ...Side[]] =>
  phase === 'draining' ? ['fresh', 'foreign', 'old'] : ['old', 'foreign', 'fresh']

/** Containers whose health has to show before a recovery is chosen. */
export function undecided(rollout: Rollout, containers: readonly SeenContainer[]): readonly string[] {
  if (rollout.phase === 'starting') return []
  const [first] = orderOf(rollout)
  return Object.keys(rollout.old)
    .filter(service => !sideOf(rollout, containers, service, first).some(isUp))
    .flatMap(service => containers.filter(each => each.service === service && isRunning(each) && each.health === 'starting'))
    .map(({ id }) => id)
}

const isRunning = ({ state }: Pick<SeenContainer, 'state'>): boolean => state === 'running'

const sideOf = (
  { old, release }: Pick<Rollout, 'old' | 'release'>,
  containers: readonly SeenContainer[],
  service: string,
  side: Side,
): readonly SeenContainer[] =>
  containers.filter(
    container =>
      container.service === service &&
      side === (old[service]?.includes(container.id) ? 'old' : container.release === release ? 'fresh' : 'foreign'),
  )

/** The containers that go on, as the proxy is to see them, and those of the rollout that go because others do their work. */
export function partsOf(
  rollout: Rollout,
  { sides, word, proxy }: Recovery,
  containers: readonly SeenContainer[],
): { readonly kept: readonly SeenContainer[]; readonly leaving: readonly SeenContainer[] } {
  const parts = Object.entries(sides).map(([service, side]) => {
    const own = sideOf(rollout, containers, service, side)
    const up = own.filter(isUp)
    const others = (['old', 'fresh'] as const).flatMap(each => (each === side ? [] : sideOf(rollout, containers, service, each)))
    // What was never seen does nobody's work, and where there was nothing before there need be nothing after.
    const replaced = up.length > 0 || proxy === 'untouched' || (side === 'old' && own.length === 0)
    return { kept: up.length > 0 ? up : own.filter(isRunning), leaving: replaced ? others : [] }
  })
  return {
    kept: parts.flatMap(({ kept }) => kept),
    leaving: word === 'forget' ? [] : parts.flatMap(({ leaving }) => leaving),
  }
}

/** Whether a container that was made unseen has not got its name everywhere yet. */
export const isDark = ({ networks, service }: Pick<SeenContainer, 'networks' | 'service'>): boolean =>
  networks.some(({ aliases }) => !aliases.includes(service))

/**
 * Addresses that the proxy reaches: those of the first network that it shares with the container.
 * A container that does not run has none.
 */
export function addressesFor(
  services: readonly string[],
  containers: readonly SeenContainer[],
  proxyNetworks: readonly string[],
): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(
    services.map(service => [
      service,
      containers
        .filter(container => container.service === service && container.state === 'running')
        .flatMap(({ networks }) => {
          const shared = proxyNetworks.flatMap(name => networks.filter(each => each.network === name && each.address !== ''))
          return shared[0]?.address ?? []
        }),
    ]),
  )
}

/** Services that stop working while `service` is stopped: those that depend on it, directly or not. */
export function dependents(service: string, services: Resolved['services']): readonly string[] {
  const found = new Set<string>()
  const add = (name: string) => {
    for (const each of Object.values(services))
      if (each.dependsOn.includes(name) && !found.has(each.name)) {
        found.add(each.name)
        add(each.name)
      }
  }
  add(service)
  return [...found]
}

/** Everything that `service` depends on, directly or not. */
export function dependencies(service: string, services: Resolved['services']): readonly string[] {
  const found = new Set<string>()
  const add = (name: string) => {
    for (const needed of services[name]?.dependsOn ?? [])
      if (!found.has(needed)) {
        found.add(needed)
        add(needed)
      }
  }
  add(service)
  found.delete(service)
  return [...found]
}
