/** Primary IPs: addresses with a life of their own. Assigning needs the server off; one made with its server goes with it. */

import { beginAction, refuseConflict, refuseLocked, refuseProtected, renderAction } from './actions.ts'
import { invalidField, listAnswer, notFound, notUnique, Refusal, type SortFields, visible, wireTime } from './answers.ts'
import { findLocation, type LocationEntry, renderLocation } from './catalogue.ts'
import { asHost, contains, parseCidr, parseIp, renderIp } from './cidr.ts'
import { type Call, type Cloud, nextId, ofProject, own, patch, type Route } from './cloud.ts'
import type { Labels } from './labels.ts'
import type { ActionRow, IpRow, IpType, Resource, ServerRow } from './rows.ts'

const TEST_NET = 253
const BENCHMARK_NET = parseIp('198.18.0.0')?.value ?? 0n
const TEST_NET_3 = parseIp('203.0.113.0')?.value ?? 0n
const DOCUMENTATION = parseIp('2001:db8::')?.value ?? 0n

/** The next address that no one ever had: 203.0.113.0/24, then 198.18.0.0/15; for IPv6 a /64 below 2001:db8::/32. */
const nextAddress = (cloud: Cloud, type: IpType): string => {
  const n = cloud.deps.store.nextId(`hetzner.${type}`, 1)
  if (type === 'ipv6') return `${renderIp({ version: 6, value: DOCUMENTATION + ((0x10000n + BigInt(n)) << 64n) })}/64`
  const value = n <= TEST_NET ? TEST_NET_3 + BigInt(n) : BENCHMARK_NET + BigInt(n - TEST_NET)
  return renderIp({ version: 4, value })
}

/** The address that a machine with this primary IP answers at: the IPv4 itself, or the first one of the /64. */
export const hostAddress = (ip: IpRow): string => (ip.type === 'ipv4' ? ip.ip : ip.ip.replace(/\/64$/, '1'))

export interface NewIp {
  readonly project: string
  readonly type: IpType
  readonly location: string
  readonly name?: string
  readonly labels?: Labels
  readonly assignee?: number
  readonly autoDelete: boolean
}

export const createIp = (cloud: Cloud, atMs: number, wanted: NewIp): IpRow => {
  const id = nextId(cloud, 'ips')
  const ip = (wanted.type === 'ipv4' ? cloud.rules().fixedIpv4 : null) ?? nextAddress(cloud, wanted.type)
  const row: IpRow = {
    id,
    project: wanted.project,
    createdAtMs: atMs,
    labels: wanted.labels ?? {},
    name: wanted.name ?? `primary_ip-${id}`,
    type: wanted.type,
    ip,
    location: wanted.location,
    assignee: wanted.assignee ?? null,
    autoDelete: wanted.autoDelete,
    pointers: wanted.type === 'ipv4' ? [{ ip, name: usualPointer(ip) }] : [],
    protection: { delete: false },
  }
  cloud.ips.put(String(id), row)
  return row
}

const usualPointer = (ip: string): string => `static.${ip.split('.').reverse().join('.')}.clients.example.net`

const theIp = (call: Call): IpRow => {
  const [id = 0] = call.ids
  const ip = own(call.cloud.ips, call.project, id)
  if (!ip) throw notFound('primary_ip', id)
  return ip
}

const resourcesOf = (ip: IpRow, server?: number): Resource[] => [
  { type: 'primary_ip', id: ip.id },
  ...(server === undefined ? [] : [{ type: 'server', id: server } as const]),
]

const refuseTakenName = (call: Call, name: string | undefined, self?: number): void => {
  if (ofProject(call.cloud.ips, call.project).some(ip => ip.name === name && ip.id !== self))
    throw notUnique('primary IP name is already used', 'name')
}

/** Throws what the vendor says when an address of this type cannot go onto the server now. */
const refuseAssignment = (cloud: Cloud, server: ServerRow, type: IpType): void => {
  refuseLocked(cloud, 'server', server.id)
  if (server.status !== 'off') throw new Refusal(422, 'server_not_stopped', 'server must be powered off')
  if (server[type] !== null) throw new Refusal(422, `server_has_${type}`, `server already has an ${type} address`)
}

const theAssignee = (call: Call, id: number): ServerRow => {
  const server = own(call.cloud.servers, call.project, id)
  if (!server) throw invalidField('assignee_id', `server with ID '${id}' not found`)
  return server
}

const beginAssignment = (call: Call, ip: IpRow, server: number): ActionRow =>
  beginAction(call.cloud, call.nowMs, {
    project: call.project,
    command: 'assign_primary_ip',
    resources: resourcesOf(ip, server),
    effect: { kind: 'ip_assigned', ip: ip.id, server },
  })

const create = (call: Call) => {
  const { cloud, project, nowMs } = call
  const body = call.body()
  const name = body.requiredText('name')
  const type = body.requiredWord('type', ['ipv4', 'ipv6'])
  const place = body.idOrName('location')
  const assigneeId = body.id('assignee_id')
  body.word('assignee_type', ['server'])
  const autoDelete = body.flag('auto_delete') ?? false
  const labels = body.labels() ?? {}
  if (body.has('datacenter')) body.problem('datacenter', 'is not supported any more')
  body.check()
  const server = assigneeId === undefined ? undefined : theAssignee(call, assigneeId)
  const location = server?.location ?? findLocation(place ?? '')?.name
  if (location === undefined)
    throw invalidField('location', place === undefined ? 'missing data for required field' : 'not found')
  refuseTakenName(call, name)
  if (server) refuseAssignment(cloud, server, type)
  const ip = createIp(cloud, nowMs, { project, type, location, name, labels, autoDelete })
  const action = server && beginAssignment(call, ip, server.id)
  return { status: 201, json: { primary_ip: renderIpRow(cloud, ip), action: action ? renderAction(action, nowMs) : null } }
}

const update = (call: Call) => {
  const ip = theIp(call)
  const body = call.body()
  const name = body.text('name', { min: 1 }) ?? ip.name
  const labels = body.labels() ?? ip.labels
  const autoDelete = body.flag('auto_delete') ?? ip.autoDelete
  body.check()
  refuseTakenName(call, name, ip.id)
  refuseConflict(call.cloud, 'primary_ip', ip.id)
  patch(call.cloud.ips, ip.id, { name, labels, autoDelete })
  return { status: 200, json: { primary_ip: renderIpRow(call.cloud, theIp(call)) } }
}

const remove = (call: Call) => {
  const ip = theIp(call)
  refuseProtected(ip, 'primary IP')
  refuseLocked(call.cloud, 'primary_ip', ip.id)
  if (ip.assignee !== null) throw new Refusal(422, 'must_be_unassigned', 'primary IP must be unassigned before it can be deleted')
  call.cloud.ips.delete(String(ip.id))
  return { status: 204 }
}

const assign = (call: Call) => {
  const ip = theIp(call)
  const body = call.body()
  const assigneeId = body.requiredId('assignee_id')
  body.requiredWord('assignee_type', ['server'])
  body.check()
  const server = theAssignee(call, assigneeId)
  refuseLocked(call.cloud, 'primary_ip', ip.id)
  if (ip.assignee !== null) throw new Refusal(422, 'primary_ip_already_assigned', 'primary IP is already assigned')
  if (ip.location !== server.location) throw invalidField('assignee_id', 'server is in a different location')
  refuseAssignment(call.cloud, server, ip.type)
  return { status: 201, json: { action: renderAction(beginAssignment(call, ip, server.id), call.nowMs) } }
}

const unassign = (call: Call) => {
  const ip = theIp(call)
  refuseLocked(call.cloud, 'primary_ip', ip.id)
  const server = ip.assignee === null ? undefined : own(call.cloud.servers, call.project, ip.assignee)
  if (!server) throw new Refusal(422, 'unsupported_error', 'primary IP is not assigned')
  refuseLocked(call.cloud, 'server', server.id)
  if (server.status !== 'off') throw new Refusal(422, 'server_not_stopped', 'server must be powered off')
  const action = beginAction(call.cloud, call.nowMs, {
    project: call.project,
    command: 'unassign_primary_ip',
    resources: resourcesOf(ip, server.id),
    effect: { kind: 'ip_unassigned', ip: ip.id },
  })
  return { status: 201, json: { action: renderAction(action, call.nowMs) } }
}

/** Sets or clears a reverse name of an address that belongs to `ip`, and answers with the action. */
export const changePointer = (call: Call, ip: IpRow, address: string, name: string | null) => {
  const asked = parseIp(address)
  const block = parseCidr(ip.type === 'ipv4' ? `${ip.ip}/32` : ip.ip)
  if (!asked || !block || !contains(block, asHost(asked))) throw invalidField('ip', 'is not an address of this resource')
  const canonical = renderIp(asked)
  const usual = name === null && ip.type === 'ipv4' ? [{ ip: canonical, name: usualPointer(canonical) }] : []
  const wanted = name === null ? usual : [{ ip: canonical, name }]
  patch(call.cloud.ips, ip.id, { pointers: [...ip.pointers.filter(pointer => pointer.ip !== canonical), ...wanted] })
  const action = beginAction(call.cloud, call.nowMs, {
    project: call.project,
    command: 'change_dns_ptr',
    resources: resourcesOf(ip, ip.assignee ?? undefined),
  })
  return { status: 201, json: { action: renderAction(action, call.nowMs) } }
}

const setPointer = (call: Call) => {
  const ip = theIp(call)
  const body = call.body()
  const address = body.requiredText('ip')
  const name = body.text('dns_ptr') ?? null
  body.check()
  refuseLocked(call.cloud, 'primary_ip', ip.id)
  return changePointer(call, ip, address, name)
}

const protect = (call: Call) => {
  const ip = theIp(call)
  const body = call.body()
  const wanted = body.flag('delete') ?? ip.protection.delete
  body.check()
  refuseLocked(call.cloud, 'primary_ip', ip.id)
  if (wanted && ip.autoDelete) throw invalidField('delete', 'cannot be enabled while auto_delete is true')
  const action = beginAction(call.cloud, call.nowMs, {
    project: call.project,
    command: 'change_protection',
    resources: resourcesOf(ip),
    effect: { kind: 'ip_protection', ip: ip.id, delete: wanted },
  })
  return { status: 201, json: { action: renderAction(action, call.nowMs) } }
}

export const assignIp = (cloud: Cloud, id: number, server: number): void => {
  const ip = cloud.ips.get(String(id))
  if (!ip || !cloud.servers.get(String(server))) return
  patch(cloud.ips, id, { assignee: server })
  patch(cloud.servers, server, { [ip.type]: id })
}

export const unassignIp = (cloud: Cloud, id: number): void => {
  const ip = cloud.ips.get(String(id))
  if (!ip || ip.assignee === null) return
  patch(cloud.servers, ip.assignee, { [ip.type]: null })
  patch(cloud.ips, id, { assignee: null })
}

const SORT: SortFields<IpRow> = { id: ip => ip.id, created: ip => ip.createdAtMs }

export const addressRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/primary_ips',
    handle: call => {
      const address = call.query.get('ip')
      const rows = visible(call, ofProject(call.cloud.ips, call.project))
      return listAnswer(
        call,
        'primary_ips',
        rows.filter(ip => address === null || ip.ip === address || ip.ip === `${address}/64`),
        SORT,
        ip => renderIpRow(call.cloud, ip),
      )
    },
  },
  { method: 'POST', path: '/primary_ips', handle: create },
  {
    method: 'GET',
    path: '/primary_ips/{id}',
    handle: call => ({ status: 200, json: { primary_ip: renderIpRow(call.cloud, theIp(call)) } }),
  },
  { method: 'PUT', path: '/primary_ips/{id}', handle: update },
  { method: 'DELETE', path: '/primary_ips/{id}', handle: remove },
  { method: 'POST', path: '/primary_ips/{id}/actions/assign', handle: assign },
  { method: 'POST', path: '/primary_ips/{id}/actions/unassign', handle: unassign },
  { method: 'POST', path: '/primary_ips/{id}/actions/change_dns_ptr', handle: setPointer },
  { method: 'POST', path: '/primary_ips/{id}/actions/change_protection', handle: protect },
]

export const renderPointers = (ip: IpRow) => ip.pointers.map(pointer => ({ ip: pointer.ip, dns_ptr: pointer.name }))

const renderIpRow = (cloud: Cloud, ip: IpRow) => {
  const location: LocationEntry | undefined = findLocation(ip.location)
  return {
    id: ip.id,
    name: ip.name,
    labels: ip.labels,
    created: wireTime(ip.createdAtMs),
    blocked: false,
    location: location && renderLocation(location),
    ip: ip.ip,
    dns_ptr: renderPointers(ip),
    protection: ip.protection,
    type: ip.type,
    auto_delete: ip.autoDelete,
    assignee_type: ip.assignee === null ? cloud.rules().unassignedType : 'server',
    assignee_id: ip.assignee,
  }
}
