import { describe, expect, test } from 'bun:test'
import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { createRedactor } from '../../../lib/ui/redact.ts'

const SECRET = 'Zx9/+~q"w\'e é&%7'
const redactor = (...secrets: string[]) => createRedactor(() => secrets)
const clean = (text: string, ...secrets: string[]) => redactor(...(secrets.length > 0 ? secrets : [SECRET])).clean(text)

/** Made here, so that none ever stands in a file. */
const token = (length: number) => Array.from({ length }, (_, index) => 'aB3dE6gH9kL2nP5rS8uV'[(index * 7) % 20]).join('')
const pem = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()

const base64 = (text: string) => Buffer.from(text).toString('base64')
const spellings: [string, string, string][] = [
  ['plain', SECRET, '***'],
  ['in JSON', JSON.stringify({ a: SECRET }), '{"a":"***"}'],
  ['in JSON with escaped slashes', JSON.stringify(SECRET).replaceAll('/', '\\/'), '"***"'],
  ['in JSON in JSON', JSON.stringify(JSON.stringify(SECRET)), '"\\"***\\""'],
  ['in hexadecimal', Buffer.from(SECRET).toString('hex'), '***'],
  ['in HEXADECIMAL', Buffer.from(SECRET).toString('hex').toUpperCase(), '***'],
  ['in a URL', `?t=${encodeURIComponent(SECRET)}&x`, '?t=***&x'],
  ['in a URL, small letters', encodeURIComponent(SECRET).replace(/%../g, code => code.toLowerCase()), '***'],
  ['in a form', new URLSearchParams({ t: SECRET }).toString(), 't=***'],
]

describe('a known secret', () => {
  for (const [name, text, shown] of spellings) test(`is taken out ${name}`, () => expect(clean(text)).toBe(shown))

  test('is taken out of base64 whatever stands around it', () => {
    for (const before of ['', 'a', 'ab', 'abc', 'user:'])
      for (const after of ['', 'x', 'xy'])
        for (const encode of [base64, (text: string) => Buffer.from(text).toString('base64url')]) {
          const shown = clean(`[${encode(before + SECRET + after)}]`)
          expect(shown).toContain('***')
          // What is left decodes to nothing of the secret but the bits that share a character with a neighbour.
          const left = shown.slice(1, -1).replace('***', '')
          expect(left.replace(/=+$/, '').length).toBeLessThanOrEqual(Math.ceil(((before.length + after.length) * 8) / 6) + 2)
        }
  })

  test('is taken out line by line when it has lines, and as a whole', () => {
    const lines = 'first line of it\nshort\nsecond line of it'
    expect(clean(`> ${lines} <`, lines)).toBe('> *** <')
    expect(clean('log: second line of it.', lines)).toBe('log: ***.')
    expect(clean('a short one', lines)).toBe('a short one')
  })

  test('wins over a shorter one inside of it, and overlapping ones go together', () => {
    expect(clean('x-secret-one-two', 'secret', 'secret-one-two')).toBe('x-***')
    expect(clean('abcdefghijkl', 'abcdefgh', 'efghijkl')).toBe('***')
    expect(clean('abcdefghijklmnop', 'abcdefgh', 'ijklmnop')).toBe('******')
  })

  test('is taken out where it overlaps itself', () => expect(clean('aabaabaab', 'aabaab')).toBe('***'))

  test('leaves the frame that it shares with others', () =>
    expect(clean('-----BEGIN THING-----', '-----BEGIN THING-----\nand its content')).toBe('-----BEGIN THING-----'))

  test('is taken out of URLs whichever characters the encoder spares', () => {
    const secret = "it's a secret"
    for (const text of ["it's%20a%20secret", 'it%27s%20a%20secret', "it's+a+secret", 'it%27s+a+secret'])
      expect(clean(text, secret)).toBe('***')
  })

  test('may be half a character', () => expect(clean('abcdef\ud800', 'abcdef\ud800')).toBe('***'))

  test('that is shorter than six characters is left alone: it would take words out of sentences', () =>
    expect(clean('abcde', 'abcde')).toBe('abcde'))

  test('that is made later is known at once', () => {
    const secrets: string[] = []
    const late = createRedactor(() => secrets)
    expect(late.clean('hunter2222')).toBe('hunter2222')
    secrets.push('hunter2222')
    expect(late.clean('hunter2222')).toBe('***')
    secrets[0] = 'other-secret'
    expect(late.clean('hunter2222 other-secret')).toBe('hunter2222 ***')
  })

  test('of any content is in no output, and cleaning twice is cleaning once', () =>
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', minLength: 6, maxLength: 40 }),
        fc.string({ maxLength: 20 }),
        fc.string({ maxLength: 20 }),
        (secret, before, after) => {
          fc.pre(!'***'.includes(secret))
          const { clean: once } = redactor(secret)
          for (const spelling of [secret, JSON.stringify(secret).slice(1, -1), Buffer.from(secret).toString('hex')]) {
            const out = once(`${before} ${spelling} ${after}`)
            expect(out).toContain('***')
            expect(once(out)).toBe(out)
          }
        },
      ),
      { numRuns: 500 },
    ))
})

describe('what looks like a credential', () => {
  const cases: [string, string, string][] = [
    ['a bearer token', `authorization: Bearer ${token(20)}`, 'authorization: Bearer ***'],
    ['basic authentication', 'Authorization: Basic dXNlcjpwYXNz', 'Authorization: Basic ***'],
    ['a Hetzner token', `token=${token(64)}.`, 'token=***.'],
    ["GitHub's tokens", `ghp_${token(36)} github_pat_${token(40)}`, '*** ***'],
    ["DigitalOcean's token", `dop_v1_${'0a'.repeat(32)}`, '***'],
    ['a password in an address', 'https://user:hunter2@example.com/x', 'https://user:***@example.com/x'],
    ['a private key', `before\n${pem}after`, 'before\n***\nafter'],
    ['a private key that is cut off', `${pem.slice(0, 60)}`, '***'],
    ['a private key in JSON', JSON.stringify({ key: pem }), '{"key":"***\\n"}'],
  ]
  for (const [name, text, shown] of cases) test(`${name} is taken out though nobody told`, () => expect(clean(text)).toBe(shown))

  const innocent: [string, string][] = [
    ['a SHA-256', 'a3'.repeat(32)],
    ['a public key', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f'],
    ['a certificate', '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----'],
    ['65 letters and digits', token(65)],
    ['an address with a port', 'http://127.0.0.1:8080/v1@2'],
    ['the word alone', 'a bearer of news'],
  ]
  for (const [name, text] of innocent) test(`${name} stays`, () => expect(clean(text)).toBe(text))
})

describe('text in pieces', () => {
  const inPieces = (text: string, cuts: readonly number[], ...secrets: string[]): string => {
    const stream = redactor(...secrets).cleanStream()
    const places = [...new Set(cuts.map(cut => cut % (text.length + 1)))].sort((a, b) => a - b)
    let out = ''
    let at = 0
    for (const place of [...places, text.length]) {
      out += stream.push(text.slice(at, place))
      at = place
    }
    return out + stream.end()
  }

  test('is cleaned as if it had come whole, wherever it was cut', () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom(
            SECRET,
            'two words of secret',
            ` ${base64(SECRET)} `,
            ` Bearer ${token(12)} `,
            token(64),
            ` ${pem}`,
            '-----BEGIN ',
            'plain words ',
            '\n',
            '🙂',
            'https://u:pw-pw@h ',
          ),
          { maxLength: 6 },
        ),
        fc.array(fc.nat(), { maxLength: 12 }),
        (parts, cuts) => {
          const text = parts.join('')
          expect(inPieces(text, cuts, SECRET, 'two words of secret')).toBe(clean(text, SECRET, 'two words of secret'))
        },
      ),
      { numRuns: 1_500 },
    ))

  test('comes out letter by letter without a trace of the secret', () =>
    expect(
      inPieces(
        `a ${SECRET} b`,
        Array.from({ length: 40 }, (_, index) => index),
        SECRET,
      ),
    ).toBe('a *** b'))

  test('without a secret to look for, only the last word waits: it may be a shape', () => {
    const stream = redactor().cleanStream()
    expect([stream.push('no secret is known yet'), stream.end()]).toEqual(['no secret is known ', 'yet'])
  })

  test('is passed on as soon as nothing in it can be a secret', () => {
    const stream = redactor(SECRET).cleanStream()
    expect(stream.push('one line\n')).toBe('one line\n')
    expect(stream.push('half a wo')).toBe('half a ')
    expect(stream.push('rd ')).toBe('word ')
    expect(stream.end()).toBe('')
  })

  test('never breaks a character in two', () => {
    const text = `${'🙂'.repeat(10_000)}x`
    expect(inPieces(text, [1, 5_001, 9_999, 12_345], SECRET)).toBe(text)
  })

  test('without blanks is not held for ever', () => {
    const stream = redactor(SECRET).cleanStream()
    expect(stream.push('-'.repeat(20_000)).length).toBeGreaterThan(10_000)
  })
})

test('what a terminal would obey is written out, behind the secrets', () =>
  expect(clean('\u001b[31m secret\u0007value \u202e\nnext', 'secret\u0007value')).toBe('\\x1b[31m *** \\u202e\nnext'))

test('the redactor itself is the function that cleans', () => expect(createRedactor(() => [SECRET])(SECRET)).toBe('***'))

test('a text that was clean before a secret was known is not clean after', () => {
  const secrets: string[] = []
  const clean = createRedactor(() => secrets)
  for (const text of ['say hunter2hunter2', `say hunter2hunter2 ${'and more '.repeat(40)}`]) {
    secrets.length = 0
    expect([clean(text), clean(text)]).toEqual([text, text])
    secrets.push('hunter2hunter2')
    expect([clean(text), clean(text)]).toEqual([text.replace('hunter2hunter2', '***'), text.replace('hunter2hunter2', '***')])
  }
})

test('of thousands of texts each is cleaned, the first time and again', () => {
  const clean = redactor('hunter2hunter2')
  for (let round = 0; round < 2; round++) for (let n = 0; n < 2_000; n++) expect(clean(`${n}: hunter2hunter2`)).toBe(`${n}: ***`)
})
