/** Moves and records for tests. */

import type { Move } from '../../../lib/cutover/move.ts'
import type { DnsRecord, RecordType } from '../../../lib/providers/ports/dns.ts'

export const NOW = Date.UTC(2026, 10, 20, 14, 0)

export const record = (
  name: string,
  type: RecordType,
  content: string,
  over: Partial<Pick<DnsRecord, 'ttl' | 'proxied' | 'comment' | 'id'>> & { readonly raw?: Record<string, unknown> } = {},
): DnsRecord => {
  const { id = `${name} ${type} ${content}`, ttl = 300, proxied = false, comment = '', raw = {} } = over
  const shown = {
    id,
    name,
    type,
    content,
    ttl,
    proxied,
    comment: comment === '' ? null : comment,
    tags: [],
    settings: {},
    ...raw,
  }
  return { id, name, type, content, ttl, proxied, comment, raw: shown }
}

export const move = (name: string, before: readonly DnsRecord[], over: Partial<Move> = {}): Move => ({
  version: 1,
  estate: 'shop',
  zone: 'example.com',
  zoneId: 'z1',
  name,
  takenAtMs: NOW,
  to: { server: 'web', serverId: '42', ipv4: '203.0.113.7', ipv6: '2001:db8::7' },
  path: '/',
  proxied: before.some(each => each.proxied),
  before,
  oldAddresses: [],
  oldTtlS: 300,
  switchTtlS: 60,
  finalTtlS: 300,
  marks: {},
  ...over,
})
