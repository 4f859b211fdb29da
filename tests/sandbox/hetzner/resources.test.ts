import { describe, expect, test } from 'bun:test'
import { makeServer, openWorld, publicKey, SERVER } from './world.ts'

describe('SSH keys', () => {
  test('are unique by name and by fingerprint', () => {
    const world = openWorld()
    const made = world.send('POST', '/ssh_keys', { name: 'a', public_key: publicKey(1) })
    expect(made.body.at('ssh_key', 'fingerprint').value).toMatch(/^([0-9a-f]{2}:){15}[0-9a-f]{2}$/)
    const named = world.send('POST', '/ssh_keys', { name: 'a', public_key: publicKey(2) })
    expect(named.body.at('error', 'details').value).toEqual({ fields: [{ name: 'name' }] })
    const twin = world.send('POST', '/ssh_keys', { name: 'b', public_key: publicKey(1).replace('someone', 'other') })
    expect(twin).toMatchObject({ status: 409, code: 'uniqueness_error' })
    expect(twin.body.at('error', 'details').value).toEqual({ fields: [{ name: 'public_key' }] })
  })

  test('that are no keys are refused', () => {
    for (const key of ['nonsense', 'ssh-ed25519 AAAA', `ssh-rsa ${publicKey(1).split(' ')[1]}`])
      expect(openWorld().send('POST', '/ssh_keys', { name: 'a', public_key: key })).toMatchObject({
        status: 422,
        code: 'invalid_input',
      })
  })
})

describe('networks', () => {
  const zone = 'eu-central'

  test('are private, at least a /24, without host bits', () => {
    const world = openWorld()
    for (const ip_range of ['203.0.113.0/24', '10.0.0.0/25', '10.0.0.1/16', '10.0.0.0', 'fd00::/64'])
      expect(world.send('POST', '/networks', { name: 'n', ip_range })).toMatchObject({ status: 422, code: 'invalid_input' })
    expect(world.send('POST', '/networks', { name: 'n', ip_range: '10.0.0.0/24' }).status).toBe(201)
  })

  test('change one thing at a time, and hand out addresses in order', () => {
    const world = openWorld()
    const id = world.send('POST', '/networks', { name: 'n', ip_range: '10.0.0.0/16' }).body.at('network', 'id').number()
    const add = (body: unknown) => world.send('POST', `/networks/${id}/actions/add_subnet`, body)
    expect(world.send('POST', '/servers', { ...SERVER, networks: [id] })).toMatchObject({
      status: 422,
      code: 'no_subnet_available',
    })
    expect(add({ type: 'cloud', network_zone: zone, ip_range: '10.0.1.0/24' }).status).toBe(201)
    expect(add({ type: 'cloud', network_zone: zone, ip_range: '10.0.2.0/24' })).toMatchObject({ status: 409, code: 'conflict' })
    world.wait()
    expect(add({ type: 'cloud', network_zone: zone, ip_range: '10.0.1.0/25' })).toMatchObject({ status: 422 })
    expect(add({ type: 'cloud', network_zone: zone, ip_range: '10.1.0.0/24' })).toMatchObject({ status: 422 })
    const first = makeServer(world, { networks: [id] })
    const second = makeServer(world, { name: 'second' })
    const attach = () => world.send('POST', `/servers/${second}/actions/attach_to_network`, { network: id })
    expect(attach().status).toBe(201)
    world.wait()
    expect(attach()).toMatchObject({ status: 422, code: 'server_already_attached' })
    expect(world.control.serversForMachines().map(server => server.privateIps)).toEqual([['10.0.1.1'], ['10.0.1.2']])
    expect(world.send('GET', `/networks/${id}`).body.at('network', 'servers').value).toEqual([first, second])
    const drop = () => world.send('POST', `/networks/${id}/actions/delete_subnet`, { ip_range: '10.0.1.0/24' })
    expect(drop()).toMatchObject({ status: 422, code: 'resource_in_use' })
    world.send('POST', `/servers/${second}/actions/detach_from_network`, { network: id })
    world.wait()
    expect(world.control.serversForMachines()[1]?.privateIps).toEqual([])
    expect(world.send('DELETE', `/networks/${id}`).status).toBe(204)
    expect(world.control.serversForMachines()[0]?.privateIps).toEqual([])
  })

  test('servers made at the same moment do not get the same private address', () => {
    const world = openWorld()
    const subnets = [{ type: 'cloud', network_zone: zone, ip_range: '10.0.1.0/24' }]
    const id = world.send('POST', '/networks', { name: 'n', ip_range: '10.0.0.0/16', subnets }).body.at('network', 'id').number()
    for (const name of ['a', 'b', 'c']) world.send('POST', '/servers', { ...SERVER, name, networks: [id] })
    world.wait()
    const ips = world.control.serversForMachines().flatMap(server => server.privateIps)
    expect(new Set(ips).size).toBe(3)
  })
})

describe('primary IPs', () => {
  const make = (world: ReturnType<typeof openWorld>, more: Readonly<Record<string, unknown>> = {}) =>
    world.send('POST', '/primary_ips', { name: 'address', type: 'ipv4', location: 'nbg1', ...more })

  test('move from server to server, but only while those are off', () => {
    const world = openWorld()
    const ip = make(world).body.at('primary_ip', 'id').number()
    const [a, b] = [
      makeServer(world, { name: 'a', public_net: { ipv4: ip } }),
      makeServer(world, { name: 'b', public_net: { enable_ipv4: false } }),
    ]
    const assign = () => world.send('POST', `/primary_ips/${ip}/actions/assign`, { assignee_id: b, assignee_type: 'server' })
    const unassign = () => world.send('POST', `/primary_ips/${ip}/actions/unassign`)
    expect(unassign()).toMatchObject({ status: 422, code: 'server_not_stopped' })
    for (const server of [a, b]) world.send('POST', `/servers/${server}/actions/poweroff`)
    world.wait()
    expect(assign()).toMatchObject({ status: 422, code: 'primary_ip_already_assigned' })
    expect(world.send('DELETE', `/primary_ips/${ip}`)).toMatchObject({ status: 422, code: 'must_be_unassigned' })
    unassign()
    world.wait()
    expect(assign().status).toBe(201)
    world.wait()
    const machines = world.control.serversForMachines()
    expect(machines.map(machine => machine.ipv4)).toEqual([undefined, '203.0.113.1'])
  })

  test('that do not fit a new server are refused by their own codes', () => {
    const world = openWorld()
    const create = (id: number) => world.send('POST', '/servers', { ...SERVER, name: 'new', public_net: { ipv4: id } })
    const v6 = make(world, { name: 'six', type: 'ipv6' }).body.at('primary_ip', 'id').number()
    expect(create(v6)).toMatchObject({ status: 412, code: 'primary_ip_version_mismatch' })
    const far = make(world, { name: 'far', location: 'hel1' }).body.at('primary_ip', 'id').number()
    expect(create(far)).toMatchObject({ status: 422, code: 'primary_ip_datacenter_mismatch' })
    const used = make(world).body.at('primary_ip', 'id').number()
    makeServer(world, { public_net: { ipv4: used } })
    expect(create(used)).toMatchObject({ status: 422, code: 'primary_ip_assigned' })
  })

  test('one made with its server is deleted with it, unless that is switched off', () => {
    const world = openWorld()
    const id = makeServer(world)
    const ip = world.send('GET', `/servers/${id}`).body.at('server', 'public_net', 'ipv4', 'id').number()
    expect(world.send('PUT', `/primary_ips/${ip}`, { auto_delete: false }).status).toBe(200)
    world.send('DELETE', `/servers/${id}`)
    world.wait()
    expect(world.control.dump().ips.map(row => row.id)).toEqual([ip])
  })

  test('unassigned ones report the word that was set', () => {
    const world = openWorld()
    expect(make(world).body.at('primary_ip', 'assignee_type').value).toBe('server')
    world.control.setUnassignedType('unassigned')
    expect(make(world, { name: 'b' }).body.at('primary_ip', 'assignee_type').value).toBe('unassigned')
  })

  test('the 254th address continues in the benchmark range, and no address comes twice', () => {
    const world = openWorld()
    const ips = Array.from({ length: 260 }, (_, n) => make(world, { name: `ip-${n}` }).body.at('primary_ip', 'ip').value)
    expect(new Set(ips).size).toBe(260)
    expect(ips[253]).toBe('198.18.0.1')
    expect(make(world, { name: 'ip-0' })).toMatchObject({ status: 409, code: 'uniqueness_error' })
  })
})

describe('placement groups', () => {
  test('hold ten servers, take only stopped ones, and are in use while they hold any', () => {
    const world = openWorld()
    const id = world.send('POST', '/placement_groups', { name: 'g', type: 'spread' }).body.at('placement_group', 'id').number()
    for (let n = 0; n < 10; n++) makeServer(world, { name: `s-${n}`, placement_group: id })
    expect(world.send('POST', '/servers', { ...SERVER, placement_group: id })).toMatchObject({
      status: 422,
      code: 'placement_error',
    })
    expect(world.send('DELETE', `/placement_groups/${id}`)).toMatchObject({ status: 422, code: 'resource_in_use' })
    const late = makeServer(world, { name: 'late' })
    const join = () => world.send('POST', `/servers/${late}/actions/add_to_placement_group`, { placement_group: id })
    expect(join()).toMatchObject({ status: 422, code: 'server_not_stopped' })
    world.send('POST', `/servers/${late}/actions/poweroff`)
    world.wait()
    expect(join()).toMatchObject({ status: 422, code: 'placement_error' })
    expect(world.send('POST', '/placement_groups', { name: 'g', type: 'spread' })).toMatchObject({ status: 409 })
  })
})

describe('images', () => {
  test('a snapshot is creating, then available; it survives its server and can be booted', () => {
    const world = openWorld()
    const id = makeServer(world)
    const made = world.send('POST', `/servers/${id}/actions/create_image`, {
      type: 'snapshot',
      description: 'x',
      labels: { op: '1' },
    })
    const image = made.body.at('image')
    expect(image.value).toMatchObject({ status: 'creating', image_size: null, disk_size: 40, created_from: { id, name: 'prod' } })
    const boot = () => world.send('POST', '/servers', { ...SERVER, name: 'copy', image: image.at('id').value })
    expect(boot()).toMatchObject({ status: 422, code: 'invalid_input' })
    world.wait()
    world.send('DELETE', `/servers/${id}`)
    world.wait()
    const list = world.send('GET', '/images?type=snapshot&label_selector=op%3D1').body.at('images').list()
    expect(list.map(entry => entry.at('status').value)).toEqual(['available'])
    expect(boot().status).toBe(201)
  })

  test('a failed snapshot is unavailable', () => {
    const world = openWorld()
    const id = makeServer(world)
    world.control.failNext('create_image', 'service_error')
    world.send('POST', `/servers/${id}/actions/create_image`)
    world.wait()
    expect(world.control.dump().images).toMatchObject([{ status: 'unavailable', sizeGb: null }])
  })

  test('the vendor’s images cannot be changed, deleted ones still show in their servers', () => {
    const world = openWorld()
    expect(world.send('DELETE', '/images/161547269')).toMatchObject({ status: 422, code: 'unsupported_error' })
    const golden = world.control.seedGoldenImage({ project: 'one', labels: {}, description: 'g', diskGb: 40, sizeGb: 2 })
    const id = makeServer(world, { image: golden })
    expect(world.send('DELETE', `/images/${golden}`).status).toBe(204)
    expect(world.send('GET', `/images/${golden}`).status).toBe(404)
    expect(world.send('GET', `/servers/${id}`).body.at('server', 'image').value).toMatchObject({
      id: golden,
      deleted: expect.any(String),
    })
  })

  test('deprecated ones are listed only on request', () => {
    const world = openWorld()
    const count = (query: string) => world.send('GET', `/images?name=debian-11${query}`).body.at('images').list().length
    expect(count('')).toBe(0)
    expect(count('&include_deprecated=true')).toBe(1)
  })
})
