/** Servers of a group that config.json has made smaller: still ours, still billed, and no longer wanted. */

import { type Change, done, refused, todo } from '../engine/step.ts'
import type { ServerSpec } from '../estate/estate.ts'
import { isOurs, LABEL_KEYS } from '../estate/labels.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { Deps, EstateStep } from './deps.ts'
import type { EstateWorld } from './world.ts'

const baseOf = (name: string): string => name.replace(/-\d+$/, '')

/** Our servers of a wanted group (its role, its name with another number) that are not wanted themselves. Pure. */
export function surplusServers(
  estate: string,
  wanted: readonly Pick<ServerSpec, 'name' | 'role'>[],
  servers: readonly Server[],
): Server[] {
  const groups = new Set(wanted.map(spec => `${baseOf(spec.name)} ${spec.role}`))
  return servers.filter(
    server =>
      isOurs(server.labels, estate) &&
      !wanted.some(spec => spec.name === server.name) &&
      groups.has(`${baseOf(server.name)} ${server.labels[LABEL_KEYS.role] ?? ''}`),
  )
}

/** No server of a group is left beyond the wanted ones. */
export function surplusStep(deps: Pick<Deps, 'estate' | 'cloud'>): EstateStep {
  const { estate, cloud } = deps
  return {
    id: 'surplus servers',
    noun: 'server',
    title: 'no group has more servers than wanted',
    // Those that stay come first, so that a group that is renumbered is never empty.
    needs: estate.servers.map(spec => `server ${spec.name} running`),
    reads: ['servers', 'serverTypes'],
    order: 'parallel',
    look(world) {
      const surplus = surplusServers(estate.name, estate.servers, world.get('servers'))
      if (surplus.length === 0) return done('none')
      const locked = surplus.filter(server => server.deleteProtected)
      if (locked.length > 0)
        return refused(
          `${locked.map(server => server.name).join(', ')} is no longer wanted, and protected against deletion at the vendor.`,
          'Lift the protection in the vendor’s console, then run the same command again.',
        )
      return todo(
        ...surplus.map((server): Change<EstateWorld> => {
          const offer = world
            .get('serverTypes')
            .find(type => type.name === server.type)
            ?.offers.find(each => each.location === server.location)
          return {
            kind: 'destroy',
            summary: `delete server ${server.name}, which config.json no longer wants`,
            ...(offer ? { monthlyNet: -offer.monthly.net } : {}),
            async apply({ world: live }) {
              await cloud.deleteServer(server.id)
              live.update('servers', all => all.filter(other => other.id !== server.id))
            },
          }
        }),
      )
    },
  }
}
