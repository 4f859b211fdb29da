/** How a machine goes out of the cluster: its jobs move, it is deleted, and the others stop counting on it. */

import type { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { Consul, Nomad, NomadNode } from '../providers/ports/cluster.ts'
import { deleteWithAddresses, withoutServer } from './address.ts'
import { waitFor } from './cluster-node.ts'
import { type ClusterDeps, secretsOf } from './cluster-world.ts'
import { targetOf } from './machine.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

const DRAIN_DEADLINE_MS = 5 * 60_000

export interface Leaver {
  readonly server: Pick<Server, 'id' | 'name'>
  /** As Nomad knows machines of that name. */
  readonly known: readonly Pick<NomadNode, 'id'>[]
  /** Whose jobs are to move first; undefined for one that does not answer, which would never give them away. */
  readonly drained: Pick<NomadNode, 'id'> | undefined
  /** Whether another server of its name comes, which gets the addresses that were put aside for it. */
  readonly successor: 'comes' | 'none'
}

interface Doing {
  readonly signal: AbortSignal
  readonly log: (line: string) => void
}

/** Deletes the server, and returns when Consul and Nomad have forgotten it. @throws LandfallError timeout when its jobs do not move */
export async function takeOut(
  deps: ClusterDeps,
  { server: { id, name }, known, drained, successor }: Leaver,
  live: World<EstateWorld>,
  { signal, log }: Doing,
): Promise<void> {
  const api = drained && (await apiBeside(deps, name, live))
  if (api) {
    log('its jobs are moving')
    await api.nomad.drainNode(drained.id, DRAIN_DEADLINE_MS)
    await waitFor(deps, `the jobs of ${name} have not moved`, () => isEmpty(api.nomad, drained.id), {
      signal,
      timeoutMs: DRAIN_DEADLINE_MS + 60_000,
      hint: 'bun scripts/cluster.ts status',
    })
  }
  if (successor === 'none') await deleteWithAddresses(deps, { id }, live)
  else {
    await deps.cloud.deleteServer(id)
    live.update('servers', all => all.filter(each => each.id !== id))
    live.update('primaryIps', all => withoutServer(all, id))
  }
  live.touch('machines')
  live.touch('clusterNodes')
  await forgetMachine(deps, { name, known }, live, signal)
}

/** A namesake at another address may join at once afterwards, and nobody waits for the one that is gone. */
export async function forgetMachine(
  deps: ClusterDeps,
  { name, known }: { readonly name: string } & Pick<Leaver, 'known'>,
  live: World<EstateWorld>,
  signal: AbortSignal,
): Promise<void> {
  const api = await apiBeside(deps, name, live)
  if (api) {
    for (const node of known) await unlessUnknown(api.nomad.forgetNode(node.id))
    await forget(deps, api, name, signal)
  }
  live.touch('consul')
  live.touch('nomad')
}

/** Consul and Nomad on a server of the cluster that stays, one that votes if there is any. */
async function apiBeside(deps: ClusterDeps, name: string, live: World<EstateWorld>) {
  const nodes = live.get('clusterNodes')
  const tokens = secretsOf(nodes)
  const hosts = deps.cluster.servers
    .filter(each => each !== name && nodes[each]?.state === 'open')
    .flatMap(each => {
      const server = findServer(deps.estate.name, each, live.get('servers'))
      return (server && targetOf(deps.estate.name, server)) ?? []
    })
  const nomad = live.get('nomad')
  const voters = nomad.state === 'up' ? (nomad.quorum?.voters ?? []) : []
  const host = hosts.find(each => voters.includes(each.name)) ?? hosts[0]
  return (
    host && {
      consul: await deps.consulOn(host, tokens?.consulManagement),
      nomad: await deps.nomadOn(host, tokens?.nomadManagement),
    }
  )
}

/** What failed there stays wanted, here or elsewhere, until its next attempt, which may be an hour away. */
const isEmpty = async (nomad: Nomad, node: string): Promise<boolean> =>
  (await nomad.listAllocationsOn(node)).every(({ state }) => state === 'complete' || state === 'failed' || state === 'lost')

async function forget(
  deps: Pick<ClusterDeps, 'clock'>,
  { consul, nomad }: { consul: Consul; nomad: Nomad },
  name: string,
  signal: AbortSignal,
): Promise<void> {
  await waitFor(
    deps,
    `the cluster still counts on the old ${name}`,
    async () => {
      const member = (await consul.listMembers()).find(each => each.name === name)
      return member === undefined || member.state !== 'alive'
    },
    { signal, timeoutMs: 90_000, hint: 'bun scripts/cluster.ts status' },
  )
  for (const member of [consul, nomad]) await unlessUnknown(member.forgetMember(name))
}

/** One that nobody remembers need not be forgotten; the answer for it is a 400, 404 or 500, by whom is asked for what. */
const unlessUnknown = (work: Promise<void>): Promise<void> =>
  work.catch((error: unknown) => {
    if (!(error instanceof LandfallError && (error.status ?? 0) >= 400)) throw error
  })
