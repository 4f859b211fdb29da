/** Plays the seeds from FIRST to before LAST, one JSON line each: `bun tests/faults/schedules/worker.ts FIRST LAST`. */

import { openStage } from './inprocess.ts'
import { playInPeace, playSeed } from './seed.ts'

if (import.meta.main) {
  const [first = 0, last = 0] = process.argv.slice(2).map(Number)
  const stage = await openStage()
  const expected = await playInPeace(stage)
  for (let seed = first; seed < last; seed++) {
    const { trace: _, ...result } = await playSeed(stage, seed, expected)
    process.stdout.write(`${JSON.stringify(result)}\n`)
  }
  await stage.close()
  process.exit(0)
}
