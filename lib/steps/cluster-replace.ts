/** A machine of the cluster gives its place to a new one: its visitors and its work move, it goes, and the others stop counting on it. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import { blindSecondsOf } from './balancer.ts'
import { openNode } from './cluster-node.ts'
import { takeOut } from './cluster-out.ts'
import type { ClusterDeps } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'
import { danglingRecords, goingServer, type LeadingDeps, leadingSlices, refusedForDangling } from './leading.ts'
import { runProgram, targetOf } from './machine.ts'

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
      const consul = world.get('consul')
      const others = cluster.servers.filter(
        each =>
          each !== name &&
          consul.state === 'up' &&
          consul.members.some(member => member.name === each && member.state === 'alive'),
      )
      const majority = Math.floor(cluster.servers.length / 2) + 1
      if (cluster.servers.includes(name) && cluster.servers.length > 1 && others.length < majority)
        return refused(
          `Without ${name} only ${others.length} of ${cluster.servers.length} servers are left, which is no majority: the cluster would stop.`,
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
