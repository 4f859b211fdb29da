import { describe, expect, test } from 'bun:test'
import { makeServer, openWorld, type World } from './world.ts'

const SSH = { direction: 'in', protocol: 'tcp', port: '22', source_ips: ['192.0.2.7/32'] } as const
const WEB = { direction: 'in', protocol: 'tcp', port: '80-443', source_ips: ['0.0.0.0/0', '::/0'], description: 'web' } as const

const makeFirewall = (world: World, more: Readonly<Record<string, unknown>> = {}): number => {
  const id = world
    .send('POST', '/firewalls', { name: 'wall', rules: [SSH], ...more })
    .body.at('firewall', 'id')
    .number()
  world.wait()
  return id
}

const toServer = (id: number) => ({ type: 'server', server: { id } })
const toLabel = (selector: string) => ({ type: 'label_selector', label_selector: { selector } })

describe('rules', () => {
  const bad: [string, Record<string, unknown>, string][] = [
    ['host bits', { source_ips: ['192.0.2.7/24'] }, 'rules[0].source_ips'],
    ['an address without a prefix', { source_ips: ['192.0.2.7'] }, 'rules[0].source_ips'],
    ['101 blocks', { source_ips: Array.from({ length: 101 }, (_, i) => `192.0.2.${i}/32`) }, 'rules[0].source_ips'],
    ['no source', { source_ips: [] }, 'rules[0].source_ips'],
    ['destinations on the way in', { destination_ips: ['0.0.0.0/0'] }, 'rules[0].destination_ips'],
    ['no port', { port: undefined }, 'rules[0].port'],
    ['port 0', { port: '0' }, 'rules[0].port'],
    ['a port range upside down', { port: '90-80' }, 'rules[0].port'],
    ['a port for icmp', { protocol: 'icmp' }, 'rules[0].port'],
    ['an unknown protocol', { protocol: 'sctp' }, 'rules[0].protocol'],
    ['a description of 256 characters', { description: 'x'.repeat(256) }, 'rules[0].description'],
  ]
  for (const [what, change, field] of bad)
    test(`with ${what} are refused`, () => {
      const answer = openWorld().send('POST', '/firewalls', { name: 'wall', rules: [{ ...SSH, ...change }] })
      expect(answer).toMatchObject({ status: 422, code: 'invalid_input' })
      expect(answer.body.at('error', 'details', 'fields', 0, 'name').value).toBe(field)
    })

  test('more than 50 rules, and more than 50 firewalls, exceed limits', () => {
    const world = openWorld()
    const rules = Array.from({ length: 51 }, () => SSH)
    expect(world.send('POST', '/firewalls', { name: 'big', rules })).toMatchObject({
      status: 403,
      code: 'resource_limit_exceeded',
    })
    for (let n = 0; n < 50; n++) expect(world.send('POST', '/firewalls', { name: `wall-${n}` }).status).toBe(201)
    const refused = world.send('POST', '/firewalls', { name: 'one-more' })
    expect(refused.body.at('error', 'details', 'limits', 0, 'name').value).toBe('firewall_limit')
  })

  test('IPv6 blocks come back in canonical form', () => {
    const world = openWorld()
    const id = makeFirewall(world, { rules: [{ ...SSH, source_ips: ['2001:0DB8:0:0::/32'] }] })
    expect(world.send('GET', `/firewalls/${id}`).body.at('firewall', 'rules', 0, 'source_ips').value).toEqual(['2001:db8::/32'])
  })

  test('set_rules replaces all rules, and they are in force when its actions have ended, not before', () => {
    const world = openWorld()
    const id = makeFirewall(world)
    const server = makeServer(world, { firewalls: [{ firewall: id }] })
    const answer = world.send('POST', `/firewalls/${id}/actions/set_rules`, { rules: [WEB] })
    expect(
      answer.body
        .at('actions')
        .list()
        .map(action => action.at('command').value),
    ).toEqual(['set_firewall_rules', 'apply_firewall'])
    expect(world.control.exposure(server)).toEqual([{ protocol: 'tcp', ports: { first: 22, last: 22 }, from: ['192.0.2.7/32'] }])
    expect(world.send('PUT', `/firewalls/${id}`, { name: 'x' })).toMatchObject({ status: 409, code: 'conflict' })
    world.wait()
    expect(world.control.exposure(server)).toEqual([
      { protocol: 'tcp', ports: { first: 80, last: 443 }, from: ['0.0.0.0/0', '::/0'] },
    ])
    expect(world.send('POST', `/firewalls/${id}/actions/set_rules`, {})).toMatchObject({ status: 422 })
  })
})

describe('what reaches a server', () => {
  test('without a firewall everything, with an empty one nothing', () => {
    const world = openWorld()
    const open = makeServer(world)
    expect(world.control.exposure(open)).toContainEqual({
      protocol: 'tcp',
      ports: { first: 1, last: 65535 },
      from: ['0.0.0.0/0', '::/0'],
    })
    const id = makeFirewall(world, { rules: [] })
    const shut = makeServer(world, { name: 'shut', firewalls: [{ firewall: id }] })
    expect(world.control.exposure(shut)).toEqual([])
  })

  test('a firewall named at creation is in force before the server starts', () => {
    const world = openWorld({ actionMs: { create_server: 1000, start_server: 5000 } })
    const id = makeFirewall(world)
    const made = world.send('POST', '/servers', {
      name: 'a',
      server_type: 'cx23',
      image: 'debian-12',
      firewalls: [{ firewall: id }],
    })
    const server = made.body.at('server')
    expect(server.at('public_net', 'firewalls').value).toEqual([{ id, status: 'pending' }])
    world.pass(1000)
    const now = world.send('GET', `/servers/${server.at('id').value}`).body.at('server')
    expect(now.value).toMatchObject({ status: 'starting', public_net: { firewalls: [{ id, status: 'applied' }] } })
    expect(world.control.exposure(server.at('id').number())).toHaveLength(1)
  })

  test('a firewall by label comes only after the server was made, and locks it meanwhile; until then all is open', () => {
    const world = openWorld({ actionMs: { create_server: 1000, start_server: 1000, apply_firewall: 5000 } })
    const id = makeFirewall(world, { apply_to: [toLabel('env=prod')] })
    const server = world
      .send('POST', '/servers', { name: 'a', server_type: 'cx23', image: 'debian-12', labels: { env: 'prod' } })
      .body.at('server', 'id')
      .number()
    world.pass(2000)
    expect(world.send('GET', `/servers/${server}`).body.at('server').value).toMatchObject({ status: 'running', locked: true })
    expect(world.control.exposure(server).length).toBeGreaterThan(1)
    world.pass(4000)
    expect(world.control.exposure(server)).toHaveLength(1)
    expect(world.send('GET', `/firewalls/${id}`).body.at('firewall', 'applied_to').value).toEqual([
      { type: 'label_selector', label_selector: { selector: 'env=prod' }, applied_to_resources: [toServer(server)] },
    ])
  })

  test('a label selector follows labels as they change', () => {
    const world = openWorld()
    const id = makeFirewall(world, { apply_to: [toLabel('env=prod')] })
    const server = makeServer(world)
    const walls = () => world.send('GET', `/servers/${server}`).body.at('server', 'public_net', 'firewalls').value
    expect(walls()).toEqual([])
    world.send('PUT', `/servers/${server}`, { labels: { env: 'prod' } })
    world.wait()
    expect(walls()).toEqual([{ id, status: 'applied' }])
    world.send('PUT', `/servers/${server}`, { labels: {} })
    world.wait()
    expect(walls()).toEqual([])
  })

  test('a server without public addresses is reached by nothing and takes no firewall', () => {
    const world = openWorld()
    const network = world
      .send('POST', '/networks', {
        name: 'n',
        ip_range: '10.0.0.0/16',
        subnets: [{ type: 'cloud', network_zone: 'eu-central', ip_range: '10.0.1.0/24' }],
      })
      .body.at('network', 'id')
      .number()
    const server = makeServer(world, { networks: [network], public_net: { enable_ipv4: false, enable_ipv6: false } })
    expect(world.control.exposure(server)).toEqual([])
    const id = makeFirewall(world)
    const answer = world.send('POST', `/firewalls/${id}/actions/apply_to_resources`, { apply_to: [toServer(server)] })
    expect(answer).toMatchObject({ status: 422, code: 'private_net_only_server' })
  })
})

describe('applying, removing, deleting', () => {
  test('twice on one server, on a stranger, and a sixth one on a server are refused', () => {
    const world = openWorld()
    const server = makeServer(world)
    const apply = (id: number, target: unknown) =>
      world.send('POST', `/firewalls/${id}/actions/apply_to_resources`, { apply_to: [target] })
    const id = makeFirewall(world)
    expect(apply(id, toServer(server)).status).toBe(201)
    expect(world.send('GET', `/servers/${server}`).body.at('server', 'public_net', 'firewalls').value).toEqual([
      { id, status: 'pending' },
    ])
    world.wait()
    expect(apply(id, toServer(server))).toMatchObject({ status: 422, code: 'firewall_already_applied' })
    expect(apply(id, toServer(1))).toMatchObject({ status: 404, code: 'firewall_resource_not_found' })
    for (let n = 2; n <= 5; n++) {
      apply(makeFirewall(world, { name: `wall-${n}` }), toServer(server))
      world.wait()
    }
    expect(apply(makeFirewall(world, { name: 'sixth' }), toServer(server))).toMatchObject({
      status: 403,
      code: 'resource_limit_exceeded',
    })
  })

  test('what a selector brought cannot be removed by hand', () => {
    const world = openWorld()
    const id = makeFirewall(world, { apply_to: [toLabel('env=prod')] })
    const server = makeServer(world, { labels: { env: 'prod' } })
    const remove = (target: unknown) =>
      world.send('POST', `/firewalls/${id}/actions/remove_from_resources`, { remove_from: [target] })
    expect(remove(toServer(server))).toMatchObject({ status: 422, code: 'firewall_managed_by_label_selector' })
    expect(remove(toLabel('other'))).toMatchObject({ status: 404, code: 'firewall_resource_not_found' })
    expect(remove(toLabel('env=prod')).status).toBe(201)
    world.wait()
    expect(world.send('DELETE', `/firewalls/${id}`).status).toBe(204)
  })

  test('a firewall in use cannot be deleted, and lingers for a while after its server is gone', () => {
    const world = openWorld()
    world.control.setFirewallLingerMs(5000)
    const id = makeFirewall(world)
    const server = makeServer(world, { firewalls: [{ firewall: id }] })
    const remove = () => world.send('DELETE', `/firewalls/${id}`)
    expect(remove()).toMatchObject({ status: 422, code: 'resource_in_use' })
    world.send('DELETE', `/servers/${server}`)
    world.wait()
    expect(world.send('GET', `/servers/${server}`).status).toBe(404)
    expect(remove()).toMatchObject({ status: 422, code: 'resource_in_use' })
    world.pass(5000)
    expect(remove().status).toBe(204)
    expect(remove().status).toBe(404)
  })

  test('an apply that fails leaves the firewall off the server', () => {
    const world = openWorld()
    const [id, server] = [makeFirewall(world), makeServer(world)]
    world.control.failNext('apply_firewall', 'unknown_error')
    world.send('POST', `/firewalls/${id}/actions/apply_to_resources`, { apply_to: [toServer(server)] })
    world.wait()
    expect(world.send('GET', `/servers/${server}`).body.at('server', 'public_net', 'firewalls').value).toEqual([])
  })

  test('names are unique in a project', () => {
    const world = openWorld()
    makeFirewall(world)
    const again = world.send('POST', '/firewalls', { name: 'wall' })
    expect(again).toMatchObject({ status: 409, code: 'uniqueness_error' })
    expect(again.body.at('error', 'details', 'fields', 0, 'name').value).toBe('name')
  })
})
