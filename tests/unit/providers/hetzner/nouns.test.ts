/** What Hetzner sends and takes, in our words and in its own. */

import { describe, expect, test } from 'bun:test'
import type { CreateServer } from '../../../../lib/providers/ports/cloud.ts'
import { failureOf, page, type Reply, refusal, rig } from './rig.ts'

const price = (net: string, gross: string) => ({ net, gross })
const listing = async <T>(key: string, items: readonly unknown[], read: (on: ReturnType<typeof rig>) => Promise<T>) =>
  read(rig(() => page(key, items)))

describe('servers as they are sent', () => {
  test('a server of today', async () => {
    const wire = {
      id: 42,
      name: 'prod',
      status: 'initializing',
      created: '2026-11-20T10:00:00+00:00',
      labels: { 'landfall/estate': 'shop' },
      locked: true,
      protection: { delete: true, rebuild: true },
      public_net: {
        ipv4: { id: 1, ip: '192.0.2.7', blocked: false },
        ipv6: { id: 2, ip: '2001:db8:1:2::/64', blocked: false },
        firewalls: [{ id: 9, status: 'applied' }],
      },
      private_net: [{ network: 11, ip: '10.0.1.2' }],
      server_type: { id: 3, name: 'cx23' },
      location: { id: 1, name: 'fsn1' },
      image: { id: 77 },
      placement_group: { id: 5 },
    }
    expect(await listing('servers', [wire], on => on.hetzner.listServers())).toEqual([
      {
        id: '42',
        name: 'prod',
        status: 'starting',
        labels: { 'landfall/estate': 'shop' },
        type: 'cx23',
        location: 'fsn1',
        ipv4: '192.0.2.7',
        ipv6: '2001:db8:1:2::1',
        privateIps: [{ networkId: '11', ip: '10.0.1.2' }],
        firewallIds: ['9'],
        placementGroupId: '5',
        imageId: '77',
        createdAt: '2026-11-20T10:00:00+00:00',
        locked: true,
        deleteProtected: true,
      },
    ])
  })

  test('one with almost everything missing, null, or of another type', async () => {
    const [server, bare] = await listing(
      'servers',
      [{ id: '42', name: 'x', status: 'brand-new', public_net: { ipv4: null, ipv6: null }, image: null }, { id: 7 }],
      on => on.hetzner.listServers(),
    )
    expect(server).toMatchObject({ id: '42', status: 'unknown', privateIps: [], firewallIds: [], locked: false, labels: {} })
    expect(server).not.toHaveProperty('ipv4')
    expect(bare).toMatchObject({ id: '7', name: '', status: 'unknown' })
  })
})

describe('server types', () => {
  const type = (places: unknown) => ({
    id: 1,
    name: 'cx23',
    cores: 2,
    memory: 4,
    disk: 40,
    architecture: 'x86',
    prices: ['fsn1', 'hel1', 'nbg1'].map(location => ({
      location,
      price_hourly: price('0.0060000000', '0.0071400000'),
      price_monthly: price('3.4900000000', '4.1531000000'),
    })),
    locations: places,
  })

  test('are offered where their locations say, with the price of the place', async () => {
    const places = [
      { id: 1, name: 'fsn1', available: true, deprecation: null },
      { id: 2, name: 'hel1', available: false, deprecation: null },
      {
        id: 3,
        name: 'nbg1',
        available: true,
        deprecation: { announced: '2026-01-01T00:00:00Z', unavailable_after: '2026-11-19T00:00:00Z' },
      },
      { id: 4, name: 'ash', available: true },
    ]
    const [cx23] = await listing('server_types', [type(places)], on => on.hetzner.listServerTypes())
    const money = { hourly: { net: 0.006, gross: 0.00714 }, monthly: { net: 3.49, gross: 4.1531 } }
    expect(cx23).toEqual({
      id: '1',
      name: 'cx23',
      cores: 2,
      memoryGb: 4,
      diskGb: 40,
      architecture: 'x86',
      offers: [
        { location: 'fsn1', stock: 'available', ...money },
        { location: 'hel1', stock: 'sold_out', ...money },
        { location: 'nbg1', stock: 'withdrawn', withdrawnAfter: '2026-11-19', ...money },
      ],
    })
  })

  test('that are to be withdrawn later can still be had', async () => {
    const places = [{ name: 'fsn1', available: true, deprecation: { unavailable_after: '2026-12-01T00:00:00Z' } }]
    const [cx23] = await listing('server_types', [type(places)], on => on.hetzner.listServerTypes())
    expect(cx23?.offers).toMatchObject([{ stock: 'available', withdrawnAfter: '2026-12-01' }])
  })

  test('without locations are offered wherever they have a price', async () => {
    const [cx23] = await listing('server_types', [type(undefined)], on => on.hetzner.listServerTypes())
    expect(cx23?.offers.map(({ location, stock }) => `${location} ${stock}`)).toEqual([
      'fsn1 available',
      'hel1 available',
      'nbg1 available',
    ])
  })
})

test('prices come as numbers', async () => {
  const pricing = {
    currency: 'EUR',
    vat_rate: '19.000000',
    image: { price_per_gb_month: price('0.0110000000', '0.0130900000') },
    volume: { price_per_gb_month: price('0.0572', '0.068') },
    server_backup: { percentage: '20.0000000000' },
    primary_ips: [
      {
        type: 'ipv4',
        prices: [{ location: 'fsn1', price_hourly: price('0.0008', '0.001'), price_monthly: price('0.5', '0.595') }],
      },
      { type: 'ipv9', prices: [] },
    ],
    server_types: [
      {
        id: 114,
        name: 'cx23',
        prices: [{ location: 'fsn1', price_hourly: price('0.0056', '0.0067'), price_monthly: price('3.49', '4.15') }],
      },
    ],
    load_balancer_types: [
      {
        name: 'lb11',
        prices: [{ location: 'fsn1', price_hourly: price('0.0086', '0.0103'), price_monthly: price('5.39', '6.41') }],
      },
      { name: null, prices: null },
    ],
  }
  expect(await rig(() => ({ json: { pricing } })).hetzner.readPricing()).toEqual({
    currency: 'EUR',
    vatRate: 19,
    snapshotGbMonth: { net: 0.011, gross: 0.01309 },
    volumeGbMonth: { net: 0.0572, gross: 0.068 },
    serverBackupPercent: 20,
    servers: [{ type: 'cx23', location: 'fsn1', hourly: { net: 0.0056, gross: 0.0067 }, monthly: { net: 3.49, gross: 4.15 } }],
    primaryIps: [{ type: 'ipv4', location: 'fsn1', hourly: { net: 0.0008, gross: 0.001 }, monthly: { net: 0.5, gross: 0.595 } }],
    loadBalancers: [
      { type: 'lb11', location: 'fsn1', hourly: { net: 0.0086, gross: 0.0103 }, monthly: { net: 5.39, gross: 6.41 } },
    ],
  })
})

test('images are asked for by type, in one request, in any state', async () => {
  const on = rig(() =>
    page('images', [
      {
        id: 1,
        type: 'system',
        status: 'available',
        name: 'debian-13',
        description: 'Debian 13',
        architecture: 'arm',
        disk_size: 5,
        image_size: null,
        created: 'c',
        labels: {},
      },
      {
        id: 2,
        type: 'snapshot',
        status: 'creating',
        name: null,
        description: 'ours',
        architecture: 'x86',
        disk_size: 40,
        image_size: 1.5,
        created: 'd',
        labels: { a: 'b' },
      },
    ]),
  )
  expect(await on.hetzner.listImages()).toEqual([
    {
      id: '1',
      name: 'debian-13',
      description: 'Debian 13',
      kind: 'system',
      status: 'available',
      architecture: 'arm',
      diskGb: 5,
      sizeGb: 0,
      createdAt: 'c',
      labels: {},
    },
    {
      id: '2',
      description: 'ours',
      kind: 'snapshot',
      status: 'creating',
      architecture: 'x86',
      diskGb: 40,
      sizeGb: 1.5,
      createdAt: 'd',
      labels: { a: 'b' },
    },
  ])
  expect(on.sent).toEqual(['GET /images?type=system&type=snapshot&page=1&per_page=50'])
})

test('an address that is assigned to nothing has no server, however the vendor says it', async () => {
  const wire = (more: object) => ({
    id: 1,
    name: 'ip',
    type: 'ipv6',
    ip: '2001:db8::/64',
    location: { name: 'fsn1' },
    auto_delete: false,
    labels: {},
    ...more,
  })
  const [free, unassigned, used] = await listing(
    'primary_ips',
    [
      wire({ assignee_id: null, assignee_type: 'server' }),
      { ...wire({ assignee_type: 'unassigned' }), id: 2 },
      { ...wire({ assignee_id: 8 }), id: 3 },
    ],
    on => on.hetzner.listPrimaryIps(),
  )
  expect(free).toEqual({
    id: '1',
    name: 'ip',
    type: 'ipv6',
    ip: '2001:db8::1',
    location: 'fsn1',
    deletedWithServer: false,
    labels: {},
  })
  expect(unassigned).not.toHaveProperty('serverId')
  expect(used?.serverId).toBe('8')
})

describe('firewalls', () => {
  const rules = [
    { protocol: 'tcp', port: '22', from: ['198.51.100.0/24', '::/0'], why: 'ssh' },
    { protocol: 'icmp', from: ['0.0.0.0/0'], why: 'ping' },
  ] as const

  test('rules come back as they were given, and servers behind label selectors count', async () => {
    let stored: unknown
    const on = rig(({ body, method }) => {
      const sent = body as { rules: { port?: string }[] } | undefined
      if (method === 'POST') stored = sent?.rules.map(rule => ({ destination_ips: [], port: null, ...rule }))
      const firewall = {
        id: 3,
        name: 'web',
        labels: { mine: 'yes' },
        rules: [
          ...(Array.isArray(stored) ? stored : []),
          { direction: 'out', protocol: 'tcp', port: '25', source_ips: [], destination_ips: [] },
        ],
        applied_to: [
          { type: 'server', server: { id: 1 } },
          {
            type: 'label_selector',
            label_selector: { selector: 'a=b' },
            applied_to_resources: [
              { type: 'server', server: { id: 2 } },
              { type: 'server', server: { id: 1 } },
            ],
          },
        ],
      }
      return method === 'POST' ? { status: 201, json: { firewall, actions: [] } } : page('firewalls', [firewall])
    })
    await on.hetzner.createFirewall({ name: 'web', rules, labels: { mine: 'yes' } })
    expect(await on.hetzner.listFirewalls()).toEqual([
      { id: '3', name: 'web', labels: { mine: 'yes' }, rules, serverIds: ['1', '2'] },
    ])
  })

  test('rules for protocols that are never sent are seen', async () => {
    const byHand = ['esp', 'gre'].map(protocol => ({ direction: 'in', protocol, port: null, source_ips: ['0.0.0.0/0'] }))
    const on = rig(() => page('firewalls', [{ id: 3, name: 'web', labels: {}, rules: byHand, applied_to: [] }]))
    expect((await on.hetzner.listFirewalls())[0]?.rules).toEqual([
      { protocol: 'esp', from: ['0.0.0.0/0'], why: '' },
      { protocol: 'gre', from: ['0.0.0.0/0'], why: '' },
    ])
  })

  test('attaching what is attached already is done', async () => {
    const on = rig(({ method, path, body }) => {
      if (path === '/servers/1/actions') return page('actions', [])
      if (method === 'GET')
        return { status: 200, json: { server: { id: 1, public_net: { firewalls: [{ id: 9, status: 'applied' }] } } } }
      const { apply_to: to } = body as { apply_to: { server: { id: number } }[] }
      if (to.some(entry => entry.server.id === 1)) return refusal(422, 'firewall_already_applied')
      return { status: 201, json: { actions: [] } }
    })
    await on.hetzner.attachFirewall('9', ['1', '2'])
    await on.hetzner.attachFirewall('9', [])
    expect(on.requests.filter(({ method }) => method === 'POST').map(({ body }) => body)).toEqual([
      {
        apply_to: [
          { type: 'server', server: { id: 1 } },
          { type: 'server', server: { id: 2 } },
        ],
      },
      { apply_to: [{ type: 'server', server: { id: 1 } }] },
      { apply_to: [{ type: 'server', server: { id: 2 } }] },
    ])
  })

  test('one that is attached and never came into force is taken off and attached anew', async () => {
    let attached = true
    const on = rig(({ method, path }) => {
      if (path === '/servers/1/actions') return page('actions', [])
      if (method === 'GET')
        return { status: 200, json: { server: { id: 1, public_net: { firewalls: [{ id: 9, status: 'pending' }] } } } }
      if (path.endsWith('/remove_from_resources')) attached = false
      else if (attached) return refusal(422, 'firewall_already_applied')
      return { status: 201, json: { actions: [] } }
    })
    await on.hetzner.attachFirewall('9', ['1'])
    expect(on.sent.filter(line => line.startsWith('POST'))).toEqual([
      'POST /firewalls/9/actions/apply_to_resources',
      'POST /firewalls/9/actions/remove_from_resources',
      'POST /firewalls/9/actions/apply_to_resources',
    ])
  })

  test('taking one off a server that is free of it is done, and one that a label selector holds is told', async () => {
    const on = rig(({ body }) => {
      const { remove_from: from } = body as { remove_from: { server: { id: number } }[] }
      const id = from[0]?.server.id
      if (id === 1) return refusal(404, 'firewall_resource_not_found')
      return id === 3 ? refusal(422, 'firewall_managed_by_label_selector') : { status: 201, json: { actions: [] } }
    })
    await on.hetzner.detachFirewall('9', ['1', '2'])
    await on.hetzner.detachFirewall('9', [])
    expect(on.requests.map(({ method, path, body }) => [method, path, body])).toEqual(
      [1, 2].map(id => [
        'POST',
        '/firewalls/9/actions/remove_from_resources',
        { remove_from: [{ type: 'server', server: { id } }] },
      ]),
    )
    const error = await failureOf(on.hetzner.detachFirewall('9', ['3']))
    expect([error.code, error.message]).toEqual([
      'refused',
      'Could not detach firewall 9 from server 3: a label selector holds it there.',
    ])
  })

  test('one that stays in use is refused after two minutes, saying where to look', async () => {
    const on = rig(() => refusal(422, 'resource_in_use'))
    const error = await failureOf(on.hetzner.deleteFirewall('9'))
    expect(error.message).toBe('Could not delete firewall 9: it is still applied to a server.')
    expect(error.code).toBe('refused')
    expect(on.clock.monotonicMs()).toBeGreaterThan(100_000)
    expect(on.clock.monotonicMs()).toBeLessThan(130_000)
  })

  test('one that lingers in use for a moment is deleted', async () => {
    const on = rig((_, n) => (n < 4 ? refusal(422, 'resource_in_use') : { status: 204, text: '' }))
    await on.hetzner.deleteFirewall('9')
    expect(on.sent).toHaveLength(4)
  })
})

describe('making a server', () => {
  const input: CreateServer = {
    name: 'prod',
    type: 'cx23',
    location: 'fsn1',
    image: '77',
    sshKeyIds: ['4'],
    firewallIds: ['9'],
    networkIds: ['11'],
    placementGroupId: '5',
    labels: { estate: 'shop', nonce: 'n1' },
    userData: '#cloud-config',
    ipv4: { id: '31' },
    ipv6: 'none',
  }
  const made = (labels: object, more: object = {}) => ({
    id: 42,
    name: 'prod',
    status: 'initializing',
    labels,
    public_net: { ipv4: { ip: '192.0.2.7' }, ipv6: null },
    ...more,
  })

  test('everything is in the one request, and a data center is not', async () => {
    const on = rig(() => ({
      status: 201,
      json: { server: made(input.labels), action: null, next_actions: [], root_password: null },
    }))
    expect(await on.hetzner.createServer(input)).toMatchObject({ id: '42', ipv4: '192.0.2.7' })
    expect(on.requests.map(({ body }) => body)).toEqual([
      {
        name: 'prod',
        server_type: 'cx23',
        location: 'fsn1',
        image: 77,
        start_after_create: true,
        ssh_keys: [4],
        firewalls: [{ firewall: 9 }],
        networks: [11],
        placement_group: 5,
        labels: { estate: 'shop', nonce: 'n1' },
        user_data: '#cloud-config',
        public_net: { enable_ipv4: true, enable_ipv6: false, ipv4: 31 },
      },
    ])
  })

  test('after a lost answer the server that was made is continued with, and its actions are waited for', async () => {
    const on = rig(({ method, path, query = [] }): Reply => {
      if (method === 'POST') return { fails: 'no_answer' }
      if (path === '/servers/42/actions') return page('actions', [{ id: 900, command: 'create_server', status: 'running' }])
      if (path === '/actions') return { json: { actions: [{ id: 900, command: 'create_server', status: 'success' }] } }
      if (query.some(([name]) => name === 'status')) return page('servers', [])
      return page('servers', [made({ ...input.labels, more: 'x' })])
    })
    const server = await on.hetzner.createServer(input)
    await on.hetzner.waitServerRunning(server.id, new AbortController().signal)
    expect(on.sent).toEqual([
      'POST /servers',
      'GET /servers?name=prod&page=1&per_page=50',
      'GET /servers/42/actions?status=running&page=1&per_page=50',
      'GET /actions?id=900',
      'GET /servers?status=off&page=1&per_page=50',
    ])
  })

  test('a server that ended off although its start succeeded is powered on', async () => {
    let isOn = false
    const on = rig(({ method, path, query = [] }): Reply => {
      const now = made(input.labels, { status: isOn ? 'running' : 'off' })
      if (path === '/servers/42/actions/poweron') {
        isOn = true
        return { status: 201, json: { action: { id: 901, command: 'start_server', status: 'success' } } }
      }
      if (method === 'POST')
        return {
          status: 201,
          json: {
            server: made(input.labels),
            action: { id: 900, command: 'create_server', status: 'success' },
            next_actions: [],
          },
        }
      if (query.some(([name]) => name === 'status')) return page('servers', isOn ? [] : [now])
      return { json: { server: now } }
    })
    const server = await on.hetzner.createServer(input)
    expect((await on.hetzner.waitServerRunning(server.id, new AbortController().signal)).status).toBe('running')
    expect(on.sent).toContain('POST /servers/42/actions/poweron')
  })

  test("a stranger's server of that name is never continued with", async () => {
    for (const labels of [{}, { estate: 'shop', nonce: 'n2' }, { estate: 'shop' }]) {
      const on = rig(({ method }) => (method === 'POST' ? refusal(409, 'uniqueness_error') : page('servers', [made(labels)])))
      const error = await failureOf(on.hetzner.createServer(input))
      expect(error.code).toBe('name_taken')
      expect(error.message).toBe('Could not create server prod: the project has another object of this name, with other labels.')
      expect(on.counts().writes).toBe(1)
    }
  })

  test('without labels nothing proves that a server is ours', async () => {
    const on = rig(({ method }) => (method === 'POST' ? { fails: 'no_answer' } : page('servers', [made({})])))
    expect((await failureOf(on.hetzner.createServer({ ...input, labels: {} }))).code).toBe('name_taken')
  })

  test('an address that comes later is waited for', async () => {
    let reads = 0
    const on = rig(({ method }) => {
      if (method === 'POST')
        return { status: 201, json: { server: made(input.labels, { public_net: { ipv4: null, ipv6: null } }) } }
      reads += 1
      return { json: { server: made(input.labels, reads < 3 ? { public_net: { ipv4: null } } : {}) } }
    })
    expect((await on.hetzner.createServer(input)).ipv4).toBe('192.0.2.7')
  })

  test('no room there is told as such, and not tried again', async () => {
    const on = rig(() => refusal(412, 'resource_unavailable'))
    expect((await failureOf(on.hetzner.createServer(input))).code).toBe('out_of_stock')
    expect(on.sent).toEqual(['POST /servers'])
  })
})

describe('deleting a server', () => {
  test('ends when the vendor has ended it', async () => {
    const action = { id: 900, command: 'delete_server', status: 'running' }
    const on = rig(({ method }, n) =>
      method === 'DELETE' ? { json: { action } } : { json: { actions: [{ ...action, status: n < 3 ? 'running' : 'success' }] } },
    )
    await on.hetzner.deleteServer('42')
    expect(on.sent).toEqual(['DELETE /servers/42', 'GET /actions?id=900', 'GET /actions?id=900'])
  })

  test('whose answer was lost is not found, and so is gone', async () => {
    const on = rig((_, n) => (n === 1 ? { fails: 'no_answer' } : refusal(404, 'not_found')))
    await on.hetzner.deleteServer('42')
    expect(on.sent).toEqual(['DELETE /servers/42', 'DELETE /servers/42'])
  })

  test('that is protected is refused, with the way to lift it', async () => {
    const error = await failureOf(rig(() => refusal(423, 'protected')).hetzner.deleteServer('42'))
    expect(error.code).toBe('refused')
    expect(error.hint).toContain('Disable protection')
  })
})

describe('SSH keys', () => {
  const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3kq5oJ8jFc8cXyqvD0pFZ2fJwq5mWw7nHcH8vJQk1a ops@example.com'
  // ssh-keygen -l -E md5
  const fingerprint = new Bun.CryptoHasher('md5')
    .update(Buffer.from(publicKey.split(' ')[1] ?? '', 'base64'))
    .digest('hex')
    .match(/../g)
    ?.join(':')

  test('a key that is there under another name is that key', async () => {
    const on = rig(({ method, query = [] }) => {
      if (method === 'POST') return refusal(409, 'uniqueness_error', { fields: [{ name: 'public_key' }] })
      const known = query.some(([name, value]) => name === 'fingerprint' && value === fingerprint)
      return page(
        'ssh_keys',
        known ? [{ id: 5, name: 'laptop', public_key: `${publicKey.split(' ').slice(0, 2).join(' ')} other`, labels: {} }] : [],
      )
    })
    expect(await on.hetzner.createSshKey({ name: 'landfall', publicKey, labels: { a: 'b' } })).toMatchObject({
      id: '5',
      name: 'laptop',
    })
    expect(on.counts()).toEqual({ reads: 1, writes: 1 })
  })

  test('another key under that name is in the way', async () => {
    const on = rig(({ method, query = [] }) => {
      if (method === 'POST') return refusal(409, 'uniqueness_error', { fields: [{ name: 'name' }] })
      return page(
        'ssh_keys',
        query.some(([name]) => name === 'name') ? [{ id: 5, name: 'landfall', public_key: 'ssh-ed25519 AAAA' }] : [],
      )
    })
    expect((await failureOf(on.hetzner.createSshKey({ name: 'landfall', publicKey, labels: { a: 'b' } }))).code).toBe(
      'name_taken',
    )
  })
})
