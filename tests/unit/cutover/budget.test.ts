/** The authority's limits, counted as it counts them. */

import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { judgeBudget, LIMITS, type OrderEntry, type OrderEvent, parseOrders, renderOrder } from '../../../lib/cutover/budget.ts'
import { NOW } from './moves.ts'

const HOUR = 3_600_000
const directory = 'https://ca.example/directory'
const wanted = { directory, names: ['example.com', 'www.example.com'], domain: 'example.com' }
const entry = (event: OrderEvent, agoMs: number, names = wanted.names): OrderEntry => ({
  atMs: NOW - agoMs,
  event,
  directory,
  names,
})
const times = (n: number, make: (i: number) => OrderEntry) => Array.from({ length: n }, (_, i) => make(i))

describe('the budget', () => {
  test('nothing ordered: five certificates of these names fit', () => {
    expect(judgeBudget([], wanted, NOW)).toEqual({ state: 'enough', left: 5, of: 'sameNames' })
  })

  test('five for the same names in a row: the sixth has to wait 34 hours', () => {
    const verdict = judgeBudget(
      times(5, () => entry('finalized', 0)),
      wanted,
      NOW,
    )
    expect(verdict).toMatchObject({ state: 'spent', limit: 'sameNames', nextAtMs: NOW + 34 * HOUR })
    expect(
      judgeBudget(
        times(5, () => entry('finalized', 34 * HOUR)),
        wanted,
        NOW,
      ),
    ).toMatchObject({ state: 'enough', left: 1 })
  })

  test('the order of the names and their case do not make another set', () => {
    const used = times(5, () => entry('finalized', 0, ['WWW.example.com', 'example.com']))
    expect(judgeBudget(used, wanted, NOW).state).toBe('spent')
  })

  test('fifty for the domain, each with other names', () => {
    const used = times(50, i => entry('finalized', 0, [`pr-${i}.example.com`]))
    expect(judgeBudget(used, wanted, NOW)).toMatchObject({ state: 'spent', limit: 'perDomain', nextAtMs: NOW + 202 * 60_000 })
    expect(judgeBudget(used.slice(1), wanted, NOW)).toMatchObject({ state: 'enough', left: 1, of: 'perDomain' })
  })

  test('another domain that only ends alike does not count', () => {
    expect(
      judgeBudget(
        times(60, i => entry('finalized', 0, [`a${i}.notexample.com`])),
        wanted,
        NOW,
      ).state,
    ).toBe('enough')
  })

  test('five failures of one of the names in an hour', () => {
    const used = times(5, () => entry('failed', 0, ['www.example.com']))
    expect(judgeBudget(used, wanted, NOW)).toMatchObject({ state: 'spent', limit: 'failures', nextAtMs: NOW + 12 * 60_000 })
  })

  test('another authority counts for itself', () => {
    const used = times(9, () => ({ ...entry('finalized', 0), directory: 'https://staging.example/' }))
    expect(judgeBudget(used, wanted, NOW)).toMatchObject({ state: 'enough', left: 5 })
  })

  test('whatever was ordered: waiting until the time it names frees one, and a moment before does not', () => {
    const kinds = fc.constantFrom<OrderEvent>('finalized', 'failed', 'ordered', 'account')
    fc.assert(
      fc.property(fc.array(fc.tuple(kinds, fc.nat(200 * HOUR)), { maxLength: 80 }), made => {
        const entries = made.map(([event, agoMs]) => entry(event, agoMs))
        const verdict = judgeBudget(entries, wanted, NOW)
        if (verdict.state === 'enough') return verdict.left >= 1
        return (
          verdict.nextAtMs > NOW &&
          judgeBudget(entries, wanted, verdict.nextAtMs - 1).state === 'spent' &&
          judgeBudget(entries, wanted, verdict.nextAtMs).state === 'enough'
        )
      }),
      { numRuns: 500 },
    )
  })

  test('one that orders whenever it is allowed never passes the published numbers', () => {
    const made: OrderEntry[] = []
    for (let atMs = NOW; atMs < NOW + 30 * 24 * HOUR; atMs += HOUR)
      if (judgeBudget(made, wanted, atMs).state === 'enough')
        made.push({ atMs, event: 'finalized', directory, names: wanted.names })
    const week = 7 * 24 * HOUR
    const worst = Math.max(...made.map(({ atMs }) => made.filter(each => each.atMs >= atMs && each.atMs < atMs + week).length))
    // Five at once and one for each 34 hours after, which is how the authority itself counts.
    expect(worst).toBeLessThanOrEqual(LIMITS.sameNames.capacity + Math.floor(week / LIMITS.sameNames.refillMs))
  })
})

test('the list survives writing, and a torn line costs that line alone', () => {
  const entries = [entry('ordered', 5_000), entry('finalized', 1_000)]
  const text = entries.map(renderOrder).join('')
  expect(parseOrders(text)).toEqual(entries.map(each => ({ ...each, names: [...each.names].sort() })))
  expect(parseOrders(`${text.slice(0, -20)}\n${renderOrder(entry('failed', 0))}`)).toHaveLength(2)
})
