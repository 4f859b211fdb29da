/**
 * DNS records that lead to what is about to be given up: its address is somebody else's next, and whoever gets it gets the name's visitors.
 * Somebody else's record is a refusal. Ours moves first where config.json wants its name, and goes with the address where nobody does.
 */

import { isAddressRecord, isOpen } from '../cutover/move.ts'
import { refused } from '../engine/step.ts'
import type { World, WorldView } from '../engine/world.ts'
import { contains, parseCidr } from '../estate/address.ts'
import type { Estate } from '../estate/estate.ts'
import { isOurMark } from '../estate/naming.ts'
import type { PrimaryIp, Server } from '../providers/ports/cloud.ts'
import type { DnsRecord } from '../providers/ports/dns.ts'
import type { Deps } from './deps.ts'
import { unseenZone } from './dns.ts'
import type { EstateWorld } from './world.ts'

export type LeadingDeps = Pick<Deps, 'estate' | 'dns' | 'readsNames' | 'takeOver'>
type LookDeps = Omit<LeadingDeps, 'dns'>
type View = WorldView<EstateWorld>

/** What is given up, with its addresses. */
export interface Going {
  readonly name: string
  readonly addresses: readonly string[]
}

export const goingServer = ({ name, ipv4, ipv6 }: Pick<Server, 'name' | 'ipv4' | 'ipv6'>): Going => ({
  name,
  addresses: [ipv4, ipv6].filter(address => address !== undefined),
})

export const goingAddress = ({ ip }: Pick<PrimaryIp, 'ip'>): Going => ({ name: ip, addresses: [ip] })

/** Names whose records the same plan moves before; `ours`: every one that is ours. */
export type Movers = readonly string[] | 'ours'

/** The slices that are looked at here. */
export const leadingSlices = ({ readsNames }: Pick<Deps, 'readsNames'>) =>
  readsNames ? (['zone', 'records', 'moves'] as const) : []

/** Records that lead to one of the addresses. Hetzner gives an IPv6 network as a whole. Pure. */
export function recordsLeadingTo(
  { cloud }: Pick<Estate, 'cloud'>,
  addresses: readonly string[],
  records: readonly DnsRecord[],
): DnsRecord[] {
  const ranges = addresses.flatMap(
    address => parseCidr(cloud === 'hetzner' && address.includes(':') ? `${address}/64` : address) ?? [],
  )
  return records.filter(({ content }) => {
    const at = parseCidr(content)
    return at !== undefined && ranges.some(range => contains(range, at))
  })
}

/** Somebody else's records that would be left behind; with the operator's word, the plan moves those of its own names. Pure. */
export const danglingRecords = (
  { estate, readsNames, takeOver }: LookDeps,
  world: View,
  addresses: readonly string[],
  movers: Movers,
): DnsRecord[] => {
  const taken = (movers === 'ours' ? (estate.dns?.records ?? []).map(each => each.name) : movers).filter(name =>
    takeOver.includes(name),
  )
  if (!readsNames) return []
  return recordsLeadingTo(estate, addresses, world.get('records')).filter(
    each => !isOurMark(each.comment, estate.name) && !(isAddressRecord(each) && taken.includes(each.name)),
  )
}

/** What a plan says that would leave somebody's records behind. */
export const refusedForDangling = (dangling: readonly DnsRecord[]) =>
  refused(
    `${listNames(dangling)} would be left pointing at an address that the vendor gives to somebody else.`,
    'Point these records elsewhere or delete them at Cloudflare, then run the same command again.',
  )

const listNames = (records: readonly DnsRecord[]): string =>
  records.map(each => `${each.name} (${each.type} ${each.content})`).join(', ')

export type Leading =
  | { readonly state: 'free'; readonly stale: readonly DnsRecord[] }
  /** The same plan leads the names elsewhere. */
  | { readonly state: 'moves first'; readonly names: readonly string[] }
  /** Another command does. Until then it is kept. */
  | { readonly state: 'stays'; readonly names: readonly string[]; readonly command: string }

/** What becomes of each that goes, by the names that lead to it; a refusal when somebody else's do, or when nobody can tell. Pure. */
export function judgeLeading(
  deps: LookDeps,
  world: View,
  going: readonly Going[],
  movers: Movers,
): ReturnType<typeof refused> | { readonly state: 'judged'; of(each: Going): Leading } {
  const { estate, readsNames } = deps
  const addressed = going.filter(each => each.addresses.length > 0)
  if (!estate.dns || addressed.length === 0) return { state: 'judged', of: () => ({ state: 'free', stale: [] }) }
  if (!readsNames)
    return refused(
      `CLOUDFLARE_API_TOKEN is not set, so nobody can tell whether a name still leads to ${addressed.map(each => each.name).join(', ')}.`,
      'export CLOUDFLARE_API_TOKEN=…, then run the same command again. bun scripts/doctor.ts tells the rights it needs.',
    )
  if (!world.get('zone')) return unseenZone(estate.dns.zone)
  const all = addressed.flatMap(each => each.addresses)
  const dangling = danglingRecords(deps, world, all, movers)
  if (dangling.length > 0) return refusedForDangling(dangling)
  const moves = (name: string): boolean => movers === 'ours' || movers.includes(name)
  return {
    state: 'judged',
    of({ addresses }) {
      const leading = recordsLeadingTo(estate, addresses, world.get('records'))
      const names = [...new Set(leading.map(each => each.name))]
      const kept = names.flatMap(name => {
        const command = moves(name) ? undefined : commandFor(estate, world, name)
        return command === undefined ? [] : [{ name, command }]
      })
      const [first] = kept
      if (first) return { state: 'stays', names: kept.map(each => each.name), command: first.command }
      const moving = names.filter(moves)
      return moving.length > 0 ? { state: 'moves first', names: moving } : { state: 'free', stale: leading }
    },
  }
}

/** What leads `name` to where config.json wants it; undefined when nobody wants it. */
function commandFor({ dns, platform, previews, migration }: Estate, world: View, name: string): string | undefined {
  const record = dns?.records.find(each => each.name === name)
  if (record) return record.kind === 'balancer' ? 'bun scripts/cluster.ts apply' : 'bun scripts/dns.ts apply'
  if (platform?.apps.some(app => app.domains.some(({ host }) => host === name))) return 'bun scripts/app.ts apply'
  if (previews && name === `*.${previews.domain}`) return 'bun scripts/preview.ts sweep'
  const moved = [...(migration?.names ?? []), ...Object.values(world.get('moves')).filter(isOpen)]
  return moved.some(each => each.name === name) ? `bun scripts/dns.ts cutover ${name}` : undefined
}

/** What a plan says of the records that go with an address. */
export const staleDetails = (leading: Leading): string[] =>
  leading.state === 'free' ? leading.stale.map(each => `- ${each.name} ${each.type} ${each.content}`) : []

/** No record leads there any more. Those that are left by now are ours, and nobody wants them. */
export async function deleteLeading(
  { estate, dns, readsNames }: Omit<LeadingDeps, 'takeOver'>,
  { addresses }: Going,
  live: World<EstateWorld>,
): Promise<void> {
  const zone = readsNames ? live.get('zone') : undefined
  const deletes = zone ? recordsLeadingTo(estate, addresses, live.get('records')) : []
  if (!zone || deletes.length === 0) return
  await dns.changeRecords(zone.id, { deletes, patches: [], posts: [] })
  live.update('records', all => all.filter(each => !deletes.includes(each)))
}
