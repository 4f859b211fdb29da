/**
 * Let's Encrypt's limits, counted before an order is sent (facts/reliability C.7, 2026-08-05). Each limit is a bucket that is refilled at a
 * steady rate; the orders that this estate has sent are in its own list, because the authority has no way to ask for what is left.
 */

export type OrderEvent = 'ordered' | 'finalized' | 'failed' | 'account'

/** One line of the estate's list. */
export interface OrderEntry {
  readonly atMs: number
  readonly event: OrderEvent
  /** The ACME server, because each counts for itself. */
  readonly directory: string
  /** Sorted. For `failed`: the names whose validation failed. */
  readonly names: readonly string[]
}

interface Limit {
  readonly event: OrderEvent
  readonly capacity: number
  readonly refillMs: number
  readonly says: string
}

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

export const LIMITS = {
  sameNames: { event: 'finalized', capacity: 5, refillMs: 34 * HOUR, says: '5 certificates for the same names in 7 days' },
  perDomain: { event: 'finalized', capacity: 50, refillMs: 202 * MINUTE, says: '50 certificates for the domain in 7 days' },
  failures: { event: 'failed', capacity: 5, refillMs: 12 * MINUTE, says: '5 failed validations of a name in an hour' },
  orders: { event: 'ordered', capacity: 300, refillMs: 36 * SECOND, says: '300 orders in 3 hours' },
  accounts: { event: 'account', capacity: 10, refillMs: 18 * MINUTE, says: '10 new accounts from one address in 3 hours' },
} as const satisfies Record<string, Limit>

export type LimitName = keyof typeof LIMITS

export type BudgetVerdict =
  | {
      readonly state: 'enough'
      /** How many more of the scarcest kind fit now. */
      readonly left: number
      readonly of: LimitName
    }
  | { readonly state: 'spent'; readonly limit: LimitName; readonly why: string; readonly nextAtMs: number }

/** Whether one more certificate for `names` may be ordered at `nowMs`. `domain` is the registered domain, as a zone's name is. */
export function judgeBudget(
  entries: readonly OrderEntry[],
  wanted: { readonly directory: string; readonly names: readonly string[]; readonly domain: string },
  nowMs: number,
): BudgetVerdict {
  const here = entries.filter(entry => entry.directory === wanted.directory)
  const set = keyOf(wanted.names)
  const inDomain = (name: string) => name === wanted.domain || name.endsWith(`.${wanted.domain}`)
  const buckets: readonly { readonly limit: LimitName; readonly used: readonly OrderEntry[] }[] = [
    { limit: 'sameNames', used: here.filter(entry => keyOf(entry.names) === set) },
    { limit: 'perDomain', used: here.filter(entry => entry.names.some(inDomain)) },
    ...wanted.names.map(name => ({ limit: 'failures' as const, used: here.filter(entry => entry.names.includes(name)) })),
    { limit: 'orders', used: here },
    { limit: 'accounts', used: here },
  ]
  const states = buckets.map(({ limit, used }) => {
    const { event } = LIMITS[limit]
    const times = used.filter(entry => entry.event === event).map(entry => entry.atMs)
    return { limit, ...levelOf(LIMITS[limit], times, nowMs) }
  })
  const spent = states.filter(({ left }) => left < 1).toSorted((a, b) => b.nextAtMs - a.nextAtMs)[0]
  if (spent) {
    const { limit, nextAtMs } = spent
    return { state: 'spent', limit, why: `the limit of ${LIMITS[limit].says} is used up`, nextAtMs }
  }
  const scarcest = states.toSorted((a, b) => a.left - b.left)[0]
  return { state: 'enough', left: scarcest?.left ?? 0, of: scarcest?.limit ?? 'orders' }
}

/** What is left in a bucket, and when it next holds one: the bucket as GCRA, which is how the authority counts. */
function levelOf({ capacity, refillMs }: Limit, times: readonly number[], nowMs: number): { left: number; nextAtMs: number } {
  let fullAtMs = Number.NEGATIVE_INFINITY
  for (const atMs of times.filter(each => each <= nowMs).toSorted((a, b) => a - b)) fullAtMs = Math.max(fullAtMs, atMs) + refillMs
  const missing = Math.max(0, fullAtMs - nowMs) / refillMs
  return { left: Math.floor(capacity - missing), nextAtMs: Math.max(nowMs, fullAtMs - (capacity - 1) * refillMs) }
}

const keyOf = (names: readonly string[]): string =>
  [...names]
    .map(name => name.toLowerCase())
    .sort()
    .join(' ')

/** One line; `parseOrders` reads it back. */
export const renderOrder = ({ atMs, ...entry }: OrderEntry): string =>
  `${JSON.stringify({ at: new Date(atMs).toISOString(), ...entry, names: [...entry.names].sort() })}\n`

const EVENTS = ['ordered', 'finalized', 'failed', 'account'] as const satisfies readonly OrderEvent[]

/** A torn line, as a kill leaves it, counts as absent. */
export const parseOrders = (ndjson: string): OrderEntry[] =>
  ndjson.split('\n').flatMap(line => {
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      return []
    }
    if (typeof value !== 'object' || value === null) return []
    const { at, event, directory, names } = Object.fromEntries(Object.entries(value))
    const known = EVENTS.find(each => each === event)
    const atMs = typeof at === 'string' ? Date.parse(at) : Number.NaN
    if (known === undefined || Number.isNaN(atMs) || typeof directory !== 'string' || !Array.isArray(names)) return []
    return [{ atMs, event: known, directory, names: names.filter(each => typeof each === 'string') }]
  })
