/** One GET over a socket that is already connected: enough HTTP/1.1 to read a page from the address we mean, not from where DNS points. */

import type { Socket } from 'node:net'
import type { Page } from '../ports/outside.ts'

export const BODY_LIMIT_BYTES = 65_536
const HEAD_LIMIT_BYTES = 65_536

export type Fetched =
  | { readonly state: 'page'; readonly page: Page }
  | { readonly state: 'broken' | 'late'; readonly why: string }

export interface Asking {
  readonly method?: 'GET' | 'OPTIONS'
  readonly headers?: Readonly<Record<string, string>>
}

/** A header that would end its line is left out. */
const headerLines = (headers: Asking['headers'] = {}): string =>
  Object.entries(headers)
    .filter(([name, value]) => /^[A-Za-z0-9-]+$/.test(name) && !/[\r\n\0]/.test(value))
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')

/** Sends the request and reads at most `BODY_LIMIT_BYTES` of the body; redirects are answers like any other. Destroys the socket. */
export function readPage(socket: Socket, url: URL, timeoutMs: number, how: Asking = {}): Promise<Fetched> {
  return new Promise(resolve => {
    let seen = Buffer.alloc(0)
    let settled = false
    const settle = (result: Fetched): void => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      socket.destroy()
      resolve(result)
    }
    const timer = setTimeout(() => settle({ state: 'late', why: `no whole answer within ${timeoutMs / 1000} s` }), timeoutMs)
    const look = (ended: boolean): void => {
      const parsed = parseResponse(seen, ended)
      if (parsed !== undefined) settle(parsed)
    }
    socket.on('data', chunk => {
      seen = Buffer.concat([seen, chunk])
      look(false)
    })
    socket.on('end', () => look(true))
    socket.on('close', () => look(true))
    socket.on('error', () => look(true))
    socket.write(
      `${how.method ?? 'GET'} ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nUser-Agent: landfall\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n${headerLines(how.headers)}\r\n`,
    )
    socket.resume()
  })
}

/** undefined while more is to come. Interim answers (1xx) are skipped. */
export function parseResponse(bytes: Buffer, ended: boolean): Fetched | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd < 0) {
    if (bytes.length > HEAD_LIMIT_BYTES) return { state: 'broken', why: 'the answer is not HTTP' }
    return ended ? { state: 'broken', why: bytes.length === 0 ? 'no answer came' : 'the answer broke off' } : undefined
  }
  const [statusLine = '', ...lines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n')
  const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(statusLine)?.[1] ?? Number.NaN)
  if (Number.isNaN(status)) return { state: 'broken', why: 'the answer is not HTTP' }
  const rest = bytes.subarray(headEnd + 4)
  if (status >= 100 && status < 200 && status !== 101) return parseResponse(rest, ended)
  const headers = headersIn(lines)
  const body = bodyOf(rest, status, headers, ended)
  if (body === 'more') return undefined
  if (body === 'cut') return { state: 'broken', why: 'the answer broke off' }
  return { state: 'page', page: { status, headers, body: body.subarray(0, BODY_LIMIT_BYTES).toString('utf8') } }
}

function headersIn(lines: readonly string[]): Record<string, string> {
  const headers = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(':')
    if (colon <= 0) continue
    const name = line.slice(0, colon).trim().toLowerCase()
    const value = line.slice(colon + 1).trim()
    const before = headers.get(name)
    headers.set(name, before === undefined ? value : `${before}, ${value}`)
  }
  return Object.fromEntries(headers)
}

function bodyOf(rest: Buffer, status: number, headers: Record<string, string>, ended: boolean): Buffer | 'more' | 'cut' {
  if (status === 204 || status === 304) return Buffer.alloc(0)
  if (/\bchunked\b/i.test(headers['transfer-encoding'] ?? '')) return unchunk(rest, ended)
  const length = headers['content-length'] === undefined ? undefined : Number(headers['content-length'])
  const wanted = Math.min(BODY_LIMIT_BYTES, length ?? BODY_LIMIT_BYTES)
  if (rest.length >= wanted) return rest.subarray(0, wanted)
  if (!ended) return 'more'
  // Without a length the end of the connection is the end of the body.
  return length === undefined ? rest : 'cut'
}

function unchunk(rest: Buffer, ended: boolean): Buffer | 'more' | 'cut' {
  const parts: Buffer[] = []
  let size = 0
  let at = 0
  while (size < BODY_LIMIT_BYTES) {
    const lineEnd = rest.indexOf('\r\n', at)
    if (lineEnd < 0) return ended ? 'cut' : 'more'
    const line = rest.subarray(at, lineEnd).toString('latin1')
    if (!/^[0-9a-f]{1,8}\s*(?:;|$)/i.test(line)) return 'cut'
    const length = Number.parseInt(line, 16)
    if (length === 0) break
    const part = rest.subarray(lineEnd + 2, lineEnd + 2 + length)
    parts.push(part)
    size += part.length
    if (part.length < length && size < BODY_LIMIT_BYTES) return ended ? 'cut' : 'more'
    at = lineEnd + 2 + length + 2
  }
  return Buffer.concat(parts)
}
