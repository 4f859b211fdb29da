/** Small pieces of sentences that quote what a user or a file said. */

import type { Path } from './json.ts'
import { nearest } from './near.ts'

// Everything that a terminal would obey or hide: controls, format characters, line separators, lone surrogates, what fonts leave out.
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu

/** `value` as JSON, safe to print, cut to a readable length. */
export const quoted = (value: unknown): string => {
  const json = value === undefined ? 'nothing' : (JSON.stringify(value) ?? typeof value)
  const safe = json.replace(UNSAFE, char => `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`)
  return safe.length <= 60 ? safe : `${safe.slice(0, 57)}…`
}

/** `a`, `a and b`, `a, b and c`. */
export const listed = (words: readonly string[], conjunction = 'and'): string =>
  words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} ${conjunction} ${words.at(-1)}`

/** `hetzner.server_types.prod`, `firewalls.web[0].port`; keys that are no plain words stand in brackets. */
export const renderPath = (path: Path): string =>
  path
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`
      if (!/^[A-Za-z0-9_-]+$/.test(part)) return `[${quoted(part)}]`
      return index === 0 ? part : `.${part}`
    })
    .join('')

/** `; did you mean "prod"?`, or nothing when no candidate is near. */
export const didYouMean = (word: string, candidates: Iterable<string>): string => {
  const near = nearest(word, candidates)
  return near === undefined ? '' : `; did you mean ${quoted(near)}?`
}
