/** A machine of the cluster gives its place to a new one: its visitors and its work move, it goes, and the others stop counting on it. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import { blindSecondsOf } from './balancer.ts'
import { openNode } from './cluster-node.ts'
import { takeOut } from './cluster-out.ts'
import { majorityOf } from './cluster-quorum.ts'
import type { ClusterDeps } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'
import { danglingRecords, goingServer, type LeadingDeps, leadingSlices, refusedForDangling } from './leading.ts'
import { runProgram, targetOf } from './machine.ts'
import type { EstateWorld } from './world.ts'

export const replaceStepId = (name: string): string => `replace ${name}`

/** The server with this id is gone. `serverId` is the one that was there when the command was given. */
export function replaceStep(deps: ClusterDeps & LeadingDeps, name: string, serverId: string): EstateStep {
  const { cluster } = deps
  return {
    id: replaceStepId(name),
    noun: 'cluster',
    title: `the old ${name} is gone`,
    needs: [],
    reads: ['servers', 'primaryIps', 'clusterNodes', 'consul', 'nomad', ...leadingSlices(deps)],
    typicalMs: 60_000,
    look(world) {
      const old = world.get('servers').find(server => server.id === serverId)
      if (!old) return done('gone')
      if (old.deleteProtected)
        return refused(
          `${name} is protected against deletion at the vendor.`,
          'Lift it in the Hetzner console (server → Protection), then run the same command again.',
        )
      // The estate's own names follow by their steps.
      const dangling = danglingRecords(
        deps,
        world,
        goingServer(old).addresses,
        deps.estate.dns?.records.map(each => each.name) ?? [],
      )
      if (dangling.length > 0) return refusedForDangling(dangling)
      const lost = cluster.servers.includes(name) && lostWithout(deps, world, name)
      if (lost)
        return refused(
          `Without ${name} only ${lost.left} of ${lost.size} servers vote in ${lost.where}, which is no majority: the cluster would stop.`,
          'Bring back another server first: bun scripts/cluster.ts status',
        )
      const nomad = world.get('nomad')
      const known = nomad.state === 'up' ? nomad.nodes.filter(each => each.name === name) : []
      // A machine that has just died is still alive for Nomad, and would never give its jobs away.
      const isAlive = openNode(world, name) !== undefined
      const node = isAlive ? known.find(each => each.status === 'ready') : undefined
      const target = targetOf(deps.estate.name, old)
      const serves = openNode(world, name)?.parts.caddy.running === true
      return todo({
        kind: 'destroy',
        summary: `${node ? `move visitors and jobs away from ${name}, then ` : ''}delete server ${name}, which is made anew`,
        details: [node ? 'it is alive' : 'it does not answer'],
        async apply({ world: live, signal, log }) {
          // A visitor that still comes is served: there are jobs until nobody comes.
          if (serves && target) {
            log('its visitors are moving')
            const BLIND_S = String(blindSecondsOf(cluster))
            await runProgram(deps, target, 'set-cluster-visitors', { VISITORS: 'leave', BLIND_S }, signal)
            live.touch('clusterNodes')
          }
          await takeOut(deps, { server: old, known, drained: node, successor: 'comes' }, live, { signal, log })
        },
      })
    },
  }
}

/** Where no majority would be left without this server: Consul and Nomad vote each by themselves. One that is all there is has nobody to lose. */
function lostWithout(
  { cluster: { servers } }: Pick<ClusterDeps, 'cluster'>,
  world: WorldView<EstateWorld>,
  name: string,
): { readonly where: 'Consul' | 'Nomad'; readonly left: number; readonly size: number } | undefined {
  if (servers.length === 1) return undefined
  const others = servers.filter(each => each !== name).flatMap(each => world.get('clusterNodes')[each] ?? [])
  return (['consul', 'nomad'] as const)
    .filter(part => others.some(node => node.state === 'closed' || node.parts[part].files !== 'none'))
    .map(part => {
      const state = world.get(part)
      const { voters, size } = (state.state === 'up' ? state.quorum : undefined) ?? { voters: [], size: servers.length }
      const where = part === 'consul' ? ('Consul' as const) : ('Nomad' as const)
      return { where, left: voters.filter(each => each !== name).length, size }
    })
    .find(({ left, size }) => left < majorityOf(size))
}

/** The estate's steps, of which those of `name` wait until the old one is gone. */
export const afterReplacing = (steps: readonly EstateStep[], name: string, serverId: string): EstateStep[] =>
  steps.map(step =>
    step.id !== `server ${name}`
      ? step
      : {
          ...step,
          needs: [...step.needs, replaceStepId(name)],
          look: world =>
            world.get('servers').some(server => server.id === serverId)
              ? blocked(`the old ${name} to be gone`, { kind: 'create', summary: `create server ${name} anew` })
              : step.look(world),
        },
  )
