/** A worker joins a swarm: with a token that is read at that moment, over the private network, once. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { Estate } from '../estate/estate.ts'
import { LABEL_KEYS } from '../estate/labels.ts'
import type { Target } from '../providers/ports/machine.ts'
import { Secret } from '../secret.ts'
import type { EstateStep } from './deps.ts'
import { readFacts, runProgram } from './machine.ts'
import { liveTarget } from './panel.ts'
import { findServer } from './server.ts'
import {
  joinedId,
  type Live,
  type Log,
  lookAgain,
  POLL_MS,
  pinnedFacts,
  portsId,
  readUp,
  readyId,
  type SwarmDeps,
  setFacts,
  targetNamed,
  type UpSwarm,
  waitAddresses,
} from './swarm-kit.ts'
import type { SwarmNode, WorkerServer } from './swarm-world.ts'
import type { EstateWorld } from './world.ts'

const JOIN_TIMEOUT_MS = 2 * 60_000

const upSwarm = (world: WorldView<EstateWorld>, manager: string): UpSwarm | undefined => {
  const swarm = world.get('swarms')[manager]
  return swarm?.state === 'up' ? swarm : undefined
}

/** Earlier lives of a server whose node has its name. */
const staleOf = (nodes: readonly SwarmNode[], name: string, id: string): SwarmNode[] =>
  nodes.filter(node => node.name === name && node.id !== id && node.state !== 'ready')

const publicSwarm = (manager: string, address: string) =>
  [
    `The swarm of ${manager} is reached at ${address}, which is not its private address: workers would speak to it over the internet.`,
    `It was made before ${manager} was in the network, and a swarm’s address never changes: rebuild the server with "network" in config.json.`,
  ] as const

/** The worker is a node of the swarm, ready, and given tasks unless somebody drained it by hand. */
export function joinStep(deps: SwarmDeps, spec: WorkerServer): EstateStep {
  const { estate } = deps
  const manager = spec.joins
  const create = { kind: 'create', summary: `join ${spec.name} to the swarm of ${manager} as a worker` } as const
  return {
    id: joinedId(spec.name),
    noun: 'dokploy',
    title: `${spec.name} works for ${manager}`,
    needs: [readyId(spec.name), portsId(spec.name), portsId(manager)],
    reads: ['servers', 'machines', 'swarms'],
    typicalMs: 10_000,
    look(world) {
      const servers = world.get('servers')
      const server = findServer(estate.name, spec.name, servers)
      const before = server?.labels[LABEL_KEYS.joins]
      if (before !== undefined && before !== manager)
        return refused(
          `${spec.name} works for ${before}, and config.json wants it to work for ${manager}.`,
          'Give the new workers another name: the old ones are drained before they go.',
        )
      const facts = pinnedFacts(world, spec.name)
      const swarm = upSwarm(world, manager)
      const addresses = findServer(estate.name, manager, servers)?.privateIps.map(each => each.ip) ?? []
      if (swarm && addresses.length > 0 && !addresses.includes(swarm.address))
        return refused(...publicSwarm(manager, swarm.address))
      if (pinnedFacts(world, manager)?.dokploy !== 'installed') return blocked(`Dokploy on ${manager}`, create)
      if (facts?.worker !== 'installed') return blocked(readyId(spec.name), create)
      const node = swarm?.nodes.find(each => each.id === facts.swarmNode)
      const stale = swarm ? staleOf(swarm.nodes, spec.name, facts.swarmNode) : []
      if (node?.state === 'ready' && !node.isLeaving && stale.length === 0) {
        const tasks = `${node.tasks} ${node.tasks === 1 ? 'container' : 'containers'}`
        return done(node.availability === 'active' ? tasks : `${tasks}; its availability was set to ${node.availability} by hand`)
      }
      return todo({
        ...create,
        ...(node ? { kind: 'change', summary: `make ${spec.name} a worker of ${manager} again (now ${node.state})` } : {}),
        apply: ({ world: live, signal, log }) => join(deps, spec, live, signal, log),
      })
    },
  }
}

async function join(deps: SwarmDeps, spec: WorkerServer, live: Live, signal: AbortSignal, log: Log): Promise<void> {
  const { joins: manager, name } = spec
  const addresses = await waitAddresses(deps, live, [manager, name], signal)
  const managerTarget = targetNamed(deps, live, manager)
  const target = liveTarget(deps, spec, live)
  await markAsWorker(deps, spec, live)
  const { swarmNode, swarm: isIn } = await readFacts(deps, target, signal)
  const before = await readUp(deps, managerTarget, signal)
  if (!isPrivate(live, deps.estate, manager, before.address)) {
    const [message, hint] = publicSwarm(manager, before.address)
    throw new LandfallError('refused', message, { hint })
  }
  if (!before.nodes.some(node => node.id === swarmNode)) {
    log(`asking ${manager} for the token of workers`)
    await runProgram(
      deps,
      target,
      'join-swarm',
      {
        TOKEN: await readToken(deps, managerTarget, signal),
        MANAGER: before.address,
        ADVERTISE_ADDR: addresses.get(name) ?? '',
        LEAVE: isIn === 'active' ? 'yes' : 'no',
      },
      signal,
    )
  }
  const facts = await readFacts(deps, target, signal)
  log(`waiting until ${manager} sees it`)
  const swarm = await waitNode(deps, managerTarget, name, facts.swarmNode, signal)
  const setNode = (node: SwarmNode, state: 'active' | 'gone') =>
    runProgram(deps, managerTarget, 'set-swarm-node', { NODE: node.id, STATE: state }, signal)
  for (const node of staleOf(swarm.nodes, name, facts.swarmNode)) await setNode(node, 'gone')
  for (const node of swarm.nodes) if (node.id === facts.swarmNode && node.isLeaving) await setNode(node, 'active')
  setFacts(live, name, facts)
  await lookAgain(deps, managerTarget, manager, live, signal)
}

const isPrivate = (live: Live, estate: Estate, name: string, address: string): boolean =>
  findServer(estate.name, name, live.get('servers'))?.privateIps.some(each => each.ip === address) ?? false

/** A label says whom it works for, so that it is drained before it goes, whatever config.json says by then. */
async function markAsWorker(deps: SwarmDeps, spec: WorkerServer, live: Live): Promise<void> {
  const server = findServer(deps.estate.name, spec.name, live.get('servers'))
  if (!server || server.labels[LABEL_KEYS.joins] === spec.joins) return
  const labels = { ...server.labels, [LABEL_KEYS.joins]: spec.joins }
  await deps.cloud.setServerLabels(server.id, labels)
  live.update('servers', all => all.map(each => (each.id === server.id ? { ...each, labels } : each)))
}

async function readToken(deps: SwarmDeps, manager: Target, signal: AbortSignal): Promise<Secret> {
  const [word, encoded = ''] = (await runProgram(deps, manager, 'read-swarm-token', {}, signal)).trim().split(' ')
  if (word !== 'TOKEN') throw new LandfallError('vendor', `${manager.name} gives no token for workers.`)
  return new Secret(`token for workers of ${manager.name}`, Buffer.from(encoded, 'base64').toString('utf8'))
}

async function waitNode(deps: SwarmDeps, manager: Target, name: string, id: string, signal: AbortSignal): Promise<UpSwarm> {
  const deadlineMs = deps.clock.monotonicMs() + JOIN_TIMEOUT_MS
  for (;;) {
    const swarm = await readUp(deps, manager, signal)
    const node = swarm.nodes.find(each => each.id === id)
    if (node?.state === 'ready') return swarm
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError(
        'timeout',
        `${manager.name} calls its worker ${name} "${node?.state ?? 'unknown'}" after two minutes.`,
        {
          hint: `Look at Docker there: bun scripts/status.ts --machine ${name}`,
        },
      )
    await deps.clock.sleep(POLL_MS, signal)
  }
}
