/** After a move: what is seen of it, and the proof that nobody reaches the old host any more. */

import { isOpen, type Marks, type Move } from './cutover/move.ts'
import { findOldHost, isBelow, judgeArrival, judgeDecommission, type OldHost, oldAnswersText } from './cutover/observe.ts'
import { clockText, spanText } from './cutover/ttl.ts'
import { LandfallError } from './errors.ts'
import { openMoving } from './moving.ts'
import type { DnsRecord } from './providers/ports/dns.ts'
import { flagValues, type Opened, type Session } from './script.ts'
import { type CutoverDeps, observe } from './steps/cutover-world.ts'

/** Looks until everybody has arrived, or says who has not. */
export async function watch(session: Session, opened: Opened): Promise<number> {
  const deps = await openMoving(session, opened)
  const { reporter, signal } = session
  const moves = await keptMoves(deps)
  for (let round = 1; ; round++) {
    const nowMs = deps.waits.nowMs()
    const seen = await Promise.all(moves.map(async move => ({ move, ...judgeArrival(move, await observe(deps, move)) })))
    const lines = seen.flatMap(({ move, state, lines: why }) => [
      `${move.name}: ${state === 'arrived' ? 'everybody sees the new place' : state === 'partly' ? 'some caches still give the old place' : 'not at the new place'}; ${oldAnswersText(move, nowMs)}`,
      ...why.map(each => `  ${each}`),
    ])
    reporter.page(lines.join('\n'), {
      round,
      names: seen.map(({ move, state, lines: why }) => ({ name: move.name, state, why })),
    })
    if (seen.every(({ state }) => state === 'arrived')) return 0
    // Nothing of what is wrong mends itself by waiting longer than the caches may live.
    if (session.args.plan || seen.some(({ state }) => state === 'wrong')) return session.args.plan ? 2 : 1
    await deps.waits.sleep(WATCH_PAUSE_MS, signal)
  }
}

const WATCH_PAUSE_MS = 10_000
const DECOMMISSION_PAUSE_MS = 60_000
/** Longer without a look, and the proof begins anew. */
const LONGEST_GAP_MS = 15 * 60_000

async function keptMoves(deps: CutoverDeps): Promise<Move[]> {
  const moves = await Promise.all(deps.names.map(({ name }) => deps.store.readMove(name)))
  const missing = deps.names.filter((_, index) => !isOpen(moves[index]))
  if (missing.length > 0)
    throw new LandfallError('not_found', `${missing.map(({ name }) => name).join(', ')} did not move from here.`, {
      hint: 'bun scripts/dns.ts cutover --plan',
    })
  return moves.filter(isOpen)
}

/** Proves that nobody reaches the old host any more, for as long as was asked, then says what to remove there. */
export async function decommission(session: Session, opened: Opened): Promise<number> {
  const deps = await openMoving(session, opened)
  const { reporter, signal } = session
  const { migration, dns } = opened.estate
  const [minutes] = flagValues(session, 'for')
  const quietForMs = minutes === undefined ? (migration?.quietForMs ?? 86_400_000) : parseMinutes(minutes) * 60_000
  let moves = await keptMoves(deps)
  let shown = ''
  for (;;) {
    const nowMs = deps.waits.nowMs()
    const records = await readZone(deps, dns?.zone ?? '')
    const old = oldHostOf(opened, moves)
    const found = await Promise.all(
      moves.map(async move => [...findOldHost(move, await observe(deps, move), old), ...findOldRecords(records, move, old)]),
    )
    // Nothing is locked for a day: what a rollback has written meanwhile stands, and ends this.
    moves = await keptMoves(deps)
    const looked = moves.map((move, index) => ({ move: noteLook(move, found[index] ?? [], nowMs), signs: found[index] ?? [] }))
    for (const { move } of looked) await deps.store.writeMove(move)
    moves = looked.map(({ move }) => move)
    const verdicts = looked.map(({ move, signs }) => ({ move, verdict: judgeDecommission(move, signs, quietForMs, nowMs) }))
    const lines = verdicts.flatMap(({ move, verdict }) => describeVerdict(move, verdict, nowMs))
    // A day of looks is one line when nothing changes.
    const states = verdicts.map(({ verdict }) => verdict.state).join()
    if (states !== shown)
      reporter.page(lines.join('\n'), { names: verdicts.map(({ move, verdict }) => ({ name: move.name, ...verdict })) })
    shown = states
    if (verdicts.every(({ verdict }) => verdict.state === 'proven')) {
      reporter.page(whatToRemove(opened, moves).join('\n'), { remove: whatToRemove(opened, moves) })
      return 0
    }
    if (verdicts.some(({ verdict }) => verdict.state === 'in_use')) return 1
    if (session.args.plan) return 2
    const waitMs = Math.max(...verdicts.map(({ verdict }) => pauseFor(verdict, nowMs)))
    await deps.waits.sleep(waitMs, signal)
  }
}

const parseMinutes = (text: string): number => {
  const minutes = Number(text)
  if (Number.isFinite(minutes) && minutes > 0 && minutes <= 43_200) return minutes
  throw new LandfallError('usage', '--for wants minutes between 1 and 43200.', { hint: 'A day: --for 1440' })
}

const pauseFor = (verdict: ReturnType<typeof judgeDecommission>, nowMs: number): number => {
  if (verdict.state === 'too_early') return Math.max(1_000, verdict.untilMs - nowMs)
  if (verdict.state === 'quiet') return Math.min(DECOMMISSION_PAUSE_MS, Math.max(1_000, verdict.leftMs))
  return 1_000
}

/** One more look, kept with the move: a sign of the old host, or a long gap, begins the count anew. */
function noteLook(move: Move, signs: readonly string[], nowMs: number): Move {
  const { quietSinceMs: _since, quietSeenAtMs: _seen, ...rest } = move.marks
  if (signs.length > 0) return { ...move, marks: rest }
  const gap = nowMs - (move.marks.quietSeenAtMs ?? Number.NEGATIVE_INFINITY)
  const quietSinceMs = gap > LONGEST_GAP_MS ? nowMs : (move.marks.quietSinceMs ?? nowMs)
  const marks: Marks = { ...rest, quietSinceMs, quietSeenAtMs: nowMs }
  return { ...move, marks }
}

const oldHostOf = ({ estate }: Pick<Opened, 'estate'>, moves: readonly Move[]): OldHost => ({
  addresses: moves
    .flatMap(move => move.oldAddresses)
    .filter(each => !moves.some(({ to }) => each === to.ipv4 || each === to.ipv6)),
  domains: [
    ...(estate.migration?.oldHost.domains ?? []),
    ...moves.flatMap(move => move.before.flatMap(record => (record.type === 'CNAME' ? [record.content] : []))),
  ],
  headers: estate.migration?.oldHost.headers ?? [],
})

async function readZone(deps: CutoverDeps, domain: string): Promise<readonly DnsRecord[]> {
  const zone = await deps.dns.findZone(domain)
  if (!zone) throw new LandfallError('not_found', `The Cloudflare token sees no zone for ${domain}.`)
  return deps.dns.listRecords(zone.id)
}

/** Records of the name, in the zone itself, that still lead to the old host. */
const findOldRecords = (records: readonly DnsRecord[], move: Move, old: OldHost): string[] =>
  records
    .filter(
      record =>
        record.name === move.name &&
        (old.addresses.includes(record.content) || old.domains.some(domain => isBelow(record.content, domain))),
    )
    .map(record => `the zone holds ${record.name} ${record.type} ${record.content}`)

const describeVerdict = (move: Move, verdict: ReturnType<typeof judgeDecommission>, nowMs: number): string[] => {
  switch (verdict.state) {
    case 'too_early':
      return [`${move.name}: ${verdict.why}`]
    case 'in_use':
      return [`${move.name} still needs the old host:`, ...verdict.signs.map(sign => `  ${sign}`)]
    case 'quiet':
      return [
        `${move.name}: nobody at the old host since ${clockText(verdict.sinceMs, nowMs)}; ${spanText(verdict.leftMs)} to go`,
      ]
    case 'proven':
      return [`${move.name}: nobody at the old host since ${clockText(verdict.sinceMs, nowMs)}: proved`]
  }
}

function whatToRemove({ estate, directory }: Opened, moves: readonly Move[]): string[] {
  const host = estate.migration?.oldHost.name ?? 'the old host'
  return [
    `What can go now:`,
    ...moves.map(move => `  at ${host}: the domain ${move.name}, then the project that served it`),
    `  at ${host}: its variables, tokens and webhooks, and the subscription if nothing else needs it`,
    `  at GitHub: the deploy integration of ${host}, if it was installed`,
    `  in the zone: verification TXT records of ${host}`,
    `  here, last of all: ${directory}/moves — without it there is no way back`,
  ]
}
