/** A token bucket shared by all steps of a run, kept in line with what the vendor says is left. */

import type { Clock } from './clock.ts'

export interface Pacer {
  /** Resolves when a request may be sent, in the order of asking. */
  take(signal?: AbortSignal): Promise<void>
  /** What the vendor's headers said after an answer. */
  observe(seen: { readonly limit: number; readonly remaining: number }): void
  /** No request for this long (a 429). */
  pause(ms: number): void
}

export interface PacerOptions {
  /** Size of the bucket: the burst the vendor allows. */
  readonly burst: number
  readonly refillPerS: number
  /** Kept unspent for other tools that share the vendor's limit. */
  readonly reserve?: number
}

export function createPacer(options: PacerOptions, clock: Clock): Pacer {
  let tokens = options.burst
  let refilledAtMs = clock.monotonicMs()
  let resumeAtMs = 0
  let queue: Promise<void> = Promise.resolve()
  const reserve = options.reserve ?? 0
  if (options.burst < reserve + 1) throw new Error(`bug: a reserve of ${reserve} leaves nothing of a burst of ${options.burst}`)

  const refill = () => {
    const nowMs = clock.monotonicMs()
    tokens = Math.min(options.burst, tokens + ((nowMs - refilledAtMs) / 1000) * options.refillPerS)
    refilledAtMs = nowMs
  }

  const waitForToken = async (signal?: AbortSignal): Promise<void> => {
    for (;;) {
      refill()
      const pausedMs = resumeAtMs - clock.monotonicMs()
      const shortMs = tokens >= reserve + 1 ? 0 : ((reserve + 1 - tokens) / options.refillPerS) * 1000
      const waitMs = Math.max(pausedMs, shortMs)
      if (waitMs <= 0) break
      await clock.sleep(Math.ceil(waitMs), signal)
    }
    tokens -= 1
  }

  return {
    take(signal) {
      const turn = queue.then(() => waitForToken(signal))
      queue = turn.catch(() => undefined)
      return turn
    },
    observe({ remaining }) {
      refill()
      // Others share the limit, so the vendor may say less than we think; never more than we think, because answers arrive late.
      tokens = Math.min(tokens, remaining)
    },
    pause(ms) {
      resumeAtMs = Math.max(resumeAtMs, clock.monotonicMs() + ms)
    },
  }
}
