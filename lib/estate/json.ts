/**
 * JSON with positions. `JSON.parse` forgets where a value stood, keeps the last of two equal keys without a word, and accepts
 * `__proto__`; a configuration file needs the opposite of all three.
 */

import { quoted } from './words.ts'

export type Path = readonly (string | number)[]

export interface Mistake {
  readonly path: Path
  /** Without a full stop; follows the path and a colon. */
  readonly says: string
  /** Overrides the position of the value at `path`. */
  readonly at?: Position
  /** Places that may be the true cause: when one of them is wrong itself, this mistake is only its consequence. */
  readonly because?: readonly Path[]
  /** The place that was probably meant, and is therefore not simply missing. */
  readonly meant?: Path
}

/** Both count from 1; columns count UTF-16 units, as editors do. */
export interface Position {
  readonly line: number
  readonly column: number
}

export interface ParsedJson {
  readonly value: unknown
  readonly mistakes: readonly Mistake[]
  /** Where the key (or the list's element, or the whole text) at `path` begins. */
  positionOf(path: Path): Position | undefined
}

const MAX_DEPTH = 32
const MAX_KEY_LENGTH = 256
/** Far more than an estate needs; keeps the refusal of a hostile file within a second. */
const MAX_VALUES = 20_000
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype'])
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
}
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y

/** Ends the parse: nothing after a syntax error can be trusted. */
class Unreadable extends Error {
  readonly offset: number
  constructor(says: string, offset: number) {
    super(says)
    this.offset = offset
  }
}

const keyOf = (path: Path): string => JSON.stringify(path)

/** Parses `text`. A syntax error is one mistake at the root with `value` undefined; other mistakes leave the rest usable. */
export const parseJson = (text: string): ParsedJson => {
  const offsets = new Map<string, number>()
  const mistakes: Mistake[] = []
  let at = 0
  let values = 0

  let lineStarts: number[] | undefined
  const position = (offset: number): Position => {
    lineStarts ??= [0, ...Array.from(text.matchAll(/\n/g), match => match.index + 1)]
    let low = 0
    let high = lineStarts.length - 1
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if ((lineStarts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return { line: low + 1, column: offset - (lineStarts[low] ?? 0) + 1 }
  }

  const skipBlanks = () => {
    while (at < text.length && ' \t\n\r'.includes(text[at] ?? 'x')) at++
    if (text.startsWith('//', at) || text.startsWith('/*', at)) throw new Unreadable('JSON has no comments', at)
  }

  const found = () => {
    if (at >= text.length) return 'the end of the file'
    const char = String.fromCodePoint(text.codePointAt(at) ?? 63)
    return char === '"' || char === '\\' ? `"${char}"` : quoted(char)
  }

  const parseString = (): string => {
    const start = at
    if (text[at] === "'") throw new Unreadable('texts stand in double quotes', at)
    if (text[at] !== '"') throw new Unreadable(`a text in double quotes is expected here, not ${found()}`, at)
    at++
    let out = ''
    for (;;) {
      const char = text[at]
      if (char === undefined || char === '\n') throw new Unreadable('this text is never closed by a double quote', start)
      at++
      if (char === '"') return out
      if (char < ' ') throw new Unreadable('a raw control character stands in a text', at - 1)
      if (char !== '\\') {
        out += char
        continue
      }
      const letter = text[at] ?? ''
      const hex = text.slice(at + 1, at + 5)
      if (letter === 'u' && /^[0-9a-fA-F]{4}$/.test(hex)) {
        out += String.fromCharCode(Number.parseInt(hex, 16))
        at += 5
      } else if (Object.hasOwn(ESCAPES, letter)) {
        out += ESCAPES[letter]
        at++
      } else throw new Unreadable('an escape that JSON does not know', at - 1)
    }
  }

  const parseObject = (path: Path, depth: number): Record<string, unknown> => {
    const out: Record<string, unknown> = {}
    at++
    skipBlanks()
    if (text[at] === '}') {
      at++
      return out
    }
    for (;;) {
      skipBlanks()
      if (text[at] === '}') throw new Unreadable('the comma before this brace has nothing behind it', at)
      const keyOffset = at
      const key = parseString()
      // Paths are built from keys, so that a few huge keys would multiply.
      if (key.length > MAX_KEY_LENGTH) throw new Unreadable(`a key is longer than ${MAX_KEY_LENGTH} characters`, keyOffset)
      skipBlanks()
      if (text[at] !== ':') throw new Unreadable(`a colon is expected here, not ${found()}`, at)
      at++
      const inner = [...path, key]
      if (FORBIDDEN_KEYS.has(key)) {
        mistakes.push({ path: inner, says: 'this key is never allowed', at: position(keyOffset) })
        parseValue(inner, depth)
      } else if (Object.hasOwn(out, key)) {
        const first = position(offsets.get(keyOf(inner)) ?? keyOffset)
        mistakes.push({ path: inner, says: `stands here twice (first in line ${first.line})`, at: position(keyOffset) })
        parseValue([...path, key, '(again)'], depth)
      } else {
        offsets.set(keyOf(inner), keyOffset)
        out[key] = parseValue(inner, depth)
      }
      skipBlanks()
      const next = text[at]
      if (next === '}') {
        at++
        return out
      }
      if (next !== ',') throw new Unreadable(`a comma or a closing brace is expected here, not ${found()}`, at)
      at++
    }
  }

  const parseArray = (path: Path, depth: number): unknown[] => {
    const out: unknown[] = []
    at++
    skipBlanks()
    if (text[at] === ']') {
      at++
      return out
    }
    for (;;) {
      skipBlanks()
      if (text[at] === ']') throw new Unreadable('the comma before this bracket has nothing behind it', at)
      const inner = [...path, out.length]
      offsets.set(keyOf(inner), at)
      out.push(parseValue(inner, depth))
      skipBlanks()
      const next = text[at]
      if (next === ']') {
        at++
        return out
      }
      if (next !== ',') throw new Unreadable(`a comma or a closing bracket is expected here, not ${found()}`, at)
      at++
    }
  }

  const parseValue = (path: Path, depth: number): unknown => {
    if (++values > MAX_VALUES) throw new Unreadable(`more than ${MAX_VALUES} values`, at)
    if (depth > MAX_DEPTH) throw new Unreadable(`nested deeper than ${MAX_DEPTH} levels`, at)
    skipBlanks()
    const char = text[at]
    if (char === '{') return parseObject(path, depth + 1)
    if (char === '[') return parseArray(path, depth + 1)
    if (char === '"' || char === "'") return parseString()
    for (const [word, value] of [
      ['true', true],
      ['false', false],
      ['null', null],
    ] as const)
      if (text.startsWith(word, at)) {
        at += word.length
        return value
      }
    NUMBER.lastIndex = at
    const digits = NUMBER.exec(text)?.[0]
    if (digits === undefined) throw new Unreadable(`a value is expected here, not ${found()}`, at)
    at += digits.length
    return Number(digits)
  }

  const positionOf = (path: Path): Position | undefined => {
    const offset = offsets.get(keyOf(path))
    return offset === undefined ? undefined : position(offset)
  }

  try {
    offsets.set(keyOf([]), 0)
    const value = parseValue([], 0)
    skipBlanks()
    if (at < text.length) throw new Unreadable(`the end of the file is expected here, not ${found()}`, at)
    return { value, mistakes, positionOf }
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    return { value: undefined, mistakes: [{ path: [], says: error.message, at: position(error.offset) }], positionOf }
  }
}
