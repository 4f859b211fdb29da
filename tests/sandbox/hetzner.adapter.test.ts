/** The Hetzner adapter against the stand-in, over real HTTP, with the faults that a network has. Time runs fifty times as fast. */

import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { type Clock, systemClock } from '../../lib/engine/clock.ts'
import { createMeter, type Meter } from '../../lib/engine/meter.ts'
import { createHetzner, type Hetzner } from '../../lib/providers/hetzner/hetzner.ts'
import type { CreateServer } from '../../lib/providers/ports/cloud.ts'
import { type Front, serveStandIn } from '../../lib/sandbox/front.ts'
import { createHetznerStandIn, type HetznerControl } from '../../lib/sandbox/hetzner/standin.ts'
import type { FaultEffect, FaultRule } from '../../lib/sandbox/kit.ts'
import { openStore } from '../../lib/sandbox/store.ts'
import { Secret } from '../../lib/secret.ts'
import { failureOf } from '../unit/providers/hetzner/rig.ts'

const TOKEN = 'sandbox-hetzner-token-0123456789abcdef'
const READ_TOKEN = 'sandbox-hetzner-reader-0123456789abcdef'
const SPEED = 20
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ8Yx0m9o1Yc0n9v7nJr0xW1w3vN2mB8o4s6f0aQ1Zt ops@example.com'
const labels = { 'landfall/estate': 'shop', 'landfall/nonce': 'n1' }
const patient = new AbortController().signal

let faults: FaultRule[]
let latencyMs: number
let actionMs: { create_server: number; other: number }
let front: Front
let control: HetznerControl
let meter: Meter
let clock: Clock
let hetzner: Hetzner
let adapterFor: (token: string) => Hetzner
let stop: () => Promise<void>

function fastClock(): Clock {
  const startMs = performance.now()
  const epochMs = Date.now()
  const monotonicMs = () => (performance.now() - startMs) * SPEED
  return { monotonicMs, nowMs: () => epochMs + monotonicMs(), sleep: (ms, signal) => systemClock.sleep(ms / SPEED, signal) }
}

beforeEach(async () => {
  faults = []
  latencyMs = 0
  actionMs = { other: 1_000, create_server: 5_000 }
  clock = fastClock()
  meter = createMeter()
  const store = openStore(':memory:')
  const standIn = createHetznerStandIn({ store, clock, settings: () => ({ actionMs, rateLimits: true }) })
  control = standIn.control
  control.addToken(TOKEN, { project: 'one', access: 'read_write' })
  control.addToken(READ_TOKEN, { project: 'one', access: 'read_only' })
  front = await serveStandIn(standIn, { base: '/v1', clock, settings: () => ({ latencyMs, faults }) })
  adapterFor = token =>
    createHetzner({
      token: new Secret('HCLOUD_TOKEN', token),
      endpoint: front.url,
      timeoutMs: 250,
      context: { clock, meter, signal: patient, random: Math.random, log: () => undefined, beforeWrite: async () => undefined },
    })
  hetzner = adapterFor(TOKEN)
  stop = async () => {
    await front.close()
    store.close()
  }
})
afterEach(() => stop())

const server = (name: string, more: Partial<CreateServer> = {}): CreateServer => ({
  name,
  type: 'cx23',
  location: 'fsn1',
  image: 'debian-12',
  sshKeyIds: [],
  firewallIds: [],
  networkIds: [],
  labels,
  ipv4: 'new',
  ipv6: 'new',
  ...more,
})

const network = (name: string) => ({ name, range: '10.0.0.0/16', subnet: '10.0.1.0/24', zone: 'eu-central', labels })
const rules = [{ protocol: 'tcp', port: '22', from: ['0.0.0.0/0', '::/0'], why: 'ssh' }] as const

/** Everything that can be created, each by one call. */
const CREATES: Readonly<Record<string, () => Promise<{ readonly id: string }>>> = {
  servers: () => hetzner.createServer(server('prod')),
  firewalls: () => hetzner.createFirewall({ name: 'web', rules, labels }),
  networks: () => hetzner.createNetwork(network('net')),
  keys: () => hetzner.createSshKey({ name: 'key', publicKey: KEY, labels }),
  ips: () => hetzner.createPrimaryIp({ name: 'ip', type: 'ipv4', location: 'fsn1', labels }),
  groups: () => hetzner.createPlacementGroup({ name: 'spread', labels }),
}

const kinds = ['servers', 'firewalls', 'networks', 'keys', 'ips', 'groups'] as const
const countOf = (kind: (typeof kinds)[number]) =>
  control.dump('one')[kind].filter(row => !('autoDelete' in row && row.autoDelete)).length

describe('with every fault on the first create', () => {
  const effects: readonly FaultEffect[] = [
    { kind: 'reset_before' },
    { kind: 'lost_answer' },
    { kind: 'hang' },
    { kind: 'truncate' },
    { kind: 'status', status: 502, text: '<html>bad gateway</html>', headers: { 'content-type': 'text/html' } },
    { kind: 'status', status: 504, text: '<html>gateway timeout</html>', after: true },
    { kind: 'status', status: 429, json: { error: { code: 'rate_limit_exceeded', message: 'slow down', details: null } } },
    { kind: 'status', status: 409, json: { error: { code: 'conflict', message: 'again', details: null } } },
    { kind: 'status', status: 423, json: { error: { code: 'locked', message: 'busy', details: null } } },
    { kind: 'status', status: 500, json: { error: { code: 'server_error', message: 'oops', details: null } }, after: true },
  ]
  for (const effect of effects) {
    const title = effect.kind === 'status' ? `${effect.status}${effect.after ? ' after the effect' : ''}` : effect.kind
    test(`${title}: each thing exists exactly once, and is the one that was returned`, async () => {
      for (const kind of kinds) {
        faults = [{ method: 'POST', nth: [1], effect }]
        const made = await CREATES[kind]?.()
        expect({ kind, count: countOf(kind) }).toEqual({ kind, count: 1 })
        expect(control.dump('one')[kind].map(row => String(row.id))).toContain(made?.id ?? '')
      }
    })
  }

  test('a list that lags behind does not lead to a second server', async () => {
    control.setListLagMs(1_500)
    faults = [{ method: 'POST', nth: [1], effect: { kind: 'lost_answer' } }]
    const { id } = await hetzner.createServer(server('prod'))
    expect((await hetzner.waitServerRunning(id, patient)).status).toBe('running')
    expect(countOf('servers')).toBe(1)
  })

  test("a stranger's namesake stays as it was", async () => {
    await hetzner.createServer(server('prod', { labels: { theirs: 'yes' } }))
    expect((await failureOf(hetzner.createServer(server('prod')))).code).toBe('name_taken')
    expect(control.dump('one').servers.map(row => row.labels)).toEqual([{ theirs: 'yes' }])
  })
})

describe('a whole estate', () => {
  test('comes up, reads back as it was asked for, and goes without a trace', async () => {
    const key = await hetzner.createSshKey({ name: 'key', publicKey: KEY, labels })
    const net = await hetzner.createNetwork(network('net'))
    const firewall = await hetzner.createFirewall({ name: 'web', rules, labels })
    const group = await hetzner.createPlacementGroup({ name: 'spread', labels })
    const ip = await hetzner.createPrimaryIp({ name: 'ip', type: 'ipv4', location: 'fsn1', labels })
    const common = { sshKeyIds: [key.id], firewallIds: [firewall.id], networkIds: [net.id], placementGroupId: group.id }
    const made = await Promise.all([
      hetzner.createServer(server('dev', common)),
      hetzner.createServer(server('prod', { ...common, ipv4: { id: ip.id } })),
    ])
    await Promise.all(made.map(({ id }) => hetzner.waitServerRunning(id, patient)))
    const listed = await hetzner.listServers()
    const [dev, prod] = made.map(({ id }) => listed.find(each => each.id === id))
    expect(prod).toMatchObject({
      name: 'prod',
      status: 'running',
      ipv4: ip.ip,
      firewallIds: [firewall.id],
      placementGroupId: group.id,
      labels,
    })
    expect(dev?.privateIps.map(({ networkId }) => networkId)).toEqual([net.id])
    expect(dev?.ipv6).toMatch(/::1$/)

    await hetzner.setFirewallRules(firewall.id, [...rules, { protocol: 'tcp', port: '443', from: ['0.0.0.0/0'], why: 'https' }])
    expect(
      (await hetzner.listFirewalls()).map(({ rules: all, serverIds }) => [all.map(({ port }) => port), [...serverIds].sort()]),
    ).toEqual([[['22', '443'], made.map(({ id }) => id).sort()]])
    expect((await hetzner.listServers()).map(({ name }) => name).sort()).toEqual(['dev', 'prod'])
    expect((await hetzner.listPrimaryIps()).find(({ id }) => id === ip.id)?.serverId).toBe(prod?.id ?? '')

    control.setFirewallLingerMs(4_000)
    const removeAll = async () => {
      await Promise.all(made.map(({ id }) => hetzner.deleteServer(id)))
      await Promise.all([
        hetzner.deleteFirewall(firewall.id),
        hetzner.deletePrimaryIp(ip.id),
        hetzner.deletePlacementGroup(group.id),
        hetzner.deleteNetwork(net.id),
        hetzner.deleteSshKey(key.id),
      ])
    }
    await removeAll()
    expect(kinds.map(countOf)).toEqual([0, 0, 0, 0, 0, 0])
    // What is gone is no error.
    await removeAll()
  })

  test('two servers at 80 ms of latency need two polls at most', async () => {
    latencyMs = 80 / SPEED
    await Promise.all(
      ['dev', 'prod'].map(async name => hetzner.waitServerRunning((await hetzner.createServer(server(name))).id, patient)),
    )
    // Per server one read after its end; the rest are polls.
    expect(meter.snapshot().hetzner).toMatchObject({ writes: 2 })
    expect((meter.snapshot().hetzner?.reads ?? 99) - 2).toBeLessThanOrEqual(2)
  })

  test('sixty servers are listed, made and removed', async () => {
    control.setServerLimit(100)
    const made = await Promise.all(Array.from({ length: 60 }, (_, n) => hetzner.createServer(server(`s${n}`))))
    await Promise.all(made.map(({ id }) => hetzner.waitServerRunning(id, patient)))
    expect(await hetzner.listServers()).toHaveLength(60)
    control.setHideTotals(true)
    expect(await hetzner.listServers()).toHaveLength(60)
    await Promise.all(made.map(({ id }) => hetzner.deleteServer(id)))
    expect(await hetzner.listServers()).toHaveLength(0)
  })
})

describe('what the vendor does', () => {
  test('a server that is still starting is deleted as soon as its actions allow it', async () => {
    const { id } = await hetzner.createServer(server('prod'))
    await hetzner.deleteServer(id)
    expect(countOf('servers')).toBe(0)
  })

  test('a server that ends up off is powered on', async () => {
    control.endNextServerOff()
    const { id } = await hetzner.createServer(server('prod'))
    expect((await hetzner.waitServerRunning(id, patient)).status).toBe('running')
  })

  test('a server that ends up off is powered on, also while no list shows it yet', async () => {
    actionMs = { create_server: 200, other: 200 }
    // The first teaches how soon a server is there, so that the second is looked at while it is young.
    await hetzner.waitServerRunning((await hetzner.createServer(server('first'))).id, patient)
    control.endNextServerOff()
    control.setListLagMs(8_000)
    await hetzner.waitServerRunning((await hetzner.createServer(server('prod'))).id, patient)
    expect(control.dump().servers.map(({ status }) => status)).toEqual(['running', 'running'])
  })

  test('a create that fails after it was accepted is told', async () => {
    control.failNext('create_server', 'resource_unavailable', 'no room')
    const { id } = await hetzner.createServer(server('prod'))
    expect((await failureOf(hetzner.waitServerRunning(id, patient))).code).toBe('out_of_stock')
  })

  test('a type that is sold out is out of stock, in the catalogue and on create', async () => {
    control.setStock('cx23', 'fsn1', 'sold_out')
    const offers = (await hetzner.listServerTypes()).find(({ name }) => name === 'cx23')?.offers
    expect(offers?.find(({ location }) => location === 'fsn1')?.stock).toBe('sold_out')
    control.setStock('cx23', 'fsn1', 'silently_sold_out')
    expect((await failureOf(hetzner.createServer(server('prod')))).code).toBe('out_of_stock')
    expect(meter.snapshot().hetzner?.writes).toBe(1)
  })

  test('an account that is full names the limit', async () => {
    control.setServerLimit(0)
    const error = await failureOf(hetzner.createServer(server('prod')))
    expect(error.code).toBe('limit')
    expect(error.message).toContain('server_limit')
    expect(error.correlationId).toBeString()
  })

  test('a bad gateway on a list is asked again', async () => {
    await hetzner.createNetwork(network('net'))
    faults = [{ method: 'GET', nth: [1, 2], effect: { kind: 'status', status: 502, text: '<html>bad gateway</html>' } }]
    expect((await hetzner.listNetworks()).map(({ name }) => name)).toEqual(['net'])
  })

  test('a lost answer to a delete or to new rules is made good', async () => {
    const { id } = await hetzner.createFirewall({ name: 'web', rules: [], labels })
    faults = [{ path: 'set_rules', nth: [1], effect: { kind: 'lost_answer' } }]
    await hetzner.setFirewallRules(id, rules)
    expect((await hetzner.listFirewalls())[0]?.rules).toEqual([...rules])
    faults = [{ method: 'DELETE', nth: [1], effect: { kind: 'lost_answer' } }]
    await hetzner.deleteFirewall(id)
    expect(countOf('firewalls')).toBe(0)
  })

  for (const answer of [
    { status: 403, code: 'forbidden' },
    { status: 401, code: 'token_readonly' },
  ]) {
    test(`a token that may only read is found out without an effect (${answer.status})`, async () => {
      control.setReadOnlyAnswer(answer)
      const reader = adapterFor(READ_TOKEN)
      await reader.verifyToken()
      expect((await failureOf(reader.probeWrite())).code).toBe('token_readonly')
      await hetzner.probeWrite()
      expect(meter.snapshot().hetzner).toEqual({ reads: 3, writes: 0 })
      expect(countOf('firewalls')).toBe(0)
    })
  }

  test('a wrong token is found out', async () => {
    expect((await failureOf(adapterFor('sandbox-nobody-0123456789').verifyToken())).code).toBe('token_invalid')
  })
})

describe('the lock', () => {
  const holder = (runId: string) => ({ estate: 'shop', runId, who: 'ana@host', hostId: 'h', pid: 1, command: 'setup' })

  test('goes to one of many adapters that want it at once', async () => {
    const tries = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => adapterFor(TOKEN).locks.create(holder(`r${n}`))))
    expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(countOf('firewalls')).toBe(1)
    expect(await hetzner.listFirewalls()).toEqual([])
  })

  test('survives lost answers, beats, and goes', async () => {
    faults = [{ method: 'POST', nth: [1], effect: { kind: 'lost_answer' } }]
    const { id } = await hetzner.locks.create(holder('r1'))
    const before = await hetzner.locks.find('shop')
    await clock.sleep(20_000)
    faults = [{ method: 'PUT', nth: [1], effect: { kind: 'lost_answer' } }]
    await hetzner.locks.beat(id, 'r1')
    const after = await hetzner.locks.find('shop')
    expect((after?.holder.beatAtMs ?? 0) - (before?.holder.beatAtMs ?? 0)).toBeGreaterThanOrEqual(19_000)
    expect(after?.sinceMs).toBe(before?.sinceMs ?? 0)
    await hetzner.locks.delete(id)
    expect(await hetzner.locks.find('shop')).toBeUndefined()
  })
})
