/** A config.json as people have it, byte for byte, and the estate that setup makes of it. */

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { closePlaces, type Ended, mutationsIn, ONE_SERVER, openPlace, type Place } from './run.ts'

const TEXT = `{
  "hetzner": {
    "location": "nbg1",
    "server_types": {
      "dev": "cx23",
      "prod": "cx33",
      "packer_build": "cx23"
    }
  },
  "cloudflare": {
    "api_base_url": "https://api.cloudflare.com/client/v4"
  },
  "dns": {
    "domain": "nextnode.fr",
    "admin_subdomain": "admin",
    "dev_admin_subdomain": "dev.admin"
  }
}
`

let place: Place
let plan: Ended
let nameless: Place
beforeAll(async () => {
  place = await openPlace(TEXT, { seed: { zones: ['nextnode.fr'], goldenImage: true } })
  plan = await place.run('setup --plan --json')
  nameless = await openPlace(ONE_SERVER)
}, 60_000)
afterAll(closePlaces)

interface Entry {
  readonly title: string
  readonly state: string
  readonly detail?: string
  readonly changes: readonly { readonly summary: string; readonly details?: readonly string[] }[]
}

const entriesOf = (ended: Ended): readonly Entry[] => {
  const [line] = ended.lines()
  if (line?.type !== 'plan' || !Array.isArray(line.entries)) throw new Error(`no plan: ${ended.output}`)
  return line.entries
}
const summaries = (ended: Ended): readonly string[] =>
  entriesOf(ended).flatMap(entry => entry.changes.map(change => change.summary))

test('it is read unchanged, and left unchanged', () => {
  expect([plan.code, plan.stderr]).toEqual([2, ''])
  expect(plan.lines()[0]).toMatchObject({ subject: 'estate nextnode (config.json)' })
  expect(readFileSync(join(place.cwd, 'config.json'), 'utf8')).toBe(TEXT)
})

test('it gives two Dokploy servers of its types, in its place, from the golden image', () => {
  expect(summaries(plan)).toEqual(
    expect.arrayContaining(['create server dev-dokploy (cx23, nbg1)', 'create server prod-dokploy (cx33, nbg1)']),
  )
  expect(summaries(plan).filter(summary => summary.startsWith('create server'))).toHaveLength(2)
  const images = entriesOf(plan)
    .flatMap(entry => entry.changes.flatMap(change => change.details ?? []))
    .filter(line => line.startsWith('image '))
  expect(images).toHaveLength(2)
  for (const line of images) expect(line).toStartWith('image landfall golden image')
  expect(entriesOf(plan)).toContainEqual(expect.objectContaining({ title: 'golden image is ready', state: 'done' }))
})

test('it gives their panels the names of its dns part', () => {
  expect(summaries(plan)).toEqual(
    expect.arrayContaining([
      'point admin.nextnode.fr at prod-dokploy',
      'point dev.admin.nextnode.fr at dev-dokploy',
      'serve the panel of prod-dokploy at https://admin.nextnode.fr',
      'serve the panel of dev-dokploy at https://dev.admin.nextnode.fr',
    ]),
  )
})

const openings = (run: Ended, name: string) =>
  entriesOf(run)
    .flatMap(entry => entry.changes)
    .find(change => change.summary === `create firewall ${name}`)
    ?.details?.join('; ')
    .match(/\d+\/\w+|icmp|anywhere|[\d.]+\/32|[\da-f:]+\/128/g)
    ?.filter(word => word !== 'anywhere')

test('it opens 22, 80 and 443 to everybody, and the panel’s port to no one, because the panels have names', () => {
  expect(openings(plan, 'nextnode-dokploy')).toEqual(['22/tcp', '80/tcp', '443/tcp', '443/udp', 'icmp'])
  expect(summaries(plan).filter(summary => summary.includes('nextnode-admin'))).toEqual([])
})

test('without names the panel’s port is opened to the administrator alone', async () => {
  const run = await nameless.run('setup --plan --json')
  expect(openings(run, 'solo-admin')).toEqual(['3000/tcp', '198.51.100.7/32', '2001:db8:ffff::7/128'])
  expect(run.lines()[0]?.reachable).toEqual([
    'prod-dokploy: 22/tcp, 80/tcp, 443/tcp, 443/udp, icmp from anywhere, 3000/tcp from 198.51.100.7/32 and 2001:db8:ffff::7/128',
  ])
})

test('in CI, whose address is nobody’s, the panel’s port is opened to no one', async () => {
  const run = await nameless.run('setup --plan --json', { env: { CI: 'true' } })
  expect(run.code).toBe(2)
  expect(summaries(run).filter(summary => summary.includes('solo-admin'))).toEqual([])
  expect(summaries(run)).toContain('create server prod-dokploy (cx33, nbg1)')
  expect(run.lines()[0]?.reachable).toEqual(['prod-dokploy: 22/tcp, 80/tcp, 443/tcp, 443/udp, icmp from anywhere'])
})

test('a type that the vendor does not know is no figure of the bill', async () => {
  nameless.writeConfig({ ...ONE_SERVER, hetzner: { location: 'nbg1', server_types: { prod: 'cx99' } } }, 'typo.json')
  const { code, stdout } = await nameless.run('cost --config typo.json')
  expect(code).toBe(1)
  expect(stdout).toMatch(/\nprod +1 +unknown +unknown\ntotal +1 +unknown +unknown\n/)
  expect(stdout).toContain('prod-dokploy: There is no server type "cx99"')
})

test('an empty list of admins shuts the panel’s port, also to whoever was let in by hand', async () => {
  const rules = () =>
    nameless.sandbox.controls.hetzner.dump().firewalls.find(firewall => firewall.name === 'solo-admin')?.rules.length
  expect((await nameless.run('setup --yes')).code).toBe(0)
  expect(rules()).toBe(1)
  nameless.writeConfig({ ...ONE_SERVER, firewall: { admin_addresses: [] } })
  expect((await nameless.run('firewall --yes')).code).toBe(0)
  expect(rules()).toBe(0)
  const again = await nameless.run('firewall --yes')
  expect([again.code, mutationsIn(again.requests)]).toEqual([0, []])
  const refused = await nameless.run('firewall allow-me --yes')
  expect([refused.code, mutationsIn(refused.requests)]).toEqual([3, []])
  expect(refused.stderr).toContain('config.json closes the panels to every address')
}, 60_000)
