/** What changes a cluster: everything as config.json says, one app alone, or a machine in another's place. */

import { converge } from '../../converge.ts'
import { costLine, outputsOf } from '../../ending.ts'
import { World } from '../../engine/world.ts'
import { LandfallError } from '../../errors.ts'
import type { Session } from '../../script.ts'
import { findBalancer } from '../../steps/balancer.ts'
import { imageStep, pinned } from '../../steps/cluster-image.ts'
import { jobSteps } from '../../steps/cluster-job.ts'
import { afterReplacing, replaceStep } from '../../steps/cluster-replace.ts'
import { findServer } from '../../steps/server.ts'
import type { EstateWorld } from '../../steps/world.ts'
import type { Summary } from '../../ui/types.ts'
import { CONSUL_PORT, certificateSteps, everyClusterStep, NOMAD_PORT, type OpenedCluster } from './open.ts'

/** URLs of the cluster; its pages listen on loopback only, so theirs are the tunnel's. */
function reportOf({ deps }: OpenedCluster) {
  return (world: World<EstateWorld>): Partial<Pick<Summary, 'outputs' | 'notes' | 'next'>> => {
    const { apps } = deps.cluster
    const site = apps.flatMap(app => app.domains)[0]
    const balancer = world.has('loadBalancers') ? findBalancer(deps.estate.name, world.get('loadBalancers')) : undefined
    const cost = costLine(deps.estate, world)
    return {
      outputs: {
        ...outputsOf(deps.estate, world),
        ...(balancer?.ipv4 ? { load_balancer_ip: balancer.ipv4 } : {}),
        ...(site ? { environment_url: `http${site.https ? 's' : ''}://${site.host}` } : {}),
        nomad_ui_url: `http://127.0.0.1:${NOMAD_PORT}/ui`,
        consul_ui_url: `http://127.0.0.1:${CONSUL_PORT}/ui`,
      },
      notes: [
        {
          label: 'pages',
          text: 'bun scripts/cluster.ts tunnel\nNomad and Consul listen on their own machines only; this opens the way',
        },
        { label: 'tokens', text: 'bun scripts/cluster.ts login' },
        ...(cost ? [{ label: 'costs', text: cost }] : []),
      ],
      next: 'bun scripts/cluster.ts status',
    }
  }
}

export const applyCluster = (session: Session, cluster: OpenedCluster): Promise<number> =>
  converge(session, cluster.opened, {
    deps: cluster.deps,
    steps: () => everyClusterStep(cluster),
    partial: true,
    confirmName: cluster.deps.estate.name,
    alsoRead: ['serverTypes', 'pricing'],
    report: reportOf(cluster),
  })

/** For a timer: the visitors' certificate and those of the members among each other. */
export const renewCertificates = (session: Session, cluster: OpenedCluster): Promise<number> =>
  converge(session, cluster.opened, {
    deps: cluster.deps,
    steps: () => certificateSteps(cluster),
    partial: true,
    confirmName: cluster.deps.estate.name,
    report: () => ({ next: 'bun scripts/cluster.ts status' }),
  })

/** Only the jobs, so that a deploy works while a machine is away. */
export const deployApps = (session: Session, cluster: OpenedCluster): Promise<number> =>
  converge(session, cluster.opened, {
    deps: cluster.deps,
    steps: () => jobSteps(cluster.deps, cluster.apps, 'chosen'),
    partial: true,
    confirmName: cluster.deps.estate.name,
    report: reportOf(cluster),
  })

/** Only the images, for a CI that builds in one job and deploys in another. */
export function buildImages(session: Session, cluster: OpenedCluster): Promise<number> {
  const { builds } = cluster.deps.cluster
  const built = cluster.apps.filter(app => Object.hasOwn(builds, app.name))
  if (built.length === 0)
    throw new LandfallError('usage', 'None of these apps is built here.', {
      hint: 'Say from what, in config.json: "cluster": {"builds": {"web": {"context": "web"}}}',
    })
  return converge(session, cluster.opened, {
    deps: cluster.deps,
    steps: () => built.map(app => imageStep(cluster.deps, app)),
    partial: true,
    confirmName: cluster.deps.estate.name,
    report: world => ({
      outputs: Object.fromEntries(
        built.flatMap(app => {
          const image = world.has('clusterImages') ? world.get('clusterImages')[app.name] : undefined
          const reference = image && pinned(app, image)
          return reference === undefined ? [] : [[`${app.name}_image`, reference]]
        }),
      ),
      next: `bun scripts/cluster.ts deploy ${built.map(app => app.name).join(' ')}`,
    }),
  })
}

export async function replaceMachine(session: Session, cluster: OpenedCluster, name: string | undefined): Promise<number> {
  const { deps, opened } = cluster
  const machines = [...deps.cluster.servers, ...deps.cluster.workers]
  if (name === undefined || !machines.includes(name))
    throw new LandfallError('usage', name === undefined ? 'Say which machine.' : `The cluster has no machine "${name}".`, {
      hint: `It has: ${machines.join(', ')}.`,
    })
  const world = new World(opened.composition.readers)
  await world.look(['servers'])
  const server = findServer(deps.estate.name, name, world.get('servers'))
  // One that is gone already needs only to be made.
  if (!server) return applyCluster(session, cluster)
  return converge(session, opened, {
    deps,
    steps: () => [replaceStep(deps, name, server.id), ...afterReplacing(everyClusterStep(cluster), name, server.id)],
    partial: true,
    confirmName: name,
    report: reportOf(cluster),
  })
}
