/**
 * What an estate costs, from the vendor's live prices. Sums are made in millionths of the currency's unit, as whole numbers, so
 * that ten thousand tenths of a cent are exactly ten units. Hetzner keeps old prices for servers that were ordered before a
 * change; the API tells only today's, so a line is what the same thing would cost when ordered now.
 */

import type { Image, LoadBalancer, Money, Pricing, PrimaryIp, Server, ServerType } from '../providers/ports/cloud.ts'
import { LABEL_KEYS } from './labels.ts'

/** Only what is used of the port's objects, so that planned things can be priced too. */
export interface CostInputs {
  /** `id` is absent for a server that is only planned; `ipv4` is present when it has, or shall have, a public IPv4 address. */
  readonly servers: readonly (Pick<Server, 'name' | 'type' | 'location' | 'ipv4' | 'imageId'> &
    Partial<Pick<Server, 'id'>> & { readonly status: Server['status'] | 'planned' })[]
  readonly serverTypes: readonly (Pick<ServerType, 'name'> & {
    readonly offers: readonly Pick<ServerType['offers'][number], 'location' | 'hourly' | 'monthly'>[]
  })[]
  readonly pricing: Pick<Pricing, 'currency' | 'snapshotGbMonth' | 'primaryIps' | 'loadBalancers'>
  readonly primaryIps: readonly Pick<PrimaryIp, 'name' | 'type' | 'ip' | 'location' | 'serverId'>[]
  readonly loadBalancers: readonly Pick<LoadBalancer, 'name' | 'type' | 'location'>[]
  readonly images: readonly Pick<Image, 'id' | 'description' | 'kind' | 'status' | 'sizeGb' | 'createdAt' | 'labels'>[]
}

export interface CostLine {
  readonly kind: 'server' | 'ipv4' | 'ipv6' | 'load balancer' | 'snapshot'
  readonly name: string
  /** "cx33, nbg1" */
  readonly detail: string
  readonly hourly: Money
  readonly monthly: Money
  /** False when the vendor names no price for it; it then counts as nothing. */
  readonly priced: boolean
}

export interface Cost {
  readonly currency: string
  readonly lines: readonly CostLine[]
  readonly hourly: Money
  readonly monthly: Money
  /** Billed, but of no use as it is. Each is among `lines` too. */
  readonly leftovers: readonly { readonly name: string; readonly why: string; readonly monthly: Money }[]
}

const MILLION = 1_000_000
// A month of 365.25 days / 12, in hours; snapshots are priced by the month only.
const HOURS_PER_MONTH = 730.5
const FREE: Money = { net: 0, gross: 0 }

const micros = (amount: number): number => Math.round(amount * MILLION)

/** `price` × `factor`, rounded to a millionth. */
export const timesPrice = (price: Money, factor: number): Money => ({
  net: Math.round(micros(price.net) * factor) / MILLION,
  gross: Math.round(micros(price.gross) * factor) / MILLION,
})

/** The exact sum. */
export const sumPrices = (prices: readonly Money[]): Money => ({
  net: prices.reduce((sum, price) => sum + micros(price.net), 0) / MILLION,
  gross: prices.reduce((sum, price) => sum + micros(price.gross), 0) / MILLION,
})

/** "7.13": two digits, commercial rounding of the millionths (binary fractions would round 1.005 down). */
export const renderAmount = (amount: number): string => {
  const cents = Math.sign(amount) * Math.round(Math.abs(micros(amount)) / 10_000)
  return `${cents < 0 ? '-' : ''}${Math.floor(Math.abs(cents) / 100)}.${String(Math.abs(cents) % 100).padStart(2, '0')}`
}

const serverLine = (server: CostInputs['servers'][number], { serverTypes }: CostInputs): CostLine => {
  const offer = serverTypes.find(type => type.name === server.type)?.offers.find(each => each.location === server.location)
  return {
    kind: 'server',
    name: server.name,
    detail: `${server.type}, ${server.location}`,
    hourly: offer?.hourly ?? FREE,
    monthly: offer?.monthly ?? FREE,
    priced: offer !== undefined,
  }
}

const ipLine = (type: 'ipv4' | 'ipv6', name: string, location: string, detail: string, { pricing }: CostInputs): CostLine => {
  const price = pricing.primaryIps.find(each => each.type === type && each.location === location)
  return {
    kind: type,
    name,
    detail,
    hourly: price?.hourly ?? FREE,
    monthly: price?.monthly ?? FREE,
    priced: price !== undefined,
  }
}

/** Its public addresses are part of its price. */
const balancerLine = ({ name, type, location }: CostInputs['loadBalancers'][number], { pricing }: CostInputs): CostLine => {
  const price = pricing.loadBalancers?.find(each => each.type === type && each.location === location)
  return {
    kind: 'load balancer',
    name,
    detail: `${type}, ${location}`,
    hourly: price?.hourly ?? FREE,
    monthly: price?.monthly ?? FREE,
    priced: price !== undefined,
  }
}

const isCopy = (image: CostInputs['images'][number]): boolean => image.kind === 'snapshot' && image.status !== 'unavailable'

const snapshotLine = (image: CostInputs['images'][number], { pricing }: CostInputs): CostLine => {
  const monthly = timesPrice(pricing.snapshotGbMonth, image.sizeGb)
  return {
    kind: 'snapshot',
    name: image.description,
    detail: `${image.sizeGb} GB`,
    hourly: timesPrice(monthly, 1 / HOURS_PER_MONTH),
    monthly,
    priced: true,
  }
}

/** The newest snapshot of each purpose is what the next server is made from; older ones only cost. */
const isSuperseded = (image: CostInputs['images'][number], images: CostInputs['images']): boolean => {
  const purpose = image.labels[LABEL_KEYS.image]
  return images.some(
    other =>
      isCopy(other) && purpose !== undefined && other.labels[LABEL_KEYS.image] === purpose && other.createdAt > image.createdAt,
  )
}

/**
 * The cost of what is passed in; the caller chooses whose. A server without an entry in `primaryIps` is charged an address when
 * it has `ipv4`, so that planned servers are priced like real ones.
 */
export const costOf = (inputs: CostInputs): Cost => {
  const { servers, primaryIps, loadBalancers, images } = inputs
  const snapshots = images.filter(isCopy)
  const implicit = servers.filter(
    server =>
      server.ipv4 !== undefined &&
      !primaryIps.some(ip => ip.type === 'ipv4' && ip.serverId !== undefined && ip.serverId === server.id),
  )
  const lines = [
    ...servers.map(server => serverLine(server, inputs)),
    ...implicit.map(server => ipLine('ipv4', server.name, server.location, 'public IPv4', inputs)),
    ...primaryIps.map(ip => ipLine(ip.type, ip.name, ip.location, ip.ip, inputs)),
    ...loadBalancers.map(balancer => balancerLine(balancer, inputs)),
    ...snapshots.map(image => snapshotLine(image, inputs)),
  ].filter(line => !line.priced || line.monthly.net !== 0)
  const leftovers = [
    ...servers
      .filter(server => server.status === 'off')
      .map(server => ({
        name: `server ${server.name}`,
        why: 'is off, and billed until it is deleted',
        monthly: serverLine(server, inputs).monthly,
      })),
    ...primaryIps
      .filter(ip => ip.serverId === undefined)
      .map(ip => ({
        name: `address ${ip.name} (${ip.ip})`,
        why: 'belongs to no server',
        monthly: ipLine(ip.type, ip.name, ip.location, ip.ip, inputs).monthly,
      })),
    ...snapshots
      .map(image => ({ image, made: servers.filter(server => server.imageId === image.id).length }))
      .filter(({ image, made }) => made === 0 && (image.labels[LABEL_KEYS.image] === undefined || isSuperseded(image, images)))
      .map(({ image }) => ({
        name: `snapshot "${image.description}"`,
        why: isSuperseded(image, images) ? 'has a newer successor' : 'no server was made from it',
        monthly: snapshotLine(image, inputs).monthly,
      })),
  ].filter(leftover => leftover.monthly.net !== 0)
  return {
    currency: inputs.pricing.currency,
    lines,
    hourly: sumPrices(lines.map(line => line.hourly)),
    monthly: sumPrices(lines.map(line => line.monthly)),
    leftovers,
  }
}
