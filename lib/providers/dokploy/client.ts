/** One HTTP exchange with a Dokploy panel, by its wire rules (facts/dokploy 4), and what a failure means. Nothing is repeated here. */

import { type ErrorCode, LandfallError } from '../../errors.ts'
import { knownSecrets, type Secret } from '../../secret.ts'
import { createRedactor } from '../../ui/redact.ts'
import type { ProviderContext } from '../context.ts'

export type DokployContext = Pick<ProviderContext, 'clock' | 'meter' | 'signal' | 'log' | 'random' | 'beforeWrite'>

/** A program that Dokploy ran printed more than it can hold, and was ended. */
export const OUTPUT_TOO_LONG = 'output_too_long'

/** What is used of `fetch`, so that a tunnel can stand in for it. */
export type FetchLike = (url: string, init: RequestInit) => Promise<Response>

/** A name for this caller: an API key, or the cookie of a session. */
export type Credential = { readonly apiKey: Secret } | { readonly cookie: Secret } | undefined

export interface Exchange {
  readonly method: 'GET' | 'POST'
  /** From the root of the panel: "/api/user.get". */
  readonly path: string
  readonly body?: Readonly<Record<string, unknown>>
  readonly as?: Credential
  readonly timeoutMs?: number
}

export interface PanelAnswer {
  readonly status: number
  readonly headers: Headers
  /** undefined for an empty body and for anything that is not JSON: many mutations answer 200 with nothing. */
  readonly json: unknown
}

export interface Client {
  /** Any answer, whatever its status. @throws LandfallError network | timeout | cancelled */
  exchange(request: Exchange): Promise<PanelAnswer>
  /** The JSON of a success. @throws LandfallError token_invalid | forbidden | not_found | rate_limited | vendor | network | timeout | cancelled */
  call(request: Exchange): Promise<unknown>
}

const DEFAULT_TIMEOUT_MS = 30_000

/** @throws LandfallError refused, when the key would cross the internet in clear */
export function createClient(baseUrl: string, context: DokployContext, send: FetchLike): Client {
  const base = checkedBase(baseUrl)

  const exchange = async (request: Exchange): Promise<PanelAnswer> => {
    const { method, path } = request
    const writes = method === 'POST'
    if (writes) await context.beforeWrite({ provider: 'dokploy', method, path })
    context.meter.count('dokploy', writes ? 'write' : 'read')
    const timeoutMs = request.timeoutMs ?? DEFAULT_TIMEOUT_MS
    const deadline = AbortSignal.timeout(timeoutMs)
    try {
      const response = await send(`${base}${path}`, {
        method,
        headers: headersOf(request),
        // Sent even when there is nothing to say: without a content type and a body a POST is answered 415.
        ...(writes ? { body: JSON.stringify(request.body ?? {}) } : {}),
        redirect: 'manual',
        // An interrupt ends reads at once; a write is let finish, so that its effect is known.
        signal: writes ? deadline : AbortSignal.any([deadline, context.signal]),
      })
      const text = await response.text()
      return { status: response.status, headers: response.headers, json: jsonIn(text) }
    } catch (error) {
      if (!writes && context.signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
      const late = deadline.aborted
      throw new LandfallError(
        late ? 'timeout' : 'network',
        late
          ? `Dokploy did not answer ${method} ${path} within ${timeoutMs / 1000} s.`
          : `Dokploy could not be reached for ${method} ${path} (${codeOf(error)}).`,
        {
          hint: 'Check that the server runs and that SSH reaches it, then run the same command again.',
          vendorCode: late ? 'timeout' : codeOf(error),
        },
      )
    }
  }

  return {
    exchange,
    async call(request) {
      const answer = await exchange(request)
      if (answer.status >= 200 && answer.status < 300) return answer.json
      throw errorOf(request, answer)
    },
  }
}

/** What Dokploy has no code for, told by its words. */
const SAYINGS: readonly (readonly [words: RegExp, code: string])[] = [[/\bmaxBuffer length exceeded\b/, OUTPUT_TOO_LONG]]

/** The sentence behind an answer that is not a success. */
export function errorOf({ method, path }: Pick<Exchange, 'method' | 'path'>, answer: PanelAnswer): LandfallError {
  const { status } = answer
  const body = isObject(answer.json) ? answer.json : {}
  const message = typeof body.message === 'string' ? body.message : ''
  const saying = SAYINGS.find(([words]) => words.test(message))?.[1]
  const vendorCode = saying ?? (typeof body.code === 'string' ? clean(body.code, 80) : undefined)
  const said = message === '' ? '' : `: ${clean(message).replace(/\.$/, '')}`
  const make = (code: ErrorCode, message: string, hint?: string): LandfallError =>
    new LandfallError(code, message, {
      status,
      ...(vendorCode === undefined ? {} : { vendorCode }),
      ...(hint === undefined ? {} : { hint }),
    })
  if (status === 401)
    return make(
      'token_invalid',
      `Dokploy does not accept the credentials for ${path}${said}.`,
      'Run the setup again: it makes a new API key.',
    )
  if (status === 403) return make('forbidden', `Dokploy does not allow ${path} to this user${said}.`)
  if (status === 404) return make('not_found', `Dokploy knows nothing at ${path}${said}.`)
  if (status === 429)
    return make(
      'rate_limited',
      `Dokploy asks to slow down (429 to ${path}).`,
      'Wait ten seconds, then run the same command again.',
    )
  if (status >= 300 && status < 400) return make('vendor', `Dokploy answered ${method} ${path} with a redirect.`)
  return make(
    'vendor',
    `Dokploy answered ${method} ${path} with status ${status}${said}.`,
    'The panel’s own log says more: docker service logs dokploy.',
  )
}

/** Whether nothing is known about the effect of the request that failed so. */
export const isUnknownOutcome = (error: unknown): boolean =>
  error instanceof LandfallError &&
  (error.code === 'network' || error.code === 'timeout' || (error.status !== undefined && error.status >= 500))

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const redact = createRedactor(knownSecrets)

/** Without control characters and secrets, and short. */
export const clean = (text: string, limit = 200): string => {
  const plain = redact(text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')).trim()
  return plain.length > limit ? `${plain.slice(0, limit - 1)}…` : plain
}

function headersOf({ method, as }: Exchange): Record<string, string> {
  return {
    accept: 'application/json',
    ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
    ...(as !== undefined && 'apiKey' in as ? { 'x-api-key': as.apiKey.reveal() } : {}),
    ...(as !== undefined && 'cookie' in as ? { cookie: as.cookie.reveal() } : {}),
  }
}

/** The key is root on the server: it travels inside TLS, or through a tunnel's loopback end. */
function checkedBase(baseUrl: string): string {
  const refuse = (why: string) =>
    new LandfallError('refused', `The Dokploy address ${why}.`, { hint: 'Use https://…, or a tunnel that ends on 127.0.0.1.' })
  let url: URL
  try {
    url = new URL(baseUrl)
  } catch {
    throw refuse('is not a URL')
  }
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const loopback = host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback))
    throw refuse(`${clean(url.protocol)}//${clean(url.host)} would carry its API key in clear across the network`)
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`
}

const jsonIn = (text: string): unknown => {
  if (text.trim() === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    // A page, or a gateway's message: the status says all there is to say.
    return undefined
  }
}

const codeOf = (error: unknown): string => {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return clean(error.code, 40)
  return error instanceof Error ? clean(error.name, 40) : 'unknown'
}
