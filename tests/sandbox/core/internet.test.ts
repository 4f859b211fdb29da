import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { type Exposure, exposureSnapshot } from '../../../lib/sandbox/exposure.ts'
import { type Internet, serveInternet } from '../../../lib/sandbox/internet.ts'
import { dial, firstLine } from './helpers.ts'

const ANYONE = ['0.0.0.0/0', '::/0']
const ADMIN = ['198.51.100.7/32', '2001:db8:ffff::/64']

const tcp = (first: number, from: readonly string[], last = first): Exposure => ({
  protocol: 'tcp',
  ports: { first, last },
  from,
})

let machine: Server
let internet: Internet
let openings: Exposure[]
let status: string
/** Local ports that the machine was called from. */
const callers: number[] = []

beforeEach(async () => {
  callers.length = 0
  openings = [tcp(22, ANYONE), tcp(3000, ADMIN), tcp(8000, ANYONE, 8100)]
  status = 'running'
  machine = createServer({ allowHalfOpen: true }, socket => {
    callers.push(socket.remotePort ?? 0)
    socket.write('hello from the machine\r\n')
    // A protocol that answers only when the other side has said everything.
    const said: string[] = []
    socket.on('data', chunk => said.push(chunk.toString()))
    socket.on('end', () => socket.end(`you said ${said.join('')}`))
    socket.on('error', () => socket.destroy())
  })
  await new Promise<void>(resolve => machine.listen(0, '127.0.0.1', resolve))
  const { port } = machine.address() as AddressInfo
  internet = await serveInternet({
    servers: () => [{ id: '1', name: 'prod', status, ipv4: '203.0.113.10', ipv6: '2001:db8:1::1' }],
    exposure: () => openings,
    dial: async (_address, wanted) => (wanted === 22 || wanted === 3000 ? { host: '127.0.0.1', port } : 'closed'),
    resolve: name => (name === 'prod.example.com' ? '203.0.113.10' : undefined),
    nameserverPort: () => port,
    control: ({ method, path, body }) => ({ status: 200, json: { method, path, body } }),
  })
})
afterEach(async () => {
  await internet.close()
  await new Promise(resolve => machine.close(resolve))
})

const reach = async (target: string, source?: string): Promise<string> => {
  const tunnel = await dial(internet.port, target, source)
  if (tunnel === 'silence') return 'filtered'
  tunnel.socket.destroy()
  return tunnel.status === 200 ? 'open' : `${tunnel.status} ${/X-Connect: (\w+)/.exec(tunnel.head)?.[1]}`
}

describe('the internet', () => {
  test('leads to the machine that has the address, over IPv4, IPv6 in any spelling, and by name', async () => {
    const sources: (string | undefined)[] = []
    for (const target of ['203.0.113.10:22', '[2001:db8:1::1]:22', '[2001:0db8:0001:0:0:0:0:1]:22', 'prod.example.com:22']) {
      const tunnel = await dial(internet.port, target)
      if (tunnel === 'silence') throw new Error(`${target} is silent`)
      expect(tunnel.status).toBe(200)
      expect(await firstLine(tunnel.socket)).toBe('hello from the machine')
      sources.push(internet.sourceOf(callers.at(-1) ?? 0))
      tunnel.socket.destroy()
    }
    expect(sources).toEqual(['198.51.100.7', '2001:db8:ffff::7', '2001:db8:ffff::7', '198.51.100.7'])
  })

  test('lets one side finish before the other answers', async () => {
    const tunnel = await dial(internet.port, '203.0.113.10:22')
    if (tunnel === 'silence') throw new Error('silent')
    await firstLine(tunnel.socket)
    tunnel.socket.end('my words')
    expect(await firstLine(tunnel.socket)).toBe('you said my words')
  })

  test('asks the cloud firewall with the address that the connection comes from', async () => {
    expect(await reach('203.0.113.10:3000')).toBe('open')
    expect(await reach('[2001:db8:1::1]:3000')).toBe('open')
    expect(await reach('203.0.113.10:3000', '192.0.2.66')).toBe('filtered')
    expect(await reach('[2001:db8:1::1]:3000', '2001:db8:bad::66')).toBe('filtered')
    expect(await reach('203.0.113.10:22', '192.0.2.66')).toBe('open')
    openings = []
    expect(await reach('203.0.113.10:22')).toBe('filtered')
  })

  test('is refused where the firewall lets in and nothing listens', async () => {
    expect(await reach('203.0.113.10:8050')).toBe('502 refused')
  })

  test('is silent for a machine that is off, for an address of nobody, and for a port that is not let in', async () => {
    expect(await reach('203.0.113.10:443')).toBe('filtered')
    expect(await reach('203.0.113.99:22')).toBe('filtered')
    status = 'off'
    expect(await reach('203.0.113.10:22')).toBe('filtered')
  })

  test('says so when a name has no address, or the target is none', async () => {
    expect(await reach('nobody.example.com:22')).toBe('502 unresolved')
    expect(await reach('203.0.113.10')).toBe('400 malformed')
  })

  test('leads port 53 of the name servers to the authority', async () => {
    expect(await reach('198.51.100.53:53')).toBe('open')
    expect(await reach('[2001:db8:ffff::54]:53')).toBe('open')
    expect(await reach('198.51.100.53:22')).toBe('filtered')
  })

  test('tells who one is, as the trace page does', async () => {
    const trace = async (path: string, headers: Record<string, string> = {}) =>
      /^ip=(.*)$/m.exec(await (await fetch(internet.url + path, { headers })).text())?.[1]
    expect(await trace('/whoami')).toBe('198.51.100.7')
    expect(await trace('/whoami6')).toBe('2001:db8:ffff::7')
    expect(await trace('/whoami', { 'x-source-address': '192.0.2.66' })).toBe('192.0.2.66')
    const proxied = await fetch('http://whoami.sandbox/cdn-cgi/trace', { proxy: internet.url })
    expect(await proxied.text()).toContain('\nip=198.51.100.7\n')
  })

  test('gives its control to programs on this machine, and to no page in a browser', async () => {
    const url = `${internet.url}/_sandbox/settings`
    const answer = await fetch(url, { method: 'POST', body: '{"a":1}' })
    expect(await answer.json()).toEqual({ method: 'POST', path: '/settings', body: '{"a":1}' })
    expect((await fetch(url, { headers: { origin: 'https://example.com' } })).status).toBe(404)
    expect((await fetch(url, { headers: { host: 'rebound.example.com' } })).status).toBe(404)
  })

  test('closes with connections open', async () => {
    const tunnel = await dial(internet.port, '203.0.113.10:22')
    void dial(internet.port, '203.0.113.99:22', undefined, 5000).catch(() => 'cut')
    if (tunnel === 'silence') throw new Error('silent')
    const cut = new Promise(resolve => tunnel.socket.once('close', resolve))
    tunnel.socket.resume()
    await internet.close()
    await cut
  })
})

describe('an exposure snapshot', () => {
  test('lists the watched ports that a stranger reaches, by family, of servers that have power', () => {
    const servers = [
      { id: '1', name: 'prod', status: 'running', ipv4: '203.0.113.10', ipv6: '2001:db8:1::1' },
      { id: '2', name: 'inner', status: 'starting', ipv4: '203.0.113.11' },
      { id: '3', name: 'asleep', status: 'initializing', ipv4: '203.0.113.12' },
    ]
    const rules: Record<string, Exposure[]> = {
      1: [
        tcp(22, ANYONE),
        tcp(3000, ['0.0.0.0/0']),
        tcp(80, ADMIN),
        { protocol: 'udp', ports: { first: 7946, last: 7946 }, from: ANYONE },
      ],
      2: [tcp(1, ANYONE, 65_535)],
      3: [tcp(1, ANYONE, 65_535)],
    }
    expect(exposureSnapshot(servers, id => rules[id] ?? [])).toEqual([
      { serverId: '1', name: 'prod', status: 'running', ipv4: [22, 3000], ipv6: [22] },
      { serverId: '2', name: 'inner', status: 'starting', ipv4: [22, 80, 443, 2377, 3000, 5432, 6379, 7946], ipv6: [] },
      { serverId: '3', name: 'asleep', status: 'initializing', ipv4: [], ipv6: [] },
    ])
  })
})
