/** What has to be done to a stack, judged from what runs and what is wanted. Pure. */

import { createHash } from 'node:crypto'
import { listed } from '../estate/words.ts'
import type { FileText, Rollout, StackState } from './model.ts'
import type { Resolved, ResolvedService } from './resolved.ts'

/** The part of a container that decisions need. */
export interface SeenContainer {
  readonly id: string
  readonly service: string
  readonly state: string
  readonly health: string
  readonly imageId: string
  readonly image: string
  readonly configHash: string
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

/** What becomes of a rollout that its run left behind: only behind the switch the new containers are known to serve. */
export const recovery = (rollout: Pick<Rollout, 'phase'>): 'finish' | 'revert' =>
  rollout.phase === 'draining' ? 'finish' : 'revert'

/** Containers of the rollout's services that were made by it. */
export const freshOf = (rollout: Pick<Rollout, 'old'>, containers: readonly SeenContainer[]): readonly SeenContainer[] =>
  containers.filter(({ id, service }) => Object.hasOwn(rollout.old, service) && !rollout.old[service]?.includes(id))

export const oldOf = (rollout: Pick<Rollout, 'old'>, containers: readonly SeenContainer[]): readonly SeenContainer[] =>
  containers.filter(({ id, service }) => rollout.old[service]?.includes(id))

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
