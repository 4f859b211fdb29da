/** What time has brought: ends the actions that are due, in order, and lets each have its effect at the moment it ended. */
import { beginAction, endAction, nextDue } from './actions.ts'
import { assignIp, unassignIp } from './addresses.ts'
import { enforceAtCreation, enforceFirewall, followSelectors, releaseFirewall } from './attachments.ts'
import { type Cloud, patch } from './cloud.ts'
import { finishSnapshot } from './images.ts'
import { changeSubnets, joinNetwork, leaveNetwork } from './networks.ts'
import type { ActionRow, Effect } from './rows.ts'
import { finishRebuild, finishRetype } from './server-power.ts'
import { dropServer, setPower } from './servers.ts'

const have = (cloud: Cloud, effect: Effect, action: ActionRow): void => {
  const atMs = action.endsAtMs
  switch (effect.kind) {
    case 'nothing':
      break
    case 'server_status':
      setPower(cloud, effect.server, effect.to, atMs)
      break
    case 'server_created':
      enforceAtCreation(cloud, effect.server)
      patch(cloud.servers, effect.server, { status: effect.to })
      break
    case 'server_deleted':
      dropServer(cloud, effect.server, atMs)
      break
    case 'server_rebuilt':
      finishRebuild(cloud, effect.server, effect.image, effect.userData, atMs)
      break
    case 'server_retyped':
      finishRetype(cloud, effect.server, effect.type, effect.upgradeDisk, atMs)
      break
    case 'server_signalled':
      signalGuest(cloud, effect.server, action)
      break
    case 'server_rescue':
      patch(cloud.servers, effect.server, { rescueEnabled: effect.enabled, rescueKeys: effect.keys })
      break
    case 'server_protection':
      patch(cloud.servers, effect.server, { protection: { delete: effect.delete, rebuild: effect.rebuild } })
      break
    case 'server_group':
      patch(cloud.servers, effect.server, { placementGroup: effect.group })
      break
    case 'server_attached':
      joinNetwork(cloud, effect.server, effect.net)
      break
    case 'server_detached':
      leaveNetwork(cloud, effect.server, effect.network)
      break
    case 'image_ended':
      finishSnapshot(cloud, effect.image, effect.status)
      break
    case 'image_protection':
      patch(cloud.images, effect.image, { protection: { delete: effect.delete } })
      break
    case 'network_subnets':
      changeSubnets(cloud, effect.network, effect.add, effect.remove)
      break
    case 'network_protection':
      patch(cloud.networks, effect.network, { protection: { delete: effect.delete } })
      break
    case 'firewall_applied':
      enforceFirewall(cloud, effect.firewall, effect.server, effect.selector)
      break
    case 'firewall_removed':
      releaseFirewall(cloud, effect.firewall, effect.server, effect.selector)
      break
    case 'firewall_rules':
      enforceFirewall(cloud, effect.firewall, effect.server)
      break
    case 'ip_assigned':
      assignIp(cloud, effect.ip, effect.server)
      break
    case 'ip_unassigned':
      unassignIp(cloud, effect.ip)
      break
    case 'ip_protection':
      patch(cloud.ips, effect.ip, { protection: { delete: effect.delete } })
      break
  }
}

// A shutdown action ends when the signal was sent. The guest goes down later by itself, or never.
const signalGuest = (cloud: Cloud, id: number, action: ActionRow): void => {
  if (cloud.rules().ignoreShutdown || cloud.servers.get(String(id))?.status !== 'running') return
  beginAction(cloud, action.endsAtMs, {
    project: action.project,
    command: 'guest_shutdown',
    resources: [{ type: 'server', id }],
    effect: { kind: 'server_status', server: id, to: 'off' },
    hidden: true,
  })
}

/** Brings the cloud up to `nowMs`. Returns whether anything has changed. */
export const settle = (cloud: Cloud, nowMs: number): boolean => {
  let changed = false
  for (let action = nextDue(cloud, nowMs); action; action = nextDue(cloud, nowMs)) {
    have(cloud, endAction(cloud, action), action)
    followSelectors(cloud, action.project, action.endsAtMs)
    changed = true
  }
  return changed
}
