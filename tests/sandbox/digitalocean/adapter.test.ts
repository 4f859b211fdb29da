/** The DigitalOcean adapter against the stand-in: real HTTP through the real client library. */

import { afterEach, describe, expect, test } from 'bun:test'
import { hasCode } from '../../../lib/errors.ts'
import { SANDBOX_TOKENS } from '../../../lib/sandbox/sandbox.ts'
import { closeRigs, droplet, failureOf, KEY, LABELS, openRig } from './rig.ts'

afterEach(closeRigs)

describe('droplets', () => {
  test('are made behind their firewall with labels and addresses, relabelled, found again, and gone with their tags', async () => {
    const { cloud, control } = await openRig()
    const key = await cloud.createSshKey({ name: 'solo-ann', publicKey: KEY, labels: LABELS })
    const rules = [{ protocol: 'tcp', port: '22', from: ['0.0.0.0/0', '::/0'], why: 'SSH' }] as const
    const firewall = await cloud.createFirewall({ name: 'web', rules, labels: LABELS })
    const made = await cloud.createServer(droplet({ sshKeyIds: [key.id], firewallIds: [firewall.id] }))
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
    const made = await cloud.createServer(droplet())
    control.powerOff('backend')
    expect((await cloud.waitServerRunning(made.id, new AbortController().signal)).status).toBe('running')
  })

  test('whose create fails at the vendor say so at once, and what to do', async () => {
    const { cloud, control, waits } = await openRig()
    control.failNext('create')
    const error = await failureOf(cloud.createServer(droplet()))
    expect({ code: error.code, hint: error.hint }).toEqual({
      code: 'vendor',
      hint: 'Delete backend at cloud.digitalocean.com, then run the same command again.',
    })
    expect(error.message).toMatch(/^Could not create droplet backend: DigitalOcean's action create \(\d+\) failed\.$/)
    expect(waits.length).toBeLessThan(10)
  })

  test('change their size and run again, also when the vendor fails at it', async () => {
    const { cloud, control } = await openRig()
    const made = await cloud.createServer(droplet())
    const { signal } = new AbortController()
    control.failNext('resize')
    expect((await failureOf(cloud.setServerType(made.id, 's-2vcpu-4gb', signal))).message).toContain('action resize')
    expect((await cloud.listServers()).map(({ type, status }) => ({ type, status }))).toEqual([
      { type: 's-1vcpu-2gb', status: 'running' },
    ])
    expect(await cloud.setServerType(made.id, 's-2vcpu-4gb', signal)).toMatchObject({ type: 's-2vcpu-4gb', status: 'running' })
    // One that has it already, as after a lost answer, is started again and left as it is.
    expect(await cloud.setServerType(made.id, 's-2vcpu-4gb', signal)).toMatchObject({ type: 's-2vcpu-4gb', status: 'running' })
  })

  test('are made from a snapshot, which is found by the labels that its tags say, and is deleted by its id', async () => {
    const { cloud, send } = await openRig()
    const first = await cloud.createServer(droplet())
    expect(
      (await send('POST', `/droplets/${first.id}/actions`, { type: 'snapshot', name: 'nixos-dokploy-20261120' })).status,
    ).toBe(201)
    await Bun.sleep(50)
    const snapshot = async () => (await cloud.listImages()).find(image => image.kind === 'snapshot')
    const bare = await snapshot()
    expect(bare).toMatchObject({ description: 'nixos-dokploy-20261120', status: 'available', diskGb: 50, labels: {} })
    await send('POST', '/tags', { name: 'landfall-image:nixos-dokploy' })
    const resources = [{ resource_id: bare?.id, resource_type: 'image' }]
    expect((await send('POST', '/tags/landfall-image:nixos-dokploy/resources', { resources })).status).toBe(204)
    expect((await snapshot())?.labels).toEqual({ 'landfall/image': 'nixos-dokploy' })
    const second = await cloud.createServer(droplet({ name: 'second', image: bare?.id ?? '' }))
    expect(second.imageId).toBe(bare?.id)
    await cloud.deleteImage(bare?.id ?? '')
    await cloud.deleteImage(bare?.id ?? '')
    expect(await snapshot()).toBeUndefined()
  })

  test('are adopted by name and run after a lost answer, and never by name alone', async () => {
    const { cloud, control, sandbox } = await openRig()
    await cloud.createServer(droplet({ labels: { ...LABELS, 'landfall/run': 'run-0' } }))
    sandbox.settings.faults = [
      { vendor: 'digitalocean', method: 'POST', path: '^/droplets$', nth: [1], effect: { kind: 'lost_answer' } },
    ]
    const made = await cloud.createServer(droplet())
    expect(made.labels['landfall/run']).toBe('run-1')
    expect(control.dump().droplets.length).toBe(2)
  })

  test('keep their labels when one is made in the moment in which the last other one that has them goes', async () => {
    let isDropping = () => {}
    const dropping = new Promise<void>(resolve => {
      isDropping = resolve
    })
    const { cloud } = await openRig(undefined, {
      // Long enough for a create to come in between.
      async beforeEffect({ method, path }) {
        if (method !== 'DELETE' || !path.startsWith('/tags/')) return
        isDropping()
        await Bun.sleep(150)
      },
    })
    const old = await cloud.createServer(droplet({ name: 'old' }))
    const deleting = cloud.deleteServer(old.id)
    await dropping
    const made = await cloud.createServer(droplet())
    await deleting
    expect((await cloud.listServers()).map(({ id, labels }) => ({ id, labels }))).toEqual([{ id: made.id, labels: LABELS }])
  })

  test.each([
    ['without a public IPv4 address', { ipv4: 'none' }],
    ['placement groups', { placementGroupId: '1' }],
    ['more than 64 KiB', { userData: 'x'.repeat(65_537) }],
  ] as const)('that the vendor has not are refused before a request: %s', async (words, more) => {
    const { cloud, sandbox } = await openRig()
    const error = await failureOf(cloud.createServer(droplet(more)))
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
    const theirs = await failureOf(
      cloud.createFirewall({ name: 'web', rules: [], labels: { ...LABELS, 'landfall/run': 'run-2' } }),
    )
    expect(theirs.code).toBe('name_taken')
    const made = await cloud.createServer(droplet({ firewallIds: [firewall.id] }))
    sandbox.settings.actionMs = { other: 60 }
    await cloud.setFirewallRules(firewall.id, [{ protocol: 'tcp', port: '443', from: ['0.0.0.0/0'], why: '' }])
    const exposure = sandbox.controls.digitalocean.exposure(`do-${made.id}`)
    expect(exposure.map(each => each.ports)).toEqual([{ first: 443, last: 443 }])
  })

  test('show whom somebody has let in by a tag, and shut them out with the next change', async () => {
    const { cloud, send } = await openRig()
    const rules = [{ protocol: 'tcp', port: '22', from: ['0.0.0.0/0'], why: 'SSH' }] as const
    const firewall = await cloud.createFirewall({ name: 'web', rules, labels: LABELS })
    const seen = async () => (await cloud.listFirewalls())[0]?.rules
    const before = await seen()
    await send('POST', '/tags', { name: 'staff' })
    const byHand = { protocol: 'tcp', ports: '5432', sources: { tags: ['staff'] } }
    await send('PUT', `/firewalls/${firewall.id}`, { name: 'web', tags: ['landfall-guard:web'], inbound_rules: [byHand] })
    expect(await seen()).toEqual([{ protocol: 'tcp', port: '5432', from: [], others: ['tag staff'], why: '' }])
    await cloud.setFirewallRules(firewall.id, rules)
    expect(await seen()).toEqual(before)
  })

  test('count where anybody’s tag puts a server behind them, and stay there until somebody takes that tag off', async () => {
    const { cloud, send } = await openRig()
    const firewall = await cloud.createFirewall({ name: 'wide', rules: [], labels: LABELS })
    const [one, two] = [await cloud.createServer(droplet({ name: 'one' })), await cloud.createServer(droplet({ name: 'two' }))]
    await send('POST', '/tags', { name: 'staff' })
    await send('POST', '/tags/staff/resources', {
      resources: [one, two].map(each => ({ resource_id: each.id, resource_type: 'droplet' })),
    })
    const byHand = { protocol: 'tcp', ports: 'all', sources: { addresses: ['0.0.0.0/0'] } }
    await send('PUT', `/firewalls/${firewall.id}`, {
      name: 'wide',
      tags: ['staff', 'landfall-guard:wide'],
      inbound_rules: [byHand],
    })
    const guarded = async () => (await cloud.listServers()).map(each => [each.name, each.firewallIds])
    expect(await guarded()).toEqual([
      ['one', [firewall.id]],
      ['two', [firewall.id]],
    ])
    const before = JSON.stringify(await guarded())
    const error = await failureOf(cloud.detachFirewall(firewall.id, [one.id]))
    expect([error.code, error.message]).toEqual([
      'refused',
      'Could not detach firewall wide from one: the tag "staff" holds it there.',
    ])
    expect(JSON.stringify(await guarded())).toBe(before)
    await send('PUT', `/firewalls/${firewall.id}`, { name: 'wide', tags: ['landfall-guard:wide'], inbound_rules: [byHand] })
    expect(await guarded()).toEqual([
      ['one', []],
      ['two', []],
    ])
  })

  test('reach a server that is there already', async () => {
    const { cloud } = await openRig()
    const made = await cloud.createServer(droplet())
    const firewall = await cloud.createFirewall({ name: 'late', rules: [], labels: LABELS })
    await cloud.attachFirewall(firewall.id, [made.id])
    expect((await cloud.listServers())[0]?.firewallIds).toEqual([firewall.id])
  })

  test('are taken off a server, whichever way they came onto it, and off no other', async () => {
    const { cloud, send } = await openRig()
    const firewall = await cloud.createFirewall({ name: 'legacy', rules: [], labels: LABELS })
    const [one, two] = [
      await cloud.createServer(droplet({ name: 'one', firewallIds: [firewall.id] })),
      await cloud.createServer(droplet({ name: 'two', firewallIds: [firewall.id] })),
    ]
    const tags = ['landfall-guard:legacy']
    const rule = { protocol: 'tcp', ports: '22', sources: { addresses: ['0.0.0.0/0'] } }
    const both = [one, two].map(each => Number(each.id))
    await send('PUT', `/firewalls/${firewall.id}`, { name: 'legacy', tags, droplet_ids: both, inbound_rules: [rule] })
    await cloud.detachFirewall(firewall.id, [one.id])
    await cloud.detachFirewall(firewall.id, [one.id])
    const servers = await cloud.listServers()
    expect(servers.map(each => [each.name, each.firewallIds])).toEqual([
      ['one', []],
      ['two', [firewall.id]],
    ])
    expect((await cloud.listFirewalls())[0]?.serverIds).toEqual([two.id])
  })
})

describe('the lock', () => {
  const holder = { estate: 'solo', runId: 'run-1', who: 'ann@desk', hostId: 'abc', pid: 7, command: 'bun scripts/setup.ts --yes' }

  test('is had by one, names its holder to others, beats, and is no firewall to anybody', async () => {
    const { cloud, control } = await openRig()
    const { id } = await cloud.locks.create(holder)
    const refused = await failureOf(cloud.locks.create({ ...holder, runId: 'run-2', who: 'bob@ci' }))
    expect(refused.code).toBe('locked')
    expect(refused.message).toContain('ann@desk holds the estate solo')
    expect((await cloud.locks.find('solo'))?.holder).toMatchObject(holder)
    await cloud.locks.beat(id, 'run-1')
    expect((await failureOf(cloud.locks.beat(id, 'run-2'))).code).toBe('locked')
    expect(await cloud.listFirewalls()).toEqual([])
    await cloud.locks.delete(id)
    await cloud.locks.delete(id)
    expect(await cloud.locks.find('solo')).toBeUndefined()
    expect((await failureOf(cloud.locks.beat(id, 'run-1'))).code).toBe('locked')
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
    const error = await failureOf(cloud.verifyToken())
    expect(error.code).toBe('token_invalid')
    expect(Bun.inspect(error)).not.toContain('wrong-and-secret')
    expect(error.message).toContain('DIGITALOCEAN_TOKEN')
  })

  test('the right to write is asked for without an effect', async () => {
    const { cloud, control } = await openRig()
    await cloud.probeWrite()
    expect(control.dump().firewalls).toEqual([])
    const readOnly = await openRig(SANDBOX_TOKENS.digitaloceanReadOnly)
    expect((await failureOf(readOnly.cloud.probeWrite())).code).toBe('token_readonly')
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

  test('the minute of the vendor is not overrun: the stand-in has nothing to refuse', async () => {
    const { cloud, sandbox, waits, interrupt } = await openRig()
    const lists = Array.from({ length: 240 }, () => cloud.listLocations())
    await Promise.all(lists)
    const held = failureOf(cloud.listLocations())
    await Bun.sleep(50)
    interrupt()
    expect((await held).code).toBe('cancelled')
    expect(sandbox.requests().filter(request => request.status === 429)).toEqual([])
    expect(Math.max(...waits)).toBeGreaterThan(30_000)
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
    const error = await failureOf(cloud.listImages())
    expect({ network: hasCode(error, 'network'), id: error.correlationId }).toEqual({ network: true, id: 'abc-1' })
  })
})
