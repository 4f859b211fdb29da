/** Time in a rehearsal: a wait of minutes, until resolvers forget, passes in the sandbox's world instead of on this machine. */

import { type Clock, systemClock } from './engine/clock.ts'

/** Shorter sleeps are pauses between two looks, and stay real. */
const PASSED_FROM_MS = 1_500
/** Time passes in slices, each of which takes a moment: what goes on meanwhile sees it pass, and does not see it jump. */
const SLICES = 10
const SLICE_PAUSE_MS = 12

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
      for (let slice = 0; slice < SLICES; slice++) {
        const body = JSON.stringify({ ms: Math.max(0, ms / SLICES - SLICE_PAUSE_MS) })
        const response = await fetch(new URL('/_sandbox/time', url), { method: 'POST', body })
        aheadMs = aheadIn(await response.json()) ?? aheadMs
        await systemClock.sleep(SLICE_PAUSE_MS, signal)
      }
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
