/** The way back: the records from before the move, byte for byte, from its file and the zone alone. The cloud and the panels may be down. */

import { describeRecord, isEmptyBatch, joinBatches, restoreBatch, strangersAt } from '../cutover/changes.ts'
import { addressRecordsOf, type Move } from '../cutover/move.ts'
import { longestTtlS, spanText } from '../cutover/ttl.ts'
import { type Change, done, refused, todo } from '../engine/step.ts'
import { LandfallError } from '../errors.ts'
import type { CutoverDeps } from './cutover-world.ts'
import type { EstateStep } from './deps.ts'
import { zoneStep } from './dns.ts'
import { proofsIn } from './dns-certificate.ts'
import type { EstateWorld } from './world.ts'

export type RollbackDeps = Pick<CutoverDeps, 'estate' | 'dns' | 'takeOver' | 'store' | 'waits'> & {
  readonly names: readonly string[]
}

export const rollbackSteps = (deps: RollbackDeps): EstateStep[] => [zoneStep(deps), restoreStep(deps)]

/** The named records are what they were before the move, whatever else the zone holds now. */
export function restoreStep(deps: RollbackDeps): EstateStep {
  const { names } = deps
  return {
    id: 'move restore',
    noun: 'dns',
    title: `${names.join(', ')} have the records from before the move`,
    needs: ['zone'],
    reads: ['zone', 'records', 'moves'],
    look(world) {
      const records = world.get('records')
      const moves = names.flatMap(name => world.get('moves')[name] ?? [])
      const missing = names.filter(name => world.get('moves')[name] === undefined)
      if (missing.length > 0)
        return refused(
          `No move of ${missing.join(', ')} is kept in ${deps.store.directory}/moves, so there is nothing to go back to.`,
          'Run it where the cutover ran, or copy that folder here; bun scripts/dns.ts watch lists what is known.',
        )
      const zone = world.get('zone')
      const elsewhere = moves.find(move => move.zoneId !== zone?.id)
      if (elsewhere)
        return refused(
          `The move of ${elsewhere.name} was made in another zone object (${elsewhere.zoneId}).`,
          'Use the token of that Cloudflare account.',
        )
      const strangers = moves.filter(move => !deps.takeOver.includes(move.name)).flatMap(move => strangersAt(move, records))
      if (strangers.length > 0)
        return refused(
          `Somebody else has changed ${strangers.map(each => `${each.name} (${describeRecord(each)})`).join(', ')} since the move.`,
          `If it may be replaced: bun scripts/dns.ts rollback ${strangers.map(each => `--take-over ${each.name}`).join(' ')}`,
        )
      const proofs = proofsIn(deps, names, records)
      const batch = joinBatches([
        ...moves.map(move => restoreBatch(move, records)),
        { deletes: proofs.map(({ id }) => ({ id })), patches: [], posts: [] },
      ])
      const unmarked = moves.filter(move => move.marks.rolledBackAtMs === undefined)
      if (isEmptyBatch(batch) && unmarked.length === 0) return done(`as on ${dayOf(moves)}`)
      const note = async () => {
        for (const move of unmarked)
          await deps.store.writeMove({ ...move, marks: { ...move.marks, rolledBackAtMs: deps.waits.nowMs() } })
      }
      const standing = moves.flatMap(move => addressRecordsOf(records, move.name))
      const change: Change<EstateWorld> = {
        // Nothing but a note in the file, when the records are right already.
        kind: isEmptyBatch(batch) ? 'wait' : 'change',
        summary: isEmptyBatch(batch)
          ? 'note that the move was undone'
          : `put the records of ${names.join(', ')} back as they were on ${dayOf(moves)}`,
        details: [
          ...standing.map(record => `- ${record.name} ${describeRecord(record)}`),
          ...moves.flatMap(move => move.before.map(record => `+ ${record.name} ${describeRecord(record)}`)),
          `answers of the new place may live for another ${spanText(longestTtlS(standing, 60) * 1000)}: keep it running until then`,
        ],
        async apply({ world: live }) {
          if (!isEmptyBatch(batch)) await deps.dns.changeRecords(moves[0]?.zoneId ?? '', batch)
          await note()
          live.touch('records')
          live.touch('moves')
          await live.look(['records', 'moves'])
          const left = moves.filter(move => !isEmptyBatch(restoreBatch(move, live.get('records'))))
          if (left.length > 0)
            throw new LandfallError(
              'unverified',
              `Cloudflare took the records of ${left.map(move => move.name).join(', ')}, but shows others.`,
              {
                hint: 'Run the same command again: it changes only what still differs.',
              },
            )
        },
      }
      return todo(change)
    },
  }
}

const dayOf = (moves: readonly Move[]): string =>
  new Date(Math.min(...moves.map(move => move.takenAtMs))).toISOString().slice(0, 16).replace('T', ' ')
