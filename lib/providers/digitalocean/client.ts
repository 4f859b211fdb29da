/**
 * One meaningful request through `dots-wrapper`: paced by both of the vendor's limits, counted, guarded, repeated where that is safe.
 * The library neither retries nor pages, and its errors hold the token, so they never leave this file.
 */

import type { Effect } from '../../engine/meter.ts'
import { backoffMs, createOnce, VENDOR_POLICY } from '../../engine/retry.ts'
import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import { errorOf, recordOf, refusalIn } from './failure.ts'
import { createLimits, HOUR_SPENT } from './limits.ts'

export type Dots = ReturnType<typeof import('dots-wrapper')['createApiClient']>

interface DotsAnswer {
  readonly data: unknown
  readonly status: number
  readonly headers: object
}

export interface Request {
  /** To follow "Could not": "create server web-2". */
  readonly what: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** For the guard and for people; the library knows the real one. */
  readonly path: string
  /** `create`: an unanswered try may have made something, so it is not repeated here. Otherwise twice ends as once. */
  readonly kind?: 'create'
  /** A request that cannot have an effect counts as a read. */
  readonly effect?: Effect
  /** The estate's lock is what the guard relies on: its own requests ask nobody and go on after an interrupt. */
  readonly guarded?: boolean
  readonly signal?: AbortSignal
}

export interface Answer<T> {
  readonly value: T
  /** By the vendor's clock, in whole seconds; by this machine's when it sent no date. */
  readonly dateMs: number
}

export interface Client {
  readonly context: ProviderContext
  readonly token: Secret
  call<T>(request: Request, send: (dots: Dots) => Promise<DotsAnswer>, read: (data: unknown) => T): Promise<Answer<T>>
  /** Everything under `key`, page by page. */
  list<T>(
    request: Pick<Request, 'what' | 'path' | 'guarded' | 'signal'>,
    key: string,
    send: (dots: Dots, page: { page: number; per_page: number }) => Promise<DotsAnswer>,
  ): Promise<Answer<readonly T[]>>
  /** DELETE; what is gone is no error. */
  remove(request: Pick<Request, 'what' | 'path' | 'guarded'>, send: (dots: Dots) => Promise<DotsAnswer>): Promise<void>
  /** Sends a create once; after a lost answer, and where `exists` says so, it is whatever `find` makes of it. */
  create<T>(
    request: Pick<Request, 'what' | 'path' | 'guarded'>,
    send: (dots: Dots) => Promise<DotsAnswer>,
    read: (data: unknown) => T,
    find: () => Promise<T | undefined>,
    exists?: (error: LandfallError) => boolean,
  ): Promise<T>
}

const PER_PAGE = 200
/** What the vendor may be asked for without ever reaching the end. */
const MAX_PAGES = 250
const REPEAT_WITHIN_MS = 180_000
const RATE_TRIES = 20

export function createClient(options: {
  readonly token: Secret
  readonly endpoint: string
  readonly timeoutMs: number
  readonly context: ProviderContext
}): Client {
  const { token, context } = options
  const { clock } = context
  const limits = createLimits(context)
  let loaded: Promise<Dots> | undefined
  const load = async (): Promise<Dots> => {
    const { createApiClient } = await import('dots-wrapper')
    return createApiClient({ token: token.reveal(), endpoint: options.endpoint, requestTimeoutInMs: options.timeoutMs })
  }

  const signalOf = (request: Request): AbortSignal | undefined => {
    if (request.guarded === false) return request.signal
    return request.signal === undefined ? context.signal : AbortSignal.any([context.signal, request.signal])
  }

  const dateOf = (headers: Readonly<Record<string, unknown>>): number => {
    const dateMs = Date.parse(String(headers.date ?? ''))
    return Number.isNaN(dateMs) ? clock.nowMs() : dateMs
  }

  const sendOnce = async <T>(
    request: Request,
    send: (dots: Dots) => Promise<DotsAnswer>,
    read: (data: unknown) => T,
  ): Promise<Answer<T>> => {
    const signal = signalOf(request)
    const effect = request.effect ?? (request.method === 'GET' ? 'read' : 'write')
    await limits.take({ urgent: request.guarded === false, signal })
    if (signal?.aborted) throw new LandfallError('cancelled', 'Interrupted.')
    loaded ??= load()
    const dots = await loaded
    if (effect === 'write' && request.guarded !== false)
      await context.beforeWrite({ provider: 'digitalocean', method: request.method, path: request.path })
    context.meter.count('digitalocean', effect)
    let answer: DotsAnswer
    try {
      answer = await send(dots)
    } catch (error) {
      const refusal = refusalIn(error)
      if (refusal === undefined) throw error
      if (refusal.status !== undefined)
        limits.observe({ status: refusal.status, headers: refusal.headers, dateMs: dateOf(refusal.headers) })
      throw errorOf({ what: request.what, effect, token }, refusal)
    }
    const headers = recordOf(answer.headers) ?? {}
    const dateMs = dateOf(headers)
    limits.observe({ status: answer.status, headers, dateMs })
    return { value: read(answer.data), dateMs }
  }

  const call: Client['call'] = async (request, send, read) => {
    const startedAtMs = clock.monotonicMs()
    for (let attempt = 1; ; attempt++) {
      try {
        return await sendOnce(request, send, read)
      } catch (error) {
        const again = mayRepeat(request, error)
        const tries = again === 'paced' ? RATE_TRIES : VENDOR_POLICY.maxRetries
        if (!again || attempt > tries || clock.monotonicMs() - startedAtMs > REPEAT_WITHIN_MS) throw error
        const waitMs = again === 'paced' ? 0 : backoffMs(VENDOR_POLICY, attempt, context.random)
        context.log(
          `digitalocean: ${request.what}: ${wordOf(error)}; again${waitMs > 0 ? ` in ${(waitMs / 1000).toFixed(1)} s` : ''}`,
        )
        // A 429 has already told the pacer how long to wait.
        if (waitMs > 0) await clock.sleep(waitMs, signalOf(request))
      }
    }
  }

  return {
    context,
    token,
    call,
    async list<T>(
      request: Pick<Request, 'what' | 'path' | 'guarded' | 'signal'>,
      key: string,
      send: (dots: Dots, page: { page: number; per_page: number }) => Promise<DotsAnswer>,
    ) {
      const items: T[] = []
      for (let page = 1; ; page++) {
        const answer = await call(
          { ...request, method: 'GET' },
          dots => send(dots, { page, per_page: PER_PAGE }),
          data => {
            const rows = recordOf(data)?.[key]
            if (!Array.isArray(rows)) throw unreadable(request.what, key)
            return { rows: rows as T[], more: typeof recordOf(recordOf(recordOf(data)?.links)?.pages)?.next === 'string' }
          },
        )
        items.push(...answer.value.rows)
        if (!answer.value.more) return { ...answer, value: items }
        if (page >= MAX_PAGES) throw new LandfallError('network', `Could not ${request.what}: DigitalOcean's list has no end.`)
      }
    },
    async remove(request, send) {
      try {
        await call({ ...request, method: 'DELETE' }, send, () => undefined)
      } catch (error) {
        if (!(error instanceof LandfallError) || error.code !== 'not_found') throw error
      }
    },
    create: (request, send, read, find, exists = () => false) =>
      createOnce({
        policy: VENDOR_POLICY,
        clock,
        random: context.random,
        ...(request.guarded === false ? {} : { signal: context.signal }),
        onWait: ({ waitMs }) => context.log(`digitalocean: ${request.what} again in ${(waitMs / 1000).toFixed(1)} s`),
        what: request.what.replace(/^create /, ''),
        send: async () => (await call({ ...request, method: 'POST', kind: 'create' }, send, read)).value,
        find,
        judge: error => {
          if (!(error instanceof LandfallError)) return 'fatal'
          if (error.code === 'ambiguous') return 'unknown'
          return exists(error) ? 'exists' : 'fatal'
        },
      }),
  }
}

/** What `data` holds under `key`. @throws LandfallError when it is no object with an id */
export function objectIn<T>(data: unknown, key: string, what: string): T {
  const value = recordOf(data)?.[key]
  const id = recordOf(value)?.id
  if (typeof id !== 'number' && typeof id !== 'string') throw unreadable(what, key)
  return value as T
}

/** An answer that came and cannot be read leaves the outcome of a write open. */
const unreadable = (what: string, key: string): LandfallError =>
  new LandfallError('ambiguous', `Could not ${what}: DigitalOcean's answer holds no ${key}.`, {
    hint: 'Run the same command again: it looks first, and continues with what is there.',
    vendorCode: 'unreadable',
  })

function mayRepeat(request: Request, error: unknown): 'paced' | 'later' | undefined {
  if (!(error instanceof LandfallError)) return undefined
  if (error.code === 'rate_limited') return error.vendorCode === HOUR_SPENT ? undefined : 'paced'
  if (error.vendorCode === 'unreachable') return 'later'
  const open = error.code === 'network' || error.code === 'ambiguous'
  return open && request.kind !== 'create' ? 'later' : undefined
}

const wordOf = (error: unknown): string => (error instanceof LandfallError ? (error.vendorCode ?? error.code) : 'failed')
