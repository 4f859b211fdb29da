/**
 * Firewalls. Names are unique in the account (409 "duplicate name"). A firewall carries no labels and its rules no reasons, so both
 * are tags, see `tags.ts`; it finds its servers by a tag too, which has no limit of ten and is in force from a server's first moment.
 */

import { LandfallError } from '../../errors.ts'
import type { Cloud, Firewall, FirewallRule, Labels } from '../ports/cloud.ts'
import { type Client, type Dots, objectIn } from './client.ts'
import { isLock } from './locks.ts'
import { type Shared, tagsOf, type WireDroplet, type WireFirewall, type WireRule } from './shared.ts'
import { firewallLabels, firewallTags, guardTag, isGuardTag, isWhyTag, whyFromTags, whyTag } from './tags.ts'

type Firewalls = Pick<
  Cloud,
  'listFirewalls' | 'createFirewall' | 'setFirewallRules' | 'attachFirewall' | 'detachFirewall' | 'deleteFirewall'
>

const APPLIED_WITHIN_MS = 120_000

type WireInput = Parameters<Dots['firewall']['createFirewall']>[0]

/** The vendor answers "0" for all ports and takes only "all" (https://github.com/digitalocean/godo/issues/149); of ICMP it takes none. */
const portsToWire = (protocol: string, ports: string | undefined): { readonly ports?: string } => {
  if (protocol === 'icmp' || !ports) return {}
  return { ports: ports === '0' || ports === ALL_PORTS ? 'all' : ports }
}

const ALL_PORTS = '1-65535'

/** Without a rule for what leaves, nothing may leave: unlike at Hetzner. */
export const ALLOW_ALL_OUT = (['tcp', 'udp', 'icmp'] as const).map(
  protocol =>
    // The library's types want ports of every rule.
    ({
      protocol,
      ...portsToWire(protocol, ALL_PORTS),
      destinations: { addresses: ['0.0.0.0/0', '::/0'] },
    }) as WireInput['outbound_rules'][number],
)

export function createFirewalls(client: Client, shared: Shared): Firewalls {
  const { clock, signal } = client.context

  const read = async (id: string): Promise<WireFirewall> => {
    const request = { what: `read firewall ${id}`, method: 'GET', path: `/firewalls/${id}` } as const
    return (
      await client.call(
        request,
        dots => dots.firewall.getFirewall({ firewall_id: id }),
        data => objectIn<WireFirewall>(data, 'firewall', request.what),
      )
    ).value
  }

  const waitApplied = async (id: string): Promise<void> => {
    const deadlineMs = clock.monotonicMs() + APPLIED_WITHIN_MS
    for (let pauseMs = 200; ; pauseMs = Math.min(3_000, pauseMs * 1.5)) {
      const firewall = await read(id)
      if (firewall.status === 'failed')
        throw new LandfallError('unhealthy', `DigitalOcean could not bring firewall ${firewall.name} onto its servers.`, {
          hint: 'Look at it at cloud.digitalocean.com → Networking → Firewalls, then run the same command again.',
        })
      if (firewall.status !== 'waiting' && (firewall.pending_changes ?? []).length === 0) return
      if (clock.monotonicMs() > deadlineMs)
        throw new LandfallError('timeout', `Firewall ${firewall.name} is not in force on all its servers after 2 min.`, {
          hint: 'Run the same command again: it looks first.',
        })
      await clock.sleep(pauseMs, signal)
    }
  }

  const put = async (
    firewall: WireFirewall,
    change: { rules?: readonly FirewallRule[]; tags?: readonly string[]; dropletIds?: readonly number[] },
  ) => {
    const body = {
      id: firewall.id,
      name: firewall.name ?? '',
      droplet_ids: [...(change.dropletIds ?? firewall.droplet_ids ?? [])],
      tags: [...(change.tags ?? firewall.tags ?? [])],
      inbound_rules: change.rules ? change.rules.map(ruleToWire) : rawRules(firewall),
      outbound_rules: ALLOW_ALL_OUT,
    }
    const request = { what: `change firewall ${firewall.name}`, method: 'PUT', path: `/firewalls/${firewall.id}` } as const
    await client.call(
      request,
      dots => dots.firewall.updateFirewall(body),
      () => undefined,
    )
  }

  return {
    async listFirewalls() {
      const [firewalls, droplets] = await Promise.all([shared.listFirewalls(), shared.listDroplets()])
      return firewalls.filter(firewall => !isLock(firewall)).map(firewall => firewallFromWire(firewall, droplets))
    },

    createFirewall: ({ name, rules, labels }) =>
      shared.tagging(async () => {
        const tags = [guardTag(name), ...firewallTags(labels)]
        await shared.ensureTags([
          ...tags,
          ...rules
            .map(rule => rule.why)
            .filter(Boolean)
            .map(whyTag),
        ])
        const what = `create firewall ${name}`
        const body = { name, tags, droplet_ids: [], inbound_rules: rules.map(ruleToWire), outbound_rules: ALLOW_ALL_OUT }
        const made = await client.create(
          { what, path: '/firewalls' },
          dots => dots.firewall.createFirewall(body),
          data => objectIn<WireFirewall>(data, 'firewall', what),
          async () => {
            const found = (await shared.listFirewalls()).find(each => each.name === name)
            if (found && !carries(firewallLabels(found.tags ?? []), labels)) throw takenBy(`firewall ${name}`)
            return found
          },
          error => error.code === 'name_taken',
        )
        return firewallFromWire(made, [])
      }),

    async setFirewallRules(id, rules) {
      const before = await read(id)
      await shared.tagging(async () => {
        await shared.ensureTags(
          rules
            .map(rule => rule.why)
            .filter(Boolean)
            .map(whyTag),
        )
        await put(before, { rules })
      })
      await waitApplied(id)
      await shared.dropTags((before.inbound_rules ?? []).flatMap(rule => rule.sources?.tags ?? []))
    },

    async attachFirewall(id, serverIds) {
      if (serverIds.length === 0) return
      const firewall = await read(id)
      const tag = guardTag(firewall.name ?? '')
      await shared.tagging(async () => {
        await shared.ensureTags([tag])
        if (!(firewall.tags ?? []).includes(tag)) await put(firewall, { tags: [...(firewall.tags ?? []), tag] })
        const request = { what: `attach firewall ${firewall.name}`, method: 'POST', path: `/tags/${tag}/resources` } as const
        const resources = serverIds.map(resource_id => ({ resource_id, resource_type: 'droplet' as const }))
        await client.call(
          request,
          dots => dots.tag.tagResources({ tag_name: tag, resources }),
          () => undefined,
        )
      })
      await waitApplied(id)
    },

    async detachFirewall(id, serverIds) {
      if (serverIds.length === 0) return
      const firewall = await read(id)
      const foreign = (firewall.tags ?? []).filter(tag => !isGuardTag(tag))
      const droplets = foreign.length === 0 ? [] : await shared.listDroplets()
      for (const { name, tags } of droplets.filter(each => serverIds.includes(String(each.id)))) {
        const holds = foreign.find(tag => tags?.includes(tag))
        // Without the tag, whoever else carries it would stand bare.
        if (holds !== undefined)
          throw new LandfallError(
            'refused',
            `Could not detach firewall ${firewall.name} from ${name}: the tag "${holds}" holds it there.`,
            {
              hint: 'Take the tag off the firewall (control panel → Networking → Firewalls), then run the same command again.',
            },
          )
      }
      // By id it comes only through somebody's hand in the control panel.
      const dropletIds = firewall.droplet_ids ?? []
      const left = dropletIds.filter(each => !serverIds.includes(String(each)))
      if (left.length < dropletIds.length) await put(firewall, { dropletIds: left })
      const resources = serverIds.map(resource_id => ({ resource_id, resource_type: 'droplet' as const }))
      for (const tag of (firewall.tags ?? []).filter(isGuardTag))
        await client.call(
          { what: `detach firewall ${firewall.name}`, method: 'DELETE', path: `/tags/${tag}/resources` },
          dots => dots.tag.untagResources({ tag_name: tag, resources }),
          () => undefined,
        )
      await waitApplied(id)
    },

    async deleteFirewall(id) {
      const firewall = (await shared.listFirewalls()).find(each => each.id === id)
      await client.remove({ what: `delete firewall ${firewall?.name ?? id}`, path: `/firewalls/${id}` }, dots =>
        dots.firewall.deleteFirewall({ firewall_id: id }),
      )
      if (firewall) await shared.dropTags(tagsOf(firewall))
    },
  }
}

/** Whether `labels` proves that the object is the one which was to be created with `wanted`. */
export const carries = (labels: Labels, wanted: Labels): boolean => {
  const pairs = Object.entries(wanted)
  return pairs.length > 0 && pairs.every(([key, value]) => labels[key] === value)
}

export const takenBy = (what: string): LandfallError =>
  new LandfallError(
    'name_taken',
    `Could not create ${what}: the account has another object of this name, which is not of this run.`,
    {
      hint: 'Rename or delete the other object at DigitalOcean, or choose another name in the configuration.',
    },
  )

/** The ids of the firewalls that a droplet is behind: by its id, or by any tag of the firewall's that it carries, whoever gave it. */
export const guardsOf = (droplet: Pick<WireDroplet, 'id' | 'tags'>, firewalls: readonly WireFirewall[]): string[] =>
  firewalls
    .filter(
      firewall =>
        (firewall.droplet_ids ?? []).includes(droplet.id) ||
        (firewall.tags ?? []).some(tag => (droplet.tags ?? []).includes(tag)),
    )
    .map(firewall => firewall.id)

function firewallFromWire(wire: WireFirewall, droplets: readonly WireDroplet[]): Firewall {
  return {
    id: wire.id,
    name: wire.name ?? '',
    labels: firewallLabels(wire.tags ?? []),
    rules: (wire.inbound_rules ?? []).flatMap(ruleFromWire),
    serverIds: droplets.filter(droplet => guardsOf(droplet, [wire]).length > 0).map(droplet => String(droplet.id)),
  }
}

function ruleFromWire({ protocol, ports, sources }: WireRule): FirewallRule[] {
  if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'icmp') return []
  const port = ports === '0' || ports === 'all' ? ALL_PORTS : ports
  const others = othersIn(sources)
  return [
    {
      protocol,
      ...(protocol === 'icmp' || !port ? {} : { port }),
      from: sources?.addresses ?? [],
      ...(others.length > 0 ? { others } : {}),
      why: whyFromTags(sources?.tags ?? []),
    },
  ]
}

/** Who is let in without an address. */
const othersIn = (sources: WireRule['sources']): string[] => [
  ...(sources?.tags ?? []).filter(tag => !isWhyTag(tag)).map(tag => `tag ${tag}`),
  ...(sources?.droplet_ids ?? []).map(id => `droplet ${id}`),
  ...(sources?.load_balancer_uids ?? []).map(id => `load balancer ${id}`),
  ...(sources?.kubernetes_ids ?? []).map(id => `Kubernetes cluster ${id}`),
]

type WireInbound = WireInput['inbound_rules'][number]

const ruleToWire = ({ protocol, port, from, why }: FirewallRule): WireInbound =>
  ({
    protocol,
    ...portsToWire(protocol, port),
    sources: { addresses: [...from], ...(why === '' ? {} : { tags: [whyTag(why)] }) },
  }) as WireInbound

/** The rules as they are, to be sent back beside a change of something else. */
const rawRules = ({ inbound_rules }: WireFirewall): WireInbound[] =>
  (inbound_rules ?? []).map(
    ({ protocol, ports, sources }) =>
      ({
        protocol: protocol ?? '',
        ...portsToWire(protocol ?? '', ports ?? undefined),
        sources: { ...sources },
      }) as WireInbound,
  )
