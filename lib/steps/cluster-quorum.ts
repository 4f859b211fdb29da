/** The order in which a cluster comes to life: Consul everywhere, its leader, its tokens; then Nomad everywhere, its leader, its token. */

import { METRICS_POLICY, METRICS_RULES, metricsToken } from '../cluster/monitoring.ts'
import type { ClusterSecrets } from '../cluster/secrets.ts'
import { blocked, done, refused, todo } from '../engine/step.ts'
import type { World, WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { ClusterSpec } from '../estate/cluster.ts'
import type { Secret } from '../secret.ts'
import { CERTIFICATE_STEP, type Keeps, openNode, partStep, partStepId, secretsStep, waitFor } from './cluster-node.ts'
import { type ClusterDeps, hostOf, secretsOf } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'
import { targetOf } from './machine.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

type Live = World<EstateWorld>

export const NOMAD_READY_STEP = 'nomad ready'

const LOGS = (part: string, name: string) => `See why: bun scripts/cluster.ts logs ${name} --part ${part}`

const knownSecrets = (world: WorldView<EstateWorld>): ClusterSecrets => {
  const secrets = secretsOf(world.get('clusterNodes'))
  if (secrets) return secrets
  throw new Error('bug: a step of the cluster runs before its secrets are there')
}

/** A tunnel to this very machine, not to any that answers. */
const targetOn = (deps: ClusterDeps, world: WorldView<EstateWorld>, name: string) => {
  const server = findServer(deps.estate.name, name, world.get('servers'))
  const target = server && targetOf(deps.estate.name, server)
  if (target) return target
  throw new LandfallError('not_found', `${name} has no address or no recorded host key.`)
}

const consulAt = async (deps: ClusterDeps, live: Live, name?: string) =>
  deps.consulOn(
    name === undefined ? hostOf(deps, live, 'consul') : targetOn(deps, live, name),
    knownSecrets(live).consulManagement,
  )

const nomadAt = async (deps: ClusterDeps, live: Live, name?: string) =>
  deps.nomadOn(name === undefined ? hostOf(deps, live, 'nomad') : targetOn(deps, live, name), knownSecrets(live).nomadManagement)

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
      return alive && quorum.state === 'formed' && quorum.healthy && quorum.voters >= voters
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
      return ready && quorum.state === 'formed' && quorum.healthy && quorum.voters >= voters
    },
    { signal, hint: LOGS('nomad', name) },
  )
}

const POLICIES = {
  'landfall-agent':
    'node_prefix "" { policy = "write" }\nservice_prefix "" { policy = "read" }\nagent_prefix "" { policy = "read" }\n',
  'landfall-reader': 'node_prefix "" { policy = "read" }\nservice_prefix "" { policy = "read" }\n',
  'landfall-nomad':
    'agent_prefix "" { policy = "read" }\nnode_prefix "" { policy = "read" }\nservice_prefix "" { policy = "write" }\n',
} as const

const policiesOf = ({ monitoring }: ClusterSpec): Readonly<Record<string, string>> => ({
  ...POLICIES,
  ...(monitoring ? { [METRICS_POLICY]: METRICS_RULES } : {}),
})

const tokensOf = (secrets: ClusterSecrets): readonly { policy: string; secret: Secret }[] => [
  { policy: METRICS_POLICY, secret: metricsToken(secrets) },
  { policy: 'landfall-agent', secret: secrets.consulAgent },
  { policy: 'landfall-reader', secret: secrets.consulReader },
  { policy: 'landfall-nomad', secret: secrets.consulNomad },
]

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
      if (consul.state === 'up' && consul.quorum?.healthy && consul.quorum.voters >= count)
        return done(`${consul.quorum.voters} of ${count} voters`)
      return todo({
        ...wait,
        async apply({ world: live, signal }) {
          await waitFor(
            deps,
            `Consul has no leader with ${count} healthy voters`,
            async () => {
              const quorum = await (await consulAt(deps, live)).quorum()
              return quorum.state === 'formed' && quorum.healthy && quorum.voters >= count
            },
            { signal, hint: 'bun scripts/cluster.ts status' },
          )
          live.touch('consul')
        },
      })
    },
  }
}

function consulTokensStep(deps: ClusterDeps): EstateStep {
  return {
    id: 'consul tokens',
    noun: 'cluster',
    title: 'Consul knows the tokens of its agents and of Nomad',
    needs: ['consul leader'],
    reads: ['servers', 'clusterNodes', 'consul'],
    look(world) {
      const consul = world.get('consul')
      const summary = 'give the agents and Nomad their rights in Consul'
      if (consul.state !== 'up' || !consul.leader) return blocked("Consul's leader", { kind: 'create', summary })
      const wanted = policiesOf(deps.cluster)
      const policies = Object.keys(wanted).filter(name => !consul.policies.includes(name))
      const tokens = Object.keys(wanted).filter(name => !consul.tokens.includes(name))
      if (policies.length + tokens.length === 0) return done('default deny')
      return todo({
        kind: 'create',
        summary,
        async apply({ world: live }) {
          const api = await consulAt(deps, live)
          for (const [name, rules] of Object.entries(wanted)) if (policies.includes(name)) await api.setPolicy({ name, rules })
          for (const { policy, secret } of tokensOf(knownSecrets(live)))
            if (tokens.includes(policy)) await api.createToken({ secret, description: policy, policy })
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

function nomadTokenStep(deps: ClusterDeps): EstateStep {
  return {
    id: 'nomad token',
    noun: 'cluster',
    title: "Nomad's access rules are in force, and its first token is ours",
    needs: ['nomad leader'],
    reads: ['servers', 'clusterNodes', 'nomad'],
    look(world) {
      const nomad = world.get('nomad')
      const summary = "give Nomad's first token its value"
      if (nomad.state !== 'up' || !nomad.leader) return blocked("Nomad's leader", { kind: 'create', summary })
      if (nomad.token === 'known') return done('known')
      return todo({
        kind: 'create',
        summary,
        async apply({ world: live }) {
          const api = await nomadAt(deps, live)
          const answer = await api.bootstrapAcl(knownSecrets(live).nomadManagement)
          if (answer === 'taken' && !(await api.knowsToken()))
            throw new LandfallError(
              'refused',
              "Nomad's first token was made by somebody else, so this cluster is not ours to steer.",
              {
                hint: 'Reset it as Nomad\'s documentation says under "Re-bootstrap ACL system", then run the same command again.',
              },
            )
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
      const ready = missing(nomad.nodes).length === 0 && nomad.quorum?.healthy && nomad.quorum.voters >= servers.length
      if (ready && idle.length > 0)
        return todo({
          kind: 'change',
          summary: `let ${idle.map(node => node.name).join(', ')} take jobs again`,
          async apply({ world: live }) {
            for (const node of idle) await (await nomadAt(deps, live)).releaseNode(node.id)
            live.touch('nomad')
          },
        })
      if (ready) return done(`${nomad.quorum?.voters ?? 0} of ${servers.length} voters, ${all.length} machines`)
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
              return missing(nodes).length === 0 && quorum.state === 'formed' && quorum.healthy && quorum.voters >= servers.length
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

/** Everything of the cluster below its jobs. */
export function clusterSteps(deps: ClusterDeps, keeps: Keeps = 'everything'): EstateStep[] {
  const { servers, workers } = deps.cluster
  const roleOf = (name: string) => (servers.includes(name) ? 'server' : 'worker')
  const parts = (part: 'consul' | 'nomad', names: readonly string[], first: readonly string[]) =>
    chained(
      names,
      first,
      (name, needs) =>
        partStep(deps, {
          part,
          name,
          role: roleOf(name),
          needs,
          keeps,
          settle: part === 'consul' ? settleConsul(deps, name) : settleNomad(deps, name),
        }),
      name => partStepId(part, name),
    )
  return [
    secretsStep(deps),
    ...parts('consul', servers, []),
    consulLeaderStep(deps),
    consulTokensStep(deps),
    ...parts('consul', workers, ['consul tokens']),
    ...parts('nomad', servers, ['consul tokens']),
    nomadLeaderStep(deps),
    nomadTokenStep(deps),
    ...parts('nomad', workers, ['nomad token', ...workers.map(name => partStepId('consul', name))]),
    nomadReadyStep(deps),
    ...chained(
      servers,
      ['consul tokens', ...(deps.cluster.certificateNames.length > 0 ? [CERTIFICATE_STEP] : [])],
      (name, needs) => partStep(deps, { part: 'caddy', name, role: 'server', needs, keeps, settle: async () => {} }),
      name => partStepId('caddy', name),
    ),
  ]
}
