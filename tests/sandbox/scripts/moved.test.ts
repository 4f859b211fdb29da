/** The world changes between the plan and the lock: `--yes` carries out the new plan, unless that destroys what the old one did not. */

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { callAs, closePlaces, lockIn, mutationsIn, ONE_SERVER, openPlace, type Place } from './run.ts'

afterAll(closePlaces)
setDefaultTimeout(60_000)

/** A place that is set up, and calls `atLock` once when the next run asks for the lock, which takes longer than a look stays fresh. */
async function placeWith(atLock: (place: Place) => Promise<void>) {
  let armed = false
  const place: Place = await openPlace(ONE_SERVER, {
    hooks: {
      async beforeEffect({ method, path }) {
        if (!armed || method !== 'POST' || path !== '/firewalls') return
        armed = false
        await atLock(place)
        await Bun.sleep(1_100)
      },
    },
  })
  expect((await place.run('setup --yes')).code).toBe(0)
  return {
    place,
    arm: () => {
      armed = true
    },
  }
}

const serverId = ({ sandbox }: Place): number => sandbox.controls.hetzner.dump().servers[0]?.id ?? 0

test('a server that is gone meanwhile is made again', async () => {
  const { place, arm } = await placeWith(async at => {
    await callAs(at.sandbox, 'hetzner', 'DELETE', `/servers/${serverId(at)}`)
  })
  const [wall] = place.sandbox.controls.hetzner.dump().firewalls
  await callAs(place.sandbox, 'hetzner', 'POST', `/firewalls/${wall?.id}/actions/set_rules`, { rules: [] })
  const before = serverId(place)
  arm()
  const run = await place.run('provision apply --yes')
  expect([run.code, run.output.replaceAll(/\s+/g, ' ')]).toEqual([
    0,
    expect.stringContaining('The world has changed since the plan was made. The new plan is carried out:'),
  ])
  const { servers } = place.sandbox.controls.hetzner.dump()
  expect(servers.map(({ name, status }) => [name, status])).toEqual([['prod-dokploy', 'running']])
  expect(servers[0]?.id).not.toBe(before)
  expect(mutationsIn((await place.run('provision apply --yes')).requests)).toEqual([])
})

test('what appears meanwhile is not destroyed along with what was agreed to', async () => {
  const { place, arm } = await placeWith(async ({ sandbox }) => {
    const labels = { 'landfall/estate': 'solo', 'landfall/role': 'late' }
    await callAs(sandbox, 'hetzner', 'POST', '/networks', { name: 'late', ip_range: '10.9.0.0/16', labels })
  })
  arm()
  const run = await place.run('destroy --yes --confirm solo')
  expect([run.code, run.stderr.replaceAll(/\s+/g, ' ')]).toEqual([
    3,
    expect.stringContaining('Nothing was changed: the world is no longer as it was when the plan was shown.'),
  ])
  const { servers, networks } = place.sandbox.controls.hetzner.dump()
  expect([servers.length, networks.map(({ name }) => name), lockIn(place.sandbox)]).toEqual([1, ['late'], undefined])
})
