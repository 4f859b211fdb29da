/** Firewalls: inbound rules outside the machine, which no process on it can undo. */

import { hasCode, LandfallError } from '../../errors.ts'
import type { Cloud, Firewall, FirewallRule } from '../ports/cloud.ts'
import { act, createNamed, type Deps, findOwn, track } from './deps.ts'
import { isLock } from './locks.ts'
import { idToWire, labelsFromWire, objectIn, type WireAction, type WireId, type WireNamed } from './wire.ts'

type Firewalls = Pick<
  Cloud,
  'listFirewalls' | 'createFirewall' | 'setFirewallRules' | 'attachFirewall' | 'detachFirewall' | 'deleteFirewall'
> & {
  /** The names of the locks in the newest list. */
  listedLocks(): ReadonlySet<string> | undefined
}

export function createFirewalls(deps: Deps): Firewalls {
  const { calls } = deps
  let locks: ReadonlySet<string> | undefined

  /** The vendor counts the firewall as applied, yet it filters nothing, and nothing is going on that would change that. */
  const isStuck = async (id: string, server: string): Promise<boolean> => {
    const path = `/servers/${encodeURIComponent(server)}`
    const query = [['status', 'running'] as const]
    const running = await calls.list<WireAction>(
      { what: `list the actions of server ${server}`, path: `${path}/actions`, query },
      'actions',
    )
    await track(deps, running.value, { what: `wait for server ${server}`, order: 'together', receivedAtMs: running.receivedAtMs })
    const { value } = await calls.call({ what: `read server ${server}`, method: 'GET', path }, json =>
      objectIn<WireGuarded>(json, 'server'),
    )
    return (value.public_net?.firewalls ?? []).some(each => String(each.id) === id && each.status === 'pending')
  }

  const change = (verb: 'apply_to' | 'remove_from', id: string, ids: readonly string[]): Promise<void> =>
    act(deps, {
      what: `${verb === 'apply_to' ? 'attach' : 'detach'} firewall ${id} ${verb === 'apply_to' ? 'to' : 'from'} server ${ids.join(', ')}`,
      path: `/firewalls/${encodeURIComponent(id)}/actions/${verb}_resources`,
      body: { [verb]: ids.map(server => ({ type: 'server', server: { id: idToWire(server) } })) },
    })

  return {
    async listFirewalls() {
      const { value } = await calls.list<WireFirewall>({ what: 'list firewalls', path: '/firewalls' }, 'firewalls')
      locks = new Set(value.filter(isLock).map(firewall => firewall.name ?? ''))
      return value.filter(firewall => !isLock(firewall)).map(firewallFromWire)
    },
    listedLocks: () => locks,

    async createFirewall({ name, rules, labels }) {
      const place = { what: `firewall ${name}`, path: '/firewalls', key: 'firewalls' }
      const { object } = await createNamed<WireFirewall>(deps, {
        ...place,
        key: 'firewall',
        body: { name, labels, rules: rules.map(ruleToWire) },
        find: () => findOwn<WireFirewall>(deps, { ...place, name, labels }),
      })
      return firewallFromWire(object)
    },

    async setFirewallRules(id, rules) {
      await act(deps, {
        what: `set the rules of firewall ${id}`,
        path: `/firewalls/${encodeURIComponent(id)}/actions/set_rules`,
        body: { rules: rules.map(ruleToWire) },
      })
    },

    async attachFirewall(id, serverIds) {
      const attach = async (ids: readonly string[]): Promise<void> => {
        try {
          await change('apply_to', id, ids)
        } catch (error) {
          if (!(error instanceof LandfallError) || error.vendorCode !== 'firewall_already_applied') throw error
          // One that has it makes the vendor refuse all of them; alone, it is what was wanted.
          if (ids.length > 1) for (const one of ids) await attach([one])
          else if (await isStuck(id, ids[0] ?? '')) {
            await change('remove_from', id, ids)
            await change('apply_to', id, ids)
          }
        }
      }
      if (serverIds.length > 0) await attach(serverIds)
    },

    async detachFirewall(id, serverIds) {
      // One by one: a server that is free of it already makes the vendor refuse all.
      for (const server of serverIds)
        try {
          await change('remove_from', id, [server])
        } catch (error) {
          if (!(error instanceof LandfallError)) throw error
          if (error.vendorCode === 'firewall_resource_not_found') continue
          if (error.vendorCode !== 'firewall_managed_by_label_selector') throw error
          throw new LandfallError(
            'refused',
            `Could not detach firewall ${id} from server ${server}: a label selector holds it there.`,
            {
              hint: 'Take the selector off it (Hetzner Console → Firewalls → Applied to), then run the same command again.',
              ...(error.correlationId === undefined ? {} : { correlationId: error.correlationId }),
              ...(error.status === undefined ? {} : { status: error.status }),
              vendorCode: error.vendorCode,
            },
          )
        }
    },

    async deleteFirewall(id) {
      try {
        await calls.remove({ what: `delete firewall ${id}`, path: `/firewalls/${encodeURIComponent(id)}` }, () => undefined)
      } catch (error) {
        if (!hasCode(error, 'vendor') || error.vendorCode !== 'resource_in_use') throw error
        throw new LandfallError('refused', `Could not delete firewall ${id}: it is still applied to a server.`, {
          hint: 'Remove it from its servers (Hetzner Console → Firewalls → Applied to), then run the same command again.',
          ...(error.correlationId === undefined ? {} : { correlationId: error.correlationId }),
          ...(error.status === undefined ? {} : { status: error.status }),
          vendorCode: 'resource_in_use',
        })
      }
    },
  }
}

interface WireGuarded extends WireNamed {
  readonly public_net?: { readonly firewalls?: readonly { readonly id: WireId; readonly status?: string | null }[] | null } | null
}

interface WireRule {
  readonly direction?: string | null
  readonly protocol?: string | null
  readonly port?: string | null
  readonly source_ips?: readonly string[] | null
  readonly description?: string | null
}

interface WireApplied {
  readonly server?: { readonly id: WireId } | null
  readonly applied_to_resources?: readonly { readonly server?: { readonly id: WireId } | null }[] | null
}

interface WireFirewall extends WireNamed {
  readonly rules?: readonly WireRule[] | null
  readonly applied_to?: readonly WireApplied[] | null
}

function firewallFromWire(wire: WireFirewall): Firewall {
  const applied = (wire.applied_to ?? []).flatMap(entry => [entry, ...(entry.applied_to_resources ?? [])])
  const serverIds = applied.flatMap(entry => (entry.server ? [String(entry.server.id)] : []))
  return {
    id: String(wire.id),
    name: wire.name ?? '',
    labels: labelsFromWire(wire.labels),
    rules: (wire.rules ?? []).flatMap(ruleFromWire),
    serverIds: [...new Set(serverIds)],
  }
}

const PROTOCOLS = ['tcp', 'udp', 'icmp', 'esp', 'gre'] as const

function ruleFromWire(wire: WireRule): FirewallRule[] {
  const protocol = PROTOCOLS.find(each => each === wire.protocol)
  if (wire.direction !== 'in' || protocol === undefined) return []
  return [{ protocol, ...(wire.port ? { port: wire.port } : {}), from: wire.source_ips ?? [], why: wire.description ?? '' }]
}

const ruleToWire = (rule: FirewallRule) => ({
  direction: 'in',
  protocol: rule.protocol,
  ...(rule.port === undefined ? {} : { port: rule.port }),
  source_ips: rule.from,
  description: rule.why,
})
