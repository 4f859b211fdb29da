/** Firewalls and networks of servers that stand already: what config.json takes away comes off, what a hand took off comes back. */

import { afterAll, describe, expect, test } from 'bun:test'
import { callAs, closePlaces, FAST, mutationsIn, openPlace, type Place } from './run.ts'
import { exposedInstants } from './watch.ts'

afterAll(closePlaces)

const port = (number: number) => ({ port: number, from: ['anywhere'] })
const FIREWALLS = { web: [port(22), port(443)], legacy: [port(8080)] }

const estate = (firewalls: Partial<typeof FIREWALLS>, more: Record<string, unknown> = {}) => ({
  project: 'solo',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  firewalls,
  servers: { app: { type: 'cx23', ...(Object.keys(firewalls).length > 0 ? { firewalls: Object.keys(firewalls) } : {}) } },
  ...more,
})

const hetzner = (place: Place) => place.sandbox.controls.hetzner
const theServer = (place: Place) => {
  const server = hetzner(place)
    .dump()
    .servers.find(each => each.name === 'app')
  if (!server) throw new Error('there is no server app')
  return server
}
const openPorts = (place: Place) =>
  hetzner(place)
    .exposure(theServer(place).id)
    .map(each => each.ports?.first)
const firewallsIn = (place: Place) =>
  hetzner(place)
    .dump()
    .firewalls.map(each => each.name)
    .sort()

const succeed = async (place: Place, command: string) => {
  const ended = await place.run(command)
  expect({ command, code: ended.code, errors: ended.errors() }).toEqual({ command, code: 0, errors: [] })
  return ended
}
const settled = async (place: Place, command: string) => expect(mutationsIn((await succeed(place, command)).requests)).toEqual([])

const summariesOf = (ended: Awaited<ReturnType<Place['run']>>): readonly string[] => {
  const [plan] = ended.lines()
  if (plan?.type !== 'plan' || !Array.isArray(plan.entries)) throw new Error(`no plan: ${ended.output}`)
  return (plan.entries as { changes: { summary: string }[] }[]).flatMap(each => each.changes.map(change => change.summary))
}

describe('a firewall that config.json no longer names', () => {
  test('is planned, told by doctor, taken off and deleted, and its port is shut', async () => {
    const place = await openPlace(estate(FIREWALLS))
    await succeed(place, 'provision --yes --json')
    expect(openPorts(place)).toEqual([22, 443, 8080])

    place.writeConfig(estate({ web: FIREWALLS.web }))
    const plan = await place.run('provision plan --json')
    expect([plan.code, mutationsIn(plan.requests)]).toEqual([2, []])
    const wanted = ['take firewall legacy off app', 'delete firewall legacy, which config.json no longer names']
    expect(summariesOf(plan)).toEqual(wanted)
    const doctor = await place.run('doctor')
    expect(doctor.code).toBe(1)
    expect(doctor.stdout.replace(/\s+/g, ' ')).toContain('app has firewall legacy, which config.json does not give it')

    expect((await succeed(place, 'provision --yes --json')).summary().applied).toBe(2)
    expect(openPorts(place)).toEqual([22, 443])
    expect(firewallsIn(place)).toEqual(['web'])
    await settled(place, 'provision --yes --json')
    await settled(place, 'firewall --yes --json')
    expect((await place.run('doctor')).stdout).toContain('✓ exposure: only what the estate allows')
  }, 60_000)

  test('gives way to the stricter one that takes its place, and the server is never without', async () => {
    const place = await openPlace(estate({}))
    await succeed(place, 'provision --yes --json')
    expect(firewallsIn(place)).toEqual(['solo-base'])
    const { id } = theServer(place)
    place.writeConfig(estate({ web: FIREWALLS.web }))
    const ended = await succeed(place, 'firewall --yes --json')
    const writes = mutationsIn(ended.requests).filter(each => each.includes('_resources') || each.includes(' DELETE /firewalls/'))
    expect(writes.map(each => each.replace(/\d+(?=[/ ])/g, '').replace(/ →.*/, ''))).toEqual([
      'hetzner POST /firewalls//actions/apply_to_resources',
      'hetzner POST /firewalls//actions/remove_from_resources',
      'hetzner DELETE /firewalls/',
      // The lock.
      'hetzner DELETE /firewalls/',
    ])
    expect(exposedInstants(place.sandbox, ['app'])).toEqual([])
    expect([theServer(place).id, firewallsIn(place), openPorts(place)]).toEqual([id, ['web'], [22, 443]])
    await settled(place, 'provision --yes --json')
  }, 60_000)

  test('leaves droplets too', async () => {
    const config = (firewalls: Partial<typeof FIREWALLS>) => ({
      project: 'solo',
      digitalocean: { region: 'fra1', size: 's-1vcpu-2gb' },
      firewalls,
      servers: { app: { firewalls: Object.keys(firewalls) } },
    })
    const place = await openPlace(config(FIREWALLS), { settings: { ...FAST, rateLimits: false } })
    await succeed(place, 'provision --yes --json')
    place.writeConfig(config({ web: FIREWALLS.web }))
    expect((await succeed(place, 'provision --yes --json')).summary().applied).toBe(2)
    const { droplets, firewalls, tags } = place.sandbox.controls.digitalocean.dump()
    expect(firewalls.map(each => each.name)).toEqual(['web'])
    expect(droplets.flatMap(each => each.tags).filter(tag => tag.startsWith('landfall-guard:'))).toEqual(['landfall-guard:web'])
    expect(tags).not.toContain('landfall-guard:legacy')
    const again = await succeed(place, 'provision --yes --json')
    expect(again.requests.filter(each => each.method !== 'GET')).toEqual([])
  }, 60_000)
})

test('a firewall that was taken off by hand comes back by the command that doctor names', async () => {
  const place = await openPlace(estate(FIREWALLS))
  await succeed(place, 'provision --yes --json')
  for (const { id } of hetzner(place).dump().firewalls) {
    await callAs(place.sandbox, 'hetzner', 'POST', `/firewalls/${id}/actions/remove_from_resources`, {
      remove_from: [{ type: 'server', server: { id: theServer(place).id } }],
    })
    await Bun.sleep(50)
  }
  expect(openPorts(place)).toContain(1)
  const doctor = await place.run('doctor')
  expect(doctor.code).toBe(1)
  expect(doctor.stdout).toContain('app has no cloud firewall')
  expect(doctor.stdout).toContain('→ bun scripts/firewall.ts')

  expect((await succeed(place, 'firewall --yes --json')).summary().applied).toBe(2)
  expect(openPorts(place)).toEqual([22, 443, 8080])
  await settled(place, 'firewall --yes --json')
}, 60_000)

describe('a network that config.json has got', () => {
  test('gets the servers that stand already', async () => {
    const place = await openPlace(estate(FIREWALLS))
    await succeed(place, 'provision --yes --json')
    expect(theServer(place).privateNets).toEqual([])
    place.writeConfig(estate(FIREWALLS, { network: {} }))
    const plan = await place.run('provision plan --json')
    expect([plan.code, summariesOf(plan).filter(each => each.includes('app'))]).toEqual([2, ['put app into network solo']])
    await succeed(place, 'provision --yes --json')
    const [network] = hetzner(place).dump().networks
    expect(theServer(place).privateNets.map(each => each.network)).toEqual([network?.id ?? 0])
    await settled(place, 'provision --yes --json')
  }, 60_000)

  test('is told for a droplet, which only a new one can be in', async () => {
    const config = (more: Record<string, unknown>) => ({
      project: 'solo',
      digitalocean: { region: 'fra1', size: 's-1vcpu-2gb' },
      firewalls: { web: FIREWALLS.web },
      servers: { app: {} },
      ...more,
    })
    const place = await openPlace(config({}), { settings: { ...FAST, rateLimits: false } })
    await succeed(place, 'provision --yes --json')
    place.writeConfig(config({ network: { range: '172.16.0.0/20', subnet: '172.16.0.0/20' } }))
    await succeed(place, 'provision --yes --json')
    const plan = await place.run('provision plan')
    expect(plan.stdout.replace(/\s+/g, ' ')).toContain(
      'app: config.json wants it in network solo bun scripts/provision.ts rebuild',
    )
  }, 60_000)
})
