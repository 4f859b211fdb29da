/** A computer between us and a server: it speaks SSH under a host key of its choice and counts what it is told beyond the key exchange. */

import { type AddressInfo, connect, createServer } from 'node:net'
import ssh2 from 'ssh2'

export interface Impostor {
  readonly port: number
  /** Connections that got as far as its host key. */
  readonly contacts: () => number
  /** What it was sent beyond the key exchange: whoever says who he is, or what he wants, has sent more than none. */
  readonly payloadBytes: () => number
  close(): Promise<void>
}

/** SSH_MSG_DISCONNECT, KEXINIT and KEX_ECDH_INIT (RFC 4250). */
const NO_PAYLOAD = [1, 20, 30]
const KEX_ECDH_INIT = 30
const NEWKEYS = 21

/** @param hostKey OpenSSH private key text */
export const openImpostor = async (hostKey: string): Promise<Impostor> => {
  let contacts = 0
  let payloadBytes = 0
  const server = new ssh2.Server({ hostKeys: [hostKey] }, client => {
    client.on('error', () => undefined)
    client.on('authentication', attempt => attempt.accept())
  })
  const serverPort = await listening(server)
  const relay = createServer(near => {
    const far = connect(serverPort, '127.0.0.1')
    const read = readPackets(
      type => {
        if (type === KEX_ECDH_INIT) contacts += 1
      },
      bytes => {
        payloadBytes += bytes
      },
    )
    near.on('data', read)
    for (const socket of [near, far]) socket.on('error', () => socket.destroy())
    near.pipe(far).pipe(near)
  })
  const port = await listening(relay)
  return {
    port,
    contacts: () => contacts,
    payloadBytes: () => payloadBytes,
    async close() {
      await Promise.all([relay, server].map(one => new Promise<void>(resolve => void one.close(() => resolve()))))
    },
  }
}

const listening = (server: { listen(port: number, host: string, then: () => void): unknown; address(): unknown }) =>
  new Promise<number>(resolve => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })

/** A client's bytes in their order: a line, packets in the clear up to its new keys, and nobody knows what after them. */
const readPackets = (onPacket: (type: number) => void, onPayload: (bytes: number) => void): ((chunk: Buffer) => void) => {
  let rest = Buffer.alloc(0)
  let phase: 'line' | 'clear' | 'sealed' = 'line'
  return chunk => {
    rest = Buffer.concat([rest, chunk])
    if (phase === 'line') {
      const end = rest.indexOf('\n')
      if (end < 0) return
      rest = rest.subarray(end + 1)
      phase = 'clear'
    }
    while (phase === 'clear' && rest.length >= 6) {
      const length = 4 + rest.readUInt32BE(0)
      if (rest.length < length) return
      const type = rest.readUInt8(5)
      onPacket(type)
      if (type === NEWKEYS) phase = 'sealed'
      else if (!NO_PAYLOAD.includes(type)) onPayload(length)
      rest = rest.subarray(length)
    }
    if (phase === 'sealed') {
      onPayload(rest.length)
      rest = Buffer.alloc(0)
    }
  }
}
