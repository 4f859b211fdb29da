/** A TLS handshake over a socket that is already connected, judged by us, so that a bad certificate can be described and not just refused. */

import type net from 'node:net'
import tls from 'node:tls'
import type { TlsReport } from '../ports/outside.ts'

export type Handshake =
  | { readonly state: 'none'; readonly why: string }
  | { readonly state: 'trusted' | 'untrusted'; readonly socket: tls.TLSSocket; readonly report: TlsReport }

export interface HandshakeOptions {
  readonly socket: net.Socket
  /** SNI, and the name that the certificate must hold. */
  readonly host: string
  /** Trusted besides the public roots. */
  readonly caPem?: string
  readonly timeoutMs: number
}

/** Takes the socket over; it is destroyed when there is no TLS. Never throws. */
export function handshake({ socket, host, caPem, timeoutMs }: HandshakeOptions): Promise<Handshake> {
  return new Promise(resolve => {
    const secure = tls.connect({
      socket,
      servername: host,
      // The judgement is below; refusing here would lose the certificate that explains it.
      rejectUnauthorized: false,
      ...(caPem === undefined ? {} : { ca: [...tls.rootCertificates, caPem] }),
    })
    let settled = false
    const settle = (result: Handshake): void => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      if (result.state === 'none') {
        secure.destroy()
        socket.destroy()
      }
      resolve(result)
    }
    const timer = setTimeout(() => settle({ state: 'none', why: `no TLS handshake within ${timeoutMs / 1000} s` }), timeoutMs)
    secure.on('error', (error: Error) => settle({ state: 'none', why: `no TLS handshake (${codeOf(error)})` }))
    secure.on('close', () => settle({ state: 'none', why: 'the connection was closed during the TLS handshake' }))
    secure.once('secureConnect', () => {
      const report = reportOf(secure, host)
      settle({ state: report.state === 'trusted' ? 'trusted' : 'untrusted', socket: secure, report })
    })
  })
}

function reportOf(secure: tls.TLSSocket, host: string): TlsReport {
  const certificate = secure.getPeerCertificate()
  if (certificate === null || typeof certificate !== 'object' || Object.keys(certificate).length === 0)
    return { state: 'untrusted', why: 'the server showed no certificate', names: [] }
  const names = namesIn(certificate.subjectaltname)
  const issuer = textOf(certificate.issuer?.O) ?? textOf(certificate.issuer?.CN)
  const expiresAtMs = Date.parse(certificate.valid_to)
  const why = whyUntrusted(secure, certificate, host, names, issuer)
  return {
    state: why === undefined ? 'trusted' : 'untrusted',
    ...(why === undefined ? {} : { why }),
    ...(issuer === undefined ? {} : { issuer }),
    names,
    ...(Number.isNaN(expiresAtMs) ? {} : { notAfter: new Date(expiresAtMs).toISOString() }),
  }
}

/** Dates first, then who signed it, then the name: what a person would repair first. */
function whyUntrusted(
  secure: tls.TLSSocket,
  certificate: tls.PeerCertificate,
  host: string,
  names: readonly string[],
  issuer: string | undefined,
): string | undefined {
  const code = errorCodeOf(secure.authorizationError)
  if (code === 'CERT_HAS_EXPIRED' || Date.parse(certificate.valid_to) < Date.now())
    return `expired on ${dayOf(certificate.valid_to)}`
  if (code === 'CERT_NOT_YET_VALID' || Date.parse(certificate.valid_from) > Date.now())
    return `not valid before ${clean(certificate.valid_from)}, and this machine's clock says ${new Date().toUTCString()}`
  if (code === 'DEPTH_ZERO_SELF_SIGNED_CERT') return 'self-signed'
  if (tls.checkServerIdentity(host, certificate) !== undefined && (code === undefined || code === 'ERR_TLS_CERT_ALTNAME_INVALID'))
    return `wrong name: it is for ${names.slice(0, 5).join(', ') || 'no name at all'}, not for ${host}`
  if (code === undefined) return undefined
  return `signed by an authority that is not trusted here${issuer === undefined ? '' : ` (${issuer})`}`
}

const namesIn = (alternative: string | undefined): string[] =>
  (alternative ?? '')
    .split(/,\s*/)
    .flatMap(entry => /^(?:DNS|IP Address):(.+)$/.exec(entry)?.[1] ?? [])
    .map(clean)

const textOf = (value: string | string[] | undefined): string | undefined => {
  const text = Array.isArray(value) ? value[0] : value
  return text === undefined || text === '' ? undefined : clean(text)
}

/** A stranger's certificate may hold anything; a sentence may not. */
const clean = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ').slice(0, 253)

const dayOf = (date: string): string => {
  const atMs = Date.parse(date)
  return Number.isNaN(atMs) ? 'an unreadable date' : new Date(atMs).toISOString().slice(0, 10)
}

/** The runtime gives the code itself, or an error that carries it; null when there is nothing to say. */
const errorCodeOf = (error: unknown): string | undefined => {
  if (typeof error === 'string' && error !== '') return error
  return error instanceof Error ? codeOf(error) : undefined
}

const codeOf = (error: Error): string => ('code' in error && typeof error.code === 'string' ? error.code : error.name)
