/** Firewalls: unique by name, on droplets by id or by tag, with nothing going out that no rule allows. */

import type { Exposure } from '../exposure.ts'
import { parseCidr } from '../hetzner/cidr.ts'
import {
  type Account,
  actionMs,
  type Call,
  type DropletRow,
  droplets,
  type FirewallRow,
  listOf,
  nextUuid,
  notFound,
  pageOf,
  Refusal,
  type Route,
  type Rule,
  tagOf,
  textOf,
  time,
  unprocessable,
} from './state.ts'
import { findTag } from './tags.ts'

const NAME = /^[A-Za-z0-9][A-Za-z0-9.-]{0,254}$/
const MOST = { droplets: 10, tags: 5, rules: 50 } as const

const fieldsOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : {}

/** What is answered as "0" is not taken as "0", nor are any ports of ICMP (https://github.com/digitalocean/doctl/pull/278). */
const portsOf = (protocol: Rule['protocol'], value: unknown): string => {
  if (protocol === 'icmp' ? value !== undefined : value === '0')
    throw unprocessable('You must specify a positive value for ports.')
  if (protocol === 'icmp' || value === 'all') return '0'
  const [first = 0, last = first, ...rest] =
    typeof value === 'string' && /^\d{1,5}(?:-\d{1,5})?$/.test(value) ? value.split('-').map(Number) : []
  if (rest.length > 0 || first < 1 || last > 65_535 || first > last) throw unprocessable('ports are invalid')
  return String(value)
}

const readRules = (call: Call, field: 'inbound_rules' | 'outbound_rules'): Rule[] =>
  listOf(call.body()[field], field).map(entry => {
    const rule = fieldsOf(entry)
    const protocol = (['tcp', 'udp', 'icmp'] as const).find(each => each === rule.protocol)
    if (!protocol) throw unprocessable('protocol must be tcp, udp or icmp')
    const nodes = fieldsOf(rule[field === 'inbound_rules' ? 'sources' : 'destinations'])
    const addresses = listOf(nodes.addresses, 'addresses').map(String)
    const wrong = addresses.find(
      address => parseCidr(address.includes('/') ? address : `${address}/${address.includes(':') ? 128 : 32}`) === undefined,
    )
    if (wrong !== undefined) throw unprocessable(`${wrong} is not a valid address`)
    const tags = existingTags(call, nodes.tags)
    if (addresses.length + tags.length === 0) throw unprocessable('a rule needs sources or destinations')
    return { protocol, ports: portsOf(protocol, rule.ports), addresses, tags }
  })

const existingTags = (call: Call, value: unknown): string[] =>
  listOf(value, 'tags').map(each => {
    const tag = findTag(call.account, tagOf(each))
    if (tag === undefined) throw unprocessable(`tag ${String(each)} does not exist`)
    return tag
  })

const read = (call: Call, self?: string) => {
  const name = textOf(call, 'name')
  if (!NAME.test(name))
    throw unprocessable('name must begin with an alphanumeric character, followed by those, periods and dashes')
  const inbound = readRules(call, 'inbound_rules')
  const outbound = readRules(call, 'outbound_rules')
  if (inbound.length + outbound.length === 0) throw unprocessable('must have at least one rule')
  if (inbound.length + outbound.length > MOST.rules) throw unprocessable(`at most ${MOST.rules} rules are allowed`)
  const tags = existingTags(call, call.body().tags)
  if (tags.length > MOST.tags) throw unprocessable(`at most ${MOST.tags} tags are allowed`)
  const dropletIds = listOf(call.body().droplet_ids, 'droplet_ids').map(Number)
  if (dropletIds.length > MOST.droplets) throw unprocessable(`at most ${MOST.droplets} droplets are allowed`)
  if (dropletIds.some(id => !droplets(call).some(row => row.id === id))) throw unprocessable('droplet_ids are invalid')
  if (call.account.firewalls.all().some(row => row.name === name && row.id !== self))
    throw new Refusal(409, 'conflict', 'duplicate name')
  return { name, inbound, outbound, tags, dropletIds }
}

const theFirewall = (call: Call): FirewallRow => {
  const row = call.account.firewalls.get(call.names[0] ?? '')
  if (!row) throw notFound()
  return row
}

const create = (call: Call) => {
  const wanted = read(call)
  const row = { id: nextUuid(call.account), createdAtMs: call.nowMs, appliedAtMs: call.nowMs, before: wanted.inbound, ...wanted }
  call.account.firewalls.put(row.id, row)
  return { status: 202, json: { firewall: render(call, row) } }
}

const update = (call: Call) => {
  const row = theFirewall(call)
  const wanted = read(call, row.id)
  const guards = droplets(call).some(droplet => isOn(row, droplet))
  const changed: FirewallRow = {
    ...row,
    ...wanted,
    before: inForce(row, call.nowMs),
    appliedAtMs: call.nowMs + (guards ? actionMs(call.account, 'set_firewall_rules') : 0),
  }
  call.account.firewalls.put(row.id, changed)
  return { status: 200, json: { firewall: render(call, changed) } }
}

const remove = (call: Call) => {
  call.account.firewalls.delete(theFirewall(call).id)
  return { status: 204 }
}

export const firewallRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/firewalls',
    handle: call => pageOf(call, 'firewalls', call.account.firewalls.all(), row => render(call, row)),
  },
  { method: 'POST', path: '/firewalls', handle: create },
  {
    method: 'GET',
    path: '/firewalls/{}',
    handle: call => ({ status: 200, json: { firewall: render(call, theFirewall(call)) } }),
  },
  { method: 'PUT', path: '/firewalls/{}', handle: update },
  { method: 'DELETE', path: '/firewalls/{}', handle: remove },
]

const isOn = (firewall: FirewallRow, droplet: DropletRow): boolean =>
  firewall.dropletIds.includes(droplet.id) || firewall.tags.some(tag => droplet.tags.includes(tag))

const inForce = (row: FirewallRow, nowMs: number): readonly Rule[] => (nowMs >= row.appliedAtMs ? row.inbound : row.before)

const EVERYTHING: readonly Exposure[] = (['tcp', 'udp', 'icmp'] as const).map(protocol => ({
  protocol,
  ports: protocol === 'icmp' ? null : { first: 1, last: 65_535 },
  from: ['0.0.0.0/0', '::/0'],
}))

/** What the cloud lets in to the droplet now; everything where it is behind no firewall. */
export const exposureOf = (account: Account, droplet: DropletRow, nowMs: number): readonly Exposure[] => {
  const guards = account.firewalls.all().filter(row => isOn(row, droplet))
  if (guards.length === 0) return EVERYTHING
  return guards
    .flatMap(row => inForce(row, nowMs))
    .map(({ protocol, ports, addresses }) => {
      const [first = 1, last = first] = ports === '0' ? [1, 65_535] : ports.split('-').map(Number)
      return {
        protocol,
        ports: protocol === 'icmp' ? null : { first, last },
        from: addresses.map(address => (address.includes('/') ? address : `${address}/${address.includes(':') ? 128 : 32}`)),
      }
    })
}

const renderRule = (rule: Rule, node: 'sources' | 'destinations') => ({
  protocol: rule.protocol,
  ports: rule.ports,
  [node]: {
    ...(rule.addresses.length > 0 ? { addresses: rule.addresses } : {}),
    ...(rule.tags.length > 0 ? { tags: rule.tags } : {}),
  },
})

const render = (call: Call, row: FirewallRow) => {
  const waiting = call.nowMs < row.appliedAtMs
  return {
    id: row.id,
    name: row.name,
    status: waiting ? 'waiting' : 'succeeded',
    created_at: time(row.createdAtMs),
    droplet_ids: row.dropletIds,
    tags: row.tags,
    inbound_rules: row.inbound.map(rule => renderRule(rule, 'sources')),
    outbound_rules: row.outbound.map(rule => renderRule(rule, 'destinations')),
    pending_changes: waiting
      ? droplets(call)
          .filter(droplet => isOn(row, droplet))
          .map(({ id }) => ({ droplet_id: id, removing: false, status: 'waiting' }))
      : [],
  }
}
