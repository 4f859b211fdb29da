/**
 * What the DigitalOcean adapter asks, and what the stand-in answers, against the vendor's published document. The document is under the
 * Apache license (beside it); it holds the operations that Landfall uses and says in `info` where it comes from.
 */

import { afterEach, describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import type { LoggedRequest } from '../../lib/sandbox/kit.ts'
import { closeRigs, droplet, KEY, LABELS, openRig } from '../sandbox/digitalocean/rig.ts'
import { readSpec } from './spec.ts'

afterEach(closeRigs)

const spec = readSpec(join(import.meta.dir, 'digitalocean.openapi.json'))

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
const keyOf = ({ method, path }: Pick<LoggedRequest, 'method' | 'path'>): string =>
  `${method} ${spec.operation(method, path)?.path ?? `${path} is not in the document`}`

describe("DigitalOcean's published document", () => {
  test('is kept by every request that the adapter makes and by every answer of the stand-in', async () => {
    const requests = await rehearse()
    const good = requests.filter(request => request.status < 300)
    expect(
      good.flatMap(({ method, path, query, body }) =>
        spec.validateRequest(method, path, new URLSearchParams(query), parsed(body)),
      ),
    ).toEqual([])
    expect(
      requests.flatMap(({ method, path, status, responseBody }) =>
        spec.validateResponse(method, path, status, parsed(responseBody)),
      ),
    ).toEqual([])
    // All that the document was cut down to, and nothing else, is asked with success in the course of this.
    const operations = spec.operations().map(({ method, path }) => `${method} ${path}`)
    expect([...new Set(good.map(keyOf))].sort()).toEqual(operations.sort())
  }, 60_000)

  test('would tell a request or an answer that does not fit', () => {
    const rule = { protocol: 'tcp', ports: '22', sources: { addresses: ['0.0.0.0/0'] } }
    const none = new URLSearchParams()
    expect(spec.validateRequest('POST', '/firewalls', none, { name: 'web', inbound_rules: [rule] })).toEqual([])
    for (const wrong of [
      { name: 'web', inbound_rules: [{ ...rule, protocol: 'gre' }] },
      { name: 'web', inbound_rules: [{ ...rule, ports: 22 }] },
      { inbound_rules: [rule] },
    ])
      expect(spec.validateRequest('POST', '/firewalls', none, wrong).length).toBeGreaterThan(0)
    expect(spec.validateRequest('GET', '/droplets', new URLSearchParams('no_such=1'), undefined)).toHaveLength(1)
    expect(spec.validateResponse('GET', '/droplets/1', 404, { id: 'not_found' }).join()).toContain('message')
    expect(spec.validateResponse('DELETE', '/droplets/1', 204, {})).toHaveLength(1)
    expect(spec.validateResponse('GET', '/droplets/1', 200, { droplet: { id: '1' } }).length).toBeGreaterThan(3)
  })
})
