/** Time in a rehearsal: a wait of minutes, until resolvers forget, passes in the sandbox's world instead of on this machine. */

import { type Clock, systemClock } from './engine/clock.ts'

/** Shorter sleeps are pauses between two looks, and stay real. */
const PASSED_FROM_MS = 1_500
const REAL_PAUSE_MS = 100

/**
 * The system's clock, moved on by as much as the sandbox's resolvers were. Where nothing at `url` lets time pass, it is the system's own.
 * @param url of the sandbox's internet
 */
export async function sandboxClock(url: string): Promise<Clock> {
  let aheadMs = await readAhead(url)
  if (aheadMs === undefined) return systemClock
  return {
    nowMs: () => systemClock.nowMs() + (aheadMs ?? 0),
    monotonicMs: () => systemClock.monotonicMs() + (aheadMs ?? 0),
    async sleep(ms, signal) {
      if (ms < PASSED_FROM_MS) return systemClock.sleep(ms, signal)
      const response = await fetch(new URL('/_sandbox/time', url), { method: 'POST', body: JSON.stringify({ ms }) })
      aheadMs = aheadIn(await response.json()) ?? aheadMs
      // What runs at its own pace, a name server's update for example, gets a moment.
      await systemClock.sleep(REAL_PAUSE_MS, signal)
    },
  }
}

async function readAhead(url: string): Promise<number | undefined> {
  try {
    const response = await fetch(new URL('/_sandbox/time', url), { signal: AbortSignal.timeout(5_000) })
    return response.ok ? aheadIn(await response.json()) : undefined
  } catch (error) {
    // A proxy that is no sandbox answers in its own way.
    if (error instanceof Error) return undefined
    throw error
  }
}

const aheadIn = (answer: unknown): number | undefined =>
  typeof answer === 'object' && answer !== null && 'aheadMs' in answer && typeof answer.aheadMs === 'number'
    ? answer.aheadMs
    : undefined
