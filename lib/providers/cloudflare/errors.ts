/** What a failed Cloudflare request means: for the operator (a LandfallError) and for the retry loop (had it an effect, may it be repeated). */

import { type ErrorCode, LandfallError } from '../../errors.ts'
import { knownSecrets } from '../../secret.ts'
import { createRedactor } from '../../ui/redact.ts'

/** Cloudflare's numbers that mean something to us (facts/cloud-apis 3). */
export const VENDOR_CODES = {
  hostExists: '81053',
  cnameExists: '81054',
  nsExists: '81056',
  recordExists: '81057',
  identicalExists: '81058',
  recordGone: '81044',
  recordQuota: '81045',
  authentication: '10000',
  notAllowed: '9109',
  noRoute: '7003',
  badHeaders: '6003',
} as const

/** `refused`: certainly had no effect, the same request may go again. `unknown`: it may have happened. `fatal`: repeating it is useless. */
export type Outcome = 'refused' | 'unknown' | 'fatal'

/** One failed request: the error for people, and what the retry loop needs to know. */
export interface Failure {
  readonly error: LandfallError
  readonly outcome: Outcome
  /** Every vendor code of the answer, the nested ones too. */
  readonly vendorCodes: readonly string[]
  /** What the vendor asked to wait. */
  readonly askedWaitMs?: number
}

/** An answer as it came, before anybody interpreted it. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** What was asked, in words: "GET /zones". Never holds a body, a query or a header. */
export interface Asked {
  readonly method: string
  readonly path: string
}

const redact = createRedactor(knownSecrets)

/** Without control characters and secrets, and short: a vendor's text on its way into a sentence. */
export const clean = (text: string, limit = 200): string => {
  const plain = redact(text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')).trim()
  return plain.length > limit ? `${plain.slice(0, limit - 1)}…` : plain
}

const TOKEN_HINT =
  'Make a token with the rights Zone → Zone → Read and Zone → DNS → Edit at https://dash.cloudflare.com/profile/api-tokens and put it into CLOUDFLARE_API_TOKEN.'

/** The failure behind an answer that is not a success. `right` is the permission that this request needs, in Cloudflare's words. */
export function failureOfAnswer(asked: Asked, answer: Answer, right: string): Failure {
  const { codes, words } = errorsIn(answer.text)
  const vendorCodes = codes
  const base = {
    status: answer.status,
    ...(codes[0] === undefined ? {} : { vendorCode: codes[0] }),
    ...correlationOf(answer.headers),
  }
  const said = words === '' ? '' : `: ${words}`
  const make = (code: ErrorCode, message: string, hint?: string): LandfallError =>
    new LandfallError(code, message, hint === undefined ? base : { ...base, hint })
  const fatal = (error: LandfallError): Failure => ({ error, outcome: 'fatal', vendorCodes })
  const request = `${asked.method} ${asked.path}`

  if (answer.status === 429) {
    const askedWaitMs = waitAskedBy(answer.headers)
    return {
      error: make(
        'rate_limited',
        `Cloudflare refuses further requests for now (429 to ${request}); its limit of 1200 requests per 5 minutes is shared with the dashboard.`,
        'Wait five minutes, then run the same command again.',
      ),
      outcome: 'refused',
      vendorCodes,
      ...(askedWaitMs === undefined ? {} : { askedWaitMs }),
    }
  }
  const malformed = answer.status === 400 && codes.includes(VENDOR_CODES.badHeaders)
  // A list of zones needs no right to any of them, so "not allowed" there is about the token itself.
  const unknown = answer.status === 403 && asked.path === '/zones' && codes.includes(VENDOR_CODES.notAllowed)
  if (answer.status === 401 || malformed || unknown)
    return fatal(make('token_invalid', `Cloudflare does not accept the API token${said}.`, TOKEN_HINT))
  if (answer.status === 403) return fatal(make('forbidden', `The Cloudflare token needs ${right}${said}.`, TOKEN_HINT))
  if (answer.status === 404 || codes.includes(VENDOR_CODES.noRoute))
    return fatal(make('not_found', `Cloudflare knows nothing at ${asked.path}${said}.`, TOKEN_HINT))
  if (codes.some(isNameConflict))
    return fatal(
      make(
        'name_taken',
        `Another DNS record already holds this name${said}.`,
        'Look at the zone in the Cloudflare dashboard, or run the same command with --plan: it shows whose record it is.',
      ),
    )
  if (codes.includes(VENDOR_CODES.recordQuota))
    return fatal(make('limit', `The zone is full${said}.`, 'Delete records that nobody needs, or raise the plan of the zone.'))
  if (answer.status >= 300 && answer.status < 400)
    return fatal(
      make(
        'vendor',
        `Cloudflare answered ${request} with a redirect, which is not followed because the token would travel along.`,
      ),
    )
  if (answer.status >= 500 || answer.status === 408 || answer.status === 409) {
    const askedWaitMs = waitAskedBy(answer.headers)
    return {
      error: make(
        'vendor',
        `Cloudflare failed with status ${answer.status} on ${request}${said}.`,
        'https://www.cloudflarestatus.com shows whether others see this too.',
      ),
      outcome: 'unknown',
      vendorCodes,
      ...(askedWaitMs === undefined ? {} : { askedWaitMs }),
    }
  }
  return fatal(make('vendor', `Cloudflare refused ${request} with status ${answer.status}${said}.`))
}

/** The failure behind an answer that never came, or came broken. */
export function failureOfTransport(
  asked: Asked,
  cause: 'deadline' | 'unsent' | 'broken' | 'unreadable',
  detail: string,
): Failure {
  const request = `${asked.method} ${asked.path}`
  const hint = 'Check the network, then run the same command again: it looks first, and continues with what is there.'
  const words = {
    deadline: `Cloudflare did not answer ${request} in time (${detail}).`,
    unsent: `Cloudflare could not be reached for ${request} (${detail}).`,
    broken: `The connection to Cloudflare broke during ${request} (${detail}).`,
    unreadable: `Cloudflare's answer to ${request} is unusable (${detail}).`,
  } satisfies Record<typeof cause, string>
  return {
    error: new LandfallError(cause === 'deadline' ? 'timeout' : 'network', words[cause], { hint }),
    outcome: cause === 'unsent' ? 'refused' : 'unknown',
    vendorCodes: [],
  }
}

const NAME_CONFLICTS: ReadonlySet<string> = new Set([
  VENDOR_CODES.hostExists,
  VENDOR_CODES.cnameExists,
  VENDOR_CODES.nsExists,
  VENDOR_CODES.recordExists,
  VENDOR_CODES.identicalExists,
])

export const isNameConflict = (code: string): boolean => NAME_CONFLICTS.has(code)

/** Milliseconds to wait, from `Retry-After` (seconds or a date) or, without it, from `Ratelimit: "default";r=0;t=30`. */
export function waitAskedBy(headers: Headers, nowMs = Date.now()): number | undefined {
  const retryAfter = headers.get('retry-after')
  if (retryAfter !== null) {
    const seconds = Number(retryAfter)
    if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000)
    const atMs = Date.parse(retryAfter)
    if (Number.isFinite(atMs)) return Math.max(0, atMs - nowMs)
  }
  const limit = rateLimitIn(headers)
  return limit?.remaining === 0 ? limit.resetS * 1000 : undefined
}

/** What `Ratelimit` and `Ratelimit-Policy` say is left, where they are sent. */
export function rateLimitIn(headers: Headers): { limit: number; remaining: number; resetS: number } | undefined {
  const state = headers.get('ratelimit') ?? ''
  const remaining = /;\s*r=(\d+)/.exec(state)?.[1]
  if (remaining === undefined) return undefined
  const limit = /;\s*q=(\d+)/.exec(headers.get('ratelimit-policy') ?? '')?.[1] ?? '1200'
  return { limit: Number(limit), remaining: Number(remaining), resetS: Number(/;\s*t=(\d+)/.exec(state)?.[1] ?? '0') }
}

function errorsIn(text: string): { codes: string[]; words: string } {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    // A gateway's HTML page: its status says all there is to say.
    return { codes: [], words: '' }
  }
  const codes: string[] = []
  const words: string[] = []
  const visit = (entries: unknown): void => {
    if (!Array.isArray(entries)) return
    for (const entry of entries) {
      if (!isObject(entry)) continue
      if (typeof entry.code === 'number' || typeof entry.code === 'string') codes.push(String(entry.code))
      if (typeof entry.message === 'string') words.push(entry.message.replace(/\.$/, ''))
      visit(entry.error_chain)
    }
  }
  visit(isObject(body) ? body.errors : undefined)
  return { codes, words: clean(words.join('; ')) }
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const correlationOf = (headers: Headers): { correlationId?: string } => {
  const ray = headers.get('cf-ray')
  return ray === null ? {} : { correlationId: clean(ray, 64) }
}
