/** Names of ours without a step of their own, such as applications' and moved ones, lead to a new server as they led to the old one. */

import { blocked, done, todo } from '../engine/step.ts'
import type { ServerSpec } from '../estate/estate.ts'
import { parseRecordMark, renderRecordMark } from '../estate/naming.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { Deps, EstateStep } from './deps.ts'
import { findServer } from './server.ts'

/** Names with a step of their own. */
export const moversOf = ({ estate: { dns, servers } }: Pick<Deps, 'estate'>): string[] =>
  (dns?.records ?? []).flatMap(({ name, server }) => (servers.some(spec => spec.name === server) ? [name] : []))

/** @param isOld whether a server is still the one that goes */
export function namesStep(
  deps: Pick<Deps, 'estate' | 'dns'>,
  spec: Pick<ServerSpec, 'name'>,
  isOld: (server: Server) => boolean,
): EstateStep {
  const { estate, dns } = deps
  const own = moversOf(deps)
  return {
    id: `names ${spec.name}`,
    noun: 'dns',
    title: `every name that led to the old ${spec.name} leads to the new one`,
    needs: ['zone', `server ${spec.name} running`],
    reads: ['servers', 'zone', 'records'],
    look(world) {
      const zone = world.get('zone')
      if (!zone) return blocked('the zone')
      const led = world.get('records').filter(({ name, type, comment }) => {
        const mark = parseRecordMark(comment)
        return (
          mark?.estate === estate.name && mark.server === spec.name && (type === 'A' || type === 'AAAA') && !own.includes(name)
        )
      })
      if (led.length === 0) return done('none')
      const summary = `lead ${[...new Set(led.map(({ name }) => name))].join(', ')} to the new ${spec.name}`
      const server = findServer(estate.name, spec.name, world.get('servers'))
      if (!server || isOld(server)) return blocked(`server ${spec.name}`, { kind: 'change', summary })
      const comment = renderRecordMark({ estate: estate.name, server: server.name, serverId: server.id })
      const changes = led.map(record => ({ record, content: record.type === 'A' ? server.ipv4 : server.ipv6 }))
      const deletes = changes.flatMap(({ record, content }) => (content === undefined ? [record] : []))
      const patches = changes.flatMap(({ record, content }) =>
        content === undefined || (content === record.content && record.comment === comment)
          ? []
          : [{ id: record.id, before: record, record: { content, comment } }],
      )
      if (deletes.length + patches.length === 0) return done(led.map(({ name }) => name).join(', '))
      return todo({
        kind: 'change',
        summary,
        details: [
          ...patches.map(({ before, record }) => `~ ${before.name} ${before.type} ${before.content} → ${record.content}`),
          ...deletes.map(each => `- ${each.name} ${each.type} ${each.content}`),
        ],
        async apply({ world: live }) {
          await dns.changeRecords(zone.id, { deletes, patches: patches.map(({ id, record }) => ({ id, record })), posts: [] })
          live.update('records', all =>
            all.flatMap(each => {
              const patch = patches.find(({ id }) => id === each.id)
              return deletes.includes(each) ? [] : [patch ? { ...each, ...patch.record } : each]
            }),
          )
        },
      })
    },
  }
}
