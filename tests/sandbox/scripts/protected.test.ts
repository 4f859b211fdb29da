/** A protected server is named before it goes, whoever takes it away. */

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { closePlaces, mutationsIn, openPlace } from './run.ts'

afterAll(closePlaces)
setDefaultTimeout(60_000)

const group = (count: number) => ({
  project: 'acme',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  servers: { db: { type: 'cx23', count, protected: true } },
})

test('a protected group that is made smaller loses a server only by its own name', async () => {
  const place = await openPlace(group(3))
  const names = (): readonly string[] =>
    place.sandbox.controls.hetzner
      .dump()
      .servers.map(each => each.name)
      .toSorted()
  expect((await place.run('provision apply --yes --json')).code).toBe(0)
  place.writeConfig(group(2))
  const refused = await place.run('provision apply --yes --json --confirm acme')
  expect([refused.code, mutationsIn(refused.requests), names()]).toEqual([3, [], ['db', 'db-2', 'db-3']])
  expect(refused.output).toContain('--confirm db-3')
  const named = await place.run('provision apply --yes --json --confirm acme --confirm db-3')
  expect([named.code, names()]).toEqual([0, ['db', 'db-2']])
})
