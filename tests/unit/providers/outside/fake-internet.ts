/** A small internet on loopback: a CONNECT proxy with a table of addresses, and DNS servers that speak real packets. */

import dgram from 'node:dgram'
import net from 'node:net'
import * as packet from 'dns-packet'
import { createMeter, type Meter } from '../../../../lib/engine/meter.ts'

export interface Closable {
  readonly port: number
  close(): void
}

const listening = async (server: net.Server): Promise<Closable> => {
  const sockets = new Set<net.Socket>()
  server.on('connection', socket => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('No port.')
  return {
    port: address.port,
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

/** Serves raw bytes: what `answer` returns is sent after the first bytes came; undefined never answers. */
export const startRaw = (answer: (request: string, socket: net.Socket) => string | undefined): Promise<Closable> =>
  listening(
    net.createServer(socket => {
      socket.once('data', data => {
        const text = answer(data.toString('latin1'), socket)
        if (text !== undefined) socket.end(text)
      })
    }),
  )

export type Target = number | 'refused' | 'silent' | 'forbidden' | 'closed'

/** Keys are CONNECT authorities: "198.51.100.1:443", "[2001:db8::1]:443". Unknown ones are silent. */
export async function startProxy(table: Record<string, Target>): Promise<Closable & { readonly asked: string[] }> {
  const asked: string[] = []
  const proxy = await listening(
    net.createServer(socket => {
      let head = ''
      const onData = (chunk: Buffer): void => {
        head += chunk.toString('latin1')
        if (!head.includes('\r\n\r\n')) return
        socket.off('data', onData)
        const authority = /^CONNECT (\S+) /.exec(head)?.[1] ?? ''
        asked.push(authority)
        const target = table[authority] ?? 'silent'
        if (target === 'refused') socket.end('HTTP/1.1 502 Bad Gateway\r\nX-Connect: refused\r\n\r\n')
        else if (target === 'forbidden') socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
        else if (target === 'closed') socket.destroy()
        else if (target !== 'silent') {
          const far = net.connect(target, '127.0.0.1', () => {
            socket.write('HTTP/1.1 200 OK\r\n\r\n')
            socket.pipe(far)
            far.pipe(socket)
          })
          far.on('error', () => socket.destroy())
          socket.on('close', () => far.destroy())
        }
      }
      socket.on('data', onData)
    }),
  )
  return { ...proxy, asked }
}

export interface DnsRules {
  /** Records by "name TYPE"; an absent name is NXDOMAIN, unless it has records of another type. */
  readonly records: Record<string, packet.Answer[]>
  readonly authoritative?: boolean
  readonly rcode?: number
  /** UDP answers are cut short, so that TCP must be used. */
  readonly truncateUdp?: boolean
  readonly silentUdp?: boolean
  /** A forged failure with another id goes out first. */
  readonly forge?: boolean
}

export interface DnsServer extends Closable {
  readonly asked: { transport: 'udp' | 'tcp'; name: string; type: string; recursion: boolean }[]
}

/** One DNS server on one port, over UDP and TCP. */
export async function startDns(rules: DnsRules): Promise<DnsServer> {
  const asked: DnsServer['asked'] = []
  const answer = (message: Buffer, transport: 'udp' | 'tcp'): Buffer => {
    const query = packet.decode(message)
    const question = query.questions?.[0] ?? { name: '', type: 'A' as const }
    asked.push({ transport, name: question.name, type: question.type, recursion: query.flag_rd })
    const own = rules.records[`${question.name.toLowerCase()} ${question.type}`]
    const known = Object.keys(rules.records).some(key => key.startsWith(`${question.name.toLowerCase()} `))
    const rcode = rules.rcode ?? (known ? 0 : 3)
    const cut = transport === 'udp' && rules.truncateUdp === true
    const flags =
      (rules.authoritative === false ? 0 : packet.AUTHORITATIVE_ANSWER) | (cut ? packet.TRUNCATED_RESPONSE : 0) | rcode
    return packet.encode({ type: 'response', id: query.id ?? 0, flags, questions: [question], answers: cut ? [] : (own ?? []) })
  }
  const tcp = await listening(
    net.createServer(socket => {
      socket.on('data', data => {
        const reply = answer(data.subarray(2), 'tcp')
        const length = Buffer.alloc(2)
        length.writeUInt16BE(reply.length)
        // In two pieces, because TCP owes nobody whole messages.
        socket.write(Buffer.concat([length, reply.subarray(0, 5)]))
        setTimeout(() => socket.write(reply.subarray(5)), 2)
      })
    }),
  )
  const udp = dgram.createSocket('udp4')
  udp.on('message', (message, from) => {
    const reply = answer(message, 'udp')
    if (rules.silentUdp) return
    if (rules.forge) {
      const forged = Buffer.from(reply)
      forged.writeUInt16BE((forged.readUInt16BE(0) + 1) % 65_536)
      // It claims that the server fails.
      forged.writeUInt8((forged.readUInt8(3) & 0xf0) | 2, 3)
      udp.send(forged, from.port, from.address)
    }
    udp.send(reply, from.port, from.address)
  })
  await new Promise<void>(resolve => udp.bind(tcp.port, '127.0.0.1', resolve))
  return {
    port: tcp.port,
    asked,
    close() {
      tcp.close()
      udp.close()
    },
  }
}

export const createTestContext = (): { meter: Meter; signal: AbortSignal; controller: AbortController } => {
  const controller = new AbortController()
  return { meter: createMeter(), signal: controller.signal, controller }
}
