/** The DigitalOcean adapter against the stand-in: real HTTP through the real client library. */

import { afterEach, describe, expect, test } from 'bun:test'
import type { Clock } from '../../lib/engine/clock.ts'
import { systemClock } from '../../lib/engine/clock.ts'
import { createMeter } from '../../lib/engine/meter.ts'
import { hasCode, LandfallError } from '../../lib/errors.ts'
import { createDigitalOcean } from '../../lib/providers/digitalocean/digitalocean.ts'
import type { CreateServer } from '../../lib/providers/ports/cloud.ts'
import { SANDBOX_TOKENS, type Sandbox, startSandbox } from '../../lib/sandbox/sandbox.ts'
import { Secret } from '../../lib/secret.ts'

const open: Sandbox[] = []
afterEach(async () => {
  for (const sandbox of open.splice(0)) {
    await sandbox.close()
    expect(sandbox.bugs).toEqual([])
  }
})

const LABELS = { 'landfall/estate': 'solo', 'landfall/role': 'backend', 'landfall/run': 'run-1' }
const KEY = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'A'.repeat(43)}`

/** Waits are noted and not waited for, except for as long as the stand-in needs. */
const openRig = async (token: string = SANDBOX_TOKENS.digitalocean) => {
  const sandbox = await startSandbox({ settings: { actionMs: { create_server: 20, other: 5 }, bootMs: 5 } })
  open.push(sandbox)
  const waits: number[] = []
  const clock: Clock = {
    ...systemClock,
    async sleep(ms, signal) {
      waits.push(ms)
      await systemClock.sleep(Math.min(ms, 10), signal)
    },
  }
  const cloud = createDigitalOcean({
    prices: { snapshotGbMonth: 0.06, volumeGbMonth: 0.1, backupPercent: 20 },
    token: new Secret('DIGITALOCEAN_TOKEN', token),
    endpoint: sandbox.environment.DIGITALOCEAN_ENDPOINT ?? '',
    context: {
      clock,
      meter: createMeter(),
      signal: new AbortController().signal,
      random: () => 0,
      log: () => undefined,
      beforeWrite: async () => undefined,
    },
  })
  return { sandbox, cloud, control: sandbox.controls.digitalocean, waits }
}

const server = (more: Partial<CreateServer> = {}): CreateServer => ({
  name: 'backend',
  type: 's-1vcpu-2gb',
  location: 'fra1',
  image: 'debian-12-x64',
  sshKeyIds: [],
  firewallIds: [],
  networkIds: [],
  labels: LABELS,
  ipv4: 'new',
  ipv6: 'new',
  ...more,
})

const failure = async (work: Promise<unknown>): Promise<LandfallError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof LandfallError) return error
  throw new Error(`it did not fail as it should: ${String(error)}`)
}

describe('droplets', () => {
  test('are made behind their firewall with labels and addresses, relabelled, found again, and gone with their tags', async () => {
    const { cloud, control } = await openRig()
    const key = await cloud.createSshKey({ name: 'solo-ann', publicKey: KEY, labels: LABELS })
    const rules = [{ protocol: 'tcp', port: '22', from: ['0.0.0.0/0', '::/0'], why: 'SSH' }] as const
    const firewall = await cloud.createFirewall({ name: 'web', rules, labels: LABELS })
    const made = await cloud.createServer(server({ sshKeyIds: [key.id], firewallIds: [firewall.id] }))
    expect(made).toMatchObject({
      name: 'backend',
      labels: LABELS,
      firewallIds: [firewall.id],
      ipv4: '198.19.128.1',
      ipv6: '2001:db8:d0::1',
    })
    expect((await cloud.waitServerRunning(made.id, new AbortController().signal)).status).toBe('running')
    expect(
      (await cloud.listFirewalls()).map(({ name, rules: have, serverIds, labels }) => ({ name, have, serverIds, labels })),
    ).toEqual([
      { name: 'web', have: rules.map(rule => ({ ...rule, from: [...rule.from] })), serverIds: [made.id], labels: LABELS },
    ])
    expect((await cloud.listSshKeys()).map(({ name, labels }) => ({ name, labels }))).toEqual([
      { name: 'solo-ann', labels: LABELS },
    ])

    await cloud.setServerLabels(made.id, { 'landfall/estate': 'solo', 'landfall/trust': 'pinned' })
    expect((await cloud.listServers())[0]).toMatchObject({
      labels: { 'landfall/estate': 'solo', 'landfall/trust': 'pinned' },
      firewallIds: [firewall.id],
    })

    await cloud.deleteServer(made.id)
    await cloud.deleteFirewall(firewall.id)
    await cloud.deleteSshKey(key.id)
    expect(control.dump()).toEqual({ droplets: [], firewalls: [], keys: [], vpcs: [], tags: [] })
    await cloud.deleteServer(made.id)
  })

  test('that end up off are powered on', async () => {
    const { cloud, control } = await openRig()
    const made = await cloud.createServer(server())
    control.powerOff('backend')
    expect((await cloud.waitServerRunning(made.id, new AbortController().signal)).status).toBe('running')
  })

  test('are adopted by name and run after a lost answer, and never by name alone', async () => {
    const { cloud, control, sandbox } = await openRig()
    await cloud.createServer(server({ labels: { ...LABELS, 'landfall/run': 'run-0' } }))
    sandbox.settings.faults = [
      { vendor: 'digitalocean', method: 'POST', path: '^/droplets$', nth: [1], effect: { kind: 'lost_answer' } },
    ]
    const made = await cloud.createServer(server())
    expect(made.labels['landfall/run']).toBe('run-1')
    expect(control.dump().droplets.length).toBe(2)
  })

  test.each([
    ['without a public IPv4 address', { ipv4: 'none' }],
    ['placement groups', { placementGroupId: '1' }],
    ['more than 64 KiB', { userData: 'x'.repeat(65_537) }],
  ] as const)('that the vendor has not are refused before a request: %s', async (words, more) => {
    const { cloud, sandbox } = await openRig()
    const error = await failure(cloud.createServer(server(more)))
    expect({ code: error.code, said: error.message.includes(words), requests: sandbox.requests().length }).toEqual({
      code: 'config',
      said: true,
      requests: 0,
    })
  })
})

describe('firewalls', () => {
  test('are not adopted from strangers, and changed rules are in force when the change returns', async () => {
    const { cloud, sandbox } = await openRig()
    const firewall = await cloud.createFirewall({ name: 'web', rules: [], labels: LABELS })
    const theirs = await failure(cloud.createFirewall({ name: 'web', rules: [], labels: { ...LABELS, 'landfall/run': 'run-2' } }))
    expect(theirs.code).toBe('name_taken')
    const made = await cloud.createServer(server({ firewallIds: [firewall.id] }))
    sandbox.settings.actionMs = { other: 60 }
    await cloud.setFirewallRules(firewall.id, [{ protocol: 'tcp', port: '443', from: ['0.0.0.0/0'], why: '' }])
    const exposure = sandbox.controls.digitalocean.exposure(`do-${made.id}`)
    expect(exposure.map(each => each.ports)).toEqual([{ first: 443, last: 443 }])
  })

  test('reach a server that is there already', async () => {
    const { cloud } = await openRig()
    const made = await cloud.createServer(server())
    const firewall = await cloud.createFirewall({ name: 'late', rules: [], labels: LABELS })
    await cloud.attachFirewall(firewall.id, [made.id])
    expect((await cloud.listServers())[0]?.firewallIds).toEqual([firewall.id])
  })
})

describe('the lock', () => {
  const holder = { estate: 'solo', runId: 'run-1', who: 'ann@desk', hostId: 'abc', pid: 7, command: 'bun scripts/setup.ts --yes' }

  test('is had by one, names its holder to others, beats, and is no firewall to anybody', async () => {
    const { cloud, control } = await openRig()
    const { id } = await cloud.locks.create(holder)
    const refused = await failure(cloud.locks.create({ ...holder, runId: 'run-2', who: 'bob@ci' }))
    expect(refused.code).toBe('locked')
    expect(refused.message).toContain('ann@desk holds the estate solo')
    expect((await cloud.locks.find('solo'))?.holder).toMatchObject(holder)
    await cloud.locks.beat(id, 'run-1')
    expect((await failure(cloud.locks.beat(id, 'run-2'))).code).toBe('locked')
    expect(await cloud.listFirewalls()).toEqual([])
    await cloud.locks.delete(id)
    await cloud.locks.delete(id)
    expect(await cloud.locks.find('solo')).toBeUndefined()
    expect((await failure(cloud.locks.beat(id, 'run-1'))).code).toBe('locked')
    expect(control.dump().firewalls).toEqual([])
  })

  test('of one run is adopted after a lost answer', async () => {
    const { cloud, sandbox, control } = await openRig()
    sandbox.settings.faults = [
      { vendor: 'digitalocean', method: 'POST', path: '^/firewalls$', nth: [1], effect: { kind: 'lost_answer' } },
    ]
    const { id } = await cloud.locks.create(holder)
    expect(control.dump().firewalls.map(firewall => firewall.id)).toEqual([id])
  })
})

describe('tokens and limits', () => {
  test('a wrong token is named by its variable, and is nowhere in the error', async () => {
    const { cloud } = await openRig('dop_v1_wrong-and-secret')
    const error = await failure(cloud.verifyToken())
    expect(error.code).toBe('token_invalid')
    expect(Bun.inspect(error)).not.toContain('wrong-and-secret')
    expect(error.message).toContain('DIGITALOCEAN_TOKEN')
  })

  test('the right to write is asked for without an effect', async () => {
    const { cloud, control } = await openRig()
    await cloud.probeWrite()
    expect(control.dump().firewalls).toEqual([])
    const readOnly = await openRig(SANDBOX_TOKENS.digitaloceanReadOnly)
    expect((await failure(readOnly.cloud.probeWrite())).code).toBe('token_readonly')
  })

  test('lists of keys are kept for a moment, since the vendor answers ten a minute; one refused by a limit is asked for again', async () => {
    const { cloud, sandbox, waits } = await openRig()
    for (let n = 0; n < 30; n++) await cloud.listSshKeys()
    expect(sandbox.requests().length).toBe(1)
    sandbox.settings.faults = [
      {
        vendor: 'digitalocean',
        path: '^/regions$',
        nth: [1],
        effect: {
          kind: 'status',
          status: 429,
          json: { id: 'too_many_requests', message: 'slow down' },
          headers: { 'retry-after': '1' },
        },
      },
    ]
    expect((await cloud.listLocations()).length).toBeGreaterThan(0)
    expect(Math.max(...waits)).toBeGreaterThan(500)
  })

  test('the stand-in refuses the eleventh list of keys in a minute, and tells how long to wait', async () => {
    const { sandbox } = await openRig()
    const ask = () =>
      fetch(`${sandbox.environment.DIGITALOCEAN_ENDPOINT}/account/keys`, {
        headers: { authorization: `Bearer ${SANDBOX_TOKENS.digitalocean}` },
      })
    for (let n = 0; n < 10; n++) expect((await ask()).status).toBe(200)
    const refused = await ask()
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(refused.headers.get('ratelimit-limit')).toBe('5000')
  })

  test('a long list is read to its end', async () => {
    const { cloud, sandbox } = await openRig()
    sandbox.settings.rateLimits = false
    const post = (name: string) =>
      fetch(`${sandbox.environment.DIGITALOCEAN_ENDPOINT}/firewalls`, {
        method: 'POST',
        headers: { authorization: `Bearer ${SANDBOX_TOKENS.digitalocean}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          name,
          inbound_rules: [{ protocol: 'icmp', sources: { addresses: ['0.0.0.0/0'] } }],
          outbound_rules: [],
        }),
      })
    for (let n = 0; n < 201; n++) expect((await post(`wall-${n}`)).status).toBe(202)
    expect((await cloud.listFirewalls()).length).toBe(201)
  })

  test('a failure of the vendor is repeated for a read, and told with its id for good', async () => {
    const { cloud, sandbox } = await openRig()
    const effect = { kind: 'status', status: 503, json: { id: 'server_error', message: 'no', request_id: 'abc-1' } } as const
    sandbox.settings.faults = [{ vendor: 'digitalocean', path: '^/sizes$', nth: [1, 2], effect }]
    expect((await cloud.listServerTypes()).length).toBeGreaterThan(3)
    sandbox.settings.faults = [{ vendor: 'digitalocean', path: '^/images$', effect }]
    const error = await failure(cloud.listImages())
    expect({ network: hasCode(error, 'network'), id: error.correlationId }).toEqual({ network: true, id: 'abc-1' })
  })
})
