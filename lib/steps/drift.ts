/** How a server that stands differs from what config.json says, where no run changes that by itself. Pure. */

import type { Estate, ServerSpec } from '../estate/estate.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { EstateWorld } from './world.ts'

export interface Drift {
  /** What config.json wants, to follow "config.json wants". */
  readonly wants: string
  /** What makes it so. */
  readonly command: string
}

type Seen = Partial<Pick<EstateWorld, 'networks' | 'placementGroups' | 'images'>>

const FAMILIES = { ipv4: 'IPv4', ipv6: 'IPv6' } as const

/** Whether it runs or is off: of one that is being made, neither addresses nor networks may be known. */
export const isSettled = ({ status }: Pick<Server, 'status'>): boolean => status === 'running' || status === 'off'

/** The name of the network that the server should be in and is not. */
export function strayedFrom(
  { network }: Pick<Estate, 'network'>,
  spec: Pick<ServerSpec, 'network'>,
  have: Pick<Server, 'privateIps'>,
  networks: EstateWorld['networks'],
): string | undefined {
  if (!spec.network || !network) return undefined
  const id = networks.find(each => each.name === network.name)?.id
  return have.privateIps.some(each => each.networkId === id) ? undefined : network.name
}

/** The system image that it should have been made from; NixOS comes over any, and of one that the vendor lists no more nothing is known. */
function otherImage(
  { image, nixos }: Pick<ServerSpec, 'image' | 'nixos'>,
  { imageId }: Pick<Server, 'imageId'>,
  images: EstateWorld['images'] = [],
): string[] {
  if (image.kind !== 'system' || nixos) return []
  const from = images.find(each => each.id === imageId && each.kind === 'system')?.name
  return from === undefined || from === image.name ? [] : [`made from ${image.name}`]
}

/** @param seen slices that were not looked at are not judged */
export function driftOf(
  estate: Pick<Estate, 'cloud' | 'network'>,
  spec: ServerSpec,
  have: Server,
  { networks, placementGroups, images }: Seen,
): Drift[] {
  // Hetzner takes a server into a network at any time.
  const outside = networks && estate.cloud !== 'hetzner' ? strayedFrom(estate, spec, have, networks) : undefined
  const group = placementGroups?.find(each => each.name === spec.placementGroup)
  const apart = placementGroups && spec.placementGroup !== undefined && (!group || group.id !== have.placementGroupId)
  const anew = [
    ...(spec.locations.includes(have.location) ? [] : [`in ${spec.locations.join(' or ')}`]),
    ...otherImage(spec, have, images),
    ...(outside === undefined ? [] : [`in network ${outside}`]),
    ...(apart ? [`in placement group ${spec.placementGroup}`] : []),
    ...(['ipv4', 'ipv6'] as const).flatMap(family =>
      spec[family] === (have[family] !== undefined) ? [] : [`${spec[family] ? 'with' : 'without'} ${FAMILIES[family]}`],
    ),
  ]
  return [
    ...(spec.types.includes(have.type) ? [] : [{ wants: spec.types.join(' or '), command: 'bun scripts/provision.ts scale' }]),
    ...(anew.length > 0 && isSettled(have)
      ? [{ wants: `it ${anew.join(', ')}`, command: 'bun scripts/provision.ts rebuild' }]
      : []),
  ]
}
