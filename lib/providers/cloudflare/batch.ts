/** The pure half of changing records: what goes into which request, and what of it is still missing after a look at the zone. */

import type { DnsRecord, RecordBatch, WantedRecord } from '../ports/dns.ts'
import { normalContent } from './wire.ts'

/** Operations per batch on every plan (facts/cloud-apis 3). */
export const BATCH_LIMIT = 200

export const sizeOf = (batch: RecordBatch): number =>
  batch.deletes.length + batch.patches.length + batch.posts.length + (batch.restores?.length ?? 0)

/**
 * Chunks of at most `limit` operations. Operations on one name stay together, because a CNAME and an A of one name exclude each
 * other and only one transaction can swap them. `nameOf` tells the present name of a record id; an unknown id is on its own.
 */
export function chunksOf(batch: RecordBatch, nameOf: (id: string) => string | undefined, limit = BATCH_LIMIT): RecordBatch[] {
  if (sizeOf(batch) === 0) return []
  if (sizeOf(batch) <= limit) return [batch]
  const groups = new Map<string, MutableBatch>()
  const group = (key: string): MutableBatch => {
    const found = groups.get(key) ?? emptyBatch()
    groups.set(key, found)
    return found
  }
  for (const entry of batch.deletes) group(nameOf(entry.id) ?? `id ${entry.id}`).deletes.push(entry)
  for (const entry of batch.patches) group(nameOf(entry.id) ?? entry.record.name ?? `id ${entry.id}`).patches.push(entry)
  for (const entry of batch.posts) group(lowerName(entry.name)).posts.push(entry)
  for (const entry of batch.restores ?? []) group(lowerName(String(entry.name))).restores.push(entry)

  const chunks: MutableBatch[] = []
  let open = emptyBatch()
  for (const next of groups.values()) {
    for (const part of splitGroup(next, limit)) {
      if (sizeOf(open) > 0 && sizeOf(open) + sizeOf(part) > limit) {
        chunks.push(open)
        open = emptyBatch()
      }
      open.deletes.push(...part.deletes)
      open.patches.push(...part.patches)
      open.posts.push(...part.posts)
      open.restores.push(...part.restores)
    }
  }
  return sizeOf(open) > 0 ? [...chunks, open] : chunks
}

/**
 * What of `batch` the zone does not show yet. A post counts as done only when a record equals it in everything, our mark in the
 * comment included, so that a stranger's twin is never taken for ours.
 */
export function missingFrom(records: readonly DnsRecord[], batch: RecordBatch): RecordBatch {
  const byId = new Map(records.map(record => [record.id, record]))
  return {
    deletes: batch.deletes.filter(({ id }) => byId.has(id)),
    patches: batch.patches.filter(({ id, record }) => {
      const now = byId.get(id)
      return now === undefined || !agrees(now, record)
    }),
    posts: batch.posts.filter(wanted => !records.some(record => agrees(record, wanted))),
    restores: (batch.restores ?? []).filter(wanted => !records.some(record => isCopy(record, wanted))),
  }
}

/** Whether `record` already is what `wanted` says, in the fields that `wanted` names. */
export function agrees(record: DnsRecord, wanted: Partial<WantedRecord>): boolean {
  const proxied = wanted.proxied ?? record.proxied
  return (
    (wanted.name === undefined || lowerName(wanted.name) === record.name) &&
    (wanted.type === undefined || wanted.type === record.type) &&
    (wanted.content === undefined || normalContent(record.type, wanted.content) === normalContent(record.type, record.content)) &&
    // Proxied records always report a TTL of 1 (facts/cloud-apis 3).
    (wanted.ttl === undefined || proxied || wanted.ttl === record.ttl) &&
    proxied === record.proxied &&
    (wanted.comment === undefined || wanted.comment === record.comment)
  )
}

/** Whether the vendor shows `wanted` word for word, whatever it has added. */
const isCopy = (record: DnsRecord, wanted: Readonly<Record<string, unknown>>): boolean =>
  Object.entries(wanted).every(([key, value]) => Bun.deepEquals(record.raw[key] ?? null, value ?? null))

interface MutableBatch {
  deletes: { readonly id: string }[]
  patches: { readonly id: string; readonly record: Partial<WantedRecord> }[]
  posts: WantedRecord[]
  restores: Readonly<Record<string, unknown>>[]
}

const emptyBatch = (): MutableBatch => ({ deletes: [], patches: [], posts: [], restores: [] })

const lowerName = (name: string): string => name.toLowerCase().replace(/\.$/, '')

/** A name with more operations than one transaction takes: deletes go first, as they would inside one. */
function splitGroup(group: MutableBatch, limit: number): MutableBatch[] {
  if (sizeOf(group) <= limit) return [group]
  const parts: MutableBatch[] = []
  for (let at = 0; at < group.deletes.length; at += limit)
    parts.push({ ...emptyBatch(), deletes: group.deletes.slice(at, at + limit) })
  for (let at = 0; at < group.patches.length; at += limit)
    parts.push({ ...emptyBatch(), patches: group.patches.slice(at, at + limit) })
  for (let at = 0; at < group.posts.length; at += limit) parts.push({ ...emptyBatch(), posts: group.posts.slice(at, at + limit) })
  for (let at = 0; at < group.restores.length; at += limit)
    parts.push({ ...emptyBatch(), restores: group.restores.slice(at, at + limit) })
  return parts
}
