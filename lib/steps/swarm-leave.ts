/** A worker leaves its swarm: drained until nothing runs on it, then forgotten. What deletes its server comes after it. */

import { type Change, done, refused, todo } from '../engine/step.ts'
import { hasCode, LandfallError } from '../errors.ts'
import type { Estate } from '../estate/estate.ts'
import { LABEL_KEYS } from '../estate/labels.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { EstateStep } from './deps.ts'
import { runProgram, targetOf } from './machine.ts'
import { findServer } from './server.ts'
import { joinedId, type Live, type Log, lookAgain, POLL_MS, readUp, type SwarmDeps, targetNamed } from './swarm-kit.ts'
import { leavingServers, type SwarmNode } from './swarm-world.ts'
import type { EstateWorld } from './world.ts'

/** In the order in which a group shrinks: out of the swarm, then deleted. */
export const LEAVING_STEP = 'leaving workers'
const DRAIN_TIMEOUT_MS = 5 * 60_000

const isWanted = ({ servers }: Pick<Estate, 'servers'>, server: Server): boolean =>
  servers.some(spec => spec.name === server.name)

interface Leaver {
  readonly server: Server
  readonly manager: string
  readonly nodes: readonly SwarmNode[]
}

/** Nothing runs any more on workers that config.json no longer wants, and their swarm has forgotten them. */
export function leavingWorkersStep(deps: SwarmDeps): EstateStep {
  const { estate } = deps
  return {
    id: LEAVING_STEP,
    noun: 'dokploy',
    title: 'no swarm has a worker that is not wanted',
    // Those that stay come first, so that there is a place to go to.
    needs: estate.servers.filter(spec => spec.joins !== undefined).map(spec => joinedId(spec.name)),
    reads: ['servers', 'swarms'],
    typicalMs: 20_000,
    look(world) {
      const servers = world.get('servers')
      const leavers: Leaver[] = []
      for (const server of leavingServers(estate, servers)) {
        const manager = server.labels[LABEL_KEYS.joins] ?? ''
        // A swarm whose manager is gone is gone.
        if (!findServer(estate.name, manager, servers)) continue
        const swarm = world.get('swarms')[manager]
        if (swarm?.state !== 'up')
          return refused(
            `${server.name} is to leave the swarm of ${manager}, which does not answer${swarm ? `: ${swarm.why}` : ''}.`,
            `Mend ${manager} first, so that what runs on ${server.name} can move: bun scripts/status.ts --machine ${manager}`,
          )
        const nodes = swarm.nodes.filter(node => node.name === server.name)
        // A server that stays for something else loses its mark, too.
        if (nodes.length > 0 || isWanted(estate, server)) leavers.push({ server, manager, nodes })
      }
      if (leavers.length === 0) return done('none')
      return todo(
        ...[...Map.groupBy(leavers, each => each.manager)].map(([manager, group]): Change<EstateWorld> => {
          const tasks = group.flatMap(each => each.nodes).reduce((sum, node) => sum + node.tasks, 0)
          return {
            kind: 'change',
            summary: `drain ${group.map(each => each.server.name).join(', ')} and take ${group.length === 1 ? 'it' : 'them'} out of the swarm of ${manager}`,
            details: [
              tasks === 0
                ? 'nothing runs there'
                : `${tasks} ${tasks === 1 ? 'container is' : 'containers are'} started elsewhere; an application with one instance is away for that moment`,
            ],
            apply: ({ world: live, signal, log }) => drain(deps, manager, group, live, signal, log),
          }
        }),
      )
    },
  }
}

async function drain(
  deps: SwarmDeps,
  manager: string,
  leavers: readonly Leaver[],
  live: Live,
  signal: AbortSignal,
  log: Log,
): Promise<void> {
  const target = targetNamed(deps, live, manager)
  const setNode = (node: SwarmNode, state: 'drain' | 'gone') =>
    runProgram(deps, target, 'set-swarm-node', { NODE: node.id, STATE: state }, signal)
  const nodes = leavers.flatMap(each => each.nodes)
  // All of them before any task moves: none goes from one leaver to the next.
  for (const node of nodes) await setNode(node, 'drain')
  const deadlineMs = deps.clock.monotonicMs() + DRAIN_TIMEOUT_MS
  for (;;) {
    const swarm = await readUp(deps, target, signal)
    // What a node that is down runs can't be known, and nothing is moved by waiting for it.
    const busy = swarm.nodes.filter(node => nodes.some(each => each.id === node.id) && node.state === 'ready' && node.tasks > 0)
    if (busy.length === 0) break
    const words = busy.map(node => `${node.name} (${node.tasks})`).join(', ')
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError('timeout', `After ${DRAIN_TIMEOUT_MS / 60_000} minutes containers still run on ${words}.`, {
        hint: `See them on ${manager}: docker node ps ${busy[0]?.name} — then run the same command again; they get no new ones.`,
      })
    log(`waiting for the containers on ${words} to end`)
    await deps.clock.sleep(POLL_MS, signal)
  }
  for (const { server, nodes: own } of leavers) {
    const worker = targetOf(deps.estate.name, server)
    if (worker)
      await runProgram(deps, worker, 'leave-swarm', {}, signal).catch((error: unknown) => {
        // It is deleted next; a machine that does not answer is forgotten by the swarm all the same.
        if (!hasCode(error, 'network', 'timeout', 'host_key')) throw error
        log(`${server.name} does not answer, so it is taken out without its doing`)
      })
    for (const node of own) await setNode(node, 'gone')
    if (isWanted(deps.estate, server)) await takeMark(deps, server, live)
  }
  await lookAgain(deps, target, manager, live, signal)
}

async function takeMark(deps: SwarmDeps, server: Server, live: Live): Promise<void> {
  const { [LABEL_KEYS.joins]: _, ...labels } = server.labels
  await deps.cloud.setServerLabels(server.id, labels)
  live.update('servers', all => all.map(each => (each.id === server.id ? { ...each, labels } : each)))
}
