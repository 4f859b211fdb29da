/** What the stages of a move share: their names, their marks on disk, and how a batch reaches the zone. */

import { describeRecord, isEmptyBatch, joinBatches, strangersAt } from '../cutover/changes.ts'
import { isOpen, type Marks, type Move } from '../cutover/move.ts'
import type { World, WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { DnsRecord, RecordBatch } from '../providers/ports/dns.ts'
import type { CutoverDeps } from './cutover-world.ts'
import type { EstateWorld } from './world.ts'

export const listed = (deps: CutoverDeps): string => deps.names.map(({ name }) => name).join(', ')

/** The moves under way, or undefined while one is missing. */
export const openMoves = (deps: CutoverDeps, world: WorldView<EstateWorld>): Move[] | undefined => {
  const moves = deps.names.map(({ name }) => world.get('moves')[name]).filter(isOpen)
  return moves.length === deps.names.length ? moves : undefined
}

export const everyMark = (moves: readonly Move[] | undefined, mark: keyof Marks): boolean =>
  moves?.every(move => move.marks[mark] !== undefined) ?? false

/** On disk first, then in the world. */
export async function mark(
  deps: CutoverDeps,
  live: World<EstateWorld>,
  moves: readonly Move[],
  marks: Partial<Marks>,
): Promise<void> {
  for (const move of moves) {
    const next = { ...move, marks: { ...move.marks, ...marks } }
    await deps.store.writeMove(next)
    live.update('moves', all => ({ ...all, [move.name]: next }))
  }
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

/** The same for the switch, over what is there at this moment: minutes have passed since the plan. */
export async function applyFresh(...[deps, live, moves, batchFor]: Parameters<typeof apply>): Promise<void> {
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
