/**
 * Virtual time for tests: a sleep ends as soon as nothing else can go on, and the clock then shows the time it would have taken.
 * Real I/O that is still under way does not hold time back, so a test that measures times keeps real files and sockets out.
 */

import type { Clock } from '../../lib/engine/clock.ts'
import { LandfallError } from '../../lib/errors.ts'

export interface FakeClock extends Clock {
  /** Lets `ms` pass without sleeping, on both clocks: sleepers that are due wake up. */
  advance(ms: number): void
  /** The machine was suspended: the wall clock jumps, the monotonic one does not notice. Negative sets the clock back. */
  jumpWall(ms: number): void
  /** Every sleep asked for, in order. */
  readonly sleeps: readonly number[]
}

export interface FakeClockOptions {
  /** What the wall clock shows first. */
  readonly startMs?: number
  /** Whether time moves by itself when everybody sleeps (the default). Otherwise only `advance` moves it. */
  readonly auto?: boolean
}

export function fakeClock({ startMs = Date.UTC(2026, 8, 1), auto = true }: FakeClockOptions = {}): FakeClock {
  let monotonicMs = 0
  let wallOffsetMs = startMs
  let scheduled = false
  const sleeps: number[] = []
  const sleepers = new Set<{ atMs: number; wake: () => void }>()

  const wakeDue = () => {
    for (const sleeper of [...sleepers].filter(({ atMs }) => atMs <= monotonicMs).sort((a, b) => a.atMs - b.atMs)) {
      sleepers.delete(sleeper)
      sleeper.wake()
    }
  }

  const schedule = () => {
    if (!auto || scheduled || sleepers.size === 0) return
    scheduled = true
    // After all microtasks and ready I/O callbacks, so that everything that can run at this instant has run.
    setImmediate(() => {
      scheduled = false
      if (sleepers.size === 0) return
      monotonicMs = Math.max(monotonicMs, Math.min(...[...sleepers].map(({ atMs }) => atMs)))
      wakeDue()
      schedule()
    })
  }

  return {
    sleeps,
    nowMs: () => wallOffsetMs + monotonicMs,
    monotonicMs: () => monotonicMs,
    advance(ms) {
      monotonicMs += ms
      wakeDue()
    },
    jumpWall(ms) {
      wallOffsetMs += ms
    },
    sleep(ms, signal) {
      sleeps.push(ms)
      return new Promise((resolve, reject) => {
        const cancel = () => {
          sleepers.delete(sleeper)
          reject(new LandfallError('cancelled', 'Interrupted.'))
        }
        const sleeper = {
          atMs: monotonicMs + Math.max(0, ms),
          wake: () => {
            signal?.removeEventListener('abort', cancel)
            resolve()
          },
        }
        if (signal?.aborted) return cancel()
        signal?.addEventListener('abort', cancel, { once: true })
        sleepers.add(sleeper)
        schedule()
      })
    },
  }
}
