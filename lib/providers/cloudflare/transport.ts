/**
 * The one place where a request to Cloudflare leaves: the SDK writes it, this sends it. The SDK never repeats anything here, because
 * it repeats writes without an idempotency key and waits out `Retry-After` without a bound or a word (facts/reliability, fact 3).
 */

import type { BaseRecords } from 'cloudflare/resources/dns/records'
import type { BaseTokens } from 'cloudflare/resources/user/tokens/tokens'
import type { BaseZones } from 'cloudflare/resources/zones/zones'
import type { PartialCloudflare } from 'cloudflare/tree-shakable'
import { createPacer } from '../../engine/pacing.ts'
import { type RetryPolicy, retry } from '../../engine/retry.ts'
import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import {
  type Answer,
  type Asked,
  clean,
  type Failure,
  failureOfAnswer,
  failureOfTransport,
  rateLimitIn,
  waitAskedBy,
} from './errors.ts'

/** A wait may be as long as Cloudflare's block after too many requests, and no longer. */
export const POLICY: RetryPolicy = { maxRetries: 5, baseMs: 1_000, capMs: 300_000 }

/** `probe`: a POST that cannot have an effect; counted and repeated like a read. */
export type CallKind = 'read' | 'probe' | 'write'

export type CloudflareClient = PartialCloudflare<{
  zones: BaseZones
  dns: { records: BaseRecords }
  user: { tokens: BaseTokens }
}>

/** A successful answer's body. `info` is empty when the answer held none. */
export interface Envelope {
  readonly result: unknown
  readonly info: Readonly<Record<string, unknown>>
}

export interface CallOptions {
  readonly kind: CallKind
  /** The permission the request needs, in Cloudflare's words, for the sentence after a 403. */
  readonly right: string
  /** Asks through the SDK; must return the raw response. */
  readonly ask: (client: CloudflareClient) => Promise<unknown>
}

/** A failed request, thrown inside this folder only; its `failure.error` is what leaves it. */
export class CallFailed extends Error {
  readonly failure: Failure

  constructor(failure: Failure) {
    super(failure.error.message)
    this.failure = failure
  }
}

export interface Transport {
  /** Sends once. @throws CallFailed, or LandfallError `cancelled` and whatever `beforeWrite` rejects with */
  send(options: CallOptions): Promise<Envelope>
  /** Sends until it succeeds, fails for good, or the policy is used up. Not for writes. @throws LandfallError */
  read(options: Omit<CallOptions, 'kind'> & { readonly kind?: 'read' | 'probe' }): Promise<Envelope>
}

export interface TransportOptions {
  readonly token: Secret
  readonly endpoint: string
  readonly timeoutMs: number
  readonly context: ProviderContext
}

/** Codes under which a request certainly never left: nobody listens, or the name does not resolve. */
const UNSENT = new Set([
  'ConnectionRefused',
  'ECONNREFUSED',
  'FailedToOpenSocket',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
])

/** The headers of the SDK's that Cloudflare needs. Its others describe this machine, or come from CLOUDFLARE_CUSTOM_HEADERS. */
const KEPT_HEADERS = ['accept', 'content-type']

export function createTransport(options: TransportOptions): Transport {
  const { context, token } = options
  // 1200 requests per 5 minutes, shared with the dashboard (facts/cloud-apis 3).
  const pacer = createPacer({ burst: 1_200, refillPerS: 4 }, context.clock)

  const exchange = async (kind: CallKind, asked: Asked, url: string, init: RequestInit): Promise<Answer> => {
    await pacer.take(context.signal)
    if (kind === 'write') await context.beforeWrite({ provider: 'cloudflare', ...asked })
    context.meter.count('cloudflare', kind === 'write' ? 'write' : 'read')
    const deadline = AbortSignal.timeout(options.timeoutMs)
    try {
      const response = await fetch(url, {
        method: asked.method,
        headers: headersFor(init, token),
        ...(init.body == null ? {} : { body: init.body }),
        redirect: 'manual',
        // An interrupt ends reads at once; a write is let finish, so that its effect is known.
        signal: kind === 'write' ? deadline : AbortSignal.any([deadline, context.signal]),
      })
      const text = await response.text()
      return { status: response.status, headers: response.headers, text }
    } catch (error) {
      if (kind !== 'write' && context.signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
      if (deadline.aborted) throw new CallFailed(failureOfTransport(asked, 'deadline', `${options.timeoutMs / 1000} s`))
      // Neither the error nor its cause travels on: what a fetch error holds is not ours to vouch for.
      const code = codeOf(error)
      throw new CallFailed(failureOfTransport(asked, UNSENT.has(code) ? 'unsent' : 'broken', code))
    }
  }

  const send = async (call: CallOptions): Promise<Envelope> => {
    let asked: Asked = { method: '', path: '' }
    let answer: Answer | undefined
    let failed: unknown
    const client = await createClient(options, async (input, init) => {
      const url = input instanceof Request ? input.url : String(input)
      asked = { method: init?.method ?? 'GET', path: pathBelow(options.endpoint, url) }
      try {
        answer = await exchange(call.kind, asked, url, init ?? {})
      } catch (error) {
        failed = error
        throw error
      }
      return new Response(answer.text === '' ? null : answer.text, {
        status: answer.status,
        headers: { 'content-type': 'application/json' },
      })
    })
    try {
      await call.ask(client)
    } catch (error) {
      // The SDK's own error holds headers and is dropped; what was seen on the wire says it better.
      if (failed !== undefined) throw failed
      if (answer === undefined) throw error
    }
    if (answer === undefined) throw new LandfallError('network', 'The request to Cloudflare was not sent.')
    const limit = rateLimitIn(answer.headers)
    if (limit !== undefined) pacer.observe(limit)
    // The block is for the whole token: the other steps wait too, instead of each finding out.
    if (answer.status === 429) pacer.pause(Math.min(POLICY.capMs, waitAskedBy(answer.headers) ?? 0))
    return envelopeOf(asked, answer, call.right)
  }

  const read: Transport['read'] = async call => {
    try {
      return await retry(() => send({ kind: 'read', ...call }), {
        ...retryContext(context),
        policy: POLICY,
        mayRetry: error => error instanceof CallFailed && error.failure.outcome !== 'fatal',
        askedWaitMs,
      })
    } catch (error) {
      throw outward(error)
    }
  }

  return { send, read }
}

/** What leaves the folder: the error for people. */
export const outward = (error: unknown): unknown => (error instanceof CallFailed ? error.failure.error : error)

export const askedWaitMs = (error: unknown): number | undefined =>
  error instanceof CallFailed ? error.failure.askedWaitMs : undefined

/** Visible waits: each is one line of the log. */
export const retryContext = (context: ProviderContext) => ({
  clock: context.clock,
  signal: context.signal,
  random: context.random,
  onWait: ({ attempt, waitMs, error }: { attempt: number; waitMs: number; error: unknown }) =>
    context.log(
      `${error instanceof Error ? error.message : 'Cloudflare failed.'} Trying again in ${Math.ceil(waitMs / 1000)} s (${attempt} of ${POLICY.maxRetries}).`,
    ),
})

async function createClient(
  options: TransportOptions,
  fetchOnce: (input: string | URL | Request, init?: RequestInit) => Promise<Response>,
): Promise<CloudflareClient> {
  const [{ createClient: create }, { BaseRecords }, { BaseZones }, { BaseTokens }] = await Promise.all([
    import('cloudflare/tree-shakable'),
    import('cloudflare/resources/dns/records'),
    import('cloudflare/resources/zones/zones'),
    import('cloudflare/resources/user/tokens/tokens'),
  ])
  return create({
    resources: [BaseZones, BaseRecords, BaseTokens],
    apiToken: options.token.reveal(),
    // Explicit, because the SDK else takes these from the environment.
    apiKey: null,
    apiEmail: null,
    userServiceKey: null,
    baseURL: options.endpoint,
    logLevel: 'off',
    maxRetries: 0,
    // Ours is the deadline; the SDK's stops counting once the headers are there.
    timeout: options.timeoutMs * 2,
    fetch: fetchOnce,
  })
}

function headersFor(init: RequestInit, token: Secret): Headers {
  const given = new Headers(init.headers)
  const headers = new Headers({ authorization: `Bearer ${token.reveal()}`, 'user-agent': 'landfall' })
  for (const name of KEPT_HEADERS) {
    const value = given.get(name)
    if (value !== null) headers.set(name, value)
  }
  return headers
}

function envelopeOf(asked: Asked, answer: Answer, right: string): Envelope {
  if (answer.status < 200 || answer.status >= 300) throw new CallFailed(failureOfAnswer(asked, answer, right))
  let body: unknown
  try {
    body = JSON.parse(answer.text)
  } catch {
    throw new CallFailed(failureOfTransport(asked, 'unreadable', 'it is not JSON'))
  }
  if (typeof body !== 'object' || body === null || !('success' in body))
    throw new CallFailed(failureOfTransport(asked, 'unreadable', 'it has no "success"'))
  if (body.success !== true) throw new CallFailed(failureOfAnswer(asked, answer, right))
  const info = 'result_info' in body && typeof body.result_info === 'object' ? body.result_info : null
  return { result: 'result' in body ? body.result : undefined, info: { ...info } }
}

const pathBelow = (endpoint: string, url: string): string => {
  const basePath = new URL(endpoint).pathname.replace(/\/$/, '')
  const { pathname } = new URL(url)
  return pathname.startsWith(basePath) ? pathname.slice(basePath.length) : pathname
}

const codeOf = (error: unknown): string => {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return clean(error.code, 40)
  return error instanceof Error ? clean(error.name, 40) : 'unknown'
}
