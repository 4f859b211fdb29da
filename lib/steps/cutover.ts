/**
 * The move of names from their old host to a server of ours, stage by stage. A visitor finds the old place or the new one at every moment,
 * each with a trusted certificate: the certificate is there before the switch, the switch is one batch, and the old TTL is waited out first.
 */

import {
  describeRecord,
  desiredAfter,
  findLeftovers,
  isEmptyBatch,
  isMarked,
  isSwitched,
  joinBatches,
  lowerBatch,
  strangersAt,
  switchBatch,
} from '../cutover/changes.ts'
import { addressRecordsOf, isOpen, type Marks, type Move } from '../cutover/move.ts'
import { judgeArrival, oldAnswersGoneAtMs, oldAnswersText } from '../cutover/observe.ts'
import { clockText, goneAtMs, leftMs, liveTtlS, longestTtlS, spanText } from '../cutover/ttl.ts'
import { blocked, type Change, done, refused, todo } from '../engine/step.ts'
import type { World, WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { MovingName } from '../estate/migration.ts'
import type { DnsRecord, RecordBatch } from '../providers/ports/dns.ts'
import { certificateSteps } from './cutover-certificate.ts'
import { type CutoverDeps, isReplyServed, observe, probe } from './cutover-world.ts'
import type { EstateStep } from './deps.ts'
import { zoneStep } from './dns.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

const AUTHORITY_TIMEOUT_MS = 10 * 60_000
const ARRIVAL_GRACE_MS = 60_000
const ORIGIN_TIMEOUT_MS = 3 * 60_000
const POLL_MS = 5_000
const ROLLBACK_HINT = 'Go back, if visitors suffer: bun scripts/dns.ts rollback'

/** The whole move of `deps.names`, in order. */
export const cutoverSteps = (deps: CutoverDeps): EstateStep[] => [
  zoneStep(deps),
  preflightStep(deps),
  snapshotStep(deps),
  ...certificateSteps(deps),
  originStep(deps),
  lowerStep(deps),
  drainStep(deps),
  switchStep(deps),
  settleStep(deps),
  raiseStep(deps),
]

const listed = (deps: CutoverDeps): string => deps.names.map(({ name }) => name).join(', ')

/** The moves under way, or undefined while one is missing. */
const openMoves = (deps: CutoverDeps, world: WorldView<EstateWorld>): Move[] | undefined => {
  const moves = deps.names.map(({ name }) => world.get('moves')[name]).filter(isOpen)
  return moves.length === deps.names.length ? moves : undefined
}

const everyMark = (moves: readonly Move[] | undefined, mark: keyof Marks): boolean =>
  moves?.every(move => move.marks[mark] !== undefined) ?? false

/** On disk first, then in the world. */
async function mark(deps: CutoverDeps, live: World<EstateWorld>, moves: readonly Move[], marks: Partial<Marks>): Promise<void> {
  for (const move of moves) {
    const next = { ...move, marks: { ...move.marks, ...marks } }
    await deps.store.writeMove(next)
    live.update('moves', all => ({ ...all, [move.name]: next }))
  }
}

/** Old records stay readable meanwhile, for steps that run beside this one. */
const relook = async (live: World<EstateWorld>): Promise<readonly DnsRecord[]> => {
  live.touch('records')
  await live.look(['records'])
  return live.get('records')
}

/** Everything that would make the move fail later, found before the first write. */
export function preflightStep(deps: CutoverDeps): EstateStep {
  return {
    id: 'move preflight',
    noun: 'dns',
    title: `${listed(deps)} can move without a hole`,
    needs: ['zone'],
    reads: ['zone', 'records', 'servers', 'moves', 'arrivals', 'certificates'],
    look(world) {
      const problems = deps.names.flatMap(moving => findProblems(deps, moving, world))
      const [first] = problems
      if (first === undefined) return done('the new place answers, CAA allows, nothing is left over')
      return refused(problems.map(({ why }) => `${why}.`).join(' '), first.hint)
    },
  }
}

interface Problem {
  readonly why: string
  readonly hint: string
}

/** Pure. Empty when the name may move, or has moved. */
export function findProblems(deps: CutoverDeps, moving: MovingName, world: WorldView<EstateWorld>): Problem[] {
  const { estate } = deps
  const { name } = moving
  const move = world.get('moves')[name]
  if (isOpen(move) && move.marks.switchedAtMs !== undefined) return []
  const server = findServer(estate.name, moving.server, world.get('servers'))
  const arrival = world.get('arrivals')[name]
  if (server === undefined || arrival === undefined)
    return [{ why: `server ${moving.server}, where ${name} shall go, is not there`, hint: 'bun scripts/setup.ts' }]
  const problems: Problem[] = []
  const say = (why: string, hint: string) => problems.push({ why, hint })
  const records = world.get('records')
  const zone = world.get('zone')

  const expected = zone?.nameservers ?? []
  if (zone && !expected.some(each => arrival.delegation.includes(each)))
    say(
      `the parent of ${zone.name} names ${arrival.delegation.join(', ') || 'no name servers'}, not ${expected.join(' and ')}`,
      'Set the zone’s name servers at the registrar, and wait until they are seen.',
    )
  for (const leftover of findLeftovers({ name }, records))
    say(leftover, 'Remove it at Cloudflare; the move touches addresses only.')
  if (isOpen(move)) {
    if (move.to.serverId !== server.id)
      say(
        `the move of ${name} began towards another server (${move.to.server}, id ${move.to.serverId})`,
        `bun scripts/dns.ts rollback ${name}`,
      )
    const strangers = deps.takeOver.includes(name) ? [] : strangersAt(move, records)
    if (strangers.length > 0)
      say(
        `${name} was changed by somebody else since the move began: ${strangers.map(describeRecord).join(', ')}`,
        `If it may be replaced: bun scripts/dns.ts cutover --take-over ${name}`,
      )
  }
  const ipv4 = arrival.probes.find(each => each.family === 'ipv4')
  if (ipv4 === undefined) say(`server ${moving.server} has no IPv4 address`, 'Give it one: ipv4 in config.json.')
  else if (!isReplyServed(ipv4.http) && !isReplyServed(ipv4.https))
    say(
      `${moving.server} (${ipv4.address}) does not serve ${name}${moving.path}: ${replyText(ipv4.http)}`,
      `Deploy it there with the domain ${name}, then try: curl --resolve ${name}:80:${ipv4.address} http://${name}${moving.path}`,
    )
  const certificate = world.get('certificates')[moving.server]
  const needsOrder = certificate !== undefined && (certificate.stored === 'absent' || certificate.stored === 'ending')
  if (arrival.caa.after.state === 'forbidden') say(arrival.caa.after.why, arrival.caa.after.hint)
  else if (needsOrder && arrival.caa.now.state === 'forbidden') say(arrival.caa.now.why, arrival.caa.now.hint)
  if (needsOrder && certificate.budget.state === 'spent')
    say(
      `a certificate for ${moving.server} can't be ordered: ${certificate.budget.why}`,
      `Wait until ${new Date(certificate.budget.nextAtMs).toISOString().slice(0, 16).replace('T', ' ')} UTC, or restore a saved certificate.`,
    )
  return problems
}

const replyText = (reply: { state: 'answers'; status: number } | { state: 'silent'; why: string }): string =>
  reply.state === 'answers' ? `it answers ${reply.status}` : reply.why

/** What stood there before is on disk before anything changes. */
export function snapshotStep(deps: CutoverDeps): EstateStep {
  return {
    id: 'move snapshot',
    noun: 'dns',
    title: `the records of ${listed(deps)} are kept for the way back`,
    needs: ['move preflight'],
    reads: ['zone', 'records', 'servers', 'moves', 'arrivals'],
    look(world) {
      const missing = deps.names.filter(({ name }) => !isOpen(world.get('moves')[name]))
      if (missing.length === 0) return done(`${deps.store.directory}/moves`)
      const records = missing.flatMap(({ name }) => addressRecordsOf(world.get('records'), name))
      const summary = `keep the ${records.length} records of ${missing.map(({ name }) => name).join(', ')} in ${deps.store.directory}/moves`
      const ready = missing.every(({ name }) => world.get('arrivals')[name] !== undefined)
      if (!ready || !world.get('zone')) return blocked('the preflight', { kind: 'create', summary })
      return todo({
        kind: 'create',
        summary,
        details: records.map(record => `${record.name} ${describeRecord(record)}`),
        async apply({ world: live }) {
          for (const moving of missing) {
            const before = live.get('moves')[moving.name]
            if (before) await deps.store.archiveMove(before)
            const move = desiredMove(deps, moving, live)
            await deps.store.writeMove(move)
            live.update('moves', all => ({ ...all, [move.name]: move }))
          }
        },
      })
    },
  }
}

/** A move as it begins. IPv6 is taken along when the new place answers there; an AAAA of the old one goes in any case. */
export function desiredMove(deps: CutoverDeps, moving: MovingName, world: WorldView<EstateWorld>): Move {
  const { estate } = deps
  const zone = world.get('zone')
  const server = findServer(estate.name, moving.server, world.get('servers'))
  const arrival = world.get('arrivals')[moving.name]
  if (!zone || !server || !arrival) throw new Error('bug: a snapshot without its preflight')
  const before = addressRecordsOf(world.get('records'), moving.name)
  const answers = (family: 'ipv4' | 'ipv6') =>
    arrival.probes.find(each => each.family === family && (isReplyServed(each.http) || isReplyServed(each.https)))?.address
  const [ipv4, ipv6] = [answers('ipv4'), answers('ipv6')]
  const addresses = before.flatMap(record => (record.type === 'CNAME' ? [] : [record.content]))
  return {
    version: 1,
    estate: estate.name,
    zone: zone.name,
    zoneId: zone.id,
    name: moving.name,
    takenAtMs: deps.waits.nowMs(),
    to: { server: server.name, serverId: server.id, ...(ipv4 ? { ipv4 } : {}), ...(ipv6 ? { ipv6 } : {}) },
    path: moving.path,
    proxied: before.some(record => record.proxied),
    before,
    // A resolver may still remember a move that was undone.
    oldAddresses: [...new Set([...addresses, ...arrival.oldAddresses])].filter(each => each !== ipv4 && each !== ipv6).sort(),
    oldTtlS: longestTtlS(before, arrival.negativeTtlS),
    switchTtlS: estate.migration?.switchTtlS ?? 60,
    finalTtlS: estate.migration?.ttlS ?? 300,
    marks: {},
  }
}

/** The new place shows the certificate, asked at its address for the name. */
export function originStep(deps: CutoverDeps): EstateStep {
  const look = { kind: 'wait', summary: `see https://${deps.names[0]?.name ?? ''} served at the new place` } as const
  return {
    id: 'move origin',
    noun: 'dns',
    title: `the new place serves ${listed(deps)} over TLS`,
    needs: certificateSteps(deps).map(step => step.id),
    reads: ['moves', 'arrivals', 'certificates'],
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

/** Sends the batch, and reads what became of it: new records have ids that only the vendor knows. */
async function apply(
  deps: CutoverDeps,
  live: World<EstateWorld>,
  moves: readonly Move[],
  batchFor: (move: Move, records: readonly DnsRecord[]) => RecordBatch,
): Promise<void> {
  const batch = joinBatches(moves.map(move => batchFor(move, live.get('records'))))
  if (!isEmptyBatch(batch)) await deps.dns.changeRecords(moves[0]?.zoneId ?? '', batch)
  await relook(live)
}

/** The same for the switch, over what is there at this moment: minutes have passed since the plan. */
async function applyFresh(...[deps, live, moves, batchFor]: Parameters<typeof apply>): Promise<void> {
  const records = await relook(live)
  const strangers = moves.filter(move => !deps.takeOver.includes(move.name)).flatMap(move => strangersAt(move, records))
  if (strangers.length > 0)
    throw new LandfallError(
      'refused',
      `Nothing was switched: somebody else has changed ${strangers.map(each => `${each.name} (${describeRecord(each)})`).join(', ')}.`,
      { hint: 'Run the same command again: it shows what is there now.' },
    )
  await apply(deps, live, moves, batchFor)
}

/** Resolvers keep answers for a minute from now on, no longer for as long as before. */
export function lowerStep(deps: CutoverDeps): EstateStep {
  const summary = `lower the TTL of ${listed(deps)} to ${deps.estate.migration?.switchTtlS ?? 60} s`
  return {
    id: 'move lower',
    noun: 'dns',
    title: `answers for ${listed(deps)} are short-lived`,
    needs: ['move origin'],
    reads: ['moves', 'records'],
    look(world) {
      const moves = openMoves(deps, world)
      if (!moves) return blocked('the snapshot', { kind: 'change', summary })
      const waiting = moves.filter(move => !isSwitched(move, world.get('records')) && move.marks.switchedAtMs === undefined)
      const high = waiting.filter(move => !isEmptyBatch(lowerBatch(move, world.get('records'))))
      if (high.length === 0) return done('short-lived, or already switched')
      return todo({
        kind: 'change',
        summary,
        details: high.map(
          move => `${move.name}: ${move.oldTtlS} s → ${move.switchTtlS} s; nothing else about the records changes`,
        ),
        async apply({ world: live }) {
          await apply(deps, live, high, lowerBatch)
          await mark(deps, live, high, { loweredAtMs: deps.waits.nowMs() })
        },
      })
    },
  }
}

const needsDrain = (move: Move): boolean => !move.proxied && move.before.length > 0 && move.oldTtlS > move.switchTtlS

/** Every cache that was filled under the old TTL has forgotten. */
export function drainStep(deps: CutoverDeps): EstateStep {
  const wait = { kind: 'wait', summary: 'wait until answers with the old TTL are forgotten' } as const
  return {
    id: 'move drain',
    noun: 'dns',
    title: 'the old TTL has passed',
    needs: ['move lower'],
    reads: ['moves', 'records'],
    look(world) {
      const moves = openMoves(deps, world)
      if (!moves) return blocked('the snapshot', wait)
      const over = (move: Move) =>
        !needsDrain(move) ||
        move.marks.drainedAtMs !== undefined ||
        move.marks.switchedAtMs !== undefined ||
        isSwitched(move, world.get('records'))
      const waiting = moves.filter(move => !over(move))
      if (waiting.length === 0) return done('no answer from before is left')
      if (waiting.some(move => !isEmptyBatch(lowerBatch(move, world.get('records'))))) return blocked('the lower TTL', wait)
      const longestS = Math.max(...waiting.map(move => move.oldTtlS))
      return todo({
        ...wait,
        summary: `wait ${spanText(longestS * 1000)}, as long as old answers live`,
        async apply({ world: live, signal, log }) {
          // A mark that was lost costs the whole wait again, from now.
          const since = (move: Move) => move.marks.loweredAtMs ?? deps.waits.nowMs()
          const endsAtMs = Math.max(...waiting.map(move => goneAtMs(since(move), move.oldTtlS)))
          await mark(
            deps,
            live,
            waiting.filter(move => move.marks.loweredAtMs === undefined),
            { loweredAtMs: deps.waits.nowMs() },
          )
          log(`old answers may live until ${clockText(endsAtMs, deps.waits.nowMs())}`)
          await deps.waits.sleep(leftMs(endsAtMs, deps.waits.nowMs()), signal)
          await mark(
            deps,
            live,
            waiting.map(move => live.get('moves')[move.name] ?? move),
            { drainedAtMs: deps.waits.nowMs() },
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
      const kind = standing.some(record => !isMarked(record, deps.estate.name)) ? 'destroy' : 'change'
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
      if (waiting.some(move => needsDrain(move) && move.marks.drainedAtMs === undefined))
        return blocked('the old TTL', { kind, summary })
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
    reads: ['moves', 'records'],
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

/** Back to a TTL that spares resolvers; from here on a way back takes as long as this. */
export function raiseStep(deps: CutoverDeps): EstateStep {
  const summary = `raise the TTL of ${listed(deps)} to ${deps.estate.migration?.ttlS ?? 300} s`
  return {
    id: 'move raise',
    noun: 'dns',
    title: `answers for ${listed(deps)} live ${deps.estate.migration?.ttlS ?? 300} s again`,
    needs: ['move settled'],
    reads: ['moves', 'records'],
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
