/** Who may do what in a cluster: Consul's policies and tokens, and Nomad's first token. */

import { METRICS_POLICY, METRICS_RULES, metricsToken } from '../cluster/monitoring.ts'
import type { ClusterSecrets } from '../cluster/secrets.ts'
import { blocked, done, todo } from '../engine/step.ts'
import { LandfallError } from '../errors.ts'
import type { ClusterSpec } from '../estate/cluster.ts'
import type { Secret } from '../secret.ts'
import { consulAt, knownSecrets, nomadAt } from './cluster-api.ts'
import { SURPLUS_JOBS_STEP } from './cluster-surplus.ts'
import type { ClusterDeps, ConsulState } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'

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

export function consulTokensStep(deps: ClusterDeps): EstateStep {
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
      const policies = Object.keys(wanted).filter(name => !consul.policies.some(each => each.name === name))
      const tokens = Object.keys(wanted).filter(name => !consul.tokens.some(each => each.description === name))
      if (policies.length + tokens.length === 0) return done('default deny')
      return todo({
        kind: 'create',
        summary,
        async apply({ world: live }) {
          const api = await consulAt(deps, live)
          for (const [name, rules] of Object.entries(wanted)) if (policies.includes(name)) await api.setPolicy({ name, rules })
          for (const { policy, secret } of tokensOf(knownSecrets(live)))
            if (tokens.includes(policy)) await api.createToken({ secret, description: policy, policies: [policy] })
          live.touch('consul')
        },
      })
    },
  }
}

type Token = Extract<ConsulState, { state: 'up' }>['tokens'][number]
const readsFigures = ({ policies }: Token): boolean => policies.includes(METRICS_POLICY)
const isMetricsToken = ({ description, policies }: Token): boolean =>
  description === METRICS_POLICY && policies.join() === METRICS_POLICY

/** Where nothing is watched, nobody has the right to read figures; what somebody else gave it to stays. */
export function surplusTokenStep(deps: ClusterDeps): EstateStep {
  return {
    id: 'surplus consul token',
    noun: 'cluster',
    title: 'Consul knows no token of a monitoring that is switched off',
    // Until then the jobs read with it.
    needs: ['consul tokens', SURPLUS_JOBS_STEP],
    reads: ['servers', 'clusterNodes', 'consul'],
    look(world) {
      const consul = world.get('consul')
      if (consul.state !== 'up') return done('none')
      const tokens = consul.tokens.filter(isMetricsToken)
      const shared = consul.tokens.some(each => readsFigures(each) && !isMetricsToken(each))
      const policies = shared ? [] : consul.policies.filter(each => each.name === METRICS_POLICY)
      if (tokens.length + policies.length === 0) return done('none')
      return todo({
        kind: 'change',
        summary: "take the monitoring's right to read figures out of Consul",
        details: [...tokens.map(each => `- token ${each.description}`), ...policies.map(each => `- policy ${each.name}`)],
        async apply({ world: live }) {
          const api = await consulAt(deps, live)
          for (const { id } of tokens) await api.deleteToken(id)
          for (const { id } of policies) await api.deletePolicy(id)
          live.touch('consul')
        },
      })
    },
  }
}

export function nomadTokenStep(deps: ClusterDeps): EstateStep {
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
