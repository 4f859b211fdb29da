/** What an authority knows of one zone, and what it answers: RFC 1034's rules with wildcards, without DNSSEC. Pure. */

import type { Answer, RecordType } from 'dns-packet'

export interface DnsRecordRow {
  readonly type: string
  readonly name: string
  readonly content: string
  readonly priority?: number
  readonly data?: Readonly<Record<string, unknown>>
  /** Seconds; 1 is Cloudflare's "automatic". */
  readonly ttl: number
  readonly proxied: boolean
}

export interface DnsZone {
  readonly name: string
  readonly nameservers: readonly string[]
  readonly serial: number
  readonly records: readonly DnsRecordRow[]
}

export interface Answers {
  readonly status: 'ok' | 'nxdomain' | 'servfail' | 'refused'
  readonly authoritative: boolean
  readonly answers: readonly Answer[]
  readonly authorities: readonly Answer[]
}

const RCODES = { ok: 0, servfail: 2, nxdomain: 3, refused: 5 } satisfies Record<Answers['status'], number>

/** The response code as the low bits of a packet's flags. */
export const rcodeBits = (status: Answers['status']): number => RCODES[status]

/** Cloudflare's edge, where every proxied name leads. */
export const EDGE_ADDRESSES = { A: ['192.0.2.10', '192.0.2.11'], AAAA: ['2001:db8:cf::10', '2001:db8:cf::11'] } as const

const AUTOMATIC_TTL = 300
/** Cloudflare's default: how long "not there" is remembered. */
const NEGATIVE_TTL = 1800
const NS_TTL = 86_400
const MAX_CHASE = 8

const soaOf = (zone: DnsZone): Answer => ({
  type: 'SOA',
  name: zone.name,
  ttl: NEGATIVE_TTL,
  data: {
    mname: zone.nameservers[0] ?? zone.name,
    rname: 'dns.ns.example-dns.net',
    serial: zone.serial,
    refresh: 10_000,
    retry: 2400,
    expire: 604_800,
    minimum: NEGATIVE_TTL,
  },
})

/** @param name lower case, inside the zone, without a trailing dot */
export const answerZone = (zone: DnsZone, name: string, type: RecordType): Answers => {
  const answers: Answer[] = []
  let current = name
  for (let hop = 0; hop < MAX_CHASE; hop++) {
    const found = lookUp(zone, current, type)
    if (found === 'nothing') return { status: 'nxdomain', authoritative: true, answers, authorities: [soaOf(zone)] }
    answers.push(...found)
    const alias = found.find(record => record.type === 'CNAME')
    const target = type !== 'CNAME' && alias?.type === 'CNAME' ? alias.data : undefined
    if (target === undefined)
      return { status: 'ok', authoritative: true, answers, authorities: found.length > 0 ? [] : [soaOf(zone)] }
    // An alias that leads out of the zone is the asker's to follow.
    if (!isWithin(zone, target)) return { status: 'ok', authoritative: true, answers, authorities: [] }
    current = target
  }
  return { status: 'servfail', authoritative: true, answers: [], authorities: [] }
}

/** Whether a name is the zone's or below it; everything is below the root, whose name is empty. */
export const isWithin = (zone: { readonly name: string }, name: string): boolean =>
  zone.name === '' || name === zone.name || name.endsWith(`.${zone.name}`)

/** The records of a name, as answers under that name; 'nothing' when neither it nor anything below it exists. */
const lookUp = (zone: DnsZone, name: string, type: RecordType): Answer[] | 'nothing' => {
  if (name === zone.name && type === 'SOA') return [soaOf(zone)]
  if (name === zone.name && type === 'NS') return nameserversOf(zone)
  const exact = zone.records.filter(record => record.name === name)
  if (exact.length > 0) return choose(exact, name, type)
  const exists = name === zone.name || zone.records.some(record => record.name.endsWith(`.${name}`))
  if (exists) return []
  const wild = zone.records.filter(record => record.name === wildcardFor(zone, name))
  return wild.length > 0 ? choose(wild, name, type) : 'nothing'
}

/** The star below the closest name that exists (RFC 4592). */
const wildcardFor = (zone: DnsZone, name: string): string => {
  const labels = name.split('.')
  for (let i = 1; i <= labels.length; i++) {
    const parent = labels.slice(i).join('.')
    const exists =
      parent === zone.name || zone.records.some(record => record.name === parent || record.name.endsWith(`.${parent}`))
    if (exists) return `*.${parent}`
  }
  return '*'
}

const choose = (records: readonly DnsRecordRow[], name: string, type: RecordType): Answer[] => {
  if (records.some(record => record.proxied)) {
    if (type !== 'A' && type !== 'AAAA')
      return records.filter(one => one.type === type && !one.proxied).flatMap(one => toAnswer(one, name))
    return EDGE_ADDRESSES[type].map((data): Answer => ({ type, name, ttl: AUTOMATIC_TTL, data }))
  }
  const exact = records.filter(record => record.type === type)
  const chosen = exact.length > 0 ? exact : records.filter(record => record.type === 'CNAME')
  return chosen.flatMap(record => toAnswer(record, name))
}

const nameserversOf = (zone: Pick<DnsZone, 'name' | 'nameservers'>): Answer[] =>
  zone.nameservers.map(data => ({ type: 'NS', name: zone.name, ttl: NS_TTL, data }))

const toAnswer = (record: DnsRecordRow, name: string): Answer[] => {
  const ttl = record.ttl === 1 ? AUTOMATIC_TTL : record.ttl
  switch (record.type) {
    case 'A':
    case 'AAAA':
    case 'CNAME':
    case 'NS':
    case 'PTR':
      return [{ type: record.type, name, ttl, data: record.content }]
    case 'TXT':
      return [{ type: 'TXT', name, ttl, data: stringsOf(record.content) }]
    case 'MX':
      return [{ type: 'MX', name, ttl, data: { preference: record.priority ?? 0, exchange: record.content } }]
    case 'CAA':
      return caaOf(record, name, ttl)
    case 'SRV':
      return srvOf(record, name, ttl)
    default:
      // Kept and listed by the API; nobody in the sandbox asks for it by DNS.
      return []
  }
}

const caaOf = (record: DnsRecordRow, name: string, ttl: number): Answer[] => {
  const tag = record.data?.tag
  if (tag !== 'issue' && tag !== 'issuewild' && tag !== 'iodef') return []
  return [
    { type: 'CAA', name, ttl, data: { flags: Number(record.data?.flags ?? 0), tag, value: String(record.data?.value ?? '') } },
  ]
}

const srvOf = (record: DnsRecordRow, name: string, ttl: number): Answer[] => {
  const { port, target, priority, weight } = record.data ?? {}
  if (typeof port !== 'number' || typeof target !== 'string') return []
  return [{ type: 'SRV', name, ttl, data: { port, target, priority: Number(priority ?? 0), weight: Number(weight ?? 0) } }]
}

/** The strings of a TXT record: quoted parts as they are, anything else as one, cut where a string may not be longer. */
const stringsOf = (content: string): string[] => {
  const quoted = [...content.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(match => (match[1] ?? '').replace(/\\(.)/g, '$1'))
  if (content.startsWith('"') && quoted.length > 0) return quoted
  return content.match(/.{1,255}/gs) ?? ['']
}
