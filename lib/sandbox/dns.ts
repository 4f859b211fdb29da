/**
 * The sandbox's DNS, in real packets on loopback over UDP and TCP: an authority that serves the Cloudflare stand-in's zones, and a caching
 * resolver in front of it that remembers what is there, and what is not, as long as real ones do.
 */

import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { createServer, type Socket } from 'node:net'
import type { DecodedPacket, Packet, Question } from 'dns-packet'
import dns from 'dns-packet'
import { type Answers, answerZone, type DnsZone, isWithin, rcodeBits } from './dns-zone.ts'
import type { SandboxClock } from './kit.ts'

export interface DnsServer {
  readonly host: string
  readonly port: number
  close(): Promise<void>
}

export interface Resolver {
  /** Answers from the cache, or asks and remembers. */
  answer(question: Question): Answers
  /** Forgets everything, or what is known about one name. */
  flush(name?: string): void
}

const HOST = '127.0.0.1'
const UDP_LIMIT_BYTES = 1232
const OLD_UDP_LIMIT_BYTES = 512
/** Failures are remembered for a moment too (RFC 9520). */
const FAILURE_TTL = 5

/** What the authority says, without any network. */
export const answerAuthoritatively = (zones: readonly DnsZone[], question: Question): Answers => {
  const name = question.name.toLowerCase().replace(/\.$/, '')
  const zone = zones.filter(one => isWithin(one, name)).sort((a, b) => b.name.length - a.name.length)[0]
  return zone ? answerZone(zone, name, question.type) : { status: 'refused', authoritative: false, answers: [], authorities: [] }
}

/**
 * A recursive resolver with a cache. Answers live as long as their smallest TTL, "not there" as long as the SOA says (RFC 2308).
 * @param ask the authorities of the world, as the delegation leads to them
 */
export function createResolver(clock: SandboxClock, ask: (question: Question) => Answers): Resolver {
  const cache = new Map<string, { readonly answers: Answers; readonly atMs: number; readonly ttlMs: number }>()
  return {
    answer(question) {
      const name = question.name.toLowerCase().replace(/\.$/, '')
      const key = `${name} ${question.type}`
      const nowMs = clock.nowMs()
      const known = cache.get(key)
      if (known && nowMs < known.atMs + known.ttlMs) return aged(known.answers, Math.floor((nowMs - known.atMs) / 1000))
      const answers = { ...ask({ ...question, name }), authoritative: false }
      cache.set(key, { answers, atMs: nowMs, ttlMs: lifeOf(answers) * 1000 })
      return answers
    },
    flush(name) {
      if (name === undefined) return cache.clear()
      for (const key of [...cache.keys()]) if (key.startsWith(`${name.toLowerCase()} `)) cache.delete(key)
    },
  }
}

const lifeOf = ({ status, answers, authorities }: Answers): number => {
  if (status === 'servfail') return FAILURE_TTL
  const ttls = (answers.length > 0 ? answers : authorities).map(record => ('ttl' in record ? (record.ttl ?? 0) : 0))
  const soa = authorities.find(record => record.type === 'SOA')
  const negative = answers.length === 0 && soa?.type === 'SOA' ? [soa.data.minimum ?? 0] : []
  return ttls.length === 0 ? 0 : Math.min(...ttls, ...negative)
}

const aged = (answers: Answers, seconds: number): Answers => {
  const age = (records: Answers['answers']) =>
    records.map(record => ('ttl' in record ? { ...record, ttl: Math.max(0, (record.ttl ?? 0) - seconds) } : record))
  return { ...answers, answers: age(answers.answers), authorities: age(answers.authorities) }
}

/** Serves `answer` over UDP and TCP on one port. */
export async function serveDns(
  answer: (question: Question) => Answers,
  options: { readonly port?: number; readonly recursive: boolean },
): Promise<DnsServer> {
  const sockets = new Set<Socket>()
  const tcp = createServer(socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    // Resolvers drop connections as they like; 'close' follows.
    socket.on('error', () => socket.destroy())
    let pending = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk])
      while (pending.length >= 2 && pending.length >= pending.readUInt16BE(0) + 2) {
        const size = pending.readUInt16BE(0)
        const reply = respond(pending.subarray(2, 2 + size), answer, options.recursive)
        pending = pending.subarray(2 + size)
        if (!reply) return socket.destroy()
        const prefix = Buffer.alloc(2)
        prefix.writeUInt16BE(reply.length)
        socket.write(Buffer.concat([prefix, reply]))
      }
    })
  })
  const { udp, port } = await bindBoth(tcp, options.port ?? 0)
  udp.on('message', (message, from) => {
    const reply = respond(message, answer, options.recursive, true)
    if (reply) udp.send(reply, from.port, from.address)
  })
  return {
    host: HOST,
    port,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await Promise.all([new Promise(resolve => tcp.close(resolve)), new Promise<void>(resolve => udp.close(() => resolve()))])
    },
  }
}

/** TCP first, then UDP on the same number; another number when somebody has that one. */
const bindBoth = async (tcp: ReturnType<typeof createServer>, port: number): Promise<{ udp: UdpSocket; port: number }> => {
  for (let attempt = 1; ; attempt++) {
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject)
      tcp.listen(port, HOST, () => {
        tcp.off('error', reject)
        resolve()
      })
    })
    const address = tcp.address()
    const bound = typeof address === 'object' && address ? address.port : 0
    const udp = createSocket('udp4')
    const failure = await new Promise<Error | undefined>(resolve => {
      udp.once('error', resolve)
      udp.bind(bound, HOST, () => {
        udp.off('error', resolve)
        resolve(undefined)
      })
    })
    if (!failure) {
      // Whoever asked may be gone before the answer comes: the system tells the socket so, and it goes on.
      udp.on('error', error => {
        if (!('code' in error) || error.code !== 'ECONNREFUSED') throw error
      })
      return { udp, port: bound }
    }
    await new Promise<void>(resolve => udp.close(() => resolve()))
    await new Promise(resolve => tcp.close(resolve))
    if (port !== 0 || attempt === 20) throw failure
  }
}

/** The reply to one packet; nothing for what isn't a question. */
const respond = (
  message: Buffer,
  answer: (question: Question) => Answers,
  recursive: boolean,
  udp = false,
): Buffer | undefined => {
  const query = decode(message)
  const question = query?.questions?.[0]
  if (!query || query.flag_qr || !question) return undefined
  const answers = answer(question)
  const edns = query.additionals?.find(record => record.type === 'OPT')
  const reply: Packet = {
    type: 'response',
    id: query.id,
    flags:
      (answers.authoritative ? dns.AUTHORITATIVE_ANSWER : 0) |
      (query.flag_rd ? dns.RECURSION_DESIRED : 0) |
      (recursive ? dns.RECURSION_AVAILABLE : 0) |
      rcodeBits(answers.status),
    questions: [question],
    answers: [...answers.answers],
    authorities: [...answers.authorities],
    additionals: edns
      ? [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: UDP_LIMIT_BYTES,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0,
            flag_do: false,
            options: [],
          },
        ]
      : [],
  }
  const bytes = dns.encode(reply)
  const limit =
    edns?.type === 'OPT' ? Math.max(OLD_UDP_LIMIT_BYTES, Math.min(edns.udpPayloadSize, UDP_LIMIT_BYTES)) : OLD_UDP_LIMIT_BYTES
  if (!udp || bytes.length <= limit) return bytes
  return dns.encode({ ...reply, flags: (reply.flags ?? 0) | dns.TRUNCATED_RESPONSE, answers: [], authorities: [] })
}

const decode = (message: Buffer): DecodedPacket | undefined => {
  try {
    return dns.decode(message)
  } catch {
    // Not a DNS packet; a name server drops what anyone may have sent.
    return undefined
  }
}
