/** `scripts/image.ts` against the sandbox, without Packer; whole builds are in tests/contract/packer.test.ts. */

import { afterAll, expect, test } from 'bun:test'
import { closePlaces, ONE_SERVER, openPlace } from './run.ts'

afterAll(closePlaces)

const GOLDEN = { project: 'sandbox', labels: { 'landfall/image': 'nixos-dokploy' }, diskGb: 40, sizeGb: 2 } as const

const openWithImages = async (names: readonly string[]) => {
  let atMs = Date.parse('2026-11-01T00:00:00Z')
  const place = await openPlace(ONE_SERVER, { seed: { goldenImage: false, zones: [] }, clock: { nowMs: () => atMs } })
  const { hetzner } = place.sandbox.controls
  for (const description of names) {
    hetzner.seedGoldenImage({ ...GOLDEN, description })
    atMs += 86_400_000
  }
  return { place, names: () => hetzner.dump().images.map(image => image.description) }
}

test('prune deletes the old ones by name only when the estate is named, and has nothing to do afterwards', async () => {
  const { place, names } = await openWithImages(['first', 'second', 'third'])
  const unnamed = await place.run('image prune --keep 1 --yes --json')
  expect({ code: unnamed.code, left: names() }).toEqual({ code: 3, left: ['first', 'second', 'third'] })
  const pruned = await place.run('image prune --keep 1 --yes --confirm solo --json')
  expect({ code: pruned.code, applied: pruned.summary().applied, left: names() }).toEqual({
    code: 0,
    applied: 2,
    left: ['third'],
  })
  const again = await place.run('image prune --keep 1 --yes --confirm solo --json')
  expect(again.requests.filter(request => request.method !== 'GET')).toEqual([])
})

test('list shows what there is with what it costs', async () => {
  const { place } = await openWithImages(['nixos-dokploy-20261101'])
  const ended = await place.run('image list')
  expect(ended.code).toBe(0)
  expect(ended.stdout).toContain('nixos-dokploy-20261101')
  expect(ended.stdout).toMatch(/2\.0 GB, \d+\.\d\d EUR a month net, not in use/)
})

test('a plan shows the build and its price, and changes nothing', async () => {
  const { place, names } = await openWithImages([])
  const ended = await place.run('image --plan')
  expect({ code: ended.code, left: names() }).toEqual({ code: 2, left: [] })
  expect(ended.stdout).toMatch(/build image nixos-dokploy-\d{8} on a temporary cx33 in nbg1/)
  expect(ended.stdout).toContain('an hour net')
  expect(ended.requests.filter(request => request.method !== 'GET')).toEqual([])
})

test('a number that is none is refused before anything is asked', async () => {
  const { place } = await openWithImages([])
  const ended = await place.run('image prune --keep 0 --yes --json')
  expect({ code: ended.code, requests: ended.requests.length }).toEqual({ code: 64, requests: 0 })
})
