/** The estate as a stranger sees it: ports dialled, certificates judged, pages fetched from the address we mean, DNS servers asked one by one. */

import dns from 'node:dns'
import net from 'node:net'
import { hasCode, LandfallError } from '../../errors.ts'
import type { ProviderContext, Route } from '../context.ts'
import type { DnsAnswer, Outside, Page, TlsReport } from '../ports/outside.ts'
import { createDial, type Dial } from './dial.ts'
import { type DnsReply, type QueryType, query } from './dns-client.ts'
import { type Asking, readPage } from './http.ts'
import { handshake } from './tls.ts'

export interface OutsideOptions {
  /** How the estate's addresses are reached. */
  readonly route: Route
  /** A recursive resolver (LANDFALL_DNS), always asked directly; the system's when absent. */
  readonly resolver?: { readonly host: string; readonly port: number }
  /** Trusted besides the public roots. */
  readonly caPem?: string
  /** Answers with a line `ip=…`, as Cloudflare's trace does. `{family}` in it becomes 4 or 6. */
  readonly whoamiUrl?: string
  readonly context: Pick<ProviderContext, 'meter' | 'signal'>
  /** For one question to one DNS server, by one transport. */
  readonly dnsTimeoutMs?: number
}

const WHOAMI_URL = 'https://www.cloudflare.com/cdn-cgi/trace'
const DIAL_TIMEOUT_MS = 5_000
const TLS_TIMEOUT_MS = 10_000
const PAGE_TIMEOUT_MS = 15_000
const WHOAMI_TIMEOUT_MS = 5_000
const DNS_TIMEOUT_MS = 2_000
const DNS_PORT = 53
/** Each has caches of its own: Cloudflare, Google, Quad9. */
const PUBLIC_RESOLVERS = ['1.1.1.1', '8.8.8.8', '9.9.9.9'].map(host => ({ host, port: DNS_PORT }))
/** More resolvers than this are not asked in a row. */
const RESOLVERS = 3

/** Reads only; nothing is opened before the first call. */
export function createOutside(options: OutsideOptions): Outside {
  const { context } = options
  const { signal } = context
  const dial = createDial(options.route, signal)
  const direct = createDial({ kind: 'direct' }, signal)
  const timeoutMs = options.dnsTimeoutMs ?? DNS_TIMEOUT_MS
  const count = () => context.meter.count('outside', 'read')

  /** Asks resolvers until one knows. @throws LandfallError network, when none does */
  const resolve = async (name: string, type: QueryType): Promise<DnsReply> => {
    const servers = options.resolver === undefined ? systemResolvers() : [options.resolver]
    let last: DnsReply['status'] = 'silent'
    for (const server of servers) {
      count()
      const reply = await query({ server, name, type, transport: 'auto', recursion: true, timeoutMs, dial: direct, signal })
      if (reply.status === 'ok' || reply.status === 'nxdomain') return reply
      last = reply.status
    }
    throw new LandfallError(
      'network',
      `No DNS resolver could say ${type} of ${name} (${servers.length === 0 ? 'none is configured' : last}).`,
      {
        hint: `Check with: dig ${name} ${type}. The resolvers are those of this machine, or LANDFALL_DNS.`,
      },
    )
  }

  /** `lenient`: a family that no resolver can look up counts as empty, so that one broken nameserver does not hide the others. */
  const addressesOf = async (name: string, mood: 'strict' | 'lenient'): Promise<string[]> => {
    const lookUp = async (type: 'A' | 'AAAA'): Promise<string[]> => {
      try {
        return valuesOf(await resolve(name, type), type)
      } catch (error) {
        if (mood === 'lenient' && hasCode(error, 'network')) return []
        throw error
      }
    }
    return (await Promise.all([lookUp('A'), lookUp('AAAA')])).flat()
  }

  const findNameservers: Outside['findNameservers'] = async zone => {
    const names = valuesOf(await resolve(zone, 'NS'), 'NS')
    return Promise.all(names.toSorted().map(async name => ({ name, addresses: await addressesOf(name, 'lenient') })))
  }

  const askOne = async (name: string, address: string, question: string, type: QueryType): Promise<DnsAnswer | undefined> => {
    count()
    const reply = await query({
      server: { host: address, port: DNS_PORT },
      name: question,
      type,
      // A CONNECT proxy carries no UDP.
      transport: options.route.kind === 'direct' ? 'auto' : 'tcp',
      timeoutMs,
      dial,
      signal,
    })
    return reply.status === 'unreachable' ? undefined : toAnswer(`${name} ${address}`, type, reply)
  }

  const connect = async (host: string, address: string, port: number, waitMs: number, via: Dial): Promise<net.Socket> => {
    const dialled = await via(address, port, waitMs)
    if (dialled.state === 'open') return dialled.socket
    throw new LandfallError(
      dialled.state === 'filtered' ? 'timeout' : 'network',
      `${host} at ${address} port ${port} could not be reached: ${dialled.why}.`,
      { hint: 'Look at the firewall and at whether the server runs.' },
    )
  }

  const fetchFrom = async (url: URL, address: string, waitMs: number, via: Dial, how: Asking = {}): Promise<Page> => {
    count()
    const secure = url.protocol === 'https:'
    const host = bare(url.hostname)
    const endsAtMs = performance.now() + waitMs
    const leftMs = () => Math.max(1, Math.round(endsAtMs - performance.now()))
    let socket = await connect(host, address, url.port === '' ? (secure ? 443 : 80) : Number(url.port), waitMs, via)
    if (secure) {
      const shake = await handshake({ socket, host, ...ca(options.caPem), timeoutMs: leftMs() })
      if (shake.state === 'none') throw new LandfallError('network', `${url.origin} at ${address}: ${shake.why}.`)
      if (shake.state === 'untrusted') {
        shake.socket.destroy()
        throw new LandfallError(
          'network',
          `The certificate of ${url.origin} at ${address} is not trusted: ${shake.report.why ?? 'unknown'}.`,
        )
      }
      socket = shake.socket
    }
    const onAbort = () => void socket.destroy()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      const fetched = await readPage(socket, url, leftMs(), how)
      if (signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
      if (fetched.state === 'page') return fetched.page
      throw new LandfallError(
        fetched.state === 'late' ? 'timeout' : 'network',
        `${url.origin}${url.pathname} at ${address}: ${fetched.why}.`,
      )
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  const ownAddress = async (type: 'A' | 'AAAA'): Promise<string | undefined> => {
    try {
      const url = new URL((options.whoamiUrl ?? WHOAMI_URL).replace('{family}', type === 'A' ? '4' : '6'))
      const host = bare(url.hostname)
      const address = net.isIP(host) === 0 ? valuesOf(await resolve(host, type), type)[0] : host
      if (address === undefined) return undefined
      // On loopback it stands beside us, not in the world behind the proxy.
      const page = await fetchFrom(url, address, WHOAMI_TIMEOUT_MS, isLoopback(address) ? direct : dial)
      const ip = /^ip=([0-9a-f.:]+)\s*$/im.exec(page.body)?.[1]
      return page.status === 200 && ip !== undefined && net.isIP(ip) !== 0 ? ip : undefined
    } catch (error) {
      // Unknown is an answer here: the caller asks a person instead.
      if (error instanceof LandfallError || error instanceof TypeError) return undefined
      throw error
    }
  }

  return {
    async probePort(address, port, waitMs) {
      count()
      const dialled = await dial(address, port, waitMs)
      if (dialled.state === 'open') dialled.socket.destroy()
      if (dialled.state !== 'failed') return dialled.state
      throw new LandfallError('network', `Whether port ${port} of ${address} is open could not be tried: ${dialled.why}.`)
    },

    async readTls(host, address, port = 443): Promise<TlsReport> {
      count()
      const dialled = await dial(address, port, DIAL_TIMEOUT_MS)
      if (dialled.state !== 'open') return { state: 'none', why: `port ${port} of ${address}: ${dialled.why}`, names: [] }
      const shake = await handshake({ socket: dialled.socket, host, ...ca(options.caPem), timeoutMs: TLS_TIMEOUT_MS })
      if (shake.state === 'none') return { state: 'none', why: shake.why, names: [] }
      shake.socket.destroy()
      return shake.report
    },

    async fetchPage(url, { address, timeoutMs: waitMs = PAGE_TIMEOUT_MS, ...how } = {}) {
      const parsed = new URL(url)
      const host = bare(parsed.hostname)
      const target = address ?? (net.isIP(host) === 0 ? (await addressesOf(host, 'strict'))[0] : host)
      if (target === undefined)
        throw new LandfallError('network', `${host} has no address in DNS.`, { hint: `Check with: dig ${host}.` })
      return fetchFrom(parsed, target, waitMs, dial, how)
    },

    findNameservers,

    async askAuthoritative(zone, name, type) {
      const servers = await findNameservers(zone)
      const heard = await Promise.all(
        servers.flatMap(server =>
          server.addresses.map(async address => ({
            server: server.name,
            address,
            answer: await askOne(server.name, address, name, type),
          })),
        ),
      )
      // When no server at all is heard over IPv6, but one is over IPv4, it is this machine that lacks IPv6.
      const speaks = (isFamily: (address: string) => boolean) =>
        heard.some(({ address, answer }) => isFamily(address) && answer !== undefined && answer.status !== 'silent')
      const without6 = speaks(net.isIPv4) && !speaks(net.isIPv6)
      const counted = without6 ? heard.filter(({ address }) => !net.isIPv6(address)) : heard
      return servers.flatMap(({ name: server }) => {
        const answers = counted.flatMap(each => (each.server === server ? (each.answer ?? []) : []))
        return answers.length > 0 ? answers : [{ server, status: 'silent' as const, values: [] }]
      })
    },

    async askResolvers(name, type) {
      const servers = options.resolver === undefined ? [...systemResolvers(), ...PUBLIC_RESOLVERS] : [options.resolver]
      const answers = await Promise.all(
        servers.map(async server => {
          count()
          const reply = await query({ server, name, type, transport: 'auto', recursion: true, timeoutMs, dial: direct, signal })
          return reply.status === 'unreachable' ? [] : [toAnswer(server.host, type, { ...reply, authoritative: true })]
        }),
      )
      return answers.flat()
    },

    async findOwnAddresses() {
      const found = (await Promise.all([ownAddress('A'), ownAddress('AAAA')])).filter(address => address !== undefined)
      const ipv4 = found.find(net.isIPv4)
      const ipv6 = found.find(net.isIPv6)
      return { ...(ipv4 === undefined ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) }
    },
  }
}

const ca = (caPem: string | undefined) => (caPem === undefined ? {} : { caPem })

const bare = (hostname: string): string => hostname.replace(/^\[|\]$/g, '')

const isLoopback = (address: string): boolean => address === '::1' || /^127\./.test(address)

const valuesOf = (reply: DnsReply, type: QueryType): string[] =>
  reply.answers.filter(entry => entry.type === type).map(entry => entry.value)

/** A server that answers without authority and without a record does not hold the zone; that is a refusal, not an empty answer. */
function toAnswer(server: string, type: QueryType, reply: DnsReply): DnsAnswer {
  const values = valuesOf(reply, type)
  const ttls = reply.answers.filter(entry => entry.type === type).map(entry => entry.ttl)
  const lame = reply.status === 'ok' && !reply.authoritative && reply.answers.length === 0
  const status = reply.status === 'unreachable' ? 'silent' : lame ? 'refused' : reply.status
  return { server, status, values, ...(ttls.length === 0 ? {} : { ttl: Math.min(...ttls) }) }
}

/** "192.0.2.1", "192.0.2.1:5353", "2001:db8::1" or "[2001:db8::1]:5353", as the system's configuration lists them. */
const systemResolvers = (): { host: string; port: number }[] =>
  dns
    .getServers()
    .slice(0, RESOLVERS)
    .map(entry => {
      if (net.isIP(entry) !== 0) return { host: entry, port: DNS_PORT }
      const colon = entry.lastIndexOf(':')
      return { host: bare(entry.slice(0, colon)), port: Number(entry.slice(colon + 1)) }
    })
