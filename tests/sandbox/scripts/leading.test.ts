/** Nothing that a name leads to is given up: its address is somebody else's next. */

import { afterAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { renderRecordMark } from '../../../lib/estate/naming.ts'
import { callAs, closePlaces, type Ended, mutationsIn, openPlace, type Place, ROOT } from './run.ts'

afterAll(closePlaces)
setDefaultTimeout(120_000)

const NAMED = '--yes --json --confirm acme'
const APPLY = `provision apply ${NAMED}`
const LONG = { timeoutMs: 90_000 }
const OTHER_ZONE_TOKEN = 'a-token-for-another-zone-000000000000000'

const base = { project: 'acme', hetzner: { location: 'nbg1', image: 'debian-12' }, dns: { domain: 'example.com' } }
const group = (count: number) => ({ ...base, servers: { web: { type: 'cx23', count } } })
const panel = (name: string) => ({
  ...base,
  dns: { ...base.dns, admin_subdomain: 'panel' },
  dokploy: { admin_email: 'admin@example.com' },
  servers: { [name]: { type: 'cx33', dokploy: true, role: 'prod' } },
  apps: {
    shop: { server: name, source: { image: 'ghcr.io/example/shop' }, port: 3000, domains: [{ host: 'shop.example.com' }] },
  },
})

const cloud = (place: Place) => place.sandbox.controls.hetzner.dump()
const serversOf = (place: Place): readonly string[] =>
  cloud(place)
    .servers.map(each => each.name)
    .toSorted()
const recordsOf = (place: Place): readonly string[] =>
  place.sandbox.controls.cloudflare
    .records('example.com')
    .map(each => `${each.name} ${each.content}`)
    .toSorted()
const addressOf = (place: Place, name: string): string => {
  const { servers, ips } = cloud(place)
  const id = servers.find(each => each.name === name)?.ipv4
  return ips.find(each => each.id === id)?.ip ?? 'none'
}
const lead = (place: Place, name: string, content: string, comment = ''): void =>
  place.sandbox.controls.cloudflare.addRecord('example.com', { name, type: 'A', content, ttl: 300, comment })
const ours = (server: string) => renderRecordMark({ estate: 'acme', server, serverId: '1' })
const blindTo = (place: Place) => {
  place.sandbox.controls.cloudflare.addZone({ name: 'example.org' })
  place.sandbox.controls.cloudflare.addToken({ value: OTHER_ZONE_TOKEN, rights: { 'example.org': 'edit' } })
  return { env: { CLOUDFLARE_API_TOKEN: OTHER_ZONE_TOKEN } }
}

const ran = async (place: Place, command: string): Promise<Ended> => {
  const ended = await place.run(command, LONG)
  expect([command, ended.code, ended.errors()]).toEqual([command, 0, []])
  return ended
}
const isQuiet = async (place: Place, command: string): Promise<void> =>
  expect(mutationsIn((await ran(place, command)).requests)).toEqual([])
const isRefused = (ended: Ended, says: string): void => {
  expect([ended.code, mutationsIn(ended.requests)]).toEqual([3, []])
  expect(ended.output).toContain(says)
}

describe('a group that becomes smaller', () => {
  /** Two servers wanted, and a third one that is there. */
  const shrunk = async (): Promise<{ readonly place: Place; readonly address: string }> => {
    const place = await openPlace(group(3))
    await ran(place, APPLY)
    const address = addressOf(place, 'web-3')
    place.writeConfig(group(2))
    return { place, address }
  }

  test('keeps a server that a record of somebody else leads to', async () => {
    const { place, address } = await shrunk()
    lead(place, 'shop.example.com', address)
    isRefused(await place.run(APPLY), `shop.example.com (A ${address}) would be left pointing at an address`)
    expect(serversOf(place)).toEqual(['web', 'web-2', 'web-3'])
  })

  test('takes a record of ours that nobody wants along, and names it in the plan', async () => {
    const { place, address } = await shrunk()
    lead(place, 'old.example.com', address, ours('web-3'))
    lead(place, 'www.example.com', '198.51.100.9')
    expect((await place.run('provision plan --json')).stdout).toContain(`- old.example.com A ${address}`)
    const ended = await ran(place, APPLY)
    expect([serversOf(place), recordsOf(place)]).toEqual([['web', 'web-2'], ['www.example.com 198.51.100.9']])
    const order = mutationsIn(ended.requests).filter(each => /dns_records|DELETE \/servers/.test(each))
    expect(order.map(each => (each.includes('dns_records') ? 'name' : 'server'))).toEqual(['name', 'server'])
    await isQuiet(place, APPLY)
  })

  test('deletes nothing without a token for the names, nor with one for another zone', async () => {
    const { place } = await shrunk()
    const without = await place.run(APPLY, { env: { CLOUDFLARE_API_TOKEN: undefined } })
    isRefused(without, 'CLOUDFLARE_API_TOKEN is not set, so nobody can tell whether a name still leads to web-3.')
    isRefused(await place.run(APPLY, blindTo(place)), 'The Cloudflare token sees no zone for example.com.')
    expect(serversOf(place)).toEqual(['web', 'web-2', 'web-3'])
  })

  test('whose server was deleted by hand keeps its address while somebody’s name leads there', async () => {
    const place = await openPlace(group(2))
    await ran(place, APPLY)
    await ran(place, `provision rebuild ${NAMED}`)
    const address = addressOf(place, 'web-2')
    lead(place, 'shop.example.com', address)
    await callAs(place.sandbox, 'hetzner', 'DELETE', `/servers/${cloud(place).servers.find(each => each.name === 'web-2')?.id}`)
    while (place.sandbox.controls.hetzner.nextEventAtMs() !== undefined) {
      await Bun.sleep(5)
      place.sandbox.controls.hetzner.settle()
    }
    place.writeConfig({ ...base, servers: { web: { type: 'cx23', count: 1 } } })
    isRefused(await place.run(APPLY), `shop.example.com (A ${address}) would be left pointing at an address`)
    expect(cloud(place).ips.map(each => each.ip)).toContain(address)
  })
})

test('a panel’s server with another name: made, its names moved, and only then is the old one deleted', async () => {
  const place = await openPlace(panel('prod-1'))
  await ran(place, 'setup --yes --json')
  await ran(place, 'app apply --yes --json')
  place.writeConfig(panel('prod-2'))
  const made = await ran(place, `setup ${NAMED}`)
  expect(serversOf(place)).toEqual(['prod-1', 'prod-2'])
  expect(made.output).toContain('prod-1, which config.json no longer wants, because shop.example.com leads to it')
  expect(made.output).toContain('bun scripts/app.ts apply')
  await isQuiet(place, `setup ${NAMED}`)
  await ran(place, 'app apply --yes --json')
  await ran(place, `setup ${NAMED}`)
  expect(serversOf(place)).toEqual(['prod-2'])
  const address = addressOf(place, 'prod-2')
  expect(recordsOf(place).filter(each => !each.includes(':'))).toEqual([
    `panel.example.com ${address}`,
    `shop.example.com ${address}`,
  ])
  await isQuiet(place, `setup ${NAMED}`)
})

describe('a rebuild that gives addresses up', () => {
  test('leads every name of ours to the new server, also those of applications', async () => {
    const place = await openPlace(panel('prod'))
    await ran(place, 'setup --yes --json')
    await ran(place, 'app apply --yes --json')
    const old = addressOf(place, 'prod')
    const rebuild = `provision rebuild ${NAMED} --drop addresses --drop certificates`
    expect((await place.run(`${rebuild} --plan`, LONG)).stdout).toContain('lead shop.example.com to the new prod')
    await ran(place, rebuild)
    const address = addressOf(place, 'prod')
    expect(address).not.toBe(old)
    expect(recordsOf(place).filter(each => !each.includes(':'))).toEqual([
      `panel.example.com ${address}`,
      `shop.example.com ${address}`,
    ])
    await isQuiet(place, 'dns apply --yes --json')
  })

  test('is refused while somebody else’s name leads there; at DigitalOcean every rebuild is one', async () => {
    const place = await openPlace(group(2))
    await ran(place, APPLY)
    const address = addressOf(place, 'web')
    lead(place, 'shop.example.com', address)
    isRefused(await place.run(`provision rebuild ${NAMED} --drop addresses`), `shop.example.com (A ${address}) would be left`)

    const droplets = await openPlace({
      project: 'acme',
      dns: { domain: 'example.com' },
      digitalocean: { region: 'fra1', size: 's-1vcpu-2gb' },
      servers: { backend: { count: 1 } },
    })
    await ran(droplets, APPLY)
    lead(droplets, 'shop.example.com', '198.19.128.1')
    isRefused(await droplets.run(`provision rebuild ${NAMED}`), 'shop.example.com (A 198.19.128.1) would be left')
  })
})

test('destroy with a token that does not see the zone needs a word for that', async () => {
  const place = await openPlace(group(1))
  await ran(place, APPLY)
  const blind = blindTo(place)
  const refused = await place.run(`destroy ${NAMED}`, blind)
  isRefused(refused, '--confirm no-zone')
  expect((await place.run('destroy --plan --json', blind)).stdout).toContain(
    'the Cloudflare token sees no zone example.com: a name in it may be left pointing there',
  )
  expect((await place.run(`destroy ${NAMED} --confirm no-zone`, blind)).code).toBe(0)
  expect(cloud(place)).toMatchObject({ servers: [], ips: [] })
})

test('a rebuild that was refused by the vendor long ago opens nothing to another project’s token', async () => {
  const place = await openPlace(panel('prod'))
  await ran(place, 'setup --yes --json')
  const token = 'a-token-of-another-project-000000000000000000000000000000000000'
  place.sandbox.controls.hetzner.addToken(token, { project: 'other', access: 'read_write' })
  const foreign = { ...LONG, env: { HCLOUD_TOKEN: token } }
  isRefused(await place.run('setup --yes --json', foreign), 'it seems to be the token of another project')
  const [server] = cloud(place).servers
  await callAs(place.sandbox, 'hetzner', 'POST', `/servers/${server?.id}/actions/change_protection`, {
    delete: true,
    rebuild: true,
  })
  await Bun.sleep(200)
  expect((await place.run(`provision rebuild ${NAMED} --drop certificates`, LONG)).code).not.toBe(0)
  await ran(place, 'setup --yes --json')
  isRefused(await place.run('setup --yes --json', foreign), 'it seems to be the token of another project')
})

test('an estate whose cluster’s names lead to a load balancer is planned and looked at', async () => {
  const config = JSON.parse(readFileSync(join(ROOT, 'examples/nomad-previews.json'), 'utf8'))
  const place = await openPlace(config)
  const plan = await place.run('setup --plan --json')
  expect([plan.code, plan.errors()]).toEqual([2, []])
  expect((await place.run('provision rebuild --plan --json')).errors()).toEqual([])
  expect((await place.run('status --json')).errors()).toEqual([])
})
