/**
 * Virtual time for the product and the sandbox in one process: nobody sleeps, the clock jumps to the next moment at which something is
 * due as soon as nothing has happened for a little while. Deadlines of requests are waits like any other, so a half-open connection
 * costs no time either.
 */

import { systemClock } from '../../../lib/engine/clock.ts'
import { LandfallError } from '../../../lib/errors.ts'

export interface VirtualTime {
  nowMs(): number
  /** Something happened: a request came or an answer went. */
  stir(): void
  /** Milliseconds that were skipped. */
  readonly skippedMs: number
  restore(): void
}

interface Wake {
  readonly atMs: number
  /** A request's deadline: only silence that is long in real time too may use it up. */
  readonly deadline: boolean
  readonly wake: () => void
}

/** Quiet for so long without a request under way, and the clock jumps. */
const QUIET_MS = 1
/** Requests are under way, but their answers do not come: by far longer than one takes on loopback. */
const SILENT_MS = 80

export function installVirtualTime(): VirtualTime {
  const original = { ...systemClock }
  const originalTimeout = AbortSignal.timeout
  const startMs = Date.now()
  const realMs = (): number => performance.now()
  const zeroMs = realMs()
  let skippedMs = 0
  let stirredMs = realMs()
  let underWay = 0
  const wakes = new Set<Wake>()
  const monotonicMs = (): number => realMs() - zeroMs + skippedMs
  const stir = (): void => {
    stirredMs = realMs()
  }

  const pump = (): void => {
    const quietMs = realMs() - stirredMs
    const silent = quietMs >= SILENT_MS
    if (!silent && (underWay > 0 || quietMs < QUIET_MS)) return
    const due = [...wakes].filter(each => !each.deadline || silent)
    const next = Math.min(...due.map(each => each.atMs))
    const now = monotonicMs()
    if (next > now && Number.isFinite(next)) skippedMs += next - now
    for (const each of due) {
      if (each.atMs > monotonicMs()) continue
      wakes.delete(each)
      stir()
      each.wake()
    }
  }
  const timer = setInterval(pump, 1)
  const originalFetch = globalThis.fetch
  const countedFetch = async (...request: Parameters<typeof fetch>): Promise<Response> => {
    underWay += 1
    stir()
    try {
      return await originalFetch(...request)
    } finally {
      underWay -= 1
      stir()
    }
  }
  globalThis.fetch = Object.assign(countedFetch, originalFetch)

  Object.assign(systemClock, {
    nowMs: () => startMs + monotonicMs(),
    monotonicMs,
    sleep: (ms: number, signal?: AbortSignal) =>
      new Promise<void>((resolve, reject) => {
        const cancel = () => {
          wakes.delete(wake)
          reject(new LandfallError('cancelled', 'Interrupted.'))
        }
        if (signal?.aborted) return cancel()
        const wake: Wake = {
          atMs: monotonicMs() + ms,
          deadline: false,
          wake: () => {
            signal?.removeEventListener('abort', cancel)
            resolve()
          },
        }
        wakes.add(wake)
        signal?.addEventListener('abort', cancel, { once: true })
      }),
  })
  AbortSignal.timeout = ms => {
    const controller = new AbortController()
    wakes.add({
      atMs: monotonicMs() + ms,
      deadline: true,
      wake: () => controller.abort(new DOMException('The operation timed out.', 'TimeoutError')),
    })
    return controller.signal
  }

  return {
    nowMs: () => startMs + monotonicMs(),
    stir,
    get skippedMs() {
      return skippedMs
    },
    restore() {
      clearInterval(timer)
      Object.assign(systemClock, original)
      AbortSignal.timeout = originalTimeout
      globalThis.fetch = originalFetch
    },
  }
}
