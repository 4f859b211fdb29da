/**
 * Which firewall is on which server, and what that lets in. A firewall comes onto a server, and new rules come into force there,
 * only when an action has ended; a label selector brings it onto every server that matches, a moment after the server was made.
 */
import { beginAction } from './actions.ts'
import { type Cloud, ofProject, patch } from './cloud.ts'
import { matchesSelector, parseSelector } from './labels.ts'
import type { ActionRow, Attachment, FirewallRow, ServerRow } from './rows.ts'
import { EVERYTHING, type Opening, openingsOf } from './rules.ts'

export const MAX_PER_SERVER = 5

/** The firewalls that are on a server or coming onto it. */
export const firewallsOn = (cloud: Cloud, server: number): FirewallRow[] =>
  cloud.firewalls.all().filter(firewall => firewall.attachments.some(attachment => attachment.server === server))

/** Begins to bring a firewall onto a server. */
export const attach = (cloud: Cloud, atMs: number, firewallId: number, server: ServerRow, selector: string | null): ActionRow => {
  const firewall = cloud.firewalls.get(String(firewallId))
  const attachment: Attachment = { server: server.id, selector, state: 'pending', enforced: [] }
  patch(cloud.firewalls, firewallId, { attachments: [...(firewall?.attachments ?? []), attachment] })
  return beginAction(cloud, atMs, {
    project: server.project,
    command: 'apply_firewall',
    resources: [
      { type: 'firewall', id: firewallId },
      { type: 'server', id: server.id },
    ],
    effect: { kind: 'firewall_applied', firewall: firewallId, server: server.id, selector },
    otherwise: { kind: 'firewall_removed', firewall: firewallId, server: server.id, selector },
  })
}

/** Begins to take a firewall off a server. */
export const detach = (cloud: Cloud, atMs: number, firewall: FirewallRow, gone: Attachment): ActionRow => {
  const current = cloud.firewalls.get(String(firewall.id)) ?? firewall
  const same = (other: Attachment): boolean => other.server === gone.server && other.selector === gone.selector
  patch(cloud.firewalls, firewall.id, {
    attachments: current.attachments.map(other => (same(other) ? { ...other, state: 'removing' } : other)),
  })
  return beginAction(cloud, atMs, {
    project: firewall.project,
    command: 'remove_firewall',
    resources: [
      { type: 'firewall', id: firewall.id },
      { type: 'server', id: gone.server },
    ],
    effect: { kind: 'firewall_removed', firewall: firewall.id, server: gone.server, selector: gone.selector },
    otherwise: { kind: 'firewall_applied', firewall: firewall.id, server: gone.server, selector: gone.selector },
  })
}

/**
 * Brings firewalls with label selectors onto the servers that match now and off those that do not. Servers still being created
 * are left until they are done, as the vendor does. `only` limits it to one firewall.
 */
export const followSelectors = (cloud: Cloud, project: string, atMs: number, only?: number): ActionRow[] => {
  const begun: ActionRow[] = []
  const servers = ofProject(cloud.servers, project).filter(({ status }) => status !== 'initializing' && status !== 'deleting')
  for (const firewall of ofProject(cloud.firewalls, project)) {
    if (only !== undefined && firewall.id !== only) continue
    for (const selector of firewall.selectors) {
      const terms = parseSelector(selector) ?? []
      for (const server of servers) {
        const held = firewall.attachments.some(at => at.server === server.id && at.selector === selector)
        const eligible = (server.ipv4 !== null || server.ipv6 !== null) && firewallsOn(cloud, server.id).length < MAX_PER_SERVER
        if (!held && eligible && matchesSelector(terms, server.labels))
          begun.push(attach(cloud, atMs, firewall.id, server, selector))
      }
    }
    for (const attachment of firewall.attachments) {
      const server = cloud.servers.get(String(attachment.server))
      const { selector, state } = attachment
      if (selector === null || state !== 'applied' || !server) continue
      const stays = firewall.selectors.includes(selector) && matchesSelector(parseSelector(selector) ?? [], server.labels)
      if (!stays) begun.push(detach(cloud, atMs, firewall, attachment))
    }
  }
  return begun
}

const changeAttachments = (cloud: Cloud, id: number, change: (firewall: FirewallRow) => readonly Attachment[]): void => {
  const firewall = cloud.firewalls.get(String(id))
  if (firewall) patch(cloud.firewalls, id, { attachments: change(firewall) })
}

/** The firewall is on the server from now, with the rules that it has now. */
export const enforceFirewall = (cloud: Cloud, id: number, server: number, selector?: string | null): void =>
  changeAttachments(cloud, id, firewall =>
    firewall.attachments.map(at =>
      at.server === server && (selector === undefined ? at.state !== 'pending' : at.selector === selector)
        ? { ...at, state: selector === undefined ? at.state : 'applied', enforced: firewall.rules }
        : at,
    ),
  )

export const releaseFirewall = (cloud: Cloud, id: number, server: number, selector: string | null): void =>
  changeAttachments(cloud, id, firewall => firewall.attachments.filter(at => at.server !== server || at.selector !== selector))

/** Firewalls named when a server is created; they are in force when its create action has ended, before it starts. */
export const attachAtCreation = (cloud: Cloud, server: number, firewalls: readonly number[]): void => {
  for (const id of firewalls)
    changeAttachments(cloud, id, firewall => [
      ...firewall.attachments,
      { server, selector: null, state: 'pending', enforced: [] },
    ])
}

export const enforceAtCreation = (cloud: Cloud, server: number): void => {
  for (const firewall of firewallsOn(cloud, server)) enforceFirewall(cloud, firewall.id, server, null)
}

/** The server is gone: its firewalls are off it, and can be deleted after the lingering time. */
export const forgetServer = (cloud: Cloud, server: number, atMs: number): void => {
  for (const firewall of firewallsOn(cloud, server))
    patch(cloud.firewalls, firewall.id, {
      attachments: firewall.attachments.filter(at => at.server !== server),
      inUseUntilMs: atMs + cloud.rules().firewallLingerMs,
    })
}

/** What the cloud lets in to a server's public addresses now. */
export const exposureOf = (cloud: Cloud, server: ServerRow): readonly Opening[] => {
  if (server.ipv4 === null && server.ipv6 === null) return []
  const inForce = firewallsOn(cloud, server.id)
    .flatMap(firewall => firewall.attachments)
    .filter(at => at.server === server.id && at.state !== 'pending')
  return inForce.length === 0 ? EVERYTHING : inForce.flatMap(at => openingsOf(at.enforced))
}

/** `public_net.firewalls` of a server. */
export const renderServerFirewalls = (cloud: Cloud, server: number) =>
  firewallsOn(cloud, server).map(firewall => ({
    id: firewall.id,
    status: firewall.attachments.some(at => at.server === server && at.state !== 'pending') ? 'applied' : 'pending',
  }))
