/** What a container machine has to know of the cloud beyond its server: the image behind it, and its private networks. Pure. */

import type { GroundTruth } from '../hetzner/control.ts'

export interface PrivateCable {
  /** The network's id. */
  readonly network: string
  readonly ip: string
  /** The network's whole range. */
  readonly range: string
}

export interface Places {
  /** Images that were made from servers. */
  readonly snapshots: readonly { readonly id: string; readonly serverId: string }[]
  /** The image that a server's disk was written from. */
  imageOf(serverId: string): string | undefined
  privateCablesOf(serverId: string): readonly PrivateCable[]
}

export const placesOf = ({ servers, images, networks }: Pick<GroundTruth, 'servers' | 'images' | 'networks'>): Places => {
  const rows = new Map(servers.map(server => [String(server.id), server]))
  const ranges = new Map(networks.map(network => [network.id, network.range]))
  return {
    snapshots: images.flatMap(({ id, createdFrom }) =>
      createdFrom === null ? [] : [{ id: String(id), serverId: String(createdFrom.id) }],
    ),
    imageOf(serverId) {
      const server = rows.get(serverId)
      return server && String(server.imageId)
    },
    privateCablesOf: serverId =>
      (rows.get(serverId)?.privateNets ?? []).flatMap(({ network, ip }) => {
        const range = ranges.get(network)
        return range === undefined ? [] : [{ network: String(network), ip, range }]
      }),
  }
}
