/** Addresses that outlive their servers: taken up where a server is to come, deleted where none is, and never a stranger's. */

import { expect, test } from 'bun:test'
import { LABEL_KEYS, labelsFor } from '../../../lib/estate/labels.ts'
import type { PrimaryIp } from '../../../lib/providers/ports/cloud.ts'
import { surplusAddressesStep } from '../../../lib/steps/address.ts'
import { destroySteps } from '../../../lib/steps/destroy.ts'
import { rebuildSteps } from '../../../lib/steps/rebuild.ts'
import { serverStep } from '../../../lib/steps/server.ts'
import { surplusStep } from '../../../lib/steps/surplus.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { KEY, load } from '../estate/configs.ts'
import { address, deps as base, golden, lookAt, say, server, serverType, store } from './worlds.ts'

const estateOf = (location: string) =>
  load(
    { project: 'acme', hetzner: { location, image: 'debian-12' }, servers: { web: { type: 'cx33', count: 2 } } },
    [],
    [{ name: 'alice', publicKey: KEY }],
  )
const estate = estateOf('nbg1')
const deps = { ...base, estate }
const member = (name: string, change = {}) =>
  server(name, { id: name, type: 'cx33', labels: labelsFor('acme', 'web', 'run-0'), ...change })
const free = (id: string, keptFor: string, change: Partial<PrimaryIp> = {}): PrimaryIp => {
  const { serverId: _, ...rest } = address(id, keptFor, change)
  return rest
}
const offers = serverType('cx33').offers.flatMap(each => [each, { ...each, location: 'fsn1' }])
const images = [golden({ kind: 'system', name: 'debian-12', labels: {} })]
const serverTypes = [serverType('cx33', { offers })]

const surplus = (slices: Partial<EstateWorld>, given = deps) =>
  lookAt(surplusAddressesStep(given, []), { serverTypes, ...slices })

test('one that nobody waits for goes, with its price', () => {
  const finding = surplus({ servers: [member('web'), member('web-2')], primaryIps: [free('1', 'web-3')] })
  expect(say(finding)).toBe('todo destroy delete the address 203.0.113.101, which was kept for web-3')
  if (finding.state !== 'todo') throw new Error('nothing to do')
  expect(finding.changes[0]?.monthlyNet).toBeCloseTo(-0.5)
  expect(finding.changes[0]?.details).toEqual(['0.50 EUR a month net'])
})

test.each<readonly [string, Partial<EstateWorld>]>([
  ['waits for a server that is to come', { primaryIps: [free('1', 'web')] }],
  ['is on a server', { servers: [member('web')], primaryIps: [address('1', 'web')] }],
  [
    'is on a server, as that says and the list does not yet',
    {
      servers: [member('web', { ipv4: '203.0.113.101' })],
      primaryIps: [free('1', 'web')],
    },
  ],
  [
    'is another estate’s',
    { primaryIps: [free('1', 'web-3', { labels: { [LABEL_KEYS.estate]: 'acme2', [LABEL_KEYS.keptFor]: 'web-3' } })] },
  ],
  ['is nobody’s', { primaryIps: [free('1', 'web-3', { labels: {} })] }],
  [
    'is ours, and was put aside for nothing that we know',
    { primaryIps: [free('1', 'web-3', { labels: { [LABEL_KEYS.estate]: 'acme' } })] },
  ],
])('one that %s stays', (_, slices) => {
  expect(say(surplus(slices))).toBe('done none')
})

test.each<readonly [string, Partial<EstateWorld>, Partial<typeof deps>]>([
  ['whose server has another one', { servers: [member('web')], primaryIps: [free('1', 'web')] }, {}],
  ['where its server will not be', { primaryIps: [free('1', 'web', { location: 'fsn1' })] }, {}],
  ['that is to be given up', { primaryIps: [free('1', 'web')] }, { dropsAddresses: true }],
])('one %s goes', (_, slices, given) => {
  expect(say(surplus(slices, { ...deps, ...given }))).toBe(
    'todo destroy delete the address 203.0.113.101, which was kept for web',
  )
})

test('a server too many takes its address along', () => {
  const servers = [member('web'), member('web-2'), member('web-3')]
  const primaryIps = [address('1', 'web-3'), address('2', 'web-2')]
  const finding = lookAt(surplusStep(deps), { servers, primaryIps, serverTypes })
  expect(say(finding)).toBe('todo destroy delete server web-3, which config.json no longer wants')
  expect(finding.state === 'todo' && finding.changes[0]?.details).toEqual(['203.0.113.101, put aside for it, goes with it'])
})

const [web1] = estate.servers
if (!web1) throw new Error('the test config has no server')
const creation = (primaryIps: EstateWorld['primaryIps'], given = deps) => {
  const finding = lookAt(serverStep(given, web1), { serverTypes, primaryIps, images })
  if (finding.state !== 'todo') throw new Error(say(finding))
  return { details: finding.changes[0]?.details?.slice(1), monthlyNet: finding.changes[0]?.monthlyNet }
}

test('a new server gets what was put aside for it, which is billed already', () => {
  const { details, monthlyNet } = creation([free('1', 'web')])
  expect(details).toEqual(['it gets 203.0.113.101, put aside for it'])
  expect(monthlyNet).toBeCloseTo(6.49)
})

test.each<readonly [string, EstateWorld['primaryIps'], Partial<typeof deps>]>([
  ['another server’s', [free('1', 'web-2')], {}],
  ['another estate’s', [free('1', 'web', { labels: { [LABEL_KEYS.estate]: 'acme2', [LABEL_KEYS.keptFor]: 'web' } })], {}],
  ['elsewhere', [free('1', 'web', { location: 'fsn1' })], {}],
  ['in use', [address('1', 'web')], {}],
  ['given up', [free('1', 'web')], { dropsAddresses: true }],
])('a new server gets a new address when what is there is %s', (_, primaryIps, given) => {
  const { details, monthlyNet } = creation(primaryIps, { ...deps, ...given })
  expect(details).toEqual([])
  expect(monthlyNet).toBeCloseTo(6.99)
})

test('destroy tells a free address with its price, and counts one on a server once', () => {
  const step = destroySteps({ ...deps, store }).find(each => each.id === 'primaryIps gone')
  if (!step) throw new Error('destroy has no step for addresses')
  const finding = lookAt(step, { primaryIps: [free('1', 'web'), address('2', 'web-2')] })
  if (finding.state !== 'todo') throw new Error(say(finding))
  expect(finding.changes.map(({ details, monthlyNet }) => ({ details, monthlyNet }))).toEqual([
    { details: ['203.0.113.101, 0.50 EUR a month net'], monthlyNet: -0.5 },
    { details: ['203.0.113.102, 0.50 EUR a month net'], monthlyNet: undefined },
  ])
})

const rebuilt = (location: string, keeps: readonly ('addresses' | 'certificates')[], primaryIps: EstateWorld['primaryIps']) => {
  const given = { ...deps, estate: estateOf(location), dropsAddresses: !keeps.includes('addresses') }
  const [spec] = given.estate.servers
  if (!spec) throw new Error('the test config has no server')
  const certificates = {
    list: async () => [],
    read: () => Promise.reject(new Error('a look read a file')),
    write: async () => undefined,
    remove: async () => undefined,
  }
  const steps = rebuildSteps({ ...given, certificates, keeps: new Set(keeps), after: [] }, [
    serverStep(given, spec),
    surplusAddressesStep(given, []),
  ])
  const servers = [member('web', { ipv4: '203.0.113.101', ipv6: undefined })]
  return steps
    .filter(step => / (web|addresses)( |$)/.test(step.id))
    .map(step => lookAt(step, { serverTypes, images, primaryIps, servers, keptCertificates: [] }))
}
const sum = (findings: ReturnType<typeof rebuilt>): number =>
  findings.flatMap(each => (each.state === 'todo' ? each.changes : [])).reduce((all, each) => all + (each.monthlyNet ?? 0), 0)
const details = (findings: ReturnType<typeof rebuilt>, at: number): readonly string[] | undefined => {
  const finding = findings[at]
  return finding?.state === 'todo' ? finding.changes[0]?.details : undefined
}

const fresh = address('1', '', { serverId: 'web', deletedWithServer: true, labels: {} })

test('a rebuild keeps the address for the new server, says so, and costs nothing more', () => {
  const findings = rebuilt('nbg1', ['addresses'], [fresh])
  expect(findings.map(say)).toEqual([
    'todo change keep the address 203.0.113.101 for the new web',
    'todo destroy delete web with everything on its disk, to make it anew',
    'todo create create server web (cx33, nbg1)',
    'done none',
  ])
  expect(details(findings, 1)).toEqual([])
  expect(details(findings, 2)?.slice(1)).toEqual(['it gets 203.0.113.101, put aside for it'])
  expect(sum(findings)).toBeCloseTo(0)
})

test('a rebuild elsewhere keeps no address that the new server could not have', () => {
  const findings = rebuilt('fsn1', ['addresses'], [fresh])
  expect(findings.map(say)).toEqual([
    'done it takes up none',
    'todo destroy delete web with everything on its disk, to make it anew',
    'todo create create server web (cx33, fsn1)',
    'done none',
  ])
  expect(details(findings, 1)).toEqual(['given up: its address 203.0.113.101'])
})

test.each([
  ['elsewhere', 'fsn1', ['addresses'] as const],
  ['that drops addresses', 'nbg1', [] as const],
])('a rebuild %s deletes the address that an earlier one had kept', (_, location, keeps) => {
  const findings = rebuilt(location, keeps, [address('1', 'web')])
  expect(findings.map(say).at(-1)).toBe('todo destroy delete the address 203.0.113.101, which was kept for web')
  expect(details(findings, findings.length - 3)).toEqual(['given up: its address 203.0.113.101'])
})
