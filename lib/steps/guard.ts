/** Which firewalls stand in front of an existing server, and that none of ours is left which config.json has forgotten. */

import { blocked, type Change, done, todo } from '../engine/step.ts'
import type { Estate, ServerSpec } from '../estate/estate.ts'
import { exposureLines } from '../estate/firewall.ts'
import { isOurs } from '../estate/labels.ts'
import { adminFirewallName, previewFirewallName } from '../estate/naming.ts'
import type { Cloud, Firewall, Server } from '../providers/ports/cloud.ts'
import type { Deps, EstateStep } from './deps.ts'
import { attachChange, attachSummary, guardStepId } from './firewall.ts'
import { findServer } from './server.ts'
import { surplusServers } from './surplus.ts'
import type { EstateWorld } from './world.ts'

export interface GuardDifferences {
  /** Names of firewalls that config.json wants before the server and that are not there. */
  readonly missing: readonly string[]
  /** Firewalls of ours that are before it and should not be. */
  readonly surplus: readonly Firewall[]
}

/**
 * How what stands before a server differs from what config.json says. The admin's way to a panel has a step of its own, and what others
 * have put there is theirs. Pure.
 */
export function judgeGuards(
  estate: Pick<Estate, 'name'>,
  spec: Pick<ServerSpec, 'firewalls' | 'dokploy'>,
  server: Pick<Server, 'firewallIds' | 'ipv4' | 'ipv6'>,
  firewalls: readonly Firewall[],
): GuardDifferences {
  // A firewall filters public addresses. A server that has some although the file wants none keeps what guards them.
  if (spec.firewalls.length === 0 || (server.ipv4 === undefined && server.ipv6 === undefined)) return { missing: [], surplus: [] }
  const on = firewalls.filter(each => server.firewallIds.includes(each.id) && isOurs(each.labels, estate.name))
  const isForAdmins = (each: Firewall) => spec.dokploy !== undefined && each.name === adminFirewallName(estate.name)
  return {
    missing: spec.firewalls.filter(name => !on.some(each => each.name === name)),
    surplus: on.filter(each => !spec.firewalls.includes(each.name) && !isForAdmins(each)),
  }
}

/** The existing server has its firewalls, and no other of ours; a new one is created with them. */
export function guardStep(deps: Pick<Deps, 'estate' | 'cloud'>, spec: ServerSpec): EstateStep {
  const { estate, cloud } = deps
  return {
    id: guardStepId(spec.name),
    noun: 'firewall',
    title: `server ${spec.name} stands behind ${spec.firewalls.join(', ') || 'no firewall'}`,
    needs: [`server ${spec.name}`, ...spec.firewalls.map(name => `firewall ${name}`)],
    reads: ['servers', 'firewalls'],
    look(world) {
      const have = findServer(estate.name, spec.name, world.get('servers'))
      if (!have) return done('it is created with them')
      const firewalls = world.get('firewalls').filter(each => isOurs(each.labels, estate.name))
      const { missing, surplus } = judgeGuards(estate, spec, have, firewalls)
      if (missing.length === 0 && surplus.length === 0) return done(spec.firewalls.join(', ') || 'no public address')
      // Before anything is taken off, what stays has to be in force.
      const pending = surplus.length > 0 ? (have.pendingFirewallIds ?? []) : []
      const wanted = firewalls.filter(each => spec.firewalls.includes(each.name))
      const due = wanted.filter(each => missing.includes(each.name) || pending.includes(each.id))
      const detachments = surplus.map(each => detachChange(cloud, have, each))
      const unborn = missing.filter(name => !wanted.some(each => each.name === name))
      if (unborn.length > 0)
        return blocked(
          `firewall ${unborn.join(', ')}`,
          ...missing.map(name => ({ kind: 'change', summary: attachSummary(name, have.name) }) as const),
          ...detachments,
        )
      return todo(...due.map(each => attachChange(cloud, have, each)), ...detachments)
    },
  }
}

const detachChange = (
  cloud: Pick<Cloud, 'detachFirewall'>,
  server: Pick<Server, 'id' | 'name'>,
  firewall: Firewall,
): Change<EstateWorld> => ({
  kind: 'change',
  summary: `take firewall ${firewall.name} off ${server.name}`,
  details: [`it lets in ${exposureLines(firewall.rules).join(', ') || 'nobody'}`],
  async apply({ world }) {
    await cloud.detachFirewall(firewall.id, [server.id])
    world.update('servers', all =>
      all.map(each =>
        each.id === server.id ? { ...each, firewallIds: each.firewallIds.filter(id => id !== firewall.id) } : each,
      ),
    )
  },
})

/**
 * No firewall of ours is left that config.json does not name and no server has. One that still guards something stays, and is told.
 * @param after steps that delete servers in the same run; without any, servers that are too many keep what guards them
 */
export function surplusFirewallsStep(deps: Pick<Deps, 'estate' | 'cloud'>, after: readonly string[]): EstateStep {
  const { estate, cloud } = deps
  const wanted = new Set([
    ...estate.firewalls.map(each => each.name),
    ...(estate.previews?.substrate === 'servers' ? [previewFirewallName(estate.name)] : []),
  ])
  return {
    id: 'surplus firewalls',
    noun: 'firewall',
    title: 'no firewall is left that nobody wants',
    needs: [...estate.servers.map(spec => guardStepId(spec.name)), ...after],
    reads: ['servers', 'firewalls'],
    look(world) {
      const servers = world.get('servers')
      const leaving = after.length > 0 ? surplusServers(estate.name, estate.servers, servers) : []
      const all = world.get('firewalls')
      const isFreed = (firewall: Firewall, server: Server): boolean => {
        const spec = isOurs(server.labels, estate.name) && estate.servers.find(each => each.name === server.name)
        return spec ? judgeGuards(estate, spec, server, all).surplus.includes(firewall) : leaving.includes(server)
      }
      const surplus = all
        .filter(each => isOurs(each.labels, estate.name) && !wanted.has(each.name))
        .map(firewall => {
          const holders = servers.filter(server => server.firewallIds.includes(firewall.id))
          const keepers = holders.filter(server => !isFreed(firewall, server)).map(server => server.name)
          return { firewall, holders: holders.map(server => server.name), keepers }
        })
      const kept = surplus.filter(each => each.keepers.length > 0)
      const going = surplus.filter(each => each.keepers.length === 0)
      const held = going.flatMap(each => each.holders)
      const changes = going.map(
        ({ firewall }): Change<EstateWorld> => ({
          kind: 'change',
          summary: `delete firewall ${firewall.name}, which config.json no longer names`,
          async apply({ world: live }) {
            await cloud.deleteFirewall(firewall.id)
            live.update('firewalls', left => left.filter(each => each.id !== firewall.id))
          },
        }),
      )
      if (held.length > 0) return blocked(`${[...new Set(held)].join(', ')}`, ...changes)
      if (changes.length > 0) return todo(...changes)
      return done(kept.map(each => `${each.firewall.name} stays: it guards ${each.keepers.join(', ')}`).join('; ') || 'none')
    },
  }
}
