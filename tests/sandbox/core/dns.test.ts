import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { connect } from 'node:net'
import { type CloudflareControl, createCloudflareStandIn } from '../../../lib/sandbox/cloudflare/standin.ts'
import { type Names, startNames } from '../../../lib/sandbox/names.ts'
import { openStore } from '../../../lib/sandbox/store.ts'
import { ask, askTcp, rcodeOf, settingsWith, valuesOf } from './helpers.ts'

const NOERROR = 0
const SERVFAIL = 2
const NXDOMAIN = 3
const REFUSED = 5

let zones: CloudflareControl
let names: Names
let nowMs = 0

beforeEach(async () => {
  nowMs = 1_700_000_000_000
  const store = openStore(':memory:')
  const clock = { nowMs: () => nowMs }
  zones = createCloudflareStandIn({ store, clock, settings: settingsWith }).control
  names = await startNames({ store, clock, cloudflare: zones, ports: {} })
  zones.addZone({
    name: 'example.com',
    records: [
      { type: 'A', name: 'example.com', content: '203.0.113.10', ttl: 120 },
      { type: 'A', name: 'example.com', content: '203.0.113.11', ttl: 120 },
      { type: 'AAAA', name: 'example.com', content: '2001:db8::10', ttl: 120 },
      { type: 'CAA', name: 'example.com', content: '0 issue "letsencrypt.org"', ttl: 300 },
      { type: 'TXT', name: 'example.com', content: 'v=spf1 -all', ttl: 300 },
      { type: 'MX', name: 'example.com', content: 'mail.example.net', priority: 10, ttl: 300 },
      { type: 'CNAME', name: 'www.example.com', content: 'example.com', ttl: 600 },
      { type: 'CNAME', name: 'shop.example.com', content: 'cname.host.example.net', ttl: 600 },
      { type: 'A', name: 'deep.below.example.com', content: '203.0.113.12', ttl: 1 },
      { type: 'A', name: '*.preview.example.com', content: '203.0.113.13', ttl: 60 },
      { type: 'A', name: 'edge.example.com', content: '203.0.113.14', proxied: true },
      { type: 'CNAME', name: 'loop.example.com', content: 'pool.example.com', ttl: 60 },
      { type: 'CNAME', name: 'pool.example.com', content: 'loop.example.com', ttl: 60 },
    ],
  })
})
afterEach(() => names.close())

const authority = (name: string, type: Parameters<typeof ask>[2]) => ask(names.authority.port, name, type)
const resolver = (name: string, type: Parameters<typeof ask>[2]) => ask(names.resolver.port, name, type)

describe('the authority', () => {
  test('answers with authority, every value and its TTL, whatever the letters', async () => {
    const packet = await authority('EXAMPLE.com', 'A')
    expect({ aa: packet.flag_aa, ra: packet.flag_ra, rcode: rcodeOf(packet) }).toEqual({ aa: true, ra: false, rcode: NOERROR })
    expect(packet.questions?.[0]?.name).toBe('EXAMPLE.com')
    expect(valuesOf(packet)).toEqual(['203.0.113.10', '203.0.113.11'])
    expect(packet.answers?.[0]).toMatchObject({ ttl: 120 })
    expect(valuesOf(await authority('example.com', 'AAAA'))).toEqual(['2001:db8::10'])
  })

  test('knows CAA, TXT, MX, NS and an SOA that forgets after 1800 seconds', async () => {
    expect(valuesOf(await authority('example.com', 'CAA'))).toMatchObject([{ tag: 'issue', value: 'letsencrypt.org' }])
    expect(String(valuesOf(await authority('example.com', 'TXT'))[0])).toBe('v=spf1 -all')
    expect(valuesOf(await authority('example.com', 'MX'))).toEqual([{ preference: 10, exchange: 'mail.example.net' }])
    expect(valuesOf(await authority('example.com', 'NS'))).toEqual(['ns1.ns.example-dns.net', 'ns2.ns.example-dns.net'])
    expect(valuesOf(await authority('example.com', 'SOA'))).toMatchObject([{ minimum: 1800 }])
  })

  test('follows an alias inside the zone, and gives the alias alone where it leads outside', async () => {
    expect(valuesOf(await authority('www.example.com', 'A'))).toEqual(['example.com', '203.0.113.10', '203.0.113.11'])
    expect(valuesOf(await authority('www.example.com', 'CNAME'))).toEqual(['example.com'])
    expect(valuesOf(await authority('shop.example.com', 'A'))).toEqual(['cname.host.example.net'])
    expect(rcodeOf(await authority('loop.example.com', 'A'))).toBe(SERVFAIL)
  })

  test('tells "no such name" from "no such type", each with the SOA', async () => {
    const missing = await authority('nothing.example.com', 'A')
    expect(rcodeOf(missing)).toBe(NXDOMAIN)
    expect(missing.authorities).toMatchObject([{ type: 'SOA', name: 'example.com' }])
    for (const [name, type] of [
      ['example.com', 'SRV'],
      ['below.example.com', 'A'],
      ['edge.example.com', 'TXT'],
    ] as const) {
      const empty = await authority(name, type)
      expect([rcodeOf(empty), valuesOf(empty), empty.authorities?.[0]?.type]).toEqual([NOERROR, [], 'SOA'])
    }
  })

  test('answers a wildcard only for names that nothing else covers', async () => {
    const packet = await authority('pr-7.preview.example.com', 'A')
    expect(packet.answers).toMatchObject([{ name: 'pr-7.preview.example.com', data: '203.0.113.13', ttl: 60 }])
    expect(valuesOf(await authority('a.b.preview.example.com', 'A'))).toEqual(['203.0.113.13'])
    expect(valuesOf(await authority('preview.example.com', 'A'))).toEqual([])
    expect(rcodeOf(await authority('x.deep.below.example.com', 'A'))).toBe(NXDOMAIN)
  })

  test("hides a proxied record's address behind the edge, and serves automatic TTL as 300", async () => {
    const packet = await authority('edge.example.com', 'A')
    expect(valuesOf(packet)).toEqual(['192.0.2.10', '192.0.2.11'])
    expect(packet.answers?.[0]).toMatchObject({ ttl: 300 })
    expect(valuesOf(await authority('edge.example.com', 'AAAA'))).toHaveLength(2)
    expect((await authority('deep.below.example.com', 'A')).answers?.[0]).toMatchObject({ ttl: 300 })
  })

  test('refuses what it is not responsible for', async () => {
    expect(rcodeOf(await authority('example.org', 'A'))).toBe(REFUSED)
  })

  test('cuts an answer that is too long for UDP, and gives it whole over TCP', async () => {
    for (let i = 0; i < 60; i++)
      zones.addRecord('example.com', { type: 'A', name: 'many.example.com', content: `203.0.113.${i + 20}`, ttl: 60 })
    const cut = await authority('many.example.com', 'A')
    expect([cut.flag_tc, valuesOf(cut)]).toEqual([true, []])
    const socket = connect(names.authority.port, '127.0.0.1')
    const whole = await askTcp(socket, 'many.example.com', 'A')
    socket.destroy()
    expect([whole.flag_tc, valuesOf(whole).length]).toEqual([false, 60])
  })

  test('shows a change at once', async () => {
    zones.addRecord('example.com', { type: 'A', name: 'new.example.com', content: '203.0.113.99', ttl: 60 })
    expect(valuesOf(await authority('new.example.com', 'A'))).toEqual(['203.0.113.99'])
  })
})

describe('the resolver', () => {
  test('offers recursion, claims no authority, and lets a remembered answer grow old', async () => {
    const fresh = await resolver('example.com', 'A')
    expect({ aa: fresh.flag_aa, ra: fresh.flag_ra }).toEqual({ aa: false, ra: true })
    nowMs += 50_000
    expect((await resolver('example.com', 'A')).answers?.[0]).toMatchObject({ ttl: 70 })
  })

  test('goes on telling an old value until its TTL is over', async () => {
    zones.addRecord('example.com', { type: 'TXT', name: 'flag.example.com', content: 'old', ttl: 120 })
    expect(String(valuesOf(await resolver('flag.example.com', 'TXT')))).toBe('old')
    zones.addRecord('example.com', { type: 'TXT', name: 'flag.example.com', content: 'more', ttl: 120 })
    nowMs += 119_000
    expect(valuesOf(await resolver('flag.example.com', 'TXT'))).toHaveLength(1)
    nowMs += 1_000
    expect(valuesOf(await resolver('flag.example.com', 'TXT'))).toHaveLength(2)
  })

  test('remembers for 1800 seconds that a name was not there: asking too early hides it', async () => {
    expect(rcodeOf(await resolver('pr-1.example.com', 'A'))).toBe(NXDOMAIN)
    zones.addRecord('example.com', { type: 'A', name: 'pr-1.example.com', content: '203.0.113.50', ttl: 60 })
    expect(valuesOf(await authority('pr-1.example.com', 'A'))).toEqual(['203.0.113.50'])
    nowMs += 1_799_000
    expect(rcodeOf(await resolver('pr-1.example.com', 'A'))).toBe(NXDOMAIN)
    names.control.advanceMs(1000)
    expect(valuesOf(await resolver('pr-1.example.com', 'A'))).toEqual(['203.0.113.50'])
  })

  test('forgets when it is flushed', async () => {
    expect(rcodeOf(await resolver('pr-2.example.com', 'A'))).toBe(NXDOMAIN)
    zones.addRecord('example.com', { type: 'A', name: 'pr-2.example.com', content: '203.0.113.51', ttl: 60 })
    names.control.flush('pr-2.example.com')
    expect(valuesOf(await resolver('pr-2.example.com', 'A'))).toEqual(['203.0.113.51'])
  })

  test('follows an alias to other people, whose names can be set', async () => {
    expect(rcodeOf(await resolver('shop.example.com', 'A'))).toBe(NXDOMAIN)
    names.control.setOutside([{ type: 'A', name: 'cname.host.example.net', content: '192.0.2.200', ttl: 60, proxied: false }])
    names.control.flush()
    expect(valuesOf(await resolver('shop.example.com', 'A'))).toEqual(['cname.host.example.net', '192.0.2.200'])
    expect(names.resolve('shop.example.com')).toBe('192.0.2.200')
  })

  test("knows the name servers' addresses", async () => {
    expect(valuesOf(await resolver('ns1.ns.example-dns.net', 'A'))).toEqual(['198.51.100.53'])
    expect(valuesOf(await resolver('ns2.ns.example-dns.net', 'A'))).toEqual(['198.51.100.54'])
    expect(valuesOf(await resolver('ns2.ns.example-dns.net', 'AAAA'))).toEqual(['2001:db8:ffff::54'])
  })

  test("finds a pending zone at the registrar's servers, without our records", async () => {
    zones.addZone({
      name: 'example.org',
      status: 'pending',
      records: [{ type: 'A', name: 'example.org', content: '203.0.113.60' }],
    })
    expect(valuesOf(await resolver('example.org', 'NS'))).toEqual(['a.registrar-dns.example', 'b.registrar-dns.example'])
    expect(valuesOf(await resolver('example.org', 'A'))).toEqual([])
    expect(valuesOf(await authority('example.org', 'A'))).toEqual(['203.0.113.60'])
    zones.setZone('example.org', { status: 'active' })
    names.control.flush()
    expect(valuesOf(await resolver('example.org', 'NS'))).toEqual(['ns1.ns.example-dns.net', 'ns2.ns.example-dns.net'])
    expect(valuesOf(await resolver('example.org', 'A'))).toEqual(['203.0.113.60'])
  })
})
