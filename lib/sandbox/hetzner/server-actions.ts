/** What an existing server can be told. Each answers with an action, and refuses while another action holds the server. */

import { refuseConflict, refuseLocked } from './actions.ts'
import { changePointer } from './addresses.ts'
import { invalidField, Refusal } from './answers.ts'
import { anyImage, findLocation, findType } from './catalogue.ts'
import { overlaps, parseCidr } from './cidr.ts'
import { type Call, own, type Route } from './cloud.ts'
import { createSnapshot, renderImage } from './images.ts'
import { namedNetwork, placeInNetwork } from './networks.ts'
import { refuseFullGroup } from './placement.ts'
import type { Effect } from './rows.ts'
import { newPassword } from './server-create.ts'
import { changeType, disableRescue, enableRescue, powerOff, powerOn, rebuild, restart, shutdown } from './server-power.ts'
import { theServer } from './servers.ts'
import { freeServer, refuseRunning, tell } from './telling.ts'

const createImage = (call: Call) => {
  const server = theServer(call)
  const body = call.body()
  const type = body.word('type', ['snapshot', 'backup']) ?? 'snapshot'
  const description = body.text('description') ?? server.name
  const labels = body.labels() ?? {}
  body.check()
  refuseLocked(call.cloud, 'server', server.id)
  if (type === 'backup') throw new Refusal(422, 'unsupported_error', 'backups are not enabled for this server')
  const image = createSnapshot(call.cloud, call.nowMs, {
    project: call.project,
    type,
    description,
    labels,
    diskGb: server.diskGb,
    architecture: findType(server.type)?.architecture ?? 'x86',
    from: server,
    source: anyImage(call.cloud, server.imageId),
  })
  const ended = (status: 'available' | 'unavailable'): Effect => ({ kind: 'image_ended', image: image.id, status })
  return tell(
    call,
    server,
    {
      command: 'create_image',
      effect: ended('available'),
      otherwise: ended('unavailable'),
      resources: [{ type: 'image', id: image.id }],
    },
    { image: renderImage(image) },
  )
}

const attachToNetwork = (call: Call) => {
  const { cloud } = call
  const server = theServer(call)
  const body = call.body()
  const id = body.requiredId('network')
  const wanted = { ip: body.text('ip'), aliasIps: body.texts('alias_ips'), range: body.text('ip_range') }
  body.check()
  const network = namedNetwork(call, 'network', id)
  refuseLocked(cloud, 'server', server.id)
  refuseConflict(cloud, 'network', network.id)
  if (server.privateNets.some(net => net.network === network.id))
    throw new Refusal(422, 'server_already_attached', 'server is already attached to the network')
  const range = parseCidr(network.range)
  const others = server.privateNets.flatMap(net => parseCidr(cloud.networks.get(String(net.network))?.range ?? '') ?? [])
  if (range && others.some(other => overlaps(other, range)))
    throw new Refusal(422, 'networks_overlap', 'network overlaps with one of the server networks')
  const net = placeInNetwork(cloud, network, findLocation(server.location)?.zone ?? '', server.id, wanted)
  return tell(call, server, {
    command: 'attach_to_network',
    effect: { kind: 'server_attached', server: server.id, net },
    resources: [{ type: 'network', id: network.id }],
  })
}

const detachFromNetwork = (call: Call) => {
  const server = theServer(call)
  const body = call.body()
  const id = body.requiredId('network')
  body.check()
  refuseLocked(call.cloud, 'server', server.id)
  refuseConflict(call.cloud, 'network', id)
  if (!server.privateNets.some(net => net.network === id)) throw invalidField('network', 'server is not attached to the network')
  return tell(call, server, {
    command: 'detach_from_network',
    effect: { kind: 'server_detached', server: server.id, network: id },
    resources: [{ type: 'network', id }],
  })
}

const protect = (call: Call) => {
  const server = theServer(call)
  const body = call.body()
  const wanted = {
    delete: body.flag('delete') ?? server.protection.delete,
    rebuild: body.flag('rebuild') ?? server.protection.rebuild,
  }
  body.check()
  // The vendor has only one protection, under two names.
  if (wanted.delete !== wanted.rebuild) throw invalidField('rebuild', 'delete and rebuild protection must have the same value')
  refuseLocked(call.cloud, 'server', server.id)
  return tell(call, server, { command: 'change_protection', effect: { kind: 'server_protection', server: server.id, ...wanted } })
}

const addToGroup = (call: Call) => {
  const server = theServer(call)
  const body = call.body()
  const id = body.requiredId('placement_group')
  body.check()
  const group = own(call.cloud.groups, call.project, id)
  if (!group) throw invalidField('placement_group', `placement group with ID '${id}' not found`)
  refuseLocked(call.cloud, 'server', server.id)
  refuseRunning(server)
  if (server.placementGroup !== null)
    throw new Refusal(422, 'already_in_placement_group', 'server is already part of a placement group')
  refuseFullGroup(call.cloud, group)
  return tell(call, server, {
    command: 'add_to_placement_group',
    effect: { kind: 'server_group', server: server.id, group: group.id },
  })
}

const removeFromGroup = (call: Call) => {
  const server = freeServer(call)
  if (server.placementGroup === null) throw new Refusal(422, 'unsupported_error', 'server is not part of a placement group')
  return tell(call, server, {
    command: 'remove_from_placement_group',
    effect: { kind: 'server_group', server: server.id, group: null },
  })
}

const resetPassword = (call: Call) => {
  const server = freeServer(call)
  if (server.status !== 'running') throw new Refusal(422, 'unsupported_error', 'server must be running')
  return tell(call, server, { command: 'reset_password', effect: { kind: 'nothing' } }, { root_password: newPassword() })
}

const setPointer = (call: Call) => {
  const { cloud } = call
  const server = theServer(call)
  const body = call.body()
  const address = body.requiredText('ip')
  const name = body.text('dns_ptr') ?? null
  body.check()
  refuseLocked(cloud, 'server', server.id)
  const ip = cloud.ips.get(String(address.includes(':') ? server.ipv6 : server.ipv4))
  if (!ip) throw invalidField('ip', 'is not an address of this server')
  return changePointer(call, ip, address, name)
}

const TELLINGS: Readonly<Record<string, Route['handle']>> = {
  poweron: powerOn,
  poweroff: powerOff,
  shutdown,
  reboot: restart('reboot_server'),
  reset: restart('reset_server'),
  rebuild,
  change_type: changeType,
  enable_rescue: enableRescue,
  disable_rescue: disableRescue,
  create_image: createImage,
  attach_to_network: attachToNetwork,
  detach_from_network: detachFromNetwork,
  change_protection: protect,
  add_to_placement_group: addToGroup,
  remove_from_placement_group: removeFromGroup,
  reset_password: resetPassword,
  change_dns_ptr: setPointer,
}

export const serverActionRoutes: readonly Route[] = Object.entries(TELLINGS).map(([name, handle]) => ({
  method: 'POST',
  path: `/servers/{id}/actions/${name}`,
  handle,
}))
