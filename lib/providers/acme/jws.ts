/** Signed requests of ACME (RFC 8555 6.2): flattened JWS with ES256, by an account's key. */

import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import type { Secret } from '../../secret.ts'

export interface Signer {
  /** @param payload undefined for POST-as-GET @param by the account's URL, or the bare key before there is an account */
  sign(url: string, nonce: string, payload: unknown, by: { readonly account: string } | 'key'): string
  /** What proves that the account's owner holds a challenge, as a TXT record's text (RFC 8555 8.4). */
  proofOf(token: string): string
}

export function createSigner(accountKey: Secret): Signer {
  const key = createPrivateKey(accountKey.reveal())
  const jwk = publicJwk(key)
  // RFC 7638: the members in this order, nothing between them.
  const thumbprint = digest(JSON.stringify({ crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y }))
  return {
    sign(url, nonce, payload, by) {
      const header = { alg: 'ES256', url, nonce, ...(by === 'key' ? { jwk } : { kid: by.account }) }
      const encodedHeader = encode(JSON.stringify(header))
      const encodedPayload = payload === undefined ? '' : encode(JSON.stringify(payload))
      const signature = sign('sha256', Buffer.from(`${encodedHeader}.${encodedPayload}`), { key, dsaEncoding: 'ieee-p1363' })
      return JSON.stringify({ protected: encodedHeader, payload: encodedPayload, signature: signature.toString('base64url') })
    },
    proofOf: token => digest(`${token}.${thumbprint}`),
  }
}

const publicJwk = (key: KeyObject): { kty: string; crv: string; x: string; y: string } => {
  const { kty = '', crv = '', x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' })
  if (kty !== 'EC' || crv !== 'P-256') throw new Error('bug: an ACME account key must be ECDSA P-256')
  return { kty, crv, x, y }
}

const encode = (text: string): string => Buffer.from(text).toString('base64url')
const digest = (text: string): string => createHash('sha256').update(text).digest('base64url')
