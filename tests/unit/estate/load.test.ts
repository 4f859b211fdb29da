import { describe, expect, test } from 'bun:test'
import { parseConfig } from '../../../lib/estate/load.ts'
import { errorOf, fleet, KEY, linesOf, load, mistakesIn, OTHER_KEY, twoServers } from './configs.ts'

const withServer = (server: object, more: object = {}) => ({
  project: 'p',
  hetzner: { location: 'nbg1' },
  servers: { web: { type: 'cx23', ...server } },
  ...more,
})

describe('a two-role file without any option', () => {
  const estate = load(twoServers, ['198.51.100.7'])

  test('is named after its domain', () => expect(estate.name).toBe('nextnode'))

  test('gives one Dokploy server for each role, on the golden image', () =>
    expect(
      estate.servers.map(({ name, role, types, locations, image, dokploy, protected: kept }) => ({
        name,
        role,
        types,
        locations,
        image,
        host: dokploy?.host,
        kept,
      })),
    ).toEqual([
      {
        name: 'dev-dokploy',
        role: 'dev',
        types: ['cx23'],
        locations: ['nbg1'],
        image: { kind: 'golden' },
        host: 'dev.admin.nextnode.fr',
        kept: false,
      },
      {
        name: 'prod-dokploy',
        role: 'prod',
        types: ['cx33'],
        locations: ['nbg1'],
        image: { kind: 'golden' },
        host: 'admin.nextnode.fr',
        kept: false,
      },
    ]))

  test('keeps the build type out of the servers', () => expect(estate.imageBuildType).toBe('cx23'))

  test('takes version and administrator from the defaults', () =>
    expect(estate.servers[0]?.dokploy).toMatchObject({ version: '0.30.2', adminEmail: 'admin@nextnode.fr' }))

  test('points one name at each panel', () =>
    expect(estate.dns).toEqual({
      zone: 'nextnode.fr',
      records: [
        { name: 'dev.admin.nextnode.fr', server: 'dev-dokploy', ttl: 300, proxied: false },
        { name: 'admin.nextnode.fr', server: 'prod-dokploy', ttl: 300, proxied: false },
      ],
    }))

  test('opens the panel only behind an owner and only to the admin addresses', () => {
    const [first, admin] = estate.firewalls
    expect([first?.name, first?.attach]).toEqual(['nextnode-dokploy', 'at_create'])
    expect(first?.rules.map(rule => `${rule.port ?? ''}/${rule.protocol}`)).toEqual([
      '22/tcp',
      '80/tcp',
      '443/tcp',
      '443/udp',
      '/icmp',
    ])
    expect([admin?.name, admin?.attach]).toEqual(['nextnode-admin', 'when_owned'])
    expect(admin?.rules).toEqual([
      { protocol: 'tcp', port: '3000', from: ['198.51.100.7/32'], why: "Dokploy's panel, until it has a name" },
    ])
    expect(estate.servers.map(server => server.firewalls)).toEqual([['nextnode-dokploy'], ['nextnode-dokploy']])
  })

  test('keeps the address of the API', () => expect(estate.cloudflareBaseUrl).toBe('https://api.cloudflare.com/client/v4'))

  test('is frozen to the bottom', () => {
    expect(Object.isFrozen(estate.firewalls[0]?.rules[0]?.from)).toBe(true)
    expect(Object.isFrozen(estate.servers[1]?.dokploy)).toBe(true)
  })
})

describe('an estate of plain servers', () => {
  const estate = load(fleet, ['2001:db8::7'])

  test('numbers the members of a group behind its first, which has its name', () =>
    expect(estate.servers.map(server => server.name)).toEqual(['node', 'node-2', 'node-3', 'edge']))

  test('runs no Dokploy and has no names', () => {
    expect(estate.servers.some(server => server.dokploy !== undefined)).toBe(false)
    expect(estate.dns).toBeUndefined()
  })

  test('has the firewalls of the file only, all on a server that names none', () => {
    expect(estate.firewalls.map(({ name, attach }) => [name, attach])).toEqual([
      ['ssh', 'at_create'],
      ['web', 'at_create'],
    ])
    expect(estate.servers.map(server => server.firewalls)).toEqual([['ssh', 'web'], ['ssh', 'web'], ['ssh', 'web'], ['web']])
    expect(estate.firewalls[1]?.rules[1]?.from).toEqual(['2001:db8::7/128'])
  })

  test('joins the network, whose range may overlap a swarm that does not exist', () => {
    expect(estate.network).toEqual({ name: 'fleet', range: '10.0.0.0/16', subnet: '10.0.1.0/24' })
    expect(estate.servers.every(server => server.network)).toBe(true)
  })

  test('keeps preferences in their order', () => {
    expect(estate.servers[3]).toMatchObject({
      types: ['cax11', 'cx23'],
      locations: ['hel1'],
      image: { kind: 'system', name: 'debian-12' },
    })
    expect(estate.servers[0]?.locations).toEqual(['nbg1', 'fsn1'])
  })
})

describe('what the operator brings', () => {
  test('admin addresses of the file win over those of the machine, even when there are none', () => {
    expect(
      load({ ...twoServers, firewall: { admin_addresses: ['203.0.113.9', '203.0.113.4/30'] } }, ['198.51.100.7']).adminAddresses,
    ).toEqual(['203.0.113.4/30', '203.0.113.9/32'])
    expect(load({ ...twoServers, firewall: { admin_addresses: [] } }, ['198.51.100.7']).firewalls[1]?.rules).toEqual([])
  })

  test('keys of the file are added to those of the machine, each once, under names of their own', () => {
    const { keys } = load(
      { ...twoServers, ssh: { public_keys: [`${KEY} me@laptop`, OTHER_KEY] } },
      [],
      [{ name: 'id_ed25519', publicKey: `${KEY} other comment` }],
    )
    expect(keys.map(key => key.publicKey).sort()).toEqual([KEY, OTHER_KEY].sort())
    expect(keys.map(key => key.name).sort()).toEqual([
      expect.stringMatching(/^nextnode-[0-9a-f]{8}$/),
      expect.stringMatching(/^nextnode-id-ed25519-[0-9a-f]{8}$/),
    ])
  })

  test('an address that is none is refused in words', () =>
    expect(errorOf(() => load(twoServers, ['my house'])).message).toContain('"my house"'))
})

describe('defaults', () => {
  test('a server without Dokploy and without firewalls in the file is guarded by SSH and ping alone', () => {
    const estate = load(withServer({}))
    expect(estate.servers[0]?.firewalls).toEqual(['p-base'])
    expect(estate.firewalls.map(firewall => firewall.rules.map(rule => rule.port ?? rule.protocol))).toEqual([['22', 'icmp']])
  })

  test('a network without a range takes one that Docker leaves alone', () =>
    expect(load({ ...twoServers, network: {} }).network).toEqual({
      name: 'nextnode',
      range: '172.16.0.0/16',
      subnet: '172.16.0.0/24',
    }))

  test('a server without public addresses carries no cloud firewall', () =>
    expect(load(withServer({ ipv4: false, ipv6: false }, { network: {} })).servers[0]?.firewalls).toEqual([]))

  test('roles have subdomains without being asked', () => {
    const estate = load({
      hetzner: { location: 'nbg1', server_types: { prod: 'cx33', staging: ['cx23', 'cpx22'] } },
      dns: { domain: 'example.com' },
    })
    expect(estate.servers.map(server => server.dokploy?.host)).toEqual(['admin.example.com', 'staging.admin.example.com'])
  })

  test('a byte order mark is no mistake', () =>
    expect(() => parseConfig(`\uFEFF${JSON.stringify(twoServers)}`, 'c')).not.toThrow())
})

describe('mistakes', () => {
  test('are reported all at once, each with its place and the nearest right word', () => {
    const text = `{
  "hetznr": {},
  "hetzner": { "location": ["nbg1", 3], "server_types": { "prod": 33, "packer-build": "cx23", "dev": "cx23" } },
  "dns": { "domain": "Nextnode.FR", "ttl": 5, "dve_admin_subdomain": "x" },
  "domain": "example.com",
  "servers": { "web": { "type": "cx23", "firewall": ["a"], "firewalls": ["frontt"], "count": 0 } },
  "firewalls": { "front": [{ "port": 70000, "from": ["anywere"] }] },
  "dokploy": { "version": "v0.28.1" }
}`
    expect(linesOf(text)).toEqual([
      'line 2:3  hetznr: unknown key; did you mean "hetzner"?',
      'line 3:37  hetzner.location[1]: must be a location like "nbg1", not 3',
      'line 3:59  hetzner.server_types.prod: must be a server type like "cx23", not 33',
      'line 3:71  hetzner.server_types.packer-build: is not a role; did you mean "packer_build"?',
      'line 4:12  dns.domain: must be a domain like "example.com", not "Nextnode.FR"; did you mean "nextnode.fr"?',
      'line 4:37  dns.ttl: must be a whole number of seconds from 60 to 86400, not 5',
      'line 4:47  dns.dve_admin_subdomain: names a role that no Dokploy server has; did you mean "dev_admin_subdomain"?',
      'line 5:3  domain: unknown key here; did you mean dns.domain?',
      'line 6:41  servers.web.firewall: unknown key; did you mean "firewalls"?',
      'line 6:60  servers.web.firewalls: names "frontt", which is not among firewalls; did you mean "front"?',
      'line 6:85  servers.web.count: must be a whole number from 1 to 500, not 0',
      'line 7:30  firewalls.front[0].port: must be a port from 1 to 65535, or a range like "8000-8100", not 70000',
      'line 7:54  firewalls.front[0].from[0]: must be "anywhere", "admin" or a range, not "anywere"; did you mean "anywhere"?',
      'line 8:16  dokploy.version: must be a version like "0.30.2", not "v0.28.1"',
    ])
  })

  test('carry the code config, the file and a way on', () => {
    const error = errorOf(() => parseConfig('{}', 'other.json'))
    expect(error.code).toBe('config')
    expect(error.message).toStartWith('other.json has 2 mistakes:')
    expect(error.hint).toContain('other.json')
  })

  test('do not hide behind each other: what a wrong value causes is not reported as well', () => {
    expect(mistakesIn({ hetzner: { location: 7, server_types: { prod: 'cx33' } }, dns: { domain: 'example.com' } })).toEqual([
      'hetzner.location: must be a location like "nbg1", not 7',
    ])
    expect(mistakesIn({ ...twoServers, dns: 'nextnode.fr' })).toEqual([
      'dns: must be a group of keys in braces, not "nextnode.fr"',
    ])
    expect(mistakesIn({ ...fleet, firewalls: { ...fleet.firewalls, web: 'open' } })).toEqual([
      'firewalls.web: must be a list of rules, not "open"',
    ])
  })

  test('are not reported twice', () => {
    expect(mistakesIn({ ...twoServers, dns: { ...twoServers.dns, ttll: 5 } })).toEqual([
      'dns.ttll: unknown key; did you mean "ttl"?',
    ])
    const wrongName = { type: 'cx23', dokploy: true, role: 'x', firewalls: ['nothing-like-it'] }
    expect(mistakesIn({ ...twoServers, servers: { other: wrongName } })).toEqual([
      'servers.other.firewalls: names "nothing-like-it", which is not among firewalls',
    ])
  })

  test('are listed up to fifty, and then counted', () => {
    const lines = linesOf(JSON.stringify(Object.fromEntries(Array.from({ length: 120 }, (_, index) => [`unknown${index}`, 1]))))
    expect(lines).toHaveLength(51)
    expect(lines[50]).toBe('… and 72 more')
  })

  const cases: [string, unknown, string][] = [
    [
      'no place for the admin firewall',
      withServer(
        { dokploy: true, firewalls: ['a', 'b', 'c', 'd', 'e'] },
        { firewalls: Object.fromEntries([...'abcde'].map(name => [name, [{ port: 22, from: ['anywhere'] }]])) },
      ),
      'servers.web.firewalls: has 5 firewalls; 4 fit',
    ],
    ['an empty file', {}, 'hetzner.server_types: is missing: no server is described here or in servers'],
    [
      'no name',
      { hetzner: { location: 'nbg1' }, servers: { a: { type: 'cx23' } } },
      'project: is missing: without dns.domain the estate needs a name',
    ],
    [
      'a name made of digits',
      { ...twoServers, dns: { domain: '123.example.com' } },
      'project: is missing: "123", from dns.domain',
    ],
    ['a name that is too long', { ...twoServers, project: 'a'.repeat(31) }, 'project: must be a name of at most 30'],
    ['no place', { project: 'p', servers: { a: { type: 'cx23' } } }, 'hetzner.location: is missing'],
    ['no type', { project: 'p', hetzner: { location: 'nbg1' }, servers: { a: {} } }, 'servers.a.type: is missing'],
    [
      'an empty list of types',
      withServer({ type: [] }),
      'servers.web.type: must be a server type like "cx23", or a list of at least one',
    ],
    ['a type twice', withServer({ type: ['cx23', 'cx23'] }), 'servers.web.type: names "cx23" twice'],
    [
      'two servers of one name',
      { ...twoServers, servers: { 'dev-dokploy': { type: 'cx23' } } },
      'servers.dev-dokploy: makes a server dev-dokploy, which hetzner.server_types.dev makes too',
    ],
    [
      'a group that runs into a single one',
      { ...withServer({ count: 2 }), servers: { web: { type: 'cx23', count: 2 }, 'web-2': { type: 'cx23' } } },
      'servers.web-2: makes a server web-2, which servers.web makes too',
    ],
    [
      'two panels for one role',
      { ...twoServers, servers: { other: { type: 'cx23', dokploy: true, role: 'dev' } } },
      'servers.other: has the role dev, whose panel is on dev-dokploy already',
    ],
    [
      'two panels at one host',
      { ...twoServers, dns: { ...twoServers.dns, dev_admin_subdomain: 'admin' } },
      'dns.admin_subdomain: gives role prod the host admin.nextnode.fr, where the panel of role dev answers',
    ],
    [
      'a name that no record could carry',
      { ...twoServers, servers: { ['x'.repeat(50)]: { type: 'cx23', dokploy: true } } },
      `makes the server name "${'x'.repeat(50)}", of which at most 48 characters fit`,
    ],
    [
      'a name that is no host name',
      withServer({}, { servers: { web_1: { type: 'cx23' } } }),
      'servers.web_1: must be a name of at most 63',
    ],
    ['Dokploy on a group', withServer({ dokploy: true, count: 2 }), 'servers.web.count: is more than 1 with dokploy'],
    ['Dokploy without an administrator', withServer({ dokploy: true }), 'dokploy.admin_email: is missing'],
    [
      'Dokploy that is too old',
      { ...twoServers, dokploy: { version: '0.29.2' } },
      'dokploy.version: must be 0.29.3 or newer, not 0.29.2',
    ],
    [
      'a panel for everybody',
      {
        ...twoServers,
        firewalls: {
          'nextnode-dokploy': [
            { port: 22, from: ['anywhere'] },
            { port: '2000-4000', from: ['0.0.0.0/0'] },
          ],
        },
      },
      'firewalls.nextnode-dokploy[1]: opens port 3000 of dev-dokploy to everybody',
    ],
    [
      'a panel before its owner',
      {
        ...twoServers,
        firewalls: {
          'nextnode-dokploy': [
            { port: 22, from: ['anywhere'] },
            { port: 3000, from: ['admin'] },
          ],
        },
      },
      'firewalls.nextnode-dokploy[1]: opens port 3000 of dev-dokploy: leave it out',
    ],
    [
      'a machine that nobody reaches',
      { ...twoServers, firewalls: { 'nextnode-dokploy': [{ port: 443, from: ['anywhere'] }] } },
      'lets nobody reach port 22',
    ],
    [
      'the name of the admin firewall',
      { ...twoServers, firewalls: { 'nextnode-admin': [{ port: 22, from: ['anywhere'] }] } },
      'firewalls.nextnode-admin: is the name of the firewall that lets administrators in',
    ],
    [
      'no guard at all',
      withServer({ firewalls: [] }),
      'servers.web.firewalls: is empty: everything on the server would be reachable from anywhere',
    ],
    [
      'a guard without a gate',
      withServer(
        { ipv4: false, ipv6: false, firewalls: ['f'] },
        { network: {}, firewalls: { f: [{ port: 22, from: ['anywhere'] }] } },
      ),
      'servers.web.firewalls: guards nothing',
    ],
    ['an unreachable server', withServer({ ipv4: false, ipv6: false }), 'servers.web: has no public address and no network'],
    [
      'a network that is not there',
      withServer({ network: true }),
      'servers.web.network: wants a network, but the file describes none',
    ],
    [
      'a placement group that is not there',
      withServer({ placement_group: 'spred' }, { placement_groups: ['spread'] }),
      'servers.web.placement_group: names "spred", which is not in placement_groups; did you mean "spread"?',
    ],
    [
      'a crowded placement group',
      withServer({ placement_group: 'g', count: 11 }, { placement_groups: ['g'] }),
      'placement_groups[0]: has 11 servers; 10 fit',
    ],
    [
      'a tcp rule without a port',
      { ...fleet, firewalls: { web: [{ from: ['anywhere'] }] }, servers: { a: { type: 'cx23' } } },
      'firewalls.web[0].port: is missing',
    ],
    [
      'an icmp rule with a port',
      { ...fleet, firewalls: { ...fleet.firewalls, web: [{ protocol: 'icmp', port: 1, from: ['anywhere'] }] } },
      'firewalls.web[0].port: is not allowed for icmp',
    ],
    [
      'a rule for nobody',
      { ...fleet, firewalls: { ...fleet.firewalls, web: [{ port: 1 }] } },
      'firewalls.web[0].from: is missing: say who may reach it',
    ],
    [
      'a backward range of ports',
      { ...fleet, firewalls: { ...fleet.firewalls, web: [{ port: '90-80', from: ['anywhere'] }] } },
      'firewalls.web[0].port: must be a port from 1 to 65535, or a range',
    ],
    [
      'everybody as administrator',
      { ...twoServers, firewall: { admin_addresses: ['0.0.0.0/0'] } },
      'firewall.admin_addresses[0]: must not be "0.0.0.0/0"',
    ],
    [
      'an administrator who is no address',
      { ...twoServers, firewall: { admin_addresses: ['1.2.3'] } },
      'firewall.admin_addresses[0]: must be an IP address',
    ],
    [
      "Docker's own range beside Dokploy",
      { ...twoServers, network: { range: '10.1.0.0/16' } },
      'network.range: overlaps 10.0.0.0/8',
    ],
    ['a public network', { ...fleet, network: { range: '8.8.0.0/16' } }, 'network.range: must lie in 10.0.0.0/8'],
    [
      'a subnet outside its range',
      { ...fleet, network: { range: '10.0.0.0/16', subnet: '10.1.0.0/24' } },
      'network.subnet: must lie in the range 10.0.0.0/16',
    ],
    [
      'plain HTTP to a vendor',
      { ...twoServers, cloudflare: { api_base_url: 'http://api.cloudflare.com' } },
      'cloudflare.api_base_url: must be an https:// address',
    ],
    [
      'a password in an address',
      { ...twoServers, cloudflare: { api_base_url: 'https://a:b@example.com' } },
      'cloudflare.api_base_url: must be an https:// address',
    ],
    [
      'a private key',
      { ...twoServers, ssh: { public_keys: ['-----BEGIN OPENSSH PRIVATE KEY-----'] } },
      'ssh.public_keys[0]: is a private key: never put it here',
    ],
    [
      'half a public key',
      { ...twoServers, ssh: { public_keys: [KEY.slice(0, -4)] } },
      'ssh.public_keys[0]: is cut off or damaged',
    ],
    [
      'the same key twice',
      { ...twoServers, ssh: { public_keys: [KEY, `${KEY} again`] } },
      'ssh.public_keys[1]: is the same key as ssh.public_keys[0]',
    ],
    [
      'a list of build types',
      { ...twoServers, hetzner: { ...twoServers.hetzner, server_types: { prod: 'cx33', packer_build: ['cx23'] } } },
      'hetzner.server_types.packer_build: must be one server type',
    ],
    [
      'a list for a group',
      { ...twoServers, cost: [], dns: ['x'] },
      'dns: must be a group of keys in braces, not ["x"]\ncost: must be a group of keys in braces, not []',
    ],
    ['a secret', { ...twoServers, hcloud_token: 'x' }, 'hcloud_token: unknown key: secrets never stand in this file'],
    [
      'null',
      { ...twoServers, project: null },
      'project: must be a name of at most 30 lower-case letters, digits and hyphens, not null',
    ],
    ['an amount of nothing', { ...twoServers, cost: { monthly_cap: 0 } }, 'cost.monthly_cap: must be an amount above 0, not 0'],
    ['a pasted address for a domain', { ...twoServers, dns: { domain: 'https://Example.com/' } }, 'did you mean "example.com"?'],
    ['an international domain', { ...twoServers, dns: { domain: 'münchen.example' } }, 'did you mean "xn--mnchen-3ya.example"?'],
    ['a list for the whole file', [], 'must hold one group of keys in braces'],
    [
      'the documentation copied',
      { ...twoServers, dns: { ...twoServers.dns, '<role>_admin_subdomain': 'x' } },
      'dns["<role>_admin_subdomain"]: unknown key',
    ],
  ]
  for (const [name, config, mistake] of cases)
    test(`${name} is a mistake`, () => expect(mistakesIn(config).join('\n')).toContain(mistake))
})

describe('what is allowed although it looks odd', () => {
  const cases: [string, unknown][] = [
    ['a stand-in on this machine', { ...twoServers, cloudflare: { api_base_url: 'http://127.0.0.1:8080/client/v4' } }],
    ["Docker's range, when the file says so", { ...twoServers, network: { range: '10.1.0.0/16', allow_docker_overlap: true } }],
    ['the oldest Dokploy', { ...twoServers, dokploy: { version: '0.29.3' } }],
    [
      'a port as a number or a range',
      { ...fleet, firewalls: { ssh: [{ port: 22, from: ['anywhere'] }], web: [{ port: '8000-8100', from: ['198.51.100.7'] }] } },
    ],
    ['Dokploy without DNS', withServer({ dokploy: true }, { dokploy: { admin_email: 'me@example.com' } })],
  ]
  for (const [name, config] of cases) test(name, () => expect(mistakesIn(config)).toEqual([]))
})

describe('hostile files', () => {
  test('more than a mebibyte is refused before it is read', () =>
    expect(errorOf(() => parseConfig(`"${'x'.repeat(1024 * 1024)}"`, 'config.json')).message).toContain('at most 1048576'))

  test('prototype keys are named and change nothing', () => {
    expect(linesOf(`{ "__proto__": { "project": "evil" }, ${JSON.stringify(twoServers).slice(1)}`)).toEqual([
      'line 1:3  __proto__: this key is never allowed',
    ])
    expect(Reflect.get({}, 'project')).toBeUndefined()
  })

  test('control characters of the file never reach the message', () => {
    const text = JSON.stringify({ 'a\u001b]0;x\u0007\u202e': 1, project: '\u009b31m\u200b' })
    expect(linesOf(text).join()).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  })

  const big: [string, string][] = [
    ['a hundred thousand equal keys', `{${'"a":1,'.repeat(100_000)}"a":1}`],
    ['a hundred thousand unknown keys', `{${Array.from({ length: 80_000 }, (_, index) => `"k${index}":1`).join(',')}}`],
    ['half a million list elements', `{"placement_groups":[${'1,'.repeat(500_000)}1]}`],
    [
      'thousands of placement groups',
      JSON.stringify({ placement_groups: Array.from({ length: 19_000 }, (_, index) => `g${index}`) }),
    ],
    ['deep nesting', '['.repeat(500_000)],
    [
      'thousands of servers',
      `{"servers":{${Array.from({ length: 30_000 }, (_, index) => `"s${index}":{"type":"cx23"}`).join(',')}}}`,
    ],
    [
      'one huge key above many',
      `{"${'k'.repeat(400_000)}":{${Array.from({ length: 40_000 }, (_, index) => `"k${index}":1`).join(',')}}}`,
    ],
  ]
  for (const [name, text] of big)
    test(`${name}: refused within a second, in at most 52 lines`, () => {
      const start = performance.now()
      const lines = linesOf(text)
      expect(lines.length).toBeGreaterThan(0)
      expect(lines.length).toBeLessThanOrEqual(52)
      expect(performance.now() - start).toBeLessThan(1_000)
    })
})
