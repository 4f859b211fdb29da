/** The Cloudflare adapter against the stand-in, over real HTTP, with the faults that a network has. */

import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { LandfallError } from '../../lib/errors.ts'
import { createCloudflare } from '../../lib/providers/cloudflare/cloudflare.ts'
import type { Dns, WantedRecord } from '../../lib/providers/ports/dns.ts'
import { type CloudflareControl, createCloudflareStandIn } from '../../lib/sandbox/cloudflare/standin.ts'
import { type Front, serveStandIn } from '../../lib/sandbox/front.ts'
import type { FaultEffect, FaultRule } from '../../lib/sandbox/kit.ts'
import { openStore } from '../../lib/sandbox/store.ts'
import { Secret } from '../../lib/secret.ts'
import { createTestContext, type TestContext } from '../unit/providers/cloudflare/fake-zone.ts'

const TOKEN = 'sandbox-cloudflare-token-0123456789abcdef'
const clock = { nowMs: () => Date.now() }

let faults: FaultRule[]
let front: Front
let control: CloudflareControl
let context: TestContext
let dns: Dns
let zoneId: string
let stop: () => Promise<void>

beforeEach(async () => {
  faults = []
  const store = openStore(':memory:')
  const standIn = createCloudflareStandIn({ store, clock, settings: () => ({ rateLimits: true }) })
  control = standIn.control
  control.addToken({ value: TOKEN })
  zoneId = control.addZone({ name: 'example.com', plan: 'enterprise' }).id
  front = await serveStandIn(standIn, { base: '/client/v4', clock, settings: () => ({ latencyMs: 0, faults }) })
  context = createTestContext()
  dns = createCloudflare({ token: new Secret('CLOUDFLARE_API_TOKEN', TOKEN), endpoint: front.url, context, timeoutMs: 400 })
  stop = async () => {
    await front.close()
    store.close()
  }
})
afterEach(() => stop())

const wanted = (name: string, over: Partial<WantedRecord> = {}): WantedRecord => ({
  name,
  type: 'A',
  content: '192.0.2.10',
  ttl: 300,
  proxied: false,
  comment: 'landfall:shop',
  ...over,
})

const named = (name: string) => control.records('example.com').filter(record => record.name === name)

const failureOf = async (work: Promise<unknown>): Promise<LandfallError> => {
  try {
    await work
  } catch (error) {
    if (error instanceof LandfallError) return error
    throw error
  }
  throw new Error('It did not fail.')
}

describe('with every fault on the first write', () => {
  const effects: FaultEffect[] = [
    { kind: 'reset_before' },
    { kind: 'lost_answer' },
    { kind: 'hang' },
    { kind: 'truncate' },
    { kind: 'status', status: 502, text: '<html>bad gateway</html>' },
    { kind: 'status', status: 504, text: '<html>gateway timeout</html>', after: true },
    {
      kind: 'status',
      status: 429,
      json: { success: false, errors: [{ code: 971, message: 'slow down' }] },
      headers: { 'retry-after': '5' },
    },
  ]
  for (const effect of effects) {
    const title = effect.kind === 'status' ? `${effect.status}${'after' in effect ? ' after the effect' : ''}` : effect.kind
    test(`${title}: each record exists exactly once, and what had an effect is not sent again`, async () => {
      control.addRecord('example.com', { type: 'CNAME', name: 'www.example.com', content: 'cname.vercel-dns.com', ttl: 300 })
      const old = named('www.example.com')[0]?.id ?? ''
      faults = [{ method: 'POST', nth: [1], effect }]
      await dns.changeRecords(zoneId, {
        deletes: [{ id: old }],
        patches: [],
        posts: [
          wanted('www.example.com'),
          wanted('www.example.com', { type: 'AAAA', content: '2001:db8::1' }),
          wanted('example.com', { type: 'TXT', content: 'a "quoted" text' }),
          wanted('example.com', { type: 'CAA', content: '0 issue "letsencrypt.org"' }),
          wanted('app.example.com', { proxied: true, ttl: 1 }),
        ],
      })
      const shown = (await dns.listRecords(zoneId)).map(({ name, type, content }) => `${name} ${type} ${content}`)
      expect(shown.sort()).toEqual([
        'app.example.com A 192.0.2.10',
        'example.com CAA 0 issue "letsencrypt.org"',
        'example.com TXT a "quoted" text',
        'www.example.com A 192.0.2.10',
        'www.example.com AAAA 2001:db8::1',
      ])
      const hadEffect = effect.kind === 'lost_answer' || effect.kind === 'hang' || effect.kind === 'truncate' || 'after' in effect
      expect(context.writes).toHaveLength(hadEffect ? 1 : 2)
    })
  }
})

test('450 records go in three batches and come back whole, and a second time nothing is missing', async () => {
  const posts = Array.from({ length: 450 }, (_, i) => wanted(`n${i}.example.com`))
  await dns.changeRecords(zoneId, { deletes: [], patches: [], posts })
  expect(control.records('example.com')).toHaveLength(450)
  expect(context.meter.snapshot()).toEqual({ cloudflare: { reads: 0, writes: 3 } })
})

test('a batch whose middle chunk loses its answer ends with every record once', async () => {
  faults = [{ method: 'POST', nth: [2], effect: { kind: 'lost_answer' } }]
  const posts = Array.from({ length: 450 }, (_, i) => wanted(`n${i}.example.com`))
  await dns.changeRecords(zoneId, { deletes: [], patches: [], posts })
  expect(new Set(control.records('example.com').map(record => record.name)).size).toBe(450)
  expect(control.records('example.com')).toHaveLength(450)
})

test('more records than a page holds are all listed', async () => {
  const posts = Array.from({ length: 1_250 }, (_, i) => wanted(`n${i}.example.com`))
  await dns.changeRecords(zoneId, { deletes: [], patches: [], posts })
  faults = [{ method: 'GET', nth: [2], effect: { kind: 'truncate' } }]
  expect(await dns.listRecords(zoneId)).toHaveLength(1_250)
})

test('the zone of a deep name is found, and rights are told apart', async () => {
  expect((await dns.findZone('pr-7.preview.app.example.com'))?.id).toBe(zoneId)
  await dns.verifyToken()
  await dns.probeWrite(zoneId)
  expect(context.meter.snapshot().cloudflare?.writes).toBe(0)

  const as = (value: string) => createCloudflare({ token: new Secret('T', value), endpoint: front.url, context, timeoutMs: 400 })
  const readonly = 'sandbox-token-that-may-only-read-012345'
  control.addToken({ value: readonly, rest: 'read' })
  expect(await as(readonly).findZone('example.com')).toBeDefined()
  const refused = await failureOf(as(readonly).probeWrite(zoneId))
  expect(refused.code).toBe('forbidden')
  expect(refused.message).toContain('needs Zone → DNS → Edit')
  expect(refused.correlationId).toEndWith('-FRA')
  for (const unknown of ['sandbox-token-that-nobody-made-0123456', 'short'])
    expect((await failureOf(as(unknown).verifyToken())).code).toBe('token_invalid')
  const expired = 'sandbox-token-that-has-expired-0123456'
  control.addToken({ value: expired, status: 'expired' })
  expect((await failureOf(as(expired).verifyToken())).code).toBe('token_invalid')
})

test('a record that somebody made in between is reported as taken, and left as it is', async () => {
  control.addRecord('example.com', {
    type: 'CNAME',
    name: 'www.example.com',
    content: 'elsewhere.example.net',
    ttl: 300,
    comment: 'by hand',
  })
  const failure = await failureOf(dns.changeRecords(zoneId, { deletes: [], patches: [], posts: [wanted('www.example.com')] }))
  expect(failure.code).toBe('name_taken')
  expect(named('www.example.com').map(record => record.comment)).toEqual(['by hand'])
})

test('the vendor’s block after too many requests is waited out by its own Retry-After', async () => {
  for (let i = 0; i < 1_200; i++) {
    const response = await fetch(`${front.url}/user/tokens/verify`, { headers: { authorization: `Bearer ${TOKEN}` } })
    await response.arrayBuffer()
  }
  expect((await failureOf(dns.listRecords(zoneId))).code).toBe('rate_limited')
  expect(context.waitsMs.length).toBe(5)
  for (const waitMs of context.waitsMs) expect(waitMs).toBeGreaterThan(200_000)
})
