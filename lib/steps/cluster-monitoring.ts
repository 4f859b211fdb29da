/** Prometheus and Grafana run in the cluster: what they are told in secret, and their two jobs. */

import { anew, META, type WantedJob } from '../cluster/job.ts'
import { MONITORING_JOBS, monitoringVariables, renderMonitoring } from '../cluster/monitoring.ts'
import { blocked, done, refused, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { MonitoringSpec } from '../estate/cluster.ts'
import { nomadAt } from './cluster-api.ts'
import { variablesStep } from './cluster-job.ts'
import { NOMAD_READY_STEP } from './cluster-quorum.ts'
import { type ClusterDeps, secretsOf } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'
import type { EstateWorld } from './world.ts'

const POLL_MS = 1_000
/** Images are pulled on every machine. */
const START_TIMEOUT_MS = 8 * 60_000

function monitoringJobStep(deps: ClusterDeps, wanted: WantedJob): EstateStep {
  const { id } = wanted
  return {
    id: `job ${id}`,
    noun: 'cluster',
    title: `${id} runs in the cluster`,
    needs: [NOMAD_READY_STEP, `variables ${id}`],
    reads: ['servers', 'clusterNodes', 'nomad'],
    typicalMs: 60_000,
    look(world) {
      const nomad = world.get('nomad')
      const run = { kind: 'create', summary: `run ${id} (${wanted.image})` } as const
      if (nomad.state !== 'up' || nomad.token !== 'known') return blocked('Nomad', run)
      const have = nomad.jobs[id]?.job
      if (have && have.meta[META.estate] !== deps.estate.name)
        return refused(`Nomad has a job ${id} that Landfall did not make.`, `Stop it first: nomad job stop -purge ${id}`)
      const same = have?.meta[META.hash] === wanted.hash && !have.stopped
      if (same && have.status === 'running') return done(wanted.image)
      const change = { kind: 'change', summary: same ? `start ${id} again` : `change ${id}` } as const
      return todo({
        ...(have ? change : run),
        async apply({ world: live, signal, log }) {
          const api = await nomadAt(deps, live)
          // It may have given up, or start its next attempt in an hour only.
          await api.setJob(same ? anew(wanted, deps.runId) : wanted.body, have?.index)
          live.touch('nomad')
          await follow(deps, id, live, signal, log)
        },
      })
    },
  }
}

/** Waits until every instance of what was registered last runs. @throws LandfallError unhealthy with what they said */
async function follow(
  deps: ClusterDeps,
  id: string,
  live: World<EstateWorld>,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const deadlineMs = deps.clock.monotonicMs() + START_TIMEOUT_MS
  let last = ''
  for (;;) {
    const api = await nomadAt(deps, live)
    const [job, all] = await Promise.all([api.findJob(id), api.listAllocations(id)])
    const wanted = all.filter(each => each.wanted && each.jobRevision === job?.revision)
    const running = wanted.filter(each => each.state === 'running')
    const line = `${running.length} of ${wanted.length} instances run`
    if (line !== last) log(line)
    last = line
    if (wanted.length > 0 && running.length === wanted.length) return
    const failed = all.filter(each => each.jobRevision === job?.revision && each.state === 'failed')
    if (failed.length > 0 || deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError(
        'unhealthy',
        [
          `${id} does not run.`,
          ...(failed.length > 0 ? failed : wanted).slice(0, 2).map(each => `${each.node}: ${each.said}`),
        ].join('\n'),
        { hint: 'bun scripts/cluster.ts status' },
      )
    await deps.clock.sleep(POLL_MS, signal)
  }
}

export const monitoringSteps = (deps: ClusterDeps, monitoring: MonitoringSpec): EstateStep[] => [
  ...MONITORING_JOBS.map(id =>
    variablesStep(deps, {
      name: id,
      title: `${id} has its passwords`,
      wanted: (world, have) => {
        const secrets = secretsOf(world.get('clusterNodes'))
        return secrets ? monitoringVariables(id, secrets, have) : []
      },
    }),
  ),
  ...renderMonitoring({ estate: deps.estate.name, cluster: deps.cluster, monitoring }).map(job => monitoringJobStep(deps, job)),
]
