/** Whether the token at hand belongs to the project that holds the estate. Hetzner has no "who am I", so the world has to tell. */

import type { WorldView } from './engine/world.ts'
import { isOurs } from './estate/labels.ts'
import { parseRecordMark } from './estate/naming.ts'
import type { EstateWorld } from './steps/world.ts'

/**
 * A sentence when DNS says that the estate stands, while the cloud shows nothing of it. Pure; undefined when there is no such sign,
 * or when DNS was not looked at.
 */
export function findForeignProject(
  estate: string,
  world: WorldView<EstateWorld> & { has(slice: keyof EstateWorld): boolean },
): string | undefined {
  if (!world.has('records') || !world.has('servers')) return undefined
  const marks = world.get('records').flatMap(record => {
    const mark = parseRecordMark(record.comment)
    return mark?.estate === estate ? [{ ...mark, name: record.name, content: record.content }] : []
  })
  const first = marks[0]
  if (!first || world.get('servers').some(server => isOurs(server.labels, estate))) return undefined
  return (
    `This token sees no server of estate ${estate}, yet ${first.name} points at its server ${first.server} ` +
    `(id ${first.serverId}, ${first.content}): it seems to be the token of another project.`
  )
}
