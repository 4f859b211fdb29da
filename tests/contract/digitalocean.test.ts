/** What the DigitalOcean adapter asks, and what the stand-in answers, against what the vendor's reference says of both. */

import { afterEach, describe, expect, test } from 'bun:test'
import * as v from 'valibot'
import type { LoggedRequest } from '../../lib/sandbox/kit.ts'
import { closeRigs, droplet, KEY, LABELS, openRig } from '../sandbox/digitalocean/rig.ts'
import { OPERATIONS, type Operation, REFUSAL } from './digitalocean.facts.ts'

afterEach(closeRigs)

type Asked = Pick<LoggedRequest, 'method' | 'path'>

const PATTERNS = Object.keys(OPERATIONS).map(name => ({
  name,
  pattern: new RegExp(`^${name.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
}))
const nameOf = ({ method, path }: Asked): string =>
  PATTERNS.find(({ pattern }) => pattern.test(`${method} ${path}`))?.name ?? `${method} ${path} is not in the reference`
const operationOf = (asked: Asked): Operation | undefined =>
  new Map<string, Operation>(Object.entries(OPERATIONS)).get(nameOf(asked))

const misfits = (where: string, schema: v.GenericSchema | undefined, value: unknown): string[] => {
  if (schema === undefined) return value === undefined ? [] : [`${where}: has a body`]
  const { issues } = v.safeParse(schema, value)
  return (issues ?? []).map(issue => `${where} ${v.getDotPath(issue) ?? ''}: ${issue.message}`)
}

const inRequest = (asked: Asked & { readonly query: URLSearchParams }, body: unknown): string[] => {
  const operation = operationOf(asked)
  if (!operation) return [nameOf(asked)]
  const unknown = [...asked.query.keys()].filter(name => !operation.query?.includes(name))
  return [...unknown.map(name => `${nameOf(asked)}: no query ${name}`), ...misfits(nameOf(asked), operation.request, body)]
}

const inAnswer = (asked: Asked, status: number, body: unknown): string[] => {
  const operation = operationOf(asked)
  if (!operation) return [nameOf(asked)]
  if (status >= 400) return misfits(`${nameOf(asked)} ${status}`, REFUSAL, body)
  return status === operation.status
    ? misfits(`${nameOf(asked)} ${status}`, operation.answer, body)
    : [`${nameOf(asked)}: answers ${status}`]
}

/** Takes an empty account through everything that the port offers, and back. */
const rehearse = async (): Promise<readonly LoggedRequest[]> => {
  const { cloud, sandbox, control, send } = await openRig()
  await cloud.verifyToken()
  await cloud.probeWrite()
  const holder = { estate: 'solo', runId: 'run-1', who: 'ann@desk', hostId: 'abc', pid: 7, command: 'setup' }
  const lock = await cloud.locks.create(holder)
  await cloud.locks.beat(lock.id, 'run-1')
  await cloud.locks.find('solo')
  await Promise.all([cloud.listLocations(), cloud.listServerTypes(), cloud.readPricing(), cloud.listImages()])

  const key = await cloud.createSshKey({ name: 'solo-ann', publicKey: KEY, labels: LABELS })
  const range = '172.16.0.0/20'
  const network = await cloud.createNetwork({ name: 'solo', range, subnet: range, zone: 'fra1', labels: LABELS })
  const rules = [
    { protocol: 'tcp', port: '22', from: ['198.51.100.0/24', '2001:db8::/32'], why: 'SSH, by key only' },
    { protocol: 'icmp', from: ['0.0.0.0/0'], why: 'ping' },
  ] as const
  // Side by side, so that both find the same tags missing and one of them comes second.
  const [firewall, late] = await Promise.all([
    cloud.createFirewall({ name: 'web', rules, labels: LABELS }),
    cloud.createFirewall({ name: 'late', rules: [], labels: LABELS }),
  ])
  const made = await cloud.createServer(
    droplet({ sshKeyIds: [key.id], firewallIds: [firewall.id], networkIds: [network.id], userData: '#cloud-config\n' }),
  )
  const { signal } = new AbortController()
  await cloud.waitServerRunning(made.id, signal)
  await cloud.setServerLabels(made.id, { ...LABELS, 'landfall/role': 'web' })
  await cloud.setFirewallRules(firewall.id, [{ protocol: 'udp', port: '8000-8100', from: ['0.0.0.0/0'], why: 'game' }])
  await cloud.attachFirewall(late.id, [made.id])
  await cloud.detachFirewall(late.id, [made.id])
  await cloud.setServerType(made.id, 's-2vcpu-4gb', signal)
  await Promise.all([cloud.listServers(), cloud.listFirewalls(), cloud.listSshKeys(), cloud.listNetworks()])

  await send('POST', `/droplets/${made.id}/actions`, { type: 'snapshot', name: 'kept' })
  await Bun.sleep(50)
  const [image] = (await cloud.listImages()).filter(each => each.kind === 'snapshot')
  await cloud.deleteImage(image?.id ?? '')

  // What is refused, as the vendor words it.
  await send('GET', '/droplets/1')
  await send('POST', '/droplets', { name: 'x' })
  await send('POST', '/firewalls', { name: 'web', inbound_rules: [], outbound_rules: [] })
  await send('GET', '/tags/no-such-tag')
  await send('DELETE', '/images/1')

  await cloud.deleteServer(made.id)
  for (const id of [firewall.id, late.id]) await cloud.deleteFirewall(id)
  await cloud.deleteNetwork(network.id)
  await cloud.deleteSshKey(key.id)
  await cloud.locks.delete(lock.id)
  expect(control.dump()).toEqual({ droplets: [], firewalls: [], keys: [], vpcs: [], tags: [] })
  return sandbox.requests().filter(request => request.vendor === 'digitalocean')
}

const parsed = (text: string): unknown => (text === '' ? undefined : JSON.parse(text))

describe("DigitalOcean's reference", () => {
  test('is kept by every request that the adapter makes and by every answer of the stand-in', async () => {
    const requests = await rehearse()
    const good = requests.filter(request => request.status < 300)
    expect(good.flatMap(each => inRequest({ ...each, query: new URLSearchParams(each.query) }, parsed(each.body)))).toEqual([])
    expect(requests.flatMap(each => inAnswer(each, each.status, parsed(each.responseBody)))).toEqual([])
    // Everything in the table, and nothing else, is asked with success in the course of this.
    expect([...new Set(good.map(nameOf))].sort()).toEqual(Object.keys(OPERATIONS).sort())
  }, 60_000)

  test('would tell a request or an answer that does not fit', () => {
    const rule = { protocol: 'tcp', ports: '22', sources: { addresses: ['0.0.0.0/0'] } }
    const asked = (method: string, path: string, query = '') => ({ method, path, query: new URLSearchParams(query) })
    const create = asked('POST', '/firewalls')
    expect(inRequest(create, { name: 'web', inbound_rules: [rule] })).toEqual([])
    for (const wrong of [
      { name: 'web', inbound_rules: [{ ...rule, protocol: 'gre' }] },
      { name: 'web', inbound_rules: [{ ...rule, ports: 22 }] },
      { name: 'web', rules: [rule] },
      { inbound_rules: [rule] },
    ])
      expect(inRequest(create, wrong).length).toBeGreaterThan(0)
    expect(inRequest(asked('GET', '/droplets', 'no_such=1'), undefined)).toHaveLength(1)
    expect(inAnswer(asked('GET', '/droplets/1'), 404, { id: 'not_found' }).join()).toContain('message')
    expect(inAnswer(asked('DELETE', '/droplets/1'), 204, {})).toHaveLength(1)
    expect(inAnswer(asked('GET', '/droplets/1'), 200, { droplet: { id: '1' } }).length).toBeGreaterThan(3)
    expect(inAnswer(asked('GET', '/volumes'), 200, {})).toHaveLength(1)
  })
})
