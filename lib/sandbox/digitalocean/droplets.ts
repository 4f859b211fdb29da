/** Droplets and their actions. Names may repeat; a new one has no address until it is active, and a deleted one lingers for a moment. */

import { defaultVpc } from './belongings.ts'
import { findImage, REGIONS, renderImage, renderRegion, SIZES, SYSTEM_IMAGES } from './catalogue.ts'
import {
  type ActionRow,
  actionMs,
  type Call,
  type DropletRow,
  droplets,
  listOf,
  NEVER_MS,
  nextId,
  notFound,
  pageOf,
  type Route,
  tagOf,
  textOf,
  time,
  unprocessable,
} from './state.ts'
import { addTag } from './tags.ts'

const NAME = /^(?=.{1,255}$)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/
const USER_DATA_LIMIT = 64 * 1024

export const statusOf = (row: DropletRow, nowMs: number): 'new' | 'active' | 'off' => {
  if (nowMs < row.activeAtMs) return 'new'
  return (row.offFromMs !== null && row.offFromMs <= nowMs) || row.onSinceMs > nowMs ? 'off' : 'active'
}

const theDroplet = (call: Call): DropletRow => {
  const row = droplets(call).find(each => String(each.id) === call.names[0])
  if (!row) throw notFound()
  return row
}

const pendingOf = (call: Call, id: number): ActionRow | undefined =>
  call.account.actions.all().find(action => action.droplet === id && action.endsAtMs > call.nowMs)

/** The rule that the next action of a type fails. */
export const failing = (type: string): string => `failing ${type}`

const begin = (call: Call, type: string, droplet: number): ActionRow => {
  const id = nextId(call.account, 'actions')
  const command = type === 'create' ? 'create_server' : type === 'power_on' ? 'start_server' : type
  const endsAtMs = call.nowMs + actionMs(call.account, command)
  const fails = call.account.rules.delete(failing(type))
  const action = { id, type, droplet, startsAtMs: call.nowMs, endsAtMs, fails }
  call.account.actions.put(String(id), action)
  return action
}

const create = (call: Call) => {
  const { account, nowMs } = call
  const body = call.body()
  const name = textOf(call, 'name')
  if (!NAME.test(name)) throw unprocessable('Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)')
  const region = REGIONS.find(each => each.slug === body.region)
  if (!region) throw unprocessable('You specified an invalid region for Droplet creation.')
  const size = SIZES.find(each => each.slug === body.size)
  if (!size) throw unprocessable('You specified an invalid size for Droplet creation.')
  if (!size.regions.includes(region.slug)) throw unprocessable('Size is not available in this region.')
  const image = findImage(call, body.image)
  if (!image) throw unprocessable('You specified an invalid image for Droplet creation.')
  if (image.diskGb > size.disk) throw unprocessable('The image requires a larger disk.')
  const keys = listOf(body.ssh_keys, 'ssh_keys').map(wanted => {
    const key = account.keys.all().find(each => each.id === wanted || each.fingerprint === wanted)
    if (!key) throw unprocessable(`${String(wanted)} are invalid key identifiers for Droplet creation.`)
    return key.publicKey
  })
  const userData = typeof body.user_data === 'string' ? body.user_data : ''
  if (Buffer.byteLength(userData) > USER_DATA_LIMIT) throw unprocessable('User data is too long (maximum is 65536 bytes)')
  const tags = listOf(body.tags, 'tags').map(tagOf)
  const vpc = body.vpc_uuid === undefined ? defaultVpc(call, region.slug) : account.vpcs.get(String(body.vpc_uuid))
  if (!vpc || vpc.region !== region.slug) throw unprocessable('You specified an invalid VPC for Droplet creation.')
  const limit = account.rules.get('dropletLimit')?.value ?? 25
  if (droplets(call).length >= limit) throw unprocessable('creating this/these droplet(s) will exceed your droplet limit')

  const id = nextId(account, 'droplets')
  const n = id - 412_000_000
  const action = begin(call, 'create', id)
  const row: DropletRow = {
    id,
    name,
    region: region.slug,
    size: size.slug,
    diskGb: size.disk,
    image: image.id,
    createdAtMs: nowMs,
    activeAtMs: action.fails ? NEVER_MS : action.endsAtMs,
    tags: tags.map(tag => addTag(account, tag)),
    publicKeys: keys,
    userData,
    // Benchmark addresses and documentation addresses that the other cloud's servers do not get.
    ipv4: `198.19.${128 + (n >> 8)}.${n & 255}`,
    ipv6: body.ipv6 === true ? `2001:db8:d0::${n.toString(16)}` : null,
    privateIp: `${vpc.range.split('.').slice(0, 2).join('.')}.${1 + (n >> 8)}.${(n & 255) + 2}`,
    vpc: vpc.id,
    onSinceMs: action.endsAtMs,
    offFromMs: null,
    goneAtMs: null,
  }
  account.droplets.put(String(id), row)
  const links = { actions: [{ id: action.id, rel: 'create', href: `https://api.digitalocean.com/v2/actions/${action.id}` }] }
  return { status: 202, json: { droplet: renderDroplet(call, row), links } }
}

const remove = (call: Call) => {
  const row = theDroplet(call)
  if (row.goneAtMs !== null) throw notFound()
  if (pendingOf(call, row.id)) throw unprocessable('Droplet already has a pending event.')
  call.account.droplets.put(String(row.id), { ...row, goneAtMs: call.nowMs + actionMs(call.account, 'delete_server') })
  return { status: 204 }
}

const act = (call: Call) => {
  const row = theDroplet(call)
  const type = textOf(call, 'type')
  if (pendingOf(call, row.id)) throw unprocessable('Droplet already has a pending event.')
  const status = statusOf(row, call.nowMs)
  if (type === 'power_on' && status === 'active') throw unprocessable('Droplet is already powered on.')
  if ((type === 'power_off' || type === 'shutdown') && status === 'off') throw unprocessable('Droplet is currently off.')
  if (!['power_on', 'power_off', 'shutdown', 'reboot', 'snapshot', 'resize'].includes(type))
    throw unprocessable(`${type} is no action of a Droplet`)
  const size = type === 'resize' ? SIZES.find(each => each.slug === textOf(call, 'size')) : undefined
  if (type === 'resize') {
    if (status !== 'off') throw unprocessable('Droplet must be powered off before resizing.')
    if (!size?.regions.includes(row.region)) throw unprocessable('This size is unavailable in the region of this Droplet.')
    if (size.slug === row.size) throw unprocessable('This Droplet already has the requested size.')
    if (size.disk < row.diskGb) throw unprocessable('This size is not available because it has a smaller disk.')
  }
  const action = begin(call, type, row.id)
  const answered = { status: 201, json: { action: renderAction(action, call.nowMs) } }
  if (action.fails) return answered
  if (size)
    call.account.droplets.put(String(row.id), {
      ...row,
      size: size.slug,
      ...(call.body().disk === true ? { diskGb: size.disk } : {}),
    })
  if (type === 'power_on') call.account.droplets.put(String(row.id), { ...row, offFromMs: null, onSinceMs: action.endsAtMs })
  if (type === 'power_off' || type === 'shutdown')
    call.account.droplets.put(String(row.id), { ...row, offFromMs: action.endsAtMs })
  if (type === 'snapshot') {
    const id = nextId(call.account, 'images')
    call.account.images.put(String(id), {
      id,
      name: typeof call.body().name === 'string' ? String(call.body().name) : row.name,
      droplet: row.id,
      region: row.region,
      diskGb: row.diskGb,
      createdAtMs: call.nowMs,
      availableAtMs: action.endsAtMs,
      tags: [],
    })
  }
  return answered
}

const list = (call: Call) => {
  const tag = call.query.get('tag_name')?.toLowerCase()
  const rows = droplets(call).filter(row => tag === undefined || row.tags.some(each => each.toLowerCase() === tag))
  return pageOf(call, 'droplets', rows, row => renderDroplet(call, row))
}

const showAction = (call: Call) => {
  const action = call.account.actions.get(call.names[0] ?? '')
  if (!action) throw notFound()
  return { status: 200, json: { action: renderAction(action, call.nowMs) } }
}

export const dropletRoutes: readonly Route[] = [
  { method: 'GET', path: '/droplets', handle: list },
  { method: 'POST', path: '/droplets', handle: create },
  {
    method: 'GET',
    path: '/droplets/{}',
    handle: call => ({ status: 200, json: { droplet: renderDroplet(call, theDroplet(call)) } }),
  },
  { method: 'DELETE', path: '/droplets/{}', handle: remove },
  { method: 'POST', path: '/droplets/{}/actions', handle: act },
  { method: 'GET', path: '/actions/{}', handle: showAction },
]

const renderAction = (action: ActionRow, nowMs: number) => ({
  id: action.id,
  type: action.type,
  status: nowMs < action.endsAtMs ? 'in-progress' : action.fails ? 'errored' : 'completed',
  started_at: time(action.startsAtMs),
  completed_at: nowMs >= action.endsAtMs ? time(action.endsAtMs) : null,
  resource_id: action.droplet,
  resource_type: 'droplet',
})

const renderDroplet = (call: Call, row: DropletRow) => {
  const { account, nowMs } = call
  const size = SIZES.find(each => each.slug === row.size)
  const region = REGIONS.find(each => each.slug === row.region)
  const own = account.images.get(String(row.image))
  const stock = SYSTEM_IMAGES.find(image => image.id === row.image)
  const addressed = nowMs >= row.activeAtMs
  return {
    id: row.id,
    name: row.name,
    memory: size?.memory,
    vcpus: size?.vcpus,
    disk: row.diskGb,
    locked: pendingOf(call, row.id) !== undefined || row.goneAtMs !== null,
    status: statusOf(row, nowMs),
    created_at: time(row.createdAtMs),
    features: row.ipv6 === null ? [] : ['ipv6'],
    image: stock ? { id: stock.id, slug: stock.slug } : own ? renderImage(own, nowMs) : { id: row.image, slug: null },
    size,
    size_slug: row.size,
    backup_ids: [],
    next_backup_window: null,
    snapshot_ids: account.images.all().flatMap(image => (image.droplet === row.id ? [image.id] : [])),
    volume_ids: [],
    networks: {
      v4: addressed
        ? [
            { ip_address: row.privateIp, netmask: '255.255.0.0', gateway: '', type: 'private' },
            { ip_address: row.ipv4, netmask: '255.255.128.0', gateway: '198.19.128.1', type: 'public' },
          ]
        : [],
      v6:
        addressed && row.ipv6 !== null ? [{ ip_address: row.ipv6, netmask: 64, gateway: '2001:db8:d0::1', type: 'public' }] : [],
    },
    region: region && renderRegion(region),
    tags: row.tags,
    vpc_uuid: row.vpc,
  }
}
