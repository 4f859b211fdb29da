/**
 * The bill by environment: what production, staging and each preview cost, this month so far and when nothing changes, what all of it
 * would be at its largest, and what something else would cost. Everything is counted in whole millionths, see cost.ts.
 */

import type { LoadBalancer, Money, Pricing, Server } from '../providers/ports/cloud.ts'
import { renderAmount, sumPrices, timesPrice } from './cost.ts'
import { type MonthCost, monthCost, type Rate, rateOf } from './cost-months.ts'
import type { Alternative } from './estate.ts'
import { LABEL_KEYS } from './labels.ts'
import type { PreviewSpec } from './previews.ts'

export interface EnvironmentCost {
  /** "production", or "preview 12". */
  readonly name: string
  readonly servers: readonly string[]
  readonly monthly: Money
  readonly month: MonthCost
  /** What the vendor names no price for; it counts as nothing. */
  readonly unpriced: readonly string[]
}

export type BilledServer = Pick<Server, 'name' | 'type' | 'location' | 'ipv4' | 'labels' | 'createdAt'>
export type BilledBalancer = Pick<LoadBalancer, 'name' | 'type' | 'location' | 'labels' | 'createdAt'>
type Prices = Parameters<typeof rateOf>[1] & { readonly pricing: Pick<Pricing, 'primaryIps' | 'loadBalancers'> }

const NOTHING: Money = { net: 0, gross: 0 }

/** Undefined when the vendor names no price. */
export const balancerRate = (
  { type, location }: Pick<BilledBalancer, 'type' | 'location'>,
  { pricing }: { readonly pricing: Pick<Pricing, 'loadBalancers'> },
): Rate | undefined => pricing.loadBalancers?.find(each => each.type === type && each.location === location)

const environmentOf = ({ labels }: Pick<BilledServer, 'labels'>): string => {
  const number = labels[LABEL_KEYS.pullRequest]
  return number === undefined ? (labels[LABEL_KEYS.role] ?? 'other') : `preview ${number}`
}

export interface Billed {
  readonly servers: readonly BilledServer[]
  readonly loadBalancers: readonly BilledBalancer[]
}

/** Servers with their addresses and load balancers, by role; previews by number, after the others. */
export function environmentCosts({ servers, loadBalancers }: Billed, prices: Prices, nowMs: number): readonly EnvironmentCost[] {
  const billed = [
    ...servers.map(each => ({ ...each, kind: 'server' as const, rate: rateOf(each, prices) })),
    ...loadBalancers.map(each => ({ ...each, kind: 'balancer' as const, rate: balancerRate(each, prices) })),
  ]
  const groups = [...Map.groupBy(billed, environmentOf)]
  const numberIn = (name: string) => Number(/^preview (\d+)$/.exec(name)?.[1] ?? 0)
  return groups
    .map(([name, members]): EnvironmentCost => {
      const months = members.map(({ createdAt, rate }) =>
        rate ? monthCost(rate, Date.parse(createdAt), nowMs) : { soFar: NOTHING, forecast: NOTHING },
      )
      return {
        name,
        servers: members
          .filter(each => each.kind === 'server')
          .map(each => each.name)
          .sort(),
        monthly: sumPrices(members.map(({ rate }) => rate?.monthly ?? NOTHING)),
        month: { soFar: sumPrices(months.map(each => each.soFar)), forecast: sumPrices(months.map(each => each.forecast)) },
        unpriced: members.filter(each => each.rate === undefined).map(each => each.name),
      }
    })
    .sort((a, b) => numberIn(a.name) - numberIn(b.name) || (a.name < b.name ? -1 : 1))
}

export interface TableInput {
  /** Environments that are always there. */
  readonly fixed: readonly { readonly name: string; readonly servers: number; readonly each: Money | undefined }[]
  /** What is billed besides servers. */
  readonly others?: readonly { readonly name: string; readonly monthly: Money | undefined }[]
  /** One preview; nothing when they share a server that is among the fixed ones. */
  readonly preview?: { readonly each: Money | undefined; readonly max: number }
}

export interface TableRow {
  readonly name: string
  readonly servers: number
  readonly monthly: Money
  readonly annual: Money
  /** False when no price is known for a part of it, which then counts as nothing. */
  readonly priced: boolean
}

/** Name, servers, month and year, net; a sum that lacks a price is no figure. */
export const rowCells = ({ name, servers, monthly, annual, priced }: TableRow): readonly string[] => [
  name,
  String(servers),
  ...[monthly, annual].map(({ net }) => (priced ? renderAmount(net) : 'unknown')),
]

/** Between these many previews a team usually has open at once. */
const TYPICAL = [5, 8] as const

/** What a month and a year cost: each environment, with the usual number of previews, and with as many as are allowed. */
export function costTable({ fixed, others = [], preview }: TableInput): readonly TableRow[] {
  const row = (name: string, servers: number, monthly: Money | undefined): TableRow => ({
    name,
    servers,
    monthly: monthly ?? NOTHING,
    annual: timesPrice(monthly ?? NOTHING, 12),
    priced: monthly !== undefined,
  })
  const times = (price: Money | undefined, factor: number) => price && timesPrice(price, factor)
  const rows = [
    ...fixed.map(({ name, servers, each }) => row(name, servers, times(each, servers))),
    ...others.map(({ name, monthly }) => row(name, 0, monthly)),
  ]
  const base = rows.every(each => each.priced) ? sumPrices(rows.map(each => each.monthly)) : undefined
  const count = rows.reduce((sum, each) => sum + each.servers, 0)
  const withPreviews = (name: string, n: number) => {
    const previews = times(preview?.each, n)
    return row(name, count + n, base && previews && sumPrices([base, previews]))
  }
  if (preview === undefined) return [...rows, row('total', count, base)]
  const usual = [...new Set(TYPICAL.map(n => Math.min(n, preview.max)))]
  return [
    ...rows,
    row('preview (each)', 1, preview.each),
    ...usual.map(n => withPreviews(`with ${n} previews`, n)),
    withPreviews(`with ${preview.max} previews (maximum)`, preview.max),
  ]
}

/** Public list price in US dollars, and a rough rate; both for the operator to correct under cost.compare. */
export const ASSUMED_ALTERNATIVES: readonly Alternative[] = [{ name: 'Vercel Pro', monthly: 0, perSeat: 20, seats: 1, rate: 0.9 }]

export interface Comparison {
  readonly name: string
  readonly monthly: number
  /** What is spent less by the estate; negative when it costs more. */
  readonly saved: number
  /** How the amount comes about. */
  readonly how: string
}

const toMicros = (amount: number): number => Math.round(amount * 1_000_000) / 1_000_000

/** Net amounts against net amounts. */
export const compareWith = (monthlyNet: number, alternatives: readonly Alternative[]): readonly Comparison[] =>
  alternatives.map(({ name, monthly, perSeat, seats, rate }) => {
    const theirs = toMicros((monthly + perSeat * seats) * rate)
    const parts = [
      ...(monthly > 0 ? [`${monthly}`] : []),
      ...(perSeat > 0 ? [`${perSeat} × ${seats} ${seats === 1 ? 'seat' : 'seats'}`] : []),
    ]
    return { name, monthly: theirs, saved: toMicros(theirs - monthlyNet), how: `${parts.join(' + ') || '0'}, at ${rate}` }
  })

export interface Unowned {
  readonly name: string
  readonly why: string
  readonly monthly: Money
}

/** Servers and load balancers that are billed and that no config.json accounts for. `wanted` are the names of both. */
export function unowned(
  { servers, loadBalancers }: Billed,
  estate: { readonly name: string; readonly wanted: readonly string[]; readonly previews: PreviewSpec['substrate'] | 'none' },
  prices: Prices,
): readonly Unowned[] {
  const judge = (kind: string, { name, labels }: Pick<BilledServer, 'name' | 'labels'>, rate: Rate | undefined): Unowned[] => {
    const owner = labels[LABEL_KEYS.estate]
    const isPreview = estate.previews === 'servers' && labels[LABEL_KEYS.pullRequest] !== undefined
    const found = { name: `${kind} ${name}`, monthly: rate?.monthly ?? NOTHING }
    if (owner === undefined) return [{ ...found, why: 'belongs to no estate of Landfall' }]
    if (owner !== estate.name || isPreview || estate.wanted.includes(name)) return []
    return [{ ...found, why: 'is of this estate, and config.json no longer wants it' }]
  }
  return [
    ...servers.flatMap(each => judge('server', each, rateOf(each, prices))),
    ...loadBalancers.flatMap(each => judge('load balancer', each, balancerRate(each, prices))),
  ]
}
