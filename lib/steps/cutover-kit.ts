/** What the stages of a move share: their names, their marks on disk, and how a batch reaches the zone. */

import { describeRecord, isEmptyBatch, isSwitched, joinBatches, lowerBatch, strangersAt } from '../cutover/changes.ts'
import { aimOf, isOpen, type Marks, type Move } from '../cutover/move.ts'
import type { World, WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { MovingName } from '../estate/migration.ts'
import type { DnsRecord, RecordBatch } from '../providers/ports/dns.ts'
import type { CutoverDeps } from './cutover-world.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

export const listed = (deps: CutoverDeps): string => deps.names.map(({ name }) => name).join(', ')

/** The open move of a name and the server where it shall go, when both are there, and where the one leads seen from the other. */
export function findMove(deps: Pick<CutoverDeps, 'estate'>, { name, server }: MovingName, world: WorldView<EstateWorld>) {
  const move = world.get('moves')[name]
  const to = findServer(deps.estate.name, server, world.get('servers'))
  return isOpen(move) && to ? { move, to, aim: aimOf(move, to) } : undefined
}

/** The moves under way, each to the very server where its name shall go, or undefined while one is missing. */
export const openMoves = (deps: CutoverDeps, world: WorldView<EstateWorld>): Move[] | undefined => {
  const found = deps.names.map(moving => findMove(deps, moving, world))
  return found.every(each => each?.aim === 'here') ? found.flatMap(each => each?.move ?? []) : undefined
}

export const everyMark = (moves: readonly Move[] | undefined, mark: keyof Marks): boolean =>
  moves?.every(move => move.marks[mark] !== undefined) ?? false

/** On disk first, then in the world. */
export async function keep({ store }: Pick<CutoverDeps, 'store'>, live: World<EstateWorld>, move: Move): Promise<void> {
  await store.writeMove(move)
  live.update('moves', all => ({ ...all, [move.name]: move }))
}

export async function mark(
  deps: CutoverDeps,
  live: World<EstateWorld>,
  moves: readonly Move[],
  marks: Partial<Marks>,
): Promise<void> {
  for (const move of moves) await keep(deps, live, { ...move, marks: { ...move.marks, ...marks } })
}

/** Old records stay readable meanwhile, for steps that run beside this one. */
export const relook = async (live: World<EstateWorld>): Promise<readonly DnsRecord[]> => {
  live.touch('records')
  await live.look(['records'])
  return live.get('records')
}

export const replyText = (reply: { state: 'answers'; status: number } | { state: 'silent'; why: string }): string =>
  reply.state === 'answers' ? `it answers ${reply.status}` : reply.why

/** Sends the batch, and reads what became of it: new records have ids that only the vendor knows. */
export async function apply(
  deps: CutoverDeps,
  live: World<EstateWorld>,
  moves: readonly Move[],
  batchFor: (move: Move, records: readonly DnsRecord[]) => RecordBatch,
): Promise<void> {
  const batch = joinBatches(moves.map(move => batchFor(move, live.get('records'))))
  if (!isEmptyBatch(batch)) await deps.dns.changeRecords(moves[0]?.zoneId ?? '', batch)
  await relook(live)
}

/** The same for the switch, over what is there at this moment: minutes or hours have passed since the plan. */
export async function applyFresh(...[deps, live, moves, batchFor]: Parameters<typeof apply>): Promise<void> {
  const records = await relook(live)
  const strangers = moves.filter(move => !deps.takeOver.includes(move.name)).flatMap(move => strangersAt(move, records))
  if (strangers.length > 0)
    throw new LandfallError(
      'refused',
      `Nothing was switched: somebody else has changed ${strangers.map(each => `${each.name} (${describeRecord(each)})`).join(', ')}.`,
      { hint: 'Run the same command again: it shows what is there now.' },
    )
  const isRaised = (move: Move) =>
    move.marks.switchedAtMs === undefined && !isSwitched(move, records) && !isEmptyBatch(lowerBatch(move, records))
  const raised = moves.filter(isRaised)
  if (raised.length > 0)
    throw new LandfallError(
      'refused',
      `Nothing was switched: the TTL of ${raised.map(({ name }) => name).join(', ')} was raised while the old one was waited out.`,
      { hint: 'Run the same command again: it lowers the TTL and waits anew.' },
    )
  await apply(deps, live, moves, batchFor)
}
