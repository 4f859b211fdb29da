/** Making a server: everything the vendor checks, in one request, before anything exists; then the chain of its first actions. */
import { randomBytes } from 'node:crypto'
import { beginAction, renderAction } from './actions.ts'
import { createIp } from './addresses.ts'
import { invalidField, limitExceeded, Refusal } from './answers.ts'
import { attachAtCreation, MAX_PER_SERVER } from './attachments.ts'
import { findLocation, findType, LOCATIONS, type LocationEntry, stockOf, type TypeEntry } from './catalogue.ts'
import { type Call, type Cloud, nextId, own, patch, type Route } from './cloud.ts'
import { namedImage, refuseBigImage } from './images.ts'
import type { Body } from './input.ts'
import { findKey } from './keys.ts'
import { namedNetwork, placeInNetwork } from './networks.ts'
import { refuseFullGroup } from './placement.ts'
import type { ActionRow, IpRow, IpType, KeyRow, ServerRow } from './rows.ts'
import { HOST_NAME, refuseTakenServerName, renderServer } from './servers.ts'

const MAX_USER_DATA_BYTES = 32 * 1024

export const newPassword = (): string => randomBytes(15).toString('base64url')

/** Notes a problem when user data is beyond the vendor's 32 KiB. */
export const readUserData = (body: Body): string | undefined => {
  const userData = body.text('user_data')
  if (Buffer.byteLength(userData ?? '') > MAX_USER_DATA_BYTES) body.problem('user_data', 'must not be longer than 32 KiB')
  return userData
}

/** The keys named in `ssh_keys`. */
export const namedKeys = (call: Call, names: readonly (string | number)[]): KeyRow[] =>
  names.map(name => {
    const key = findKey(call.cloud, call.project, String(name))
    if (!key) throw invalidField('ssh_keys', `SSH key '${name}' not found`)
    return key
  })

/** Throws 412 `resource_unavailable` when the type cannot be had at the place, whatever the catalogue says. */
export const refuseOutOfStock = (cloud: Cloud, type: TypeEntry, location: string): void => {
  if (stockOf(cloud, type.name, location) !== 'available')
    throw new Refusal(412, 'resource_unavailable', 'error during placement')
}

const readRequest = (call: Call) => {
  const body = call.body()
  const net = body.object('public_net')
  const request = {
    name: body.requiredText('name', { pattern: HOST_NAME, message: 'must be a valid hostname (RFC 1123)' }),
    type: body.idOrName('server_type') ?? '',
    image: body.idOrName('image') ?? '',
    location: body.idOrName('location'),
    start: body.flag('start_after_create') ?? true,
    group: body.id('placement_group'),
    keys: body.idsOrNames('ssh_keys'),
    networks: body.ids('networks'),
    firewalls: (body.objects('firewalls') ?? []).map(entry => entry.requiredId('firewall')),
    userData: readUserData(body) ?? '',
    labels: body.labels() ?? {},
    addresses: {
      ipv4: { enabled: net?.flag('enable_ipv4') ?? true, given: net?.id('ipv4') },
      ipv6: { enabled: net?.flag('enable_ipv6') ?? true, given: net?.id('ipv6') },
    },
  }
  for (const field of ['server_type', 'image']) if (!body.has(field)) body.problem(field, 'missing data for required field')
  if (body.has('datacenter')) body.problem('datacenter', 'is not supported any more, use location')
  if (body.ids('volumes').length > 0) body.problem('volumes', 'volume not found')
  for (const type of ['ipv4', 'ipv6'] as const)
    if (!request.addresses[type].enabled && request.addresses[type].given !== undefined)
      body.problem(`public_net.${type}`, `cannot be given when enable_${type} is false`)
  if (!request.addresses.ipv4.enabled && !request.addresses.ipv6.enabled && request.networks.length === 0)
    body.problem('public_net', 'a server needs at least one network interface')
  body.check()
  return request
}

const choosePlace = (cloud: Cloud, text: string, wanted: string | undefined): { type: TypeEntry; location: LocationEntry } => {
  const type = findType(text)
  if (!type) throw invalidField('server_type', `server type '${text}' not found`)
  const offered = LOCATIONS.filter(location => type.locations.includes(location.name))
  const location =
    wanted === undefined
      ? (offered.find(entry => stockOf(cloud, type.name, entry.name) === 'available') ?? offered[0])
      : findLocation(wanted)
  if (!location) throw invalidField('location', `location '${wanted}' not found`)
  if (!offered.includes(location)) throw invalidField('server_type', `unsupported location for server type ${type.name}`)
  return { type, location }
}

const givenIp = (call: Call, type: IpType, id: number | undefined, location: string): IpRow | undefined => {
  if (id === undefined) return undefined
  const ip = own(call.cloud.ips, call.project, id)
  if (!ip) throw invalidField(`public_net.${type}`, `primary IP with ID '${id}' not found`)
  if (ip.type !== type) throw new Refusal(412, 'primary_ip_version_mismatch', `primary IP is not of type ${type}`)
  if (ip.assignee !== null) throw new Refusal(422, 'primary_ip_assigned', 'primary IP is already assigned')
  if (ip.location !== location) throw new Refusal(422, 'primary_ip_datacenter_mismatch', 'primary IP is in a different location')
  return ip
}

/** Everything that the request refers to, found and fit. Writes nothing. */
const resolve = (call: Call) => {
  const { cloud, project } = call
  const request = readRequest(call)
  refuseTakenServerName(call, request.name)
  const { type, location } = choosePlace(cloud, request.type, request.location)
  const image = namedImage(call, request.image, type.architecture)
  refuseBigImage(image, type.diskGb)
  const keys = namedKeys(call, request.keys)
  const networks = request.networks.map(id => namedNetwork(call, 'networks', id))
  const firewalls = [...new Set(request.firewalls)]
  for (const id of firewalls)
    if (!own(cloud.firewalls, project, id)) throw invalidField('firewalls', `firewall with ID '${id}' not found`)
  if (firewalls.length > MAX_PER_SERVER) throw limitExceeded('firewalls per server limit exceeded', 'firewall_per_server_limit')
  const group = request.group === undefined ? undefined : own(cloud.groups, project, request.group)
  if (request.group !== undefined && !group)
    throw invalidField('placement_group', `placement group with ID '${request.group}' not found`)
  if (group) refuseFullGroup(cloud, group)
  const { ipv4, ipv6 } = request.addresses
  const given = {
    ipv4: givenIp(call, 'ipv4', ipv4.given, location.name),
    ipv6: givenIp(call, 'ipv6', ipv6.given, location.name),
  }
  // A subnet must have room before anything exists.
  for (const network of networks) placeInNetwork(cloud, network, location.zone, 0)
  if (cloud.servers.all().length >= cloud.rules().serverLimit) throw limitExceeded('server limit exceeded', 'server_limit')
  refuseOutOfStock(cloud, type, location.name)
  return { request, type, location, image, keys, networks, firewalls, group, given }
}

type Resolved = ReturnType<typeof resolve>

const addressFor = (call: Call, resolved: Resolved, server: number, type: IpType): number | null => {
  const given = resolved.given[type]
  if (given) {
    patch(call.cloud.ips, given.id, { assignee: server })
    return given.id
  }
  if (!resolved.request.addresses[type].enabled) return null
  const { project } = call
  return createIp(call.cloud, call.nowMs, { project, type, location: resolved.location.name, assignee: server, autoDelete: true })
    .id
}

const takeEndOff = (cloud: Cloud): boolean => {
  const { endOff } = cloud.rules()
  if (endOff > 0) cloud.setRules({ endOff: endOff - 1 })
  return endOff > 0
}

const beginCreation = (call: Call, server: ServerRow, { request, networks, location }: Resolved): ActionRow[] => {
  const { cloud, project, nowMs } = call
  const common = { project, resources: [{ type: 'server', id: server.id }] } as const
  const off = { kind: 'server_status', server: server.id, to: 'off' } as const
  const created = beginAction(cloud, nowMs, {
    ...common,
    command: 'create_server',
    effect: { kind: 'server_created', server: server.id, to: request.start ? 'starting' : 'off' },
    otherwise: off,
  })
  const chain = [created]
  for (const network of networks)
    chain.push(
      beginAction(cloud, nowMs, {
        project,
        command: 'attach_to_network',
        resources: [...common.resources, { type: 'network', id: network.id }],
        effect: {
          kind: 'server_attached',
          server: server.id,
          net: placeInNetwork(cloud, network, location.zone, server.id),
        },
        after: chain.at(-1) ?? created,
      }),
    )
  if (request.start) {
    const to = takeEndOff(cloud) ? 'off' : 'running'
    const effect = { kind: 'server_status', server: server.id, to } as const
    chain.push(
      beginAction(cloud, nowMs, { ...common, command: 'start_server', effect, otherwise: off, after: chain.at(-1) ?? created }),
    )
  }
  return chain
}

const create = (call: Call) => {
  const { cloud, project, nowMs } = call
  const resolved = resolve(call)
  const { request, type, location, image, keys, group } = resolved
  const id = nextId(cloud, 'servers')
  const server: ServerRow = {
    id,
    project,
    createdAtMs: nowMs,
    labels: request.labels,
    name: request.name,
    status: 'initializing',
    type: type.name,
    location: location.name,
    imageId: image.id,
    diskGb: type.diskGb,
    ipv4: addressFor(call, resolved, id, 'ipv4'),
    ipv6: addressFor(call, resolved, id, 'ipv6'),
    privateNets: [],
    placementGroup: group?.id ?? null,
    rescueEnabled: false,
    rescueKeys: [],
    inRescue: false,
    protection: { delete: false, rebuild: false },
    userData: request.userData,
    publicKeys: keys.map(key => key.publicKey),
    runningSinceMs: null,
    rebuiltAtMs: null,
  }
  cloud.servers.put(String(id), server)
  attachAtCreation(cloud, id, resolved.firewalls)
  const [action, ...next] = beginCreation(call, server, resolved)
  return {
    status: 201,
    json: {
      server: renderServer(cloud, server),
      action: action && renderAction(action, nowMs),
      next_actions: next.map(row => renderAction(row, nowMs)),
      // Without a key the only way in is a password, told here once and never again.
      root_password: keys.length === 0 ? newPassword() : null,
    },
  }
}

export const serverCreateRoutes: readonly Route[] = [{ method: 'POST', path: '/servers', handle: create }]
