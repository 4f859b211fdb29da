/** The load balancer in front of a cluster: its targets are found by label, so a replaced server needs no change here. */

import { CADDY_HEALTH_PATH } from '../cluster/render.ts'
import { blocked, done, refused, todo } from '../engine/step.ts'
import type { ClusterSpec } from '../estate/cluster.ts'
import { isOurs, LABEL_KEYS, labelsFor } from '../estate/labels.ts'
import { balancerName } from '../estate/naming.ts'
import type { BalancerService, LoadBalancer } from '../providers/ports/cloud.ts'
import type { Deps, EstateStep } from './deps.ts'

/**
 * Requests keep going to a server that has died for at most `intervalS` × `retries` + `timeoutS`: 3 s, the shortest interval that
 * Hetzner takes, twice, and the time of the last check.
 */
export const BALANCER_SERVICE: BalancerService = {
  listenPort: 80,
  targetPort: 80,
  health: { path: CADDY_HEALTH_PATH, intervalS: 3, timeoutS: 1, retries: 2 },
}

const sameService = (a: BalancerService, b: BalancerService): boolean =>
  a.listenPort === b.listenPort &&
  a.targetPort === b.targetPort &&
  a.health.path === b.health.path &&
  a.health.intervalS === b.health.intervalS &&
  a.health.timeoutS === b.health.timeoutS &&
  a.health.retries === b.health.retries

export const balancerStepId = (estate: string): string => `load balancer ${balancerName(estate)}`

export const findBalancer = (estate: string, all: readonly LoadBalancer[]): LoadBalancer | undefined =>
  all.find(each => each.name === balancerName(estate) && isOurs(each.labels, estate))

export function balancerStep(deps: Pick<Deps, 'estate' | 'cloud' | 'runId'>, cluster: ClusterSpec): EstateStep {
  const { estate, cloud } = deps
  const name = balancerName(estate.name)
  const first = estate.servers.find(spec => cluster.servers.includes(spec.name))
  const selector = `${LABEL_KEYS.estate}=${estate.name},${LABEL_KEYS.role}=${first?.role ?? ''}`
  return {
    id: balancerStepId(estate.name),
    noun: 'network',
    title: `load balancer ${name} leads to the cluster`,
    needs: [...(estate.network ? [`network ${estate.network.name}`] : []), ...cluster.servers.map(each => `server ${each}`)],
    reads: ['loadBalancers', 'networks', 'servers', 'pricing'],
    typicalMs: 10_000,
    look(world) {
      const named = world.get('loadBalancers').find(each => each.name === name)
      if (named && !isOurs(named.labels, estate.name))
        return refused(
          `A load balancer called ${name} exists in this project and does not belong to this estate.`,
          'Rename it in the Hetzner console, or choose another "project" in config.json.',
        )
      const summary = `create load balancer ${name} (${cluster.loadBalancerType})`
      if (named) {
        const service = named.services.find(each => each.listenPort === BALANCER_SERVICE.listenPort)
        if (!named.selectors.includes(selector) || !service)
          return refused(
            `Load balancer ${name} was changed by hand: it does not lead to the cluster's servers on port ${BALANCER_SERVICE.listenPort}.`,
            `Delete it in the Hetzner console, then run the same command again. The address changes with it.`,
          )
        if (sameService(service, BALANCER_SERVICE)) return done(`${named.ipv4 ?? named.ipv6 ?? 'no address'}, ${named.type}`)
        return todo({
          kind: 'change',
          summary: `put back the health check of load balancer ${name}`,
          async apply({ world: live }) {
            await cloud.setLoadBalancerService(named.id, BALANCER_SERVICE)
            live.touch('loadBalancers')
          },
        })
      }
      const network = world.get('networks').find(each => each.name === estate.network?.name && isOurs(each.labels, estate.name))
      const servers = world.get('servers').filter(each => cluster.servers.includes(each.name) && isOurs(each.labels, estate.name))
      const location = servers[0]?.location
      if (!network || !location) return blocked("the cluster's servers", { kind: 'create', summary })
      const pricing = world.get('pricing')
      const price = pricing.loadBalancers?.find(each => each.type === cluster.loadBalancerType && each.location === location)
      return todo({
        kind: 'create',
        summary,
        ...(price
          ? { monthlyNet: price.monthly.net, details: [`${price.monthly.net.toFixed(2)} ${pricing.currency} a month net`] }
          : {}),
        async apply({ world: live }) {
          const balancer = await cloud.createLoadBalancer({
            name,
            type: cluster.loadBalancerType,
            location,
            networkId: network.id,
            selector,
            services: [BALANCER_SERVICE],
            labels: labelsFor(estate.name, 'shared', deps.runId),
          })
          live.update('loadBalancers', all => [...all, balancer])
        },
      })
    },
  }
}
