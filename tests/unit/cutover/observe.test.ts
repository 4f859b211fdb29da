/** What is seen of a moving name, judged; and the arithmetic of caches. */

import { describe, expect, test } from 'bun:test'
import {
  findOldHost,
  judgeArrival,
  judgeDecommission,
  type Observation,
  oldAnswersGoneAtMs,
  oldAnswersText,
} from '../../../lib/cutover/observe.ts'
import { clockText, liveTtlS, longestTtlS, negativeTtlOf, spanText } from '../../../lib/cutover/ttl.ts'
import type { DnsAnswer } from '../../../lib/providers/ports/outside.ts'
import { move, NOW, record } from './moves.ts'

const WWW = 'www.example.com'
const before = [record(WWW, 'CNAME', 'cname.old.net', { ttl: 3600 })]
const one = move(WWW, before, {
  oldTtlS: 3600,
  oldAddresses: ['192.0.2.1'],
  marks: { loweredAtMs: NOW - 4_000_000, switchedAtMs: NOW },
})
const answer = (server: string, ...values: string[]): DnsAnswer => ({ server, status: 'ok', values })
const V4 = '203.0.113.7'
const V6 = '2001:db8::7'

const good: Observation = {
  authoritative: { A: [answer('ns1', V4), answer('ns2', V4)], AAAA: [answer('ns1', V6), answer('ns2', V6)] },
  resolvers: { A: [answer('1.1.1.1', V4)], AAAA: [answer('1.1.1.1', V6)] },
  tls: { state: 'trusted', names: [WWW] },
  page: { state: 'answers', status: 200, headers: {}, body: '' },
}

describe('after the switch', () => {
  test('everybody sees the new place', () => expect(judgeArrival(one, good)).toEqual({ state: 'arrived', lines: [] }))

  test('one cache with the old answer is only a matter of time', () => {
    const seen = { ...good, resolvers: { ...good.resolvers, A: [answer('8.8.8.8', '192.0.2.1')] } }
    expect(judgeArrival(one, seen)).toEqual({ state: 'partly', lines: ['8.8.8.8 answers 192.0.2.1 for www.example.com A'] })
  })

  test('a resolver that can not be reached from here says nothing', () => {
    const silent = { server: '9.9.9.9', status: 'silent', values: [] } as const
    expect(judgeArrival(one, { ...good, resolvers: { ...good.resolvers, A: [...good.resolvers.A, silent] } }).state).toBe(
      'arrived',
    )
  })

  test('a resolver that still knows of no IPv6 leads nobody elsewhere; a name server without it is wrong', () => {
    const none = { A: good.resolvers.A, AAAA: [answer('8.8.8.8')] }
    expect(judgeArrival(one, { ...good, resolvers: none })).toEqual({ state: 'arrived', lines: [] })
    expect(judgeArrival(one, { ...good, authoritative: { ...good.authoritative, AAAA: [answer('ns1')] } }).state).toBe('wrong')
  })

  const wrongs: Readonly<Record<string, Partial<Observation>>> = {
    'one name server with the old answer': {
      authoritative: { ...good.authoritative, A: [answer('ns1', V4), answer('ns2', '192.0.2.1')] },
    },
    'one name server with both answers': { authoritative: { ...good.authoritative, A: [answer('ns1', V4, '192.0.2.1')] } },
    'an AAAA left at the old host': { authoritative: { ...good.authoritative, AAAA: [answer('ns1', '2001:db8::1')] } },
    'no name server at all': { authoritative: { A: [], AAAA: [] } },
    'NXDOMAIN at a name server': {
      authoritative: { ...good.authoritative, A: [{ server: 'ns1', status: 'nxdomain', values: [] }] },
    },
    'a certificate that is not trusted': { tls: { state: 'untrusted', why: 'self-signed', names: [] } },
    'a page that fails': { page: { state: 'answers', status: 502, headers: {}, body: '' } },
    'a page that is not there': { page: { state: 'answers', status: 404, headers: {}, body: '' } },
    'no page': { page: { state: 'silent', why: 'refused' } },
  }
  for (const [title, over] of Object.entries(wrongs))
    test(`${title}: wrong`, () => expect(judgeArrival(one, { ...good, ...over }).state).toBe('wrong'))
})

describe('when old answers are gone', () => {
  test('waited out, it is the low TTL after the switch', () => {
    expect(oldAnswersGoneAtMs(one)).toBe(NOW + 60_000)
    expect(oldAnswersText(one, NOW)).toBe('old answers for www.example.com may live until 14:01 UTC')
    expect(oldAnswersText(one, NOW + 61_000)).toBe('old answers for www.example.com ended at 14:01 UTC')
  })
  test('never lowered, it is the old one', () =>
    expect(oldAnswersGoneAtMs(move(WWW, before, { oldTtlS: 3600, marks: { switchedAtMs: NOW } }))).toBe(NOW + 3_600_000))
  test('behind the proxy it is Cloudflare’s own', () => {
    const proxied = [record(WWW, 'A', '192.0.2.1', { ttl: 1, proxied: true })]
    expect(oldAnswersGoneAtMs(move(WWW, proxied, { oldTtlS: 300, marks: { loweredAtMs: 1, switchedAtMs: NOW } }))).toBe(
      NOW + 300_000,
    )
  })
  test('for a name that was not there it is as long as resolvers remember that', () =>
    expect(oldAnswersGoneAtMs(move(WWW, [], { oldTtlS: 1800, marks: { loweredAtMs: 1, switchedAtMs: NOW } }))).toBe(
      NOW + 1_800_000,
    ))
  test('not switched, there is no such time', () => expect(oldAnswersGoneAtMs(move(WWW, before))).toBeUndefined())
})

describe('TTL arithmetic', () => {
  test('automatic and proxied are five minutes', () => {
    expect(liveTtlS({ ttl: 1, proxied: false })).toBe(300)
    expect(liveTtlS({ ttl: 3600, proxied: true })).toBe(300)
    expect(liveTtlS({ ttl: 3600, proxied: false })).toBe(3600)
  })
  test('the longest counts; without any record, how long its absence is remembered', () => {
    expect(
      longestTtlS([record(WWW, 'A', '192.0.2.1', { ttl: 60 }), record(WWW, 'AAAA', '2001:db8::1', { ttl: 900 })], 1800),
    ).toBe(900)
    expect(longestTtlS([], 1800)).toBe(1800)
  })
  test('absence is remembered as long as the smaller of the SOA’s two says', () => {
    const values = ['ns1 dns 1 10000 2400 604800 1800']
    expect(negativeTtlOf({ values, ttl: 900 })).toBe(900)
    expect(negativeTtlOf({ values, ttl: 3600 })).toBe(1800)
    expect(negativeTtlOf({ values: [] })).toBeUndefined()
  })
  test('times in words', () => {
    expect(clockText(NOW + 3_600_000, NOW)).toBe('15:00 UTC')
    expect(clockText(NOW + 86_400_000, NOW)).toBe('2026-11-21 14:00 UTC')
    expect([spanText(60_000), spanText(300_000), spanText(5_400_000), spanText(7_200_000), spanText(9_000_000)]).toEqual([
      '60 s',
      '5 min',
      '90 min',
      '2 h',
      '2 h 30 min',
    ])
  })
})

describe('leaving the old host', () => {
  const old = { addresses: ['192.0.2.1'], domains: ['old.net'], headers: ['x-old-id'] }
  const settled = move(WWW, before, { oldAddresses: ['192.0.2.1'], marks: { loweredAtMs: 1, switchedAtMs: NOW - 600_000 } })

  test('nothing leads there', () => expect(findOldHost(settled, good, old)).toEqual([]))
  test('every way in which it is still reached is named', () => {
    const seen: Observation = {
      ...good,
      resolvers: { A: [answer('8.8.8.8', '192.0.2.1')], AAAA: [] },
      page: { state: 'answers', status: 200, headers: { 'x-old-id': 'fra1' }, body: '<script src="https://cdn.old.net/a.js">' },
    }
    expect(findOldHost(settled, seen, old)).toHaveLength(3)
  })

  test('too early, in use, quiet, proved', () => {
    const hour = 3_600_000
    expect(judgeDecommission(one, [], hour, NOW + 1)).toMatchObject({ state: 'too_early', untilMs: NOW + 60_000 })
    expect(judgeDecommission(move(WWW, before), [], hour, NOW).state).toBe('too_early')
    expect(judgeDecommission(settled, ['a sign'], hour, NOW)).toEqual({ state: 'in_use', signs: ['a sign'] })
    const quiet = { ...settled, marks: { ...settled.marks, quietSinceMs: NOW - 1_800_000 } }
    // The switch's own caches end 60 s after it; quiet counts from then on at the earliest.
    expect(judgeDecommission(quiet, [], hour, NOW)).toEqual({ state: 'quiet', sinceMs: NOW - 540_000, leftMs: hour - 540_000 })
    expect(judgeDecommission(quiet, [], hour, NOW - 540_000 + hour)).toMatchObject({ state: 'proven' })
  })
})
