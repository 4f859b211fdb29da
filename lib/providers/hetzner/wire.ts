/** What Hetzner sends, as far as Landfall reads it. Everything that has been seen missing or null is optional here. */

import type { Money } from '../ports/cloud.ts'

/** Ids are numbers today; stand-ins and the vendor's own announcements also use strings. */
export type WireId = number | string
type Maybe<T> = T | null | undefined

export interface WireAction {
  readonly id: WireId
  readonly command: string
  readonly status: string
  readonly started?: Maybe<string>
  readonly finished?: Maybe<string>
  readonly error?: Maybe<{ readonly code?: Maybe<string>; readonly message?: Maybe<string> }>
}

export interface WireNamed {
  readonly id: WireId
  readonly name?: Maybe<string>
  readonly labels?: Maybe<Readonly<Record<string, string>>>
  readonly created?: Maybe<string>
}

export interface WirePrice {
  readonly net?: Maybe<string | number>
  readonly gross?: Maybe<string | number>
}

/** The value as an object, or undefined. */
export const recordOf = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.fromEntries(Object.entries(value)) : undefined

/** An answer that cannot be read. Its message is a part of a sentence. */
export class Unreadable extends Error {}

const hasId = (value: unknown): boolean => {
  const id = recordOf(value)?.id
  return (typeof id === 'number' && Number.isSafeInteger(id)) || (typeof id === 'string' && id !== '')
}

/**
 * The object with an id that `json` holds under `key`.
 * @throws Unreadable when it isn't there
 */
export function objectIn<T extends { readonly id: WireId }>(json: unknown, key: string): T {
  const value = recordOf(json)?.[key]
  if (!hasId(value)) throw new Unreadable(`its answer holds no ${key}`)
  return value as T
}

/**
 * The objects with ids that `json` holds under `key`.
 * @throws Unreadable when the list isn't there
 */
export function objectsIn<T extends { readonly id: WireId }>(json: unknown, key: string): readonly T[] {
  const value = recordOf(json)?.[key]
  if (!Array.isArray(value) || !value.every(hasId)) throw new Unreadable(`its answer holds no ${key}`)
  return value as T[]
}

/** The actions of an answer, in their order: `action`, `actions`, `next_actions`. Many answers have none. */
export function actionsIn(json: unknown): readonly WireAction[] {
  const body = recordOf(json) ?? {}
  const listed = [body.action, body.actions, body.next_actions].flat()
  return listed.filter(hasId).map(action => action as WireAction)
}

/** Decimal strings to numbers; undefined when there is no amount. */
export function moneyFromWire(price: Maybe<WirePrice>): Money | undefined {
  const net = numberFromWire(price?.net)
  const gross = numberFromWire(price?.gross)
  return net === undefined || gross === undefined ? undefined : { net, gross }
}

export function numberFromWire(value: Maybe<string | number>): number | undefined {
  if (value === null || value === undefined || value === '') return undefined
  const amount = Number(value)
  return Number.isFinite(amount) ? amount : undefined
}

/** Ids go out as numbers, which is what the API's own clients send; a name stays a name. */
export const idToWire = (id: string): WireId => (/^[1-9]\d{0,15}$/.test(id) && Number.isSafeInteger(Number(id)) ? Number(id) : id)

/** The first usable address of a prefix ("2001:db8:1:2::/64" gives "2001:db8:1:2::1"); an address stays itself. */
export function firstAddress(prefix: string): string {
  const [base = '', length] = prefix.split('/')
  if (length === undefined || !base.includes(':')) return base
  if (base.endsWith('::')) return `${base}1`
  return `${base.split(':').slice(0, 4).join(':')}::1`
}

export const labelsFromWire = (labels: Maybe<Readonly<Record<string, string>>>): Readonly<Record<string, string>> => ({
  ...labels,
})
