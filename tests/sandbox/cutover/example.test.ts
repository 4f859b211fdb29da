/** examples/vercel-migration.json from nothing to the end: servers, applications, deploys, cutover, checklist, leaving, with the old host serving. */

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { closePlaces, mutationsIn, openPlace, type Place, ROOT } from '../scripts/run.ts'
import { APEX, CUTOVER, movedIn, OLD_RECORDS, othersIn, WWW } from './place.ts'

const EXAMPLE = readFileSync(`${ROOT}examples/vercel-migration.json`, 'utf8')
const ADDRESSES = ['A', 'AAAA', 'CNAME']

let place: Place

beforeAll(async () => {
  const example = JSON.parse(EXAMPLE)
  place = await openPlace(example, { seed: { zones: [], goldenImage: true } })
  const records = OLD_RECORDS.filter(({ type }) => !ADDRESSES.includes(type))
  place.sandbox.controls.cloudflare.addZone({ name: APEX, records })
  const { names, old_host: old } = example.migration
  await place.sandbox.openOldHost({
    names: Object.entries<{ kind: 'frontend' | 'backend' }>(names).map(([name, { kind }]) => ({ name, kind })),
    domains: old.domains,
    headers: old.headers,
  })
})

afterAll(closePlaces)

const done = async (command: string): Promise<string> => {
  const run = await place.run(command, { timeoutMs: 60_000 })
  expect(`${command}: ${run.code} ${run.code === 0 ? '' : run.output}`).toBe(`${command}: 0 `)
  return run.stdout
}

test('the whole migration passes, and each command has nothing to do a second time', async () => {
  const before = movedIn(place.sandbox)
  expect(before).toHaveLength(4)
  await done('setup --yes --json')
  expect(await done('app --yes --json')).toContain(String.raw`bun scripts/dns.ts certificate\nbun scripts/deploy.ts web`)
  // Nothing moves in passing.
  expect(movedIn(place.sandbox)).toEqual(before)
  await done('dns certificate --yes --json')
  for (const app of ['web', 'api']) await done(`deploy ${app} --yes --json`)
  expect(movedIn(place.sandbox)).toEqual(before)
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

test('servers that are made anew are given the certificates of the old ones, and nothing is ordered', async () => {
  const issued = place.sandbox.controls.acme.issued().length
  await done('destroy --yes --json --confirm example')
  await done('setup --yes --json')
  await done('dns certificate --yes --json')
  expect(place.sandbox.controls.acme.issued()).toHaveLength(issued)
  const given = place.sandbox.controls.machines.dokploy('frontend-dokploy').givenCertificate(WWW)
  expect(new X509Certificate(given?.cert ?? '').checkHost(APEX)).toBe(APEX)
}, 180_000)

test('after a move, servers that are destroyed and made anew get the names: a cutover never leads back to the deleted ones', async () => {
  const deployed = async () => {
    for (const command of ['app --yes --json', 'deploy web --yes --json', 'deploy api --yes --json']) await done(command)
  }
  await deployed()
  await done(CUTOVER)
  await done('destroy --yes --json --confirm example')
  await done('setup --yes --json')
  await deployed()
  await done(CUTOVER)
  const { hetzner, cloudflare } = place.sandbox.controls
  const addresses = hetzner.serversForMachines().map(({ name, ipv4 }) => `${name} ${ipv4}`)
  const leading = cloudflare.records(APEX).flatMap(({ name, type, content }) => (type === 'A' ? [`${name} ${content}`] : []))
  const { names } = JSON.parse(EXAMPLE).migration
  for (const [name, { server }] of Object.entries<{ server: string }>(names)) {
    const address = addresses.find(each => each.startsWith(`${server} `))?.split(' ')[1]
    expect(leading.filter(each => each.startsWith(`${name} `))).toEqual([`${name} ${address}`])
  }
}, 180_000)

test('a rehearsal has the old host of its own, with records that lead to it', async () => {
  const plan = await place.run(`dns cutover --plan --sandbox=fresh --config ${join(ROOT, 'examples/vercel-migration.json')}`)
  expect(plan.stdout).toContain('keep the 4 records of example.com, www.example.com, api.example.com')
  expect(plan.stdout).toContain('Vercel, which the names move away from, is a stand-in too.')
}, 30_000)
