/** Private networks and their subnets; one change at a time, a second one answers `conflict`. */

import { beginAction, refuseConflict, refuseProtected, renderAction } from './actions.ts'
import { invalidField, listAnswer, notFound, notUnique, Refusal, SORT_ID_NAME_CREATED, visible, wireTime } from './answers.ts'
import { LOCATIONS } from './catalogue.ts'
import { asHost, contains, hasHostBits, isPrivate, overlaps, parseCidr, parseIp, renderCidr, renderIp, sizeOf } from './cidr.ts'
import { type Call, type Cloud, nextId, ofProject, own, patch, type Route } from './cloud.ts'
import type { Body } from './input.ts'
import type { Effect, NetworkRow, PrivateNet, ServerRow, Subnet } from './rows.ts'

const MAX_NAME = 128
const SUBNET_TYPES = ['cloud', 'server', 'vswitch'] as const

const theNetwork = (call: Call): NetworkRow => {
  const [id = 0] = call.ids
  const network = own(call.cloud.networks, call.project, id)
  if (!network) throw notFound('network', id)
  return network
}

const refuseTakenName = (call: Call, name: string, self?: number): void => {
  if (ofProject(call.cloud.networks, call.project).some(network => network.name === name && network.id !== self))
    throw notUnique('network name is already used', 'name')
}

const rangeProblem = (text: string, within?: string): string | undefined => {
  const range = parseCidr(text)
  const outer = within === undefined ? undefined : parseCidr(within)
  if (range?.version !== 4) return 'must be an IPv4 range in CIDR notation'
  if (hasHostBits(range)) return 'host bits must be empty'
  if (!isPrivate(range)) return 'must be inside a private range (RFC 1918)'
  if (!outer && range.prefix > 24) return 'must be at least a /24'
  if (outer && (range.prefix > 30 || !contains(outer, range))) return `must be inside of ${within}`
  return undefined
}

/** The first /24 of the network that no subnet overlaps. */
const freeRange = (network: string, taken: readonly Subnet[]): string | undefined => {
  const outer = parseCidr(network)
  if (!outer) return undefined
  for (let value = outer.value; value < outer.value + sizeOf(outer); value += 256n) {
    const range = { version: 4 as const, value, prefix: 24 }
    if (!taken.some(subnet => overlaps(parseCidr(subnet.range) ?? outer, range))) return renderCidr(range)
  }
  return undefined
}

/** Reads a subnet of a request; problems are noted in the body. */
const readSubnet = (body: Body, network: string, taken: readonly Subnet[]): Subnet => {
  const type = body.requiredWord('type', SUBNET_TYPES)
  const zone = body.requiredText('network_zone')
  const range = body.text('ip_range') ?? freeRange(network, taken) ?? ''
  const problem = rangeProblem(range, network)
  const cidr = parseCidr(range)
  if (problem) body.problem('ip_range', problem)
  else if (taken.some(subnet => cidr && overlaps(cidr, parseCidr(subnet.range) ?? cidr)))
    body.problem('ip_range', 'overlaps with another subnet')
  if (zone !== '' && !LOCATIONS.some(location => location.zone === zone)) body.problem('network_zone', 'unknown network zone')
  // The vendor's gateway is the first address of the whole network, whatever the subnet.
  const gateway = parseCidr(network)
  return { type, zone, range, gateway: gateway ? renderIp({ ...gateway, value: gateway.value + 1n }) : '' }
}

const create = (call: Call) => {
  const { cloud, project, nowMs } = call
  const body = call.body()
  const name = body.requiredText('name', { max: MAX_NAME })
  const range = body.requiredText('ip_range')
  const labels = body.labels() ?? {}
  const exposeRoutes = body.flag('expose_routes_to_vswitch') ?? false
  const problem = range === '' ? undefined : rangeProblem(range)
  if (problem) body.problem('ip_range', problem)
  const subnets: Subnet[] = []
  for (const entry of problem ? [] : (body.objects('subnets') ?? [])) subnets.push(readSubnet(entry, range, subnets))
  const routes = (body.objects('routes') ?? []).map(entry => ({
    destination: entry.requiredText('destination'),
    gateway: entry.requiredText('gateway'),
  }))
  body.check()
  refuseTakenName(call, name)
  const id = nextId(cloud, 'networks')
  const row: NetworkRow = {
    id,
    project,
    createdAtMs: nowMs,
    labels,
    name,
    range,
    subnets,
    routes,
    exposeRoutes,
    protection: { delete: false },
  }
  cloud.networks.put(String(id), row)
  return { status: 201, json: { network: renderNetwork(cloud, row) } }
}

const update = (call: Call) => {
  const network = theNetwork(call)
  const body = call.body()
  const name = body.text('name', { min: 1, max: MAX_NAME }) ?? network.name
  const labels = body.labels() ?? network.labels
  const exposeRoutes = body.flag('expose_routes_to_vswitch') ?? network.exposeRoutes
  body.check()
  refuseTakenName(call, name, network.id)
  refuseConflict(call.cloud, 'network', network.id)
  patch(call.cloud.networks, network.id, { name, labels, exposeRoutes })
  return { status: 200, json: { network: renderNetwork(call.cloud, theNetwork(call)) } }
}

const remove = (call: Call) => {
  const network = theNetwork(call)
  refuseProtected(network, 'network')
  refuseConflict(call.cloud, 'network', network.id)
  for (const server of membersOf(call.cloud, network)) leaveNetwork(call.cloud, server.id, network.id)
  for (const row of balancersIn(call.cloud, network))
    patch(call.cloud.balancers, row.id, { privateNets: row.privateNets.filter(net => net.network !== network.id) })
  call.cloud.networks.delete(String(network.id))
  return { status: 204 }
}

const begin = (call: Call, network: NetworkRow, command: string, effect: Effect) => {
  const action = beginAction(call.cloud, call.nowMs, {
    project: call.project,
    command,
    resources: [{ type: 'network', id: network.id }],
    effect,
  })
  return { status: 201, json: { action: renderAction(action, call.nowMs) } }
}

const addSubnet = (call: Call) => {
  const network = theNetwork(call)
  const body = call.body()
  const subnet = readSubnet(body, network.range, network.subnets)
  body.check()
  refuseConflict(call.cloud, 'network', network.id)
  return begin(call, network, 'add_subnet', { kind: 'network_subnets', network: network.id, add: subnet, remove: null })
}

const deleteSubnet = (call: Call) => {
  const network = theNetwork(call)
  const body = call.body()
  const range = body.requiredText('ip_range')
  body.check()
  refuseConflict(call.cloud, 'network', network.id)
  if (!network.subnets.some(subnet => subnet.range === range)) throw new Refusal(404, 'not_found', `subnet '${range}' not found`)
  if (usedIps(call.cloud, network).some(ip => within(range, ip)))
    throw new Refusal(422, 'resource_in_use', 'subnet still contains attached resources')
  return begin(call, network, 'delete_subnet', { kind: 'network_subnets', network: network.id, add: null, remove: range })
}

const protect = (call: Call) => {
  const network = theNetwork(call)
  const body = call.body()
  const wanted = body.flag('delete') ?? network.protection.delete
  body.check()
  refuseConflict(call.cloud, 'network', network.id)
  return begin(call, network, 'change_protection', { kind: 'network_protection', network: network.id, delete: wanted })
}

const membersOf = (cloud: Cloud, network: NetworkRow): ServerRow[] =>
  ofProject(cloud.servers, network.project).filter(server => server.privateNets.some(net => net.network === network.id))

const balancersIn = (cloud: Cloud, network: NetworkRow) =>
  ofProject(cloud.balancers, network.project).filter(row => row.privateNets.some(net => net.network === network.id))

const within = (range: string, ip: string): boolean => {
  const [outer, host] = [parseCidr(range), parseIp(ip)]
  return outer !== undefined && host !== undefined && contains(outer, asHost(host))
}

/** Addresses taken in the network, by attached servers and by attachments on their way. */
const usedIps = (cloud: Cloud, network: NetworkRow): string[] => [
  ...membersOf(cloud, network).flatMap(server =>
    server.privateNets.flatMap(net => (net.network === network.id ? [net.ip, ...net.aliasIps] : [])),
  ),
  ...balancersIn(cloud, network).flatMap(row => row.privateNets.map(net => net.ip)),
  ...cloud.pending.all().flatMap(({ id }) => {
    const effect = cloud.actions.get(String(id))?.effect
    return effect?.kind === 'server_attached' && effect.net.network === network.id ? [effect.net.ip, ...effect.net.aliasIps] : []
  }),
]

/** Where a server would sit in the network: the wanted address, or the first free one of a subnet in its zone. */
export const placeInNetwork = (
  cloud: Cloud,
  network: NetworkRow,
  zone: string,
  server: number,
  wanted: { readonly ip?: string | undefined; readonly aliasIps?: readonly string[]; readonly range?: string | undefined } = {},
): PrivateNet => {
  const subnets = network.subnets.filter(
    subnet => subnet.zone === zone && subnet.type !== 'vswitch' && (wanted.range ?? subnet.range) === subnet.range,
  )
  const used = new Set([...usedIps(cloud, network), ...network.subnets.map(subnet => subnet.gateway)])
  const aliasIps = wanted.aliasIps ?? []
  for (const ip of [...(wanted.ip === undefined ? [] : [wanted.ip]), ...aliasIps])
    if (used.has(ip) || !subnets.some(subnet => within(subnet.range, ip)))
      throw new Refusal(422, 'ip_not_available', `IP '${ip}' is not available`)
  const ip = wanted.ip ?? subnets.map(subnet => freeIp(subnet, new Set([...used, ...aliasIps]))).find(free => free !== undefined)
  if (ip === undefined) throw new Refusal(422, 'no_subnet_available', 'no subnet or IP is available in the network')
  const tail = [server >> 16, server >> 8, server].map(byte => (byte & 255).toString(16).padStart(2, '0')).join(':')
  return { network: network.id, ip, aliasIps, mac: `86:00:${(network.id & 255).toString(16).padStart(2, '0')}:${tail}` }
}

const freeIp = (subnet: Subnet, used: ReadonlySet<string>): string | undefined => {
  const range = parseCidr(subnet.range)
  if (!range) return undefined
  for (let value = range.value + 1n; value < range.value + sizeOf(range) - 1n; value += 1n) {
    const ip = renderIp({ version: 4, value })
    if (!used.has(ip)) return ip
  }
  return undefined
}

export const joinNetwork = (cloud: Cloud, serverId: number, net: PrivateNet): void => {
  const server = cloud.servers.get(String(serverId))
  if (server && cloud.networks.get(String(net.network)))
    patch(cloud.servers, serverId, { privateNets: [...server.privateNets, net] })
}

export const leaveNetwork = (cloud: Cloud, serverId: number, network: number): void => {
  const server = cloud.servers.get(String(serverId))
  if (server) patch(cloud.servers, serverId, { privateNets: server.privateNets.filter(net => net.network !== network) })
}

export const changeSubnets = (cloud: Cloud, id: number, add: Subnet | null, removed: string | null): void => {
  const network = cloud.networks.get(String(id))
  if (!network) return
  const kept = network.subnets.filter(subnet => subnet.range !== removed)
  patch(cloud.networks, id, { subnets: add ? [...kept, add] : kept })
}

/** A network named in another request's body. */
export const namedNetwork = (call: Call, field: string, id: number): NetworkRow => {
  const network = own(call.cloud.networks, call.project, id)
  if (!network) throw invalidField(field, `network with ID '${id}' not found`)
  return network
}

export const networkRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/networks',
    handle: call =>
      listAnswer(call, 'networks', visible(call, ofProject(call.cloud.networks, call.project)), SORT_ID_NAME_CREATED, network =>
        renderNetwork(call.cloud, network),
      ),
  },
  { method: 'POST', path: '/networks', handle: create },
  {
    method: 'GET',
    path: '/networks/{id}',
    handle: call => ({ status: 200, json: { network: renderNetwork(call.cloud, theNetwork(call)) } }),
  },
  { method: 'PUT', path: '/networks/{id}', handle: update },
  { method: 'DELETE', path: '/networks/{id}', handle: remove },
  { method: 'POST', path: '/networks/{id}/actions/add_subnet', handle: addSubnet },
  { method: 'POST', path: '/networks/{id}/actions/delete_subnet', handle: deleteSubnet },
  { method: 'POST', path: '/networks/{id}/actions/change_protection', handle: protect },
]

const renderNetwork = (cloud: Cloud, network: NetworkRow) => ({
  id: network.id,
  name: network.name,
  ip_range: network.range,
  subnets: network.subnets.map(subnet => ({
    type: subnet.type,
    ip_range: subnet.range,
    network_zone: subnet.zone,
    gateway: subnet.gateway,
    vswitch_id: null,
  })),
  routes: network.routes,
  servers: membersOf(cloud, network).map(server => server.id),
  load_balancers: balancersIn(cloud, network).map(balancer => balancer.id),
  protection: network.protection,
  labels: network.labels,
  created: wireTime(network.createdAtMs),
  expose_routes_to_vswitch: network.exposeRoutes,
})
