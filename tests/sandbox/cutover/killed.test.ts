/** A move that is killed wherever something was written: the same command ends it, and rollback undoes it from every such point. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Hooks, Vendor } from '../../../lib/sandbox/kit.ts'
import { closePlaces, mutationsIn, type Running } from '../scripts/run.ts'
import { APEX, CUTOVER, type MovingPlace, movedIn, openMovingPlace, othersIn } from './place.ts'

interface Asked {
  readonly vendor: Vendor
  readonly method: string
  readonly path: string
}
type Point = (request: Asked) => boolean

/** Kills the run that is under way once a request that `at` describes has had its effect, before its answer. */
const killer: { at?: Point; running?: Running } = {}
const hooks: Hooks = {
  afterEffect(request) {
    if (!killer.at?.(request)) return
    delete killer.at
    killer.running?.kill('SIGKILL')
  },
}

const WRITES = {
  batch: ({ vendor, path }) => vendor === 'cloudflare' && path.endsWith('/batch'),
  order: ({ vendor, path }) => vendor === 'acme' && path.startsWith('/new-order'),
  proof: ({ vendor, path }) => vendor === 'acme' && path.startsWith('/chall/'),
  issue: ({ vendor, path }) => vendor === 'acme' && path.startsWith('/finalize/'),
  gift: ({ vendor, path }) => vendor === 'dokploy' && path.endsWith('certificates.create'),
} satisfies Record<string, Point>
type Write = keyof typeof WRITES

/** The first batch of a run is the probe of the token's rights, and changes nothing. */
const nth = (n: number, write: Write): Point => {
  let left = write === 'batch' ? n + 1 : n
  return request => WRITES[write](request) && --left === 0
}

/** The n-th look at the zone's records after the k-th batch. */
const lookAfter = (k: number, n: number): Point => {
  const isBatch = nth(k, 'batch')
  let isOver = false
  let left = n
  return request => {
    isOver ||= isBatch(request)
    return isOver && request.method === 'GET' && request.path.endsWith('/dns_records') && --left === 0
  }
}

// Proofs in and out for each of two servers, low TTL, switch, high TTL.
const LOWERED = 5
const SWITCHED = 6
const RAISED = 7

let place: MovingPlace
let before: string[]
let others: string

const directory = () => join(place.cwd, '.landfall', 'example')
const startOver = () => {
  for (const folder of ['moves', 'certificates', 'acme']) rmSync(join(directory(), folder), { recursive: true, force: true })
}

/** Answers with the exit code; null when it was killed. */
const cutoverUntil = async (at: Point): Promise<number | null> => {
  killer.at = at
  killer.running = place.start(CUTOVER)
  const { code, output } = await killer.running.ended
  delete killer.at
  expect(`${code} ${code === null || code === 0 ? '' : output}`).toMatch(/^(null|0) $/)
  return code
}

beforeAll(async () => {
  place = await openMovingPlace({ hooks })
  before = movedIn(place.sandbox)
  others = othersIn(place.sandbox)
  // Each point begins with nothing kept, which the authority's week would not let pass.
  place.sandbox.settings.rateLimits = false
}, 150_000)

afterAll(async () => {
  place.old.close()
  await closePlaces()
})

describe('rollback restores every byte from a move that was killed', () => {
  const points: readonly [title: string, at: () => Point][] = [
    ['after an order', () => nth(1, 'order')],
    ['after the first proof is in the zone', () => nth(1, 'batch')],
    ['after both servers’ proofs are there', () => nth(2, 'batch')],
    ['after the authority looked at a proof', () => nth(1, 'proof')],
    ['after the authority was asked to issue', () => nth(1, 'issue')],
    ['after proofs were taken out again', () => nth(3, 'batch')],
    ['after the certificate was given to Traefik', () => nth(1, 'gift')],
    ['after the last proof was taken out', () => nth(4, 'batch')],
    ['after the TTL was lowered', () => nth(LOWERED, 'batch')],
    ['after the old TTL was waited out', () => lookAfter(LOWERED, 2)],
    ['after the switch', () => nth(SWITCHED, 'batch')],
    ['after the TTL was raised', () => nth(RAISED, 'batch')],
  ]
  for (const [title, at] of points)
    test(title, async () => {
      expect(await cutoverUntil(at())).toBeNull()
      const back = await place.run('dns rollback --yes --json')
      expect(`${back.code} ${back.code === 0 ? '' : back.output}`).toBe('0 ')
      expect(movedIn(place.sandbox)).toEqual(before)
      expect(othersIn(place.sandbox)).toBe(others)
      startOver()
    }, 60_000)

  test('after the switch, with Hetzner and Dokploy down', async () => {
    expect(await cutoverUntil(nth(SWITCHED, 'batch'))).toBeNull()
    const asked = place.sandbox.requests().length
    const back = await place.run('dns rollback --yes --json', {
      env: { HCLOUD_ENDPOINT: 'http://127.0.0.1:9/v1', LANDFALL_SSH_KEY: undefined },
    })
    expect(`${back.code} ${back.code === 0 ? '' : back.output}`).toBe('0 ')
    expect(movedIn(place.sandbox)).toEqual(before)
    expect(othersIn(place.sandbox)).toBe(others)
    const vendors = place.sandbox.requests().slice(asked)
    expect([...new Set(vendors.map(({ vendor }) => vendor))]).toEqual(['cloudflare'])
    startOver()
  }, 60_000)
})

describe('the same command', () => {
  test('ends a move that is killed at every kind of write, one after the other, with one certificate for each server', async () => {
    const issuedBefore = place.sandbox.controls.acme.issued().length
    // How often each is killed; an order whose answer is lost is asked for again.
    const left: Record<Write, number> = { order: 2, batch: 7, proof: 2, issue: 2, gift: 2 }
    let kills = 0
    for (;;) {
      let isProbe = true
      const at: Point = request => {
        const write = (Object.keys(WRITES) as Write[]).find(each => WRITES[each](request))
        if (write === undefined) return false
        if (write === 'batch' && isProbe) {
          isProbe = false
          return false
        }
        if (left[write] === 0) return false
        left[write] -= 1
        return true
      }
      if ((await cutoverUntil(at)) === 0) break
      kills += 1
    }
    expect(kills).toBeGreaterThanOrEqual(10)
    expect(othersIn(place.sandbox)).toBe(others)
    expect(movedIn(place.sandbox)).toHaveLength(6)
    const issued = place.sandbox.controls.acme.issued().slice(issuedBefore)
    expect(issued.map(({ names }) => names.includes(APEX)).sort()).toEqual([false, true])
    const second = await place.run(CUTOVER)
    expect([second.code, ...mutationsIn(second.requests)]).toEqual([0])
    expect((await place.run('dns rollback --yes --json')).code).toBe(0)
    expect(movedIn(place.sandbox)).toEqual(before)
    process.stderr.write(`killed ${kills} times on its way\n`)
  }, 180_000)
})
