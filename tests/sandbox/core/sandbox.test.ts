import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hasCode } from '../../../lib/errors.ts'
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { GOLDEN } from '../../../lib/steps/image.ts'
import { ask, dial, firstLine, valuesOf } from './helpers.ts'

const FAST = { actionMs: { create_server: 30, other: 5 }, bootMs: 20, dokployStartMs: 10 }
const ANYONE = ['0.0.0.0/0', '::/0']

const sandboxes: Sandbox[] = []
const directories: string[] = []
afterEach(async () => {
  for (const sandbox of sandboxes.splice(0)) {
    await sandbox.close()
    expect(sandbox.bugs).toEqual([])
  }
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})

const start = async (options: SandboxOptions = {}): Promise<Sandbox> => {
  const sandbox = await startSandbox({ seed: { zones: ['example.com'], goldenImage: true }, settings: FAST, ...options })
  sandboxes.push(sandbox)
  return sandbox
}

const newFile = (): string => {
  const directory = mkdtempSync(join(tmpdir(), 'landfall-sandbox-test-'))
  directories.push(directory)
  return join(directory, 'sandbox.sqlite')
}

/** A call to a vendor of the sandbox, with the tokens that a client would find in its environment. */
const call = async (
  sandbox: Pick<Sandbox, 'environment'>,
  vendor: 'hetzner' | 'cloudflare',
  method: string,
  path: string,
  body?: unknown,
) => {
  const { environment } = sandbox
  const [base, token] =
    vendor === 'hetzner'
      ? [environment.HCLOUD_ENDPOINT, environment.HCLOUD_TOKEN]
      : [environment.CLOUDFLARE_BASE_URL, environment.CLOUDFLARE_API_TOKEN]
  const response = await fetch(`${base}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: response.status, json: (await response.json()) as Record<string, unknown> }
}

interface WireServer {
  readonly id: number
  readonly status: string
  readonly public_net: { readonly ipv4: { readonly ip: string }; readonly ipv6: { readonly ip: string } }
}

/** A running server behind a firewall that lets everyone to 22 and the operator to 3000. */
const launch = async (sandbox: Sandbox, name = 'prod') => {
  const rule = (port: string, source_ips: string[]) => ({ direction: 'in', protocol: 'tcp', port, source_ips })
  const rules = [rule('22', ANYONE), rule('3000', ['198.51.100.7/32', '2001:db8:ffff::/64'])]
  const firewall = await call(sandbox, 'hetzner', 'POST', '/firewalls', { name, rules })
  const images = await call(sandbox, 'hetzner', 'GET', '/images?type=snapshot')
  const image = (images.json.images as { id: number }[])[0]?.id
  const created = await call(sandbox, 'hetzner', 'POST', '/servers', {
    name,
    server_type: 'cx23',
    location: 'nbg1',
    image,
    firewalls: [{ firewall: (firewall.json.firewall as { id: number }).id }],
  })
  expect(created.status).toBe(201)
  const { id } = created.json.server as WireServer
  for (;;) {
    const server = (await call(sandbox, 'hetzner', 'GET', `/servers/${id}`)).json.server as WireServer
    if (server.status === 'running')
      return { id, ipv4: server.public_net.ipv4.ip, ipv6: server.public_net.ipv6.ip.replace('::/64', '::1') }
    await Bun.sleep(5)
  }
}

const stateOf = async (sandbox: Sandbox, target: string, source?: string): Promise<string> => {
  const tunnel = await dial(sandbox.ports.internet, target, source)
  if (tunnel === 'silence') return 'filtered'
  tunnel.socket.destroy()
  return tunnel.status === 200 ? 'open' : 'closed'
}

const waitFor = async (what: string, holds: () => Promise<boolean>): Promise<void> => {
  for (let tries = 0; tries < 200; tries++) {
    if (await holds()) return
    await Bun.sleep(10)
  }
  throw new Error(`never: ${what}`)
}

const control = async (sandbox: Sandbox, method: string, path: string, body?: unknown) => {
  const response = await fetch(`${sandbox.environment.LANDFALL_INTERNET}/_sandbox${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: response.status, json: await response.json() }
}

describe('a new sandbox', () => {
  test('holds the zones and the golden image that it was seeded with, as the product looks for them', async () => {
    const sandbox = await start()
    expect(sandbox.isNew).toBe(true)
    const zones = await call(sandbox, 'cloudflare', 'GET', '/zones')
    expect(zones.json.result).toMatchObject([{ name: 'example.com', status: 'active' }])
    const images = await call(sandbox, 'hetzner', 'GET', `/images?label_selector=landfall/image=${GOLDEN}`)
    expect(images.json.images).toMatchObject([{ type: 'snapshot', status: 'available' }])
    expect(readFileSync(sandbox.environment.LANDFALL_CA_FILE ?? '', 'utf8')).toStartWith('-----BEGIN CERTIFICATE-----')
    for (const name of ['HCLOUD_TOKEN', 'CLOUDFLARE_API_TOKEN']) expect(sandbox.environment[name]).toHaveLength(64)
  })

  test('knows every request, in order, across vendors', async () => {
    const sandbox = await start()
    await call(sandbox, 'cloudflare', 'GET', '/zones?name=example.com')
    await call(sandbox, 'hetzner', 'GET', '/servers')
    expect(sandbox.requests().map(one => [one.n, one.vendor, one.method, one.path, one.query, one.status])).toEqual([
      [1, 'cloudflare', 'GET', '/zones', 'name=example.com', 200],
      [2, 'hetzner', 'GET', '/servers', '', 200],
    ])
  })

  test('cleans up what it laid on disk', async () => {
    const sandbox = await startSandbox()
    const file = sandbox.environment.LANDFALL_CA_FILE ?? ''
    expect(existsSync(file)).toBe(true)
    await sandbox.close()
    expect(existsSync(file)).toBe(false)
  })
})

describe('a server in the sandbox', () => {
  test('is reached through the internet as its firewall says, and answers SSH and Dokploy', async () => {
    const sandbox = await start()
    const { ipv4, ipv6 } = await launch(sandbox)
    await waitFor('SSH answers', async () => (await stateOf(sandbox, `${ipv4}:22`)) === 'open')
    for (const target of [`${ipv4}:22`, `[${ipv6}]:22`]) {
      const tunnel = await dial(sandbox.ports.internet, target)
      if (tunnel === 'silence') throw new Error(`${target} is silent`)
      expect(await firstLine(tunnel.socket)).toStartWith('SSH-2.0-')
      tunnel.socket.destroy()
    }
    await waitFor('Dokploy answers', async () => (await stateOf(sandbox, `${ipv4}:3000`)) === 'open')
    expect(await stateOf(sandbox, `${ipv4}:3000`, '192.0.2.66')).toBe('filtered')
    expect(await stateOf(sandbox, `[${ipv6}]:3000`, '2001:db8:bad::66')).toBe('filtered')
    const proxied = await fetch(`http://${ipv4}:3000/api/health`, { proxy: sandbox.environment.LANDFALL_INTERNET ?? '' })
    expect(await proxied.json()).toEqual({ ok: true })
    expect(sandbox.requests().at(-1)).toMatchObject({ vendor: 'dokploy', path: '/api/health', status: 200 })
  })

  test('takes its connections along when it is switched off, and is silent then', async () => {
    const sandbox = await start()
    const { id, ipv4 } = await launch(sandbox)
    await waitFor('SSH answers', async () => (await stateOf(sandbox, `${ipv4}:22`)) === 'open')
    const tunnel = await dial(sandbox.ports.internet, `${ipv4}:22`)
    if (tunnel === 'silence') throw new Error('silent')
    await firstLine(tunnel.socket)
    const cut = new Promise(resolve => tunnel.socket.once('close', resolve))
    tunnel.socket.resume()
    await call(sandbox, 'hetzner', 'POST', `/servers/${id}/actions/poweroff`)
    await cut
    expect(await stateOf(sandbox, `${ipv4}:22`)).toBe('filtered')
  })

  test('never was open to a stranger on any other port, and the instants prove it although nobody asked', async () => {
    const sandbox = await start()
    const { id } = await launch(sandbox)
    const instants = sandbox.instants()
    expect(instants.length).toBeGreaterThan(1)
    expect(
      instants.flatMap(instant => instant.servers.flatMap(server => [...server.ipv4, ...server.ipv6])).every(port => port === 22),
    ).toBe(true)
    expect(instants.at(-1)?.servers).toEqual([{ serverId: String(id), name: 'prod', status: 'running', ipv4: [22], ipv6: [22] }])

    const firewall = (await call(sandbox, 'hetzner', 'GET', '/firewalls')).json.firewalls as { id: number }[]
    await call(sandbox, 'hetzner', 'POST', `/firewalls/${firewall[0]?.id}/actions/set_rules`, {
      rules: [{ direction: 'in', protocol: 'tcp', port: '3000', source_ips: ['0.0.0.0/0'] }],
    })
    await waitFor('the slip is on record', async () => sandbox.instants().at(-1)?.servers[0]?.ipv4.includes(3000) ?? false)
    expect(sandbox.instants().at(-1)?.servers).toMatchObject([{ ipv4: [3000], ipv6: [] }])
  })
})

describe('names in the sandbox', () => {
  test('are served by DNS as soon as the API has taken them', async () => {
    const sandbox = await start()
    const zones = (await call(sandbox, 'cloudflare', 'GET', '/zones')).json.result as { id: string }[]
    const record = { type: 'A', name: 'www.example.com', content: '203.0.113.77', ttl: 60 }
    expect((await call(sandbox, 'cloudflare', 'POST', `/zones/${zones[0]?.id}/dns_records`, record)).status).toBe(200)
    const port = Number(sandbox.environment.LANDFALL_DNS?.split(':')[1])
    expect(valuesOf(await ask(port, 'www.example.com', 'A'))).toEqual(['203.0.113.77'])
  })
})

describe('a sandbox with a file', () => {
  test('is the same world after a restart: servers, records, tokens, certificate authority, requests that were kept', async () => {
    const path = newFile()
    const first = await start({ path, settings: { ...FAST, keepRequests: true } })
    const { id } = await launch(first)
    first.controls.cloudflare.addRecord('example.com', { type: 'A', name: 'www', content: '203.0.113.5' })
    const before = {
      world: JSON.stringify(first.world().cloudflare),
      pem: readFileSync(first.environment.LANDFALL_CA_FILE ?? '', 'utf8'),
    }
    const count = first.requests().length
    await first.close()

    const second = await start({ path })
    expect(second.isNew).toBe(false)
    expect(JSON.stringify(second.world().cloudflare)).toBe(before.world)
    expect(readFileSync(second.environment.LANDFALL_CA_FILE ?? '', 'utf8')).toBe(before.pem)
    expect(second.environment.HCLOUD_TOKEN).toBe(first.environment.HCLOUD_TOKEN ?? '')
    expect((await call(second, 'hetzner', 'GET', `/servers/${id}`)).json.server).toMatchObject({ id, status: 'running' })
    expect((await call(second, 'cloudflare', 'GET', '/zones')).json.result).toHaveLength(1)
    expect(second.requests().slice(0, count).at(-1)?.n).toBe(count)
    expect(second.requests().at(-1)?.n).toBe(count + 2)
  })

  test('has on disk whatever was answered, even when it is killed at that moment', async () => {
    const path = newFile()
    const script = join(path, '..', 'serve.ts')
    writeFileSync(
      script,
      `import { startSandbox } from ${JSON.stringify(join(import.meta.dir, '../../../lib/sandbox/sandbox.ts'))}
       const sandbox = await startSandbox({ path: ${JSON.stringify(path)}, seed: { zones: ['example.com'] } })
       process.stdout.write(JSON.stringify(sandbox.environment))`,
    )
    const child = Bun.spawn([process.execPath, script], { stdout: 'pipe', stderr: 'inherit' })
    const { value } = await child.stdout.getReader().read()
    const environment = JSON.parse(new TextDecoder().decode(value)) as Record<string, string>
    const elsewhere = { environment }
    const zones = (await call(elsewhere, 'cloudflare', 'GET', '/zones')).json.result as { id: string }[]
    for (let i = 0; i < 5; i++) {
      const record = { type: 'A', name: `n${i}.example.com`, content: '203.0.113.77', ttl: 60 }
      await call(elsewhere, 'cloudflare', 'POST', `/zones/${zones[0]?.id}/dns_records`, record)
    }
    await call(elsewhere, 'hetzner', 'POST', '/firewalls', { name: 'last' })
    child.kill('SIGKILL')
    await child.exited
    const after = await start({ path })
    expect(after.controls.cloudflare.records('example.com')).toHaveLength(5)
    expect(after.controls.hetzner.dump().firewalls.map(firewall => firewall.name)).toEqual(['last'])
  })

  test('gets a zone that a later seed names, and keeps its others', async () => {
    const path = newFile()
    await (await start({ path })).close()
    const second = await start({ path, seed: { zones: ['example.org'] } })
    expect(second.controls.cloudflare.zones().map(zone => zone.name)).toEqual(['example.com', 'example.org'])
  })

  test('is refused to a second sandbox while the first one lives, and leaves nothing open', async () => {
    const path = newFile()
    await start({ path })
    const failure = await startSandbox({ path }).catch((error: unknown) => error)
    expect(hasCode(failure, 'locked')).toBe(true)
  })
})

describe('the control interface', () => {
  test('shows world, requests, instants and environment', async () => {
    const sandbox = await start()
    await launch(sandbox)
    expect((await control(sandbox, 'GET', '/world')).json).toMatchObject({ hetzner: { servers: [{ name: 'prod' }] }, bugs: [] })
    const requests = (await control(sandbox, 'GET', '/requests?after=2')).json as { n: number }[]
    expect(requests[0]?.n).toBe(3)
    expect((await control(sandbox, 'GET', '/instants')).json).toEqual(JSON.parse(JSON.stringify(sandbox.instants())))
    expect((await control(sandbox, 'GET', '/environment')).json).toEqual(sandbox.environment)
    expect((await control(sandbox, 'GET', '/nothing')).status).toBe(404)
  })

  test('changes settings and faults at once, and refuses what it does not understand', async () => {
    const sandbox = await start()
    await control(sandbox, 'POST', '/settings', { latencyMs: 3, chaos: { seed: 1, probability: 0 } })
    expect(sandbox.settings).toMatchObject({ latencyMs: 3, chaos: { seed: 1, probability: 0 } })
    await control(sandbox, 'POST', '/faults', [{ vendor: 'hetzner', effect: { kind: 'status', status: 503 } }])
    expect((await fetch(`${sandbox.environment.HCLOUD_ENDPOINT}/servers`)).status).toBe(503)
    expect((await call(sandbox, 'cloudflare', 'GET', '/zones')).status).toBe(200)
    expect(await control(sandbox, 'POST', '/settings', { latency: 3 })).toEqual({
      status: 400,
      json: { error: 'The sandbox has no setting "latency".' },
    })
    expect((await control(sandbox, 'POST', '/settings', { bootMs: -1 })).status).toBe(400)
    expect((await control(sandbox, 'POST', '/faults', [{ effect: { kind: 'explode' } }])).status).toBe(400)
    expect(sandbox.settings.faults).toHaveLength(1)
  })

  test('reset makes a new world under the same tokens', async () => {
    const sandbox = await start()
    const { ipv4 } = await launch(sandbox)
    sandbox.settings.faults = [{ vendor: 'cloudflare', effect: { kind: 'hang' } }]
    expect((await control(sandbox, 'POST', '/reset')).status).toBe(200)
    expect((await call(sandbox, 'hetzner', 'GET', '/servers')).json.servers).toEqual([])
    expect((await call(sandbox, 'hetzner', 'GET', '/images?type=snapshot')).json.images).toHaveLength(1)
    expect((await call(sandbox, 'cloudflare', 'GET', '/zones')).json.result).toHaveLength(1)
    expect(await stateOf(sandbox, `${ipv4}:22`)).toBe('filtered')
    expect(sandbox.instants()).toEqual([])
  })
})

describe('the end', () => {
  test('a process that closed its sandbox exits by itself, even with a server booting and a request hanging', async () => {
    const path = newFile()
    const script = join(path, '..', 'end.ts')
    writeFileSync(
      script,
      `import { startSandbox } from ${JSON.stringify(join(import.meta.dir, '../../../lib/sandbox/sandbox.ts'))}
       const sandbox = await startSandbox({ path: ${JSON.stringify(path)}, seed: { zones: ['example.com'], goldenImage: true } })
       const headers = { authorization: 'Bearer ' + sandbox.environment.HCLOUD_TOKEN }
       const body = JSON.stringify({ name: 'prod', server_type: 'cx23', image: 'debian-12' })
       const created = await fetch(sandbox.environment.HCLOUD_ENDPOINT + '/servers', { method: 'POST', headers, body })
       sandbox.settings.faults = [{ effect: { kind: 'hang' } }]
       void fetch(sandbox.environment.HCLOUD_ENDPOINT + '/servers', { headers }).catch(() => undefined)
       await Bun.sleep(20)
       await sandbox.close()
       process.stdout.write(String(created.status))`,
    )
    const child = Bun.spawn([process.execPath, script], { stdout: 'pipe', stderr: 'inherit' })
    const timer = setTimeout(() => child.kill('SIGKILL'), 4000)
    expect(await new Response(child.stdout).text()).toBe('201')
    expect(await child.exited).toBe(0)
    clearTimeout(timer)
  })
})
