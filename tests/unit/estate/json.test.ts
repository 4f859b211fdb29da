import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { parseJson } from '../../../lib/estate/json.ts'

const says = (text: string) => parseJson(text).mistakes.map(({ at, says: what }) => `${at?.line}:${at?.column} ${what}`)

describe('JSON', () => {
  test('every JSON value is read as JSON.parse reads it', () =>
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), fc.constantFrom(0, 2), (text, indent) => {
        const value: unknown = JSON.parse(text)
        const { value: read, mistakes } = parseJson(JSON.stringify(value, null, indent))
        if (mistakes.length === 0) expect(JSON.stringify(read)).toBe(JSON.stringify(value))
        else expect(text).toMatch(/__proto__|constructor|prototype/)
      }),
      { numRuns: 2_000 },
    ))

  test('damaged text is refused exactly when JSON.parse refuses it', () =>
    fc.assert(
      fc.property(
        fc.json({ maxDepth: 3 }),
        fc.nat(),
        fc.constantFrom('', ',', '"', '}', ']', '1', 'e', '\\', ' ', '\n', '-', '.'),
        (text, place, piece) => {
          const at = place % (text.length + 1)
          const damaged = `${text.slice(0, at)}${piece}${text.slice(at + 1)}`
          let valid = true
          try {
            JSON.parse(damaged)
          } catch (error) {
            if (!(error instanceof SyntaxError)) throw error
            valid = false
          }
          const { value, mistakes } = parseJson(damaged)
          // Keys that stand twice, or belong to the language, are mistakes here alone.
          if (valid) expect(value).not.toBeUndefined()
          else expect(mistakes.length).toBeGreaterThan(0)
          if (!valid) expect(value).toBeUndefined()
        },
      ),
      { numRuns: 3_000 },
    ))

  const cases: [string, string, string][] = [
    ['a comment', '{\n  // why\n  "a": 1 }', '2:3 JSON has no comments'],
    ['a comma too many', '{ "a": 1, }', '1:11 the comma before this brace has nothing behind it'],
    ['a comma too many in a list', '[1,\n]', '2:1 the comma before this bracket has nothing behind it'],
    ['a comma too few', '{ "a": 1 "b": 2 }', '1:10 a comma or a closing brace is expected here, not """'],
    ['single quotes', "{ 'a': 1 }", '1:3 texts stand in double quotes'],
    ['a bare key', '{ a: 1 }', '1:3 a text in double quotes is expected here, not "a"'],
    ['an open text', '{ "a": "b\n}', '1:8 this text is never closed by a double quote'],
    ['an open file', '{ "a": [1', '1:10 a comma or a closing bracket is expected here, not the end of the file'],
    ['something behind the end', '{} {}', '1:4 the end of the file is expected here, not "{"'],
    ['a key twice', '{ "a": 1,\n "a": 2 }', '2:2 stands here twice (first in line 1)'],
    ['an unknown escape', '"\\x41"', '1:2 an escape that JSON does not know'],
    ['33 levels', `${'['.repeat(33)}1${']'.repeat(33)}`, '1:34 nested deeper than 32 levels'],
    ['nothing', '', '1:1 a value is expected here, not the end of the file'],
  ]
  for (const [name, text, mistake] of cases) test(`${name} is named with its place`, () => expect(says(text)).toEqual([mistake]))

  test('32 levels are allowed', () => expect(says(`${'['.repeat(32)}1${']'.repeat(32)}`)).toEqual([]))

  test('the first of two equal keys counts', () => expect(parseJson('{"a":{"b":1,"b":2}}').value).toEqual({ a: { b: 1 } }))

  test('positions point at keys and at list elements', () => {
    const { positionOf } = parseJson('{\n  "a": {\n    "b": [10,\n      20]\n  }\n}')
    expect(positionOf(['a', 'b'])).toEqual({ line: 3, column: 5 })
    expect(positionOf(['a', 'b', 1])).toEqual({ line: 4, column: 7 })
    expect(positionOf(['a', 'c'])).toBeUndefined()
  })
})
