import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { LandfallError } from '../../../../lib/errors.ts'
import { createCloudflare } from '../../../../lib/providers/cloudflare/cloudflare.ts'
import type { Dns, WantedRecord } from '../../../../lib/providers/ports/dns.ts'
import { Secret } from '../../../../lib/secret.ts'
import { answers, createTestContext, type FakeZone, startFakeZone, type TestContext } from './fake-zone.ts'

const TOKEN = 'cf-token-that-must-stay-inside-0123456789'
const MARK = 'landfall:shop'

let zone: FakeZone
let context: TestContext
let dns: Dns

beforeEach(() => {
  zone = startFakeZone()
  context = createTestContext()
  dns = createCloudflare({ token: new Secret('CLOUDFLARE_API_TOKEN', TOKEN), endpoint: zone.endpoint, context, timeoutMs: 2_000 })
})
afterEach(() => zone.stop())

const wanted = (name: string, over: Partial<WantedRecord> = {}): WantedRecord => ({
  name,
  type: 'A',
  content: '192.0.2.10',
  ttl: 300,
  proxied: false,
  comment: MARK,
  ...over,
})

const failureOf = async (work: Promise<unknown>): Promise<LandfallError> => {
  try {
    await work
  } catch (error) {
    if (error instanceof LandfallError) return error
    throw error
  }
  throw new Error('It did not fail.')
}

const named = (name: string) => [...zone.records.values()].filter(record => record.name === name)

describe('finding the zone', () => {
  test('one request is enough when the domain is the zone', async () => {
    expect(await dns.findZone('Example.com.')).toEqual({
      id: 'zone1',
      name: 'example.com',
      status: 'active',
      nameservers: ['ada.ns.example.net', 'bob.ns.example.net'],
    })
    expect(zone.requests).toHaveLength(1)
  })

  test('a deep name costs at most three requests and finds the nearest zone', async () => {
    zone.zones.push({ id: 'zone2', name: 'app.example.com', status: 'active', name_servers: [] })
    expect((await dns.findZone('x.y.z.app.example.com'))?.id).toBe('zone2')
    expect(zone.requests.length).toBeLessThanOrEqual(3)
    zone.requests.length = 0
    expect((await dns.findZone('a.b.example.com'))?.id).toBe('zone1')
    expect(zone.requests.length).toBeLessThanOrEqual(3)
  })

  test('a zone that this token does not see is undefined, and a paused zone says so', async () => {
    expect(await dns.findZone('www.example.org')).toBeUndefined()
    zone.zones = [{ id: 'zone3', name: 'example.com', status: 'active', paused: true, name_servers: [] }]
    expect((await dns.findZone('example.com'))?.status).toBe('paused')
  })

  test('the active one of two zones with one name is taken, and two pending ones are refused', async () => {
    zone.zones.unshift({ id: 'old', name: 'example.com', status: 'pending', name_servers: [] })
    expect((await dns.findZone('example.com'))?.id).toBe('zone1')
    zone.zones = zone.zones.map(each => ({ ...each, status: 'pending' }))
    expect((await failureOf(dns.findZone('example.com'))).code).toBe('refused')
  })
})

describe('listing records', () => {
  test('1000 records come over ten pages when the vendor gives smaller pages than asked for', async () => {
    zone.maxPerPage = 100
    for (let i = 0; i < 1_000; i++) zone.add({ name: `h${i}.example.com` })
    const records = await dns.listRecords('zone1')
    expect(new Set(records.map(record => record.id)).size).toBe(1_000)
    expect(zone.requests).toHaveLength(10)
    expect(context.meter.snapshot()).toEqual({ cloudflare: { reads: 10, writes: 0 } })
  })

  test('an empty page before the announced count is an error, never the end', async () => {
    zone.add({ name: 'a.example.com' })
    zone.phantoms = 3
    const failure = await failureOf(dns.listRecords('zone1'))
    expect(failure.code).toBe('network')
    expect(failure.message).toContain('ends before its own count')
  })

  test('an answer that is not JSON is an error, never an empty zone', async () => {
    zone.fault = () => ({ instead: () => new Response('<html>busy</html>', { headers: { 'content-type': 'text/html' } }) })
    expect((await failureOf(dns.listRecords('zone1'))).code).toBe('network')
  })

  test('text is compared without its quotes, and the vendor object stays whole', async () => {
    zone.add({ name: 'T.example.com', type: 'TXT', content: '"v=1 \\"x\\"" " end"', comment: 'ours' })
    const [record] = await dns.listRecords('zone1')
    expect(record).toMatchObject({ name: 't.example.com', type: 'TXT', content: 'v=1 "x" end', comment: 'ours' })
    expect(record?.raw).toMatchObject({ content: '"v=1 \\"x\\"" " end"' })
  })

  test('a busy vendor is asked again after the wait it named, and the wait is in the log', async () => {
    zone.fault = ({ n }) =>
      n === 1 ? { instead: () => answers.failed(429, 971, 'slow down', { 'retry-after': '30' }) } : undefined
    await dns.listRecords('zone1')
    expect(context.waitsMs).toEqual([30_000])
    expect(context.lines.join()).toContain('in 30 s')
  })

  test('while one request waits out a block, no other one is sent', async () => {
    const sleepers: { untilMs: number; wake: () => void }[] = []
    let nowMs = 0
    const clock = {
      nowMs: () => nowMs,
      monotonicMs: () => nowMs,
      sleep: (ms: number) => new Promise<void>(wake => void sleepers.push({ untilMs: nowMs + ms, wake })),
    }
    const sleeping = async (count: number) => {
      while (sleepers.length < count) await Bun.sleep(1)
    }
    const shared = createCloudflare({ token: new Secret('T', TOKEN), endpoint: zone.endpoint, context: { ...context, clock } })
    zone.fault = ({ n }) =>
      n === 1 ? { instead: () => answers.failed(429, 971, 'slow down', { 'retry-after': '60' }) } : undefined
    const first = shared.listRecords('zone1')
    await sleeping(1)
    const second = shared.findZone('example.com')
    await sleeping(2)
    expect(zone.requests).toHaveLength(1)
    expect(sleepers.map(each => each.untilMs)).toEqual([60_000, 60_000])
    nowMs = 60_000
    for (const { wake } of sleepers) wake()
    await Promise.all([first, second])
    expect(zone.requests).toHaveLength(3)
  })

  test('no wait is longer than five minutes, and the tries end', async () => {
    zone.fault = () => ({ instead: () => answers.failed(429, 971, 'slow down', { 'retry-after': '86400' }) })
    expect((await failureOf(dns.listRecords('zone1'))).code).toBe('rate_limited')
    expect(context.waitsMs).toEqual([300_000, 300_000, 300_000, 300_000, 300_000])
  })

  test('a vendor that never answers costs its deadline, and the error names what was asked', async () => {
    const slow = createCloudflare({ token: new Secret('T', TOKEN), endpoint: zone.endpoint, context, timeoutMs: 20 })
    zone.fault = () => ({ instead: () => new Response(new ReadableStream({})) })
    const failure = await failureOf(slow.listRecords('zone1'))
    expect(failure.code).toBe('timeout')
    expect(failure.message).toContain('GET /zones/zone1/dns_records')
  })
})

describe('changing records', () => {
  test('450 posts go in three batches of at most 200, all with our mark', async () => {
    await dns.changeRecords('zone1', {
      deletes: [],
      patches: [],
      posts: Array.from({ length: 450 }, (_, i) => wanted(`n${i}.example.com`)),
    })
    expect(zone.records.size).toBe(450)
    expect([...zone.records.values()].every(record => record.comment === MARK)).toBe(true)
    expect(context.meter.snapshot()).toEqual({ cloudflare: { reads: 0, writes: 3 } })
    expect(context.writes).toHaveLength(3)
  })

  test('a CNAME becomes an A in one request even when the whole is too large for one', async () => {
    const old = zone.add({ name: 'www.example.com', type: 'CNAME', content: 'cname.vercel-dns.com' })
    const crowd = Array.from({ length: 250 }, (_, i) => wanted(`n${i}.example.com`))
    await dns.changeRecords('zone1', { deletes: [{ id: old.id }], patches: [], posts: [...crowd, wanted('www.example.com')] })
    expect(named('www.example.com').map(({ type, content }) => `${type} ${content}`)).toEqual(['A 192.0.2.10'])
    const swaps = zone.requests.filter(request => request.body.includes('www.example.com'))
    expect(swaps).toHaveLength(1)
    expect(swaps[0]?.body).toContain(old.id)
  })

  test('a patch carries only the fields given, so that the others stay', async () => {
    const record = zone.add({ name: 'www.example.com', proxied: true, comment: MARK })
    await dns.changeRecords('zone1', { deletes: [], patches: [{ id: record.id, record: { content: '192.0.2.99' } }], posts: [] })
    expect(named('www.example.com')).toEqual([{ ...record, content: '192.0.2.99' }])
    expect(zone.requests.every(request => request.method !== 'PUT')).toBe(true)
  })

  test('a proxied record is sent with the automatic time to live, whatever was wanted', async () => {
    const kept = zone.add({ name: 'b.example.com', ttl: 300 })
    await dns.changeRecords('zone1', {
      deletes: [],
      patches: [{ id: kept.id, record: { proxied: true, ttl: 300 } }],
      posts: [wanted('a.example.com', { proxied: true, ttl: 300 })],
    })
    expect([...zone.records.values()].map(({ proxied, ttl }) => ({ proxied, ttl }))).toEqual([
      { proxied: true, ttl: 1 },
      { proxied: true, ttl: 1 },
    ])
  })

  test('a lost answer leaves exactly one record, and nothing is sent a second time', async () => {
    zone.fault = ({ n }) => (n === 1 ? { lost: true } : undefined)
    await dns.changeRecords('zone1', { deletes: [], patches: [], posts: [wanted('www.example.com')] })
    expect(named('www.example.com')).toHaveLength(1)
    expect(context.meter.snapshot()).toEqual({ cloudflare: { reads: 1, writes: 1 } })
  })

  test('a lost answer over deletes, patches and posts ends in the wanted zone', async () => {
    const gone = zone.add({ name: 'old.example.com' })
    const kept = zone.add({ name: 'api.example.com', comment: MARK })
    zone.fault = ({ method, n }) => (method === 'POST' && n === 1 ? { lost: true } : undefined)
    await dns.changeRecords('zone1', {
      deletes: [{ id: gone.id }],
      patches: [{ id: kept.id, record: { content: '2001:DB8:0::1', type: 'AAAA' } }],
      posts: [
        wanted('t.example.com', { type: 'TXT', content: 'hello "world"' }),
        wanted('example.com', { type: 'CAA', content: '0 issue "letsencrypt.org"' }),
      ],
    })
    expect([...zone.records.values()].map(({ name, type, content }) => `${name} ${type} ${content}`).sort()).toEqual([
      'api.example.com AAAA 2001:DB8:0::1',
      'example.com CAA 0 issue "letsencrypt.org"',
      't.example.com TXT "hello \\"world\\""',
    ])
    expect(context.writes).toHaveLength(1)
  })

  test('a gateway error without an effect is followed by a look, then by one more try', async () => {
    zone.fault = ({ n }) => (n === 1 ? { instead: () => new Response('<html>bad gateway</html>', { status: 502 }) } : undefined)
    await dns.changeRecords('zone1', { deletes: [], patches: [], posts: [wanted('www.example.com')] })
    expect(named('www.example.com')).toHaveLength(1)
    expect(zone.requests.map(request => request.method)).toEqual(['POST', 'GET', 'POST'])
  })

  test('an effect that arrives late, after the look, still leaves one record', async () => {
    let late = false
    zone.fault = ({ n }) => {
      if (n === 3) {
        zone.add({ name: 'www.example.com', content: '192.0.2.10', comment: MARK })
        late = true
      }
      return n === 1 ? { instead: () => new Response('', { status: 504 }) } : undefined
    }
    await dns.changeRecords('zone1', { deletes: [], patches: [], posts: [wanted('www.example.com')] })
    expect(late).toBe(true)
    expect(named('www.example.com')).toHaveLength(1)
  })

  test("a stranger's identical record is reported, not taken for ours", async () => {
    zone.add({ name: 'www.example.com', content: '192.0.2.10', comment: 'by hand' })
    const failure = await failureOf(dns.changeRecords('zone1', { deletes: [], patches: [], posts: [wanted('www.example.com')] }))
    expect(failure.code).toBe('name_taken')
    expect(failure.vendorCode).toBe('81058')
    expect(named('www.example.com').map(record => record.comment)).toEqual(['by hand'])
  })

  test('a record that is already gone does not stop the rest of its batch', async () => {
    const kept = zone.add({ name: 'b.example.com' })
    await dns.changeRecords('zone1', {
      deletes: [{ id: 'rec999' }, { id: kept.id }],
      patches: [],
      posts: [wanted('c.example.com')],
    })
    expect([...zone.records.values()].map(record => record.name)).toEqual(['c.example.com'])
  })

  test('when the zone cannot be read after a lost answer, the outcome is called unknown', async () => {
    zone.fault = ({ method }) =>
      method === 'POST' ? { lost: true } : { instead: () => answers.failed(403, 10000, 'Authentication error') }
    const failure = await failureOf(dns.changeRecords('zone1', { deletes: [], patches: [], posts: [wanted('www.example.com')] }))
    expect(failure.code).toBe('ambiguous')
  })

  test('nothing is sent when the run may not go on, and an empty batch sends nothing', async () => {
    await dns.changeRecords('zone1', { deletes: [], patches: [], posts: [] })
    const stopped = createTestContext({
      beforeWrite: async () => {
        throw new LandfallError('cancelled', 'Interrupted.')
      },
    })
    const other = createCloudflare({ token: new Secret('T', TOKEN), endpoint: zone.endpoint, context: stopped })
    const failure = await failureOf(other.changeRecords('zone1', { deletes: [], patches: [], posts: [wanted('a.example.com')] }))
    expect(failure.code).toBe('cancelled')
    expect(zone.requests).toHaveLength(0)
  })
})

describe('what the token may do', () => {
  test('a token without the right is told which right, on which zone, and the probe counts as a read', async () => {
    await dns.findZone('example.com')
    zone.fault = () => ({ instead: () => answers.failed(403, 10000, 'Authentication error') })
    const failure = await failureOf(dns.probeWrite('zone1'))
    expect(failure.code).toBe('forbidden')
    expect(failure.message).toContain('needs Zone → DNS → Edit on zone example.com')
    expect(failure.correlationId).toBe('ray-1')
    expect(context.meter.snapshot()).toEqual({ cloudflare: { reads: 2, writes: 0 } })
    expect(context.writes).toEqual([])
  })

  test('a right token passes the probe whether an empty batch is accepted or called empty, and the zone is as it was', async () => {
    await dns.probeWrite('zone1')
    zone.fault = () => ({ instead: () => answers.failed(400, 1004, 'DNS Validation Error') })
    await dns.probeWrite('zone1')
    expect(zone.records.size).toBe(0)
  })

  test('an unknown token is token_invalid in the probe and in the verification', async () => {
    zone.fault = () => ({ instead: () => answers.failed(401, 1000, 'Invalid API Token') })
    expect((await failureOf(dns.probeWrite('zone1'))).code).toBe('token_invalid')
    expect((await failureOf(dns.verifyToken())).code).toBe('token_invalid')
  })

  test('a token of an account is verified by listing zones', async () => {
    zone.fault = ({ path }) =>
      path.startsWith('/user') ? { instead: () => answers.failed(401, 1000, 'Invalid API Token') } : undefined
    await dns.verifyToken()
    expect(zone.requests.map(request => request.path)).toEqual(['/user/tokens/verify', '/zones'])
  })

  test('a token that may not even list zones is the wrong token', async () => {
    zone.fault = () => ({ instead: () => answers.failed(403, 9109, 'Invalid access token') })
    expect((await failureOf(dns.findZone('example.com'))).code).toBe('token_invalid')
    expect((await failureOf(dns.listRecords('zone1'))).code).toBe('forbidden')
  })

  test('an expired token is named as such', async () => {
    zone.fault = () => ({ instead: () => Response.json({ success: true, errors: [], result: { status: 'expired' } }) })
    expect((await failureOf(dns.verifyToken())).message).toBe('The Cloudflare token is not active, but expired.')
  })
})

describe('what leaves this machine and this process', () => {
  test('the token goes to the endpoint alone, and a redirect is not followed', async () => {
    let visited = 0
    const elsewhere = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      fetch() {
        visited += 1
        return new Response('')
      },
    })
    zone.fault = () => ({
      instead: () => new Response('', { status: 302, headers: { location: `http://127.0.0.1:${elsewhere.port}/` } }),
    })
    const failure = await failureOf(dns.listRecords('zone1'))
    elsewhere.stop(true)
    expect(failure.message).toContain('redirect')
    expect(visited).toBe(0)
    expect(zone.requests[0]?.headers.get('authorization')).toBe(`Bearer ${TOKEN}`)
  })

  test('no error, printed in any way, holds the token or a control character', async () => {
    const texts: string[] = []
    const faults = [401, 403, 404, 400, 500].map(status => () => answers.failed(status, 1, `no\u001b[31m way\n${status}`))
    for (const instead of faults) {
      zone.fault = () => ({ instead })
      const failure = await failureOf(dns.listRecords('zone1'))
      texts.push(Bun.inspect(failure, { depth: 10 }))
      expect(failure.message).not.toMatch(/[\u0000-\u001f\u007f]/)
    }
    zone.stop()
    texts.push(Bun.inspect(await failureOf(dns.listRecords('zone1')), { depth: 10 }))
    expect(texts.join()).not.toContain(TOKEN)
  })

  test('keys in the environment are not sent', async () => {
    process.env.CLOUDFLARE_API_KEY = 'global-key'
    process.env.CLOUDFLARE_EMAIL = 'someone@example.com'
    process.env.CLOUDFLARE_CUSTOM_HEADERS = 'authorization: Bearer other\nx-spy: 1'
    try {
      await dns.findZone('example.com')
    } finally {
      for (const name of ['CLOUDFLARE_API_KEY', 'CLOUDFLARE_EMAIL', 'CLOUDFLARE_CUSTOM_HEADERS']) delete process.env[name]
    }
    const headers = zone.requests[0]?.headers
    expect(headers?.get('x-auth-key')).toBeNull()
    expect(headers?.get('x-spy')).toBeNull()
    expect(headers?.get('authorization')).toBe(`Bearer ${TOKEN}`)
  })
})
