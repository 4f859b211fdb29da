/** From the new place's certificate to the switch and the final TTL: each stage a fact about records, seen and not remembered. */

import {
  describeRecord,
  desiredAfter,
  isEmptyBatch,
  isSwitched,
  lowerBatch,
  strangersAt,
  switchBatch,
} from '../cutover/changes.ts'
import { addressRecordsOf, beforeLowering, isDrained, type Move } from '../cutover/move.ts'
import { clockText, goneAtMs, leftMs, liveTtlS, longestTtlS, spanText } from '../cutover/ttl.ts'
import { blocked, type Change, done, refused, todo } from '../engine/step.ts'
import { LandfallError } from '../errors.ts'
import { isOurMark } from '../estate/naming.ts'
import type { DnsRecord } from '../providers/ports/dns.ts'
import { certificateSteps } from './cutover-certificate.ts'
import { apply, applyFresh, everyMark, keep, listed, mark, openMoves, replyText } from './cutover-kit.ts'
import { type CutoverDeps, isReplyServed, probe } from './cutover-world.ts'
import type { EstateStep } from './deps.ts'
import type { EstateWorld } from './world.ts'

const ORIGIN_TIMEOUT_MS = 3 * 60_000
const POLL_MS = 5_000

/** The new place shows the certificate, asked at its address for the name. */
export function originStep(deps: CutoverDeps): EstateStep {
  const look = { kind: 'wait', summary: `see https://${deps.names[0]?.name ?? ''} served at the new place` } as const
  return {
    id: 'move origin',
    noun: 'dns',
    title: `the new place serves ${listed(deps)} over TLS`,
    needs: certificateSteps(deps).map(step => step.id),
    reads: ['moves', 'servers', 'arrivals', 'certificates'],
    look(world) {
      const moves = openMoves(deps, world)
      if (everyMark(moves, 'switchedAtMs')) return done('visitors are there')
      const ready = Object.values(world.get('certificates')).every(each => each.given !== 'no' && each.stored !== 'absent')
      if (!moves || !ready) return blocked('the certificate', look)
      const unserved = moves.filter(move => !isServedAt(move, world.get('arrivals')[move.name]?.probes ?? []))
      if (unserved.length === 0) return done('trusted certificate, pages answer')
      return todo({
        ...look,
        async apply({ world: live, signal, log }) {
          const endsAtMs = deps.clock.monotonicMs() + ORIGIN_TIMEOUT_MS
          for (;;) {
            const waiting: string[] = []
            for (const move of unserved) {
              const addresses = addressesOf(move)
              const probes = await Promise.all(addresses.map(each => probe(deps, move, each)))
              live.update('arrivals', all => {
                const before = all[move.name]
                return before ? { ...all, [move.name]: { ...before, probes } } : all
              })
              const bad = probes.find(each => !isReplyServed(each.https))
              if (bad) waiting.push(`https://${move.name}${move.path} at ${bad.address}: ${replyText(bad.https)}`)
            }
            if (waiting.length === 0) return
            if (deps.clock.monotonicMs() >= endsAtMs)
              throw new LandfallError('unhealthy', `The new place is not ready: ${waiting.join('; ')}.`, {
                hint: 'Nothing has been switched. Mend it there, then run the same command again.',
              })
            log(waiting[0] ?? '')
            await deps.clock.sleep(POLL_MS, signal)
          }
        },
      })
    },
  }
}

const addressesOf = ({ to }: Move) => [
  ...(to.ipv4 ? [{ family: 'ipv4', address: to.ipv4 } as const] : []),
  ...(to.ipv6 ? [{ family: 'ipv6', address: to.ipv6 } as const] : []),
]

const isServedAt = (
  move: Move,
  probes: readonly { readonly address: string; readonly https: Parameters<typeof isReplyServed>[0] }[],
) => addressesOf(move).every(({ address }) => probes.some(each => each.address === address && isReplyServed(each.https)))

/** Resolvers keep answers for a minute from now on, no longer for as long as before. */
export function lowerStep(deps: CutoverDeps): EstateStep {
  const summary = `lower the TTL of ${listed(deps)} to ${deps.estate.migration?.switchTtlS ?? 60} s`
  return {
    id: 'move lower',
    noun: 'dns',
    title: `answers for ${listed(deps)} are short-lived`,
    needs: ['move origin'],
    reads: ['moves', 'servers', 'records'],
    look(world) {
      const moves = openMoves(deps, world)
      if (!moves) return blocked('the snapshot', { kind: 'change', summary })
      const waiting = moves.filter(move => !isSwitched(move, world.get('records')) && move.marks.switchedAtMs === undefined)
      const high = waiting.filter(move => !isEmptyBatch(lowerBatch(move, world.get('records'))))
      if (high.length === 0) return done('short-lived, or already switched')
      const lowered = (move: Move) => beforeLowering(move, addressRecordsOf(world.get('records'), move.name))
      return todo({
        kind: 'change',
        summary,
        details: high.map(
          move => `${move.name}: ${lowered(move).oldTtlS} s → ${move.switchTtlS} s; nothing else about the records changes`,
        ),
        async apply({ world: live }) {
          // Kept before anything is sent: after a kill the whole wait is due.
          const lower = high.map(lowered)
          for (const move of lower) await keep(deps, live, move)
          await apply(deps, live, lower, lowerBatch)
          await mark(deps, live, lower, { loweredAtMs: deps.waits.nowMs() })
        },
      })
    },
  }
}

/** Every cache that was filled under the old TTL has forgotten. */
export function drainStep(deps: CutoverDeps): EstateStep {
  return {
    id: 'move drain',
    noun: 'dns',
    title: 'the old TTL has passed',
    needs: ['move lower'],
    reads: ['moves', 'servers', 'records'],
    look(world) {
      const standing = deps.names.flatMap(({ name }) => addressRecordsOf(world.get('records'), name))
      const oldTtlS = longestTtlS(
        standing.filter(record => !record.proxied),
        0,
      )
      const howLong = oldTtlS > 0 ? `${spanText(oldTtlS * 1000)}, ` : ''
      const wait = { kind: 'wait', summary: `wait ${howLong}until answers with the old TTL are forgotten` } as const
      const moves = openMoves(deps, world)
      if (!moves) return blocked('the snapshot', wait)
      const over = (move: Move) =>
        isDrained(move) || move.marks.switchedAtMs !== undefined || isSwitched(move, world.get('records'))
      const waiting = moves.filter(move => !over(move))
      if (waiting.length === 0) return done('no answer from before is left')
      if (waiting.some(move => !isEmptyBatch(lowerBatch(move, world.get('records'))))) return blocked('the lower TTL', wait)
      const longestS = Math.max(...waiting.map(move => move.oldTtlS))
      return todo({
        ...wait,
        summary: `wait ${spanText(longestS * 1000)}, as long as old answers live`,
        async apply({ world: live, signal, log }) {
          // A mark that was lost costs the whole wait again, from now.
          const nowMs = deps.waits.nowMs()
          const since = (move: Move) => move.marks.loweredAtMs ?? nowMs
          const endsAtMs = Math.max(...waiting.map(move => goneAtMs(since(move), move.oldTtlS)))
          await mark(
            deps,
            live,
            waiting.filter(move => move.marks.loweredAtMs === undefined),
            { loweredAtMs: nowMs },
          )
          log(`old answers may live until ${clockText(endsAtMs, deps.waits.nowMs())}`)
          await deps.waits.sleep(leftMs(endsAtMs, deps.waits.nowMs()), signal)
          await mark(
            deps,
            live,
            waiting.map(move => live.get('moves')[move.name] ?? move),
            { drainedAtMs: Math.max(deps.waits.nowMs(), endsAtMs) },
          )
        },
      })
    },
  }
}

/** All names change places in one transaction. */
export function switchStep(deps: CutoverDeps): EstateStep {
  const targets = [...new Set(deps.names.map(({ server }) => server))].join(', ')
  return {
    id: 'move switch',
    noun: 'dns',
    title: `${listed(deps)} lead to ${targets}`,
    needs: ['move drain'],
    reads: ['moves', 'records', 'servers'],
    look(world) {
      const records = world.get('records')
      const standing = deps.names.flatMap(({ name }) => addressRecordsOf(records, name))
      const kind = standing.some(record => !isOurMark(record.comment, deps.estate.name)) ? 'destroy' : 'change'
      const summary = `point ${listed(deps)} at ${targets}${standing.length > 0 ? ` instead of ${[...new Set(standing.map(each => each.content))].join(', ')}` : ''}`
      const moves = openMoves(deps, world)
      if (!moves) return blocked('the snapshot', { kind, summary })
      const waiting = moves.filter(move => !isSwitched(move, records))
      if (waiting.length === 0) return done(moves.map(move => `${move.name} → ${move.to.ipv4 ?? move.to.ipv6 ?? ''}`).join(', '))
      const strangers = waiting.filter(move => !deps.takeOver.includes(move.name)).flatMap(move => strangersAt(move, records))
      if (strangers.length > 0)
        return refused(
          `Somebody else has changed ${strangers.map(each => `${each.name} (${describeRecord(each)})`).join(', ')} since the move began.`,
          'Run the same command again: it shows what is there now.',
        )
      if (!waiting.every(isDrained)) return blocked('the old TTL', { kind, summary })
      const change: Change<EstateWorld> = {
        kind,
        summary,
        details: waiting.flatMap(move => detailsOf(move, records)),
        apply: ({ world: live }) => applyFresh(deps, live, waiting, (move, now) => switchBatch(move, now, move.switchTtlS)),
      }
      return todo(change)
    },
  }
}

const detailsOf = (move: Move, records: readonly DnsRecord[]): string[] => [
  ...addressRecordsOf(records, move.name).map(record => `- ${move.name} ${describeRecord(record)}`),
  ...desiredAfter(move, move.switchTtlS).map(record => `+ ${move.name} ${describeRecord(record)}`),
]

/** Back to a TTL that spares resolvers; from here on a way back takes as long as this. */
export function raiseStep(deps: CutoverDeps): EstateStep {
  const summary = `raise the TTL of ${listed(deps)} to ${deps.estate.migration?.ttlS ?? 300} s`
  return {
    id: 'move raise',
    noun: 'dns',
    title: `answers for ${listed(deps)} live ${deps.estate.migration?.ttlS ?? 300} s again`,
    needs: ['move settled'],
    reads: ['moves', 'servers', 'records'],
    look(world) {
      const moves = openMoves(deps, world)
      if (!everyMark(moves, 'settledAtMs') || !moves) return blocked('the new place', { kind: 'change', summary })
      const records = world.get('records')
      const low = moves.filter(move => !isEmptyBatch(switchBatch(move, records, move.finalTtlS)))
      if (low.length === 0)
        return done(`${Math.max(...moves.flatMap(move => addressRecordsOf(records, move.name).map(liveTtlS)), 0)} s`)
      return todo({
        kind: 'change',
        summary,
        apply: ({ world: live }) => apply(deps, live, low, (move, now) => switchBatch(move, now, move.finalTtlS)),
      })
    },
  }
}
