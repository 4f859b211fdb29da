import { afterEach, describe, expect, test } from 'bun:test'
import type { Answer } from 'dns-packet'
import { LandfallError } from '../../../../lib/errors.ts'
import { createDial } from '../../../../lib/providers/outside/dial.ts'
import { query } from '../../../../lib/providers/outside/dns-client.ts'
import { type DnsRules, type DnsServer, startDns, startProxy } from './fake-internet.ts'

const open: { close(): void }[] = []
afterEach(() => {
  for (const each of open.splice(0)) each.close()
})

const serve = async (rules: DnsRules): Promise<DnsServer> => {
  const server = await startDns(rules)
  open.push(server)
  return server
}

const A: Answer = { type: 'A', name: 'www.example.com', ttl: 300, data: '192.0.2.1' }

describe('one question to one server', () => {
  test('the answer comes as text, with its time to live, and no recursion is asked for', async () => {
    const server = await serve({ records: { 'www.example.com A': [A] } })
    const reply = await query({
      server: { host: '127.0.0.1', port: server.port },
      name: 'WWW.Example.com.',
      type: 'A',
      transport: 'udp',
    })
    expect(reply).toEqual({
      status: 'ok',
      authoritative: true,
      answers: [{ name: 'www.example.com', type: 'A', ttl: 300, value: '192.0.2.1' }],
      authorities: [],
    })
    expect(server.asked).toEqual([{ transport: 'udp', name: 'www.example.com', type: 'A', recursion: false }])
  })

  test('every type is rendered as people write it', async () => {
    const records: Record<string, Answer[]> = {
      'example.com TXT': [{ type: 'TXT', name: 'example.com', ttl: 60, data: [Buffer.from('v=spf1 '), Buffer.from('-all')] }],
      'example.com CAA': [
        { type: 'CAA', name: 'example.com', ttl: 60, data: { flags: 0, tag: 'issue', value: 'letsencrypt.org' } },
      ],
      'example.com NS': [{ type: 'NS', name: 'example.com', ttl: 60, data: 'Ada.NS.example.net' }],
      'example.com SOA': [
        {
          type: 'SOA',
          name: 'example.com',
          ttl: 60,
          data: {
            mname: 'ada.ns.example.net',
            rname: 'dns.example.net',
            serial: 7,
            refresh: 1,
            retry: 2,
            expire: 3,
            minimum: 1800,
          },
        },
      ],
      'example.com AAAA': [{ type: 'AAAA', name: 'example.com', ttl: 60, data: '2001:db8::1' }],
    }
    const server = await serve({ records })
    const ask = async (type: 'TXT' | 'CAA' | 'NS' | 'SOA' | 'AAAA') =>
      (await query({ server: { host: '127.0.0.1', port: server.port }, name: 'example.com', type, transport: 'auto' })).answers[0]
        ?.value
    expect(await ask('TXT')).toBe('v=spf1 -all')
    expect(await ask('CAA')).toBe('0 issue "letsencrypt.org"')
    expect(await ask('NS')).toBe('ada.ns.example.net')
    expect(await ask('SOA')).toBe('ada.ns.example.net dns.example.net 7 1 2 3 1800')
    expect(await ask('AAAA')).toBe('2001:db8::1')
  })

  test('an answer that is cut short over UDP is fetched over TCP, in however many pieces it comes', async () => {
    const server = await serve({ records: { 'www.example.com A': [A] }, truncateUdp: true })
    const reply = await query({
      server: { host: '127.0.0.1', port: server.port },
      name: 'www.example.com',
      type: 'A',
      transport: 'auto',
    })
    expect(reply.answers.map(entry => entry.value)).toEqual(['192.0.2.1'])
    expect(server.asked.map(each => each.transport)).toEqual(['udp', 'tcp'])
  })

  test('a server that is silent over UDP is asked twice, then over TCP', async () => {
    const server = await serve({ records: { 'www.example.com A': [A] }, silentUdp: true })
    const reply = await query({
      server: { host: '127.0.0.1', port: server.port },
      name: 'www.example.com',
      type: 'A',
      transport: 'auto',
      timeoutMs: 250,
    })
    expect(reply.status).toBe('ok')
    expect(server.asked.map(each => each.transport)).toEqual(['udp', 'udp', 'tcp'])
  })

  test('a packet with another id is not believed', async () => {
    const server = await serve({ records: { 'www.example.com A': [A] }, forge: true })
    const reply = await query({
      server: { host: '127.0.0.1', port: server.port },
      name: 'www.example.com',
      type: 'A',
      transport: 'udp',
    })
    expect(reply.status).toBe('ok')
  })

  test('no such name, failure, refusal and silence are four different answers', async () => {
    const statusWith = async (rules: DnsRules) => {
      const server = await serve(rules)
      const at = { host: '127.0.0.1', port: server.port }
      return (await query({ server: at, name: 'x.example.com', type: 'A', transport: 'udp', timeoutMs: 40 })).status
    }
    expect(await statusWith({ records: {} })).toBe('nxdomain')
    expect(await statusWith({ records: {}, rcode: 2 })).toBe('servfail')
    expect(await statusWith({ records: {}, rcode: 5 })).toBe('refused')
    expect(await statusWith({ records: {}, silentUdp: true })).toBe('silent')
  })

  test('TCP goes through the given dialler, and a proxy that refuses makes the server silent', async () => {
    const server = await serve({ records: { 'www.example.com A': [A] } })
    const proxy = await startProxy({
      '198.51.100.53:53': server.port,
      '198.51.100.54:53': 'refused',
      '198.51.100.55:53': 'forbidden',
    })
    open.push(proxy)
    const dial = createDial({ kind: 'proxy', host: '127.0.0.1', port: proxy.port })
    const ask = (host: string) =>
      query({ server: { host, port: 53 }, name: 'www.example.com', type: 'A', transport: 'tcp', timeoutMs: 500, dial })
    expect((await ask('198.51.100.53')).answers.map(entry => entry.value)).toEqual(['192.0.2.1'])
    expect((await ask('198.51.100.54')).status).toBe('silent')
    expect((await ask('198.51.100.55')).status).toBe('unreachable')
  })

  test('an interrupt ends a question at once', async () => {
    const server = await serve({ records: {}, silentUdp: true })
    const controller = new AbortController()
    const asking = query({
      server: { host: '127.0.0.1', port: server.port },
      name: 'x.example.com',
      type: 'A',
      transport: 'auto',
      timeoutMs: 60_000,
      signal: controller.signal,
    })
    controller.abort()
    expect(asking).rejects.toThrow(LandfallError)
    await asking.catch(() => undefined)
  })
})
