/**
 * Names that move and come back, again and again, under visitors: `bun tests/bench/cutover-load.ts [requests per second] [rounds]`.
 * Prints one JSON line per round with what the visitors met so far, and ends with exit code 1 when one of them was turned away.
 */

import { openLoadPlace, outliveAnswers, startLoad } from '../sandbox/cutover/load.ts'
import { CUTOVER, othersIn } from '../sandbox/cutover/place.ts'

const [ratePerS = 200, rounds = 3] = process.argv.slice(2).map(Number)
const around = await openLoadPlace()
const { place, env } = around
// More rounds than the authority's week allows orders for.
place.sandbox.settings.rateLimits = false
const others = othersIn(place.sandbox)
const load = startLoad(place.sandbox, { caPem: around.caPem, sites: around.sites, ratePerS, clients: 100 })
await load.more(ratePerS)
for (let round = 1; round <= rounds; round++) {
  const cut = await place.run(CUTOVER, { env, timeoutMs: 120_000 })
  if (cut.code !== 0) throw new Error(cut.output)
  await around.oldHost.stop()
  await load.more(2 * ratePerS)
  await around.oldHost.start()
  const back = await place.run('dns rollback --yes --json', { env, timeoutMs: 120_000 })
  if (back.code !== 0) throw new Error(back.output)
  await outliveAnswers(place)
  await load.more(ratePerS)
  const line = {
    round,
    cutoverMs: Math.round(cut.elapsedMs),
    rollbackMs: Math.round(back.elapsedMs),
    cloudflare: { cutover: cut.summary().requests.cloudflare, rollback: back.summary().requests.cloudflare },
    othersUntouched: othersIn(place.sandbox) === others,
    visitors: load.counts(),
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
const { failed, tlsErrors, nxdomain } = await load.stop()
await around.close()
process.exitCode = failed + tlsErrors + nxdomain === 0 ? 0 : 1
