/** DNS records that lead to what is about to be deleted: its address is somebody else's next, and whoever gets it gets the name's visitors. */

import { refused } from '../engine/step.ts'
import type { World, WorldView } from '../engine/world.ts'
import type { Estate } from '../estate/estate.ts'
import { isOurMark } from '../estate/naming.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { DnsRecord } from '../providers/ports/dns.ts'
import type { Deps } from './deps.ts'
import type { EstateWorld } from './world.ts'

/** Records whose content is one of the addresses. Pure. */
export const recordsLeadingTo = (addresses: readonly (string | undefined)[], records: readonly DnsRecord[]): DnsRecord[] =>
  records.filter(each => addresses.includes(each.content))

/** What a plan says that would leave somebody's records behind. */
export const refusedForDangling = (dangling: readonly DnsRecord[]) =>
  refused(
    `${listNames(dangling)} would be left pointing at an address that the vendor gives to somebody else.`,
    'Point these records elsewhere or delete them at Cloudflare, then run the same command again.',
  )

const listNames = (records: readonly DnsRecord[]): string =>
  records.map(each => `${each.name} (${each.type} ${each.content})`).join(', ')

export type LeadingDeps = Pick<Deps, 'estate' | 'dns' | 'readsNames'>

/** The slices that `judgeLeading` and `leadingDetails` use. */
export const leadingSlices = ({ readsNames }: Pick<Deps, 'readsNames'>) => (readsNames ? (['zone', 'records'] as const) : [])

/**
 * What keeps `going` from being deleted: a record of somebody else, or a name of ours that config.json wants and that still leads there.
 * Pure.
 * @param movers names whose records the same plan moves before
 */
export function judgeLeading(
  { estate, readsNames }: Pick<LeadingDeps, 'estate' | 'readsNames'>,
  world: WorldView<EstateWorld>,
  going: readonly Server[],
  movers: readonly string[],
):
  | ReturnType<typeof refused>
  | { readonly state: 'moves first'; readonly names: readonly string[] }
  | { readonly state: 'free' } {
  if (!estate.dns) return { state: 'free' }
  const servers = going.map(each => each.name).join(', ')
  if (!readsNames)
    return refused(
      `CLOUDFLARE_API_TOKEN is not set, so nobody can tell whether a name still leads to ${servers}.`,
      'export CLOUDFLARE_API_TOKEN=…, then run the same command again. bun scripts/doctor.ts tells the rights it needs.',
    )
  const leading = going.flatMap(server => recordsLeadingTo([server.ipv4, server.ipv6], world.get('records')))
  const dangling = leading.filter(each => !isOurMark(each.comment, estate.name))
  if (dangling.length > 0) return refusedForDangling(dangling)
  const names = [...new Set(leading.map(each => each.name))]
  const staying = names.filter(name => wantedNames(estate).includes(name) && !movers.includes(name))
  if (staying.length > 0)
    return refused(
      `${staying.join(', ')} still ${staying.length === 1 ? 'leads' : 'lead'} to ${servers}, which config.json no longer wants.`,
      estate.dns.records.some(each => staying.includes(each.name)) ? 'bun scripts/dns.ts apply' : 'bun scripts/app.ts apply',
    )
  const moving = names.filter(name => movers.includes(name))
  return moving.length > 0 ? { state: 'moves first', names: moving } : { state: 'free' }
}

const wantedNames = ({ dns, platform }: Pick<Estate, 'dns' | 'platform'>): string[] => [
  ...(dns?.records ?? []).map(each => each.name),
  ...(platform?.apps ?? []).flatMap(app => app.domains.map(domain => domain.host)),
]

/** What a deletion of the server says of the records that go with it. */
export const leadingDetails = (
  { readsNames }: Pick<Deps, 'readsNames'>,
  world: WorldView<EstateWorld>,
  server: Server,
): string[] =>
  readsNames
    ? recordsLeadingTo([server.ipv4, server.ipv6], world.get('records')).map(
        each => `- ${each.name} ${each.type} ${each.content}`,
      )
    : []

/** No record leads to `server` any more. Those that are left by now are ours, and nobody wants them. */
export async function deleteLeading(
  { dns, readsNames }: Pick<LeadingDeps, 'dns' | 'readsNames'>,
  server: Server,
  live: World<EstateWorld>,
): Promise<void> {
  const zone = readsNames ? live.get('zone') : undefined
  const deletes = zone ? recordsLeadingTo([server.ipv4, server.ipv6], live.get('records')) : []
  if (!zone || deletes.length === 0) return
  await dns.changeRecords(zone.id, { deletes, patches: [], posts: [] })
  live.update('records', all => all.filter(each => !deletes.includes(each)))
}
