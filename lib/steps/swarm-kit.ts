/** What the steps about a swarm share: who is in it, where each is reached, and what the manager says now. */

import type { World, WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { Estate } from '../estate/estate.ts'
import { LABEL_KEYS } from '../estate/labels.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { Target } from '../providers/ports/machine.ts'
import type { Deps } from './deps.ts'
import { type Facts, targetOf } from './machine.ts'
import { findServer } from './server.ts'
import { leavingServers, readSwarm, type SwarmState } from './swarm-world.ts'
import type { EstateWorld } from './world.ts'

export type SwarmDeps = Pick<Deps, 'estate' | 'cloud' | 'machines' | 'programs' | 'clock'>
export type Live = World<EstateWorld>
export type Log = (line: string) => void
export type UpSwarm = SwarmState & { readonly state: 'up' }

export const readyId = (name: string): string => `worker ${name} ready`
export const portsId = (name: string): string => `swarm ports ${name}`
export const joinedId = (name: string): string => `worker ${name}`

const PRIVATE_ADDRESS_TIMEOUT_MS = 2 * 60_000
export const POLL_MS = 1_000

export const pinnedFacts = (world: WorldView<EstateWorld>, name: string): Facts | undefined => {
  const machine = world.get('machines')[name]
  return machine?.state === 'ready' && machine.trust === 'pinned' ? machine.facts : undefined
}

export const setFacts = (live: Live, name: string, facts: Facts): void =>
  live.update('machines', all => ({ ...all, [name]: { state: 'ready', trust: 'pinned', facts } }))

/** Names of all that are in the swarm of `manager`, or on their way in or out. */
export const membersOf = (estate: Estate, manager: string, servers: readonly Server[]): string[] => [
  manager,
  ...estate.servers.filter(spec => spec.joins === manager).map(spec => spec.name),
  ...leavingServers(estate, servers)
    .filter(server => server.labels[LABEL_KEYS.joins] === manager)
    .map(server => server.name),
]

/** The private address of each of `names` that has one by now. */
export const addressesOf = (estate: Estate, names: readonly string[], servers: readonly Server[]): Map<string, string> =>
  new Map(
    names.flatMap(name => {
      const address = findServer(estate.name, name, servers)?.privateIps[0]?.ip
      return address === undefined ? [] : [[name, address] as const]
    }),
  )

/** Waits for private addresses, which a server gets a moment after its creation. @throws LandfallError timeout */
export async function waitAddresses(
  deps: SwarmDeps,
  live: Live,
  names: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, string>> {
  const deadlineMs = deps.clock.monotonicMs() + PRIVATE_ADDRESS_TIMEOUT_MS
  for (;;) {
    const addresses = addressesOf(deps.estate, names, live.get('servers'))
    const missing = names.filter(name => !addresses.has(name))
    if (missing.length === 0) return addresses
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError('timeout', `${missing.join(', ')} got no private address within two minutes.`, {
        hint: 'See the network in the vendor’s console, then run the same command again.',
      })
    const servers = await deps.cloud.listServers()
    live.update('servers', () => servers)
    if (missing.some(name => !addressesOf(deps.estate, [name], servers).has(name))) await deps.clock.sleep(POLL_MS, signal)
  }
}

/** @throws LandfallError not_found */
export const targetNamed = (deps: SwarmDeps, live: Live, name: string): Target => {
  const server = findServer(deps.estate.name, name, live.get('servers'))
  const target = server && targetOf(deps.estate.name, server)
  if (target) return target
  throw new LandfallError('not_found', `${name} has no address or no pinned host key.`)
}

/** @throws LandfallError unhealthy */
export const readUp = async (deps: SwarmDeps, manager: Target, signal: AbortSignal): Promise<UpSwarm> => {
  const swarm = await readSwarm(deps, manager, signal)
  if (swarm.state === 'up') return swarm
  throw new LandfallError('unhealthy', `The swarm of ${manager.name} does not answer: ${swarm.why}.`)
}

export async function lookAgain(
  deps: SwarmDeps,
  target: Target,
  manager: string,
  live: Live,
  signal: AbortSignal,
): Promise<void> {
  const swarm = await readUp(deps, target, signal)
  live.update('swarms', all => ({ ...all, [manager]: swarm }))
}
