/** Between Cloudflare's JSON and our words for zones and records. */

import type { RecordBatchParams } from 'cloudflare/resources/dns/records'
import type { DnsRecord, RecordBatch, RecordType, WantedRecord, Zone } from '../ports/dns.ts'
import { isObject } from './errors.ts'

type WirePost = NonNullable<RecordBatchParams['posts']>[number]
type WirePatch = NonNullable<RecordBatchParams['patches']>[number]

const TYPES = {
  A: true,
  AAAA: true,
  CNAME: true,
  TXT: true,
  CAA: true,
  MX: true,
  NS: true,
  SRV: true,
  HTTPS: true,
  SVCB: true,
  PTR: true,
  OTHER: true,
} satisfies Record<RecordType, true>

const isRecordType = (type: string): type is RecordType => Object.hasOwn(TYPES, type)

/** Equal for contents that mean the same, whichever way they were written. */
export function normalContent(type: RecordType, content: string): string {
  switch (type) {
    case 'AAAA':
      return normalIpv6(content)
    case 'CNAME':
    case 'NS':
    case 'PTR':
    case 'MX':
      return content.toLowerCase().replace(/\.$/, '')
    case 'TXT':
      return unquoteText(content)
    case 'CAA': {
      const caa = parseCaa(content)
      return caa === undefined ? content : `${caa.flags} ${caa.tag.toLowerCase()} "${caa.value}"`
    }
    default:
      return content
  }
}

/** The text inside RFC 1035 character strings, joined; text without quotes is itself. */
export function unquoteText(content: string): string {
  const trimmed = content.trim()
  if (!/^"(?:[^"\\]|\\.)*"(?:\s+"(?:[^"\\]|\\.)*")*$/s.test(trimmed)) return content
  return [...trimmed.matchAll(/"((?:[^"\\]|\\.)*)"/gs)].map(([, part]) => (part ?? '').replace(/\\(.)/gs, '$1')).join('')
}

/** As character strings of at most 255 bytes, the only form that Cloudflare promises to take. */
export function quoteText(text: string): string {
  const parts: string[] = []
  let part = ''
  for (const character of unquoteText(text)) {
    if (Buffer.byteLength(part + character) > 255) {
      parts.push(part)
      part = ''
    }
    part += character
  }
  return [...parts, part].map(each => `"${each.replace(/[\\"]/g, '\\$&')}"`).join(' ')
}

export function parseCaa(content: string): { flags: number; tag: string; value: string } | undefined {
  const match = /^\s*(\d{1,3})\s+([a-z0-9]+)\s+(?:"([^"]*)"|(\S+))\s*$/i.exec(content)
  if (match === null) return undefined
  return { flags: Number(match[1]), tag: match[2] ?? '', value: match[3] ?? match[4] ?? '' }
}

/** undefined when `wire` is no record of a form we know. */
export function fromWireRecord(wire: unknown): DnsRecord | undefined {
  if (!isObject(wire)) return undefined
  const { id, name, type, content, ttl, proxied, comment } = wire
  if (typeof id !== 'string' || typeof name !== 'string' || typeof type !== 'string') return undefined
  const known = isRecordType(type) ? type : 'OTHER'
  const text = typeof content === 'string' ? content : ''
  return {
    id,
    name: name.toLowerCase().replace(/\.$/, ''),
    type: known,
    content: known === 'TXT' ? unquoteText(text) : text,
    ttl: typeof ttl === 'number' ? ttl : 1,
    proxied: proxied === true,
    comment: typeof comment === 'string' ? comment : '',
    raw: wire,
  }
}

const ZONE_STATES: Readonly<Record<string, Zone['status']>> = {
  active: 'active',
  moved: 'moved',
  deleted: 'moved',
  deactivated: 'paused',
}

/** undefined when `wire` is no zone of a form we know. */
export function fromWireZone(wire: unknown): Zone | undefined {
  if (!isObject(wire)) return undefined
  const { id, name, status, paused, name_servers: nameservers } = wire
  if (typeof id !== 'string' || typeof name !== 'string') return undefined
  return {
    id,
    name: name.toLowerCase(),
    // `initializing` and whatever else comes before the registrar points here.
    status: paused === true ? 'paused' : (ZONE_STATES[String(status)] ?? 'pending'),
    nameservers: Array.isArray(nameservers) ? nameservers.filter(each => typeof each === 'string') : [],
  }
}

export function toWireBatch(zoneId: string, batch: RecordBatch): RecordBatchParams {
  return {
    zone_id: zoneId,
    deletes: batch.deletes.map(({ id }) => ({ id })),
    patches: batch.patches.map(({ id, record }) => toWirePatch(id, record)),
    posts: [...batch.posts.map(toWirePost), ...(batch.restores ?? []).map(toWireRestore)],
  }
}

function toWirePost(record: WantedRecord): WirePost {
  const common = {
    name: record.name,
    // A proxied record has no TTL of its own.
    ttl: record.proxied ? 1 : record.ttl,
    comment: record.comment,
  }
  switch (record.type) {
    case 'A':
    case 'AAAA':
    case 'CNAME':
      return { ...common, type: record.type, content: record.content, proxied: record.proxied }
    case 'TXT':
      return { ...common, type: 'TXT', content: quoteText(record.content) }
    case 'CAA':
      // Cloudflare takes a CAA by its parts; `content` is its own rendering of them.
      return { ...common, type: 'CAA', data: parseCaa(record.content) ?? { flags: 0, tag: 'issue', value: record.content } }
  }
}

/** The vendor's own words about a record, sent back as they came. */
const toWireRestore = (raw: Readonly<Record<string, unknown>>): WirePost =>
  Object.assign<WirePost, Readonly<Record<string, unknown>>>({ type: 'A', name: '', content: '', ttl: 1 }, raw)

/** Only the fields given, so that PATCH leaves the rest alone; the SDK's type demands all of them, the API does not. */
function toWirePatch(id: string, record: Partial<WantedRecord>): WirePatch {
  const { content, type, ...rest } = record
  const fields: Partial<WirePatch> = { ...rest }
  if (type !== undefined) fields.type = type
  if (record.proxied === true) fields.ttl = 1
  if (content !== undefined) {
    const caa = type === 'CAA' ? parseCaa(content) : undefined
    if (caa === undefined) Object.assign(fields, { content: type === 'TXT' ? quoteText(content) : content })
    else Object.assign(fields, { data: caa })
  }
  return Object.assign({ id }, fields) as WirePatch
}

const normalIpv6 = (address: string): string => {
  try {
    return new URL(`http://[${address}]`).hostname.slice(1, -1)
  } catch {
    // Not an address at all: compared as it is written.
    return address.toLowerCase()
  }
}
