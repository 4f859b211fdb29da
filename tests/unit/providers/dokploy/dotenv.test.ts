/** Variables through Dokploy's dotenv text: byte for byte, or refused by name before anything is sent. */

import { describe, expect, test } from 'bun:test'
import { parse } from 'dotenv'
import fc from 'fast-check'
import { hasCode } from '../../../../lib/errors.ts'
import { envProblem, parseEnv, renderEnv } from '../../../../lib/providers/dokploy/dotenv.ts'
import type { EnvSet } from '../../../../lib/providers/ports/dokploy-apps.ts'
import { knownSecrets, Secret } from '../../../../lib/secret.ts'

const set = (values: Readonly<Record<string, string>>): EnvSet =>
  Object.entries(values).map(([name, value]) => [name, new Secret(name, value, 'unlisted')])
const plain = (env: EnvSet): Record<string, string> => Object.fromEntries(env.map(([name, value]) => [name, value.reveal()]))

describe('a value comes back byte for byte', () => {
  test.each([
    ['plain', 'production'],
    ['empty', ''],
    ['a dollar', 'pa$$word$HOME'],
    ['a hash', 'a # b'],
    ['blanks at its ends', '  x  '],
    ['double quotes', 'say "hi"'],
    ['single quotes', "it's"],
    ['both quotes', `it's "so"`],
    ['a backtick and a hash', '`#`'],
    ['two lines', 'a\nb'],
    ['a key', '-----BEGIN KEY-----\nabc=\n-----END KEY-----\n'],
    ['a carriage return', 'a\r\nb'],
    ['one backtick', '`'],
    ['a quote that stays open', '"a\\'],
    ['a backslash and an n', 'a\\nb'],
    ['JSON', '{"a":"b c","d":[1,2]}'],
    ['an equals sign', 'a=b=c'],
    ['another alphabet', 'żółć 漢字 🚀'],
    ['a URL', 'postgres://u:p%40ss@db:5432/app?sslmode=require#x'],
  ])('%s', (_name, value) => {
    expect(plain(parseEnv(renderEnv(set({ FIRST: '1', VALUE: value, LAST: 'z' }))))).toEqual({
      FIRST: '1',
      VALUE: value,
      LAST: 'z',
    })
  })
})

describe('what cannot be kept is refused by name, and its value is not said', () => {
  test.each([
    ['quotes of all kinds, a hash and two lines', 'A', `a'"\`#\nb`],
    ['a reference to nothing', 'A', `$\{{nothing}}`],
    ['a NUL', 'A', 'a\0b'],
    ['half a character', 'A', '\ud800'],
    ['a name with a hyphen', 'a-b', 'x'],
    ['a name that is none', '1A', 'x'],
    ['a prototype', '__proto__', 'x'],
  ])('%s', (_name, name, value) => {
    let error: unknown
    try {
      renderEnv([[name, new Secret(name, value, 'unlisted')]])
    } catch (caught) {
      error = caught
    }
    if (!hasCode(error, 'config')) throw new Error('it was not refused')
    expect(error.message).toContain(JSON.stringify(name))
    expect(error.message).not.toContain(value === 'x' ? '"x"' : value)
  })

  test('a reference to a project’s variable, or to one of its own, is meant', () => {
    expect(envProblem('A', `$\{{project.DB}} $\{{B}}`, new Set(['A', 'B']))).toBeUndefined()
  })
})

test('a word like "production" stays readable elsewhere, a secret does not', () => {
  parseEnv('NODE_ENV=production-of-this-test\nAPI_KEY=key-of-this-test\nDB=postgres://u:pw-of-this-test@h/d')
  expect(knownSecrets()).toContain('key-of-this-test')
  expect(knownSecrets()).toContain('postgres://u:pw-of-this-test@h/d')
  expect(knownSecrets()).not.toContain('production-of-this-test')
})

const RUNS = Number(process.env.LANDFALL_RUNS ?? (process.env.CI ? 1_000 : 2_000))
const name = fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,12}$/)
const value = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.stringMatching(/^[ \t'"`$#=\\nr\n{}a-c]{0,16}$/),
)

test(`${RUNS} random sets come back byte for byte, or are refused because dotenv could not give them back`, () => {
  fc.assert(
    fc.property(fc.dictionary(name, value, { maxKeys: 8 }), values => {
      const names = new Set(Object.keys(values))
      const good = Object.fromEntries(Object.entries(values).filter(([key, text]) => envProblem(key, text, names) === undefined))
      const text = renderEnv(set(good))
      expect(plain(parseEnv(text))).toEqual({ ...good })
      // What Dokploy itself makes of it, with the parser that it uses.
      expect({ ...parse(text) }).toEqual({ ...good })
    }),
    // A quote that stays open until the next variable's value, under names of any kind.
    { numRuns: RUNS, examples: [[{ Z_: '`', _: '`#' }]] },
  )
}, 120_000)
