/** examples/vercel-migration.json from nothing to the end: servers, applications, deploys, cutover, checklist, leaving, with the old host serving. */

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { closePlaces, mutationsIn, openPlace, type Place, ROOT } from '../scripts/run.ts'
import { APEX, CUTOVER, movedIn, OLD_RECORDS, type OldSite, openOldSite, othersIn } from './place.ts'

const EXAMPLE = readFileSync(`${ROOT}examples/vercel-migration.json`, 'utf8')

let place: Place
let old: OldSite

beforeAll(async () => {
  place = await openPlace(JSON.parse(EXAMPLE), { seed: { zones: [], goldenImage: true } })
  place.sandbox.controls.cloudflare.addZone({ name: APEX, records: OLD_RECORDS })
  old = await openOldSite(place.sandbox)
})

afterAll(async () => {
  old.close()
  await closePlaces()
})

const done = async (command: string): Promise<string> => {
  const run = await place.run(command, { timeoutMs: 60_000 })
  expect(`${command}: ${run.code} ${run.code === 0 ? '' : run.output}`).toBe(`${command}: 0 `)
  return run.stdout
}

test('the whole migration passes, and each command has nothing to do a second time', async () => {
  const before = movedIn(place.sandbox)
  await done('setup --yes --json')
  await done('app --yes --json')
  // Nothing moves in passing.
  expect(movedIn(place.sandbox)).toEqual(before)
  const compose = 'services:\n  api:\n    image: ghcr.io/example/api:1\n    expose: ["8000"]\n  cache:\n    image: redis:7\n'
  place.sandbox.controls.machines
    .dokploy('backend-dokploy')
    .apps.push('https://github.com/example/shop.git', 'main', { files: { 'backend/core/docker-compose.yml': compose } })
  await done('dns certificate --yes --json')
  expect(movedIn(place.sandbox)).toEqual(before)
  for (const app of ['web', 'api']) await done(`deploy ${app} --yes --json`)
  const others = othersIn(place.sandbox)
  await done(CUTOVER)
  expect(othersIn(place.sandbox)).toBe(others)
  await done('dns watch')
  expect(await done('dns decommission --for 5')).toContain('at Vercel: the domain example.com')
  for (const command of ['setup --yes --json', 'app --yes --json', CUTOVER]) {
    const again = await place.run(command)
    expect([command, again.code, ...mutationsIn(again.requests)]).toEqual([command, 0])
  }
  await done('dns rollback --yes --json')
  expect(movedIn(place.sandbox)).toEqual(before)
}, 180_000)
