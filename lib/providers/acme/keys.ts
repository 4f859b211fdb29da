/** Keys and certificate requests. The X.509 library is loaded on first need. */

import { generateKeyPairSync } from 'node:crypto'
import { Secret } from '../../secret.ts'

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** A new ECDSA P-256 key, PKCS #8 PEM; for accounts and for certificates. */
export const generateKey = (label: string): Secret =>
  new Secret(
    label,
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  )

/** A request for a certificate over `names`, DER as base64url, as ACME takes it. */
export async function requestFor(names: readonly string[], privateKey: Secret): Promise<string> {
  // The library's dependency injection reads Reflect metadata while it loads, so this import has to come first.
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  const der = Buffer.from(privateKey.reveal().replace(/-----[^-]+-----|\s/g, ''), 'base64')
  const signingKey = await crypto.subtle.importKey('pkcs8', der, ALGORITHM, true, ['sign'])
  const { d: _private, key_ops: _operations, ...jwk } = await crypto.subtle.exportKey('jwk', signingKey)
  const publicKey = await crypto.subtle.importKey('jwk', jwk, ALGORITHM, true, ['verify'])
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    keys: { privateKey: signingKey, publicKey },
    signingAlgorithm: ALGORITHM,
    extensions: [new x509.SubjectAlternativeNameExtension(names.map(value => ({ type: 'dns' as const, value })))],
  })
  return Buffer.from(request.rawData).toString('base64url')
}
