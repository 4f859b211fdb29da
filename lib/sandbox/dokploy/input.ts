/**
 * What a procedure accepts, and what it says about the rest: every wrong field is named, in zod 4's sentences, which clients are shown.
 */

import type { InputIssue } from './wire.ts'

/** Gives the value in a box, or nothing after it has noted what is wrong. */
export type Reader<T> = (value: unknown, path: readonly string[], note: (issue: InputIssue) => void) => readonly [T] | undefined

/** The value, or every issue. */
export const parseInput = <T>(
  reader: Reader<T>,
  value: unknown,
): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly issues: readonly InputIssue[] } => {
  const issues: InputIssue[] = []
  const read = reader(value, [], issue => issues.push(issue))
  return read ? { ok: true, value: read[0] } : { ok: false, issues }
}

/** For procedures without input: whatever is sent is dropped. */
export const nothing: Reader<undefined> = () => [undefined]

export const text =
  ({ min = 0, max = Number.POSITIVE_INFINITY }: { readonly min?: number; readonly max?: number } = {}): Reader<string> =>
  (value, path, note) => {
    if (typeof value !== 'string') return wrongType('string', value, path, note)
    if (value.length < min) return wrong('too_small', `Too small: expected string to have >=${min} characters`, path, note)
    if (value.length > max) return wrong('too_big', `Too big: expected string to have <=${max} characters`, path, note)
    return [value]
  }

/** An e-mail address, or nothing between the quotes. */
export const emailOrEmpty: Reader<string> = (value, path, note) => {
  if (typeof value !== 'string') return wrongType('string', value, path, note)
  return value === '' || isEmail(value) ? [value] : wrong('invalid_format', 'Invalid email address', path, note)
}

export const number: Reader<number> = (value, path, note) =>
  typeof value === 'number' ? [value] : wrongType('number', value, path, note)

export const flag: Reader<boolean> = (value, path, note) =>
  typeof value === 'boolean' ? [value] : wrongType('boolean', value, path, note)

export const choice =
  <const W extends string>(words: readonly W[]): Reader<W> =>
  (value, path, note) => {
    const found = words.find(word => word === value)
    const options = words.map(word => `"${word}"`).join('|')
    return found === undefined ? wrong('invalid_value', `Invalid option: expected one of ${options}`, path, note) : [found]
  }

export const optional =
  <T>(reader: Reader<T>): Reader<T | undefined> =>
  (value, path, note) =>
    value === undefined ? [undefined] : reader(value, path, note)

export const nullable =
  <T>(reader: Reader<T>): Reader<T | null> =>
  (value, path, note) =>
    value === null ? [null] : reader(value, path, note)

type ValueOf<R> = R extends Reader<infer T> ? T : never

/** Fields that are not named are dropped. */
export const object =
  <S extends Readonly<Record<string, Reader<unknown>>>>(shape: S): Reader<{ readonly [K in keyof S]: ValueOf<S[K]> }> =>
  (value, path, note) => {
    if (!isObject(value)) return wrongType('object', value, path, note)
    const read: Record<string, unknown> = {}
    let whole = true
    for (const [field, reader] of Object.entries(shape)) {
      const box = reader(value[field], [...path, field], note)
      if (box) read[field] = box[0]
      else whole = false
    }
    return whole ? [read as { readonly [K in keyof S]: ValueOf<S[K]> }] : undefined
  }

/** The pattern of the vendor's OpenAPI document. */
export const isEmail = (value: string): boolean =>
  /^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9-]*\.)+[A-Za-z]{2,}$/.test(value)

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const wrong = (code: string, message: string, path: readonly string[], note: (issue: InputIssue) => void): undefined => {
  note({ code, path, message })
  return undefined
}

const wrongType = (expected: string, value: unknown, path: readonly string[], note: (issue: InputIssue) => void): undefined => {
  const received = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value
  return wrong('invalid_type', `Invalid input: expected ${expected}, received ${received}`, path, note)
}
