/**
 * Workers of a Dokploy server's swarm: made ready, let in by each other's guards over the private network, joined, and taken out again only
 * when nothing runs on them any more.
 */

import { blocked, done, todo } from '../engine/step.ts'
import type { EstateStep } from './deps.ts'
import { install } from './install.ts'
import { readFacts } from './machine.ts'
import { liveTarget, SWARM_POOL } from './panel.ts'
import { joinStep } from './swarm-join.ts'
import { pinnedFacts, readyId, type SwarmDeps, setFacts } from './swarm-kit.ts'
import { swarmPortsStep } from './swarm-ports.ts'
import type { WorkerServer } from './swarm-world.ts'

/** What makes `workers` work for the server with Dokploy that they name. */
export function swarmSteps(deps: SwarmDeps, workers: readonly WorkerServer[]): EstateStep[] {
  const managers = deps.estate.servers.filter(spec => workers.some(worker => worker.joins === spec.name))
  return [
    ...workers.map(spec => workerReadyStep(deps, spec)),
    ...managers.map(spec => swarmPortsStep(deps, spec, spec.name, `dokploy ${spec.name}`)),
    ...workers.map(spec => swarmPortsStep(deps, spec, spec.joins, readyId(spec.name))),
    ...workers.map(spec => joinStep(deps, spec)),
  ]
}

/** Docker runs on it, with the guard of its ports, and it is in no swarm of its own. */
function workerReadyStep(deps: SwarmDeps, spec: WorkerServer): EstateStep {
  const create = { kind: 'create', summary: `install Docker on ${spec.name} over SSH (usually a minute)` } as const
  return {
    id: readyId(spec.name),
    noun: 'machine',
    title: `${spec.name} is ready to work for a swarm`,
    needs: [`machine ${spec.name}`],
    reads: ['servers', 'machines'],
    typicalMs: 60_000,
    look(world) {
      const facts = pinnedFacts(world, spec.name)
      if (!facts) return blocked(`machine ${spec.name}`, create)
      if (facts.worker === 'installed' && facts.docker !== 'none') return done(`Docker ${facts.docker}`)
      return todo({
        ...create,
        details: ['Docker from the distribution, logins by key only, security updates, the swarm’s ports shut'],
        async apply({ world: live, signal, log }) {
          const target = liveTarget(deps, spec, live)
          await install(
            deps,
            target,
            { what: 'Docker', start: 'start-worker-install', watch: 'watch-worker-install', input: { POOL: SWARM_POOL } },
            signal,
            log,
          )
          setFacts(live, spec.name, await readFacts(deps, target, signal))
        },
      })
    },
  }
}
