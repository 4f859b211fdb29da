/**
 * The cloud firewall: what every server has from its first instant, and what is opened to the admin once Dokploy has an owner.
 * The two are separate objects, so that following a changed address never rewrites the rule that carries SSH.
 */

import { blocked, type Change, done, refused, todo } from '../engine/step.ts'
import type { Estate, FirewallSpec, ServerSpec } from '../estate/estate.ts'
import { desiredRules, diffRules, exposureLines, wouldCutOff } from '../estate/firewall.ts'
import { isOurs, labelsFor } from '../estate/labels.ts'
import { type Cloud, CONSOLES, type Firewall, type FirewallRule, type Server } from '../providers/ports/cloud.ts'
import type { Deps, EstateStep } from './deps.ts'
import type { EstateWorld } from './world.ts'

type FirewallDeps = Pick<Deps, 'estate' | 'cloud' | 'runId'>

/** The firewall exists with exactly the wanted rules. */
export function firewallStep(
  deps: FirewallDeps,
  spec: FirewallSpec,
  desired: (have: Firewall | undefined) => readonly FirewallRule[] = () => desiredRules(spec),
): EstateStep {
  const { estate, cloud } = deps
  const isNarrow = guardedServers(estate, spec).some(server => !isOpenToAll(estate, server))
  return {
    id: `firewall ${spec.name}`,
    noun: 'firewall',
    title: `firewall ${spec.name} lets in ${portsOf(spec) || 'nobody'}`,
    needs: [],
    reads: ['firewalls', ...(isNarrow ? (['operator'] as const) : [])],
    look(world) {
      const have = world.get('firewalls').find(each => each.name === spec.name)
      if (have && !isOurs(have.labels, estate.name))
        return refused(
          `A firewall called ${spec.name} exists in this project and does not belong to this estate.`,
          `Rename it in ${CONSOLES[cloud.vendor]}, or choose another "project" in config.json.`,
        )
      const want = desired(have)
      const cutOff = findLockOut(estate, spec, isNarrow ? world.get('operator') : [])
      if (cutOff) return refused(...cutOff)
      if (!have)
        return todo({
          kind: 'create',
          summary: `create firewall ${spec.name}`,
          details: [exposureLines(want).join(', ')],
          async apply({ world: live }) {
            const firewall = await cloud.createFirewall({
              name: spec.name,
              rules: want,
              labels: labelsFor(estate.name, 'shared', deps.runId),
            })
            live.update('firewalls', all => [...all, firewall])
          },
        })
      const differences = diffRules(have.rules, want)
      if (differences.length === 0) return done(exposureLines(have.rules).join(', '))
      return todo({
        kind: 'change',
        summary: `change the rules of firewall ${spec.name}`,
        details: differences,
        async apply({ world: live }) {
          await cloud.setFirewallRules(have.id, want)
          live.update('firewalls', all => all.map(each => (each.id === have.id ? { ...each, rules: want } : each)))
        },
      })
    },
  }
}

/** The servers that stand behind this firewall from their creation. */
const guardedServers = ({ servers }: Pick<Estate, 'servers'>, spec: FirewallSpec): readonly ServerSpec[] =>
  spec.attach === 'at_create' ? servers.filter(server => server.firewalls.includes(spec.name)) : []

/** All that lets anybody in to `server`, from its firewalls together. */
const rulesFor = ({ firewalls }: Pick<Estate, 'firewalls'>, server: ServerSpec): readonly FirewallRule[] =>
  firewalls.filter(each => server.firewalls.includes(each.name)).flatMap(each => desiredRules(each))

/** Lie in no range but everybody's. */
const ANYBODY = ['0.0.0.0', '::'] as const

const isOpenToAll = (estate: Pick<Estate, 'firewalls'>, server: ServerSpec): boolean => {
  const rules = rulesFor(estate, server)
  return ANYBODY.every(address => !wouldCutOff(rules, address))
}

/**
 * Why this firewall must not become what config.json says: behind it we could not log in to a server of ours. An address that nobody
 * could find out is not judged. Pure.
 * @param operator the addresses that we come from
 */
export function findLockOut(
  estate: Pick<Estate, 'servers' | 'firewalls'>,
  spec: FirewallSpec,
  operator: readonly string[],
): readonly [why: string, hint: string] | undefined {
  for (const server of guardedServers(estate, spec)) {
    const rules = rulesFor(estate, server)
    // A server that nobody shall log in to is somebody's wish; one with Dokploy is refused when the file is read.
    if (rules.every(isShutForSsh)) continue
    const mine = operator.filter(address => address.includes(':') !== server.ipv4)
    if (mine.length > 0 && mine.every(address => wouldCutOff(rules, address)))
      return [
        `Firewall ${spec.name} would cut you off: you come from ${mine.join(' and ')}, and no rule lets that in to port 22 of ${server.name}.`,
        `Add it to the rule's "from" in config.json, or run this from an address that is listed there.`,
      ]
  }
  return undefined
}

const isShutForSsh = (rule: FirewallRule): boolean => rule.from.every(range => wouldCutOff([rule], range.split('/')[0] ?? range))

const portsOf = (spec: FirewallSpec): string =>
  spec.rules.map(rule => (rule.port === undefined ? rule.protocol : `${rule.port}/${rule.protocol}`)).join(', ')

/** What `guardStep` is called; a server is not powered on before it. */
export const guardStepId = (server: string): string => `server ${server} guarded`

export const attachSummary = (firewall: string, server: string): string => `attach firewall ${firewall} to ${server}`

/** The firewall is on the existing server, and in force. */
export const attachChange = (
  cloud: Pick<Cloud, 'attachFirewall'>,
  server: Pick<Server, 'id' | 'name'>,
  firewall: Firewall,
): Change<EstateWorld> => ({
  kind: 'change',
  summary: attachSummary(firewall.name, server.name),
  details: [exposureLines(firewall.rules).join(', ')],
  async apply({ world }) {
    await cloud.attachFirewall(firewall.id, [server.id])
    world.update('servers', all => all.map(each => (each.id === server.id ? withFirewall(each, firewall.id) : each)))
  },
})

const withFirewall = (server: Server, id: string): Server => ({
  ...server,
  firewallIds: [...new Set([...server.firewallIds, id])],
  pendingFirewallIds: (server.pendingFirewallIds ?? []).filter(each => each !== id),
})

/** Rules that `allow-me` made begin with it, followed by whose they are; they belong to people, not to config.json. */
const ALLOW_ME = 'allow-me '

/**
 * The admin firewall as wanted: what config.json lists, what others were given by hand, and `me` at my present addresses; nobody on a
 * port that config.json opens to no admin. Pure.
 */
export function desiredAdminRules(
  spec: FirewallSpec,
  have: readonly FirewallRule[],
  me?: Deps['admin'],
): readonly FirewallRule[] {
  const mine = me && `${ALLOW_ME}${me.who}`
  const isOffered = ({ port }: FirewallRule) => spec.rules.some(rule => rule.port === port)
  const kept = have
    .filter(rule => rule.why.startsWith(ALLOW_ME) && rule.why !== mine && isOffered(rule) && rule.from.length > 0)
    .map(({ others: _, ...rule }) => rule)
  const fresh = spec.rules.flatMap(({ protocol, port }) =>
    me && mine ? [{ protocol, ...(port ? { port } : {}), from: me.addresses.map(asCidr), why: mine }] : [],
  )
  return [...desiredRules(spec), ...kept, ...fresh]
}

const asCidr = (address: string): string => (address.includes('/') ? address : `${address}/${address.includes(':') ? 128 : 32}`)

/** The firewall that lets admins in has the wanted rules; without any admin it need not exist. */
export function adminFirewallStep(deps: FirewallDeps & Pick<Deps, 'admin'>, spec: FirewallSpec): EstateStep {
  const bare = firewallStep(deps, spec, have => desiredAdminRules(spec, have?.rules ?? [], deps.admin))
  return {
    ...bare,
    title: `firewall ${spec.name} lets admins in on ${portsOf(spec) || 'no port'}`,
    look(world) {
      const have = world.get('firewalls').find(each => each.name === spec.name)
      if (!have && desiredAdminRules(spec, [], deps.admin).length === 0)
        return done('no admin address is set: the panel is reached by its name')
      return bare.look(world)
    },
  }
}

/** The admin's way in is opened only when the server's Dokploy has an owner: whoever comes first would become it. */
export function adminAccessStep(
  deps: FirewallDeps & Pick<Deps, 'admin'>,
  server: ServerSpec,
  firewall: FirewallSpec,
): EstateStep {
  const summary = attachSummary(firewall.name, server.name)
  return {
    id: `admin access ${server.name}`,
    noun: 'firewall',
    title: `${server.name}: the admin's addresses reach ${portsOf(firewall) || 'no port'}`,
    needs: [`firewall ${firewall.name}`, `dokploy ${server.name} owner`],
    reads: ['servers', 'firewalls', 'panels'],
    look(world) {
      const have = world.get('servers').find(each => each.name === server.name)
      const wall = world.get('firewalls').find(each => each.name === firewall.name)
      if (!wall && desiredAdminRules(firewall, [], deps.admin).length === 0) return done('nobody needs it')
      if (!have || !wall) return blocked(`${server.name} and its first admin`, { kind: 'change', summary })
      if (have.firewallIds.includes(wall.id)) return done(exposureLines(wall.rules).join(', '))
      const panel = world.get('panels')[server.name]
      if (panel?.state !== 'up' || panel.admin !== 'ours')
        return blocked(`the first admin of Dokploy on ${server.name}`, { kind: 'change', summary })
      return todo(attachChange(deps.cloud, have, wall))
    },
  }
}
