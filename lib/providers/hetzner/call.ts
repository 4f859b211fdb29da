/** One meaningful request: paced, counted, guarded, judged by the retry table, and read; and lists of any length. */

import type { Effect } from '../../engine/meter.ts'
import { createPacer, type Rank } from '../../engine/pacing.ts'
import { backoffMs, type RetryPolicy, VENDOR_POLICY } from '../../engine/retry.ts'
import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import { parseJson, refusalOf, silenceOf } from './failure.ts'
import { type Verb, type Verdict, verdictOf } from './retry-table.ts'
import type { Transport, TransportRequest, TransportResponse } from './transport.ts'
import { objectsIn, recordOf, Unreadable, type WireId } from './wire.ts'

export interface Request extends Pick<TransportRequest, 'method' | 'path' | 'query' | 'body'> {
  /** To follow "Could not": "create server prod". */
  readonly what: string
  /** The column of the retry table, when it is not the method's own. */
  readonly judgedAs?: Verb
  /** Requests that cannot have an effect count as reads and need no permission to be sent. */
  readonly effect?: Effect
  /** The estate's lock is what `beforeWrite` relies on, and is released after an interrupt: its own requests ask nobody. */
  readonly guarded?: boolean
  /** Who goes first when the rate limit lets few through; `first` for what is not guarded. */
  readonly rank?: Rank
  readonly signal?: AbortSignal
}

export interface Answer<T> {
  readonly value: T
  /** By the monotonic clock. */
  readonly receivedAtMs: number
  /** By the vendor's clock, in whole seconds; by this machine's when the vendor sent no date. */
  readonly dateMs: number
}

export interface Calls {
  /**
   * Sends, repeats what may be repeated, and hands the answer's JSON (undefined for an empty body) to `read`, whose `Unreadable` is
   * one more row of the retry table.
   * @throws LandfallError with the vendor's code, or a code of the retry table, as its `vendorCode`
   */
  call<T>(request: Request, read: (json: unknown) => T): Promise<Answer<T>>
  /**
   * Everything under `key` at `path`: one request up to 50 objects, the pages after the first together. Of as many as are likely the pages
   * are asked for without waiting for the first to tell.
   */
  list<T extends { readonly id: WireId }>(
    request: Omit<Request, 'method' | 'body'>,
    key: string,
    likely?: number,
  ): Promise<Answer<readonly T[]>>
  /** DELETE; what is gone is no error. `read` sees the answer, or is not called when there was nothing to delete. */
  remove<T>(request: Omit<Request, 'method' | 'body'>, read: (json: unknown) => T): Promise<Answer<T> | undefined>
  /** Resolves when no request of this rank or above waits for the rate limit. */
  idle(rank: Rank, signal: AbortSignal): Promise<void>
  /** How many requests the project may send now; undefined before the vendor has said so. */
  requestsLeft(): number | undefined
  /**
   * The vendor's time of now, from the newest answer to a request of the last seconds: early by less than the second that dates are rounded
   * to, and late by no more than that answer was under way. Undefined without such an answer.
   */
  vendorNowMs(): number | undefined
  /** The shortest time that an answer of this process took, 0 before the first. */
  roundTripMs(): number
}

/** 3600 requests may be sent at once, then one per second, by all tools of a project together (facts/cloud-apis 1.2). */
const BURST = { burst: 3600, refillPerS: 1 }
/** Whoever has to wait longer is told, and told again after as long. */
const TELL_AFTER_MS = 10_000
const PER_PAGE = 50
/** What the vendor may be asked for without ever reaching the end; 50,000 objects. */
const MAX_PAGES = 1000
const MAX_GUESSED_PAGES = 4
/** Of 3600: with fewer left, a request may cost a second. */
const SCARCE = 500
/** A 429 without a word on how long: one request's worth of refill, and a little. */
const RATE_PAUSE_MS = 1500
/** For so long after a request was sent, its answer's date and this machine's clocks tell the vendor's time. */
const DATED_MS = 5_000

interface Plan extends RetryPolicy {
  /** No further try after this long. */
  readonly withinMs: number
}

const PLANS = {
  retry: { ...VENDOR_POLICY, withinMs: 180_000 },
  paced: { maxRetries: 20, baseMs: 1_000, capMs: 10_000, withinMs: 180_000 },
  wait: { maxRetries: 100, baseMs: 250, capMs: 5_000, withinMs: 120_000 },
} as const satisfies Partial<Record<Verdict, Plan>>

/** @param left how many requests may be sent before the limit is felt, where that is known */
export function createCalls(transport: Transport, token: Secret, context: ProviderContext, left?: number): Calls {
  const { clock } = context
  const pacer = createPacer({ ...BURST, ...(left === undefined ? {} : { left }) }, clock)
  let answered = false
  /** The newest answer's date, and when its request was sent. */
  let dated: { readonly dateMs: number; readonly monotonicMs: number; readonly wallMs: number } | undefined
  let shortestMs = Number.POSITIVE_INFINITY
  let ended = 0
  let toldAtMs = Number.NEGATIVE_INFINITY
  let outageToldUntilMs = Number.NEGATIVE_INFINITY

  const tellWaiting = () => {
    const waitMs = (pacer.waiting / BURST.refillPerS) * 1000
    if (waitMs < TELL_AFTER_MS || clock.monotonicMs() - toldAtMs < TELL_AFTER_MS) return
    toldAtMs = clock.monotonicMs()
    context.log(`hetzner: ${pacer.waiting} requests wait for the rate limit, which lets one through each second`)
  }

  /** An outage meets every request that is under way: one line is enough for as long as the first of them waits. */
  const tellFailed = ({ what }: Pick<Request, 'what'>, error: unknown, waitMs: number) => {
    const word = wordOf(error)
    const nowMs = clock.monotonicMs()
    if (word === 'unreachable' && nowMs < outageToldUntilMs) return
    if (word === 'unreachable') outageToldUntilMs = nowMs + waitMs
    context.log(`hetzner: ${what}: ${word}; again in ${(waitMs / 1000).toFixed(1)} s`)
  }

  const sendOnce = async <T>(request: Request, read: (json: unknown) => T): Promise<Answer<T>> => {
    const signal = signalOf(request)
    const effect = request.effect ?? (request.method === 'GET' ? 'read' : 'write')
    const turn = pacer.take(signal, request.rank ?? (request.guarded === false ? 'first' : 'normal'))
    tellWaiting()
    await turn
    const taken = pacer.taken
    const solitary = ended === taken - 1
    try {
      return await send(request, read, signal, effect, () => solitary && pacer.taken === taken)
    } finally {
      ended += 1
    }
  }

  const send = async <T>(
    request: Request,
    read: (json: unknown) => T,
    signal: AbortSignal | undefined,
    effect: Effect,
    isAlone: () => boolean,
  ): Promise<Answer<T>> => {
    let withheld: unknown
    const beforeSend = async () => {
      try {
        if (effect === 'write' && request.guarded !== false)
          await context.beforeWrite({ provider: 'hetzner', method: request.method, path: request.path })
      } catch (error) {
        withheld = error
        throw error
      }
      context.meter.count('hetzner', effect)
    }
    const failed = { what: request.what, method: request.method, token }
    let response: TransportResponse
    const sentAt = { monotonicMs: clock.monotonicMs(), wallMs: clock.nowMs() }
    try {
      response = await transport.send({
        method: request.method,
        path: request.path,
        ...(request.query === undefined ? {} : { query: request.query }),
        ...(request.body === undefined ? {} : { body: request.body }),
        beforeSend,
        // A write that is on its way is not cut off by an interrupt: its answer is worth the wait.
        ...(effect === 'read' && signal !== undefined ? { signal } : {}),
      })
    } catch (error) {
      // What the guard's own requests met is no word about this one, which was not sent.
      if (withheld !== undefined) throw withheld
      if (!(error instanceof LandfallError) || error.vendorCode === undefined) throw error
      throw silenceOf(failed, error.vendorCode, error.message)
    }
    shortestMs = Math.min(shortestMs, clock.monotonicMs() - sentAt.monotonicMs)
    observe(response, isAlone())
    const dateMs = dateOf(response)
    if (dateMs !== undefined) dated = { dateMs, ...sentAt }
    if (response.status < 200 || response.status > 299) throw refusalOf(failed, response)
    const json = response.text.trim() === '' ? undefined : parseJson(response.text)
    try {
      if (json === undefined && response.text.trim() !== '') throw new Unreadable('its answer is not JSON')
      return { value: read(json), receivedAtMs: clock.monotonicMs(), dateMs: dateMs ?? clock.nowMs() }
    } catch (error) {
      if (error instanceof Unreadable) throw silenceOf(failed, 'unreadable', error.message, response)
      throw error
    }
  }

  const signalOf = (request: Request): AbortSignal | undefined => {
    if (request.guarded === false) return request.signal
    return request.signal === undefined ? context.signal : AbortSignal.any([context.signal, request.signal])
  }

  const observe = ({ status, headers }: TransportResponse, alone: boolean) => {
    const remaining = Number(headers['ratelimit-remaining'] ?? Number.NaN)
    if (Number.isFinite(remaining)) {
      answered = true
      pacer.observe({ remaining, alone })
    }
    if (status === 429) pacer.pause(retryAfterMs(headers) ?? RATE_PAUSE_MS)
  }

  const call: Calls['call'] = async (request, read) => {
    let failedAtMs: number | undefined
    const tries = new Map<Verdict, number>()
    for (;;) {
      try {
        return await sendOnce(request, read)
      } catch (error) {
        const verdict = error instanceof LandfallError && error.vendorCode !== undefined ? verdictFor(request, error) : 'fail'
        const plan = planOf(verdict)
        // Time spent in the queue for the rate limit is not held against a request.
        failedAtMs ??= clock.monotonicMs()
        const attempt = (tries.get(verdict) ?? 0) + 1
        if (plan === undefined || attempt > plan.maxRetries || clock.monotonicMs() - failedAtMs > plan.withinMs) throw error
        tries.set(verdict, attempt)
        const waitMs = backoffMs(plan, attempt, context.random)
        tellFailed(request, error, waitMs)
        await clock.sleep(waitMs, signalOf(request))
      }
    }
  }

  const list: Calls['list'] = async <T extends { readonly id: WireId }>(
    request: Omit<Request, 'method' | 'body'>,
    key: string,
    likely = 0,
  ) => {
    const readPage = (page: number) =>
      call(
        {
          ...request,
          method: 'GET',
          query: [...(request.query ?? []), ['page', String(page)], ['per_page', String(PER_PAGE)]],
        },
        json => {
          const pagination = paginationOf(json)
          if (pagination.next !== undefined && pagination.next <= page) throw endless(request.what)
          return { items: objectsIn<T>(json, key), ...pagination }
        },
      )
    const readPages = (from: number, to: number) =>
      Promise.all(Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => readPage(from + index)))
    // While requests are scarce, none is spent on a guess.
    const guessed = pacer.left < SCARCE ? 1 : Math.max(1, Math.min(MAX_GUESSED_PAGES, Math.ceil(likely / PER_PAGE)))
    const [first = await readPage(1), ...others] = await readPages(1, guessed)
    const pages = [first, ...others].map(page => page.value)
    if (first.value.next !== undefined && first.value.last !== undefined)
      pages.push(...(await readPages(guessed + 1, Math.min(first.value.last, MAX_PAGES))).map(page => page.value))
    // Where the vendor does not say how many pages there are, or has more by now.
    for (let next = pages.at(-1)?.next; next !== undefined; next = pages.at(-1)?.next) {
      if (pages.length >= MAX_PAGES) throw endless(request.what)
      pages.push((await readPage(next)).value)
    }
    // An object that moved between two pages while they were read is in both.
    const items = new Map(pages.flatMap(page => page.items).map(item => [String(item.id), item]))
    return { ...first, value: [...items.values()] }
  }

  return {
    call,
    list,
    idle: pacer.idle,
    requestsLeft: () => (answered ? pacer.left : undefined),
    vendorNowMs() {
      if (!dated) return undefined
      // By the larger gap of both clocks: one of them may have stood still.
      const sinceSentMs = Math.max(clock.monotonicMs() - dated.monotonicMs, clock.nowMs() - dated.wallMs)
      return sinceSentMs < DATED_MS ? dated.dateMs + sinceSentMs : undefined
    },
    roundTripMs: () => (Number.isFinite(shortestMs) ? shortestMs : 0),
    async remove(request, read) {
      try {
        return await call({ ...request, method: 'DELETE' }, read)
      } catch (error) {
        if (error instanceof LandfallError && verdictOf('DELETE', error) === 'gone') return undefined
        throw error
      }
    },
  }
}

const verdictFor = (request: Request, error: LandfallError): Verdict => verdictOf(request.judgedAs ?? request.method, error)

const planOf = (verdict: Verdict): Plan | undefined => {
  const plans: Partial<Record<Verdict, Plan>> = PLANS
  return plans[verdict]
}

const wordOf = (error: unknown): string => (error instanceof LandfallError ? (error.vendorCode ?? error.code) : 'failed')

function paginationOf(json: unknown): { next: number | undefined; last: number | undefined } {
  const pagination = recordOf(recordOf(recordOf(json)?.meta)?.pagination)
  const next = typeof pagination?.next_page === 'number' ? pagination.next_page : undefined
  const last = typeof pagination?.last_page === 'number' ? pagination.last_page : undefined
  return { next, last }
}

const endless = (what: string) =>
  new LandfallError('network', `Could not ${what}: Hetzner's list has no end.`, { hint: 'See https://status.hetzner.com.' })

function dateOf(response: TransportResponse): number | undefined {
  const dateMs = Date.parse(response.headers.date ?? '')
  return Number.isNaN(dateMs) ? undefined : dateMs
}

/** Not documented by the vendor; obeyed within reason when a gateway sends it. */
function retryAfterMs(headers: TransportResponse['headers']): number | undefined {
  const seconds = Number(headers['retry-after'] ?? Number.NaN)
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(60_000, seconds * 1000) : undefined
}
