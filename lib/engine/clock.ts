/** Time as a parameter, so that waits can be tested without waiting. */

import { LandfallError } from '../errors.ts'

export interface Clock {
  /** Milliseconds since the epoch, by this machine's clock. */
  nowMs(): number
  /** Milliseconds that never go backwards; for measuring and for deadlines. */
  monotonicMs(): number
  /** Resolves after `ms`, or rejects with code `cancelled` when `signal` aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

const cancelled = () => new LandfallError('cancelled', 'Interrupted.')

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(cancelled())
      const onAbort = () => {
        clearTimeout(timer)
        reject(cancelled())
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }, ms)
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
}
