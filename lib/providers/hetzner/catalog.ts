/** What Hetzner sells and where: locations, server types with stock and prices, prices of the rest, images. */

import type { Cloud, Image, Location, Money, Pricing, ServerType } from '../ports/cloud.ts'
import type { Deps } from './deps.ts'
import {
  labelsFromWire,
  moneyFromWire,
  numberFromWire,
  recordOf,
  Unreadable,
  type WireId,
  type WireNamed,
  type WirePrice,
} from './wire.ts'

type Catalog = Pick<Cloud, 'listLocations' | 'listServerTypes' | 'readPricing' | 'listImages' | 'deleteImage'>

export function createCatalog(deps: Deps): Catalog {
  const { calls, context } = deps
  return {
    async listLocations() {
      const { value } = await calls.list<WireLocation>({ what: 'list locations', path: '/locations' }, 'locations')
      return value.map(locationFromWire)
    },
    async listServerTypes() {
      const { value } = await calls.list<WireServerType>({ what: 'list server types', path: '/server_types' }, 'server_types')
      return value.map(type => serverTypeFromWire(type, context.clock.nowMs()))
    },
    async readPricing() {
      const { value } = await calls.call({ what: 'read prices', method: 'GET', path: '/pricing' }, pricingFromWire)
      return value
    },
    async listImages() {
      const query = [['type', 'system'] as const, ['type', 'snapshot'] as const]
      const { value } = await calls.list<WireImage>({ what: 'list images', path: '/images', query }, 'images')
      return value.map(imageFromWire)
    },
    async deleteImage(id) {
      await calls.remove({ what: `delete image ${id}`, path: `/images/${encodeURIComponent(id)}` }, () => undefined)
    },
  }
}

interface WireLocation extends WireNamed {
  readonly city?: string | null
  readonly country?: string | null
  readonly network_zone?: string | null
}

interface WireDeprecation {
  readonly unavailable_after?: string | null
}

interface WirePrices {
  readonly location?: string | null
  readonly price_hourly?: WirePrice | null
  readonly price_monthly?: WirePrice | null
}

interface WireServerType extends WireNamed {
  readonly cores?: number | null
  readonly memory?: number | null
  readonly disk?: number | null
  readonly architecture?: string | null
  readonly deprecation?: WireDeprecation | null
  readonly prices?: readonly WirePrices[] | null
  readonly locations?:
    | readonly { readonly name: string; readonly available?: boolean | null; readonly deprecation?: WireDeprecation | null }[]
    | null
}

type WireRates = readonly { readonly name?: string | null; readonly prices?: readonly WirePrices[] | null }[] | null

interface WirePricing {
  readonly currency?: string | null
  readonly vat_rate?: string | number | null
  readonly image?: { readonly price_per_gb_month?: WirePrice | null } | null
  readonly volume?: { readonly price_per_gb_month?: WirePrice | null } | null
  readonly server_backup?: { readonly percentage?: string | number | null } | null
  readonly server_types?: WireRates
  readonly load_balancer_types?: WireRates
  readonly primary_ips?: readonly { readonly type: string; readonly prices?: readonly WirePrices[] | null }[] | null
}

interface WireImage extends WireNamed {
  readonly id: WireId
  readonly type?: string | null
  readonly status?: string | null
  readonly description?: string | null
  readonly architecture?: string | null
  readonly disk_size?: number | null
  readonly image_size?: number | null
}

const locationFromWire = (wire: WireLocation): Location => ({
  name: wire.name ?? '',
  city: wire.city ?? '',
  country: wire.country ?? '',
  networkZone: wire.network_zone ?? '',
})

function serverTypeFromWire(wire: WireServerType, nowMs: number): ServerType {
  const prices = wire.prices ?? []
  // Where it can be had is in `locations` alone; before 2025 there was none, and every priced location had it.
  const places: NonNullable<WireServerType['locations']> =
    wire.locations ??
    prices.flatMap(price => (price.location ? [{ name: price.location, deprecation: wire.deprecation ?? null }] : []))
  return {
    id: String(wire.id),
    name: wire.name ?? '',
    cores: wire.cores ?? 0,
    memoryGb: wire.memory ?? 0,
    diskGb: wire.disk ?? 0,
    architecture: architectureFromWire(wire.architecture),
    offers: places.flatMap(place => {
      const price = pairFromWire(prices.find(candidate => candidate.location === place.name))
      if (price === undefined) return []
      const after = place.deprecation?.unavailable_after ?? undefined
      const withdrawn = after !== undefined && Date.parse(after) <= nowMs
      return [
        {
          location: place.name,
          stock: withdrawn ? 'withdrawn' : place.available === false ? 'sold_out' : 'available',
          ...(after === undefined ? {} : { withdrawnAfter: after.slice(0, 10) }),
          ...price,
        } as const,
      ]
    }),
  }
}

const ratesFromWire = (types: WireRates | undefined) =>
  (types ?? []).flatMap(({ name, prices }) =>
    (prices ?? []).flatMap(entry => {
      const price = pairFromWire(entry)
      return name && entry.location && price ? [{ type: name, location: entry.location, ...price }] : []
    }),
  )

function pricingFromWire(json: unknown): Pricing {
  const wire: WirePricing | undefined = recordOf(recordOf(json)?.pricing)
  const snapshotGbMonth = moneyFromWire(wire?.image?.price_per_gb_month)
  const volumeGbMonth = moneyFromWire(wire?.volume?.price_per_gb_month)
  if (wire === undefined || typeof wire.currency !== 'string' || !snapshotGbMonth || !volumeGbMonth) {
    throw new Unreadable('its answer holds no pricing')
  }
  return {
    currency: wire.currency,
    vatRate: numberFromWire(wire.vat_rate) ?? 0,
    snapshotGbMonth,
    volumeGbMonth,
    serverBackupPercent: numberFromWire(wire.server_backup?.percentage) ?? 0,
    servers: ratesFromWire(wire.server_types),
    loadBalancers: ratesFromWire(wire.load_balancer_types),
    primaryIps: (wire.primary_ips ?? []).flatMap(({ type, prices }) =>
      (prices ?? []).flatMap(entry => {
        const price = pairFromWire(entry)
        if ((type !== 'ipv4' && type !== 'ipv6') || !entry.location || !price) return []
        return [{ type, location: entry.location, ...price } as const]
      }),
    ),
  }
}

function pairFromWire(wire: WirePrices | undefined): { hourly: Money; monthly: Money } | undefined {
  const hourly = moneyFromWire(wire?.price_hourly)
  const monthly = moneyFromWire(wire?.price_monthly)
  return hourly && monthly ? { hourly, monthly } : undefined
}

const IMAGE_KINDS = { system: 'system', snapshot: 'snapshot', backup: 'backup', app: 'app' } as const satisfies Record<
  string,
  Image['kind']
>
const IMAGE_STATES = { available: 'available', creating: 'creating', unavailable: 'unavailable' } as const satisfies Record<
  string,
  Image['status']
>

const imageFromWire = (wire: WireImage): Image => ({
  id: String(wire.id),
  ...(wire.name ? { name: wire.name } : {}),
  description: wire.description ?? '',
  kind: wordOf(IMAGE_KINDS, wire.type, 'snapshot'),
  status: wordOf(IMAGE_STATES, wire.status, 'unavailable'),
  architecture: architectureFromWire(wire.architecture),
  diskGb: wire.disk_size ?? 0,
  sizeGb: wire.image_size ?? 0,
  createdAt: wire.created ?? '',
  labels: labelsFromWire(wire.labels),
})

const architectureFromWire = (name: string | null | undefined) => (name === 'arm' ? 'arm' : 'x86')

/** Our word for the vendor's, or `otherwise` for a word that is new to us. */
const wordOf = <T>(words: Readonly<Record<string, T>>, word: string | null | undefined, otherwise: T): T =>
  word && Object.hasOwn(words, word) ? (words[word] ?? otherwise) : otherwise
