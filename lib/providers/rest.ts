/** One JSON exchange with a service that takes a bearer token over HTTPS: counted, bounded, reads repeated, writes sent once. */

import { type RetryPolicy, retry } from '../engine/retry.ts'
import { type ErrorCode, hasCode, LandfallError } from '../errors.ts'
import type { Secret } from '../secret.ts'
import type { ProviderContext } from './context.ts'

export interface RestOptions {
  /** As people write it: "GitHub". */
  readonly vendor: string
  /** For the meter. */
  readonly provider: string
  readonly endpoint: string
  readonly token: Secret
  readonly context: ProviderContext
  readonly headers?: Readonly<Record<string, string>>
  /** What the token needs, after a 401 or 403. */
  readonly tokenHint: string
  /** When a limit is free again that an answer says is used up, for a vendor that says so in a way of its own; by the clock, in milliseconds. */
  readonly freeAgainMs?: (status: number, headers: Headers) => number | undefined
}

export interface RestAnswer {
  readonly status: number
  readonly headers: Headers
  readonly json: unknown
}

export interface Rest {
  /** With `headers` that make it conditional, an answer 304 is a result too. */
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<RestAnswer>
  /** Sent once. @throws LandfallError network | timeout when its effect is unknown */
  send(method: 'POST' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<RestAnswer>
  /** How long the vendor wants to be left alone after this failure, if it said so. */
  askedWaitMs(error: unknown): number | undefined
}

const TIMEOUT_MS = 30_000
const POLICY: RetryPolicy = { maxRetries: 4, baseMs: 1_000, capMs: 60_000 }

const CODES: Readonly<Record<number, ErrorCode>> = {
  401: 'token_invalid',
  403: 'forbidden',
  404: 'not_found',
  429: 'rate_limited',
}

const clean = (text: string, limit = 200): string => {
  const plain = text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ').trim()
  return plain.length > limit ? `${plain.slice(0, limit - 1)}…` : plain
}

/** @throws LandfallError refused, when the token would cross the network in clear */
export function createRest(options: RestOptions): Rest {
  const { vendor, provider, token, context } = options
  const endpoint = checkedEndpoint(options.endpoint, vendor)
  const waits = new WeakMap<LandfallError, number>()

  const exchange = async (
    method: string,
    path: string,
    body: unknown,
    more: Readonly<Record<string, string>> = {},
  ): Promise<RestAnswer> => {
    const writes = method !== 'GET'
    if (writes) await context.beforeWrite({ provider, method, path })
    context.meter.count(provider, writes ? 'write' : 'read')
    const deadline = AbortSignal.timeout(TIMEOUT_MS)
    let response: Response
    let text: string
    try {
      response = await fetch(`${endpoint}${path}`, {
        method,
        headers: {
          accept: 'application/json',
          authorization: `Bearer ${token.reveal()}`,
          'user-agent': 'landfall',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...options.headers,
          ...more,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        redirect: 'manual',
        signal: writes ? deadline : AbortSignal.any([deadline, context.signal]),
      })
      text = await response.text()
    } catch {
      // What a fetch error holds is not ours to vouch for: it may carry the request's headers.
      if (!writes && context.signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
      throw new LandfallError(
        deadline.aborted ? 'timeout' : 'network',
        deadline.aborted
          ? `${vendor} did not answer ${method} ${path} within ${TIMEOUT_MS / 1000} s.`
          : `${vendor} could not be reached for ${method} ${path}.`,
        { hint: 'Check the connection, then run the same command again.' },
      )
    }
    const json = jsonIn(text)
    const unchanged = response.status === 304 && 'if-none-match' in more
    if ((response.status >= 200 && response.status < 300) || unchanged)
      return { status: response.status, headers: response.headers, json }
    throw failure(method, path, response, json)
  }

  const failure = (method: string, path: string, response: Response, json: unknown): LandfallError => {
    const { status } = response
    const said = messageIn(json)
    const freeMs = options.freeAgainMs?.(status, response.headers)
    const waitMs = freeMs === undefined ? undefined : Math.max(0, freeMs - context.clock.nowMs())
    // Nobody waits most of an hour while holding the estate's lock; asking before is what gets a token banned.
    const isFar = freeMs !== undefined && waitMs !== undefined && waitMs > POLICY.capMs
    const limited = waitMs !== undefined || status === 429 || (status === 403 && response.headers.has('retry-after'))
    const code = isFar ? 'limit' : limited ? 'rate_limited' : (CODES[status] ?? 'vendor')
    const id = response.headers.get('x-github-request-id') ?? response.headers.get('x-vercel-id')
    const error = new LandfallError(
      code,
      `${vendor} answered ${method} ${path} with status ${status}${said === '' ? '' : `: ${said}`}.`,
      {
        status,
        ...(code === 'token_invalid' || code === 'forbidden' || code === 'not_found' ? { hint: options.tokenHint } : {}),
        ...(isFar ? { hint: `Run the same command again after ${minuteOf(freeMs)}.` } : {}),
        ...(id ? { correlationId: clean(id, 80) } : {}),
      },
    )
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
    if (waitMs !== undefined) waits.set(error, waitMs)
    else if (Number.isFinite(seconds)) waits.set(error, seconds * 1000)
    return error
  }
  const askedWaitMs: Rest['askedWaitMs'] = error => (error instanceof LandfallError ? waits.get(error) : undefined)

  return {
    askedWaitMs,
    get: (path, headers) =>
      retry(() => exchange('GET', path, undefined, headers), {
        clock: context.clock,
        signal: context.signal,
        random: context.random,
        policy: POLICY,
        mayRetry: error =>
          hasCode(error, 'network', 'timeout', 'rate_limited') ||
          (error instanceof LandfallError && error.status !== undefined && error.status >= 500),
        askedWaitMs,
        onWait: ({ waitMs, error }) =>
          context.log(
            `${error instanceof Error ? error.message : `${vendor} failed.`} Trying again in ${Math.ceil(waitMs / 1000)} s.`,
          ),
      }),
    send: (method, path, body) => exchange(method, path, body),
  }
}

/** "2026-11-26 19:05 UTC", never earlier than the moment itself. */
const minuteOf = (ms: number): string =>
  `${new Date(Math.ceil(ms / 60_000) * 60_000).toISOString().slice(0, 16).replace('T', ' ')} UTC`

const messageIn = (json: unknown): string => {
  if (typeof json !== 'object' || json === null) return ''
  if ('message' in json && typeof json.message === 'string') return clean(json.message).replace(/\.$/, '')
  return 'error' in json ? messageIn(json.error) : ''
}

const jsonIn = (text: string): unknown => {
  if (text.trim() === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    // A gateway's page: the status says all there is to say.
    return undefined
  }
}

function checkedEndpoint(text: string, vendor: string): string {
  const url = URL.parse(text)
  const loopback = url !== null && /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname)
  if (url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && loopback)))
    return `${url.origin}${url.pathname.replace(/\/+$/, '')}`
  throw new LandfallError('refused', `The address of ${vendor}'s API would carry its token in clear across the network.`, {
    hint: 'Use an https:// address.',
  })
}

// ── reading answers ──

export type JsonRow = Readonly<Record<string, unknown>>
export const isRow = (value: unknown): value is JsonRow => typeof value === 'object' && value !== null && !Array.isArray(value)
export const rowsIn = (value: unknown): readonly JsonRow[] => (Array.isArray(value) ? value.filter(isRow) : [])
export const textOf = (row: JsonRow, name: string): string => (typeof row[name] === 'string' ? row[name] : '')
