/** One DNS question to one server, over real packets, so that what is said is what that server says and no cache in between. */

import { randomInt } from 'node:crypto'
import dgram from 'node:dgram'
import net from 'node:net'
import * as packet from 'dns-packet'
import { LandfallError } from '../../errors.ts'
import { createDial, type Dial } from './dial.ts'

export type QueryType = 'A' | 'AAAA' | 'CNAME' | 'TXT' | 'CAA' | 'NS' | 'SOA' | 'MX'

export interface Query {
  readonly server: { readonly host: string; readonly port: number }
  readonly name: string
  readonly type: QueryType
  /** `auto`: UDP, and TCP when that is cut short or silent. */
  readonly transport: 'udp' | 'tcp' | 'auto'
  /** Asks the server to find out, instead of saying what it holds. Off unless told. */
  readonly recursion?: boolean
  /** For each transport. */
  readonly timeoutMs?: number
  /** How TCP is dialled; directly when absent. */
  readonly dial?: Dial
  readonly signal?: AbortSignal
}

export interface DnsEntry {
  readonly name: string
  readonly type: string
  readonly ttl: number
  /** Addresses and names as text; names lower case without a final dot; TXT joined; CAA as `0 issue "…"`; SOA as its seven words. */
  readonly value: string
}

export interface DnsReply {
  /** `silent`: no usable answer. `unreachable`: this machine has no way to that address, which says nothing about the server. */
  readonly status: 'ok' | 'nxdomain' | 'servfail' | 'refused' | 'silent' | 'unreachable'
  /** Whether the server speaks for the zone. */
  readonly authoritative: boolean
  readonly answers: readonly DnsEntry[]
  readonly authorities: readonly DnsEntry[]
}

const UDP_TRIES = 2
const DEFAULT_TIMEOUT_MS = 2_000

/** Never throws for what the network or the server does. @throws LandfallError cancelled */
export async function query(question: Query): Promise<DnsReply> {
  if (question.transport === 'tcp') return askTcp(question)
  const overUdp = await askUdp(question)
  if (question.transport === 'udp') return overUdp.reply
  return overUdp.truncated || overUdp.reply.status === 'silent' ? askTcp(question) : overUdp.reply
}

interface Outcome {
  readonly reply: DnsReply
  readonly truncated: boolean
}

async function askUdp(question: Query): Promise<Outcome> {
  const timeoutMs = (question.timeoutMs ?? DEFAULT_TIMEOUT_MS) / UDP_TRIES
  let outcome = nothing('silent')
  for (let attempt = 1; attempt <= UDP_TRIES && outcome.reply.status === 'silent'; attempt++)
    outcome = await askUdpOnce(question, timeoutMs)
  return outcome
}

function askUdpOnce({ server, name, type, recursion, signal }: Query, timeoutMs: number): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(interrupted())
    const id = randomInt(65_536)
    const socket = dgram.createSocket(net.isIPv6(server.host) ? 'udp6' : 'udp4')
    let settled = false
    const finish = (end: () => void): void => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.close()
      end()
    }
    const settle = (outcome: Outcome): void => finish(() => resolve(outcome))
    const onAbort = (): void => finish(() => reject(interrupted()))
    const timer = setTimeout(() => settle(nothing('silent')), timeoutMs)
    signal?.addEventListener('abort', onAbort, { once: true })

    socket.on('error', error => settle(nothing(isNoRoute(error) ? 'unreachable' : 'silent')))
    socket.on('message', (message, from) => {
      // A packet from elsewhere, or about something else, is not the answer; the true one may still come.
      if (from.port !== server.port) return
      const outcome = outcomeOf(message, id, name, type)
      if (outcome !== undefined) settle(outcome)
    })
    socket.send(encode(id, name, type, recursion === true), server.port, server.host, error => {
      if (error) settle(nothing(isNoRoute(error) ? 'unreachable' : 'silent'))
    })
  })
}

async function askTcp({ server, name, type, recursion, timeoutMs = DEFAULT_TIMEOUT_MS, dial, signal }: Query): Promise<DnsReply> {
  const dialled = await (dial ?? createDial({ kind: 'direct' }, signal))(server.host, server.port, timeoutMs)
  if (dialled.state === 'failed') return nothing('unreachable').reply
  if (dialled.state !== 'open') return nothing('silent').reply
  const { socket } = dialled
  const id = randomInt(65_536)
  return new Promise((resolve, reject) => {
    let seen = Buffer.alloc(0)
    const finish = (end: () => void): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.destroy()
      end()
    }
    const settle = (reply: DnsReply): void => finish(() => resolve(reply))
    const onAbort = (): void => finish(() => reject(interrupted()))
    const timer = setTimeout(() => settle(nothing('silent').reply), timeoutMs)
    signal?.addEventListener('abort', onAbort, { once: true })

    socket.on('data', chunk => {
      seen = Buffer.concat([seen, chunk])
      if (seen.length < 2 || seen.length < 2 + seen.readUInt16BE(0)) return
      settle((outcomeOf(seen.subarray(2, 2 + seen.readUInt16BE(0)), id, name, type) ?? nothing('silent')).reply)
    })
    socket.on('close', () => settle(nothing('silent').reply))
    socket.on('error', () => settle(nothing('silent').reply))
    const body = encode(id, name, type, recursion === true)
    const length = Buffer.alloc(2)
    length.writeUInt16BE(body.length)
    socket.write(Buffer.concat([length, body]))
    socket.resume()
  })
}

const encode = (id: number, name: string, type: QueryType, recursion: boolean): Buffer =>
  packet.encode({
    type: 'query',
    id,
    flags: recursion ? packet.RECURSION_DESIRED : 0,
    questions: [{ type, name: normalName(name) }],
  })

/** undefined when the packet does not answer this question. */
function outcomeOf(message: Buffer, id: number, name: string, type: QueryType): Outcome | undefined {
  let decoded: packet.DecodedPacket
  try {
    decoded = packet.decode(message)
  } catch {
    // Not a DNS packet; whoever sent it, it is no answer.
    return undefined
  }
  const asked = decoded.questions?.[0]
  if (decoded.type !== 'response' || decoded.id !== id || asked?.type !== type || normalName(asked.name) !== normalName(name))
    return undefined
  return {
    truncated: decoded.flag_tc,
    reply: {
      status: statusOf('rcode' in decoded ? String(decoded.rcode) : 'NOERROR'),
      authoritative: decoded.flag_aa,
      answers: (decoded.answers ?? []).flatMap(fromPacket),
      authorities: (decoded.authorities ?? []).flatMap(fromPacket),
    },
  }
}

const statusOf = (rcode: string): DnsReply['status'] => {
  if (rcode === 'NOERROR') return 'ok'
  if (rcode === 'NXDOMAIN') return 'nxdomain'
  return rcode === 'REFUSED' || rcode === 'NOTAUTH' ? 'refused' : 'servfail'
}

const nothing = (status: 'silent' | 'unreachable'): Outcome => ({
  truncated: false,
  reply: { status, authoritative: false, answers: [], authorities: [] },
})

const isNoRoute = (error: Error): boolean =>
  'code' in error && ['ENETUNREACH', 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EINVAL'].includes(String(error.code))

const normalName = (name: string): string => name.toLowerCase().replace(/\.$/, '')

const interrupted = (): LandfallError => new LandfallError('cancelled', 'Interrupted.')

function fromPacket(answer: packet.Answer): DnsEntry[] {
  const entry = (value: string): DnsEntry[] => [
    { name: normalName(answer.name), type: answer.type, ttl: 'ttl' in answer ? (answer.ttl ?? 0) : 0, value },
  ]
  switch (answer.type) {
    case 'A':
    case 'AAAA':
      return entry(answer.data)
    case 'CNAME':
    case 'NS':
    case 'PTR':
      return entry(normalName(answer.data))
    case 'TXT': {
      const parts = Array.isArray(answer.data) ? answer.data : [answer.data]
      return entry(parts.map(part => part.toString()).join(''))
    }
    case 'CAA':
      return entry(`${answer.data.flags ?? (answer.data.issuerCritical ? 128 : 0)} ${answer.data.tag} "${answer.data.value}"`)
    case 'MX':
      return entry(`${answer.data.preference ?? 0} ${normalName(answer.data.exchange)}`)
    case 'SOA': {
      const { mname, rname, serial = 0, refresh = 0, retry = 0, expire = 0, minimum = 0 } = answer.data
      return entry([normalName(mname), normalName(rname), serial, refresh, retry, expire, minimum].join(' '))
    }
    default:
      return []
  }
}
