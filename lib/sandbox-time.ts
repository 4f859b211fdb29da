/** Time in a rehearsal: a wait of minutes, until resolvers forget, passes in the sandbox's world instead of on this machine. */

import { type Clock, systemClock } from './engine/clock.ts'

/** Shorter sleeps are pauses between two looks, and stay real. */
const PASSED_FROM_MS = 1_500
/** Time passes in slices, each of which takes a moment: what goes on meanwhile sees it pass, and does not see it jump. */
const SLICES = 10

/**
 * The system's clock, moved on by as much as the sandbox's resolvers were. Where nothing at `url` lets time pass, it is the system's own.
 * @param url of the sandbox's internet
 */
export async function sandboxClock(url: string): Promise<Clock> {
  let time = await readTime(url)
  if (time === undefined) return systemClock
  const aheadMs = () => time?.aheadMs ?? 0
  return {
    nowMs: () => systemClock.nowMs() + aheadMs(),
    monotonicMs: () => systemClock.monotonicMs() + aheadMs(),
    async sleep(ms, signal) {
      if (ms < PASSED_FROM_MS) return systemClock.sleep(ms, signal)
      const pauseMs = (time?.waitMs ?? 0) / SLICES
      for (let slice = 0; slice < SLICES; slice++) {
        const body = JSON.stringify({ ms: Math.max(0, ms / SLICES - pauseMs) })
        const response = await fetch(new URL('/_sandbox/time', url), { method: 'POST', body })
        time = timeIn(await response.json()) ?? time
        await systemClock.sleep(pauseMs, signal)
      }
    },
  }
}

interface SandboxTime {
  readonly aheadMs: number
  /** How long a wait really takes. */
  readonly waitMs: number
}

async function readTime(url: string): Promise<SandboxTime | undefined> {
  try {
    const response = await fetch(new URL('/_sandbox/time', url), { signal: AbortSignal.timeout(5_000) })
    return response.ok ? timeIn(await response.json()) : undefined
  } catch (error) {
    // A proxy that is no sandbox answers in its own way.
    if (error instanceof Error) return undefined
    throw error
  }
}

function timeIn(answer: unknown): SandboxTime | undefined {
  if (typeof answer !== 'object' || answer === null || !('aheadMs' in answer) || !('waitMs' in answer)) return undefined
  const { aheadMs, waitMs } = answer
  return typeof aheadMs === 'number' && typeof waitMs === 'number' ? { aheadMs, waitMs } : undefined
}
