/** The record changes of a move, computed from what stands there now. Pure; every one touches the named records and no others. */

import { isOurMark, renderRecordMark } from '../estate/naming.ts'
import type { DnsRecord, RecordBatch, WantedRecord } from '../providers/ports/dns.ts'
import { addressRecordsOf, type Move } from './move.ts'

const EMPTY: RecordBatch = { deletes: [], patches: [], posts: [] }

export const joinBatches = (batches: readonly RecordBatch[]): RecordBatch => ({
  deletes: batches.flatMap(batch => batch.deletes),
  patches: batches.flatMap(batch => batch.patches),
  posts: batches.flatMap(batch => batch.posts),
  restores: batches.flatMap(batch => batch.restores ?? []),
})

export const isEmptyBatch = (batch: RecordBatch): boolean =>
  batch.deletes.length + batch.patches.length + batch.posts.length + (batch.restores ?? []).length === 0

/** "A 192.0.2.1, TTL 300 s" */
export const describeRecord = (record: Pick<DnsRecord, 'type' | 'content' | 'proxied' | 'ttl'>): string =>
  `${record.type} ${record.content}${record.proxied ? ', proxied' : record.ttl === 1 ? ', TTL automatic' : `, TTL ${record.ttl} s`}`

const markOf = (move: Move): string =>
  renderRecordMark({ estate: move.estate, server: move.to.server, serverId: move.to.serverId })

/** What the name shall hold after the switch, with the low TTL until the end. A record behind the proxy has no TTL of its own. */
export function desiredAfter(move: Move, ttlS: number): WantedRecord[] {
  const base = { name: move.name, ttl: move.proxied ? 1 : ttlS, proxied: move.proxied, comment: markOf(move) }
  return [
    ...(move.to.ipv4 ? [{ ...base, type: 'A', content: move.to.ipv4 } as const] : []),
    ...(move.to.ipv6 ? [{ ...base, type: 'AAAA', content: move.to.ipv6 } as const] : []),
  ]
}

/** Lowers what is above `move.switchTtlS`, and changes nothing else about the records. */
export function lowerBatch(move: Move, records: readonly DnsRecord[]): RecordBatch {
  const high = addressRecordsOf(records, move.name).filter(
    record => !record.proxied && (record.ttl === 1 || record.ttl > move.switchTtlS),
  )
  return { ...EMPTY, patches: high.map(({ id }) => ({ id, record: { ttl: move.switchTtlS } })) }
}

/**
 * What stands at the name and was neither there before the move, nor made by it: somebody else has been here. The TTL may differ from
 * before, because the move itself lowers it.
 */
export function strangersAt(move: Move, records: readonly DnsRecord[]): DnsRecord[] {
  const isKnown = (record: DnsRecord) =>
    isOurMark(record.comment, move.estate) ||
    move.before.some(
      old => old.id === record.id && old.type === record.type && old.content === record.content && old.proxied === record.proxied,
    )
  // A restored record has a new id.
  const isRestored = (record: DnsRecord) => move.before.some(old => sameSettable(old, record))
  return addressRecordsOf(records, move.name).filter(record => !isKnown(record) && !isRestored(record))
}

/**
 * From whatever stands at the name to the new records, for one batch: a record of the same type is changed in place, a CNAME is deleted and
 * its successor made in the same transaction, and an AAAA that still leads to the old host goes with its A.
 */
export function switchBatch(move: Move, records: readonly DnsRecord[], ttlS: number): RecordBatch {
  const have = addressRecordsOf(records, move.name)
  const want = desiredAfter(move, ttlS)
  const used = new Set<string>()
  const take = (wanted: WantedRecord): DnsRecord | undefined => {
    const sameType = have.filter(record => record.type === wanted.type && !used.has(record.id))
    const found = sameType.find(record => record.content === wanted.content) ?? sameType[0]
    if (found) used.add(found.id)
    return found
  }
  const pairs = want.map(wanted => ({ wanted, record: take(wanted) }))
  return {
    deletes: have.filter(record => !used.has(record.id)).map(({ id }) => ({ id })),
    patches: pairs.flatMap(({ wanted, record }) =>
      record && !holds(record, wanted) ? [{ id: record.id, record: onlyChanged(record, wanted) }] : [],
    ),
    posts: pairs.flatMap(({ wanted, record }) => (record ? [] : [wanted])),
  }
}

/** Whether the name holds exactly the new records, whatever their TTL. */
export const isSwitched = (move: Move, records: readonly DnsRecord[]): boolean => {
  const have = addressRecordsOf(records, move.name)
  const want = desiredAfter(move, move.finalTtlS)
  return have.length === want.length && want.every(wanted => have.some(record => holds(record, { ...wanted, ttl: record.ttl })))
}

const holds = (record: DnsRecord, wanted: WantedRecord): boolean =>
  record.type === wanted.type &&
  record.content === wanted.content &&
  record.proxied === wanted.proxied &&
  record.comment === wanted.comment &&
  (wanted.proxied || record.ttl === wanted.ttl)

const onlyChanged = (record: DnsRecord, wanted: WantedRecord): Partial<WantedRecord> => ({
  ...(record.content === wanted.content ? {} : { content: wanted.content }),
  ...(record.proxied === wanted.proxied ? {} : { proxied: wanted.proxied }),
  ...(record.comment === wanted.comment ? {} : { comment: wanted.comment }),
  ...(wanted.proxied || record.ttl === wanted.ttl ? {} : { ttl: wanted.ttl }),
})

/** What a client can say about a record; id and dates are the vendor's own. */
const SETTABLE = ['type', 'name', 'content', 'data', 'priority', 'ttl', 'proxied', 'comment', 'tags', 'settings'] as const

/** A record as a client may send it again, byte for byte. */
export const settableOf = (record: Pick<DnsRecord, 'raw'>): Readonly<Record<string, unknown>> =>
  Object.fromEntries(SETTABLE.flatMap(key => (record.raw[key] === undefined ? [] : [[key, record.raw[key]]])))

/** Whether two records agree in everything that a client can say. */
export const sameSettable = (a: Pick<DnsRecord, 'raw'>, b: Pick<DnsRecord, 'raw'>): boolean =>
  Bun.deepEquals(settableOf(a), settableOf(b), true)

/**
 * Back to the records from before: what is still there under its id is changed back in place, what was deleted is made again from the
 * vendor's own words, and what the move made goes. Empty when everything is as it was.
 */
export function restoreBatch(move: Move, records: readonly DnsRecord[]): RecordBatch {
  const have = addressRecordsOf(records, move.name)
  const matched = new Set<string>()
  const patches: { id: string; record: Partial<WantedRecord> }[] = []
  const missing: DnsRecord[] = []
  for (const old of move.before) {
    const same = have.find(record => !matched.has(record.id) && sameSettable(record, old))
    const inPlace = have.find(record => !matched.has(record.id) && record.id === old.id && record.type === old.type)
    const found = same ?? inPlace
    if (!found) {
      missing.push(old)
      continue
    }
    matched.add(found.id)
    if (!same) patches.push({ id: found.id, record: backTo(found, old) })
  }
  return {
    deletes: have.filter(record => !matched.has(record.id)).map(({ id }) => ({ id })),
    patches,
    posts: [],
    restores: missing.map(old => settableOf(old)),
  }
}

const backTo = (now: DnsRecord, old: DnsRecord): Partial<WantedRecord> => ({
  ...(now.content === old.content ? {} : { content: old.content }),
  ...(now.proxied === old.proxied ? {} : { proxied: old.proxied }),
  ...(now.comment === old.comment ? {} : { comment: old.comment }),
  ...(now.ttl === old.ttl ? {} : { ttl: old.ttl }),
})

/** Records that outlive the switch and would lead some visitors elsewhere, or hinder a certificate; none may be there. */
export function findLeftovers(move: Pick<Move, 'name'>, records: readonly DnsRecord[]): string[] {
  const at = (name: string) => records.filter(record => record.name === name)
  const challenge = `_acme-challenge.${move.name}`
  return [
    ...at(move.name)
      .filter(record => record.type === 'HTTPS' || record.type === 'SVCB')
      .map(record => `${move.name} has an ${record.type} record (${record.content}), which browsers prefer to its addresses`),
    ...at(move.name)
      .filter(record => record.type === 'NS')
      .map(record => `${move.name} is delegated to ${record.content}, so that this zone's records do not count`),
    ...at(challenge)
      .filter(record => record.type === 'CNAME' || record.type === 'NS')
      .map(record => `${challenge} leads to ${record.content}, where a certificate's proof can not be put`),
  ]
}
