/** What a run's end tells people: outputs, URLs, where secrets lie, how to log in, what it costs, how to undo. Pure. */

import type { World } from './engine/world.ts'
import { type Cost, costOf, renderAmount } from './estate/cost.ts'
import type { Estate, ServerSpec } from './estate/estate.ts'
import { isOurs } from './estate/labels.ts'
import { CONSOLES, type Server } from './providers/ports/cloud.ts'
import type { Session } from './script.ts'
import { type Drift, driftOf } from './steps/drift.ts'
import { findServer } from './steps/server.ts'
import { forgottenServers, type StayingServer, stayingServers } from './steps/surplus.ts'
import type { EstateWorld } from './steps/world.ts'
import type { ParsedArgs, Summary } from './ui/types.ts'
import { commandLine } from './view.ts'

const isServerOf =
  (estate: Estate, spec: ServerSpec) =>
  ({ name, labels }: Server): boolean =>
    name === spec.name && isOurs(labels, estate.name)

/** `dev_ip`, `prod_ip` … and, where a panel has a name, `dev_url` …; by role, or by server name where a role has several servers. */
export function outputsOf(estate: Estate, world: World<EstateWorld>): Record<string, string> {
  const servers = world.has('servers') ? world.get('servers') : []
  const entries = estate.servers.flatMap(spec => {
    const server = servers.find(isServerOf(estate, spec))
    const alone = estate.servers.filter(each => each.role === spec.role).length === 1
    const key = (alone ? spec.role : spec.name).replaceAll('-', '_')
    return [
      ...(server?.ipv4 ? [[`${key}_ip`, server.ipv4] as const] : []),
      ...(server?.ipv6 ? [[`${key}_ipv6`, server.ipv6] as const] : []),
      ...(server && spec.dokploy?.host ? [[`${key}_url`, `https://${spec.dokploy.host}`] as const] : []),
    ]
  })
  return Object.fromEntries(entries)
}

/** Under its name, else at its server's address. */
const panelAddress = (estate: Estate, spec: ServerSpec, world: World<EstateWorld>): string => {
  if (spec.dokploy?.host) return `https://${spec.dokploy.host}`
  const server = world.has('servers') ? world.get('servers').find(isServerOf(estate, spec)) : undefined
  return server?.ipv4 ? `${spec.name}: http://${server.ipv4}:3000` : spec.name
}

/** What is ours and billed, at today's prices; undefined when prices were not looked at. */
export function costNow(estate: Estate, world: World<EstateWorld>): Cost | undefined {
  if (!world.has('pricing') || !world.has('serverTypes') || !world.has('servers')) return undefined
  return costOf({
    servers: world.get('servers').filter(each => isOurs(each.labels, estate.name)),
    serverTypes: world.get('serverTypes'),
    pricing: world.get('pricing'),
    primaryIps: [],
    loadBalancers: world.has('loadBalancers') ? world.get('loadBalancers').filter(each => isOurs(each.labels, estate.name)) : [],
    images: [],
  })
}

/** One line of money. */
export function costLine(estate: Estate, world: World<EstateWorld>): string | undefined {
  const cost = costNow(estate, world)
  if (!cost) return undefined
  const { currency, monthly, hourly } = cost
  return `${renderAmount(monthly.net)} ${currency} a month net (${renderAmount(monthly.gross)} gross), ${hourly.net.toFixed(4)} an hour`
}

/** What was found to differ from config.json and no run changes by itself. */
function driftIn(estate: Estate, world: World<EstateWorld>): (Drift & { readonly server: string })[] {
  if (!world.has('servers')) return []
  const seen = {
    ...(world.has('networks') ? { networks: world.get('networks') } : {}),
    ...(world.has('placementGroups') ? { placementGroups: world.get('placementGroups') } : {}),
    ...(world.has('images') ? { images: world.get('images') } : {}),
  }
  return estate.servers.flatMap(spec => {
    const have = findServer(estate.name, spec.name, world.get('servers'))
    return have ? driftOf(estate, spec, have, seen).map(each => ({ ...each, server: spec.name })) : []
  })
}

/** Servers that are too many and still billed. */
const stayingIn = (estate: Estate, world: World<EstateWorld>): StayingServer[] =>
  (['servers', 'zone', 'records', 'moves'] as const).every(slice => world.has(slice))
    ? stayingServers({ estate, readsNames: true, takeOver: [] }, world, [])
    : []

const forgottenIn = (estate: Estate, world: World<EstateWorld>): Server[] =>
  world.has('servers') ? forgottenServers(estate, world.get('servers')) : []

/** Whether servers differ from config.json in what no run changes by itself. */
export const differsForGood = (estate: Estate, world: World<EstateWorld>): boolean =>
  driftIn(estate, world).length + stayingIn(estate, world).length + forgottenIn(estate, world).length > 0

/** The arguments that hold for another script too. */
const asTyped = ({ action: _action, ...args }: ParsedArgs): ParsedArgs => ({ ...args, names: [], plan: false, flags: {} })

/** The end of a run that set up or checked an estate. */
export function endingOf(
  session: Pick<Session, 'args' | 'manual'>,
): (world: World<EstateWorld>, estate: Estate) => Pick<Summary, 'outputs' | 'notes' | 'next'> {
  const as = (name: string, action?: string): string => {
    const args = asTyped(session.args)
    return commandLine({ args: action ? { ...args, action } : args, manual: { name, about: '', examples: [] } })
  }
  return (world, estate) => {
    const withPanel = estate.servers.filter(spec => spec.dokploy)
    const cost = costLine(estate, world)
    return {
      outputs: outputsOf(estate, world),
      notes: [
        ...withPanel.map(spec => ({
          label: panelAddress(estate, spec, world),
          text: `Dokploy, log in as ${spec.dokploy?.adminEmail}`,
        })),
        ...(withPanel.length > 0
          ? [
              {
                label: 'passwords',
                // Commands stand alone on their lines: one that is wrapped cannot be pasted.
                text: `${as('dokploy', 'login')}\nkept on each server in /etc/landfall/dokploy-login, for root only`,
              },
              { label: 'SSH', text: `${as('status')} --ssh\nhost keys are pinned` },
            ]
          : []),
        ...stayingIn(estate, world).map(({ server, names, command }) => ({
          label: 'stays',
          text: `${server}, which config.json no longer wants, because ${names.join(', ')} ${names.length === 1 ? 'leads' : 'lead'} to it\n${command}`,
        })),
        ...forgottenIn(estate, world).map(({ name }) => ({
          label: 'stays',
          text: `${name}, which config.json does not name, and is billed: name it there again, or delete it in ${CONSOLES[estate.cloud]}`,
        })),
        ...driftIn(estate, world).map(({ server, wants, command }) => ({
          label: 'differs',
          text: `${server}: config.json wants ${wants}\n${command}`,
        })),
        ...(cost ? [{ label: 'costs', text: `${cost}\n${as('cost')}` }] : []),
        { label: 'undo', text: as('destroy') },
      ],
      // Nothing comes after a look at the whole.
      ...(session.manual.name === 'status' ? {} : { next: as('status') }),
    }
  }
}
