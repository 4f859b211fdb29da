/** The proof of a run: what was touched and not read since the last change is read again, and every step must say done. */

import { LandfallError } from '../errors.ts'
import type { Clock } from './clock.ts'
import { slicesOf, wishOf } from './plan.ts'
import type { Step } from './step.ts'
import type { World } from './world.ts'

export interface Verification<W> {
  readonly steps: readonly Step<W>[]
  readonly world: World<W>
  readonly clock: Clock
  readonly signal: AbortSignal
  /** How long the world may take to show what was made; vendors' lists can lag behind their creates. */
  readonly settleMs: number
}

const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 2_000

/**
 * Reads the touched slices again, unless a step has read them after the last change, and looks at every step.
 * @throws LandfallError `unverified`, naming each step and what it still wants
 */
export async function verify<W>({ steps, world, clock, signal, settleMs }: Verification<W>): Promise<void> {
  const touched = new Set(world.touched)
  const unfinished = async (slices: Iterable<keyof W>) => {
    world.forget(slices)
    await world.look([...touched, ...slicesOf(steps)])
    return steps.map(step => ({ step, finding: step.look(world) })).filter(({ finding }) => finding.state !== 'done')
  }

  const deadlineMs = clock.monotonicMs() + settleMs
  let wanting = await unfinished(world.unproven)
  for (let pauseMs = FIRST_PAUSE_MS; wanting.length > 0; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
    const leftMs = deadlineMs - clock.monotonicMs()
    const again = [...slicesOf(wanting.map(({ step }) => step))].filter(slice => touched.has(slice))
    if (leftMs <= 0) break
    await clock.sleep(Math.min(pauseMs, leftMs), signal)
    wanting = await unfinished(again)
  }
  if (wanting.length === 0) return
  const wishes = wanting.map(({ step, finding }) => `${step.title} (still wanted: ${wishOf(finding)})`)
  throw new LandfallError('unverified', `All changes were applied, yet a second look disagrees: ${wishes.join('; ')}.`, {
    hint: 'Run the same command again: it looks first, and changes only what is still wanted.',
  })
}
