/** Jobs of the cluster that nobody wants any more. */

import { META, variablesPath, variablesPlaces } from '../cluster/job.ts'
import { MONITORING_JOBS } from '../cluster/monitoring.ts'
import { type Change, done, todo } from '../engine/step.ts'
import { nomadAt } from './cluster-api.ts'
import { NOMAD_READY_STEP } from './cluster-quorum.ts'
import type { ClusterDeps } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'
import type { EstateWorld } from './world.ts'

export const SURPLUS_JOBS_STEP = 'surplus jobs'

/** Jobs that we made and config.json no longer names, with their variables. */
export function surplusJobsStep(deps: ClusterDeps): EstateStep {
  return {
    id: SURPLUS_JOBS_STEP,
    noun: 'app',
    title: 'no job runs that config.json no longer names',
    needs: [NOMAD_READY_STEP],
    reads: ['servers', 'clusterNodes', 'nomad'],
    look(world) {
      const nomad = world.get('nomad')
      if (nomad.state !== 'up') return done('none')
      const named: readonly string[] = [
        ...deps.cluster.apps.map(app => app.name),
        ...(deps.cluster.monitoring ? MONITORING_JOBS : []),
      ]
      const surplus = Object.values(nomad.jobs).filter(
        ({ job }) => job.meta[META.estate] === deps.estate.name && !named.includes(job.id),
      )
      if (surplus.length === 0) return done('none')
      return todo(
        ...surplus.map(
          ({ job }): Change<EstateWorld> => ({
            kind: 'destroy',
            summary: `stop ${job.id}, which config.json no longer names`,
            async apply({ world: live }) {
              const nomad = await nomadAt(deps, live)
              // Nothing would lead a later run to the variables of a job that is gone.
              for (const place of variablesPlaces(job.id)) await nomad.deleteVariables(variablesPath(place))
              await nomad.deleteJob(job.id)
              live.touch('nomad')
            },
          }),
        ),
      )
    },
  }
}
