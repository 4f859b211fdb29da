/** Reads the server name out of the first bytes of a TLS connection (RFC 8446 4.1.2, RFC 6066 3), before anything is decrypted. */

export type Hello =
  | { readonly state: 'more' }
  | { readonly state: 'not_tls' }
  | { readonly state: 'read'; readonly name: string | undefined }

const HANDSHAKE = 0x16
const CLIENT_HELLO = 0x01
const RECORD_HEADER = 5
const SERVER_NAME = 0

export const readServerName = (received: Buffer): Hello => {
  if (received.length > 0 && received[0] !== HANDSHAKE) return { state: 'not_tls' }
  if (received.length < RECORD_HEADER) return { state: 'more' }
  const end = RECORD_HEADER + received.readUInt16BE(3)
  if (received.length < end) return { state: 'more' }
  if (received[RECORD_HEADER] !== CLIENT_HELLO) return { state: 'not_tls' }
  try {
    return { state: 'read', name: nameOf(received.subarray(0, end)) }
  } catch (error) {
    // A length that points past the end.
    if (error instanceof RangeError) return { state: 'not_tls' }
    throw error
  }
}

const nameOf = (record: Buffer): string | undefined => {
  // Handshake header (4), version (2), random (32), then three lists with a length each: session id, cipher suites, compression methods.
  let at = RECORD_HEADER + 4 + 2 + 32
  at += 1 + record.readUInt8(at)
  at += 2 + record.readUInt16BE(at)
  at += 1 + record.readUInt8(at)
  if (at >= record.length) return undefined
  const end = at + 2 + record.readUInt16BE(at)
  at += 2
  while (at < end) {
    const type = record.readUInt16BE(at)
    const length = record.readUInt16BE(at + 2)
    // The list holds one entry: its own length (2), a type (1), the name's length (2), the name.
    if (type === SERVER_NAME) return record.toString('latin1', at + 9, at + 9 + record.readUInt16BE(at + 7)).toLowerCase()
    at += 4 + length
  }
  return undefined
}
