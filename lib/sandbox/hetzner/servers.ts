/** Servers as objects: list, show, rename, relabel, delete. How one is made and what it can be told is in the files beside. */

import { beginAction, isBusy, refuseLocked, refuseProtected, renderAction } from './actions.ts'
import { renderPointers, unassignIp } from './addresses.ts'
import { listAnswer, notFound, notUnique, queryWords, SORT_ID_NAME_CREATED, visible, wireTime } from './answers.ts'
import { followSelectors, forgetServer, renderServerFirewalls } from './attachments.ts'
import { findLocation, findType, renderLocation, renderType } from './catalogue.ts'
import { type Call, type Cloud, ofProject, own, patch, type Route } from './cloud.ts'
import { renderServerImage } from './images.ts'
import { renderGroup } from './placement.ts'
import type { IpRow, ServerRow } from './rows.ts'

const DNS_LABEL = '[A-Za-z0-9](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?'

/** A host name by RFC 1123, the only names that servers may have. */
export const HOST_NAME = new RegExp(`^(?=.{1,253}$)${DNS_LABEL}(?:\\.${DNS_LABEL})*$`)

/** The server of the path. */
export const theServer = (call: Call): ServerRow => {
  const [id = 0] = call.ids
  const server = own(call.cloud.servers, call.project, id)
  if (!server) throw notFound('server', id)
  return server
}

export const refuseTakenServerName = (call: Call, name: string, self?: number): void => {
  if (ofProject(call.cloud.servers, call.project).some(server => server.name === name && server.id !== self))
    throw notUnique('server name is already used', 'name')
}

const update = (call: Call) => {
  const server = theServer(call)
  const body = call.body()
  const name = body.text('name', { pattern: HOST_NAME, message: 'must be a valid hostname (RFC 1123)' }) ?? server.name
  const labels = body.labels() ?? server.labels
  body.check()
  refuseTakenServerName(call, name, server.id)
  patch(call.cloud.servers, server.id, { name, labels })
  followSelectors(call.cloud, call.project, call.nowMs)
  return { status: 200, json: { server: renderServer(call.cloud, theServer(call)) } }
}

const remove = (call: Call) => {
  const server = theServer(call)
  refuseProtected(server, 'server')
  refuseLocked(call.cloud, 'server', server.id)
  patch(call.cloud.servers, server.id, { status: 'deleting', runningSinceMs: null })
  const action = beginAction(call.cloud, call.nowMs, {
    project: call.project,
    command: 'delete_server',
    resources: [{ type: 'server', id: server.id }],
    effect: { kind: 'server_deleted', server: server.id },
    otherwise: { kind: 'server_status', server: server.id, to: server.status === 'running' ? 'running' : 'off' },
  })
  return { status: 200, json: { action: renderAction(action, call.nowMs) } }
}

/** The server is gone; what was attached to it is free, or gone with it. */
export const dropServer = (cloud: Cloud, id: number, atMs: number): void => {
  const server = cloud.servers.get(String(id))
  if (!server) return
  for (const ip of [server.ipv4, server.ipv6]) {
    if (ip === null) continue
    const autoDelete = cloud.ips.get(String(ip))?.autoDelete
    unassignIp(cloud, ip)
    if (autoDelete) cloud.ips.delete(String(ip))
  }
  for (const image of cloud.images.all()) if (image.boundTo === id) patch(cloud.images, image.id, { deletedAtMs: atMs })
  forgetServer(cloud, id, atMs)
  cloud.servers.delete(String(id))
}

/** The server has come up, or has gone down. A boot uses up the rescue system's turn. */
export const setPower = (cloud: Cloud, id: number, to: 'running' | 'off', atMs: number): void => {
  const server = cloud.servers.get(String(id))
  if (!server) return
  const up = { status: to, runningSinceMs: atMs, inRescue: server.rescueEnabled, rescueEnabled: false } as const
  patch(cloud.servers, id, to === 'running' ? up : { status: to, runningSinceMs: null, inRescue: false })
}

const STATUSES = [
  'running',
  'initializing',
  'starting',
  'stopping',
  'off',
  'deleting',
  'migrating',
  'rebuilding',
  'unknown',
] as const

export const serverRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/servers',
    handle: call => {
      const statuses = queryWords(call.query, 'status', STATUSES)
      const rows = visible(call, ofProject(call.cloud.servers, call.project))
      return listAnswer(
        call,
        'servers',
        rows.filter(server => !statuses || statuses.includes(server.status)),
        SORT_ID_NAME_CREATED,
        server => renderServer(call.cloud, server),
      )
    },
  },
  {
    method: 'GET',
    path: '/servers/{id}',
    handle: call => ({ status: 200, json: { server: renderServer(call.cloud, theServer(call)) } }),
  },
  { method: 'PUT', path: '/servers/{id}', handle: update },
  { method: 'DELETE', path: '/servers/{id}', handle: remove },
]

const renderIpv4 = (ip: IpRow) => ({ id: ip.id, ip: ip.ip, blocked: false, dns_ptr: ip.pointers[0]?.name ?? '' })

const renderIpv6 = (ip: IpRow) => ({ id: ip.id, ip: ip.ip, blocked: false, dns_ptr: renderPointers(ip) })

/** A server as the vendor shows it since July 2026: with a location, without a `datacenter`. */
export const renderServer = (cloud: Cloud, server: ServerRow) => {
  const type = findType(server.type)
  const location = findLocation(server.location)
  const ipv4 = cloud.ips.get(String(server.ipv4))
  const ipv6 = cloud.ips.get(String(server.ipv6))
  const group = cloud.groups.get(String(server.placementGroup))
  return {
    id: server.id,
    name: server.name,
    status: server.status,
    created: wireTime(server.createdAtMs),
    public_net: {
      ipv4: ipv4 ? renderIpv4(ipv4) : null,
      ipv6: ipv6 ? renderIpv6(ipv6) : null,
      floating_ips: [],
      firewalls: renderServerFirewalls(cloud, server.id),
    },
    private_net: server.privateNets.map(net => ({
      network: net.network,
      ip: net.ip,
      alias_ips: net.aliasIps,
      mac_address: net.mac,
    })),
    server_type: type && renderType(cloud, type),
    location: location && renderLocation(location),
    image: renderServerImage(cloud, server.imageId),
    iso: null,
    rescue_enabled: server.rescueEnabled,
    locked: isBusy(cloud, 'server', server.id),
    backup_window: null,
    outgoing_traffic: 0,
    ingoing_traffic: 0,
    included_traffic: 20 * 1024 ** 4,
    protection: server.protection,
    labels: server.labels,
    volumes: [],
    load_balancers: [],
    primary_disk_size: server.diskGb,
    placement_group: group ? renderGroup(cloud, group) : null,
  }
}
