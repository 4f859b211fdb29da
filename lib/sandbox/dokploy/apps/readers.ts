/** Further readers of inputs: lists, patterns, numbers in a query, and the columns that an update may name. */

import { choice, flag, nullable, number, optional, type Reader, text } from '../input.ts'

export const id: Reader<string> = text({ min: 1 })

export const list =
  <T>(reader: Reader<T>): Reader<readonly T[]> =>
  (value, path, note) => {
    if (!Array.isArray(value)) {
      note({ code: 'invalid_type', path, message: 'Invalid input: expected array' })
      return undefined
    }
    const boxes = value.map((each: unknown, index) => reader(each, [...path, String(index)], note))
    return boxes.every(box => box !== undefined) ? [boxes.map(box => box[0])] : undefined
  }

export const matching =
  (pattern: RegExp, { max = Number.POSITIVE_INFINITY }: { readonly max?: number } = {}): Reader<string> =>
  (value, path, note) => {
    const box = text({ min: 1, max })(value, path, note)
    if (!box || pattern.test(box[0])) return box
    note({ code: 'invalid_format', path, message: `Invalid string: must match pattern ${pattern}` })
    return undefined
  }

/** GET parameters are texts; numbers among them are coerced. */
export const queryNumber: Reader<number> = (value, path, note) =>
  number(typeof value === 'string' ? Number(value) : value, path, note)

export const anything: Reader<unknown> = value => [value]

export const words = list(text())
export const BRANCH = /^[a-zA-Z0-9._\-/#]+$/
export const APP_NAME = /^[a-zA-Z0-9._-]+$/
/** What a database's password may be made of. */
export const PASSWORD = /^[a-zA-Z0-9@#%^&*()_+\-=[\]{}|;:,.<>?~`]*$/

export const maybeText = optional(nullable(text()))
export const maybeFlag = optional(nullable(flag))
export const maybeNumber = optional(nullable(number))
export const certificate = optional(choice(['letsencrypt', 'none', 'custom']))

/** The values that were given, without those that were not: an update leaves what it does not name. */
export const namedOnly = (input: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined))
