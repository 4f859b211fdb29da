/**
 * Public addresses that outlive their servers. One that waits for a server is taken up by the next server of that name; one that no server
 * is to take up is only billed, so it goes.
 */

import { blocked, type Change, done, todo } from '../engine/step.ts'
import type { World, WorldView } from '../engine/world.ts'
import { chooseOffer } from '../estate/choose.ts'
import type { ServerSpec } from '../estate/estate.ts'
import { isOurs, LABEL_KEYS } from '../estate/labels.ts'
import type { Pricing, PrimaryIp, Server, ServerType } from '../providers/ports/cloud.ts'
import type { Deps, EstateStep } from './deps.ts'
import { dnsStepId } from './dns.ts'
import {
  deleteLeading,
  goingAddress,
  judgeLeading,
  type LeadingDeps,
  leadingSlices,
  type Movers,
  staleDetails,
} from './leading.ts'
import type { EstateWorld } from './world.ts'

type Family = PrimaryIp['type']

/** Ours, put aside for a server, and not gone with it. */
export const isKept = (estate: string, ip: PrimaryIp): boolean =>
  isOurs(ip.labels, estate) && ip.labels[LABEL_KEYS.keptFor] !== undefined && !ip.deletedWithServer

const isFree = (ip: PrimaryIp, servers: readonly Server[]): boolean =>
  ip.serverId === undefined && !servers.some(server => server.ipv4 === ip.ip || server.ipv6 === ip.ip)

/** Whether a server made now from `spec` could have an address of that family and place. */
export const fits = (
  spec: Pick<ServerSpec, 'types' | 'locations' | Family>,
  ip: Pick<PrimaryIp, 'type' | 'location'>,
  serverTypes: readonly ServerType[],
): boolean => {
  const offer = chooseOffer(spec, serverTypes)
  return spec[ip.type] && ('problem' in offer || offer.location === ip.location)
}

/** The address that waits for a new server of this name at that place. */
export const keptAddress = (
  estate: string,
  ips: readonly PrimaryIp[],
  { name, type, location }: { readonly name: string; readonly type: Family; readonly location: string },
): PrimaryIp | undefined =>
  ips.find(
    ip =>
      isKept(estate, ip) &&
      ip.labels[LABEL_KEYS.keptFor] === name &&
      ip.type === type &&
      ip.location === location &&
      ip.serverId === undefined,
  )

/** What is left of addresses when a server is gone. */
export const withoutServer = (ips: readonly PrimaryIp[], id: string): PrimaryIp[] =>
  ips.flatMap(({ serverId, ...ip }) =>
    serverId === id ? (ip.deletedWithServer ? [] : [ip]) : [serverId === undefined ? ip : { ...ip, serverId }],
  )

export const addressesOf = (estate: string, ips: readonly PrimaryIp[], server: Pick<Server, 'id'>): PrimaryIp[] =>
  ips.filter(ip => ip.serverId === server.id && isKept(estate, ip))

/** The server is gone for good, and with it the addresses that were put aside for it; one that a killed run left is found free. */
export async function deleteWithAddresses(
  { cloud, estate }: Pick<Deps, 'cloud' | 'estate'>,
  server: Pick<Server, 'id'>,
  live: World<EstateWorld>,
): Promise<void> {
  const addresses = addressesOf(estate.name, live.get('primaryIps'), server)
  await cloud.deleteServer(server.id)
  live.update('servers', all => all.filter(each => each.id !== server.id))
  if (addresses.length === 0) return
  live.update('primaryIps', all => withoutServer(all, server.id))
  for (const { id } of addresses) await deleteAddress({ cloud }, id, live)
}

async function deleteAddress({ cloud }: Pick<Deps, 'cloud'>, id: string, live: World<EstateWorld>): Promise<void> {
  await cloud.deletePrimaryIp(id)
  live.update('primaryIps', all => all.filter(each => each.id !== id))
}

/** Undefined where the vendor takes nothing for it. */
export const addressPrice = (ip: Pick<PrimaryIp, 'type' | 'location'>, pricing: Pricing): number | undefined =>
  pricing.primaryIps.find(each => each.type === ip.type && each.location === ip.location)?.monthly.net || undefined

/** What a deletion of the server says of the addresses that go with it. */
export const goingAddresses = (estate: string, ips: readonly PrimaryIp[], server: Pick<Server, 'id'>): string[] => {
  const addresses = addressesOf(estate, ips, server).map(ip => ip.ip)
  return addresses.length === 0 ? [] : [`${addresses.join(' and ')}, put aside for it, goes with it`]
}

/** Free addresses of ours that no server will take up. Pure. */
function surplusAddresses({ estate, dropsAddresses }: AddressDeps, world: WorldView<EstateWorld>): PrimaryIp[] {
  const servers = world.get('servers')
  return world.get('primaryIps').filter(ip => {
    if (!isKept(estate.name, ip) || !isFree(ip, servers)) return false
    const spec = estate.servers.find(each => each.name === ip.labels[LABEL_KEYS.keptFor])
    if (!spec || dropsAddresses) return true
    // One that is there has its addresses.
    return servers.some(each => each.name === spec.name) || !fits(spec, ip, world.get('serverTypes'))
  })
}

type AddressDeps = Pick<Deps, 'cloud' | 'dropsAddresses'> & LeadingDeps

export const SURPLUS_ADDRESSES_STEP = 'surplus addresses'

/**
 * No address is billed that waits for nobody, unless a name that is wanted leads to it.
 * @param after what deletes servers, and moves names
 */
export function surplusAddressesStep(deps: AddressDeps, after: readonly string[], movers: Movers = []): EstateStep {
  const { estate } = deps
  return {
    id: SURPLUS_ADDRESSES_STEP,
    noun: 'server',
    title: 'no address is kept that nobody waits for',
    needs: [...estate.servers.map(spec => `server ${spec.name}`), ...after],
    reads: ['primaryIps', 'servers', 'serverTypes', 'pricing', ...leadingSlices(deps)],
    order: 'parallel',
    look(world) {
      const surplus = surplusAddresses(deps, world)
      if (surplus.length === 0) return done('none')
      const pricing = world.get('pricing')
      const leading = judgeLeading(deps, world, surplus.map(goingAddress), movers)
      if (leading.state === 'refused') return leading
      const judged = surplus.map(ip => ({ ip, leads: leading.of(goingAddress(ip)) }))
      const changes = judged.flatMap(({ ip, leads }): Change<EstateWorld>[] => {
        if (leads.state === 'stays') return []
        const monthly = addressPrice(ip, pricing)
        return [
          {
            kind: 'destroy',
            summary: `delete the address ${ip.ip}, which was kept for ${ip.labels[LABEL_KEYS.keptFor]}`,
            details: [
              ...(monthly === undefined ? [] : [`${monthly.toFixed(2)} ${pricing.currency} a month net`]),
              ...staleDetails(leads),
            ],
            ...(monthly === undefined ? {} : { monthlyNet: -monthly }),
            async apply({ world: live }) {
              await deleteLeading(deps, goingAddress(ip), live)
              await deleteAddress(deps, ip.id, live)
            },
          },
        ]
      })
      const moving = judged.flatMap(({ leads }) => (leads.state === 'moves first' ? leads.names : []))
      if (moving.length > 0) return blocked([...new Set(moving)].map(dnsStepId).join(', '), ...changes)
      return changes.length > 0 ? todo(...changes) : done('names that are wanted lead to what is left')
    },
  }
}
