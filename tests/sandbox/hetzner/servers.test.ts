import { describe, expect, test } from 'bun:test'
import { openStore } from '../../../lib/sandbox/store.ts'
import { makeServer, openWorld, publicKey, SERVER } from './world.ts'

describe('creating a server', () => {
  test('goes through initializing and starting to running, as its actions end', () => {
    const world = openWorld({ actionMs: { create_server: 3000, start_server: 2000 } })
    const made = world.send('POST', '/servers', SERVER)
    expect(made.status).toBe(201)
    const id = made.body.at('server', 'id').number()
    const [action, start] = [made.body.at('action'), made.body.at('next_actions', 0)]
    expect(action.value).toMatchObject({ command: 'create_server', status: 'running', progress: 0, finished: null, error: null })
    expect(start.at('command').value).toBe('start_server')
    const status = () => world.send('GET', `/servers/${id}`).body.at('server', 'status').value
    expect(made.body.at('server', 'status').value).toBe('initializing')
    world.pass(1500)
    expect(world.send('GET', `/actions/${action.at('id').value}`).body.at('action', 'progress').value).toBe(50)
    world.pass(1500)
    expect(status()).toBe('starting')
    expect(world.send('GET', `/actions/${action.at('id').value}`).body.at('action').value).toMatchObject({
      status: 'success',
      progress: 100,
      finished: '2026-11-20T12:00:03Z',
    })
    world.pass(1999)
    expect(status()).toBe('starting')
    world.pass(1)
    expect(status()).toBe('running')
    const both = world.send('GET', `/actions?id=${action.at('id').value}&id=${start.at('id').value}`)
    expect(
      both.body
        .at('actions')
        .list()
        .map(entry => entry.at('status').value),
    ).toEqual(['success', 'success'])
  })

  test('stays off when it is not to be started, and may end off by itself', () => {
    const world = openWorld()
    const resting = makeServer(world, { start_after_create: false })
    expect(world.send('GET', `/servers/${resting}`).body.at('server', 'status').value).toBe('off')
    world.control.endNextServerOff()
    const fallen = makeServer(world, { name: 'fallen' })
    expect(world.send('GET', `/servers/${fallen}`).body.at('server', 'status').value).toBe('off')
    expect(world.send('GET', `/servers/${fallen}/actions?status=error`).body.at('actions').list()).toHaveLength(0)
  })

  test('an action that fails on demand is a 200 with an error, takes those behind it along, and leaves the server off', () => {
    const world = openWorld()
    world.control.failNext('create_server', 'unknown_error')
    const made = world.send('POST', '/servers', SERVER)
    world.wait()
    const ids = [made.body.at('action', 'id').value, made.body.at('next_actions', 0, 'id').value]
    const answer = world.send('GET', `/actions?id=${ids.join('&id=')}`)
    expect(answer.status).toBe(200)
    expect(
      answer.body
        .at('actions')
        .list()
        .map(action => action.at('status').value),
    ).toEqual(['error', 'error'])
    expect(answer.body.at('actions', 0, 'error').value).toEqual({ code: 'unknown_error', message: 'Action failed' })
    const [server] = world.control.dump().servers
    expect(server?.status).toBe('off')
  })

  test('shows a location and no datacenter; addresses come from documentation and benchmark ranges', () => {
    const world = openWorld()
    const server = world.send('GET', `/servers/${makeServer(world)}`).body.at('server')
    expect(server.value).not.toHaveProperty('datacenter')
    expect(server.at('location', 'name').value).toBe('nbg1')
    expect(server.at('public_net', 'ipv4', 'ip').value).toBe('203.0.113.1')
    expect(server.at('public_net', 'ipv6', 'ip').value).toBe('2001:db8:1:1::/64')
  })

  test('may have no IPv4, then it is null', () => {
    const world = openWorld()
    const id = makeServer(world, { public_net: { enable_ipv4: false } })
    expect(world.send('GET', `/servers/${id}`).body.at('server', 'public_net', 'ipv4').value).toBeNull()
    expect(world.control.serversForMachines()[0]).not.toHaveProperty('ipv4')
  })

  test('without a key tells a root password, once; with a key none', () => {
    const world = openWorld()
    const made = world.send('POST', '/servers', SERVER)
    const password = made.body.at('root_password').value
    expect(password).toBeString()
    world.wait()
    expect(JSON.stringify(world.send('GET', '/servers').json)).not.toContain(String(password))
    world.send('POST', '/ssh_keys', { name: 'laptop', public_key: publicKey(1) })
    const keyed = world.send('POST', '/servers', { ...SERVER, name: 'keyed', ssh_keys: ['laptop'] })
    expect(keyed.body.at('root_password').value).toBeNull()
    world.wait()
    expect(world.control.serversForMachines()[1]?.sshKeys).toEqual([publicKey(1)])
  })

  test('takes ids as numbers and as strings', () => {
    const world = openWorld()
    const key = world
      .send('POST', '/ssh_keys', { name: 'k', public_key: publicKey(1) })
      .body.at('ssh_key', 'id')
      .number()
    for (const [name, image, type, location, id] of [
      ['a', 161547269, 114, 2, key],
      ['b', '161547269', '114', '2', String(key)],
    ])
      expect(world.send('POST', '/servers', { name, image, server_type: type, location, ssh_keys: [id] }).status).toBe(201)
  })

  const refusals: [string, Record<string, unknown>, number, string, string?][] = [
    ['nothing', { name: undefined, server_type: undefined, image: undefined }, 422, 'invalid_input', 'name'],
    ['a datacenter', { datacenter: 'nbg1-dc3' }, 422, 'invalid_input', 'datacenter'],
    ['an underscore in the name', { name: 'my_server' }, 422, 'invalid_input', 'name'],
    ['a name ending in a dash', { name: 'prod-' }, 422, 'invalid_input', 'name'],
    ['an unknown type', { server_type: 'cx22' }, 422, 'invalid_input', 'server_type'],
    ['an unknown image', { image: 'windows' }, 422, 'invalid_input', 'image'],
    ['an unknown location', { location: 'mars' }, 422, 'invalid_input', 'location'],
    ['a type not offered at the location', { location: 'ash' }, 422, 'invalid_input', 'server_type'],
    ['an image of another architecture', { server_type: 'cax11', image: 161547269 }, 422, 'invalid_input', 'image'],
    ['a label with a colon', { labels: { a: 'b:c' } }, 422, 'invalid_input', 'labels'],
    ['user data beyond 32 KiB', { user_data: 'x'.repeat(32 * 1024 + 1) }, 422, 'invalid_input', 'user_data'],
    ['an unknown key', { ssh_keys: ['nobody'] }, 422, 'invalid_input', 'ssh_keys'],
    ['an unknown network', { networks: [1] }, 422, 'invalid_input', 'networks'],
    ['an unknown firewall', { firewalls: [{ firewall: 1 }] }, 422, 'invalid_input', 'firewalls'],
    ['no network at all', { public_net: { enable_ipv4: false, enable_ipv6: false } }, 422, 'invalid_input', 'public_net'],
  ]
  for (const [what, change, status, code, field] of refusals)
    test(`with ${what} is refused and makes nothing`, () => {
      const world = openWorld()
      const answer = world.send('POST', '/servers', { ...SERVER, ...change })
      expect(answer).toMatchObject({ status, code })
      expect(answer.body.at('error', 'details', 'fields', 0, 'name').value).toBe(field)
      expect(world.control.dump()).toMatchObject({ servers: [], ips: [] })
    })

  test('user data of exactly 32 KiB is taken, and reaches the machine', () => {
    const world = openWorld()
    makeServer(world, { user_data: 'x'.repeat(32 * 1024) })
    expect(world.control.serversForMachines()[0]?.userData).toHaveLength(32 * 1024)
  })

  test('all wrong fields are named at once, and a body that is no JSON is 400', () => {
    const world = openWorld()
    const fields = world.send('POST', '/servers', { name: 'a_b' }).body.at('error', 'details', 'fields').list()
    expect(fields.map(field => field.at('name').value)).toEqual(['name', 'server_type', 'image'])
    expect(world.send('POST', '/servers', '{')).toMatchObject({ status: 400, code: 'json_error' })
    expect(world.send('POST', '/servers', '[]')).toMatchObject({ status: 400, code: 'json_error' })
  })

  test('a taken name is refused, also while its holder is being deleted', () => {
    const world = openWorld()
    const id = makeServer(world)
    const again = world.send('POST', '/servers', SERVER)
    expect(again).toMatchObject({ status: 409, code: 'uniqueness_error' })
    expect(again.body.at('error', 'details').value).toEqual({ fields: [{ name: 'name' }] })
    world.send('DELETE', `/servers/${id}`)
    expect(world.send('POST', '/servers', SERVER).status).toBe(409)
    world.wait()
    expect(world.send('POST', '/servers', SERVER).status).toBe(201)
  })

  test('the server limit is told by name', () => {
    const world = openWorld()
    world.control.setServerLimit(1)
    makeServer(world)
    const refused = world.send('POST', '/servers', { ...SERVER, name: 'second' })
    expect(refused).toMatchObject({ status: 403, code: 'resource_limit_exceeded' })
    expect(refused.body.at('error', 'details', 'limits', 0, 'name').value).toBe('server_limit')
  })

  test('an image needs a disk as big as itself', () => {
    const world = openWorld()
    const golden = world.control.seedGoldenImage({
      project: 'one',
      labels: { a: 'b' },
      description: 'golden',
      diskGb: 80,
      sizeGb: 2.5,
    })
    expect(world.send('POST', '/servers', { ...SERVER, image: golden })).toMatchObject({ status: 422, code: 'invalid_input' })
    const id = makeServer(world, { image: golden, server_type: 'cx33' })
    expect(world.control.serversForMachines().find(server => server.id === id)?.image).toEqual({
      id: golden,
      labels: { a: 'b' },
      name: null,
    })
  })
})

describe('stock', () => {
  const offer = (world: ReturnType<typeof openWorld>) =>
    world
      .send('GET', '/server_types?name=cx23')
      .body.at('server_types', 0, 'locations')
      .list()
      .find(location => location.at('name').value === 'nbg1')

  for (const stock of ['sold_out', 'withdrawn', 'silently_sold_out'] as const)
    test(`${stock}: a create fails with 412, and the catalogue ${stock === 'silently_sold_out' ? 'does not tell' : 'tells'}`, () => {
      const world = openWorld()
      world.control.setStock('cx23', 'nbg1', stock)
      const refused = world.send('POST', '/servers', SERVER)
      expect(refused).toMatchObject({ status: 412, code: 'resource_unavailable' })
      expect(refused.body.at('error', 'message').value).toBe('error during placement')
      expect(offer(world)?.at('available').value).toBe(stock === 'silently_sold_out')
      expect(offer(world)?.at('deprecation').value === null).toBe(stock !== 'withdrawn')
      expect(world.send('POST', '/servers', { ...SERVER, location: 'fsn1' }).status).toBe(201)
    })
})

describe('locks and power', () => {
  test('a server is locked while an action runs: writes are 423, reads are not', () => {
    const world = openWorld()
    const id = world.send('POST', '/servers', SERVER).body.at('server', 'id').number()
    expect(world.send('GET', `/servers/${id}`).body.at('server', 'locked').value).toBe(true)
    for (const action of ['poweroff', 'reboot', 'create_image'])
      expect(world.send('POST', `/servers/${id}/actions/${action}`, {})).toMatchObject({ status: 423, code: 'locked' })
    expect(world.send('DELETE', `/servers/${id}`)).toMatchObject({ status: 423, code: 'locked' })
    world.wait()
    expect(world.send('GET', `/servers/${id}`).body.at('server', 'locked').value).toBe(false)
    expect(world.send('DELETE', `/servers/${id}`).status).toBe(200)
  })

  test('shutdown only sends the signal: its action ends before the server is off, and a guest may ignore it', () => {
    const world = openWorld({ actionMs: { shutdown_server: 100, guest_shutdown: 5000 } })
    const id = makeServer(world)
    const status = () => world.send('GET', `/servers/${id}`).body.at('server', 'status').value
    const action = world.send('POST', `/servers/${id}/actions/shutdown`).body.at('action', 'id').value
    world.pass(100)
    expect(world.send('GET', `/actions/${action}`).body.at('action', 'status').value).toBe('success')
    expect(status()).toBe('running')
    world.pass(5000)
    expect(status()).toBe('off')
    world.send('POST', `/servers/${id}/actions/poweron`)
    world.wait()
    world.control.setIgnoreShutdown(true)
    world.send('POST', `/servers/${id}/actions/shutdown`)
    world.wait()
    expect(status()).toBe('running')
    world.send('POST', `/servers/${id}/actions/poweroff`)
    world.wait()
    expect(status()).toBe('off')
  })

  test('protection refuses delete and rebuild until it is lifted', () => {
    const world = openWorld()
    const id = makeServer(world)
    expect(world.send('POST', `/servers/${id}/actions/change_protection`, { delete: true })).toMatchObject({ status: 422 })
    world.send('POST', `/servers/${id}/actions/change_protection`, { delete: true, rebuild: true })
    world.wait()
    expect(world.send('DELETE', `/servers/${id}`)).toMatchObject({ status: 423, code: 'protected' })
    expect(world.send('POST', `/servers/${id}/actions/rebuild`, { image: 'debian-12' })).toMatchObject({
      status: 423,
      code: 'protected',
    })
    world.send('POST', `/servers/${id}/actions/change_protection`, { delete: false, rebuild: false })
    world.wait()
    expect(world.send('DELETE', `/servers/${id}`).status).toBe(200)
  })

  test('rebuild keeps addresses, changes the image and keeps old user data when none is given', () => {
    const world = openWorld()
    const id = makeServer(world, { user_data: 'old' })
    const [before] = world.control.serversForMachines()
    expect(world.send('POST', `/servers/${id}/actions/rebuild`, { image: 'debian-12' }).status).toBe(201)
    expect(world.send('GET', `/servers/${id}`).body.at('server', 'status').value).toBe('rebuilding')
    world.wait()
    const [after] = world.control.serversForMachines()
    expect(after).toMatchObject({
      ipv4: before?.ipv4,
      userData: 'old',
      image: { name: 'debian-12' },
      rebuiltAtMs: world.clock.nowMs(),
    })
    world.send('POST', `/servers/${id}/actions/rebuild`, { image: 'debian-12', user_data: 'new' })
    world.wait()
    expect(world.control.serversForMachines()[0]?.userData).toBe('new')
  })

  test('change_type needs the server off and never shrinks the disk', () => {
    const world = openWorld()
    const id = makeServer(world)
    const change = (server_type: string, upgrade_disk: boolean) =>
      world.send('POST', `/servers/${id}/actions/change_type`, { server_type, upgrade_disk })
    expect(change('cx33', false)).toMatchObject({ status: 422, code: 'server_not_stopped' })
    world.send('POST', `/servers/${id}/actions/poweroff`)
    world.wait()
    expect(change('cax21', false)).toMatchObject({ status: 422, code: 'invalid_server_type' })
    expect(change('cx33', true).status).toBe(201)
    world.wait()
    const server = world.send('GET', `/servers/${id}`).body.at('server')
    expect(server.value).toMatchObject({ status: 'running', primary_disk_size: 80 })
    world.send('POST', `/servers/${id}/actions/poweroff`)
    world.wait()
    expect(change('cx23', false)).toMatchObject({ code: 'invalid_server_type' })
  })

  test('the rescue system is there for one boot, with its own keys', () => {
    const world = openWorld()
    const key = world
      .send('POST', '/ssh_keys', { name: 'k', public_key: publicKey(7) })
      .body.at('ssh_key', 'id')
      .number()
    const id = makeServer(world)
    expect(
      world.send('POST', `/servers/${id}/actions/enable_rescue`, { ssh_keys: [key] }).body.at('root_password').value,
    ).toBeString()
    world.wait()
    const machine = () => world.control.serversForMachines()[0]
    expect(machine()?.inRescue).toBe(false)
    world.send('POST', `/servers/${id}/actions/reset`)
    world.wait()
    expect(machine()).toMatchObject({ inRescue: true, sshKeys: [publicKey(7)] })
    world.send('POST', `/servers/${id}/actions/reset`)
    world.wait()
    expect(machine()).toMatchObject({ inRescue: false, sshKeys: [] })
  })
})

describe('deleting a server', () => {
  test('takes its time, and takes along its own addresses but no others', () => {
    const world = openWorld({ actionMs: { delete_server: 4000 } })
    const kept = world
      .send('POST', '/primary_ips', { name: 'keep', type: 'ipv4', location: 'nbg1' })
      .body.at('primary_ip', 'id')
      .number()
    const id = makeServer(world, { public_net: { ipv4: kept } })
    world.send('DELETE', `/servers/${id}`)
    expect(world.send('GET', `/servers/${id}`).body.at('server', 'status').value).toBe('deleting')
    world.pass(4000)
    expect(world.send('GET', `/servers/${id}`).status).toBe(404)
    expect(world.control.dump().ips).toMatchObject([{ id: kept, assignee: null }])
    expect(world.send('GET', `/servers/${id}/actions`).body.at('actions').list().length).toBeGreaterThan(0)
  })
})

describe('the world around', () => {
  test('a change of the cloud is announced, a read is not', () => {
    const world = openWorld()
    world.send('GET', '/servers')
    expect(world.changes()).toBe(0)
    world.send('POST', '/servers', SERVER)
    expect(world.changes()).toBe(1)
    world.pass(10_000)
    world.send('GET', '/servers')
    expect(world.changes()).toBe(2)
  })

  test('another process over the same store finds the same cloud, with actions under way', () => {
    const store = openStore(':memory:')
    const first = openWorld({ store })
    const id = first.send('POST', '/servers', SERVER).body.at('server', 'id').number()
    first.control.setStock('cx33', 'nbg1', 'sold_out')
    const second = openWorld({ store, startMs: first.clock.nowMs() + 60_000 })
    expect(second.send('GET', `/servers/${id}`).body.at('server', 'status').value).toBe('running')
    expect(second.send('POST', '/servers', { ...SERVER, name: 'x', server_type: 'cx33' }).status).toBe(412)
  })

  test('actions can only be listed by id, and datacenters are gone', () => {
    const world = openWorld()
    for (const path of ['/actions', '/datacenters', '/datacenters/1']) {
      const answer = world.send('GET', path)
      expect(answer).toMatchObject({ status: 410, code: 'deprecated_api_endpoint' })
      expect(answer.body.at('error', 'details', 'announcement').value).toStartWith('https://')
    }
  })
})
