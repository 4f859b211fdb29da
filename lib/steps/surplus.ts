/** Servers of what config.json has made smaller or given up: still ours, still billed, and no longer wanted. */

import { blocked, type Change, done, refused, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import { rateOf } from '../estate/cost-months.ts'
import type { Estate, ServerSpec } from '../estate/estate.ts'
import { isOurs, LABEL_KEYS } from '../estate/labels.ts'
import type { Server } from '../providers/ports/cloud.ts'
import { deleteWithAddresses, goingAddresses } from './address.ts'
import type { Deps, EstateStep } from './deps.ts'
import { dnsStepId } from './dns.ts'
import { deleteLeading, goingServer, judgeLeading, type LeadingDeps, leadingSlices, staleDetails } from './leading.ts'
import type { EstateWorld } from './world.ts'

const baseOf = (name: string): string => name.replace(/-\d+$/, '')

/**
 * Our servers of a wanted group (its role, its name with another number) that are not wanted themselves, and workers of a swarm that are
 * not: their mark tells them when their whole group is gone. Pure.
 */
export function surplusServers(
  estate: string,
  wanted: readonly Pick<ServerSpec, 'name' | 'role'>[],
  servers: readonly Server[],
): Server[] {
  const groups = new Set(wanted.map(spec => `${baseOf(spec.name)} ${spec.role}`))
  return servers.filter(
    server =>
      isOurs(server.labels, estate) &&
      !wanted.some(spec => spec.name === server.name) &&
      (server.labels[LABEL_KEYS.joins] !== undefined ||
        groups.has(`${baseOf(server.name)} ${server.labels[LABEL_KEYS.role] ?? ''}`)),
  )
}

/** Our servers of pull requests, where config.json describes no previews that could take them down. Pure. */
export const orphanedPreviews = (
  { name, previews }: Pick<Deps['estate'], 'name' | 'previews'>,
  servers: readonly Server[],
): Server[] =>
  previews ? [] : servers.filter(({ labels }) => isOurs(labels, name) && labels[LABEL_KEYS.pullRequest] !== undefined)

/** Our servers of groups that config.json does not name at all, under another name perhaps: no run takes them for too many. Pure. */
export const forgottenServers = (estate: Pick<Deps['estate'], 'name' | 'servers'>, servers: readonly Server[]): Server[] => {
  const surplus = surplusServers(estate.name, estate.servers, servers)
  return servers.filter(
    server =>
      isOurs(server.labels, estate.name) &&
      server.labels[LABEL_KEYS.pullRequest] === undefined &&
      !estate.servers.some(spec => spec.name === server.name) &&
      !surplus.includes(server),
  )
}

/** Whether it is of the same group as one of `names`: theirs with another number. Pure. */
export const isOfGroup = (names: readonly string[], { name }: Pick<Server, 'name'>): boolean =>
  names.map(baseOf).includes(baseOf(name))

/** What has to be said before `server` goes: its name, where config.json protects the group that it was of. */
export const confirmOf = ({ servers }: Pick<Estate, 'servers'>, server: Pick<Server, 'name'>): { readonly confirm?: string } =>
  servers.some(spec => spec.protected && isOfGroup([spec.name], server)) ? { confirm: server.name } : {}

export const SURPLUS_STEP = 'surplus servers'

export interface StayingServer {
  readonly server: string
  readonly names: readonly string[]
  /** Leads the names to where config.json wants them. */
  readonly command: string
}

/** Servers that are too many, and kept because a name that is wanted leads to them. Pure; none where names cannot be read. */
export function stayingServers(
  deps: Omit<LeadingDeps, 'dns'>,
  world: WorldView<EstateWorld>,
  movers: readonly string[],
): StayingServer[] {
  const { estate } = deps
  const servers = world.get('servers')
  const surplus = [...surplusServers(estate.name, estate.servers, servers), ...orphanedPreviews(estate, servers)]
  const leading = judgeLeading(deps, world, surplus.map(goingServer), movers)
  return surplus.flatMap(server => {
    const leads = leading.state === 'judged' ? leading.of(goingServer(server)) : undefined
    return leads?.state === 'stays' ? [{ server: server.name, names: leads.names, command: leads.command }] : []
  })
}

const stayText = ({ server, names, command }: StayingServer): string =>
  `${server} stays: ${names.join(', ')} ${names.length === 1 ? 'leads' : 'lead'} to it; ${command}`

/**
 * No server of a group is left beyond the wanted ones, and none of previews where there are none any more; no name leads to one that goes.
 * @param movers names whose records the same plan moves
 */
export function surplusStep(
  deps: Pick<Deps, 'cloud'> & LeadingDeps,
  after: readonly string[] = [],
  movers: readonly string[] = [],
): EstateStep {
  const { estate } = deps
  return {
    id: SURPLUS_STEP,
    noun: 'server',
    title: 'no group has more servers than wanted',
    // Those that stay come first, so that no group is empty in between.
    needs: [...estate.servers.map(spec => `server ${spec.name} running`), ...movers.map(dnsStepId), ...after],
    reads: ['servers', 'serverTypes', 'pricing', 'primaryIps', ...leadingSlices(deps)],
    order: 'parallel',
    look(world) {
      const servers = world.get('servers')
      const surplus = [...surplusServers(estate.name, estate.servers, servers), ...orphanedPreviews(estate, servers)]
      if (surplus.length === 0) return done('none')
      const { servers: voters = [], workers = [] } = estate.cluster ?? {}
      const leaving = surplus.filter(server => isOfGroup(voters, server)).map(server => server.name)
      // The ones that stay would wait for a majority that is gone, with all that the cluster knows.
      if (leaving.length > 0)
        return refused(
          `${leaving.join(', ')} ${leaving.length === 1 ? 'votes' : 'vote'} in the cluster: deleted just so, it may lose its majority and what it knows.`,
          'Put "count" back in config.json. A smaller cluster is a new one: bun scripts/destroy.ts',
        )
      const working = surplus.filter(server => isOfGroup(workers, server)).map(server => server.name)
      if (working.length > 0)
        return refused(
          `${working.join(', ')} ${working.length === 1 ? 'has' : 'have'} jobs of the cluster, which have to move before ${working.length === 1 ? 'it is' : 'they are'} deleted.`,
          'bun scripts/cluster.ts apply',
        )
      const locked = surplus.filter(server => server.deleteProtected)
      if (locked.length > 0)
        return refused(
          `${locked.map(server => server.name).join(', ')} is no longer wanted, and protected against deletion at the vendor.`,
          'Lift the protection in the vendor’s console, then run the same command again.',
        )
      const leading = judgeLeading(deps, world, surplus.map(goingServer), movers)
      if (leading.state === 'refused') return leading
      const judged = surplus.map(server => ({ server, leads: leading.of(goingServer(server)) }))
      const going = judged.filter(({ leads }) => leads.state !== 'stays')
      if (going.length === 0) return done(stayingServers(deps, world, movers).map(stayText).join('; '))
      const changes = going.map(({ server, leads }): Change<EstateWorld> => {
        const rate = rateOf(server, { serverTypes: world.get('serverTypes'), pricing: world.get('pricing') })
        return {
          kind: 'destroy',
          summary: `delete server ${server.name}, which config.json no longer wants`,
          details: [...staleDetails(leads), ...goingAddresses(estate.name, world.get('primaryIps'), server)],
          ...confirmOf(estate, server),
          ...(rate ? { monthlyNet: -rate.monthly.net } : {}),
          async apply({ world: live }) {
            await deleteLeading(deps, goingServer(server), live)
            await deleteWithAddresses(deps, server, live)
          },
        }
      })
      const moving = going.flatMap(({ leads }) => (leads.state === 'moves first' ? leads.names : []))
      return moving.length > 0 ? blocked([...new Set(moving)].map(dnsStepId).join(', '), ...changes) : todo(...changes)
    },
  }
}
