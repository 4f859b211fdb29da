/** What the stand-in sells: regions, sizes, stock images. */

import { type Call, type ImageRow, notFound, pageOf, Refusal, type Route, time } from './state.ts'

export const REGIONS = [
  { slug: 'nyc3', name: 'New York 3' },
  { slug: 'ams3', name: 'Amsterdam 3' },
  { slug: 'fra1', name: 'Frankfurt 1' },
  { slug: 'sgp1', name: 'Singapore 1' },
] as const

const EVERYWHERE = REGIONS.map(region => region.slug)

const size = (
  slug: string,
  vcpus: number,
  memoryGb: number,
  disk: number,
  monthly: number,
  regions: readonly string[] = EVERYWHERE,
) => ({
  slug,
  vcpus,
  memory: memoryGb * 1024,
  disk,
  transfer: vcpus,
  price_monthly: monthly,
  price_hourly: Number((monthly / 672).toFixed(5)),
  regions,
  available: true,
  description: 'Basic',
})

export const SIZES = [
  size('s-1vcpu-1gb', 1, 1, 25, 6),
  size('s-1vcpu-2gb', 1, 2, 50, 12),
  size('s-2vcpu-2gb', 2, 2, 60, 18),
  size('s-2vcpu-4gb', 2, 4, 80, 24),
  size('s-4vcpu-8gb', 4, 8, 160, 48, ['nyc3', 'fra1']),
] as const

export const SYSTEM_IMAGES = [
  { id: 160_000_001, slug: 'debian-12-x64', name: '12 x64', distribution: 'Debian', diskGb: 7 },
  { id: 160_000_002, slug: 'debian-13-x64', name: '13 x64', distribution: 'Debian', diskGb: 7 },
  { id: 160_000_003, slug: 'ubuntu-24-04-x64', name: '24.04 (LTS) x64', distribution: 'Ubuntu', diskGb: 7 },
] as const

const IMAGES_SINCE_MS = Date.parse('2026-10-01T00:00:00Z')

const ownImages = ({ account, nowMs }: Call): ImageRow[] => account.images.all().filter(image => image.createdAtMs <= nowMs)

export const renderRegion = (region: (typeof REGIONS)[number]) => ({
  ...region,
  available: true,
  features: ['metadata', 'ipv6'],
  sizes: SIZES.filter(each => each.regions.includes(region.slug)).map(each => each.slug),
})

const renderSystem = (image: (typeof SYSTEM_IMAGES)[number]) => ({
  id: image.id,
  name: image.name,
  slug: image.slug,
  distribution: image.distribution,
  type: 'base',
  public: true,
  status: 'available',
  regions: EVERYWHERE,
  min_disk_size: image.diskGb,
  size_gigabytes: 0.6,
  created_at: time(IMAGES_SINCE_MS),
  tags: [],
})

export const renderImage = (image: ImageRow, nowMs: number) => ({
  id: image.id,
  name: image.name,
  slug: null,
  distribution: 'Debian',
  type: 'snapshot',
  public: false,
  status: nowMs >= image.availableAtMs ? 'available' : 'pending',
  regions: [image.region],
  min_disk_size: image.diskGb,
  size_gigabytes: image.diskGb / 10,
  created_at: time(image.createdAtMs),
  tags: image.tags,
})

/** A stock image by id or slug, or one of the account's own by id; with the disk that it needs. */
export const findImage = (
  call: Call,
  wanted: unknown,
): { readonly id: number; readonly slug?: string; readonly diskGb: number } | undefined =>
  SYSTEM_IMAGES.find(image => image.id === wanted || image.slug === wanted) ??
  ownImages(call).find(image => image.id === wanted && call.nowMs >= image.availableAtMs)

const listImages = (call: Call) => {
  if (call.query.get('private') === 'true')
    return pageOf(call, 'images', ownImages(call), image => renderImage(image, call.nowMs))
  const type = call.query.get('type')
  if (type !== null && type !== 'distribution' && type !== 'application') throw new Refusal(400, 'bad_request', 'type is unknown')
  return pageOf(call, 'images', type === 'application' ? [] : SYSTEM_IMAGES, renderSystem)
}

const removeImage = (call: Call) => {
  if (!call.account.images.delete(call.names[0] ?? '')) throw notFound()
  return { status: 204 }
}

export const catalogueRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/regions',
    handle: call => pageOf(call, 'regions', REGIONS, renderRegion),
  },
  { method: 'GET', path: '/sizes', handle: call => pageOf(call, 'sizes', SIZES, each => each) },
  { method: 'GET', path: '/images', handle: listImages },
  { method: 'DELETE', path: '/images/{}', handle: removeImage },
]
