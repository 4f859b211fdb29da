/** The order in which a cluster comes to life: Consul everywhere, its leader, its tokens; then Nomad everywhere, its leader, its token. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import type { World, WorldView } from '../engine/world.ts'
import { consulTokensStep, nomadTokenStep } from './cluster-access.ts'
import { consulAt, nomadAt } from './cluster-api.ts'
import {
  CERTIFICATE_STEP,
  type Keeps,
  openNode,
  type PartWish,
  partStep,
  partStepId,
  revivalStepId,
  secretsStep,
  waitFor,
} from './cluster-node.ts'
import type { ClusterDeps } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'
import type { EstateWorld } from './world.ts'

type Live = World<EstateWorld>

export const NOMAD_READY_STEP = 'nomad ready'

/** How many of so many voters decide. */
export const majorityOf = (size: number): number => Math.floor(size / 2) + 1

const LOGS = (part: string, name: string) => `See why: bun scripts/cluster.ts logs ${name} --part ${part}`

/** Whether this part had a leader when the world was looked at: then a change waits until all is as healthy as before. */
const wasFormed = (world: WorldView<EstateWorld>, part: 'consul' | 'nomad'): boolean => {
  const state = world.get(part)
  return state.state === 'up' && state.leader
}

const settleConsul = (deps: ClusterDeps, name: string) => async (live: Live, signal: AbortSignal) => {
  const { servers } = deps.cluster
  const formed = wasFormed(live, 'consul')
  const voters = formed ? servers.filter(each => openNode(live, each)?.parts.consul.running).length : 0
  live.touch('consul')
  await waitFor(
    deps,
    `${name} has not come back into Consul's quorum`,
    async () => {
      const consul = await consulAt(deps, live, name)
      if (!formed) {
        await consul.hasLeader()
        return true
      }
      const [quorum, members] = await Promise.all([consul.quorum(), consul.listMembers()])
      const alive = members.some(member => member.name === name && member.state === 'alive')
      return alive && quorum.state === 'formed' && quorum.healthy && quorum.voters.length >= voters
    },
    { signal, hint: LOGS('consul', name) },
  )
}

const settleNomad = (deps: ClusterDeps, name: string) => async (live: Live, signal: AbortSignal) => {
  const { servers } = deps.cluster
  const formed = wasFormed(live, 'nomad')
  const voters = formed ? servers.filter(each => openNode(live, each)?.parts.nomad.running).length : 0
  live.touch('nomad')
  const isServer = servers.includes(name)
  await waitFor(
    deps,
    `${name} has not come back into Nomad's cluster`,
    async () => {
      const nomad = await nomadAt(deps, live, isServer ? name : undefined)
      if (!formed) {
        await nomad.hasLeader()
        return true
      }
      const [quorum, nodes] = await Promise.all([nomad.quorum(), nomad.listNodes()])
      const ready = nodes.some(node => node.name === name && node.status === 'ready')
      return ready && quorum.state === 'formed' && quorum.healthy && quorum.voters.length >= voters
    },
    { signal, hint: LOGS('nomad', name) },
  )
}

const SPARE_TIMEOUT_MS = 60_000

/** While its program on this server restarts, the others still decide. Two cannot, which there are only while a cluster grows. */
const spare = (deps: ClusterDeps, part: 'consul' | 'nomad', name: string) => async (live: Live, signal: AbortSignal) => {
  if (!deps.cluster.servers.includes(name) || !wasFormed(live, part)) return
  await waitFor(
    deps,
    `${part === 'consul' ? 'Consul' : 'Nomad'} still has no majority without ${name}, so it is not restarted there`,
    async () => {
      const quorum = await (part === 'consul' ? await consulAt(deps, live) : await nomadAt(deps, live)).quorum()
      if (quorum.state !== 'formed') return false
      return quorum.size < 3 || quorum.voters.filter(each => each !== name).length >= majorityOf(quorum.size)
    },
    { signal, timeoutMs: SPARE_TIMEOUT_MS, hint: 'Bring back the one that is away first: bun scripts/cluster.ts status' },
  )
}

function consulLeaderStep(deps: ClusterDeps): EstateStep {
  const count = deps.cluster.servers.length
  return {
    id: 'consul leader',
    noun: 'cluster',
    title: 'Consul has a leader and all its voters',
    needs: deps.cluster.servers.map(name => partStepId('consul', name)),
    reads: ['servers', 'clusterNodes', 'consul'],
    typicalMs: 10_000,
    look(world) {
      const consul = world.get('consul')
      const wait = { kind: 'wait', summary: `wait for a leader and ${count} voters of Consul` } as const
      if (consul.state === 'away' && !deps.cluster.servers.some(name => openNode(world, name)?.parts.consul.running))
        return blocked('Consul', wait)
      if (consul.state === 'up' && consul.quorum?.healthy && consul.quorum.voters.length >= count)
        return done(`${consul.quorum.voters.length} of ${count} voters`)
      return todo({
        ...wait,
        async apply({ world: live, signal }) {
          await waitFor(
            deps,
            `Consul has no leader with ${count} healthy voters`,
            async () => {
              const quorum = await (await consulAt(deps, live)).quorum()
              return quorum.state === 'formed' && quorum.healthy && quorum.voters.length >= count
            },
            { signal, hint: 'bun scripts/cluster.ts status' },
          )
          live.touch('consul')
        },
      })
    },
  }
}

function nomadLeaderStep(deps: ClusterDeps): EstateStep {
  return {
    id: 'nomad leader',
    noun: 'cluster',
    title: 'Nomad has a leader',
    needs: deps.cluster.servers.map(name => partStepId('nomad', name)),
    reads: ['servers', 'clusterNodes', 'nomad'],
    typicalMs: 10_000,
    look(world) {
      const nomad = world.get('nomad')
      const wait = { kind: 'wait', summary: 'wait for a leader of Nomad' } as const
      if (nomad.state === 'up' && nomad.leader) return done('elected')
      if (!deps.cluster.servers.some(name => openNode(world, name)?.parts.nomad.running)) return blocked('Nomad', wait)
      return todo({
        ...wait,
        async apply({ world: live, signal }) {
          await waitFor(deps, 'Nomad has no leader', async () => (await nomadAt(deps, live)).hasLeader(), {
            signal,
            hint: 'bun scripts/cluster.ts status',
          })
          live.touch('nomad')
        },
      })
    },
  }
}

function nomadReadyStep(deps: ClusterDeps): EstateStep {
  const { servers, workers } = deps.cluster
  const all = [...servers, ...workers]
  const missing = (nodes: readonly { name: string; status: string }[]) =>
    all.filter(name => !nodes.some(node => node.name === name && node.status === 'ready'))
  return {
    id: NOMAD_READY_STEP,
    noun: 'cluster',
    title: 'Nomad has all its voters, and every machine takes jobs',
    needs: ['nomad token', ...workers.map(name => partStepId('nomad', name))],
    reads: ['servers', 'clusterNodes', 'nomad'],
    typicalMs: 15_000,
    look(world) {
      const nomad = world.get('nomad')
      const wait = { kind: 'wait', summary: `wait until ${all.length} machines take jobs` } as const
      if (nomad.state !== 'up' || nomad.token !== 'known') return blocked("Nomad's token", wait)
      const idle = nomad.nodes.filter(node => all.includes(node.name) && node.status === 'ready' && !node.eligible)
      const ready = missing(nomad.nodes).length === 0 && nomad.quorum?.healthy && nomad.quorum.voters.length >= servers.length
      if (ready && idle.length > 0)
        return todo({
          kind: 'change',
          summary: `let ${idle.map(node => node.name).join(', ')} take jobs again`,
          async apply({ world: live }) {
            for (const node of idle) await (await nomadAt(deps, live)).releaseNode(node.id)
            live.touch('nomad')
          },
        })
      if (ready) return done(`${nomad.quorum?.voters.length ?? 0} of ${servers.length} voters, ${all.length} machines`)
      if (wasFormed(world, 'nomad') === false) return refused('Nomad lost its leader.', 'bun scripts/cluster.ts status')
      return todo({
        ...wait,
        async apply({ world: live, signal }) {
          await waitFor(
            deps,
            `not every machine takes jobs`,
            async () => {
              const api = await nomadAt(deps, live)
              const [quorum, nodes] = await Promise.all([api.quorum(), api.listNodes()])
              return (
                missing(nodes).length === 0 &&
                quorum.state === 'formed' &&
                quorum.healthy &&
                quorum.voters.length >= servers.length
              )
            },
            { signal, hint: 'bun scripts/cluster.ts status' },
          )
          live.touch('nomad')
        },
      })
    },
  }
}

/** Each after the one before it, so that never more than one is away. */
const chained = <T>(
  names: readonly string[],
  first: readonly string[],
  make: (name: string, needs: readonly string[]) => T,
  id: (name: string) => string,
): T[] =>
  names.map((name, index) => {
    const before = names[index - 1]
    return make(name, before === undefined ? first : [...first, id(before)])
  })

const nothing = async (): Promise<void> => {}

/** Everything of the cluster below its jobs. */
export function clusterSteps(deps: ClusterDeps, keeps: Keeps = 'everything'): EstateStep[] {
  const { servers, workers } = deps.cluster
  const roleOf = (name: string): PartWish['role'] => (servers.includes(name) ? 'server' : 'worker')
  const wishFor = (part: 'consul' | 'nomad', name: string) => ({
    part,
    name,
    role: roleOf(name),
    keeps,
    spare: spare(deps, part, name),
    settle: part === 'consul' ? settleConsul(deps, name) : settleNomad(deps, name),
  })
  const parts = (part: 'consul' | 'nomad', names: readonly string[], first: readonly string[], when: 'up' | 'always') =>
    chained(
      names,
      first,
      (name, needs) => partStep(deps, { ...wishFor(part, name), needs, when }),
      name => partStepId(part, name),
    )
  // Those that do not run come back before one that does is restarted.
  const voters = (part: 'consul' | 'nomad', first: readonly string[]) => [
    ...chained(
      servers,
      first,
      (name, needs) => partStep(deps, { ...wishFor(part, name), needs, when: 'down' }),
      name => revivalStepId(part, name),
    ),
    ...parts(part, servers, [...first, ...servers.map(name => revivalStepId(part, name))], 'up'),
  ]
  return [
    secretsStep(deps),
    ...voters('consul', []),
    consulLeaderStep(deps),
    consulTokensStep(deps),
    ...parts('consul', workers, ['consul tokens'], 'always'),
    ...voters('nomad', ['consul tokens']),
    nomadLeaderStep(deps),
    nomadTokenStep(deps),
    ...parts('nomad', workers, ['nomad token', ...workers.map(name => partStepId('consul', name))], 'always'),
    nomadReadyStep(deps),
    ...chained(
      servers,
      ['consul tokens', ...(deps.cluster.certificateNames.length > 0 ? [CERTIFICATE_STEP] : [])],
      (name, needs) =>
        partStep(deps, { part: 'caddy', name, role: 'server', needs, keeps, when: 'always', spare: nothing, settle: nothing }),
      name => partStepId('caddy', name),
    ),
  ]
}
