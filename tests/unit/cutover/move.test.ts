/** Where a kept move leads, seen from the servers of today, and how long answers from before its lowering live. */

import { describe, expect, test } from 'bun:test'
import { aimOf, beforeLowering, hasArrived, isDrained, isOpen } from '../../../lib/cutover/move.ts'
import { move, NOW, record } from './moves.ts'

const WWW = 'www.example.com'
const before = [record(WWW, 'A', '192.0.2.1', { ttl: 3600 })]
const web = { id: '42', name: 'web', ipv4: '203.0.113.7', ipv6: '2001:db8::7' }

describe('a move leads', () => {
  const one = move(WWW, before, { marks: { switchedAtMs: NOW } })
  test.each([
    ['here', web],
    ['remade', { ...web, id: '43' }],
    ['elsewhere', { ...web, ipv4: '203.0.113.8' }],
    ['elsewhere', { ...web, ipv6: '2001:db8::8' }],
    ['elsewhere', { id: '43', name: 'web', ipv4: '203.0.113.9', ipv6: '2001:db8::9' }],
    ['elsewhere', { ...web, name: 'api' }],
    ['elsewhere', { id: '42', name: 'web', ipv4: '203.0.113.7' }],
  ] as const)('%s: %j', (aim, server) => {
    expect(aimOf(one, server)).toBe(aim)
    expect(hasArrived(one, server)).toBe(aim !== 'elsewhere')
  })

  test('by IPv4 alone to a server that has IPv6 too', () => {
    const to = { server: 'web', serverId: '42', ipv4: '203.0.113.7' }
    expect(aimOf(move(WWW, before, { to }), web)).toBe('here')
  })

  test('nowhere when it was undone, or what it led to was deleted', () => {
    for (const mark of ['rolledBackAtMs', 'deletedAtMs'] as const) {
      const over = move(WWW, before, { marks: { switchedAtMs: NOW, [mark]: NOW } })
      expect([isOpen(over), hasArrived(over, web)]).toEqual([false, false])
    }
  })
})

describe('answers from before', () => {
  const drained = { loweredAtMs: NOW, drainedAtMs: NOW + 3_600_000 }
  test.each([
    ['waited out', {}, drained, true],
    ['not lowered yet', {}, {}, false],
    ['lowered just now', {}, { loweredAtMs: NOW }, false],
    ['lowered again after the wait', {}, { ...drained, loweredAtMs: NOW + 1 }, false],
    ['of a wait that was too short', {}, { ...drained, drainedAtMs: NOW + 3_599_999 }, false],
    ['as short-lived as the low TTL', { oldTtlS: 60 }, {}, true],
    ['behind the proxy', { proxied: true }, {}, true],
    ['where nothing was', { before: [] }, {}, true],
  ] as const)('%s', (_, over, marks, gone) => {
    expect(isDrained(move(WWW, before, { oldTtlS: 3600, ...over, marks }))).toBe(gone)
  })

  test('another lowering forgets the wait before, and counts what stands now', () => {
    const again = beforeLowering(move(WWW, before, { oldTtlS: 3600, marks: drained }), [
      record(WWW, 'A', '192.0.2.1', { ttl: 900 }),
    ])
    expect([again.marks, again.oldTtlS, isDrained(again)]).toEqual([{}, 900, false])
  })

  test('a lowering whose wait was cut short still counts what stood before it', () => {
    const standing = [record(WWW, 'A', '192.0.2.1', { ttl: 900 })]
    const again = beforeLowering(move(WWW, before, { oldTtlS: 3600, marks: { loweredAtMs: NOW } }), standing)
    expect([again.marks, again.oldTtlS]).toEqual([{}, 3600])
    expect(beforeLowering(move(WWW, before, { oldTtlS: 300, marks: { loweredAtMs: NOW } }), standing).oldTtlS).toBe(900)
  })
})
