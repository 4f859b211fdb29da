/** A swarm's ports on its members: open to each other over the private network, and to nobody else. */

import { blocked, type Change, done, todo } from '../engine/step.ts'
import type { ServerSpec } from '../estate/estate.ts'
import { LABEL_KEYS } from '../estate/labels.ts'
import type { EstateStep } from './deps.ts'
import { readFacts, runProgram } from './machine.ts'
import { liveTarget } from './panel.ts'
import { findServer } from './server.ts'
import { SURPLUS_STEP } from './surplus.ts'
import { addressesOf, type Live, membersOf, pinnedFacts, portsId, type SwarmDeps, setFacts, waitAddresses } from './swarm-kit.ts'
import { leavingServers } from './swarm-world.ts'
import type { EstateWorld } from './world.ts'

const without = (names: readonly string[], name: string) => names.filter(each => each !== name)

/** Every other member of the swarm reaches its swarm's ports. Who is no member any more is shut out by `swarmShutStep`. */
export function swarmPortsStep(deps: SwarmDeps, spec: ServerSpec, manager: string, after: string): EstateStep {
  const { estate } = deps
  const summary = `open 2377, 7946 and 4789 of ${spec.name} to its swarm, over the private network alone`
  return {
    id: portsId(spec.name),
    noun: 'firewall',
    title: `${spec.name} is reached by its swarm`,
    needs: [after, ...membersOf(estate, manager, []).map(name => `server ${name} running`)],
    reads: ['servers', 'machines'],
    look(world) {
      const facts = pinnedFacts(world, spec.name)
      const change = { kind: 'change', summary } as const
      const isReady = (manager === spec.name ? facts?.dokploy : facts?.worker) === 'installed'
      if (!facts || !isReady) return blocked(after, change)
      const servers = world.get('servers')
      const others = without(membersOf(estate, manager, servers), spec.name)
      const unborn = others.find(name => !findServer(estate.name, name, servers))
      if (unborn !== undefined) return blocked(`server ${unborn}`, change)
      const addresses = addressesOf(estate, others, servers)
      if (addresses.size === others.length && [...addresses.values()].every(each => facts.swarmPeers.includes(each)))
        return done(`by ${others.join(', ')}`)
      return todo({
        ...change,
        details: [`for ${others.join(', ')}; nobody else, and nothing from the internet`],
        async apply({ world: live, signal }) {
          const wanted = await waitAddresses(deps, live, others, signal)
          await setPeers(deps, live, spec, [...wanted.values()], signal)
        },
      })
    },
  }
}

async function setPeers(
  deps: SwarmDeps,
  live: Live,
  spec: ServerSpec,
  peers: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const target = liveTarget(deps, spec, live)
  await runProgram(deps, target, 'set-swarm-peers', { PEERS: peers.join(' ') }, signal)
  setFacts(live, spec.name, await readFacts(deps, target, signal))
}

/**
 * Nobody reaches the ports of a swarm who is not, or no longer, in it.
 * @param shrinks whether the workers that leave go in the same run
 */
export function swarmShutStep(deps: SwarmDeps, specs: readonly ServerSpec[], shrinks: boolean): EstateStep {
  const { estate } = deps
  const opened = specs.filter(spec => spec.joins !== undefined || specs.some(each => each.joins === spec.name))
  const managerOf = (spec: ServerSpec) => spec.joins ?? spec.name
  return {
    id: 'swarm ports shut',
    noun: 'firewall',
    title: 'nobody but its members reaches a swarm',
    needs: [...(shrinks ? [SURPLUS_STEP] : []), ...opened.map(spec => portsId(spec.name))],
    reads: ['servers', 'machines'],
    look(world) {
      const servers = world.get('servers')
      const due = specs.flatMap(spec => {
        const others = without(membersOf(estate, managerOf(spec), servers), spec.name)
        const addresses = [...addressesOf(estate, others, servers).values()]
        const strangers = (pinnedFacts(world, spec.name)?.swarmPeers ?? []).filter(each => !addresses.includes(each))
        return strangers.length === 0 ? [] : [{ spec, addresses, strangers }]
      })
      const summaryOf = (name: string) => `shut the swarm’s ports of ${name} to those who left`
      const leaving = leavingServers(estate, servers)
      if (due.length === 0 && shrinks && leaving.length > 0)
        return blocked(
          'the workers that leave',
          ...specs
            .filter(spec => leaving.some(server => server.labels[LABEL_KEYS.joins] === managerOf(spec)))
            .map(spec => ({ kind: 'change' as const, summary: summaryOf(spec.name) })),
        )
      if (due.length === 0) return done('as wanted')
      return todo(
        ...due.map(
          ({ spec, addresses, strangers }): Change<EstateWorld> => ({
            kind: 'change',
            summary: summaryOf(spec.name),
            details: [strangers.join(', ')],
            apply: ({ world: live, signal }) => setPeers(deps, live, spec, addresses, signal),
          }),
        ),
      )
    },
  }
}
