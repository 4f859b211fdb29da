import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import type { Answer } from 'dns-packet'
import { LandfallError } from '../../../../lib/errors.ts'
import { createOutside, type OutsideOptions } from '../../../../lib/providers/outside/outside.ts'
import { type CertificateAuthority, createAuthority, createSelfSigned } from '../../../../lib/sandbox/ca.ts'
import { type Closable, createTestContext, startDns, startProxy, startRaw, type Target } from './fake-internet.ts'

const HOST = 'app.example.com'
const SERVER = '198.51.100.10'

let authority: CertificateAuthority
let stranger: CertificateAuthority
const open: { close(): void }[] = []
let context: ReturnType<typeof createTestContext>

beforeAll(async () => {
  authority = await createAuthority()
  stranger = await createAuthority()
})
beforeEach(() => {
  context = createTestContext()
})
afterEach(() => {
  for (const each of open.splice(0)) each.close()
})

const kept = async <T extends { close(): void }>(starting: Promise<T>): Promise<T> => {
  const started = await starting
  open.push(started)
  return started
}

/** An outside whose addresses are what the table says. */
const behind = async (table: Record<string, Target>, over: Partial<OutsideOptions> = {}) => {
  const proxy = await kept(startProxy(table))
  const outside = createOutside({
    route: { kind: 'proxy', host: '127.0.0.1', port: proxy.port },
    caPem: authority.pem,
    context,
    dnsTimeoutMs: 400,
    ...over,
  })
  return { outside, proxy }
}

const serveTls = (certificate: { cert: string; key: string }): Promise<Closable> => {
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    tls: certificate,
    fetch: request => {
      const { pathname, search } = new URL(request.url)
      if (pathname === '/away') return new Response('', { status: 301, headers: { location: 'https://elsewhere.example.com/' } })
      return new Response(`host ${request.headers.get('host')} path ${pathname}${search}`, { headers: { 'x-version': '7' } })
    },
  })
  return kept(Promise.resolve({ port: server.port ?? 0, close: () => void server.stop(true) }))
}

const failureOf = async (work: Promise<unknown>): Promise<LandfallError> => {
  try {
    await work
  } catch (error) {
    if (error instanceof LandfallError) return error
    throw error
  }
  throw new Error('It did not fail.')
}

describe('ports', () => {
  test('through the proxy, open, closed and filtered are told apart, for IPv4 and IPv6', async () => {
    const far = await kept(startRaw(() => undefined))
    const { outside, proxy } = await behind({
      [`${SERVER}:22`]: far.port,
      [`${SERVER}:80`]: 'refused',
      [`${SERVER}:3000`]: 'silent',
      '[2001:db8::1]:22': far.port,
    })
    expect(await outside.probePort(SERVER, 22, 1_000)).toBe('open')
    expect(await outside.probePort(SERVER, 80, 1_000)).toBe('closed')
    expect(await outside.probePort(SERVER, 3000, 30)).toBe('filtered')
    expect(await outside.probePort('2001:db8::1', 22, 1_000)).toBe('open')
    expect(proxy.asked).toEqual([`${SERVER}:22`, `${SERVER}:80`, `${SERVER}:3000`, '[2001:db8::1]:22'])
  })

  test('a proxy that may not, cannot or will not is an error, never a closed port', async () => {
    const { outside } = await behind({ [`${SERVER}:22`]: 'forbidden', [`${SERVER}:23`]: 'closed' })
    expect((await failureOf(outside.probePort(SERVER, 22, 1_000))).message).toContain('the proxy answered 403')
    expect((await failureOf(outside.probePort(SERVER, 23, 1_000))).code).toBe('network')
    expect((await failureOf(outside.probePort('a\r\nX: y', 22, 1_000))).code).toBe('network')
    const gone = createOutside({ route: { kind: 'proxy', host: '127.0.0.1', port: 1 }, context })
    expect((await failureOf(gone.probePort(SERVER, 22, 1_000))).message).toContain('the proxy at 127.0.0.1:1 failed')
  })

  test('directly, a listener is open and a free port is closed', async () => {
    const far = await startRaw(() => undefined)
    const outside = createOutside({ route: { kind: 'direct' }, context })
    expect(await outside.probePort('127.0.0.1', far.port, 1_000)).toBe('open')
    far.close()
    expect(await outside.probePort('127.0.0.1', far.port, 1_000)).toBe('closed')
  })

  test('an interrupt ends a probe at once', async () => {
    const { outside } = await behind({})
    const probing = failureOf(outside.probePort(SERVER, 22, 60_000))
    context.controller.abort()
    expect((await probing).code).toBe('cancelled')
  })
})

describe('certificates', () => {
  const reportFor = async (certificate: { cert: string; key: string }) => {
    const far = await serveTls(certificate)
    const { outside } = await behind({ [`${SERVER}:443`]: far.port })
    return outside.readTls(HOST, SERVER)
  }

  test('a certificate of a trusted authority for this name is trusted', async () => {
    const report = await reportFor(await authority.issue([HOST, 'www.example.com'], 30))
    expect(report.state).toBe('trusted')
    expect(report.why).toBeUndefined()
    expect(report.names).toEqual([HOST, 'www.example.com'])
    const days = (Date.parse(report.notAfter ?? '') - Date.now()) / 86_400_000
    expect(days).toBeGreaterThan(29)
    expect(days).toBeLessThan(31)
    expect(report.issuer).toBeString()
  })

  test('each reason for not trusting one has its own words', async () => {
    expect(await reportFor(await authority.issue(['other.example.com']))).toMatchObject({
      state: 'untrusted',
      why: `wrong name: it is for other.example.com, not for ${HOST}`,
    })
    expect((await reportFor(await createSelfSigned('TRAEFIK DEFAULT CERT', [HOST]))).why).toBe('self-signed')
    expect((await reportFor(await stranger.issue([HOST]))).why).toContain('signed by an authority that is not trusted here')
    expect((await reportFor(await authority.issue([HOST], -0.001))).why).toStartWith('expired on 2')
  })

  test('no TLS, and nobody there, are "none" with the reason', async () => {
    const plain = await kept(startRaw(() => 'HTTP/1.1 400 Bad Request\r\n\r\n'))
    const { outside } = await behind({ [`${SERVER}:443`]: plain.port, [`${SERVER}:8443`]: 'refused' })
    expect((await outside.readTls(HOST, SERVER)).state).toBe('none')
    expect(await outside.readTls(HOST, SERVER, 8443)).toEqual({
      state: 'none',
      why: `port 8443 of ${SERVER}: connection refused`,
      names: [],
    })
  })

  test('an authority of our own is trusted only where it is given', async () => {
    const far = await serveTls(await authority.issue([HOST]))
    const direct = { route: { kind: 'direct' as const }, context }
    expect((await createOutside(direct).readTls(HOST, '127.0.0.1', far.port)).state).toBe('untrusted')
    expect((await createOutside({ ...direct, caPem: authority.pem }).readTls(HOST, '127.0.0.1', far.port)).state).toBe('trusted')
  })
})

describe('pages', () => {
  test('a page comes from the given address, whatever DNS says, and a redirect is shown, not followed', async () => {
    const far = await serveTls(await authority.issue([HOST]))
    const { outside } = await behind({ [`${SERVER}:443`]: far.port })
    const page = await outside.fetchPage(`https://${HOST}/health?x=1`, { address: SERVER })
    expect(page).toMatchObject({ status: 200, body: `host ${HOST} path /health?x=1` })
    expect(page.headers['x-version']).toBe('7')
    expect((await outside.fetchPage(`https://${HOST}/away`, { address: SERVER })).headers.location).toBe(
      'https://elsewhere.example.com/',
    )
  })

  test('a certificate that is not trusted, an answer that breaks off and one that never ends are errors', async () => {
    const bad = await serveTls(await stranger.issue([HOST]))
    const broken = await kept(startRaw(() => 'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf'))
    const slow = await kept(startRaw(() => undefined))
    const { outside } = await behind({
      [`${SERVER}:443`]: bad.port,
      [`${SERVER}:80`]: broken.port,
      [`${SERVER}:81`]: slow.port,
      [`${SERVER}:82`]: 'silent',
    })
    expect((await failureOf(outside.fetchPage(`https://${HOST}/`, { address: SERVER }))).message).toContain('is not trusted')
    expect((await failureOf(outside.fetchPage(`http://${HOST}/`, { address: SERVER }))).message).toContain('broke off')
    expect((await failureOf(outside.fetchPage(`http://${HOST}:81/`, { address: SERVER, timeoutMs: 40 }))).code).toBe('timeout')
    expect((await failureOf(outside.fetchPage(`http://${HOST}:82/`, { address: SERVER, timeoutMs: 40 }))).code).toBe('timeout')
  })

  test('without an address the resolver is asked', async () => {
    const far = await kept(startRaw(request => `HTTP/1.1 200 OK\r\n\r\n${/^host: (.*)$/im.exec(request)?.[1]}`))
    const dns = await kept(startDns({ records: { [`${HOST} A`]: [{ type: 'A', name: HOST, ttl: 60, data: SERVER }] } }))
    const { outside } = await behind({ [`${SERVER}:80`]: far.port }, { resolver: { host: '127.0.0.1', port: dns.port } })
    expect((await outside.fetchPage(`http://${HOST}/`)).body).toBe(HOST)
    expect((await failureOf(outside.fetchPage('http://nowhere.example.com/'))).message).toContain('has no address in DNS')
    expect(dns.asked.every(each => each.recursion)).toBe(true)
  })
})

describe('name servers', () => {
  const ns = (name: string): Answer => ({ type: 'NS', name: 'example.com', ttl: 86_400, data: name })
  const a = (name: string, address: string, ttl = 300): Answer => ({ type: 'A', name, ttl, data: address })

  const world = async () => {
    const resolver = await kept(
      startDns({
        authoritative: false,
        records: {
          'example.com NS': [ns('bob.ns.example.net'), ns('Ada.ns.example.net'), ns('eve.ns.example.net')],
          'ada.ns.example.net A': [a('ada.ns.example.net', '198.51.100.1')],
          'bob.ns.example.net A': [a('bob.ns.example.net', '198.51.100.2')],
          'bob.ns.example.net AAAA': [{ type: 'AAAA', name: 'bob.ns.example.net', ttl: 60, data: '2001:db8::2' }],
          'eve.ns.example.net A': [a('eve.ns.example.net', '198.51.100.3')],
          'www.example.com A': [a('www.example.com', '192.0.2.66')],
        },
      }),
    )
    const ada = await kept(startDns({ records: { 'www.example.com A': [a('www.example.com', '192.0.2.1', 120)] } }))
    const bob = await kept(startDns({ records: { 'www.example.com A': [a('www.example.com', '192.0.2.2')] } }))
    const lame = await kept(startDns({ authoritative: false, records: { 'www.example.com NS': [] } }))
    const { outside } = await behind(
      { '198.51.100.1:53': ada.port, '198.51.100.2:53': bob.port, '[2001:db8::2]:53': 'forbidden', '198.51.100.3:53': lame.port },
      { resolver: { host: '127.0.0.1', port: resolver.port } },
    )
    return { outside, resolver, ada }
  }

  test('they are listed with their addresses, and a zone that is not delegated has none', async () => {
    const { outside } = await world()
    expect(await outside.findNameservers('example.com')).toEqual([
      { name: 'ada.ns.example.net', addresses: ['198.51.100.1'] },
      { name: 'bob.ns.example.net', addresses: ['198.51.100.2', '2001:db8::2'] },
      { name: 'eve.ns.example.net', addresses: ['198.51.100.3'] },
    ])
    expect(await outside.findNameservers('example.org')).toEqual([])
    expect(await outside.askAuthoritative('example.org', 'www.example.org', 'A')).toEqual([])
  })

  test('each is asked itself, without recursion, and answers for itself; the resolver never hears the name', async () => {
    const { outside, resolver, ada } = await world()
    expect(await outside.askAuthoritative('example.com', 'www.example.com', 'A')).toEqual([
      { server: 'ada.ns.example.net 198.51.100.1', status: 'ok', values: ['192.0.2.1'], ttl: 120 },
      { server: 'bob.ns.example.net 198.51.100.2', status: 'ok', values: ['192.0.2.2'], ttl: 300 },
      { server: 'eve.ns.example.net 198.51.100.3', status: 'refused', values: [] },
    ])
    expect(ada.asked).toEqual([{ transport: 'tcp', name: 'www.example.com', type: 'A', recursion: false }])
    expect(resolver.asked.some(each => each.name === 'www.example.com')).toBe(false)
  })

  test('a name that exists nowhere, and a server that keeps silent, are told apart', async () => {
    const { outside } = await world()
    const answers = await outside.askAuthoritative('example.com', 'pr-7.example.com', 'A')
    expect(answers.map(answer => answer.status)).toEqual(['nxdomain', 'nxdomain', 'nxdomain'])
    const lonely = await kept(
      startDns({
        records: {
          'example.com NS': [ns('ada.ns.example.net')],
          'ada.ns.example.net A': [a('ada.ns.example.net', '198.51.100.99')],
        },
      }),
    )
    const { outside: other } = await behind(
      { '198.51.100.99:53': 'silent' },
      { resolver: { host: '127.0.0.1', port: lonely.port }, dnsTimeoutMs: 40 },
    )
    expect(await other.askAuthoritative('example.com', 'www.example.com', 'A')).toEqual([
      { server: 'ada.ns.example.net 198.51.100.99', status: 'silent', values: [] },
    ])
  })

  test('a machine without IPv6 does not make servers silent; one silent IPv6 address among others does count', async () => {
    const records = {
      'example.com NS': [ns('ada.ns.example.net'), ns('bob.ns.example.net')],
      ...Object.fromEntries(
        ['ada', 'bob'].flatMap((name, i): [string, Answer[]][] => [
          [`${name}.ns.example.net A`, [a(`${name}.ns.example.net`, `198.51.100.${i + 1}`)]],
          [
            `${name}.ns.example.net AAAA`,
            [{ type: 'AAAA', name: `${name}.ns.example.net`, ttl: 60, data: `2001:db8::${i + 1}` }],
          ],
        ]),
      ),
    }
    const resolver = await kept(startDns({ records }))
    const server = await kept(startDns({ records: { 'www.example.com A': [a('www.example.com', '192.0.2.1')] } }))
    const ask = async (over6: Record<string, Target>) => {
      const table = { '198.51.100.1:53': server.port, '198.51.100.2:53': server.port, ...over6 }
      const { outside } = await behind(table, { resolver: { host: '127.0.0.1', port: resolver.port }, dnsTimeoutMs: 300 })
      return (await outside.askAuthoritative('example.com', 'www.example.com', 'A')).map(
        answer => `${answer.server} ${answer.status}`,
      )
    }
    expect(await ask({})).toEqual(['ada.ns.example.net 198.51.100.1 ok', 'bob.ns.example.net 198.51.100.2 ok'])
    expect(await ask({ '[2001:db8::1]:53': server.port })).toEqual([
      'ada.ns.example.net 198.51.100.1 ok',
      'ada.ns.example.net 2001:db8::1 ok',
      'bob.ns.example.net 198.51.100.2 ok',
      'bob.ns.example.net 2001:db8::2 silent',
    ])
  })

  test('a resolver that fails is an error, not a missing delegation', async () => {
    const broken = await kept(startDns({ records: {}, rcode: 2 }))
    const { outside } = await behind({}, { resolver: { host: '127.0.0.1', port: broken.port } })
    const failure = await failureOf(outside.findNameservers('example.com'))
    expect(failure.code).toBe('network')
    expect(failure.message).toContain('servfail')
  })
})

describe('our own addresses', () => {
  test('they are read over each family, and what cannot be learned is left out', async () => {
    const whoami = await kept(startRaw(() => 'HTTP/1.1 200 OK\r\n\r\nfl=1\nip=203.0.113.7\nts=1\n'))
    const { outside } = await behind({}, { whoamiUrl: `http://127.0.0.1:${whoami.port}/cdn-cgi/trace` })
    expect(await outside.findOwnAddresses()).toEqual({ ipv4: '203.0.113.7' })
    const both = await kept(
      startRaw(request => `HTTP/1.1 200 OK\r\n\r\nip=${request.startsWith('GET /6') ? '2001:db8::7' : '203.0.113.8'}\n`),
    )
    const { outside: dual } = await behind({}, { whoamiUrl: `http://127.0.0.1:${both.port}/{family}` })
    expect(await dual.findOwnAddresses()).toEqual({ ipv4: '203.0.113.8', ipv6: '2001:db8::7' })
    const { outside: blind } = await behind({}, { whoamiUrl: 'http://127.0.0.1:1/' })
    expect(await blind.findOwnAddresses()).toEqual({})
    const { outside: lost } = await behind({}, { whoamiUrl: 'not a url' })
    expect(await lost.findOwnAddresses()).toEqual({})
  })

  test('an answer without an address is no address', async () => {
    const page = await kept(startRaw(() => 'HTTP/1.1 200 OK\r\n\r\nip=999.1.1.1\n'))
    const { outside } = await behind({}, { whoamiUrl: `http://127.0.0.1:${page.port}/` })
    expect(await outside.findOwnAddresses()).toEqual({})
  })
})
