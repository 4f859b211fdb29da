/**
 * The sandbox's certificate authority: what Let's Encrypt is to the real world. Clients of a rehearsal trust `pem` and nothing else, so
 * that "https works" is a verified handshake there too. X.509 libraries are loaded on the first use: most runs never need them.
 */

export interface Certificate {
  /** PEM. */
  readonly cert: string
  /** PKCS #8 PEM. */
  readonly key: string
}

export interface CertificateAuthority {
  /** The root certificate, PEM: what a client must trust. */
  readonly pem: string
  /** Everything that `createAuthority` needs to be the same authority again. Holds the private key. */
  readonly saved: string
  /** A server certificate for DNS names and IP addresses, valid for `days` (90 as Let's Encrypt's). */
  issue(names: readonly string[], days?: number): Promise<Certificate>
  /** The same for a request (PKCS #10, DER), whose key stays where it is. `names` sorted. */
  sign(request: Uint8Array, days?: number): Promise<{ readonly cert: string; readonly names: readonly string[] }>
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const DAY_MS = 86_400_000
// Verifiers use the machine's clock, not the sandbox's, and clocks differ a little.
const BACKDATE_MS = 3_600_000

const loadX509 = async () => {
  // The library's dependency injection reads Reflect metadata while it loads, so this import has to come first.
  await import('reflect-metadata')
  return import('@peculiar/x509')
}

type X509 = Awaited<ReturnType<typeof loadX509>>

/** @param saved what an earlier authority gave as `saved`; a new root is made without it. */
export async function createAuthority(saved?: string): Promise<CertificateAuthority> {
  const x509 = await loadX509()
  const root = saved === undefined ? await createRoot(x509) : await readRoot(x509, saved)
  const pem = root.certificate.toString('pem')
  return {
    pem,
    saved: JSON.stringify({ cert: pem, key: await exportKey(x509, root.privateKey) }),
    async issue(names, days = 90) {
      const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
      return { cert: await certify(x509, root, keys.publicKey, names, days), key: await exportKey(x509, keys.privateKey) }
    },
    async sign(request, days = 90) {
      const csr = new x509.Pkcs10CertificateRequest(new Uint8Array(request))
      if (!(await csr.verify())) throw new Error('The request for a certificate is not signed by its own key.')
      const subjects = csr.extensions.flatMap(each =>
        each instanceof x509.SubjectAlternativeNameExtension ? each.names.toJSON() : [],
      )
      const names = subjects.flatMap(each => (each.type === 'dns' ? [each.value] : [])).sort()
      return { cert: await certify(x509, root, await csr.publicKey.export(), names, days), names }
    },
  }
}

const certify = async (
  x509: X509,
  root: Awaited<ReturnType<typeof createRoot>>,
  publicKey: CryptoKey,
  names: readonly string[],
  days: number,
): Promise<string> => {
  const certificate = await x509.X509CertificateGenerator.create({
    ...validity(days),
    subject: `CN=${names[0] ?? 'unnamed'}`,
    issuer: root.certificate.subject,
    publicKey,
    signingKey: root.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      subjectNames(x509, names),
      await x509.AuthorityKeyIdentifierExtension.create(root.certificate.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  })
  return certificate.toString('pem')
}

/** A certificate that vouches for itself: what a proxy shows while it has no real one. */
export async function createSelfSigned(commonName: string, names: readonly string[]): Promise<Certificate> {
  const x509 = await loadX509()
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(365),
    name: `CN=${commonName}`,
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [subjectNames(x509, names)],
  })
  return { cert: certificate.toString('pem'), key: await exportKey(x509, keys.privateKey) }
}

const createRoot = async (x509: X509) => {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(3650),
    name: 'CN=Landfall Sandbox Root, O=Landfall Sandbox',
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate, privateKey: keys.privateKey }
}

const readRoot = async (x509: X509, saved: string) => {
  const { cert, key } = JSON.parse(saved) as Certificate
  const pkcs8 = x509.PemConverter.decodeFirst(key)
  return {
    certificate: new x509.X509Certificate(cert),
    privateKey: await crypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, true, ['sign']),
  }
}

const exportKey = async (x509: X509, key: CryptoKey) =>
  x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')

const subjectNames = (x509: X509, names: readonly string[]) =>
  new x509.SubjectAlternativeNameExtension(names.map(value => ({ type: /^[\d.]+$|:/.test(value) ? 'ip' : 'dns', value })))

const validity = (days: number) => {
  const nowMs = Date.now()
  return { notBefore: new Date(nowMs - BACKDATE_MS), notAfter: new Date(nowMs + days * DAY_MS) }
}
