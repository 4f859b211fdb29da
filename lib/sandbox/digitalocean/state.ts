/** What the DigitalOcean stand-in remembers. Nothing runs by itself: what time has brought is read off the clock when somebody asks. */

import type { Collection, SandboxClock, SandboxSettings, StandInResponse, Store } from '../kit.ts'

export interface DropletRow {
  readonly id: number
  readonly name: string
  readonly region: string
  readonly size: string
  /** What it was made with; a resize without its disk leaves it. */
  readonly diskGb: number
  readonly image: number
  readonly createdAtMs: number
  /** When its create action ends and it becomes active. */
  readonly activeAtMs: number
  readonly tags: readonly string[]
  readonly publicKeys: readonly string[]
  readonly userData: string
  readonly ipv4: string
  readonly ipv6: string | null
  readonly privateIp: string
  readonly vpc: string
  /** Since when it has power, and from when on it has none; an action's end may lie ahead. */
  readonly onSinceMs: number
  readonly offFromMs: number | null
  readonly goneAtMs: number | null
}

export interface Rule {
  readonly protocol: 'tcp' | 'udp' | 'icmp'
  readonly ports: string
  readonly addresses: readonly string[]
  readonly tags: readonly string[]
}

export interface FirewallRow {
  readonly id: string
  readonly name: string
  readonly createdAtMs: number
  readonly dropletIds: readonly number[]
  readonly tags: readonly string[]
  readonly inbound: readonly Rule[]
  readonly outbound: readonly Rule[]
  /** Until then servers are still filtered by these. */
  readonly before: readonly Rule[]
  readonly appliedAtMs: number
}

export interface ActionRow {
  readonly id: number
  readonly type: string
  readonly droplet: number
  readonly startsAtMs: number
  readonly endsAtMs: number
  /** It ends without an effect. */
  readonly fails: boolean
}

export interface ImageRow {
  readonly id: number
  readonly name: string
  /** What it is a snapshot of. */
  readonly droplet: number
  readonly region: string
  readonly diskGb: number
  readonly createdAtMs: number
  readonly availableAtMs: number
  readonly tags: readonly string[]
}

export interface KeyRow {
  readonly id: number
  readonly name: string
  readonly publicKey: string
  readonly fingerprint: string
}

export interface VpcRow {
  readonly id: string
  readonly name: string
  readonly region: string
  readonly range: string
  readonly description: string
  readonly isDefault: boolean
  readonly createdAtMs: number
}

export interface TokenRow {
  readonly access: 'read_write' | 'read_only'
}

export interface DigitalOceanDeps {
  readonly store: Store
  readonly clock: SandboxClock
  readonly settings: () => Pick<SandboxSettings, 'actionMs' | 'rateLimits'>
  /** Told after every change that may alter what runs or what is reachable. */
  readonly onChange?: () => void
}

export interface Account {
  readonly deps: DigitalOceanDeps
  readonly tokens: Collection<TokenRow>
  /** Moments of the requests of the last hour, by token; and of key lists, by token. */
  readonly windows: Collection<{ readonly at: readonly number[] }>
  readonly droplets: Collection<DropletRow>
  readonly firewalls: Collection<FirewallRow>
  readonly actions: Collection<ActionRow>
  readonly images: Collection<ImageRow>
  readonly keys: Collection<KeyRow>
  readonly vpcs: Collection<VpcRow>
  /** By the name in small letters; the row keeps the case that it was first written in. */
  readonly tags: Collection<{ readonly name: string }>
  readonly rules: Collection<{ readonly value: number }>
}

export const openAccount = (deps: DigitalOceanDeps): Account => {
  const of = <T>(name: string): Collection<T> => deps.store.collection<T>(`digitalocean.${name}`)
  return {
    deps,
    tokens: of('tokens'),
    windows: of('windows'),
    droplets: of('droplets'),
    firewalls: of('firewalls'),
    actions: of('actions'),
    images: of('images'),
    keys: of('keys'),
    vpcs: of('vpcs'),
    tags: of('tags'),
    rules: of('rules'),
  }
}

const FIRST_ID = { droplets: 412_000_001, actions: 2_100_000_001, images: 171_000_001, keys: 43_000_001, uuids: 1 } as const

export const nextId = (account: Account, kind: keyof typeof FIRST_ID): number =>
  account.deps.store.nextId(`digitalocean.${kind}`, FIRST_ID[kind])

export const nextUuid = (account: Account): string =>
  `d0000000-0000-4000-8000-${nextId(account, 'uuids').toString(16).padStart(12, '0')}`

/** A refusal as the vendor words it. */
export class Refusal extends Error {
  readonly status: number
  readonly id: string

  constructor(status: number, id: string, message: string) {
    super(message)
    this.status = status
    this.id = id
  }
}

export const unprocessable = (message: string): Refusal => new Refusal(422, 'unprocessable_entity', message)
export const notFound = (): Refusal => new Refusal(404, 'not_found', 'The resource you were accessing could not be found.')

export interface Call {
  readonly account: Account
  readonly nowMs: number
  /** What the path's placeholders stand for. */
  readonly names: readonly string[]
  readonly query: URLSearchParams
  readonly path: string
  readonly body: () => Readonly<Record<string, unknown>>
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  readonly handle: (call: Call) => StandInResponse
}

export const time = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`

/** Of what does not come about. */
export const NEVER_MS = Number.MAX_SAFE_INTEGER

/** Droplets that exist now. */
export const droplets = ({ account, nowMs }: Pick<Call, 'account' | 'nowMs'>): DropletRow[] =>
  account.droplets.all().filter(row => row.goneAtMs === null || row.goneAtMs > nowMs)

export const actionMs = ({ deps }: Account, command: string): number =>
  deps.settings().actionMs[command] ?? deps.settings().actionMs.other

// ── reading bodies ──

export const textOf = (call: Call, field: string): string => {
  const value = call.body()[field]
  if (typeof value !== 'string' || value === '') throw unprocessable(`${field} is required and must be a string`)
  return value
}

export const listOf = (value: unknown, field: string): readonly unknown[] => {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw unprocessable(`${field} must be an array`)
  return value
}

export const TAG = /^[A-Za-z0-9:_-]{1,255}$/

export const tagOf = (value: unknown): string => {
  if (typeof value !== 'string' || !TAG.test(value))
    throw unprocessable('Tags may only contain letters, numbers, colons, dashes, and underscores')
  return value
}

/** One page of `rows`, with the vendor's links. */
export const pageOf = <T>(call: Call, key: string, rows: readonly T[], render: (row: T) => unknown): StandInResponse => {
  const page = Number(call.query.get('page') ?? 1)
  const size = Number(call.query.get('per_page') ?? 20)
  if (!Number.isInteger(page) || page < 1) throw new Refusal(400, 'bad_request', 'page must be a positive integer')
  if (!Number.isInteger(size) || size < 1 || size > 200)
    throw new Refusal(400, 'bad_request', 'per_page must be between 1 and 200')
  const last = Math.max(1, Math.ceil(rows.length / size))
  const link = (to: number): string => `https://api.digitalocean.com/v2${call.path}?page=${to}&per_page=${size}`
  const pages = {
    ...(page > 1 ? { first: link(1), prev: link(page - 1) } : {}),
    ...(page < last ? { next: link(page + 1), last: link(last) } : {}),
  }
  return {
    status: 200,
    json: {
      [key]: rows.slice((page - 1) * size, page * size).map(render),
      links: Object.keys(pages).length > 0 ? { pages } : {},
      meta: { total: rows.length },
    },
  }
}
