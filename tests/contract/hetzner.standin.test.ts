/**
 * The stand-in against the vendor's published document: every endpoint that it has is asked for what works and for what does not,
 * and every answer must fit the document.
 */
import { describe, expect, test } from 'bun:test'
import { HETZNER_ENDPOINTS } from '../../lib/sandbox/hetzner/standin.ts'
import { type Answer, makeServer, openWorld, publicKey, READ_TOKEN, SERVER, type World } from '../sandbox/hetzner/world.ts'
import { loadSpec, type Spec, specsFolder } from './spec.ts'

const FILE = 'hetzner-cloud.openapi.json'
const spec = loadSpec(FILE)
const missing = `${FILE} is not in ${specsFolder()}: name its folder in LANDFALL_SPECS`

interface Seen {
  readonly method: string
  readonly path: string
  readonly body: string | undefined
  readonly answer: Answer
}

const templateOf = (method: string, path: string): string | undefined => {
  const fits = HETZNER_ENDPOINTS.filter(
    endpoint =>
      endpoint.method === method &&
      new RegExp(`^${endpoint.path.replace(/\{[a-z_]+\}/g, '[0-9]+')}$`).test(path.split('?')[0] ?? ''),
  )
  return fits[0] && `${method} ${fits[0].path}`
}

/** One long story that touches every endpoint, well and badly. */
const tell = (world: World): void => {
  const post = (path: string, body?: unknown) => world.send('POST', path, body)
  const act = (path: string, body?: unknown): void => {
    post(path, body)
    world.wait()
  }
  const labels = { estate: 'demo', 'example.com/role': 'prod' }

  for (const path of ['/locations', '/server_types', '/images?include_deprecated=true&per_page=50', '/pricing', '/datacenters'])
    world.send('GET', path)
  for (const path of ['/locations/1', '/server_types/114', '/images/161547269', '/datacenters/1']) world.send('GET', path)
  for (const path of ['/locations/99', '/server_types/1', '/images/1', '/actions', '/nowhere']) world.send('GET', path)

  const key = post('/ssh_keys', { name: 'laptop', public_key: publicKey(1), labels })
    .body.at('ssh_key', 'id')
    .number()
  post('/ssh_keys', { name: 'again', public_key: publicKey(1) })
  world.send('GET', `/ssh_keys/${key}`)
  world.send('PUT', `/ssh_keys/${key}`, { name: 'desk', labels })
  world.send('GET', '/ssh_keys?name=desk')

  const network = post('/networks', {
    name: 'inner',
    ip_range: '10.0.0.0/16',
    labels,
    subnets: [{ type: 'cloud', network_zone: 'eu-central', ip_range: '10.0.1.0/24' }],
  })
    .body.at('network', 'id')
    .number()
  post('/networks', { name: 'bad', ip_range: '8.8.8.0/24' })
  act(`/networks/${network}/actions/add_subnet`, { type: 'cloud', network_zone: 'eu-central' })
  act(`/networks/${network}/actions/delete_subnet`, { ip_range: '10.0.0.0/24' })
  act(`/networks/${network}/actions/delete_subnet`, { ip_range: '10.9.0.0/24' })
  act(`/networks/${network}/actions/change_protection`, { delete: true })
  world.send('DELETE', `/networks/${network}`)
  act(`/networks/${network}/actions/change_protection`, { delete: false })
  world.send('PUT', `/networks/${network}`, { name: 'inside', labels })
  world.send('GET', `/networks/${network}`)
  world.send('GET', '/networks')

  const rules = [
    { direction: 'in', protocol: 'tcp', port: '22', source_ips: ['192.0.2.1/32', '2001:db8::/32'], description: 'ssh' },
    { direction: 'in', protocol: 'icmp', source_ips: ['0.0.0.0/0'] },
    { direction: 'out', protocol: 'tcp', port: '1-65535', destination_ips: ['0.0.0.0/0'] },
  ]
  const wall = post('/firewalls', { name: 'wall', labels, rules }).body.at('firewall', 'id').number()
  world.wait()
  post('/firewalls', { name: 'wall' })
  const group = post('/placement_groups', { name: 'apart', type: 'spread', labels }).body.at('placement_group', 'id').number()
  world.send('PUT', `/placement_groups/${group}`, { name: 'aside', labels })
  const address = post('/primary_ips', { name: 'front', type: 'ipv4', location: 'nbg1', labels })
    .body.at('primary_ip', 'id')
    .number()
  const six = post('/primary_ips', { name: 'six', type: 'ipv6', location: 2 }).body.at('primary_ip', 'id').number()

  const rich = {
    ...SERVER,
    labels,
    ssh_keys: ['desk'],
    networks: [network],
    firewalls: [{ firewall: wall }],
    placement_group: group,
  }
  const created = post('/servers', { ...rich, public_net: { ipv4: address }, user_data: '#cloud-config' })
  const server = created.body.at('server', 'id').number()
  post(`/servers/${server}/actions/reboot`)
  const first = created.body.at('action', 'id').number()
  world.wait()
  post('/servers', rich)
  post('/servers', {})
  post('/servers', '{')
  world.control.setStock('cx33', 'nbg1', 'sold_out')
  post('/servers', { ...SERVER, name: 'x', server_type: 'cx33' })
  world.send('GET', '/server_types?name=cx33')
  world.send('POST', '/servers', {}, READ_TOKEN)
  world.send('GET', '/servers', undefined, null)
  const bare = makeServer(world, { name: 'bare', public_net: { enable_ipv4: false, enable_ipv6: false }, networks: [network] })
  world.send('GET', `/servers/${bare}`)
  world.send('GET', `/servers?status=running&label_selector=estate%3Ddemo&sort=name:desc`)
  world.send('GET', `/servers/${server}`)
  world.send('PUT', `/servers/${server}`, { name: 'main', labels })

  act(`/firewalls/${wall}/actions/set_rules`, { rules })
  act(`/firewalls/${wall}/actions/apply_to_resources`, {
    apply_to: [{ type: 'label_selector', label_selector: { selector: 'estate' } }],
  })
  act(`/firewalls/${wall}/actions/apply_to_resources`, { apply_to: [{ type: 'server', server: { id: server } }] })
  world.send('GET', `/firewalls/${wall}`)
  world.send('GET', '/firewalls')
  world.send('PUT', `/firewalls/${wall}`, { name: 'rampart', labels })
  world.send('DELETE', `/firewalls/${wall}`)

  for (const [kind, id] of [
    ['servers', server],
    ['firewalls', wall],
    ['networks', network],
  ] as const) {
    const action = world.send('GET', `/${kind}/${id}/actions`).body.at('actions', 0, 'id').number()
    for (const path of [`/${kind}/actions?status=success`, `/${kind}/actions/${action}`, `/${kind}/${id}/actions/${action}`])
      world.send('GET', path)
    world.send('GET', `/${kind}/${id}/actions/1`)
  }
  world.send('GET', `/actions?id=${first}`)
  world.send('GET', `/actions/${first}`)

  const service = {
    protocol: 'http',
    listen_port: 80,
    destination_port: 80,
    proxyprotocol: false,
    http: { cookie_name: 'HCLBSTICKY', cookie_lifetime: 300, timeout_idle: 60, sticky_sessions: false },
    health_check: { protocol: 'http', port: 80, interval: 3, timeout: 1, retries: 2, http: { domain: null, path: '/' } },
  }
  const balancer = {
    name: 'door',
    load_balancer_type: 'lb11',
    location: 'nbg1',
    network,
    labels,
    algorithm: { type: 'round_robin' },
    services: [service],
    targets: [{ type: 'label_selector', label_selector: { selector: 'estate=demo' }, use_private_ip: true }],
  }
  const { network: _network, ...apart } = balancer
  post('/load_balancers', { ...apart, name: 'apart' })
  post('/load_balancers', { ...balancer, services: [{ ...service, health_check: { ...service.health_check, interval: 2 } }] })
  const door = post('/load_balancers', balancer).body.at('load_balancer', 'id').number()
  world.wait()
  post('/load_balancers', balancer)
  const doorAction = world.send('GET', `/load_balancers/${door}/actions`).body.at('actions', 0, 'id').number()
  for (const path of ['/actions', `/actions/${doorAction}`, `/${door}/actions/${doorAction}`, '', `/${door}`, '?name=door'])
    world.send('GET', `/load_balancers${path}`)
  world.send('GET', '/load_balancer_types')
  world.send('GET', `/networks/${network}`)
  world.send('PUT', `/load_balancers/${door}`, { name: 'gate', labels })
  act(`/load_balancers/${door}/actions/update_service`, { ...service, destination_port: 8080 })
  act(`/load_balancers/${door}/actions/update_service`, { ...service, listen_port: 81 })
  world.send('DELETE', `/load_balancers/${door}`)
  world.send('GET', `/load_balancers/${door}`)

  const plain = `/servers/${server}/actions`
  world.control.failNext('reboot_server', 'unknown_error')
  act(`${plain}/reboot`)
  world.send('GET', `${plain}?status=error`)
  act(`${plain}/reset`)
  act(`${plain}/reset_password`)
  act(`${plain}/enable_rescue`, { type: 'linux64', ssh_keys: [key] })
  act(`${plain}/disable_rescue`)
  act(`${plain}/disable_rescue`)
  act(`${plain}/change_protection`, { delete: true, rebuild: true })
  world.send('DELETE', `/servers/${server}`)
  act(`${plain}/change_protection`, { delete: false, rebuild: false })
  act(`${plain}/change_dns_ptr`, { ip: '203.0.113.1', dns_ptr: 'www.example.com' })
  act(`${plain}/change_dns_ptr`, { ip: '192.0.2.1', dns_ptr: null })
  act(`${plain}/detach_from_network`, { network })
  act(`${plain}/attach_to_network`, { network, ip: '10.0.1.77' })
  act(`${plain}/attach_to_network`, { network })
  const image = post(`${plain}/create_image`, { type: 'snapshot', description: 'golden', labels }).body.at('image', 'id').number()
  world.wait()
  act(`/images/${image}/actions/change_protection`, { delete: true })
  world.send('DELETE', `/images/${image}`)
  act(`/images/${image}/actions/change_protection`, { delete: false })
  world.send('PUT', `/images/${image}`, { description: 'new', labels: {} })
  const imageAction = world.send('GET', `/images/${image}/actions`).body.at('actions', 0, 'id').number()
  for (const path of ['/images/actions', `/images/actions/${imageAction}`, `/images/${image}/actions/${imageAction}`])
    world.send('GET', path)
  act(`${plain}/rebuild`, { image, user_data: 'x' })
  world.send('DELETE', `/images/${image}`)
  world.send('GET', `/servers/${server}`)
  act(`${plain}/shutdown`)
  act(`${plain}/poweron`)
  act(`${plain}/remove_from_placement_group`)
  act(`${plain}/add_to_placement_group`, { placement_group: group })
  act(`${plain}/poweroff`)
  act(`${plain}/add_to_placement_group`, { placement_group: group })
  world.send('GET', `/placement_groups/${group}`)
  world.send('GET', '/placement_groups?type=spread')
  act(`${plain}/change_type`, { server_type: 'cx53', upgrade_disk: true })
  act(`${plain}/poweroff`)

  act(`/primary_ips/${address}/actions/unassign`)
  act(`/primary_ips/${address}/actions/assign`, { assignee_id: server, assignee_type: 'server' })
  act(`/primary_ips/${address}/actions/unassign`)
  act(`/primary_ips/${address}/actions/change_dns_ptr`, { ip: '203.0.113.1', dns_ptr: 'www.example.com' })
  act(`/primary_ips/${address}/actions/change_protection`, { delete: true })
  world.send('DELETE', `/primary_ips/${address}`)
  act(`/primary_ips/${address}/actions/change_protection`, { delete: false })
  world.send('PUT', `/primary_ips/${address}`, { name: 'door', auto_delete: true })
  world.send('GET', `/primary_ips/${address}`)
  world.send('GET', '/primary_ips?ip=203.0.113.1')
  const ipAction = world.send('GET', `/primary_ips/${address}/actions`).body.at('actions', 0, 'id').number()
  for (const path of ['/primary_ips/actions', `/primary_ips/actions/${ipAction}`, `/primary_ips/${address}/actions/${ipAction}`])
    world.send('GET', path)
  act('/primary_ips', { name: 'given', type: 'ipv4', assignee_type: 'server', assignee_id: server })

  act(`/firewalls/${wall}/actions/remove_from_resources`, {
    remove_from: [{ type: 'label_selector', label_selector: { selector: 'estate' } }],
  })
  for (const id of [server, bare, 1]) world.send('DELETE', `/servers/${id}`)
  world.wait()
  for (const path of [`/firewalls/${wall}`, `/networks/${network}`, `/ssh_keys/${key}`, `/placement_groups/${group}`])
    for (const _ of ['gone after this', 'and 404 after that']) world.send('DELETE', path)
  for (const id of [address, six]) world.send('DELETE', `/primary_ips/${id}`)
}

const hear = (): Seen[] => {
  const seen: Seen[] = []
  const world = openWorld({ seen: (method, path, body, answer) => seen.push({ method, path, body, answer }) })
  tell(world)
  world.control.setHideTotals(true)
  world.send('GET', '/servers')
  return seen
}

const judged = (judge: Spec, { method, path, answer }: Seen): string[] =>
  judge.operation(method, path.split('?')[0] ?? '')
    ? judge.validateResponse(method, path.split('?')[0] ?? '', answer.status, answer.json)
    : []

if (!spec) {
  if (process.env.CI) throw new Error(missing)
  test.skip(`Hetzner stand-in against the published document (skipped: ${missing})`, () => undefined)
}

describe.if(spec !== undefined)('the Hetzner stand-in', () => {
  const seen = hear()

  test('answers every request of the story as the published document says', () => {
    const violations = seen.flatMap(entry => (spec ? judged(spec, entry) : [missing]))
    expect(violations).toEqual([])
  }, 60_000)

  test('is asked at every endpoint that it has, with success wherever it can succeed', () => {
    const good = seen.filter(({ answer }) => answer.status < 300)
    const asked = new Set(good.map(({ method, path }) => templateOf(method, path)))
    const gone = ['GET /datacenters', 'GET /datacenters/{id}']
    const all = HETZNER_ENDPOINTS.map(({ method, path }) => `${method} ${path}`)
    expect(all.filter(endpoint => !asked.has(endpoint)).sort()).toEqual(gone)
  })

  test('has no endpoint that the document does not know', () => {
    const unknown = HETZNER_ENDPOINTS.filter(({ method, path }) => spec?.operation(method, path)?.path !== path)
    expect(unknown).toEqual([])
  })

  test('is asked as the document says, wherever it succeeds', () => {
    const violations = seen
      .filter(({ answer }) => answer.status < 300)
      .flatMap(({ method, path, body }) => {
        const [plain = '', query] = path.split('?')
        return (
          spec?.validateRequest(method, plain, new URLSearchParams(query), body === undefined ? undefined : JSON.parse(body)) ??
          []
        )
      })
    expect(violations).toEqual([])
  })

  test('gives each of these refusals in the course of the story', () => {
    const codes = new Set(seen.flatMap(({ answer }) => (answer.status >= 400 ? [`${answer.status} ${answer.code}`] : [])))
    for (const code of [
      '400 json_error',
      '401 unauthorized',
      '403 forbidden',
      '404 not_found',
      '409 uniqueness_error',
      '410 deprecated_api_endpoint',
      '412 resource_unavailable',
      '422 invalid_input',
      '422 resource_in_use',
      '422 server_not_stopped',
      '423 locked',
      '423 protected',
    ])
      expect(codes).toContain(code)
  })

  test('would be caught if it answered otherwise', () => {
    const server = seen.find(({ method, path }) => method === 'GET' && /^\/servers\/[0-9]+$/.test(path))?.answer.json
    const broken = JSON.parse(JSON.stringify(server).replace('"rescue_enabled":false,', ''))
    expect(spec?.validateResponse('GET', '/servers/{id}', 200, broken).join()).toContain('rescue_enabled')
    expect(spec?.validateResponse('GET', '/servers/{id}', 404, { error: { code: 'not_found' } }).join()).toContain('message')
    expect(spec?.validateResponse('DELETE', '/ssh_keys/{id}', 204, {})).toHaveLength(1)
    expect(spec?.validateResponse('GET', '/nowhere', 200, {})).toHaveLength(1)
    expect(
      spec?.validateRequest('POST', '/servers', new URLSearchParams(), { name: 'a', image: 5, server_type: 'cx23' }),
    ).toEqual([])
    expect(spec?.validateRequest('POST', '/servers', new URLSearchParams(), { name: 'a' }).length).toBeGreaterThan(0)
    expect(spec?.validateRequest('GET', '/servers', new URLSearchParams('status[]=off'), undefined)).toHaveLength(1)
    expect(spec?.validateRequest('GET', '/actions', new URLSearchParams(), undefined)).toHaveLength(1)
  })
})
