/** What DigitalOcean sells and where: regions, sizes with their prices, images. Prices are in US dollars, before tax. */

import type { Cloud, Image, Location, Money, ServerType } from '../ports/cloud.ts'
import type { Client } from './client.ts'
import { labelsFromTags } from './tags.ts'

type Catalog = Pick<Cloud, 'listLocations' | 'listServerTypes' | 'readPricing' | 'listImages' | 'deleteImage'>

/** What the API does not tell, in US dollars: it has prices of sizes only. */
export interface ToldPrices {
  readonly snapshotGbMonth: number
  readonly volumeGbMonth: number
  readonly backupPercent: number
}

export function createCatalog(client: Client, told: ToldPrices): Catalog {
  const listRegions = async (): Promise<readonly WireRegion[]> => {
    const request = { what: 'list regions', path: '/regions' }
    return (await client.list<WireRegion>(request, 'regions', (dots, page) => dots.region.listRegions(page))).value
  }
  const listServerTypes = async (): Promise<readonly ServerType[]> => {
    const { value } = await client.list<WireSize>({ what: 'list sizes', path: '/sizes' }, 'sizes', (dots, page) =>
      dots.size.listSizes(page),
    )
    return value.map(typeFromWire)
  }
  return {
    listLocations: async () => (await listRegions()).filter(region => region.available !== false).map(locationFromWire),
    listServerTypes,
    async readPricing() {
      const [regions, types] = await Promise.all([listRegions(), listServerTypes()])
      return {
        currency: 'USD',
        vatRate: 0,
        snapshotGbMonth: same(told.snapshotGbMonth),
        volumeGbMonth: same(told.volumeGbMonth),
        servers: types.flatMap(({ name, offers }) =>
          offers.map(({ location, hourly, monthly }) => ({ type: name, location, hourly, monthly })),
        ),
        // A droplet's addresses are part of its price.
        primaryIps: regions.flatMap(({ slug }) =>
          (['ipv4', 'ipv6'] as const).map(type => ({ type, location: slug, hourly: same(0), monthly: same(0) })),
        ),
        serverBackupPercent: told.backupPercent,
      }
    },
    async listImages() {
      const request = { what: 'list images', path: '/images' }
      const [system, own] = await Promise.all([
        client.list<WireImage>(request, 'images', (dots, page) => dots.image.listImages({ ...page, type: 'distribution' })),
        client.list<WireImage>(request, 'images', (dots, page) => dots.image.listImages({ ...page, user_images: true })),
      ])
      return [
        ...system.value.map(wire => imageFromWire(wire, 'system')),
        ...own.value.map(wire => imageFromWire(wire, 'snapshot')),
      ]
    },
    deleteImage: id =>
      client.remove({ what: `delete image ${id}`, path: `/images/${id}` }, dots =>
        dots.image.deleteImage({ image_id: Number(id) }),
      ),
  }
}

const same = (amount: number): Money => ({ net: amount, gross: amount })

interface WireRegion {
  readonly slug: string
  readonly name?: string | null
  readonly available?: boolean | null
}

interface WireSize {
  readonly slug: string
  readonly memory?: number | null
  readonly vcpus?: number | null
  readonly disk?: number | null
  readonly price_monthly?: number | null
  readonly price_hourly?: number | null
  readonly regions?: readonly string[] | null
  readonly available?: boolean | null
}

interface WireImage {
  readonly id: number
  readonly name?: string | null
  readonly slug?: string | null
  readonly type?: string | null
  readonly distribution?: string | null
  readonly status?: string | null
  readonly min_disk_size?: number | null
  readonly size_gigabytes?: number | null
  readonly created_at?: string | null
  readonly tags?: readonly string[] | null
}

/** The slugs' first letters; the API names cities only. */
const COUNTRIES: Readonly<Record<string, string>> = {
  ams: 'NL',
  atl: 'US',
  blr: 'IN',
  fra: 'DE',
  lon: 'GB',
  nyc: 'US',
  ric: 'US',
  sfo: 'US',
  sgp: 'SG',
  syd: 'AU',
  tor: 'CA',
}

const locationFromWire = ({ slug, name }: WireRegion): Location => ({
  name: slug,
  city: name ?? slug,
  country: COUNTRIES[slug.slice(0, 3)] ?? '',
  // A private network reaches as far as its region.
  networkZone: slug,
})

const typeFromWire = (wire: WireSize): ServerType => ({
  id: wire.slug,
  name: wire.slug,
  cores: wire.vcpus ?? 0,
  memoryGb: (wire.memory ?? 0) / 1024,
  diskGb: wire.disk ?? 0,
  architecture: 'x86',
  offers: (wire.regions ?? []).map(location => ({
    location,
    stock: wire.available === false ? 'sold_out' : 'available',
    hourly: same(wire.price_hourly ?? 0),
    monthly: same(wire.price_monthly ?? 0),
  })),
})

const STATES: Readonly<Record<string, Image['status']>> = {
  available: 'available',
  NEW: 'creating',
  new: 'creating',
  pending: 'creating',
}

const imageFromWire = (wire: WireImage, kind: 'system' | 'snapshot'): Image => ({
  id: String(wire.id),
  ...(kind === 'system' && wire.slug ? { name: wire.slug } : {}),
  description: kind === 'system' ? `${wire.distribution ?? ''} ${wire.name ?? ''}`.trim() : (wire.name ?? ''),
  kind: kind === 'snapshot' && wire.type === 'backup' ? 'backup' : kind,
  status: STATES[wire.status ?? ''] ?? 'unavailable',
  architecture: 'x86',
  diskGb: wire.min_disk_size ?? 0,
  sizeGb: wire.size_gigabytes ?? 0,
  createdAt: wire.created_at ?? '',
  labels: labelsFromTags(wire.tags ?? []),
})
