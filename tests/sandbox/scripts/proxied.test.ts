/** Panels behind Cloudflare's proxy: their names answer with the proxy's addresses, never with the server's. */

import { afterAll, expect, test } from 'bun:test'
import { closePlaces, mutationsIn, openPlace, TWO_SERVERS } from './run.ts'

afterAll(closePlaces)

const HOSTS = ['admin.example.com', 'dev.admin.example.com']

test('panels behind the proxy come up under their names, and a second setup has nothing to do', async () => {
  const place = await openPlace({ ...TWO_SERVERS, dns: { ...TWO_SERVERS.dns, proxied: true } })
  const setup = await place.run('setup --yes --json', { timeoutMs: 60_000 })
  expect(`${setup.code} ${setup.code === 0 ? '' : setup.output}`).toBe('0 ')
  expect(Object.values(setup.summary().outputs)).toEqual(expect.arrayContaining(HOSTS.map(host => `https://${host}`)))
  const records = place.sandbox.controls.cloudflare.records('example.com').filter(({ name }) => HOSTS.includes(name))
  expect(new Set(records.map(({ name, proxied }) => `${name} ${proxied}`))).toEqual(new Set(HOSTS.map(host => `${host} true`)))
  const again = await place.run('setup --yes --json')
  expect([again.code, ...mutationsIn(again.requests)]).toEqual([0])
}, 120_000)
