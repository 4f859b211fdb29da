import { describe, expect, test } from 'bun:test'
import { labelProblems, matchesSelector, parseSelector } from '../../../lib/sandbox/hetzner/labels.ts'

describe('label grammar', () => {
  const good: Record<string, string>[] = [
    { env: 'prod' },
    { a: '' },
    { 'example.com/my-key_1.x': 'v1.2_3-4' },
    { ['k'.repeat(63)]: 'v'.repeat(63) },
    { [`${'a'.repeat(63)}.${'b'.repeat(63)}/k`]: 'v' },
  ]
  for (const labels of good)
    test(`${JSON.stringify(labels).slice(0, 60)} is allowed`, () => expect(labelProblems(labels)).toEqual([]))

  const bad: Record<string, unknown>[] = [
    { '': 'v' },
    { '-a': 'v' },
    { 'a-': 'v' },
    { 'a b': 'v' },
    { 'a/b/c': 'v' },
    { '/k': 'v' },
    { 'Example.com/k': 'v' },
    { 'hetzner.cloud/k': 'v' },
    { ['k'.repeat(64)]: 'v' },
    { [`${'a'.repeat(64)}.com/k`]: 'v' },
    { k: 'with space' },
    { k: 'a:b' },
    { k: 'a/b' },
    { k: 'a@b' },
    { k: 'a+b' },
    { k: '-v' },
    { k: 'v.' },
    { k: 'v'.repeat(64) },
    { k: 1 },
    { k: null },
  ]
  for (const labels of bad)
    test(`${JSON.stringify(labels).slice(0, 60)} is refused`, () => expect(labelProblems(labels)).toHaveLength(1))
})

describe('label selector', () => {
  const labels = { env: 'prod', type: 'web', 'example.com/team': 'a', empty: '' }
  const table: [string, boolean][] = [
    ['env=prod', true],
    ['env==prod', true],
    ['env = prod', true],
    ['env=dev', false],
    ['env!=dev', true],
    ['env!=prod', false],
    ['missing!=x', true],
    ['env', true],
    ['missing', false],
    ['!missing', true],
    ['!env', false],
    ['env in (dev,prod)', true],
    ['env in (dev, staging)', false],
    ['env notin (dev,staging)', true],
    ['env notin (prod)', false],
    ['missing notin (a)', true],
    ['missing in (a)', false],
    ['env=prod,type!=database', true],
    ['env in (prod,dev),!missing,type=web', true],
    ['env=prod,missing', false],
    ['example.com/team=a', true],
    ['empty=', true],
    ['empty', true],
  ]
  for (const [selector, expected] of table)
    test(`'${selector}' ${expected ? 'selects' : 'does not select'}`, () => {
      const terms = parseSelector(selector)
      expect(terms).toBeDefined()
      expect(matchesSelector(terms ?? [], labels)).toBe(expected)
    })

  for (const selector of ['', ',', 'a=b,', 'a=b=c', 'a in b', 'a in (b', 'a b', '=v', '!', 'a=with space', 'a>b', '!a=b'])
    test(`'${selector}' cannot be read`, () => expect(parseSelector(selector)).toBeUndefined())

  test('a name from the prototype of objects is no label', () =>
    expect(matchesSelector(parseSelector('constructor') ?? [], {})).toBe(false))
})
