import { describe, expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import {
  decodeHostKey,
  encodeHostKey,
  isFromRun,
  isOurs,
  LABEL_KEYS,
  labelProblems,
  labelsFor,
} from '../../../lib/estate/labels.ts'
import { LABEL_PATTERN, parseRecordMark, renderRecordMark, serverNames, slug, sshKeyName } from '../../../lib/estate/naming.ts'
import { distance, nearest } from '../../../lib/estate/near.ts'
import { KEY, OTHER_KEY } from './configs.ts'

const keyFrom = (bytes: Uint8Array) =>
  `ssh-ed25519 ${Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from('ssh-ed25519'), Buffer.from([0, 0, 0, 32]), bytes]).toString('base64')}`
const label = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?$/)

describe('labels', () => {
  test('every host key survives the way into a label and back', () =>
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), bytes => {
        const value = encodeHostKey(keyFrom(bytes))
        expect(labelProblems({ [LABEL_KEYS.hostKey]: value })).toEqual([])
        expect(decodeHostKey(value)).toBe(keyFrom(bytes))
      }),
      { numRuns: 2_000 },
    ))

  test('a comment behind the key changes nothing', () => expect(encodeHostKey(`${KEY} root@host`)).toBe(encodeHostKey(KEY)))

  test('what is no host key is no pin', () => {
    for (const value of [
      '',
      'k',
      `k${'A'.repeat(42)}k`,
      `k${'A'.repeat(42)}Bk`,
      `x${'A'.repeat(43)}k`,
      encodeHostKey(KEY).slice(1),
    ])
      expect(decodeHostKey(value)).toBeUndefined()
    for (const line of ['ssh-rsa AAAA', 'ssh-ed25519 AAAA', 'nothing']) expect(() => encodeHostKey(line)).toThrow('bug')
  })

  test('what we set is what the vendor takes', () =>
    fc.assert(
      fc.property(label, label, label, (estate, role, run) => expect(labelProblems(labelsFor(estate, role, run))).toEqual([])),
    ))

  const wrong: [string, Record<string, string>][] = [
    ['a space', { role: 'two words' }],
    ['an address', { mail: 'me@example.com' }],
    ['a colon', { at: '12:00' }],
    ['a hyphen at the end', { run: 'a-' }],
    ['64 characters', { run: 'a'.repeat(64) }],
    ['a reserved prefix', { 'hetzner.cloud/x': 'y' }],
    ['two slashes', { 'a/b/c': 'y' }],
    ['an empty name', { 'a/': 'y' }],
    ['a prefix that is no host', { 'A_/b': 'y' }],
    ['an empty key', { '': 'y' }],
  ]
  for (const [name, labels] of wrong)
    test(`${name} is refused before it is sent`, () => expect(labelProblems(labels)).toHaveLength(1))

  test('an empty value is allowed', () => expect(labelProblems({ a: '' })).toEqual([]))

  test('ours is what carries the estate, this run what carries both', () => {
    const labels = labelsFor('shop', 'prod', 'run7')
    expect([isOurs(labels, 'shop'), isOurs(labels, 'shop2'), isOurs({}, 'shop')]).toEqual([true, false, false])
    expect([isFromRun(labels, 'shop', 'run7'), isFromRun(labels, 'shop', 'run8'), isFromRun(labels, 'other', 'run7')]).toEqual([
      true,
      false,
      false,
    ])
  })
})

describe('names', () => {
  test('a record mark is read back as it was written', () =>
    fc.assert(
      fc.property(label, label, fc.nat(), (estate, server, id) => {
        const mark = { estate, server, serverId: String(id) }
        expect(renderRecordMark(mark).length).toBeLessThanOrEqual(100)
        expect(parseRecordMark(renderRecordMark(mark))).toEqual(mark)
      }),
    ))

  test('the longest names that a file may hold still fit beside the longest id', () =>
    expect(renderRecordMark({ estate: 'e'.repeat(30), server: 's'.repeat(26), serverId: String(2 ** 53 - 1) })).toHaveLength(100))

  test("other people's comments are no marks", () => {
    for (const comment of [
      '',
      'landfall',
      'landfall estate=a',
      'x landfall estate=a server=b id=1',
      'landfall estate=a server=b id=1 and more',
      'landfall estate=a server=b id=',
    ])
      expect(parseRecordMark(comment)).toBeUndefined()
  })

  test('a slug is a label or nothing', () =>
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), text => slug(text) === '' || LABEL_PATTERN.test(slug(text)))))

  test('two keys of one file name get two names, one key always the same', () => {
    expect(sshKeyName('shop', 'id_ed25519', KEY)).not.toBe(sshKeyName('shop', 'id_ed25519', OTHER_KEY))
    expect(sshKeyName('shop', 'Me@Laptop', `${KEY} x`)).toBe(
      `shop-me-laptop-${createHash('sha256').update(KEY).digest('hex').slice(0, 8)}`,
    )
  })

  test('the first server of a group has its name, whatever comes after', () => {
    expect(serverNames('web', 1)).toEqual(['web'])
    expect(serverNames('web', 3)).toEqual(['web', 'web-2', 'web-3'])
  })
})

describe('did you mean', () => {
  test('distance is a metric with swapped neighbours as one edit', () => {
    expect([distance('prod', 'prdo'), distance('', 'abc'), distance('Kitten', 'sitting'), distance('a', 'a')]).toEqual([
      1, 3, 3, 0,
    ])
    fc.assert(fc.property(label, label, (a, b) => distance(a, b) === distance(b, a) && (distance(a, b) === 0) === (a === b)))
  })

  test('the nearest word is offered, a far one is not', () => {
    expect(nearest('locaton', ['domain', 'location'])).toBe('location')
    expect(nearest('banana', ['domain', 'location'])).toBeUndefined()
    expect(nearest('x'.repeat(10_000), ['location'])).toBeUndefined()
  })
})
