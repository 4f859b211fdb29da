/** New ed25519 pairs in the format that sshd, ssh and cloud-init read. */

import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { LandfallError } from '../../errors.ts'
import { Secret } from '../../secret.ts'

const TYPE = 'ssh-ed25519'
const MAGIC = 'openssh-key-v1\0'

/** An OpenSSH private key text (PROTOCOL.key, without a passphrase) and the public line without a comment. */
export function generateKey(): { readonly privateKey: Secret; readonly publicKey: string } {
  const { x, d } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
  if (x === undefined || d === undefined)
    throw new LandfallError('unhealthy', 'The runtime made an ed25519 key without its numbers.')
  const publicBytes = Buffer.from(x, 'base64url')
  const publicBlob = Buffer.concat([sized(TYPE), sized(publicBytes)])
  const check = randomBytes(4)
  const secretPart = Buffer.concat([
    check,
    check,
    publicBlob,
    sized(Buffer.concat([Buffer.from(d, 'base64url'), publicBytes])),
    sized(''),
  ])
  // Padded with 1, 2, 3 … to the cipher's block, which is 8 where there is no cipher.
  const padding = Buffer.from(Array.from({ length: (8 - (secretPart.length % 8)) % 8 }, (_, i) => i + 1))
  const file = Buffer.concat([
    Buffer.from(MAGIC),
    sized('none'),
    sized('none'),
    sized(''),
    uint32(1),
    sized(publicBlob),
    sized(Buffer.concat([secretPart, padding])),
  ])
  const lines = file.toString('base64').match(/.{1,70}/g) ?? []
  const text = `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join('\n')}\n-----END OPENSSH PRIVATE KEY-----\n`
  return { privateKey: new Secret('SSH private key', text), publicKey: `${TYPE} ${publicBlob.toString('base64')}` }
}

/**
 * The public line of an OpenSSH private key text, which carries its public half in the clear. Pure.
 * @throws LandfallError config when the text is no such key
 */
export function publicHalfOf(privateKey: Secret): string {
  const bytes = Buffer.from(privateKey.reveal().replace(/-----[^-]+-----/g, ''), 'base64')
  let offset = MAGIC.length
  const next = (): Buffer => {
    const start = offset + 4
    const end = start <= bytes.length ? start + bytes.readUInt32BE(offset) : Number.POSITIVE_INFINITY
    if (bytes.toString('latin1', 0, MAGIC.length) !== MAGIC || end > bytes.length)
      throw new LandfallError('config', `The ${privateKey.label} is not whole, or not in OpenSSH's own format.`)
    offset = end
    return bytes.subarray(start, end)
  }
  // The cipher, its derivation and that one's options; then how many keys there are, and the first one's public half.
  for (let skipped = 0; skipped < 3; skipped++) next()
  offset += 4
  return `${TYPE} ${next().toString('base64')}`
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const sized = (value: string | Buffer): Buffer => {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  return Buffer.concat([uint32(bytes.length), bytes])
}
