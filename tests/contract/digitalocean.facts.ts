/**
 * What DigitalOcean's API reference says of the operations that Landfall uses (read in August 2026), as shapes of our own: which fields a
 * request may have, and which an answer always has. Answers may hold more.
 */

import * as v from 'valibot'

const int = v.pipe(v.number(), v.integer())
const text = v.string()
const texts = v.array(text)
const page = ['page', 'per_page']
const listed = <K extends string, T extends v.GenericSchema>(key: K, item: T) =>
  v.looseObject({ [key]: v.array(item), meta: v.looseObject({ total: int }) })
const single = <K extends string, T extends v.GenericSchema>(key: K, item: T) => v.looseObject({ [key]: item })

const account = v.looseObject({
  droplet_limit: int,
  floating_ip_limit: int,
  email: text,
  uuid: text,
  email_verified: v.boolean(),
  status: v.picklist(['active', 'warning', 'locked']),
  status_message: text,
})
const key = v.looseObject({ id: int, fingerprint: text, name: text, public_key: text })
const vpc = v.looseObject({ id: text, name: text, region: text, ip_range: text, default: v.boolean() })
const region = v.looseObject({ name: text, slug: text, features: texts, available: v.boolean(), sizes: texts })
const size = v.looseObject({
  slug: text,
  memory: int,
  vcpus: int,
  disk: int,
  transfer: v.number(),
  price_monthly: v.number(),
  price_hourly: v.number(),
  regions: texts,
  available: v.boolean(),
  description: text,
})
const image = v.looseObject({
  id: int,
  name: text,
  type: v.picklist(['base', 'snapshot', 'backup', 'custom', 'admin']),
  regions: texts,
})
const address = v.looseObject({ ip_address: text, type: v.picklist(['public', 'private']) })
const droplet = v.looseObject({
  id: int,
  name: text,
  memory: int,
  vcpus: int,
  disk: int,
  locked: v.boolean(),
  status: v.picklist(['new', 'active', 'off', 'archive']),
  created_at: text,
  features: texts,
  backup_ids: v.array(int),
  next_backup_window: v.nullable(v.looseObject({})),
  snapshot_ids: v.array(int),
  image: v.looseObject({ id: int }),
  volume_ids: texts,
  size,
  size_slug: text,
  networks: v.looseObject({ v4: v.array(address), v6: v.array(address) }),
  region,
  tags: texts,
})
const action = v.looseObject({
  id: int,
  status: v.picklist(['in-progress', 'completed', 'errored']),
  type: text,
  started_at: text,
})

const ends = v.strictObject({
  addresses: v.optional(texts),
  tags: v.optional(texts),
  droplet_ids: v.optional(v.array(int)),
  load_balancer_uids: v.optional(texts),
  kubernetes_ids: v.optional(texts),
})
/** A port, a range, or "all"; the "0" of answers is refused in requests, and icmp has none (https://github.com/digitalocean/doctl/pull/278). */
const ports = v.pipe(text, v.regex(/^(?:all|[1-9]\d*(?:-[1-9]\d*)?)$/))
const ruleWith = <K extends 'sources' | 'destinations'>(key: K) =>
  v.variant('protocol', [
    v.strictObject({ protocol: v.picklist(['tcp', 'udp']), ports, [key]: ends }),
    v.strictObject({ protocol: v.literal('icmp'), [key]: ends }),
  ])
const firewallInput = v.strictObject({
  name: v.pipe(text, v.regex(/^[a-zA-Z0-9][a-zA-Z0-9.-]+$/)),
  inbound_rules: v.optional(v.nullable(v.array(ruleWith('sources')))),
  outbound_rules: v.optional(v.nullable(v.array(ruleWith('destinations')))),
  droplet_ids: v.optional(v.nullable(v.array(int))),
  tags: v.optional(v.nullable(texts)),
})
const firewall = v.looseObject({ id: text, name: text, status: v.picklist(['waiting', 'succeeded', 'failed']), created_at: text })
const tag = v.looseObject({ name: text, resources: v.looseObject({ count: int }) })
const tagged = v.strictObject({
  resources: v.array(
    v.strictObject({
      resource_id: text,
      resource_type: v.picklist(['droplet', 'image', 'volume', 'volume_snapshot', 'database']),
    }),
  ),
})

/** Every refusal, whatever was asked. */
export const REFUSAL = v.looseObject({ id: text, message: text })

export interface Operation {
  readonly query?: readonly string[]
  readonly request?: v.GenericSchema
  readonly status: number
  /** Absent: an answer without a body. */
  readonly answer?: v.GenericSchema
}

/** By method and path; what stands in braces may be any text without a slash. */
export const OPERATIONS = {
  'GET /account': { status: 200, answer: single('account', account) },
  'GET /account/keys': { query: page, status: 200, answer: listed('ssh_keys', key) },
  'POST /account/keys': {
    request: v.strictObject({ name: text, public_key: text }),
    status: 201,
    answer: single('ssh_key', key),
  },
  'DELETE /account/keys/{id}': { status: 204 },
  'GET /vpcs': { query: page, status: 200, answer: listed('vpcs', vpc) },
  'POST /vpcs': {
    request: v.strictObject({ name: text, region: text, ip_range: v.optional(text), description: v.optional(text) }),
    status: 201,
    answer: single('vpc', vpc),
  },
  'DELETE /vpcs/{id}': { status: 204 },
  'GET /regions': { query: page, status: 200, answer: listed('regions', region) },
  'GET /sizes': { query: page, status: 200, answer: listed('sizes', size) },
  'GET /images': { query: [...page, 'type', 'private', 'tag_name'], status: 200, answer: listed('images', image) },
  'DELETE /images/{id}': { status: 204 },
  'GET /droplets': { query: [...page, 'tag_name', 'name', 'type'], status: 200, answer: listed('droplets', droplet) },
  'POST /droplets': {
    request: v.strictObject({
      name: text,
      region: v.optional(text),
      size: text,
      image: v.union([int, text]),
      ssh_keys: v.optional(v.array(v.union([int, text]))),
      backups: v.optional(v.boolean()),
      ipv6: v.optional(v.boolean()),
      monitoring: v.optional(v.boolean()),
      tags: v.optional(v.nullable(texts)),
      user_data: v.optional(text),
      vpc_uuid: v.optional(text),
      with_droplet_agent: v.optional(v.boolean()),
    }),
    status: 202,
    answer: v.looseObject({
      droplet,
      links: v.looseObject({ actions: v.array(v.looseObject({ id: int, rel: text, href: text })) }),
    }),
  },
  'GET /droplets/{id}': { status: 200, answer: single('droplet', droplet) },
  'DELETE /droplets/{id}': { status: 204 },
  'POST /droplets/{id}/actions': {
    request: v.variant('type', [
      v.strictObject({ type: v.picklist(['power_on', 'power_off', 'shutdown', 'reboot', 'power_cycle']) }),
      v.strictObject({ type: v.literal('resize'), size: text, disk: v.optional(v.boolean()) }),
      v.strictObject({ type: v.literal('snapshot'), name: v.optional(text) }),
    ]),
    status: 201,
    answer: single('action', action),
  },
  'GET /actions/{id}': { status: 200, answer: single('action', action) },
  'GET /firewalls': { query: page, status: 200, answer: listed('firewalls', firewall) },
  'POST /firewalls': { request: firewallInput, status: 202, answer: single('firewall', firewall) },
  'GET /firewalls/{id}': { status: 200, answer: single('firewall', firewall) },
  'PUT /firewalls/{id}': { request: firewallInput, status: 200, answer: single('firewall', firewall) },
  'DELETE /firewalls/{id}': { status: 204 },
  'GET /tags': { query: page, status: 200, answer: listed('tags', tag) },
  'POST /tags': { request: v.strictObject({ name: text }), status: 201, answer: single('tag', tag) },
  'GET /tags/{id}': { status: 200, answer: single('tag', tag) },
  'DELETE /tags/{id}': { status: 204 },
  'POST /tags/{id}/resources': { request: tagged, status: 204 },
  'DELETE /tags/{id}/resources': { request: tagged, status: 204 },
} as const satisfies Record<string, Operation>
