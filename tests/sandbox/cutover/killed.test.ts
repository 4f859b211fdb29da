/** A move that is killed at each of its writes: the same command ends it, rollback undoes it, from every such point. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Hooks, Vendor } from '../../../lib/sandbox/kit.ts'
import { closePlaces, mutationsIn, type Running } from '../scripts/run.ts'
import { APEX, CUTOVER, type MovingPlace, movedIn, openMovingPlace, othersIn } from './place.ts'

/** Kills the run that is under way once a request that `at` describes has had its effect, before its answer. */
const killer: { at?: (request: { vendor: Vendor; method: string; path: string }) => boolean; running?: Running } = {}
const hooks: Hooks = {
  afterEffect(request) {
    if (!killer.at?.(request)) return
    delete killer.at
    killer.running?.kill('SIGKILL')
  },
}

let place: MovingPlace
let before: string[]
let others: string

const directory = () => join(place.cwd, '.landfall', 'example')
const startOver = () => {
  for (const folder of ['moves', 'certificates', 'acme']) rmSync(join(directory(), folder), { recursive: true, force: true })
}

beforeAll(async () => {
  place = await openMovingPlace({ hooks })
  before = movedIn(place.sandbox)
  others = othersIn(place.sandbox)
}, 60_000)

afterAll(async () => {
  place.old.close()
  await closePlaces()
})

describe('killed', () => {
  beforeAll(() => {
    // Each point begins twice with nothing kept, which the authority's week would not let pass.
    place.sandbox.settings.rateLimits = false
  })
  const isBatch = ({ vendor, path }: { vendor: Vendor; path: string }) => vendor === 'cloudflare' && path.endsWith('/batch')
  const nth = (n: number, fits: (request: { vendor: Vendor; path: string }) => boolean) => () => {
    let seen = 0
    return (request: { vendor: Vendor; path: string }) => fits(request) && ++seen === n
  }
  const nthBatch = (n: number) => nth(n + 1, isBatch)
  // The first batch is the probe of the token's rights; then proofs in and out for each of two servers, low TTL, switch, high TTL.
  const points: readonly [title: string, at: () => NonNullable<typeof killer.at>][] = [
    ['after the first proof is in the zone', nthBatch(1)],
    ['after the authority was asked to issue', nth(1, ({ vendor, path }) => vendor === 'acme' && path.startsWith('/finalize'))],
    [
      'after the certificate was given to Traefik',
      nth(1, ({ vendor, path }) => vendor === 'dokploy' && path.endsWith('certificates.create')),
    ],
    ['after the TTL was lowered', nthBatch(5)],
    ['after the switch', nthBatch(6)],
    ['after the TTL was raised', nthBatch(7)],
  ]
  for (const [title, at] of points)
    test(`${title}: the same command ends the move, and from that very point rollback restores every byte`, async () => {
      const killed = async () => {
        killer.at = at()
        killer.running = place.start(CUTOVER)
        const ended = await killer.running.ended
        expect(`${ended.code} ${ended.code === null ? '' : ended.output}`).toBe('null ')
      }
      await killed()
      const back = await place.run('dns rollback --yes --json')
      expect(back.code).toBe(0)
      expect(movedIn(place.sandbox)).toEqual(before)
      expect(othersIn(place.sandbox)).toBe(others)

      startOver()
      await killed()
      const again = await place.run(CUTOVER)
      expect(`${again.code} ${again.code === 0 ? '' : again.output}`).toBe('0 ')
      expect(othersIn(place.sandbox)).toBe(others)
      expect(movedIn(place.sandbox)).toHaveLength(6)
      const second = await place.run(CUTOVER)
      expect([second.code, ...mutationsIn(second.requests)]).toEqual([0])
      expect((await place.run('dns rollback --yes --json')).code).toBe(0)
      expect(movedIn(place.sandbox)).toEqual(before)
      startOver()
    }, 60_000)

  test('no kill cost more than one certificate for each set of names and start', () => {
    const issued = place.sandbox.controls.acme.issued().filter(({ names }) => names.includes(APEX))
    // Each of six points was begun twice, with its directory removed in between.
    expect(issued.length).toBeLessThanOrEqual(2 * points.length)
  })
})
