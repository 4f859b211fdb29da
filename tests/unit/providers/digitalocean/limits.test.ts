import { describe, expect, test } from 'bun:test'
import { LandfallError } from '../../../../lib/errors.ts'
import { createLimits } from '../../../../lib/providers/digitalocean/limits.ts'
import { fakeClock } from '../../fake-clock.ts'

const START_MS = Date.UTC(2026, 10, 20, 12)

const open = () => {
  const clock = fakeClock({ startMs: START_MS })
  const logged: string[] = []
  const limits = createLimits({ clock, log: line => logged.push(line) })
  /** What the vendor says of the hour, `freeInS` seconds before its oldest request ends to count. */
  const tell = (remaining: number, freeInS: number, more: { status?: number; retryAfter?: number } = {}) =>
    limits.observe({
      status: more.status ?? 200,
      headers: {
        'ratelimit-limit': '5000',
        'ratelimit-remaining': String(remaining),
        'ratelimit-reset': String(Math.floor(clock.nowMs() / 1000) + freeInS),
        ...(more.retryAfter === undefined ? {} : { 'retry-after': String(more.retryAfter) }),
      },
      dateMs: clock.nowMs(),
    })
  const take = (count: number, urgent = false): Promise<number[]> =>
    Promise.all(Array.from({ length: count }, () => limits.take({ urgent }).then(() => clock.monotonicMs())))
  return { clock, limits, logged, tell, take }
}

describe('the minute', () => {
  test('never holds more than 240 requests, wherever it begins', async () => {
    const { take } = open()
    const atMs = await take(700)
    for (const from of atMs) expect(atMs.filter(ms => ms >= from && ms < from + 60_000).length).toBeLessThanOrEqual(240)
    expect(Math.max(...atMs)).toBe(120_000)
  })

  test('keeps ten for what is urgent, which goes before all that wait', async () => {
    const { take } = open()
    await take(240)
    const late = take(60)
    expect(await take(10, true)).toEqual(Array(10).fill(0))
    expect(Math.min(...(await late))).toBe(60_000)
  })

  test('that was used up by others ends when the vendor says so, and the hour is not taken for spent', async () => {
    const { take, tell, logged } = open()
    tell(0, 3_000, { status: 429, retryAfter: 29 })
    expect(await take(3)).toEqual([29_000, 29_000, 29_000])
    expect(logged[0]).toBe('digitalocean: waiting 29 s for its limit of requests')
  })
})

describe('the hour', () => {
  test('is the vendor’s word: a little is left to others, and one request asks again when the oldest has ended to count', async () => {
    const { take, tell } = open()
    tell(52, 60)
    // Two at once; the third when something is free, the fourth soon after it, for want of an answer.
    expect(await take(4)).toEqual([0, 0, 60_000, 62_000])
  })

  test('that gets free again is used again', async () => {
    const { take, tell } = open()
    tell(50, 60)
    expect(await take(1)).toEqual([60_000])
    tell(200, 60)
    expect(await take(100)).toEqual(Array(100).fill(60_000))
  })

  test('that is spent for long fails at once and says until when', async () => {
    const { limits, tell, take } = open()
    tell(50, 1_500)
    const error = await limits.take({ urgent: false }).catch((thrown: unknown) => thrown)
    if (!(error instanceof LandfallError)) throw new Error('it did not fail')
    expect(error.code).toBe('rate_limited')
    expect(error.message).toBe('The 5000 requests that DigitalOcean allows this account in an hour are used up until 12:25 UTC.')
    // The lock is kept and released all the same.
    expect(await take(2, true)).toEqual([0, 0])
  })
})

test('a refusal that says nothing is a pause of two seconds', async () => {
  const { limits, take, clock } = open()
  limits.observe({ status: 429, headers: {}, dateMs: clock.nowMs() })
  expect(await take(1, true)).toEqual([2_000])
})
