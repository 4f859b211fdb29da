/**
 * Virtual time for the product and the sandbox in one process: nobody sleeps, the clock jumps to the next moment at which something is
 * due as soon as nothing has happened for a little while. Deadlines of requests are waits like any other, so a half-open connection
 * costs no time either.
 */

import { stat } from 'node:fs/promises'
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
  /** A request's deadline: only a long silence may use it up. */
  readonly deadline: boolean
  readonly wake: () => void
}

/** So many turns of the event loop without anything, no request under way, and the clock jumps. Turns: a busy machine stretches time. */
const QUIET_TURNS = 5
/** Requests are under way, but their answers do not come: by far more turns than one takes on loopback. */
const SILENT_TURNS = 70

export function installVirtualTime(): VirtualTime {
  const original = { ...systemClock }
  const originalTimeout = AbortSignal.timeout
  const startMs = Date.now()
  let skippedMs = 0
  let quietTurns = 0
  let underWay = 0
  const wakes = new Set<Wake>()
  const monotonicMs = (): number => skippedMs
  const stir = (): void => {
    quietTurns = 0
  }

  const pump = (): void => {
    quietTurns += 1
    const silent = quietTurns >= SILENT_TURNS
    if (quietTurns < QUIET_TURNS || (underWay > 0 && !silent)) return
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
  let turning = true
  // Each turn is a round trip through the thread pool, so that work with files, which nothing else counts, comes to its end too.
  const turn = async (): Promise<void> => {
    await stat('/')
    if (!turning) return
    pump()
    setTimeout(turn, 1)
  }
  void turn()
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
      turning = false
      Object.assign(systemClock, original)
      AbortSignal.timeout = originalTimeout
      globalThis.fetch = originalFetch
    },
  }
}
