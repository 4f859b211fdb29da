/** What the Cloudflare stand-in keeps: plain JSON rows in collections named `cloudflare.…`. Rows hold facts; the API's shape is rendered. */

import { createHash } from 'node:crypto'
import type { Collection, SandboxClock, SandboxSettings, Store } from '../kit.ts'

export type Right = 'none' | 'read' | 'edit'
export type TokenStatus = 'active' | 'disabled' | 'expired'
export type Plan = 'free' | 'pro' | 'business' | 'enterprise'
export type ZoneStatus = 'active' | 'pending' | 'moved' | 'paused'

export interface TokenRow {
  /** Thirty-two hex digits; the collection's key is a digest of the token. */
  readonly id: string
  /** The user whose requests share one rate limit. */
  readonly user: string
  readonly status: TokenStatus
  /** By zone name; `rest` for all others. */
  readonly rights: Readonly<Record<string, Right>>
  readonly rest: Right
}

export interface ZoneRow {
  readonly id: string
  readonly name: string
  readonly status: ZoneStatus
  readonly plan: Plan
  readonly nameservers: readonly string[]
  /** Where the registrar points as long as the zone is not active. */
  readonly originalNameservers: readonly string[]
  readonly recordQuota: number
  readonly createdAtMs: number
  readonly modifiedAtMs: number
  /** Counts changes; the SOA's serial. */
  readonly serial: number
}

/** What a client may say about a record, complete. */
export interface RecordFields {
  readonly type: string
  readonly name: string
  readonly content: string
  readonly data?: Readonly<Record<string, unknown>>
  readonly priority?: number
  readonly ttl: number
  readonly proxied: boolean
  readonly comment: string | null
  readonly tags: readonly string[]
  readonly settings: Readonly<Record<string, unknown>>
}

export interface RecordRow extends RecordFields {
  readonly id: string
  readonly zoneId: string
  readonly createdAtMs: number
  readonly modifiedAtMs: number
  readonly commentModifiedAtMs: number | null
}

export interface CloudflareDeps {
  readonly store: Store
  readonly clock: SandboxClock
  readonly settings: () => Pick<SandboxSettings, 'rateLimits'>
  /** Told after each change of a zone or a record. */
  readonly onChange?: () => void
}

export interface Account {
  readonly deps: CloudflareDeps
  readonly tokens: Collection<TokenRow>
  readonly zones: Collection<ZoneRow>
  readonly records: Collection<RecordRow>
}

export const openAccount = (deps: CloudflareDeps): Account => ({
  deps,
  tokens: deps.store.collection('cloudflare.tokens'),
  zones: deps.store.collection('cloudflare.zones'),
  records: deps.store.collection('cloudflare.records'),
})

/** The next id of a kind: thirty-two hex digits that look random and are the same in every replay. */
export const newId = (account: Account, kind: 'zone' | 'record' | 'token'): string =>
  createHash('md5')
    .update(`${kind} ${account.deps.store.nextId(`cloudflare.${kind}s`)}`)
    .digest('hex')

export const recordsOf = (account: Account, zoneId: string): RecordRow[] =>
  account.records.all().filter(record => record.zoneId === zoneId)
