/** A token bucket shared by all steps of a run, kept in line with what the vendor says is left. */

import { LandfallError } from '../errors.ts'
import type { Clock } from './clock.ts'

/** `first` is for what everything else depends on, and may spend the reserve; `last` is for what can wait without holding anybody up. */
export type Rank = 'first' | 'normal' | 'last'

export interface Pacer {
  /** Resolves when a request may be sent: by rank, and within a rank in the order of asking. */
  take(signal?: AbortSignal, rank?: Rank): Promise<void>
  /** What the vendor's headers said after an answer. `alone`: nobody else had been let go whose answer had not come, then or since. */
  observe(seen: { readonly remaining: number; readonly alone?: boolean }): void
  /** No request for this long (a 429). */
  pause(ms: number): void
  /** How many were let go so far. */
  readonly taken: number
  /** How many may be sent now, those that wait included. */
  readonly left: number
  /** How many of rank `normal` or above wait to be sent. */
  readonly waiting: number
  /** Resolves when none of this rank or above waits. */
  idle(rank: Rank, signal?: AbortSignal): Promise<void>
}

export interface PacerOptions {
  /** Size of the bucket: the burst the vendor allows. */
  readonly burst: number
  readonly refillPerS: number
  /** Kept unspent for other tools that share the vendor's limit. */
  readonly reserve?: number
  /** What is left of the bucket at the start, where that is known; all of it otherwise. */
  readonly left?: number
}

interface Waiter {
  readonly rank: Rank
  readonly resolve: () => void
}

const isAtLeast = (rank: Rank, least: Rank): boolean => RANKS.indexOf(rank) <= RANKS.indexOf(least)

const RANKS = ['first', 'normal', 'last'] as const satisfies readonly Rank[]

export function createPacer(options: PacerOptions, clock: Clock): Pacer {
  let tokens = options.left ?? options.burst
  let refilledAtMs = clock.monotonicMs()
  let resumeAtMs = 0
  let taken = 0
  let waiters: Waiter[] = []
  let idlers: Waiter[] = []
  /** Ends the present sleep, so that what has changed is seen. */
  let alarm: AbortController | undefined
  const reserve = options.reserve ?? 0
  if (options.burst < reserve + 1) throw new Error(`bug: a reserve of ${reserve} leaves nothing of a burst of ${options.burst}`)

  const refill = () => {
    const nowMs = clock.monotonicMs()
    tokens = Math.min(options.burst, tokens + ((nowMs - refilledAtMs) / 1000) * options.refillPerS)
    refilledAtMs = nowMs
  }

  const waitMs = (rank: Rank): number => {
    const needed = rank === 'first' ? 1 : reserve + 1
    const shortMs = tokens >= needed ? 0 : ((needed - tokens) / options.refillPerS) * 1000
    return Math.max(0, resumeAtMs - clock.monotonicMs(), shortMs)
  }

  const next = (): Waiter | undefined =>
    RANKS.map(rank => waiters.find(waiter => waiter.rank === rank)).find(waiter => waiter !== undefined)

  const isIdle = (rank: Rank): boolean => !waiters.some(waiter => isAtLeast(waiter.rank, rank))

  const tellIdlers = () => {
    const told = idlers.filter(({ rank }) => isIdle(rank))
    idlers = idlers.filter(idler => !told.includes(idler))
    for (const { resolve } of told) resolve()
  }

  const leave = (waiter: Waiter) => {
    waiters = waiters.filter(other => other !== waiter)
    tellIdlers()
  }

  /** Lets go whoever may go now, and sleeps until the next one may. */
  const pump = () => {
    alarm?.abort()
    alarm = undefined
    for (let waiter = next(); waiter; waiter = next()) {
      refill()
      const ms = waitMs(waiter.rank)
      if (ms > 0) {
        const mine = new AbortController()
        alarm = mine
        // Only a newer look at the queue ends this sleep early, and that one has taken over.
        clock.sleep(Math.ceil(ms), mine.signal).then(pump, () => undefined)
        return
      }
      tokens -= 1
      taken += 1
      waiter.resolve()
      leave(waiter)
    }
  }

  const wait = (signal: AbortSignal | undefined, join: (resolve: () => void) => () => void): Promise<void> =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(cancelled())
      const onAbort = () => {
        quit()
        reject(cancelled())
      }
      const quit = join(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      })
      signal?.addEventListener('abort', onAbort, { once: true })
    })

  return {
    async take(signal, rank = 'normal') {
      refill()
      if (waiters.length === 0 && waitMs(rank) <= 0 && !signal?.aborted) {
        tokens -= 1
        taken += 1
        return
      }
      await wait(signal, resolve => {
        const waiter = { rank, resolve }
        waiters.push(waiter)
        queueMicrotask(pump)
        return () => {
          leave(waiter)
          pump()
        }
      })
    },
    observe({ remaining, alone = false }) {
      refill()
      // Others share the limit, so the vendor may say less than we think. It may say more only when no answer of ours is still to come.
      tokens = alone ? Math.min(options.burst, remaining) : Math.min(tokens, remaining)
      if (waiters.length > 0) pump()
    },
    pause(ms) {
      resumeAtMs = Math.max(resumeAtMs, clock.monotonicMs() + ms)
    },
    get taken() {
      return taken
    },
    get left() {
      refill()
      return tokens
    },
    get waiting() {
      return waiters.filter(({ rank }) => isAtLeast(rank, 'normal')).length
    },
    async idle(rank, signal) {
      if (isIdle(rank)) return
      await wait(signal, resolve => {
        const idler = { rank, resolve }
        idlers.push(idler)
        return () => {
          idlers = idlers.filter(other => other !== idler)
        }
      })
    },
  }
}

const cancelled = () => new LandfallError('cancelled', 'Interrupted.')
