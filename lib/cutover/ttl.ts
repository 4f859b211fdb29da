/** How long an answer lives in other people's caches. Pure arithmetic, so that "propagated" is a time and not a hope. */

import type { DnsRecord } from '../providers/ports/dns.ts'

/** What Cloudflare serves for "automatic", and for everything behind its proxy (facts/reliability C.4). */
export const AUTOMATIC_TTL_S = 300

/** How long a resolver may keep what this record answers, in seconds. */
export const liveTtlS = (record: Pick<DnsRecord, 'ttl' | 'proxied'>): number =>
  record.proxied || record.ttl === 1 ? AUTOMATIC_TTL_S : record.ttl

/** The longest among several; "not there" lives as long as the zone's SOA says. */
export const longestTtlS = (records: readonly Pick<DnsRecord, 'ttl' | 'proxied'>[], negativeTtlS: number): number =>
  records.length === 0 ? negativeTtlS : Math.max(...records.map(liveTtlS))

/** When the last cache that was filled just before `changedAtMs` forgets. */
export const goneAtMs = (changedAtMs: number, ttlS: number): number => changedAtMs + ttlS * 1000

/** How long still, never negative. */
export const leftMs = (atMs: number, nowMs: number): number => Math.max(0, atMs - nowMs)

/** "not there" lives as long as the smaller of the SOA record's own TTL and its last word (RFC 2308). */
export function negativeTtlOf(soa: { readonly values: readonly string[]; readonly ttl?: number }): number | undefined {
  const minimum = Number(soa.values[0]?.split(' ')[6])
  if (!Number.isInteger(minimum) || minimum < 0) return undefined
  return Math.min(minimum, soa.ttl ?? minimum)
}

/** "14:05 UTC", or with the day when that is another one than `nowMs`'s. */
export function clockText(atMs: number, nowMs: number): string {
  const [day, time] = new Date(atMs).toISOString().split('T')
  const today = new Date(nowMs).toISOString().slice(0, 10)
  return `${day === today ? '' : `${day} `}${time?.slice(0, 5) ?? ''} UTC`
}

/** "90 s", "5 min", "1 h 30 min". */
export function spanText(ms: number): string {
  const seconds = Math.ceil(ms / 1000)
  if (seconds < 120) return `${seconds} s`
  const minutes = Math.ceil(seconds / 60)
  if (minutes < 120) return `${minutes} min`
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
