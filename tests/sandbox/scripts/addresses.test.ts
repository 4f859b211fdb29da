/** Addresses that a rebuild kept: the next server of that name gets them however it comes about, and none is billed that waits for nobody. */

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { closePlaces, type Ended, mutationsIn, ONE_SERVER, openPlace, type Place } from './run.ts'

afterAll(closePlaces)
setDefaultTimeout(120_000)

const NAMED = '--yes --json --confirm acme'
const group = (count: number, location = 'nbg1') => ({
  project: 'acme',
  hetzner: { location, image: 'debian-12' },
  servers: { web: { type: 'cx23', count } },
})

const cloud = (place: Place) => place.sandbox.controls.hetzner.dump()
const ipsOf = (place: Place, name: string): readonly (number | null | undefined)[] => {
  const server = cloud(place).servers.find(each => each.name === name)
  return [server?.ipv4, server?.ipv6]
}
/** Billed, and on no server. */
const freeIn = (place: Place): readonly string[] =>
  cloud(place)
    .ips.filter(ip => ip.assignee === null)
    .map(ip => ip.name)

const ran = async (place: Place, command: string): Promise<Ended> => {
  const ended = await place.run(command, { timeoutMs: 60_000 })
  expect([command, ended.code, ended.errors()]).toEqual([command, 0, []])
  return ended
}
const isQuiet = async (place: Place): Promise<void> =>
  expect(mutationsIn((await ran(place, `provision apply ${NAMED}`)).requests)).toEqual([])

/** Servers, made and made anew, beside an address of a stranger's that looks like ours. */
const rebuilt = async (count: number): Promise<Place> => {
  const place = await openPlace(group(count))
  const answer = await fetch(`${place.sandbox.environment.HCLOUD_ENDPOINT}/primary_ips`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${place.sandbox.environment.HCLOUD_TOKEN}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({
      name: 'stranger',
      type: 'ipv4',
      location: 'nbg1',
      labels: { 'landfall/estate': 'acme2', 'landfall/kept-for': 'web-2' },
    }),
  })
  expect(answer.status).toBe(201)
  await ran(place, `provision apply ${NAMED}`)
  await ran(place, `provision rebuild ${NAMED}`)
  expect(freeIn(place)).toEqual(['stranger'])
  return place
}

const takeAway = async (place: Place, name: string, kind: 'servers' | 'firewalls' = 'servers'): Promise<void> => {
  const id = cloud(place)[kind].find(each => each.name === name)?.id
  const answer = await fetch(`${place.sandbox.environment.HCLOUD_ENDPOINT}/${kind}/${id}`, {
    method: 'DELETE',
    headers: { Authorization: `Bearer ${place.sandbox.environment.HCLOUD_TOKEN}` },
  })
  expect(answer.ok).toBe(true)
  while (place.sandbox.controls.hetzner.nextEventAtMs() !== undefined) {
    await Bun.sleep(5)
    place.sandbox.controls.hetzner.settle()
  }
}

test('a group that shrinks takes the addresses of its last server along, and names them first', async () => {
  const place = await rebuilt(3)
  place.writeConfig(group(2))
  const planned = await place.run('provision plan --json')
  expect(planned.code).toBe(2)
  expect(planned.stdout).toMatch(/203\.0\.113\.\d+ and 2001:db8:\S+, put aside for it, goes? with it/)
  await ran(place, `provision apply ${NAMED}`)
  expect(freeIn(place)).toEqual(['stranger'])
  expect(cloud(place).ips).toHaveLength(5)
  await isQuiet(place)
})

test('a server that was deleted by hand gets its addresses again, and one that is not wanted leaves none', async () => {
  const place = await rebuilt(3)
  const before = ipsOf(place, 'web')
  await takeAway(place, 'web')
  await takeAway(place, 'web-3')
  expect(freeIn(place)).toHaveLength(5)
  place.writeConfig(group(2))
  const planned = await place.run('provision plan --json')
  expect(planned.stdout).toContain('which was kept for web-3')
  expect(planned.stdout).toContain('put aside for it')
  const unnamed = await place.run('provision apply --yes --json')
  expect([unnamed.code, mutationsIn(unnamed.requests)]).toEqual([3, []])
  await ran(place, `provision apply ${NAMED}`)
  expect(ipsOf(place, 'web')).toEqual(before)
  expect(freeIn(place)).toEqual(['stranger'])
  await isQuiet(place)
})

test.each([
  ['that drops them', 'nbg1', '--drop addresses'],
  ['in another place', 'fsn1', ''],
])('a rebuild %s deletes those that an earlier one kept', async (_, location, flags) => {
  const place = await rebuilt(2)
  const before = ipsOf(place, 'web')
  place.writeConfig(group(2, location))
  await ran(place, `provision rebuild ${NAMED} ${flags}`.trim())
  expect(freeIn(place)).toEqual(['stranger'])
  expect(cloud(place).ips.some(ip => before.includes(ip.id))).toBe(false)
  expect(cloud(place).servers.map(each => each.location)).toEqual([location, location])
  await isQuiet(place)
})

test('destroy tells a free address with its price, and leaves none', async () => {
  const place = await rebuilt(2)
  await takeAway(place, 'web-2')
  const planned = await place.run('destroy --plan --json')
  expect(planned.stdout).toMatch(/203\.0\.113\.\d+, 0\.\d\d EUR a month net/)
  await ran(place, `destroy ${NAMED}`)
  expect(cloud(place).ips.map(ip => ip.name)).toEqual(['stranger'])
  expect(mutationsIn((await ran(place, `destroy ${NAMED}`)).requests)).toEqual([])
})

test('destroy finds an address that is all that is left of an estate; a first run does not look for any', async () => {
  const place = await rebuilt(2)
  const [first] = place.history
  expect(first?.requests.filter(({ path }) => path === '/primary_ips')).toEqual([])
  for (const name of ['web', 'web-2']) await takeAway(place, name)
  await takeAway(place, 'acme-base', 'firewalls')
  expect(freeIn(place)).toHaveLength(5)
  await ran(place, `destroy ${NAMED}`)
  expect(freeIn(place)).toEqual(['stranger'])
})

test('a rebuild that keeps no address goes on where it failed between the old servers and the new ones', async () => {
  const dns = { domain: 'example.com', admin_subdomain: 'admin' }
  const hetzner = { ...ONE_SERVER.hetzner, image: 'debian-12' }
  const place = await openPlace({ ...ONE_SERVER, hetzner, dns })
  const named = '--yes --json --confirm solo'
  await ran(place, `setup ${named}`)
  const limit = { error: { code: 'resource_limit_exceeded', message: 'server limit exceeded' } }
  place.sandbox.settings.faults = [
    { vendor: 'hetzner', method: 'POST', path: '^/servers$', effect: { kind: 'status', status: 403, json: limit } },
  ]
  expect((await place.run(`provision rebuild ${named} --drop addresses`, { timeoutMs: 60_000 })).code).not.toBe(0)
  expect(cloud(place)).toMatchObject({ servers: [], ips: [] })
  place.sandbox.settings.faults = []
  // Elsewhere nothing tells that the servers were taken away on purpose.
  const elsewhere = mkdtempSync(join(tmpdir(), 'landfall-elsewhere-'))
  cpSync(join(place.cwd, 'config.json'), join(elsewhere, 'config.json'))
  const refused = await place.run(`provision rebuild ${named} --drop addresses`, { cwd: elsewhere })
  rmSync(elsewhere, { recursive: true })
  expect([refused.code, mutationsIn(refused.requests)]).toEqual([3, []])
  expect(refused.output).toContain('it seems to be the token of another project')
  await ran(place, `provision rebuild ${named} --drop addresses`)
  expect(
    cloud(place)
      .servers.map(each => each.name)
      .toSorted(),
  ).toEqual(['prod-dokploy'])
  expect(mutationsIn((await ran(place, `setup ${named}`)).requests)).toEqual([])
})
