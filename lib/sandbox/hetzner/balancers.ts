/**
 * Load balancers as the API shows them: one public address, services, and targets found by labels. They carry no traffic here; what a
 * test sends through one goes through a balancer of the test's own with the same health checks.
 */

import { beginAction, refuseConflict, renderAction } from './actions.ts'
import {
  invalidField,
  listAnswer,
  notFound,
  notUnique,
  Refusal,
  SORT_ID_NAME,
  SORT_ID_NAME_CREATED,
  visible,
  wireTime,
} from './answers.ts'
import { BALANCER_TYPES, LOCATIONS, renderBalancerType, renderLocation } from './catalogue.ts'
import { type Call, type Cloud, nextId, ofProject, own, patch, type Route } from './cloud.ts'
import type { Body } from './input.ts'
import { matchesSelector, parseSelector } from './labels.ts'
import { namedNetwork, placeInNetwork } from './networks.ts'
import type { BalancerRow, BalancerServiceRow, ServerRow } from './rows.ts'

const theBalancer = (call: Call): BalancerRow => {
  const [id = 0] = call.ids
  const row = own(call.cloud.balancers, call.project, id)
  if (!row) throw notFound('load_balancer', id)
  return row
}

const refuseTakenName = (call: Call, name: string, self?: number): void => {
  if (ofProject(call.cloud.balancers, call.project).some(row => row.name === name && row.id !== self))
    throw notUnique('load balancer name is already used', 'name')
}

const number = (body: Body, field: string, from: number, to: number, otherwise: number): number => {
  const value = body.id(field)
  if (value === undefined) return otherwise
  if (value < from || value > to) body.problem(field, `must be between ${from} and ${to}`)
  return value
}

const readService = (body: Body): BalancerServiceRow => {
  const protocol = body.requiredWord('protocol', ['tcp', 'http'])
  const listenPort = number(body, 'listen_port', 1, 65_535, protocol === 'http' ? 80 : 0)
  const destinationPort = number(body, 'destination_port', 1, 65_535, listenPort)
  if (listenPort === 0) body.problem('listen_port', 'missing data for required field')
  const health = body.object('health_check')
  const http = health?.object('http')
  return {
    protocol,
    listenPort,
    destinationPort,
    health: {
      protocol: health?.word('protocol', ['tcp', 'http']) ?? protocol,
      port: health ? number(health, 'port', 1, 65_535, destinationPort) : destinationPort,
      intervalS: health ? number(health, 'interval', 3, 60, 15) : 15,
      timeoutS: health ? number(health, 'timeout', 1, 60, 10) : 10,
      retries: health ? number(health, 'retries', 1, 5, 3) : 3,
      path: http?.text('path', { min: 1, max: 256 }) ?? '/',
      statusCodes: http && http.texts('status_codes').length > 0 ? http.texts('status_codes') : ['2??', '3??'],
    },
  }
}

const create = (call: Call) => {
  const { cloud, project, nowMs } = call
  const body = call.body()
  const name = body.requiredText('name', { max: 128 })
  const typeName = body.idOrName('load_balancer_type')
  const type = BALANCER_TYPES.find(each => each.name === typeName || String(each.id) === typeName)
  const place = body.idOrName('location')
  const location = LOCATIONS.find(each => each.name === place || String(each.id) === place)
  const networkId = body.id('network')
  const labels = body.labels() ?? {}
  const services = (body.objects('services') ?? []).map(readService)
  const selectors = (body.objects('targets') ?? []).flatMap(target => {
    const kind = target.requiredWord('type', ['label_selector', 'server', 'ip'])
    if (kind !== 'label_selector') target.problem('type', 'is not simulated')
    const selector = target.object('label_selector')?.requiredText('selector') ?? ''
    if (parseSelector(selector) === undefined) target.problem('label_selector', 'cannot be read')
    return [{ selector, usePrivateIp: target.flag('use_private_ip') ?? false }]
  })
  if (!typeName) body.problem('load_balancer_type', 'missing data for required field')
  else if (!type) body.problem('load_balancer_type', `load balancer type '${typeName}' not found`)
  if (!location) body.problem('location', place === undefined ? 'location or network_zone is required' : `'${place}' not found`)
  body.check()
  refuseTakenName(call, name)
  if (!type || !location) throw invalidField('location', 'not found')
  if (new Set(services.map(each => each.listenPort)).size < services.length)
    throw invalidField('services', 'listen_port is already used')
  if (services.length > type.maxServices) throw new Refusal(422, 'resource_limit_exceeded', 'too many services')
  const network = networkId === undefined ? undefined : namedNetwork(call, 'network', networkId)
  if (!network && selectors.some(each => each.usePrivateIp))
    throw new Refusal(422, 'load_balancer_not_attached_to_network', 'load balancer is not attached to a network')
  const id = nextId(cloud, 'balancers')
  const row: BalancerRow = {
    id,
    project,
    createdAtMs: nowMs,
    labels,
    name,
    type: type.name,
    location: location.name,
    // From the range that is for documentation of balancers here: never a server's.
    ipv4: `203.0.113.${200 + (id % 50)}`,
    ipv6: `2001:db8:ba1::${(id % 65_536).toString(16)}`,
    privateNets: network
      ? [placeInNetwork(cloud, network, location.zone, 0)].map(({ network: net, ip }) => ({ network: net, ip }))
      : [],
    services,
    selectors,
  }
  cloud.balancers.put(String(id), row)
  return { status: 201, json: { load_balancer: renderBalancer(cloud, row), action: begin(call, id, 'create_load_balancer') } }
}

const begin = (call: Call, id: number, command: string) =>
  renderAction(
    beginAction(call.cloud, call.nowMs, { project: call.project, command, resources: [{ type: 'load_balancer', id }] }),
    call.nowMs,
  )

const update = (call: Call) => {
  const row = theBalancer(call)
  const body = call.body()
  const name = body.text('name', { min: 1, max: 128 }) ?? row.name
  const labels = body.labels() ?? row.labels
  body.check()
  refuseTakenName(call, name, row.id)
  patch(call.cloud.balancers, row.id, { name, labels })
  return { status: 200, json: { load_balancer: renderBalancer(call.cloud, theBalancer(call)) } }
}

const updateService = (call: Call) => {
  const row = theBalancer(call)
  const body = call.body()
  const service = readService(body)
  body.check()
  if (!row.services.some(each => each.listenPort === service.listenPort))
    throw notFound('load_balancer_service', service.listenPort)
  refuseConflict(call.cloud, 'load_balancer', row.id)
  patch(call.cloud.balancers, row.id, {
    services: row.services.map(each => (each.listenPort === service.listenPort ? service : each)),
  })
  return { status: 201, json: { action: begin(call, row.id, 'update_service') } }
}

const remove = (call: Call) => {
  const row = theBalancer(call)
  refuseConflict(call.cloud, 'load_balancer', row.id)
  call.cloud.balancers.delete(String(row.id))
  return { status: 204 }
}

export const balancerRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/load_balancer_types',
    handle: call => listAnswer(call, 'load_balancer_types', visible(call, BALANCER_TYPES), SORT_ID_NAME, renderBalancerType),
  },
  {
    method: 'GET',
    path: '/load_balancers',
    handle: call =>
      listAnswer(
        call,
        'load_balancers',
        visible(call, ofProject(call.cloud.balancers, call.project)),
        SORT_ID_NAME_CREATED,
        row => renderBalancer(call.cloud, row),
      ),
  },
  { method: 'POST', path: '/load_balancers', handle: create },
  {
    method: 'GET',
    path: '/load_balancers/{id}',
    handle: call => ({ status: 200, json: { load_balancer: renderBalancer(call.cloud, theBalancer(call)) } }),
  },
  { method: 'PUT', path: '/load_balancers/{id}', handle: update },
  { method: 'DELETE', path: '/load_balancers/{id}', handle: remove },
  { method: 'POST', path: '/load_balancers/{id}/actions/update_service', handle: updateService },
]

/** Targets that a selector finds: servers of the project, at their private address where that is asked for. */
const foundBy = (cloud: Cloud, row: BalancerRow, { selector, usePrivateIp }: BalancerRow['selectors'][number]): ServerRow[] =>
  ofProject(cloud.servers, row.project).filter(
    server =>
      matchesSelector(parseSelector(selector) ?? [], server.labels) &&
      (!usePrivateIp || server.privateNets.some(net => row.privateNets.some(own => own.network === net.network))),
  )

const renderBalancer = (cloud: Cloud, row: BalancerRow) => {
  const type = BALANCER_TYPES.find(each => each.name === row.type)
  const location = LOCATIONS.find(each => each.name === row.location)
  // Nobody checks targets here.
  const health = row.services.map(service => ({ listen_port: service.listenPort, status: 'unknown' }))
  return {
    id: row.id,
    name: row.name,
    labels: row.labels,
    created: wireTime(row.createdAtMs),
    protection: { delete: false },
    location: location && renderLocation(location),
    load_balancer_type: type && renderBalancerType(type),
    algorithm: { type: 'round_robin' },
    public_net: { enabled: true, ipv4: { ip: row.ipv4, dns_ptr: null }, ipv6: { ip: row.ipv6, dns_ptr: null } },
    private_net: row.privateNets,
    included_traffic: type?.includedTraffic ?? 0,
    ingoing_traffic: null,
    outgoing_traffic: null,
    services: row.services.map(({ protocol, listenPort, destinationPort, health: check }) => ({
      protocol,
      listen_port: listenPort,
      destination_port: destinationPort,
      proxyprotocol: false,
      ...(protocol === 'http'
        ? { http: { cookie_name: 'HCLBSTICKY', cookie_lifetime: 300, timeout_idle: 60, sticky_sessions: false } }
        : {}),
      health_check: {
        protocol: check.protocol,
        port: check.port,
        interval: check.intervalS,
        timeout: check.timeoutS,
        retries: check.retries,
        ...(check.protocol === 'http'
          ? { http: { domain: null, path: check.path, status_codes: check.statusCodes, response: '', tls: false } }
          : {}),
      },
    })),
    targets: row.selectors.map(each => ({
      type: 'label_selector',
      label_selector: { selector: each.selector },
      use_private_ip: each.usePrivateIp,
      targets: foundBy(cloud, row, each).map(server => ({
        type: 'server',
        server: { id: server.id, ip: server.privateNets[0]?.ip ?? '' },
        health_status: health,
        use_private_ip: each.usePrivateIp,
      })),
    })),
  }
}
