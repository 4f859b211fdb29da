/**
 * What things cost over time. Hetzner bills each begun hour of a server's life, at most its monthly price in a calendar month, until it
 * is deleted; whether it runs does not matter (its documentation, "Billing"). Months are UTC's, as on the invoice.
 */

import type { Money, Pricing, Server, ServerType } from '../providers/ports/cloud.ts'
import { sumPrices, timesPrice } from './cost.ts'

export interface Rate {
  readonly hourly: Money
  readonly monthly: Money
}

const HOUR_MS = 3_600_000
const NOTHING: Money = { net: 0, gross: 0 }

export const monthOf = (ms: number): { readonly startMs: number; readonly endMs: number } => {
  const at = new Date(ms)
  const [year, month] = [at.getUTCFullYear(), at.getUTCMonth()]
  return { startMs: Date.UTC(year, month, 1), endMs: Date.UTC(year, month + 1, 1) }
}

const lesser = (a: Money, b: Money): Money => ({ net: Math.min(a.net, b.net), gross: Math.min(a.gross, b.gross) })

/** Within one calendar month: begun hours, capped. */
const withinMonth = (rate: Rate, fromMs: number, toMs: number): Money =>
  toMs <= fromMs ? NOTHING : lesser(timesPrice(rate.hourly, Math.ceil((toMs - fromMs) / HOUR_MS)), rate.monthly)

/** From one moment to another, over as many months as it takes. */
export function billedBetween(rate: Rate, fromMs: number, toMs: number): Money {
  const parts: Money[] = []
  for (let atMs = fromMs; atMs < toMs; ) {
    const endMs = Math.min(toMs, monthOf(atMs).endMs)
    parts.push(withinMonth(rate, atMs, endMs))
    atMs = endMs
  }
  return sumPrices(parts)
}

export interface MonthCost {
  /** From the month's first moment, or the thing's making, until now. */
  readonly soFar: Money
  /** The whole month when nothing changes. */
  readonly forecast: Money
}

export function monthCost(rate: Rate, createdMs: number, nowMs: number): MonthCost {
  const { startMs, endMs } = monthOf(nowMs)
  const fromMs = Math.max(startMs, createdMs)
  return { soFar: withinMonth(rate, fromMs, nowMs), forecast: withinMonth(rate, fromMs, endMs) }
}

type Prices = {
  readonly serverTypes: readonly (Pick<ServerType, 'name'> & {
    readonly offers: readonly Pick<ServerType['offers'][number], 'location' | 'hourly' | 'monthly'>[]
  })[]
  readonly pricing: Pick<Pricing, 'primaryIps'>
}

/** A server with its public IPv4 address; undefined when the vendor names no price. */
export function rateOf(server: Pick<Server, 'type' | 'location' | 'ipv4'>, { serverTypes, pricing }: Prices): Rate | undefined {
  const offer = serverTypes.find(each => each.name === server.type)?.offers.find(each => each.location === server.location)
  return offer && withAddress(offer, server, pricing)
}

/** The same from the vendor's prices alone, for a server that is there and nobody wants to buy again. */
export function standingRate(
  server: Pick<Server, 'type' | 'location' | 'ipv4'>,
  pricing: Pick<Pricing, 'servers' | 'primaryIps'>,
): Rate | undefined {
  const price = pricing.servers.find(each => each.type === server.type && each.location === server.location)
  return price && withAddress(price, server, pricing)
}

function withAddress(
  price: Rate,
  { ipv4, location }: Pick<Server, 'ipv4' | 'location'>,
  { primaryIps }: Pick<Pricing, 'primaryIps'>,
): Rate {
  const address = ipv4 === undefined ? undefined : primaryIps.find(each => each.type === 'ipv4' && each.location === location)
  return {
    hourly: sumPrices([price.hourly, address?.hourly ?? NOTHING]),
    monthly: sumPrices([price.monthly, address?.monthly ?? NOTHING]),
  }
}

export interface PreviewCostInput extends Prices {
  readonly server: Pick<Server, 'type' | 'location' | 'ipv4'>
  readonly sinceMs: number
  /** How many previews share the server. */
  readonly sharedBy: number
  readonly nowMs: number
}

/** What one preview has cost since it was made: its server, or an equal share of the one that it lives on. */
export function previewCost(input: PreviewCostInput): Money | undefined {
  const rate = rateOf(input.server, input)
  return rate && timesPrice(billedBetween(rate, input.sinceMs, input.nowMs), 1 / input.sharedBy)
}
