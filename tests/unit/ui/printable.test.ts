import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { printable, printableJson } from '../../../lib/ui/printable.ts'

// Said in other words than the code: every code point that a terminal obeys, hides or reorders.
const isUnsafe = (code: number): boolean =>
  code < 0x20 ||
  (code >= 0x7f && code <= 0x9f) ||
  [0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x180e, 0x3164, 0xfeff, 0xffa0].includes(code) ||
  (code >= 0x200b && code <= 0x200f) ||
  (code >= 0x2028 && code <= 0x202e) ||
  (code >= 0x2060 && code <= 0x206f) ||
  (code >= 0xd800 && code <= 0xdfff) ||
  (code >= 0xfe00 && code <= 0xfe0f) ||
  (code >= 0xfff9 && code <= 0xfffb) ||
  (code >= 0xe0000 && code <= 0xe0fff)

const unsafeIn = (text: string): string[] =>
  [...text].filter(char => isUnsafe(char.codePointAt(0) ?? 0)).map(char => (char.codePointAt(0) ?? 0).toString(16))

const nasty = fc.constantFrom(
  '\u001b[31m',
  '\u001b]8;;http://x\u0007',
  '\u001b]52;c;eA==\u0007',
  '\u009b2J',
  '\u0090',
  '\r',
  '\b',
  '\u0007',
  '\u202e',
  '\u2066',
  '\u200b',
  '\u200d',
  '\ufeff',
  '\ud83d',
  '\udc00',
  '\u{e0041}',
  '\u2028',
  '\n',
  '\t',
  'a',
  'é',
  '🙂',
)
const hostile = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .array(fc.oneof(nasty, fc.string({ unit: 'binary', maxLength: 3 })), { maxLength: 8 })
      .map(parts => parts.join('')),
  },
  {
    weight: 1,
    arbitrary: fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 12 }).map(codes => String.fromCharCode(...codes)),
  },
)

describe('printable', () => {
  test('of 100,000 hostile strings none keeps a character that a terminal obeys, hides or reorders', () => {
    let seen = 0
    fc.assert(
      fc.property(hostile, text => {
        seen++
        const once = printable(text)
        if (unsafeIn(once).length > 0) throw new Error(`${JSON.stringify(text)} keeps ${unsafeIn(once).join()}`)
        if (printable(once) !== once) throw new Error('not stable')
      }),
      { numRuns: 100_000 },
    )
    expect(seen).toBe(100_000)
  })

  test('what is safe stays as it is', () =>
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), text => {
        const safe = [...text]
          .filter(char => !isUnsafe(char.codePointAt(0) ?? 0) && !/\p{Default_Ignorable_Code_Point}|\p{Cf}/u.test(char))
          .join('')
        expect(printable(safe)).toBe(safe)
      }),
      { numRuns: 2_000 },
    ))

  const cases: [string, string, string][] = [
    ['a colour', '\u001b[31mred', '\\x1b[31mred'],
    ['a hyperlink', '\u001b]8;;x\u0007', '\\x1b]8;;x\\x07'],
    ['an 8-bit control', '\u009b2J', '\\x9b2J'],
    ['a line break', 'a\r\nb', 'a\\r\\nb'],
    ['text that runs backwards', 'a\u202eb', 'a\\u202eb'],
    ['half a character', 'a\ud83d', 'a\\ud83d'],
    ['hidden tags', '\u{e0041}', '\\u{e0041}'],
    ['a whole character', '🙂 é 漢', '🙂 é 漢'],
  ]
  for (const [name, text, shown] of cases) test(`${name} is shown as ${shown}`, () => expect(printable(text)).toBe(shown))

  test('lines stay lines where they may, and nothing else does', () =>
    expect(printable('a\n\tb\r\u001b', { lines: true })).toBe('a\n\tb\\r\\x1b'))

  test('JSON is safe to print, one line, and means the same', () =>
    fc.assert(
      fc.property(fc.array(fc.tuple(hostile, hostile), { maxLength: 3 }), pairs => {
        const value = Object.fromEntries(pairs.filter(([key]) => key !== '__proto__'))
        const line = printableJson(value)
        expect(unsafeIn(line)).toEqual([])
        expect(JSON.parse(line)).toEqual(value)
      }),
      { numRuns: 2_000 },
    ))
})
