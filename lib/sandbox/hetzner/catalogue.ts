/**
 * What the stand-in sells: locations, server types, system images and prices. Names, sizes and places follow the vendor's
 * catalogue of autumn 2026; ids and prices are invented (prices change several times a year: nothing may depend on them).
 */
import { type Cloud, ofProject } from './cloud.ts'
import type { Architecture, ImageRow, Stock } from './rows.ts'

export interface LocationEntry {
  readonly id: number
  readonly name: string
  readonly description: string
  readonly country: string
  readonly city: string
  readonly latitude: number
  readonly longitude: number
  readonly zone: string
}

const place = (
  id: number,
  name: string,
  description: string,
  country: string,
  city: string,
  latitude: number,
  longitude: number,
  zone: string,
): LocationEntry => ({ id, name, description, country, city, latitude, longitude, zone })

export const LOCATIONS: readonly LocationEntry[] = [
  place(1, 'fsn1', 'Falkenstein DC Park 1', 'DE', 'Falkenstein', 50.47612, 12.370071, 'eu-central'),
  place(2, 'nbg1', 'Nuremberg DC Park 1', 'DE', 'Nuremberg', 49.452102, 11.076665, 'eu-central'),
  place(3, 'hel1', 'Helsinki DC Park 1', 'FI', 'Helsinki', 60.169855, 24.938379, 'eu-central'),
  place(4, 'ash', 'Ashburn, VA', 'US', 'Ashburn, VA', 39.045821, -77.487073, 'us-east'),
  place(5, 'hil', 'Hillsboro, OR', 'US', 'Hillsboro, OR', 45.54222, -122.951924, 'us-west'),
  place(6, 'sin', 'Singapore', 'SG', 'Singapore', 1.283333, 103.833333, 'ap-southeast'),
]

export interface TypeEntry {
  readonly id: number
  readonly name: string
  readonly cores: number
  readonly memoryGb: number
  readonly diskGb: number
  readonly cpu: 'shared' | 'dedicated'
  readonly architecture: Architecture
  /** Net euros a month in Germany. */
  readonly monthly: number
  readonly locations: readonly string[]
}

const EU = ['fsn1', 'nbg1', 'hel1']
const ALL = [...EU, 'ash', 'hil', 'sin']

const type = (
  id: number,
  name: string,
  [cores, memoryGb, diskGb]: readonly [number, number, number],
  monthly: number,
  locations: readonly string[],
): TypeEntry => ({
  id,
  name,
  cores,
  memoryGb,
  diskGb,
  cpu: name.startsWith('ccx') ? 'dedicated' : 'shared',
  architecture: name.startsWith('cax') ? 'arm' : 'x86',
  monthly,
  locations,
})

export const SERVER_TYPES: readonly TypeEntry[] = [
  type(45, 'cax11', [2, 4, 40], 4.49, EU),
  type(93, 'cax21', [4, 8, 80], 7.99, EU),
  type(94, 'cax31', [8, 16, 160], 15.99, EU),
  type(95, 'cax41', [16, 32, 320], 31.49, EU),
  type(97, 'ccx13', [2, 8, 80], 15.99, ALL),
  type(98, 'ccx23', [4, 16, 160], 31.49, ALL),
  type(99, 'ccx33', [8, 32, 240], 62.49, ALL),
  type(100, 'ccx43', [16, 64, 360], 124.99, ALL),
  type(109, 'cpx12', [1, 2, 40], 6.99, ALL),
  type(110, 'cpx22', [2, 4, 80], 9.99, ALL),
  type(111, 'cpx32', [4, 8, 160], 16.49, ALL),
  type(112, 'cpx42', [8, 16, 320], 29.99, ALL),
  type(113, 'cpx52', [12, 24, 480], 42.49, ALL),
  type(114, 'cx23', [2, 4, 40], 3.99, EU),
  type(115, 'cx33', [4, 8, 80], 6.49, EU),
  type(116, 'cx43', [8, 16, 160], 11.99, EU),
  type(117, 'cx53', [16, 32, 320], 22.49, EU),
]

const system = (
  id: number,
  name: string,
  description: string,
  architecture: Architecture,
  more: Partial<ImageRow> = {},
): ImageRow => ({
  id,
  project: '',
  createdAtMs: Date.UTC(2025, 7, 1),
  labels: {},
  type: 'system',
  status: 'available',
  name,
  description,
  sizeGb: null,
  diskGb: 5,
  createdFrom: null,
  boundTo: null,
  flavor: /^[a-z]+/.exec(name)?.[0] ?? 'unknown',
  version: /-([0-9.]+)$/.exec(name)?.[1] ?? null,
  architecture,
  deprecated: null,
  deletedAtMs: null,
  protection: { delete: false },
  ...more,
})

/** Images of the vendor, the same for every project. */
export const SYSTEM_IMAGES: readonly ImageRow[] = [
  system(114690387, 'debian-12', 'Debian 12', 'x86'),
  system(114690389, 'debian-12', 'Debian 12', 'arm'),
  system(45557056, 'debian-11', 'Debian 11', 'x86', { deprecated: '2026-08-31T00:00:00Z' }),
  system(310557660, 'debian-13', 'Debian 13', 'x86'),
  system(310557661, 'debian-13', 'Debian 13', 'arm'),
  system(161547269, 'ubuntu-24.04', 'Ubuntu 24.04 Standard 64 bit', 'x86'),
  system(161547270, 'ubuntu-24.04', 'Ubuntu 24.04 Standard 64 bit', 'arm'),
  system(67794396, 'ubuntu-22.04', 'Ubuntu 22.04 Standard 64 bit', 'x86'),
  system(268692233, 'fedora-42', 'Fedora 42', 'x86'),
  system(40093247, 'docker-ce', 'Docker CE', 'x86', { type: 'app', diskGb: 40, flavor: 'ubuntu', version: '24.04' }),
]

/** The vendor's images and the project's own, without deleted ones. */
export const imagesOf = (cloud: Cloud, project: string): ImageRow[] => [
  ...SYSTEM_IMAGES,
  ...ofProject(cloud.images, project).filter(image => image.deletedAtMs === null),
]

/** An image by id, deleted or not: servers still show what they were made from. */
export const anyImage = (cloud: Cloud, id: number): ImageRow | undefined =>
  cloud.images.get(String(id)) ?? SYSTEM_IMAGES.find(image => image.id === id)

const byIdOrName = <T extends { readonly id: number; readonly name: string }>(rows: readonly T[], text: string): T | undefined =>
  rows.find(row => row.name === text || String(row.id) === text)

export const findLocation = (text: string): LocationEntry | undefined => byIdOrName(LOCATIONS, text)

export const findType = (text: string): TypeEntry | undefined => byIdOrName(SERVER_TYPES, text)

export const stockOf = (cloud: Cloud, typeName: string, location: string): Stock =>
  cloud.rules().stock[`${typeName}@${location}`] ?? 'available'

const VAT = 0.19
const HOURS = 624
const FACTORS: Readonly<Record<string, number>> = { ash: 1.1, hil: 1.1, sin: 1.6 }
const TERABYTE = 1024 ** 4

const money = (net: number) => ({ net: net.toFixed(10), gross: (net * (1 + VAT)).toFixed(10) })

const typePrices = (entry: TypeEntry) =>
  entry.locations.map(location => {
    const monthly = entry.monthly * (FACTORS[location] ?? 1)
    return {
      location,
      price_hourly: money(monthly / HOURS),
      price_monthly: money(monthly),
      included_traffic: (EU.includes(location) ? 20 : 1) * TERABYTE,
      price_per_tb_traffic: money(location === 'sin' ? 7.4 : 1),
    }
  })

const WITHDRAWN = { announced: '2026-06-01T00:00:00Z', unavailable_after: '2026-09-01T00:00:00Z' }

export const renderLocation = (entry: LocationEntry) => ({
  id: entry.id,
  name: entry.name,
  description: entry.description,
  country: entry.country,
  city: entry.city,
  latitude: entry.latitude,
  longitude: entry.longitude,
  network_zone: entry.zone,
})

export const renderType = (cloud: Cloud, entry: TypeEntry) => ({
  id: entry.id,
  name: entry.name,
  description: entry.name.toUpperCase(),
  cores: entry.cores,
  memory: entry.memoryGb,
  disk: entry.diskGb,
  deprecated: false,
  deprecation: null,
  prices: typePrices(entry),
  storage_type: 'local',
  cpu_type: entry.cpu,
  category: entry.cpu === 'dedicated' ? 'Dedicated vCPU' : 'Shared vCPU',
  architecture: entry.architecture,
  locations: LOCATIONS.filter(location => entry.locations.includes(location.name)).map(location => {
    const stock = stockOf(cloud, entry.name, location.name)
    const available = stock === 'available' || stock === 'silently_sold_out'
    return {
      id: location.id,
      name: location.name,
      available,
      recommended: available,
      deprecation: stock === 'withdrawn' ? WITHDRAWN : null,
    }
  }),
})

export const renderPricing = () => {
  const addresses = { ipv4: 0.5, ipv6: 0 }
  return {
    currency: 'EUR',
    vat_rate: (VAT * 100).toFixed(2),
    image: { price_per_gb_month: money(0.0119) },
    volume: { price_per_gb_month: money(0.0572) },
    server_backup: { percentage: '20.00' },
    floating_ip: { price_monthly: money(3) },
    floating_ips: Object.entries({ ipv4: 3, ipv6: 1 }).map(([kind, net]) => ({
      type: kind,
      prices: LOCATIONS.map(location => ({ location: location.name, price_monthly: money(net) })),
    })),
    primary_ips: Object.entries(addresses).map(([kind, net]) => ({
      type: kind,
      prices: LOCATIONS.map(location => ({
        location: location.name,
        price_hourly: money(net / HOURS),
        price_monthly: money(net),
      })),
    })),
    server_types: SERVER_TYPES.map(entry => ({ id: entry.id, name: entry.name, prices: typePrices(entry) })),
    load_balancer_types: BALANCER_TYPES.map(entry => ({ id: entry.id, name: entry.name, prices: balancerPrices(entry) })),
  }
}

export interface BalancerType {
  readonly id: number
  readonly name: string
  readonly net: number
  readonly maxServices: number
  readonly maxTargets: number
  readonly includedTraffic: number
}

export const BALANCER_TYPES: readonly BalancerType[] = [
  { id: 1, name: 'lb11', net: 5.39, maxServices: 5, maxTargets: 25, includedTraffic: 20 * 1024 ** 4 },
  { id: 2, name: 'lb21', net: 16.4, maxServices: 15, maxTargets: 75, includedTraffic: 20 * 1024 ** 4 },
]

const balancerPrices = ({ id, name, net }: BalancerType) => typePrices(type(id, name, [1, 1, 1], net, ALL))

export const renderBalancerType = (entry: BalancerType) => ({
  id: entry.id,
  name: entry.name,
  description: entry.name.toUpperCase(),
  max_connections: 10_000 * entry.id,
  max_services: entry.maxServices,
  max_targets: entry.maxTargets,
  max_assigned_certificates: 10 * entry.id,
  deprecated: null,
  deprecation: null,
  prices: balancerPrices(entry),
})
