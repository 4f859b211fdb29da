/** The record changes of a move and of the way back, held against a zone that applies them as the vendor does. */

import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import {
  findLeftovers,
  isEmptyBatch,
  isSwitched,
  lowerBatch,
  restoreBatch,
  settableOf,
  strangersAt,
  switchBatch,
} from '../../../lib/cutover/changes.ts'
import { addressRecordsOf, parseMove, renderMove } from '../../../lib/cutover/move.ts'
import type { DnsRecord, RecordBatch, WantedRecord } from '../../../lib/providers/ports/dns.ts'
import { move, record } from './moves.ts'

let made = 0

/** The zone after a batch: deletes, patches, posts, as one transaction; a CNAME beside an address ends it. */
const applied = (records: readonly DnsRecord[], batch: RecordBatch): DnsRecord[] => {
  const gone = new Set(batch.deletes.map(({ id }) => id))
  const patched = records
    .filter(({ id }) => !gone.has(id))
    .map(each => {
      const change = batch.patches.find(({ id }) => id === each.id)?.record
      return change
        ? record(each.name, each.type, change.content ?? each.content, {
            ...each,
            ...change,
            id: each.id,
            raw: { ...each.raw, ...shown(change) },
          })
        : each
    })
  const posts = batch.posts.map(each => record(each.name, each.type, each.content, { ...each, id: `new${made++}` }))
  const restores = (batch.restores ?? []).map(raw => {
    const { name, type, content, ttl, proxied, comment } = raw
    return record(String(name), type as DnsRecord['type'], String(content), {
      id: `new${made++}`,
      ttl: Number(ttl),
      proxied: proxied === true,
      comment: String(comment ?? ''),
      raw: { ...raw },
    })
  })
  const after = [...patched, ...posts, ...restores]
  for (const name of new Set(after.map(each => each.name))) {
    const types = addressRecordsOf(after, name).map(each => each.type)
    if (types.includes('CNAME') && types.length > 1) throw new Error(`${name}: a CNAME beside ${types.join()}`)
  }
  return after
}

const shown = ({ comment, ...rest }: Partial<WantedRecord>) => ({
  ...rest,
  ...(comment === undefined ? {} : { comment: comment === '' ? null : comment }),
})

const WWW = 'www.example.com'
const others = [
  record('example.com', 'MX', 'mail.example.net'),
  record(WWW, 'TXT', 'kept'),
  record('api.example.com', 'A', '192.0.2.99'),
  record('wwww.example.com', 'CNAME', 'cname.old.net'),
]

const BEFORE: Readonly<Record<string, readonly DnsRecord[]>> = {
  'a CNAME': [
    record(WWW, 'CNAME', 'cname.old.net', {
      ttl: 3600,
      comment: 'by hand',
      raw: { settings: { flatten_cname: true }, tags: ['a:b'] },
    }),
  ],
  'an A': [record(WWW, 'A', '192.0.2.1', { ttl: 3600 })],
  'two A and an AAAA': [record(WWW, 'A', '192.0.2.1'), record(WWW, 'A', '192.0.2.2'), record(WWW, 'AAAA', '2001:db8::1')],
  'a proxied A': [record(WWW, 'A', '192.0.2.1', { ttl: 1, proxied: true })],
  'a proxied CNAME': [record(WWW, 'CNAME', 'cname.old.net', { ttl: 1, proxied: true })],
  'automatic TTL': [record(WWW, 'A', '192.0.2.1', { ttl: 1 })],
  'only AAAA': [record(WWW, 'AAAA', '2001:db8::1')],
  nothing: [],
}

describe('a move from', () => {
  for (const [title, before] of Object.entries(BEFORE))
    test(`${title}: low TTL, switch, and back to the same, with nothing else touched`, () => {
      const start = [...before, ...others]
      const one = move(WWW, before)
      const touched = (records: readonly DnsRecord[]) =>
        addressRecordsOf(records, WWW)
          .map(each => JSON.stringify(settableOf(each)))
          .sort()
      const rest = (records: readonly DnsRecord[]) => records.filter(each => !addressRecordsOf(records, WWW).includes(each))

      const lowered = applied(start, lowerBatch(one, start))
      expect(addressRecordsOf(lowered, WWW).every(each => each.proxied || each.ttl <= 60)).toBe(true)
      expect(isEmptyBatch(lowerBatch(one, lowered))).toBe(true)
      expect(strangersAt(one, lowered)).toEqual([])

      const switched = applied(lowered, switchBatch(one, lowered, one.switchTtlS))
      expect(isSwitched(one, switched)).toBe(true)
      expect(
        addressRecordsOf(switched, WWW)
          .map(each => `${each.type} ${each.content} ${each.proxied}`)
          .sort(),
      ).toEqual([`A 203.0.113.7 ${one.proxied}`, `AAAA 2001:db8::7 ${one.proxied}`])
      expect(isEmptyBatch(switchBatch(one, switched, one.switchTtlS))).toBe(true)
      const raised = applied(switched, switchBatch(one, switched, one.finalTtlS))
      expect(isEmptyBatch(switchBatch(one, raised, one.finalTtlS))).toBe(true)
      expect(strangersAt(one, raised)).toEqual([])

      for (const at of [start, lowered, switched, raised]) {
        const back = applied(at, restoreBatch(one, at))
        expect(touched(back)).toEqual(touched(start))
        expect(isEmptyBatch(restoreBatch(one, back))).toBe(true)
        expect(rest(back)).toEqual(rest(start))
        // Gone back to, the name may be moved again.
        expect(strangersAt(one, back)).toEqual([])
      }
      expect(rest(raised)).toEqual(rest(start))
    })
})

test('A to A keeps the record: it is changed in place, never deleted and made anew', () => {
  const before = [record(WWW, 'A', '192.0.2.1')]
  const batch = switchBatch(move(WWW, before), before, 60)
  expect(batch.deletes).toEqual([])
  expect(batch.patches.map(({ id }) => id)).toEqual([before[0]?.id ?? ''])
})

test('CNAME to A is one batch that deletes and makes', () => {
  const before = [record(WWW, 'CNAME', 'cname.old.net')]
  const batch = switchBatch(move(WWW, before), before, 60)
  expect(batch).toMatchObject({ deletes: [{ id: before[0]?.id }], patches: [], posts: [{ type: 'A' }, { type: 'AAAA' }] })
})

test('an AAAA at the old host goes even when the new place has no IPv6', () => {
  const before = [record(WWW, 'A', '192.0.2.1'), record(WWW, 'AAAA', '2001:db8::1')]
  const one = move(WWW, before, { to: { server: 'web', serverId: '42', ipv4: '203.0.113.7' } })
  expect(addressRecordsOf(applied(before, switchBatch(one, before, 60)), WWW).map(each => each.type)).toEqual(['A'])
})

test('a proxied name keeps its proxy and is never given a TTL of its own', () => {
  const before = [record(WWW, 'A', '192.0.2.1', { ttl: 1, proxied: true })]
  const one = move(WWW, before)
  expect(isEmptyBatch(lowerBatch(one, before))).toBe(true)
  expect(switchBatch(one, before, 60).patches[0]?.record).toEqual({
    content: '203.0.113.7',
    comment: 'landfall estate=shop server=web id=42',
  })
})

test('lowering says nothing but the TTL', () => {
  const before = [record(WWW, 'CNAME', 'cname.old.net', { ttl: 3600, comment: 'by hand' })]
  expect(lowerBatch(move(WWW, before), before).patches).toEqual([{ id: before[0]?.id ?? '', record: { ttl: 60 } }])
})

test('what somebody else puts at the name meanwhile is seen', () => {
  const before = [record(WWW, 'A', '192.0.2.1')]
  const changed = [{ ...record(WWW, 'A', '192.0.2.77'), id: before[0]?.id ?? '' }]
  const added = [...before, record(WWW, 'A', '192.0.2.78')]
  expect(strangersAt(move(WWW, before), changed).map(each => each.content)).toEqual(['192.0.2.77'])
  expect(strangersAt(move(WWW, before), added).map(each => each.content)).toEqual(['192.0.2.78'])
})

test('records that would lead visitors astray after the switch are named', () => {
  const records = [
    record(WWW, 'HTTPS', '1 . ipv4hint=192.0.2.1'),
    record('_acme-challenge.www.example.com', 'CNAME', 'proof.old.net'),
    record('_acme-challenge.other.example.com', 'CNAME', 'proof.old.net'),
  ]
  expect(findLeftovers({ name: WWW }, records)).toEqual([
    'www.example.com has an HTTPS record (1 . ipv4hint=192.0.2.1), which browsers prefer to its addresses',
    '_acme-challenge.www.example.com leads to proof.old.net, where a certificate’s proof can not be put'.replace('’', "'"),
  ])
})

test('from any mixture of records, the way there and back ends where it began', () => {
  const address = fc.integer({ min: 1, max: 250 })
  const comment = fc.constantFrom('', 'by hand', 'x'.repeat(90))
  const ttl = fc.constantFrom(1, 60, 120, 300, 3600, 86_400)
  const a = fc.record({ type: fc.constantFrom('A' as const, 'AAAA' as const), address, comment, ttl, proxied: fc.boolean() })
  const sets = fc.uniqueArray(a, { maxLength: 6, selector: each => `${each.type}${each.address}` })
  fc.assert(
    fc.property(sets, fc.boolean(), fc.boolean(), (list, alias, proxied) => {
      // The vendor demands one answer for all of a name's records.
      const before = alias
        ? [record(WWW, 'CNAME', 'cname.old.net', { ttl: proxied ? 1 : 300, proxied })]
        : list.map(each =>
            record(WWW, each.type, each.type === 'A' ? `192.0.2.${each.address}` : `2001:db8::${each.address}`, {
              ttl: proxied ? 1 : each.ttl,
              proxied,
              comment: each.comment,
            }),
          )
      const one = move(WWW, before)
      const start = [...others, ...before]
      const lowered = applied(start, lowerBatch(one, start))
      const there = applied(lowered, switchBatch(one, lowered, 60))
      const back = applied(there, restoreBatch(one, there))
      const settable = (records: readonly DnsRecord[]) => records.map(each => JSON.stringify(settableOf(each))).sort()
      expect(isSwitched(one, there)).toBe(true)
      expect(settable(back)).toEqual(settable(start))
    }),
    { numRuns: 500 },
  )
})

test('a move’s file comes back as it was written, and a broken one is refused with its place', () => {
  const one = move(WWW, BEFORE['a CNAME'] ?? [], { marks: { loweredAtMs: 5 } })
  expect(parseMove(renderMove(one), 'f')).toEqual(one)
  expect(renderMove(parseMove(renderMove(one), 'f'))).toBe(renderMove(one))
  for (const text of ['', '{}', renderMove(one).slice(0, -30), renderMove({ ...one, name: 'other.example.com' })])
    expect(() => parseMove(text, 'moves/www.json')).toThrow('moves/www.json')
})
