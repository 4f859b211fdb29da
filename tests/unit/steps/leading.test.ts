/** Names that lead to what is given up: refused, moved first, kept for, or gone with it. */

import { expect, test } from 'bun:test'
import type { Move } from '../../../lib/cutover/move.ts'
import { labelsFor } from '../../../lib/estate/labels.ts'
import { renderRecordMark } from '../../../lib/estate/naming.ts'
import { surplusAddressesStep } from '../../../lib/steps/address.ts'
import { recordsLeadingTo } from '../../../lib/steps/leading.ts'
import { stayingServers, surplusStep } from '../../../lib/steps/surplus.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { KEY, load } from '../estate/configs.ts'
import { address, deps as base, lookAt, record, say, server } from './worlds.ts'

const estate = load(
  {
    project: 'acme',
    hetzner: { location: 'nbg1', image: 'debian-13' },
    dns: { domain: 'example.com', admin_subdomain: 'panel' },
    dokploy: { admin_email: 'admin@example.com' },
    network: {},
    servers: { web: { type: 'cx33', count: 2 }, panel: { type: 'cx33', dokploy: true } },
    apps: { shop: { server: 'panel', source: { image: 'shop:1' }, port: 3000, domains: [{ host: 'shop.example.com' }] } },
    migration: { names: { 'www.example.com': { server: 'web' } } },
    previews: { repository: 'example/web', host: 'web' },
  },
  [],
  [{ name: 'alice', publicKey: KEY }],
)
const HOST = estate.dns?.records[0]?.name ?? 'none'
const DELETES = 'destroy delete server web-3, which config.json no longer wants'
const OURS = renderRecordMark({ estate: 'acme', server: 'web-3', serverId: 'web-3' })
const ours = (name: string, content = '203.0.113.3') => record(name, content, { comment: OURS })
const theirs = (name: string, content = '203.0.113.3') => record(name, content, { comment: '' })
const member = (name: string, last: number) =>
  server(name, {
    id: name,
    type: 'cx33',
    labels: labelsFor('acme', 'web', 'run-0'),
    ipv4: `203.0.113.${last}`,
    ipv6: `2001:db8:${last}::1`,
  })
const servers = [member('web', 1), member('web-2', 2), member('web-3', 3)]
const deps = { ...base, estate }
const look = (slices: Partial<EstateWorld>, movers: readonly string[] = [], given = deps) =>
  lookAt(surplusStep(given, [], movers), { servers, ...slices })

test('one that the plan moves is waited for, and not shown as one that goes', () => {
  const finding = look({ records: [ours(HOST)] }, [HOST])
  expect(say(finding)).toBe(`blocked dns ${HOST} | ${DELETES}`)
  expect(JSON.stringify(finding)).not.toContain(`- ${HOST}`)
})

test.each([
  [HOST, 'bun scripts/dns.ts apply'],
  ['shop.example.com', 'bun scripts/app.ts apply'],
  ['www.example.com', 'bun scripts/dns.ts cutover www.example.com'],
  ['*.preview.example.com', 'bun scripts/preview.ts sweep'],
  ['moved.example.com', 'bun scripts/dns.ts cutover moved.example.com'],
])('%s keeps the server that it leads to until another command has moved it', (name, command) => {
  const moves = { moved: { name: 'moved.example.com', marks: {} } as Move }
  const records = [ours(name)]
  expect(say(look({ records, moves }))).toBe(`done web-3 stays: ${name} leads to it; ${command}`)
  const world = { servers, records, moves, zone: { id: 'z' } } as unknown as EstateWorld
  expect(stayingServers(deps, { get: slice => world[slice] }, [])).toEqual([{ server: 'web-3', names: [name], command }])
})

test('another server that is too many goes all the same', () => {
  const four = [...servers, member('web-4', 4)]
  expect(say(look({ servers: four, records: [ours('www.example.com')] }))).toBe(
    'todo destroy delete server web-4, which config.json no longer wants',
  )
})

test('one of ours that nobody wants goes with it, and the plan names it', () => {
  const finding = look({ records: [ours('old.example.com')] })
  expect(say(finding)).toBe(`todo ${DELETES}`)
  expect(finding.state === 'todo' && finding.changes[0]?.details).toEqual(['- old.example.com A 203.0.113.3'])
})

test('somebody else’s is a refusal, unless the plan may take its name over', () => {
  expect(say(look({ records: [theirs('a.example.com')] }, [HOST]))).toStartWith(
    'refused a.example.com (A 203.0.113.3) would be left',
  )
  expect(say(look({ records: [theirs(HOST)] }, [HOST]))).toStartWith(`refused ${HOST} (A 203.0.113.3) would be left`)
  expect(say(look({ records: [theirs(HOST)] }, [HOST], { ...deps, takeOver: [HOST] }))).toBe(`blocked dns ${HOST} | ${DELETES}`)
})

test('an alias, and a record that leads to a server that stays, keep nothing', () => {
  const records = [ours(HOST, '203.0.113.1'), record('a.example.com', HOST, { type: 'CNAME', comment: '' })]
  expect(say(look({ records }))).toBe(`todo ${DELETES}`)
})

test('at Hetzner the whole IPv6 network goes, at DigitalOcean one address', () => {
  const records = ['2001:DB8:3:0::25', '2001:db8:3:1::1', '2001:db8:3::1'].map(content => theirs('mail.example.com', content))
  const leading = (cloud: 'hetzner' | 'digitalocean') =>
    recordsLeadingTo({ cloud }, ['2001:db8:3::1'], records).map(each => each.content)
  expect(leading('hetzner')).toEqual(['2001:DB8:3:0::25', '2001:db8:3::1'])
  expect(leading('digitalocean')).toEqual(['2001:db8:3::1'])
})

test('who cannot read the names deletes nothing', () => {
  expect(say(look({ zone: undefined }))).toBe('refused The Cloudflare token sees no zone for example.com.')
  expect(say(look({}, [], { ...deps, readsNames: false }))).toBe(
    'refused CLOUDFLARE_API_TOKEN is not set, so nobody can tell whether a name still leads to web-3.',
  )
})

test('an estate without names asks nobody about them', () => {
  const { dns: _, ...nameless } = estate
  const step = surplusStep({ ...base, estate: nameless, readsNames: false })
  expect(step.reads).not.toContain('records')
  expect(say(lookAt(step, { servers }))).toBe(`todo ${DELETES}`)
})

test('an address that was kept is judged like a server’s', () => {
  const { serverId: _, ...free } = address('3', 'web-3')
  const judged = (records: ReturnType<typeof record>[]) =>
    say(lookAt(surplusAddressesStep(deps, []), { servers: servers.slice(0, 2), primaryIps: [free], records }))
  expect(judged([])).toBe(`todo destroy delete the address ${free.ip}, which was kept for web-3`)
  expect(judged([theirs('a.example.com', free.ip)])).toStartWith(`refused a.example.com (A ${free.ip}) would be left`)
  expect(judged([ours('www.example.com', free.ip)])).toBe('done names that are wanted lead to what is left')
})
