/**
 * Port 3000 on a stock server, as the server itself treats it. Dokploy's own port is plain HTTP: once the panel is served under its name
 * and no admin's address is let in, nothing but the machine's loopback reaches it, whatever a cloud firewall says. It is shut in front of
 * Docker instead of unpublished, because the loopback is where our tunnel ends. An address that is let in opens it again.
 */

import { blocked, done, todo } from '../engine/step.ts'
import type { FirewallSpec } from '../estate/estate.ts'
import type { Deps, EstateStep } from './deps.ts'
import { desiredAdminRules } from './firewall.ts'
import { runProgram } from './machine.ts'
import { type DokployServer, liveTarget } from './panel.ts'

type PanelPortDeps = Pick<Deps, 'estate' | 'machines' | 'programs' | 'admin'>

/** @param admins the firewall that lets admins in */
export function panelPortStep(deps: PanelPortDeps, spec: DokployServer, admins: FirewallSpec | undefined): EstateStep {
  const { host } = spec.dokploy
  return {
    id: `panel port ${spec.name}`,
    noun: 'firewall',
    title: `${spec.name} itself guards the ports of Dokploy and its swarm`,
    needs: host ? [`panel ${host}`, `outside ${spec.name}`] : [`dokploy ${spec.name} owner`],
    reads: ['servers', 'machines', 'panels', 'firewalls'],
    look(world) {
      const have = world.get('firewalls').find(each => each.name === admins?.name)
      const letIn = admins ? desiredAdminRules(admins, have?.rules ?? [], deps.admin) : []
      const want: 'open' | 'closed' = host && letIn.length === 0 ? 'closed' : 'open'
      const change = {
        kind: 'change',
        summary:
          want === 'closed'
            ? `shut port 3000 on ${spec.name} itself: its panel is at https://${host}`
            : `leave port 3000 of ${spec.name} to the cloud firewall, and guard the swarm's ports`,
      } as const
      const machine = world.get('machines')[spec.name]
      const panel = world.get('panels')[spec.name]
      if (machine?.state !== 'ready' || panel?.state !== 'up' || panel.admin !== 'ours')
        return blocked(`the first admin of ${spec.name}`, change)
      if (want === 'closed' && (panel.settings?.host !== host || !panel.settings?.https)) return blocked(`panel ${host}`, change)
      if (machine.facts.panelPort === want)
        return done(want === 'closed' ? 'port 3000 answers the loopback alone' : 'port 3000 is left to the cloud firewall')
      return todo({
        ...change,
        async apply({ world: live, signal }) {
          await runProgram(deps, liveTarget(deps, spec, live), 'set-panel-port', { STATE: want }, signal)
          const facts = { ...machine.facts, panelPort: want }
          live.update('machines', all => ({ ...all, [spec.name]: { ...machine, facts } }))
        },
      })
    },
  }
}
