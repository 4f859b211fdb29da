/** The name of an application, when nobody else has it yet. A name that is served elsewhere is moved by a cutover, never in passing. */

import { isAddressRecord } from '../cutover/move.ts'
import { done } from '../engine/step.ts'
import type { DnsSpec } from '../estate/estate.ts'
import { isOurMark } from '../estate/naming.ts'
import type { Deps, EstateStep } from './deps.ts'
import { recordStep } from './dns.ts'
import type { EstateWorld } from './world.ts'

/** The records by which somebody else leads `name` to another place. Pure. */
export const elsewhereRecords = (estate: string, name: string, records: EstateWorld['records']): EstateWorld['records'] =>
  records.filter(each => each.name === name && isAddressRecord(each) && !isOurMark(each.comment, estate))

export function appRecordStep(deps: Pick<Deps, 'estate' | 'dns' | 'takeOver'>, spec: DnsSpec['records'][number]): EstateStep {
  const step = recordStep(deps, spec)
  return {
    ...step,
    title: `${spec.name} leads to ${spec.server}, or still elsewhere`,
    // The zone is judged by the commands about names.
    needs: step.needs.filter(need => need !== 'zone'),
    look(world) {
      const elsewhere = elsewhereRecords(deps.estate.name, spec.name, world.get('records'))
      if (elsewhere.length === 0) return step.look(world)
      const where = elsewhere.map(each => each.content).join(', ')
      return done(`at ${where}, until it is moved: bun scripts/dns.ts cutover ${spec.name}`)
    },
  }
}
