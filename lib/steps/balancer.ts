/** The load balancer in front of a cluster: its targets are found by label, so a replaced server needs no change here. */

import { CADDY_HEALTH_PATH } from '../cluster/caddy.ts'
import { blocked, done, refused, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import { chooseOffer } from '../estate/choose.ts'
import type { ClusterSpec } from '../estate/cluster.ts'
import { isOurs, LABEL_KEYS, labelsFor } from '../estate/labels.ts'
import { balancerName } from '../estate/naming.ts'
import type { BalancerService, LoadBalancer } from '../providers/ports/cloud.ts'
import type { Deps, EstateStep } from './deps.ts'
import type { EstateWorld } from './world.ts'

/**
 * Requests keep going to a server that has died for at most `intervalS` × `retries` + `timeoutS`: 3 s, the shortest interval that
 * Hetzner takes, twice, and the time of the last check.
 */
const health = { port: 80, path: CADDY_HEALTH_PATH, intervalS: 3, timeoutS: 1, retries: 2 } as const

/** After this long no visitor comes any more to a server whose health check fails; a second for the vendor's own reckoning. */
const BLIND_S = (health.intervalS + health.timeoutS) * health.retries + 1

/** Seconds in which visitors still come to a server that asks them to go elsewhere; 0 where they have nowhere to go. */
export const blindSecondsOf = ({ front, servers }: Pick<ClusterSpec, 'front' | 'servers'>): number =>
  front === 'load_balancer' && servers.length > 1 ? BLIND_S : 0

/** TLS ends in the servers' own Caddys: no key of a name lies at the vendor. */
export const BALANCER_SERVICES: readonly BalancerService[] = [
  { protocol: 'http', listenPort: 80, targetPort: 80, health },
  { protocol: 'tcp', listenPort: 443, targetPort: 443, health },
]

const sameService = (a: BalancerService, b: BalancerService): boolean =>
  a.protocol === b.protocol &&
  a.listenPort === b.listenPort &&
  a.targetPort === b.targetPort &&
  a.health.port === b.health.port &&
  a.health.path === b.health.path &&
  a.health.intervalS === b.health.intervalS &&
  a.health.timeoutS === b.health.timeoutS &&
  a.health.retries === b.health.retries

export const balancerStepId = (estate: string): string => `load balancer ${balancerName(estate)}`

export const findBalancer = (estate: string, all: readonly LoadBalancer[]): LoadBalancer | undefined =>
  all.find(each => each.name === balancerName(estate) && isOurs(each.labels, estate))

/** Beside the servers that are there, else where the first will be made. */
function placeOf({ estate }: Pick<Deps, 'estate'>, { servers }: ClusterSpec, world: WorldView<EstateWorld>): string | undefined {
  const found = world.get('servers').find(each => servers.includes(each.name) && isOurs(each.labels, estate.name))
  if (found) return found.location
  const first = estate.servers.find(each => servers.includes(each.name))
  const offer = first && chooseOffer(first, world.get('serverTypes'))
  return offer && 'location' in offer ? offer.location : undefined
}

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
    reads: ['loadBalancers', 'networks', 'servers', 'serverTypes', 'pricing'],
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
        const haveOn = (port: number) => named.services.find(each => each.listenPort === port)
        if (!named.selectors.includes(selector) || BALANCER_SERVICES.some(each => !haveOn(each.listenPort)))
          return refused(
            `Load balancer ${name} was changed by hand: it does not lead to the cluster's servers on ports 80 and 443.`,
            `Delete it in the Hetzner console, then run the same command again. The address changes with it.`,
          )
        const changed = BALANCER_SERVICES.filter(each => {
          const have = haveOn(each.listenPort)
          return have === undefined || !sameService(have, each)
        })
        if (changed.length === 0) return done(`${named.ipv4 ?? named.ipv6 ?? 'no address'}, ${named.type}`)
        return todo({
          kind: 'change',
          summary: `put back what load balancer ${name} does on port ${changed.map(each => each.listenPort).join(' and ')}`,
          async apply({ world: live }) {
            for (const service of changed) await cloud.setLoadBalancerService(named.id, service)
            live.touch('loadBalancers')
          },
        })
      }
      const place = placeOf(deps, cluster, world)
      if (place === undefined) return blocked("the cluster's servers", { kind: 'create', summary })
      const pricing = world.get('pricing')
      const price = pricing.loadBalancers?.find(each => each.type === cluster.loadBalancerType && each.location === place)
      return todo({
        kind: 'create',
        summary,
        ...(price
          ? { monthlyNet: price.monthly.net, details: [`${price.monthly.net.toFixed(2)} ${pricing.currency} a month net`] }
          : {}),
        async apply({ world: live }) {
          const network = live
            .get('networks')
            .find(each => each.name === estate.network?.name && isOurs(each.labels, estate.name))
          const location = placeOf(deps, cluster, live)
          if (!network || !location)
            throw new LandfallError('not_found', `The network or the servers behind ${name} are not there.`, {
              hint: 'bun scripts/cluster.ts apply',
            })
          const balancer = await cloud.createLoadBalancer({
            name,
            type: cluster.loadBalancerType,
            location,
            networkId: network.id,
            selector,
            services: BALANCER_SERVICES,
            labels: labelsFor(estate.name, first?.role ?? '', deps.runId),
          })
          live.update('loadBalancers', all => [...all, balancer])
        },
      })
    },
  }
}
