/** Workers of the cluster that config.json no longer wants: their jobs move before they are deleted. */

import { type Change, done, refused, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import { rateOf } from '../estate/cost-months.ts'
import { isOurs } from '../estate/labels.ts'
import type { Server } from '../providers/ports/cloud.ts'
import { goingAddresses } from './address.ts'
import { forgetMachine, takeOut } from './cluster-out.ts'
import { NOMAD_READY_STEP } from './cluster-quorum.ts'
import type { ClusterDeps } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'
import { deleteLeading, goingServer, judgeLeading, type LeadingDeps, leadingSlices, staleDetails } from './leading.ts'
import { targetOf } from './machine.ts'
import { confirmOf, isOfGroup, surplusServers } from './surplus.ts'
import type { EstateWorld } from './world.ts'

export const LEAVING_MACHINES_STEP = 'leaving machines'

export function leavingMachinesStep(deps: ClusterDeps & LeadingDeps): EstateStep {
  const { estate } = deps
  return {
    id: LEAVING_MACHINES_STEP,
    noun: 'cluster',
    title: 'the cluster has no worker that is not wanted',
    // Those that stay come first, so that there is a place to go to.
    needs: [NOMAD_READY_STEP],
    reads: ['servers', 'serverTypes', 'pricing', 'primaryIps', 'clusterNodes', 'nomad', ...leadingSlices(deps)],
    typicalMs: 30_000,
    look(world) {
      const leaving = leavingServers(deps, world)
      const ghosts = ghostsIn(deps, world)
      if (leaving.length + ghosts.length === 0) return done('none')
      const locked = leaving.filter(server => server.deleteProtected).map(server => server.name)
      if (locked.length > 0)
        return refused(
          `${locked.join(', ')} is no longer wanted, and protected against deletion at the vendor.`,
          'Lift it in the Hetzner console (server → Protection), then run the same command again.',
        )
      // Its own names lead to the load balancer, or to a voter, which never leaves.
      const leading = judgeLeading(deps, world, leaving.map(goingServer), [])
      if (leading.state === 'refused') return leading
      const staying = leaving.flatMap(server => {
        const leads = leading.of(goingServer(server))
        return leads.state === 'stays' ? [{ server, leads }] : []
      })
      for (const { server, leads } of staying)
        return refused(
          `${leads.names.join(', ')} still ${leads.names.length === 1 ? 'leads' : 'lead'} to ${server.name}.`,
          leads.command,
        )
      return todo(
        ...leaving.map((server): Change<EstateWorld> => {
          const known = nodesNamed(world, server.name)
          const rate = rateOf(server, { serverTypes: world.get('serverTypes'), pricing: world.get('pricing') })
          return {
            kind: 'destroy',
            summary: `move the jobs away from ${server.name}, then delete it: config.json no longer wants it`,
            details: [
              ...staleDetails(leading.of(goingServer(server))),
              ...goingAddresses(estate.name, world.get('primaryIps'), server),
            ],
            ...confirmOf(estate, server),
            ...(rate ? { monthlyNet: -rate.monthly.net } : {}),
            async apply({ world: live, signal, log }) {
              await deleteLeading(deps, goingServer(server), live)
              const target = targetOf(estate.name, server)
              const answers = target !== undefined && (await deps.machines.look(target)).state === 'ready'
              const drained = answers ? known.find(node => node.status === 'ready') : undefined
              await takeOut(deps, { server, known, drained, successor: 'none' }, live, { signal, log })
            },
          }
        }),
        ...ghosts.map(
          (name): Change<EstateWorld> => ({
            kind: 'change',
            summary: `forget ${name}, whose server is gone`,
            apply: ({ world: live, signal }) => forgetMachine(deps, { name, known: nodesNamed(live, name) }, live, signal),
          }),
        ),
      )
    },
  }
}

/** Workers of a group that has become smaller, and what Nomad counts on although config.json has its group no more; never one that votes. */
function leavingServers({ estate, cluster }: ClusterDeps, world: WorldView<EstateWorld>): Server[] {
  const servers = world.get('servers')
  const surplus = surplusServers(estate.name, estate.servers, servers)
  const isUnwanted = (server: Server): boolean =>
    isOurs(server.labels, estate.name) &&
    nodesNamed(world, server.name).length > 0 &&
    !estate.servers.some(({ name }) => isOfGroup([name], server))
  return servers.filter(server => (surplus.includes(server) && isOfGroup(cluster.workers, server)) || isUnwanted(server))
}

/** What a run that was cut short after it had deleted a server left in Nomad's list. */
const ghostsIn = ({ estate }: ClusterDeps, world: WorldView<EstateWorld>): string[] => {
  const nomad = world.get('nomad')
  const known = [...world.get('servers'), ...estate.servers].map(({ name }) => name)
  return nomad.state === 'up' ? nomad.nodes.filter(node => !known.includes(node.name)).map(node => node.name) : []
}

const nodesNamed = (world: WorldView<EstateWorld>, name: string) => {
  const nomad = world.get('nomad')
  return nomad.state === 'up' ? nomad.nodes.filter(each => each.name === name) : []
}
