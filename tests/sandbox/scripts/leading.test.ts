/** A server too many goes only when no name leads to it: its address is somebody else's next. */

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { renderRecordMark } from '../../../lib/estate/naming.ts'
import { closePlaces, mutationsIn, openPlace, type Place } from './run.ts'

afterAll(closePlaces)
setDefaultTimeout(60_000)

const APPLY = 'provision apply --yes --json --confirm acme'
const group = (count: number) => ({
  project: 'acme',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  dns: { domain: 'example.com' },
  servers: { web: { type: 'cx23', count } },
})

const serversOf = (place: Place): readonly string[] =>
  place.sandbox.controls.hetzner
    .dump()
    .servers.map(each => each.name)
    .toSorted()
const namesOf = (place: Place): readonly string[] =>
  place.sandbox.controls.cloudflare.records('example.com').map(each => each.name)
const lead = (place: Place, name: string, content: string, comment: string): void =>
  place.sandbox.controls.cloudflare.addRecord('example.com', { name, type: 'A', content, ttl: 300, comment })

/** Two servers wanted, and a third one that is there. */
const shrunk = async (): Promise<{ readonly place: Place; readonly address: string }> => {
  const place = await openPlace(group(3))
  expect((await place.run(APPLY)).code).toBe(0)
  const { servers, ips } = place.sandbox.controls.hetzner.dump()
  const id = servers.find(each => each.name === 'web-3')?.ipv4
  const address = ips.find(each => each.id === id)?.ip ?? ''
  expect(address).toMatch(/^203\.0\.113\.\d+$/)
  place.writeConfig(group(2))
  return { place, address }
}

test('a record of somebody else that leads there keeps it', async () => {
  const { place, address } = await shrunk()
  lead(place, 'shop.example.com', address, '')
  const refused = await place.run(APPLY)
  expect([refused.code, mutationsIn(refused.requests), serversOf(place)]).toEqual([3, [], ['web-1', 'web-2', 'web-3']])
  expect(refused.output).toContain(`shop.example.com (A ${address}) would be left pointing at an address`)
})

test('a record of ours that nobody wants goes before it, and is named in the plan', async () => {
  const { place, address } = await shrunk()
  lead(place, 'old.example.com', address, renderRecordMark({ estate: 'acme', server: 'web-3', serverId: '1' }))
  lead(place, 'www.example.com', '198.51.100.9', '')
  expect((await place.run('provision plan --json')).stdout).toContain(`- old.example.com A ${address}`)
  const ended = await place.run(APPLY)
  expect([ended.code, serversOf(place), namesOf(place)]).toEqual([0, ['web-1', 'web-2'], ['www.example.com']])
  const order = mutationsIn(ended.requests).filter(each => /dns_records|DELETE \/servers/.test(each))
  expect(order.map(each => (each.includes('dns_records') ? 'name' : 'server'))).toEqual(['name', 'server'])
  expect(mutationsIn((await place.run(APPLY)).requests)).toEqual([])
})

test('without a token for the names nothing goes', async () => {
  const { place } = await shrunk()
  const refused = await place.run(APPLY, { env: { CLOUDFLARE_API_TOKEN: undefined } })
  expect([refused.code, mutationsIn(refused.requests), serversOf(place)]).toEqual([3, [], ['web-1', 'web-2', 'web-3']])
  expect(refused.output).toContain('CLOUDFLARE_API_TOKEN is not set, so nobody can tell whether a name still leads to web-3.')
})
