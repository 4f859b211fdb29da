/** The bricks of config.json's schema: readers with sentences, and a key's documentation beside its reader. */

import * as v from 'valibot'
import { LABEL_PATTERN } from './naming.ts'
import { quoted } from './words.ts'

/** What the documentation says about a key. */
export interface KeyDoc {
  readonly type: string
  /** In words; empty when there is none. */
  readonly default: string
  readonly meaning: string
}

/** More than any vendor's account holds; a hostile file cannot make the checks slow. */
const MAX_ENTRIES = 200

export const mustBe = (what: string) => (issue: { readonly input: unknown }) => `must be ${what}, not ${quoted(issue.input)}`

export const key = <const S extends v.GenericSchema>(schema: S, type: string, fallback: string, meaning: string) =>
  v.exactOptional(v.pipe(schema, v.metadata({ type, default: fallback, meaning } satisfies KeyDoc)))

export const text = (what: string, pattern: RegExp) => v.pipe(v.string(mustBe(what)), v.regex(pattern, mustBe(what)))
export const flag = v.boolean(mustBe('true or false'))
export const integer = (what: string, min: number, max: number) =>
  v.pipe(v.number(mustBe(what)), v.integer(mustBe(what)), v.minValue(min, mustBe(what)), v.maxValue(max, mustBe(what)))
export const section = <const E extends v.ObjectEntries>(entries: E) => v.object(entries, mustBe('a group of keys in braces'))
export const named = <const K extends v.GenericSchema<string, string>, const S extends v.GenericSchema>(name: K, value: S) =>
  v.pipe(
    v.record(name, value, mustBe('a group of named entries in braces')),
    v.maxEntries(MAX_ENTRIES, `must have at most ${MAX_ENTRIES} entries`),
  )
export const list = <const S extends v.GenericSchema>(item: S, what: string) => v.array(item, mustBe(what))

export const LABEL = 'a name of at most 63 lower-case letters, digits and hyphens that begins and ends with a letter or digit'
export const label = text(LABEL, LABEL_PATTERN)
