/**
 * Both of the vendor's limits for each token: 250 requests in any minute and 5000 in any hour, each request counted from the moment that it
 * was sent. The hour is the vendor's word, since other tools share it; the minute, of which it says nothing until it is over, is ours.
 */

import { LandfallError } from '../../errors.ts'
import type { ProviderContext } from '../context.ts'

export interface Limits {
  /**
   * Resolves when a request may be sent, in the order of asking; an urgent one before all others, and out of what is kept from them.
   * @throws LandfallError rate_limited, `vendorCode` HOUR_SPENT, when the hour is used up for longer than anybody waits
   */
  take(request: { readonly urgent: boolean; readonly signal?: AbortSignal | undefined }): Promise<void>
  /** What an answer said. `dateMs` is the vendor's clock. */
  observe(answer: { readonly status: number; readonly headers: Readonly<Record<string, unknown>>; readonly dateMs: number }): void
}

export const HOUR_SPENT = 'hour_spent'

/** A reserve is kept for what is urgent and for other tools. */
const MINUTE = { ms: 60_000, limit: 250, reserve: 10 }
const HOUR = { limit: 5000, reserve: 50 }
const LONGEST_WAIT_MS = 120_000
/** After a refusal that does not say for how long. */
const RATE_PAUSE_MS = 2_000

export function createLimits({ clock, log }: Pick<ProviderContext, 'clock' | 'log'>): Limits {
  /** Of the last minute, the oldest first. */
  let sentAtMs: number[] = []
  let resumeAtMs = 0
  /** What is left of the hour, by the last answer, and when its oldest request ends to count. */
  let hour = { left: HOUR.limit, freeAtMs: 0 }
  let queue: Promise<void> = Promise.resolve()

  const hourWaitMs = (nowMs: number, urgent: boolean): number =>
    hour.left > (urgent ? 0 : HOUR.reserve) ? 0 : hour.freeAtMs - nowMs
  const minuteWaitMs = (nowMs: number, urgent: boolean): number => {
    sentAtMs = sentAtMs.filter(ms => ms > nowMs - MINUTE.ms)
    const inTheWay = sentAtMs.at((urgent ? 0 : MINUTE.reserve) - MINUTE.limit)
    return inTheWay === undefined ? 0 : inTheWay + MINUTE.ms - nowMs
  }

  const wait = async (urgent: boolean, signal: AbortSignal | undefined): Promise<void> => {
    for (;;) {
      const nowMs = clock.monotonicMs()
      const hourMs = hourWaitMs(nowMs, urgent)
      if (hourMs > LONGEST_WAIT_MS) throw hourSpent(clock.nowMs() + hourMs)
      const waitMs = Math.ceil(Math.max(resumeAtMs - nowMs, minuteWaitMs(nowMs, urgent), hourMs))
      if (waitMs <= 0) break
      if (waitMs > RATE_PAUSE_MS) log(`digitalocean: waiting ${Math.ceil(waitMs / 1000)} s for its limit of requests`)
      await clock.sleep(waitMs, signal)
    }
    const nowMs = clock.monotonicMs()
    sentAtMs.push(nowMs)
    // After a wait for the hour one goes ahead; its answer says how many may follow.
    hour = { left: hour.left - 1, freeAtMs: hour.left > HOUR.reserve ? hour.freeAtMs : nowMs + RATE_PAUSE_MS }
  }

  return {
    take({ urgent, signal }) {
      if (urgent) return wait(urgent, signal)
      const turn = queue.then(() => wait(urgent, signal))
      queue = turn.catch(() => undefined)
      return turn
    },
    observe({ status, headers, dateMs }) {
      const nowMs = clock.monotonicMs()
      const number = (name: string): number => Number(headers[name] ?? Number.NaN)
      const [remaining, resetS, retryS] = [number('ratelimit-remaining'), number('ratelimit-reset'), number('retry-after')]
      // A refusal by the minute says that nothing is left of the hour either, which is not so.
      if (status === 429 && retryS > 0) resumeAtMs = Math.max(resumeAtMs, nowMs + Math.min(MINUTE.ms, retryS * 1000))
      else if (Number.isFinite(remaining) && Number.isFinite(resetS))
        hour = { left: remaining, freeAtMs: nowMs + Math.max(0, resetS * 1000 - dateMs) }
      else if (status === 429) resumeAtMs = Math.max(resumeAtMs, nowMs + RATE_PAUSE_MS)
    },
  }
}

const hourSpent = (untilMs: number): LandfallError =>
  new LandfallError(
    'rate_limited',
    `The ${HOUR.limit} requests that DigitalOcean allows this account in an hour are used up until ${new Date(untilMs).toISOString().slice(11, 16)} UTC.`,
    { hint: 'Run the same command again then: it looks first, and continues with what is there.', vendorCode: HOUR_SPENT },
  )
