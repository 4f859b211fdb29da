/** Small clients of the sandbox's real sockets, for tests. */

import { createSocket } from 'node:dgram'
import { connect, type Socket } from 'node:net'
import dns, { type DecodedPacket, type RecordType } from 'dns-packet'
import type { SandboxSettings, StandIn } from '../../../lib/sandbox/kit.ts'

export const settingsWith = (change: Partial<SandboxSettings> = {}): SandboxSettings => ({
  latencyMs: 0,
  actionMs: { other: 0 },
  bootMs: 0,
  dokployStartMs: 0,
  rateLimits: true,
  faults: [],
  ...change,
})

/** A stand-in that counts what took effect. */
export const createCounter = (): StandIn & { readonly effects: string[] } => {
  const effects: string[] = []
  return {
    vendor: 'hetzner',
    effects,
    handle(request) {
      effects.push(`${request.method} ${request.path} ${request.bodyText}`)
      return { status: 200, json: { effects: effects.length, padding: 'x'.repeat(200) }, headers: { 'x-vendor': 'yes' } }
    },
  }
}

const queryOf = (name: string, type: RecordType): Buffer =>
  dns.encode({ type: 'query', id: 4242, flags: dns.RECURSION_DESIRED, questions: [{ type, name }] })

/** One question over UDP. */
export const ask = (port: number, name: string, type: RecordType): Promise<DecodedPacket> =>
  new Promise((resolve, reject) => {
    const socket = createSocket('udp4')
    const timer = setTimeout(() => {
      socket.close()
      reject(new Error(`no answer to ${name} ${type}`))
    }, 2000)
    socket.on('message', message => {
      clearTimeout(timer)
      socket.close()
      resolve(dns.decode(message))
    })
    socket.send(queryOf(name, type), port, '127.0.0.1')
  })

/** One question over a TCP connection that is already there. */
export const askTcp = (socket: Socket, name: string, type: RecordType): Promise<DecodedPacket> =>
  new Promise((resolve, reject) => {
    const query = queryOf(name, type)
    const prefix = Buffer.alloc(2)
    prefix.writeUInt16BE(query.length)
    let received = Buffer.alloc(0)
    socket.on('error', reject)
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      if (received.length < 2 || received.length < received.readUInt16BE(0) + 2) return
      resolve(dns.decode(received.subarray(2)))
    })
    socket.write(Buffer.concat([prefix, query]))
  })

export const valuesOf = (packet: DecodedPacket): unknown[] =>
  (packet.answers ?? []).map(answer => ('data' in answer ? answer.data : undefined))

/** The low four bits of a packet's flags. */
export const rcodeOf = (packet: DecodedPacket): number => (packet.flags ?? 0) & 15

export interface Tunnel {
  readonly status: number
  readonly head: string
  readonly socket: Socket
}

/** CONNECT through the sandbox's internet; 'silence' when nothing came within `patienceMs`. */
export const dial = (proxyPort: number, target: string, source?: string, patienceMs = 150): Promise<Tunnel | 'silence'> =>
  new Promise((resolve, reject) => {
    const socket = connect(proxyPort, '127.0.0.1', () =>
      socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${source ? `X-Source-Address: ${source}\r\n` : ''}\r\n`),
    )
    const timer = setTimeout(() => {
      socket.destroy()
      resolve('silence')
    }, patienceMs)
    socket.once('error', reject)
    socket.once('data', (chunk: Buffer) => {
      clearTimeout(timer)
      // Without a listener a flowing socket drops what comes.
      socket.pause()
      const head = chunk.toString()
      const end = head.indexOf('\r\n\r\n')
      // Bytes of the far end may come in the same packet as the proxy's answer.
      if (end >= 0 && end + 4 < head.length) socket.unshift(chunk.subarray(end + 4))
      resolve({ status: Number(head.split(' ')[1]), head, socket })
    })
  })

export const firstLine = (socket: Socket): Promise<string> =>
  new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed before the first line')))
    socket.once('data', (chunk: Buffer) => {
      socket.pause()
      resolve(chunk.toString().split('\r\n')[0] ?? '')
    })
    socket.resume()
  })
