/**
 * Everything that carries the estate's mark, removed in the order that dependencies allow. What is ours is read from the world,
 * never from config.json: a server that was taken out of the config is still ours, and still billed.
 */

import { isOpen } from '../cutover/move.ts'
import type { MoveStore } from '../cutover/store.ts'
import { type Change, done, refused, type Step, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import { balancerRate } from '../estate/cost-environments.ts'
import { standingRate } from '../estate/cost-months.ts'
import { isOurs } from '../estate/labels.ts'
import { isOurMark } from '../estate/naming.ts'
import type { Labels } from '../providers/ports/cloud.ts'
import { addressPrice } from './address.ts'
import type { Deps, EstateStep } from './deps.ts'
import { recordsLeadingTo, refusedForDangling } from './leading.ts'
import { tagSteps } from './tags.ts'
import type { EstateWorld } from './world.ts'

type DestroyDeps = Pick<Deps, 'estate' | 'cloud' | 'dns' | 'clock'> & { readonly store: Pick<MoveStore, 'writeMove'> }

/** Servers that config.json protects: each is named before it goes. */
export const protectedNames = (estate: Deps['estate']): string[] =>
  estate.servers.filter(spec => spec.protected).map(spec => spec.name)

interface Removal {
  readonly slice: 'servers' | 'loadBalancers' | 'firewalls' | 'networks' | 'keys' | 'placementGroups' | 'primaryIps'
  readonly noun: Step<EstateWorld>['noun']
  readonly what: string
  readonly needs: readonly string[]
  readonly remove: (id: string) => Promise<void>
}

/** Steps that leave nothing of the estate. `withDns` is false for an estate without names. */
export function destroySteps(deps: DestroyDeps): EstateStep[] {
  const { cloud, estate } = deps
  const dnsSteps = estate.dns ? [recordsGone(deps)] : []
  const removals = [
    { slice: 'servers', noun: 'server', what: 'server', needs: dnsSteps.map(step => step.id), remove: cloud.deleteServer },
    {
      slice: 'loadBalancers',
      noun: 'network',
      what: 'load balancer',
      needs: dnsSteps.map(step => step.id),
      remove: cloud.deleteLoadBalancer,
    },
    { slice: 'firewalls', noun: 'firewall', what: 'firewall', needs: ['servers gone'], remove: cloud.deleteFirewall },
    {
      slice: 'networks',
      noun: 'network',
      what: 'network',
      needs: ['servers gone', 'loadBalancers gone'],
      remove: cloud.deleteNetwork,
    },
    {
      slice: 'placementGroups',
      noun: 'network',
      what: 'placement group',
      needs: ['servers gone'],
      remove: cloud.deletePlacementGroup,
    },
    { slice: 'primaryIps', noun: 'server', what: 'primary IP', needs: ['servers gone'], remove: cloud.deletePrimaryIp },
    { slice: 'keys', noun: 'key', what: 'SSH key', needs: [], remove: cloud.deleteSshKey },
  ] as const satisfies readonly Removal[]
  return [
    ...dnsSteps,
    ...removals.map(removal => goneStep(deps, removal)),
    ...(estate.dns ? [movesClosed(deps)] : []),
    ...tagSteps(deps, ['servers gone', 'firewalls gone']),
  ]
}

interface Labelled {
  readonly id: string
  readonly name: string
  readonly labels: Labels
}

/** What has to be said where the names cannot be read: the zone is gone, or the token is one for another. */
const NO_ZONE = 'no-zone'

function goneStep({ estate }: DestroyDeps, removal: Removal): EstateStep {
  const { slice, what } = removal
  const isBlind = estate.dns !== undefined && isBilled(slice)
  const ours = (world: WorldView<EstateWorld>): readonly Labelled[] =>
    world.get(slice).filter((each: Labelled) => isOurs(each.labels, estate.name))
  return {
    id: `${slice} gone`,
    noun: removal.noun,
    title: `no ${what} of ${estate.name} is left`,
    needs: removal.needs,
    reads: [slice, ...(isBilled(slice) ? (['pricing'] as const) : []), ...(isBlind ? (['zone'] as const) : [])],
    order: 'parallel',
    look(world) {
      const left = ours(world)
      if (left.length === 0) return done('none')
      const locked =
        slice === 'servers'
          ? world.get('servers').filter(each => left.some(one => one.id === each.id) && each.deleteProtected)
          : []
      if (locked.length > 0)
        return refused(
          `${locked.map(each => each.name).join(', ')} ${locked.length === 1 ? 'is' : 'are'} protected against deletion at the vendor.`,
          `Lift it in the Hetzner console (server → Protection), then run the same command again.`,
        )
      const zone = isBlind && !world.get('zone') ? estate.dns?.zone : undefined
      return todo(
        ...left.map((each): Change<EstateWorld> => {
          const freed = isBilled(slice) ? monthlyOf(world, slice, each.id) : undefined
          return {
            kind: 'destroy',
            summary: `delete ${what} ${each.name}`,
            details: [
              ...(slice === 'primaryIps' ? addressDetails(world, each.id) : []),
              ...(zone === undefined
                ? []
                : [`the Cloudflare token sees no zone ${zone}: a name in it may be left pointing there`]),
            ],
            ...(zone === undefined ? {} : { confirm: NO_ZONE }),
            ...(freed === undefined ? {} : { monthlyNet: -freed }),
            async apply({ world: live }) {
              await removal.remove(each.id)
              live.update(slice, all => all.filter((other: Labelled) => other.id !== each.id) as EstateWorld[typeof slice])
            },
          }
        }),
      )
    },
  }
}

/** Its name is the vendor's, and says nothing. */
function addressDetails(world: WorldView<EstateWorld>, id: string): readonly string[] {
  const ip = world.get('primaryIps').find(each => each.id === id)
  const { currency } = world.get('pricing')
  const monthly = ip && addressPrice(ip, world.get('pricing'))
  return ip ? [`${ip.ip}${monthly === undefined ? '' : `, ${monthly.toFixed(2)} ${currency} a month net`}`] : []
}

const BILLED = ['servers', 'loadBalancers', 'primaryIps'] as const
type Billed = (typeof BILLED)[number]
const isBilled = (slice: Removal['slice']): slice is Billed => BILLED.some(each => each === slice)

function monthlyOf(world: WorldView<EstateWorld>, slice: Billed, id: string): number | undefined {
  const pricing = world.get('pricing')
  if (slice === 'primaryIps') {
    const ip = world.get('primaryIps').find(each => each.id === id)
    // With a server it is in the server's price.
    return ip && ip.serverId === undefined ? addressPrice(ip, pricing) : undefined
  }
  if (slice === 'loadBalancers') {
    const balancer = world.get('loadBalancers').find(each => each.id === id)
    return balancer && balancerRate(balancer, { pricing })?.monthly.net
  }
  const server = world.get('servers').find(each => each.id === id)
  return server && standingRate(server, pricing)?.monthly.net
}

/** Our records go first, and no stranger's record may be left pointing at an address that is about to be somebody else's. */
function recordsGone({ estate, dns }: DestroyDeps): EstateStep {
  return {
    id: 'records gone',
    noun: 'dns',
    title: `no DNS record of ${estate.name} is left`,
    needs: [],
    reads: ['zone', 'records', 'servers', 'loadBalancers', 'primaryIps'],
    look(world) {
      const zone = world.get('zone')
      if (!zone) return done('no zone')
      const records = world.get('records')
      const machines = [...world.get('servers'), ...world.get('loadBalancers')].filter(each => isOurs(each.labels, estate.name))
      const kept = world.get('primaryIps').filter(each => isOurs(each.labels, estate.name))
      const addresses = [...machines.flatMap(each => [each.ipv4, each.ipv6]), ...kept.map(each => each.ip)].filter(
        address => address !== undefined,
      )
      const dangling = recordsLeadingTo(estate, addresses, records).filter(each => !isOurMark(each.comment, estate.name))
      if (dangling.length > 0) return refusedForDangling(dangling)
      const ours = records.filter(each => isOurMark(each.comment, estate.name))
      if (ours.length === 0) return done('none')
      return todo({
        kind: 'destroy',
        summary: `delete ${ours.length} DNS ${ours.length === 1 ? 'record' : 'records'} of ${zone.name}`,
        details: ours.map(each => `- ${each.name} ${each.type} ${each.content}`),
        async apply({ world: live }) {
          await dns.changeRecords(zone.id, { deletes: ours, patches: [], posts: [] })
          live.update('records', all => all.filter(each => !ours.includes(each)))
        },
      })
    },
  }
}

/** A name that moved here is not led to deleted servers by the next cutover. What `rollback` needs stays. */
function movesClosed({ clock, store }: DestroyDeps): EstateStep {
  return {
    id: 'moves closed',
    noun: 'dns',
    title: 'no move leads to a deleted server',
    needs: ['servers gone'],
    reads: ['moves'],
    look(world) {
      const open = Object.values(world.get('moves')).filter(isOpen)
      if (open.length === 0) return done('none')
      return todo({
        // Nothing but a note in their files.
        kind: 'wait',
        summary: `note that the servers are gone to which ${open.map(({ name }) => name).join(', ')} moved`,
        async apply({ world: live }) {
          for (const move of open) {
            const closed = { ...move, marks: { ...move.marks, deletedAtMs: clock.nowMs() } }
            await store.writeMove(closed)
            live.update('moves', all => ({ ...all, [move.name]: closed }))
          }
        },
      })
    },
  }
}
