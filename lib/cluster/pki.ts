/** The cluster's own certificate authority: what its members prove themselves to each other with. Nothing outside trusts it. */

import { X509Certificate as NodeCertificate } from 'node:crypto'
import { Secret } from '../secret.ts'
import type { ClusterSecrets } from './secrets.ts'

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const DAY_MS = 86_400_000
const CA_DAYS = 3_650
const MEMBER_DAYS = 825
/** Renewed when less than this is left. */
const RENEW_DAYS = 60
// Verifiers use their own clocks, which differ a little.
const BACKDATE_MS = 3_600_000

const loadX509 = async () => {
  // The library's dependency injection reads Reflect metadata while it loads, so this import has to come first.
  await import('reflect-metadata')
  return import('@peculiar/x509')
}

const validity = (nowMs: number, days: number) => ({
  notBefore: new Date(nowMs - BACKDATE_MS),
  notAfter: new Date(nowMs + days * DAY_MS),
})

export async function createAuthority(name: string, nowMs: number): Promise<{ certificate: string; key: Secret }> {
  const x509 = await loadX509()
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(nowMs, CA_DAYS),
    name: `CN=Landfall cluster ${name}`,
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  const pem = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')
  return { certificate: certificate.toString('pem'), key: new Secret('cluster CA key', pem) }
}

export interface Member {
  /** The server's name. */
  readonly name: string
  readonly datacenter: string
  readonly role: 'server' | 'worker'
  readonly privateIp: string
}

/** Consul and Nomad tell servers from clients by these names (documentation, "Enable TLS encryption", verify_server_hostname). */
const namesOf = ({ datacenter, role, name }: Member): readonly string[] =>
  role === 'server'
    ? [`server.${datacenter}.consul`, 'server.global.nomad', 'client.global.nomad', name, 'localhost']
    : [`client.${datacenter}.consul`, 'client.global.nomad', name, 'localhost']

/** A certificate for one member, with its key. */
export async function issue(
  secrets: Pick<ClusterSecrets, 'caCertificate' | 'caKey'>,
  member: Member,
  nowMs: number,
): Promise<{ certificate: string; key: Secret }> {
  const x509 = await loadX509()
  const ca = new x509.X509Certificate(secrets.caCertificate)
  const der = x509.PemConverter.decodeFirst(secrets.caKey.reveal())
  const signingKey = await crypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign'])
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.create({
    ...validity(nowMs, MEMBER_DAYS),
    subject: `CN=${member.name}`,
    issuer: ca.subject,
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      // Every member is client and server of the others.
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([
        ...namesOf(member).map(value => ({ type: 'dns' as const, value })),
        ...['127.0.0.1', member.privateIp].map(value => ({ type: 'ip' as const, value })),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(ca.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  const pem = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')
  return { certificate: certificate.toString('pem'), key: new Secret('cluster member key', pem) }
}

/** Whether a member's certificate is from this authority, for this address, and good for a while yet. */
export function isGoodCertificate(pem: string, caPem: string, privateIp: string, nowMs: number): boolean {
  if (!pem.includes('BEGIN CERTIFICATE')) return false
  try {
    const certificate = new NodeCertificate(pem)
    const ca = new NodeCertificate(caPem)
    return (
      certificate.verify(ca.publicKey) &&
      certificate.checkIP(privateIp) !== undefined &&
      Date.parse(certificate.validTo) - nowMs > RENEW_DAYS * DAY_MS
    )
  } catch {
    // Not a certificate: as good as none.
    return false
  }
}
