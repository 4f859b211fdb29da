/** Cloudflare's rules for one record: what may be said, what is filled in, and what may stand beside it. Pure. */

import { isIPv4, isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'
import { isProxiable, REFUSALS, type Refusal } from './answers.ts'
import type { RecordFields, RecordRow, ZoneRow } from './rows.ts'

export type Input = Readonly<Record<string, unknown>>

const TYPES = new Set(
  'A AAAA CAA CERT CNAME DNSKEY DS HTTPS LOC MX NAPTR NS OPENPGPKEY PTR SMIMEA SRV SSHFP SVCB TLSA TXT URI'.split(' '),
)
/** The length of comments is unchecked for paid plans. */
const LIMITS = {
  free: { comment: 100, tags: 0, minTtl: 60, batch: 200, records: 200 },
  pro: { comment: 500, tags: 20, minTtl: 60, batch: 3500, records: 3500 },
  business: { comment: 500, tags: 20, minTtl: 60, batch: 3500, records: 3500 },
  enterprise: { comment: 500, tags: 20, minTtl: 30, batch: 3500, records: 1_000_000 },
} satisfies Record<ZoneRow['plan'], Record<string, number>>

export const limitsOf = (plan: ZoneRow['plan']) => LIMITS[plan]

const DEFAULTS = { ttl: 1, proxied: false, comment: null, tags: [], settings: {} } as const

/**
 * The record that `input` describes: over `before` (PATCH: what is absent stays) or alone (POST, PUT: what is absent is reset).
 * @throws Refusal with Cloudflare's code
 */
export const parseRecord = (zone: ZoneRow, input: Input, before?: RecordFields): RecordFields => {
  const type = typeOf(input, before)
  const name = input.name === undefined && before ? before.name : parseName(zone, input.name)
  const proxied = boolean(input.proxied) ?? before?.proxied ?? DEFAULTS.proxied
  if (proxied && !isProxiable(type)) throw REFUSALS.invalid(9004, 'This record type cannot be proxied.')
  const target = targetOf(type, input, before)
  const ttl = parseTtl(zone, input.ttl ?? before?.ttl ?? DEFAULTS.ttl)
  return {
    type,
    name,
    ...target,
    // A proxied record is always on "automatic", whatever was sent.
    ttl: proxied ? 1 : ttl,
    proxied,
    comment: parseComment(zone, input.comment === undefined ? (before?.comment ?? null) : input.comment),
    tags: parseTags(zone, input.tags ?? before?.tags ?? DEFAULTS.tags),
    settings: object(input.settings) ?? before?.settings ?? DEFAULTS.settings,
  }
}

/** Why `record` may not stand among `others`, all of which have its name; undefined when it may. */
export const conflictOf = (zone: ZoneRow, record: RecordFields, others: readonly RecordRow[]): Refusal | undefined => {
  for (const other of others) {
    if (record.type === 'CNAME' && (other.type === 'CNAME' || other.type === 'A' || other.type === 'AAAA'))
      return REFUSALS.cnameOverOthers()
    if (other.type === 'CNAME' && (record.type === 'A' || record.type === 'AAAA')) return REFUSALS.addressOverCname()
    if (record.name !== zone.name && (record.type === 'NS') !== (other.type === 'NS')) return REFUSALS.besideNs()
    // The same SRV record twice is accepted (terraform-provider-cloudflare #750).
    if (other.type !== record.type || record.type === 'SRV' || !sameTarget(record, other)) continue
    return record.type === 'MX' || record.type === 'TXT' ? REFUSALS.exists() : REFUSALS.identical()
  }
  return undefined
}

const sameTarget = (a: RecordFields, b: RecordFields): boolean =>
  a.content.toLowerCase() === b.content.toLowerCase() && (a.type === 'TXT' ? a.content === b.content : a.priority === b.priority)

const typeOf = (input: Input, before?: RecordFields): string => {
  const type = input.type ?? before?.type
  if (typeof type !== 'string' || !TYPES.has(type)) throw REFUSALS.wrapped(9020, 'Invalid DNS record type.')
  return type
}

/** Full, lower case, punycode. A name outside the zone is taken as relative to it, as the API does. */
const parseName = (zone: ZoneRow, value: unknown): string => {
  if (typeof value !== 'string' || value === '') throw REFUSALS.invalid(9000, 'DNS name is invalid.')
  const text = value.toLowerCase().replace(/\.$/, '')
  // The URL parser's conversion refuses neither underscores nor a leading star, which are ordinary here.
  const ascii = /^[\x20-\x7e]*$/.test(text) ? text : domainToASCII(text)
  const full =
    ascii === '@' ? zone.name : ascii === zone.name || ascii.endsWith(`.${zone.name}`) ? ascii : `${ascii}.${zone.name}`
  const labels = full.split('.')
  const valid = labels.every((label, i) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label) || (i === 0 && label === '*'))
  if (ascii === '' || full.length > 253 || !valid) throw REFUSALS.invalid(9000, 'DNS name is invalid.')
  return full
}

type Target = Pick<RecordFields, 'content' | 'data' | 'priority'>

const targetOf = (type: string, input: Input, before?: RecordFields): Target => {
  const kept = before && before.type === type ? before : undefined
  const content = input.content ?? (input.data === undefined ? kept?.content : undefined)
  const priority = number(input.priority) ?? kept?.priority
  switch (type) {
    case 'A':
      if (!isIPv4(text(content))) throw REFUSALS.invalid(9005, 'Content for A record must be a valid IPv4 address.')
      return { content: text(content) }
    case 'AAAA':
      if (!isIPv6(text(content))) throw REFUSALS.invalid(9006, 'Content for AAAA record must be a valid IPv6 address.')
      return { content: text(content).toLowerCase() }
    case 'CNAME':
    case 'NS':
    case 'PTR':
      return { content: parseHost(type, content) }
    case 'MX':
      if (priority === undefined) throw REFUSALS.wrapped(9101, 'priority is a required field.')
      return { content: parseHost(type, content), priority }
    case 'TXT':
      if (text(content) === '') throw REFUSALS.wrapped(9101, 'content is a required field.')
      return { content: quoteLong(text(content)) }
    case 'CAA':
      return parseCaa(input.data ?? (input.content === undefined ? kept?.data : undefined), content)
    default:
      return parseOther(content, object(input.data) ?? kept?.data, priority)
  }
}

const parseHost = (type: string, value: unknown): string => {
  const host = text(value).toLowerCase().replace(/\.$/, '')
  if (!/^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/.test(host) || isIPv4(host))
    throw REFUSALS.invalid(9007, `Content for ${type} record is invalid.`)
  return host
}

// Strings of a TXT record hold at most 255 bytes; longer text comes back cut and quoted.
const quoteLong = (value: string): string =>
  value.length <= 255 || value.startsWith('"') ? value : (value.match(/.{1,255}/gs) ?? []).map(part => `"${part}"`).join(' ')

const parseCaa = (data: unknown, content: unknown): Target => {
  const match = /^(\d+)\s+([a-z]+)\s+"?([^"]*)"?$/i.exec(text(content))
  const given = object(data) ?? (match ? { flags: Number(match[1]), tag: match[2], value: match[3] } : undefined)
  const flags = number(given?.flags)
  if (flags === undefined || typeof given?.tag !== 'string' || typeof given.value !== 'string')
    throw REFUSALS.wrapped(9101, 'flags, tag and value are required data fields.')
  return { content: `${flags} ${given.tag} "${given.value}"`, data: { flags, tag: given.tag, value: given.value } }
}

const parseOther = (content: unknown, data: Input | undefined, priority: number | undefined): Target => {
  const line = data ? Object.values(data).join(' ') : text(content)
  if (line === '') throw REFUSALS.wrapped(9101, 'content is a required field.')
  return { content: line, ...(data ? { data } : {}), ...(priority === undefined ? {} : { priority }) }
}

const parseTtl = (zone: ZoneRow, value: unknown): number => {
  const { minTtl } = limitsOf(zone.plan)
  if (typeof value === 'number' && Number.isInteger(value) && (value === 1 || (value >= minTtl && value <= 86_400))) return value
  throw REFUSALS.invalid(9021, `Invalid TTL. Must be between ${minTtl} and 86400 seconds, or 1 for Automatic.`)
}

const parseComment = (zone: ZoneRow, value: unknown): string | null => {
  if (value === null || value === '') return null
  const limit = limitsOf(zone.plan).comment
  if (typeof value !== 'string' || /[\r\n]/.test(value)) throw REFUSALS.wrapped(9312, 'DNS record comment is invalid.')
  if ([...value].length > limit)
    throw REFUSALS.wrapped(9313, `DNS record comment exceeds the maximum length of ${limit} characters.`)
  return value
}

const parseTags = (zone: ZoneRow, value: unknown): readonly string[] => {
  if (!Array.isArray(value)) throw REFUSALS.wrapped(9301, 'DNS record tags are invalid.')
  const tags = value.map(text)
  const quota = limitsOf(zone.plan).tags
  if (tags.length > quota) throw REFUSALS.wrapped(9300, `DNS record has ${tags.length} tags, exceeding the quota of ${quota}.`)
  return tags
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined)
const boolean = (value: unknown): boolean | undefined => (typeof value === 'boolean' ? value : undefined)
const object = (value: unknown): Input | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Input) : undefined
