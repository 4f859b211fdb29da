/** Whether the token at hand belongs to the project that holds the estate. Hetzner has no "who am I", so the world has to tell. */

import type { WorldView } from './engine/world.ts'
import { isOurs } from './estate/labels.ts'
import { parseRecordMark } from './estate/naming.ts'
import { isKept } from './steps/address.ts'
import type { EstateWorld } from './steps/world.ts'

export interface ForeignProject {
  /** A sentence. */
  readonly why: string
  /** Servers of the estate that names lead to. */
  readonly servers: readonly string[]
}

/**
 * What DNS says of an estate that stands, while the cloud shows nothing of it. Pure; undefined when there is no such sign, when DNS was not
 * looked at, or when an address that one of the names leads to waits in this project for its server.
 */
export function findForeignProject(
  estate: string,
  world: WorldView<EstateWorld> & { has(slice: keyof EstateWorld): boolean },
): ForeignProject | undefined {
  if (!world.has('records') || !world.has('servers')) return undefined
  const marks = world.get('records').flatMap(record => {
    const mark = parseRecordMark(record.comment)
    return mark?.estate === estate ? [{ ...mark, name: record.name, content: record.content }] : []
  })
  const first = marks[0]
  const balancers = world.has('loadBalancers') ? world.get('loadBalancers') : []
  if (!first || [...world.get('servers'), ...balancers].some(each => isOurs(each.labels, estate))) return undefined
  const kept = world.has('primaryIps') ? world.get('primaryIps').filter(ip => isKept(estate, ip)) : []
  if (kept.some(ip => marks.some(({ content }) => content === ip.ip))) return undefined
  return {
    why:
      `This token sees no server of estate ${estate}, yet ${first.name} points at its server ${first.server} ` +
      `(id ${first.serverId}, ${first.content}): it seems to be the token of another project.`,
    servers: [...new Set(marks.map(mark => mark.server))],
  }
}
