import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { APIError } from 'cloudflare'
import { BaseRecords } from 'cloudflare/resources/dns/records'
import { BaseTokens } from 'cloudflare/resources/user/tokens/tokens'
import { BaseZones } from 'cloudflare/resources/zones/zones'
import { createClient } from 'cloudflare/tree-shakable'
import { type CloudflareControl, createCloudflareStandIn } from '../../../lib/sandbox/cloudflare/standin.ts'
import { type Front, serveStandIn } from '../../../lib/sandbox/front.ts'
import { openStore } from '../../../lib/sandbox/store.ts'
import { settingsWith } from '../core/helpers.ts'

const EDIT = 'a-cloudflare-token-that-may-edit-everything'
const READ = 'a-cloudflare-token-that-may-read-everything'
const OTHER = 'a-cloudflare-token-for-another-zone-only'

let nowMs = 1_700_000_000_000
let front: Front
let control: CloudflareControl
let changes = 0
const store = openStore(':memory:')

beforeAll(async () => {
  const standIn = createCloudflareStandIn({
    store,
    clock: { nowMs: () => nowMs },
    settings: settingsWith,
    onChange: () => {
      changes += 1
    },
  })
  control = standIn.control
  front = await serveStandIn(standIn, { base: '/client/v4', clock: { nowMs: () => nowMs }, settings: settingsWith })
})
afterAll(() => front.close())

let zone_id = ''
beforeEach(() => {
  store.clear()
  // A fresh window for the rate limit.
  nowMs += 3_600_000
  control.addToken({ value: EDIT })
  control.addToken({ value: READ, rest: 'read', user: 'reader' })
  control.addToken({ value: OTHER, rights: { 'example.org': 'edit' }, user: 'other' })
  zone_id = control.addZone({ name: 'example.com' }).id
  changes = 0
})

const clientWith = (apiToken: string) =>
  createClient({
    resources: [BaseRecords, BaseZones, BaseTokens],
    apiToken,
    apiKey: null,
    apiEmail: null,
    userServiceKey: null,
    baseURL: front.url,
    maxRetries: 0,
  })

const cf = () => clientWith(EDIT)
const a = (name: string, content = '203.0.113.10') => ({ zone_id, type: 'A', name, content, ttl: 60 }) as const

/** The refusal of a call: its status, codes, and codes inside chains. */
const refusalOf = async (call: PromiseLike<unknown>) => {
  try {
    await call
  } catch (error) {
    if (!(error instanceof APIError)) throw error
    const errors = error.errors as readonly { code: number; error_chain?: readonly { code: number }[] }[]
    return {
      status: error.status,
      codes: errors.flatMap(one => [one.code, ...(one.error_chain ?? []).map(inner => inner.code)]),
    }
  }
  return 'no refusal'
}

interface Envelope {
  readonly result: unknown
  readonly errors: readonly { readonly code: number; readonly error_chain?: readonly { readonly code: number }[] }[]
  readonly result_info?: { readonly per_page: number }
}

const raw = async (method: string, path: string, body?: unknown, token = EDIT) => {
  const response = await fetch(front.url + path, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  return { status: response.status, headers: response.headers, json: (await response.json()) as Envelope }
}

const names = () => control.records('example.com').map(record => `${record.type} ${record.name} ${record.content}`)

describe('tokens', () => {
  test('verify tells active, disabled, expired and unknown apart', async () => {
    expect(await cf().user.tokens.verify()).toMatchObject({ status: 'active', id: expect.stringMatching(/^[0-9a-f]{32}$/) })
    control.setToken(EDIT, { status: 'expired' })
    expect(await cf().user.tokens.verify()).toMatchObject({ status: 'expired' })
    expect(await refusalOf(cf().zones.list())).toEqual({ status: 403, codes: [9109] })
    expect(await refusalOf(clientWith('some-token-that-nobody-ever-made').user.tokens.verify())).toEqual({
      status: 401,
      codes: [1000],
    })
    expect(await refusalOf(clientWith('some-token-that-nobody-ever-made').zones.list())).toEqual({ status: 403, codes: [9109] })
    expect(await refusalOf(clientWith('short').zones.list())).toEqual({ status: 400, codes: [6003, 6111] })
  })

  test('a missing credential is told so', async () => {
    const response = await fetch(`${front.url}/zones`)
    expect([response.status, await response.json()]).toMatchObject([400, { success: false, errors: [{ code: 9106 }] }])
  })

  test('read may look and not touch, and learns that before anything else is judged', async () => {
    const reader = clientWith(READ)
    expect((await reader.zones.list()).result).toHaveLength(1)
    expect((await reader.dns.records.list({ zone_id })).result).toEqual([])
    expect(await refusalOf(reader.dns.records.create(a('www.example.com', 'nonsense')))).toEqual({ status: 403, codes: [10000] })
    expect(await refusalOf(reader.dns.records.delete('0'.repeat(32), { zone_id }))).toEqual({ status: 403, codes: [10000] })
    expect(await refusalOf(cf().dns.records.delete('0'.repeat(32), { zone_id }))).toEqual({ status: 404, codes: [81044] })
  })

  test('a token for another zone sees nothing of this one', async () => {
    control.addZone({ name: 'example.org' })
    const other = clientWith(OTHER)
    expect((await other.zones.list()).result.map(zone => zone.name)).toEqual(['example.org'])
    expect(await refusalOf(other.zones.get({ zone_id }))).toEqual({ status: 403, codes: [9109] })
    expect(await refusalOf(other.dns.records.list({ zone_id }))).toEqual({ status: 403, codes: [10000] })
  })

  test('no token lies in the store', () => {
    expect(JSON.stringify(store.collection('cloudflare.tokens').all())).not.toContain(EDIT)
    expect(store.collection('cloudflare.tokens').get(EDIT)).toBeUndefined()
  })
})

describe('zones', () => {
  test('are found by name, with status and name servers', async () => {
    control.addZone({
      name: 'example.org',
      status: 'pending',
      plan: 'pro',
      nameservers: ['ada.ns.example.net', 'bob.ns.example.net'],
    })
    const found = (await cf().zones.list({ name: 'example.org' })).result
    expect(found).toMatchObject([
      {
        name: 'example.org',
        status: 'pending',
        paused: false,
        name_servers: ['ada.ns.example.net', 'bob.ns.example.net'],
        plan: { legacy_id: 'pro' },
      },
    ])
    expect(await cf().zones.get({ zone_id })).toMatchObject({ name: 'example.com', status: 'active' })
    expect((await cf().zones.list({ name: 'nobody.example' })).result).toEqual([])
    expect((await cf().zones.list({ status: 'pending' })).result.map(zone => zone.name)).toEqual(['example.org'])
    expect((await cf().zones.list({ name: 'ends_with:.com' })).result.map(zone => zone.name)).toEqual(['example.com'])
  })

  test('an id that is none, and a path that is none, have no route', async () => {
    expect(await refusalOf(cf().zones.get({ zone_id: 'example.com' }))).toEqual({ status: 400, codes: [7003, 7000] })
    expect((await raw('GET', '/nothing')).json).toMatchObject({ errors: [{ code: 7003 }, { code: 7000 }] })
  })
})

describe('records', () => {
  test('a created record comes back with everything that Cloudflare says about it', async () => {
    const created = await cf().dns.records.create({ ...a('WWW.Example.com.'), comment: 'ours' })
    expect(created).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{32}$/),
      name: 'www.example.com',
      type: 'A',
      content: '203.0.113.10',
      proxiable: true,
      proxied: false,
      ttl: 60,
      settings: {},
      meta: {},
      comment: 'ours',
      tags: [],
      created_on: expect.stringMatching(/^2023-\d\d-\d\dT[\d:]{8}\.\d{6}Z$/),
      modified_on: created.created_on,
      comment_modified_on: created.created_on,
    } as never)
    expect(await cf().dns.records.get(created.id, { zone_id })).toEqual(created)
    expect(changes).toBe(1)
  })

  test('names are completed, "@" is the apex, and unicode becomes punycode', async () => {
    for (const name of ['www', '@', 'müller.example.com', '*.preview']) await cf().dns.records.create(a(name))
    expect(control.records('example.com').map(record => record.name)).toEqual([
      'www.example.com',
      'example.com',
      'xn--mller-kva.example.com',
      '*.preview.example.com',
    ])
    expect(await refusalOf(cf().dns.records.create(a('bad name.example.com')))).toEqual({ status: 400, codes: [9000] })
    expect(await refusalOf(cf().dns.records.create(a('a..example.com')))).toEqual({ status: 400, codes: [9000] })
  })

  test('a proxied record is on automatic TTL whatever is sent, and only addresses and aliases can be proxied', async () => {
    const record = await cf().dns.records.create({ ...a('www.example.com'), ttl: 3600, proxied: true })
    expect(record).toMatchObject({ proxied: true, ttl: 1 })
    const txt = { zone_id, type: 'TXT', name: 'x.example.com', content: 'y', ttl: 1, proxied: true } as const
    expect(await refusalOf(cf().dns.records.create(txt))).toEqual({ status: 400, codes: [9004] })
  })

  test('what is not allowed is refused with its code', async () => {
    const refuse = (input: Record<string, unknown>) =>
      raw('POST', `/zones/${zone_id}/dns_records`, { ...a('www.example.com'), ...input }).then(({ status, json }) => [
        status,
        json.errors[0]?.code,
        json.errors[0]?.error_chain?.[0]?.code,
      ])
    expect(await refuse({ content: '2001:db8::1' })).toEqual([400, 9005, undefined])
    expect(await refuse({ type: 'AAAA' })).toEqual([400, 9006, undefined])
    expect(await refuse({ type: 'CNAME' })).toEqual([400, 9007, undefined])
    expect(await refuse({ type: 'NONSENSE' })).toEqual([400, 1004, 9020])
    expect(await refuse({ type: 'MX', content: 'mail.example.net' })).toEqual([400, 1004, 9101])
    for (const ttl of [0, 30, 59, 86_401, '300', 61.5]) expect(await refuse({ ttl })).toEqual([400, 9021, undefined])
    for (const ttl of [1, 60, 86_400]) expect((await refuseNothing(ttl)).ttl).toBe(ttl)
    expect(await refuse({ comment: 'x'.repeat(101) })).toEqual([400, 1004, 9313])
    expect(await refuse({ comment: 'two\nlines' })).toEqual([400, 1004, 9312])
    expect(await refuse({ tags: ['owner:us'] })).toEqual([400, 1004, 9300])
    expect((await raw('POST', `/zones/${zone_id}/dns_records`, '{"broken')).json).toMatchObject({ errors: [{ code: 9207 }] })
  })
  const refuseNothing = (ttl: number) => cf().dns.records.create({ ...a(`ttl-${ttl}.example.com`), ttl })

  test('paid plans may tag and say more', async () => {
    control.setZone('example.com', { plan: 'pro' })
    const record = await cf().dns.records.create({ ...a('www.example.com'), tags: ['owner:us'], comment: 'x'.repeat(101) })
    expect(record.tags).toEqual(['owner:us'])
  })

  test('an alias stands alone, and identical records are refused by kind', async () => {
    const { create } = {
      create: (input: Parameters<ReturnType<typeof cf>['dns']['records']['create']>[0]) => cf().dns.records.create(input),
    }
    await create(a('www.example.com'))
    await create(a('www.example.com', '203.0.113.11'))
    expect(await refusalOf(create(a('www.example.com')))).toEqual({ status: 400, codes: [81058] })
    const alias = { zone_id, type: 'CNAME', content: 'example.net', ttl: 60 } as const
    expect(await refusalOf(create({ ...alias, name: 'www.example.com' }))).toEqual({ status: 400, codes: [81053] })
    await create({ ...alias, name: 'shop.example.com' })
    expect(await refusalOf(create({ ...alias, name: 'shop.example.com' }))).toEqual({ status: 400, codes: [81053] })
    expect(await refusalOf(create(a('shop.example.com')))).toEqual({ status: 400, codes: [81054] })
    const txt = { zone_id, type: 'TXT', name: 'example.com', content: 'hello', ttl: 60 } as const
    await create(txt)
    expect(await refusalOf(create(txt))).toEqual({ status: 400, codes: [81057] })
    const srv = {
      zone_id,
      type: 'SRV',
      name: '_x._tcp.example.com',
      ttl: 60,
      data: { priority: 1, weight: 1, port: 5, target: 'a.example.com' },
    } as const
    await create(srv)
    await create(srv)
    expect(names().filter(name => name.startsWith('SRV'))).toHaveLength(2)
  })

  test('PATCH keeps what it does not name, PUT resets it', async () => {
    const { id } = await cf().dns.records.create({ ...a('www.example.com'), ttl: 1, proxied: true, comment: 'ours' })
    nowMs += 5000
    const patched = await cf().dns.records.edit(id, { zone_id, content: '203.0.113.20' } as never)
    expect(patched).toMatchObject({ content: '203.0.113.20', proxied: true, comment: 'ours' })
    expect(Date.parse(patched.modified_on) - Date.parse(patched.created_on)).toBe(5000)
    const replaced = await cf().dns.records.update(id, { ...a('www.example.com', '203.0.113.30') })
    expect(replaced).toMatchObject({ id, content: '203.0.113.30', proxied: false, comment: null, ttl: 60 })
    expect(replaced.created_on).toBe(patched.created_on)
  })

  test('deleting answers with the id, and once', async () => {
    const { id } = await cf().dns.records.create(a('www.example.com'))
    expect(await cf().dns.records.delete(id, { zone_id })).toEqual({ id })
    expect(await refusalOf(cf().dns.records.delete(id, { zone_id }))).toEqual({ status: 404, codes: [81044] })
    expect(names()).toEqual([])
  })

  test("another zone's record does not exist here", async () => {
    const other = control.addZone({ name: 'example.org', records: [{ type: 'A', name: 'example.org', content: '203.0.113.1' }] })
    const id = control.records('example.org')[0]?.id ?? ''
    expect(await refusalOf(cf().dns.records.get(id, { zone_id }))).toEqual({ status: 404, codes: [81044] })
    expect(await cf().dns.records.get(id, { zone_id: other.id })).toMatchObject({ name: 'example.org' })
  })

  test('a free zone is full at 200 records', async () => {
    await cf().dns.records.batch({ zone_id, posts: Array.from({ length: 200 }, (_, i) => a(`n${i}.example.com`)) })
    expect(await refusalOf(cf().dns.records.create(a('one-more.example.com')))).toEqual({ status: 400, codes: [81045] })
  })
})

describe('lists', () => {
  const listed = async (filter: Record<string, unknown>) => {
    const found: string[] = []
    for await (const record of cf().dns.records.list({ zone_id, ...filter })) found.push(record.name.replace('.example.com', ''))
    return found
  }

  test('auto-paging reads every record once and ends on an empty page', async () => {
    control.setZone('example.com', { plan: 'pro' })
    for (let i = 0; i < 45; i++) control.addRecord('example.com', { type: 'A', name: `n${i}`, content: '203.0.113.1' })
    const found = await listed({ per_page: 20 })
    expect(found).toEqual(Array.from({ length: 45 }, (_, i) => `n${i}`))
    const { json } = await raw('GET', `/zones/${zone_id}/dns_records?page=4&per_page=20`)
    expect(json).toMatchObject({
      success: true,
      result: [],
      result_info: { page: 4, per_page: 20, count: 0, total_count: 45, total_pages: 3 },
    })
    expect((await raw('GET', `/zones/${zone_id}/dns_records`)).json.result_info?.per_page).toBe(100)
  })

  test('filters work in the forms that the SDK sends', async () => {
    const add = (name: string, more: Record<string, unknown> = {}) =>
      control.addRecord('example.com', { type: 'A', name, content: '203.0.113.1', ...more })
    add('www', { comment: 'managed-by=landfall;env=prod' })
    add('dev', { content: '203.0.113.2', comment: 'Managed-By=landfall;env=dev' })
    add('old', { proxied: true })
    add('note', { type: 'TXT', content: 'hello' })
    expect(await listed({ name: { exact: 'WWW.example.com' } })).toEqual(['www'])
    expect(await listed({ name: { startswith: 'd' } })).toEqual(['dev'])
    expect(await listed({ name: { endswith: 'te.example.com' } })).toEqual(['note'])
    expect(await listed({ content: { exact: '203.0.113.2' } })).toEqual(['dev'])
    expect(await listed({ comment: { contains: 'managed-by=landfall' } })).toEqual(['www', 'dev'])
    expect(await listed({ comment: { absent: 'true' } })).toEqual(['old', 'note'])
    expect(await listed({ comment: { present: 'true' }, type: 'A' })).toEqual(['www', 'dev'])
    expect(await listed({ type: 'TXT' })).toEqual(['note'])
    expect(await listed({ proxied: true })).toEqual(['old'])
    expect(await listed({ match: 'any', type: 'TXT', name: { exact: 'dev.example.com' } })).toEqual(['dev', 'note'])
    expect(await listed({ order: 'name', direction: 'desc' })).toEqual(['www', 'old', 'note', 'dev'])
    expect((await raw('GET', `/zones/${zone_id}/dns_records?name=www.example.com`)).json.result).toHaveLength(1)
  })
})

describe('a batch', () => {
  test('deletes, patches, puts, then posts: an alias becomes an address in one call', async () => {
    control.addRecord('example.com', { type: 'CNAME', name: 'www', content: 'old.example.net', ttl: 60 })
    control.addRecord('example.com', { type: 'A', name: 'api', content: '203.0.113.1', ttl: 60 })
    control.addRecord('example.com', { type: 'A', name: 'put', content: '203.0.113.1', proxied: true })
    const [www, api, put] = control.records('example.com')
    changes = 0
    const result = await cf().dns.records.batch({
      zone_id,
      posts: [a('www.example.com')],
      puts: [{ id: put?.id ?? '', ...a('put.example.com', '203.0.113.3') }],
      patches: [{ id: api?.id ?? '', content: '203.0.113.2' } as never],
      deletes: [{ id: www?.id ?? '' }],
    })
    expect(names().sort()).toEqual([
      'A api.example.com 203.0.113.2',
      'A put.example.com 203.0.113.3',
      'A www.example.com 203.0.113.10',
    ])
    expect(result.deletes?.[0]).toMatchObject({ id: www?.id, type: 'CNAME' })
    expect(result.patches?.[0]).toMatchObject({ content: '203.0.113.2' })
    expect(result.puts?.[0]).toMatchObject({ proxied: false })
    expect(result.posts?.[0]).toMatchObject({ name: 'www.example.com' })
    expect(changes).toBe(1)
  })

  test('is undone as a whole by its first failure', async () => {
    control.addRecord('example.com', { type: 'A', name: 'one', content: '203.0.113.1', ttl: 60 })
    control.addRecord('example.com', { type: 'A', name: 'two', content: '203.0.113.2', ttl: 60 })
    const before = JSON.stringify(control.records('example.com'))
    const [one, two] = control.records('example.com')
    changes = 0
    const refusal = await refusalOf(
      cf().dns.records.batch({
        zone_id,
        deletes: [{ id: one?.id ?? '' }],
        patches: [{ id: two?.id ?? '', content: '203.0.113.9' } as never],
        posts: [a('three.example.com'), a('two.example.com', '203.0.113.9')],
      }),
    )
    expect(refusal).toEqual({ status: 400, codes: [81058] })
    expect(JSON.stringify(control.records('example.com'))).toBe(before)
    expect(changes).toBe(0)
  })

  test('holds 200 changes on the free plan and 3500 on a paid one', async () => {
    const posts = Array.from({ length: 201 }, (_, i) => a(`n${i}.example.com`))
    expect(await refusalOf(cf().dns.records.batch({ zone_id, posts }))).toMatchObject({ status: 400 })
    expect(names()).toEqual([])
    const paid = control.addZone({ name: 'example.org', plan: 'pro' }).id
    const many = Array.from(
      { length: 3500 },
      (_, i) => ({ type: 'A', name: `n${i}.example.org`, content: '203.0.113.1', ttl: 60 }) as const,
    )
    await cf().dns.records.batch({ zone_id: paid, posts: many })
    expect(control.records('example.org')).toHaveLength(3500)
  })
})

describe('the rate limit', () => {
  test('counts down in headers, blocks for five minutes when passed, and opens again', async () => {
    const first = await raw('GET', '/user/tokens/verify')
    expect(first.headers.get('ratelimit')).toBe('"default";r=1199;t=300')
    expect(first.headers.get('ratelimit-policy')).toBe('"default";q=1200;w=300')
    expect(first.headers.get('retry-after')).toBeNull()
    expect(first.headers.get('cf-ray')).toMatch(/^[0-9a-f]{16}-FRA$/)
    for (let sent = 1; sent < 1200; sent += 1) await raw('GET', '/user/tokens/verify')
    nowMs += 299_000
    const refused = await raw('GET', `/zones/${zone_id}/dns_records`)
    expect([refused.status, refused.json.errors[0]?.code, refused.headers.get('retry-after')]).toEqual([429, 971, '300'])
    nowMs += 299_000
    expect((await raw('GET', '/user/tokens/verify')).status).toBe(429)
    expect((await raw('GET', '/user/tokens/verify', undefined, READ)).status).toBe(200)
    nowMs += 1_000
    expect((await raw('GET', '/user/tokens/verify')).headers.get('ratelimit')).toBe('"default";r=1199;t=300')
  })
})
