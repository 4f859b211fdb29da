/** After the switch: every name server, resolver and visitor is watched until the last old answer is forgotten. */

import { isSwitched } from '../cutover/changes.ts'
import type { Move } from '../cutover/move.ts'
import { judgeArrival, oldAnswersGoneAtMs, oldAnswersText } from '../cutover/observe.ts'
import { blocked, done, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import { everyMark, listed, mark, openMoves } from './cutover-kit.ts'
import { type CutoverDeps, observe } from './cutover-world.ts'
import type { EstateStep } from './deps.ts'
import type { EstateWorld } from './world.ts'

const AUTHORITY_TIMEOUT_MS = 10 * 60_000
const ARRIVAL_GRACE_MS = 60_000
const POLL_MS = 5_000
const ROLLBACK_HINT = 'Go back, if visitors suffer: bun scripts/dns.ts rollback'

/** Every authoritative server has the new answer, every resolver gives it, and a visitor is served. */
export function settleStep(deps: CutoverDeps): EstateStep {
  const wait = {
    kind: 'wait',
    summary: `watch name servers, resolvers and https://${deps.names[0]?.name ?? ''} until old answers are gone`,
  } as const
  return {
    id: 'move settled',
    noun: 'dns',
    title: `everybody reaches ${listed(deps)} at the new place`,
    needs: ['move switch'],
    reads: ['moves', 'servers', 'records'],
    look(world) {
      const moves = openMoves(deps, world)
      if (!moves?.every(move => isSwitched(move, world.get('records')))) return blocked('the switch', wait)
      if (everyMark(moves, 'settledAtMs')) return done('old answers are gone')
      return todo({
        ...wait,
        async apply({ world: live, signal, log }) {
          await watchArrival(deps, live, moves, signal, log)
        },
      })
    },
  }
}

async function watchArrival(
  deps: CutoverDeps,
  live: World<EstateWorld>,
  moves: readonly Move[],
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const { waits } = deps
  const current = () => moves.map(move => live.get('moves')[move.name] ?? move)
  const startedAtMs = waits.nowMs()
  let wrongSinceMs: number | undefined
  for (;;) {
    const seen = await Promise.all(current().map(async move => ({ move, seen: await observe(deps, move) })))
    const nowMs = waits.nowMs()
    const strayed = seen.filter(({ move, seen: each }) => !isAnnounced(move, each))
    // Counted from the moment at which the last name server has the new answer: caches may be filled from the old one until then.
    if (strayed.length === 0)
      await mark(
        deps,
        live,
        current().filter(move => move.marks.switchedAtMs === undefined),
        { switchedAtMs: nowMs },
      )
    else if (nowMs - startedAtMs > AUTHORITY_TIMEOUT_MS)
      throw new LandfallError(
        'timeout',
        `Not all name servers have the new answers for ${strayed.map(({ move }) => move.name).join(', ')} yet.`,
        {
          hint: 'Run the same command again: it goes on watching.',
        },
      )
    const judged = seen.map(({ move, seen: each }) => judgeArrival(move, each))
    const wrong = judged.filter(each => each.state === 'wrong').flatMap(each => each.lines)
    wrongSinceMs = wrong.length === 0 ? undefined : (wrongSinceMs ?? nowMs)
    if (wrongSinceMs !== undefined && strayed.length === 0 && nowMs - wrongSinceMs >= ARRIVAL_GRACE_MS)
      throw new LandfallError('unhealthy', `The names are switched, yet visitors are not served: ${wrong.join('; ')}.`, {
        hint: ROLLBACK_HINT,
      })
    const endsAtMs = Math.max(...current().map(move => oldAnswersGoneAtMs(move) ?? Number.POSITIVE_INFINITY))
    const partly = judged.flatMap(each => each.lines)
    if (nowMs >= endsAtMs && partly.length === 0) {
      await mark(deps, live, current(), { settledAtMs: nowMs })
      return
    }
    if (nowMs >= endsAtMs + AUTHORITY_TIMEOUT_MS)
      throw new LandfallError('unverified', `Old answers should be gone, yet: ${partly.join('; ')}.`, { hint: ROLLBACK_HINT })
    log(partly[0] ?? current().map(move => oldAnswersText(move, nowMs))[0] ?? '')
    const pauseMs =
      Number.isFinite(endsAtMs) && endsAtMs > nowMs && wrong.length === 0 ? Math.min(POLL_MS * 2, endsAtMs - nowMs) : POLL_MS
    await waits.sleep(pauseMs, signal)
  }
}

/** Every name server gives the new addresses. Behind the proxy the answer never changes; Cloudflare's own word counts. */
const isAnnounced = (move: Move, seen: Awaited<ReturnType<typeof observe>>): boolean => {
  if (move.proxied) return true
  const agree = (values: readonly string[], wanted: string | undefined) => values.join() === (wanted ?? '')
  return (
    seen.authoritative.A.length > 0 &&
    seen.authoritative.A.every(answer => answer.status === 'ok' && agree(answer.values, move.to.ipv4)) &&
    seen.authoritative.AAAA.every(answer => answer.status === 'ok' && agree(answer.values, move.to.ipv6))
  )
}
