/** Load balancers: one address in front of servers that carry certain labels, reached over their private network. */

import type { BalancerService, Cloud, LoadBalancer } from '../ports/cloud.ts'
import { act, createNamed, type Deps, findOwn, track } from './deps.ts'
import { labelsFromWire, type WireId, type WireNamed } from './wire.ts'

type Balancers = Pick<Cloud, 'listLoadBalancers' | 'createLoadBalancer' | 'setLoadBalancerService' | 'deleteLoadBalancer'>

export function createBalancers(deps: Deps): Balancers {
  const { calls } = deps
  return {
    async listLoadBalancers() {
      const { value } = await calls.list<WireBalancer>({ what: 'list load balancers', path: '/load_balancers' }, 'load_balancers')
      return value.map(balancerFromWire)
    },
    async createLoadBalancer({ name, type, location, networkId, selector, services, labels }) {
      const place = { what: `load balancer ${name}`, path: '/load_balancers', key: 'load_balancers' }
      const { object, actions, receivedAtMs } = await createNamed<WireBalancer>(deps, {
        ...place,
        key: 'load_balancer',
        body: {
          name,
          load_balancer_type: type,
          location,
          network: Number(networkId),
          public_interface: true,
          algorithm: { type: 'round_robin' },
          labels,
          services: services.map(serviceToWire),
          targets: [{ type: 'label_selector', label_selector: { selector }, use_private_ip: true }],
        },
        find: () => findOwn<WireBalancer>(deps, { ...place, name, labels }),
      })
      await track(deps, actions, { what: `create ${place.what}`, order: 'together', receivedAtMs })
      return balancerFromWire(object)
    },
    async setLoadBalancerService(id, service) {
      const path = `/load_balancers/${encodeURIComponent(id)}/actions/update_service`
      await act(deps, {
        what: `change the service on port ${service.listenPort} of load balancer ${id}`,
        path,
        body: serviceToWire(service),
      })
    },
    async deleteLoadBalancer(id) {
      const path = `/load_balancers/${encodeURIComponent(id)}`
      await calls.remove({ what: `delete load balancer ${id}`, path }, () => undefined)
    },
  }
}

const serviceToWire = ({ protocol, listenPort, targetPort, health }: BalancerService) => ({
  protocol,
  listen_port: listenPort,
  destination_port: targetPort,
  proxyprotocol: false,
  ...(protocol === 'http'
    ? { http: { cookie_name: 'HCLBSTICKY', cookie_lifetime: 300, timeout_idle: 60, sticky_sessions: false } }
    : {}),
  health_check: {
    protocol: 'http',
    port: health.port,
    interval: health.intervalS,
    timeout: health.timeoutS,
    retries: health.retries,
    http: { domain: null, path: health.path, status_codes: ['2??'], tls: false },
  },
})

interface WireBalancer extends WireNamed {
  readonly created?: string | null
  readonly public_net?: {
    readonly ipv4?: { readonly ip?: string | null } | null
    readonly ipv6?: { readonly ip?: string | null } | null
  } | null
  readonly private_net?: readonly { readonly network?: WireId | null }[] | null
  readonly location?: { readonly name?: string | null } | null
  readonly load_balancer_type?: { readonly name?: string | null } | null
  readonly services?:
    | readonly {
        readonly protocol?: string | null
        readonly listen_port?: number | null
        readonly destination_port?: number | null
        readonly health_check?: {
          readonly port?: number | null
          readonly interval?: number | null
          readonly timeout?: number | null
          readonly retries?: number | null
          readonly http?: { readonly path?: string | null } | null
        } | null
      }[]
    | null
  readonly targets?: readonly WireTarget[] | null
}

interface WireTarget {
  readonly label_selector?: { readonly selector?: string | null } | null
  readonly server?: { readonly id?: WireId | null } | null
  readonly health_status?: readonly { readonly status?: string | null }[] | null
  /** Servers that the selector has found. */
  readonly targets?: readonly WireTarget[] | null
}

const stateOf = ({ health_status: all }: WireTarget): 'healthy' | 'unhealthy' | 'unknown' =>
  (all ?? []).some(each => each.status === 'unhealthy')
    ? 'unhealthy'
    : (all ?? []).length > 0 && (all ?? []).every(each => each.status === 'healthy')
      ? 'healthy'
      : 'unknown'

const balancerFromWire = (wire: WireBalancer): LoadBalancer => ({
  id: String(wire.id),
  name: wire.name ?? '',
  labels: labelsFromWire(wire.labels),
  type: wire.load_balancer_type?.name ?? '',
  location: wire.location?.name ?? '',
  createdAt: wire.created ?? '',
  ...(wire.public_net?.ipv4?.ip ? { ipv4: wire.public_net.ipv4.ip } : {}),
  ...(wire.public_net?.ipv6?.ip ? { ipv6: wire.public_net.ipv6.ip } : {}),
  networkIds: (wire.private_net ?? []).flatMap(net => (net.network ? [String(net.network)] : [])),
  selectors: (wire.targets ?? []).flatMap(target => target.label_selector?.selector ?? []),
  targets: (wire.targets ?? [])
    .flatMap(target => target.targets ?? (target.server ? [target] : []))
    .flatMap(target => (target.server?.id ? [{ serverId: String(target.server.id), state: stateOf(target) }] : [])),
  services: (wire.services ?? []).map(service => ({
    protocol: service.protocol === 'tcp' ? ('tcp' as const) : ('http' as const),
    listenPort: service.listen_port ?? 0,
    targetPort: service.destination_port ?? 0,
    health: {
      port: service.health_check?.port ?? 0,
      path: service.health_check?.http?.path ?? '',
      intervalS: service.health_check?.interval ?? 0,
      timeoutS: service.health_check?.timeout ?? 0,
      retries: service.health_check?.retries ?? 0,
    },
  })),
})
