/** Who may issue, by what the name servers say. */

import { describe, expect, test } from 'bun:test'
import { type CaaFacts, type CaaRequest, evaluateCaa } from '../../../lib/cutover/caa.ts'

const request: CaaRequest = { name: 'www.example.com', identities: ['letsencrypt.org'], method: 'dns-01' }

type Answer = readonly string[] | 'servfail' | 'nxdomain' | 'silent'

/** Facts where everything that is not named has no CAA record. */
const facts = (given: Readonly<Record<string, Answer | { readonly alias: string; readonly values?: Answer }>>) => {
  const map = new Map<string, CaaFacts>()
  const toFacts = (value: Answer, alias?: string): CaaFacts => ({
    answers: [
      typeof value === 'string' ? { server: 'ns1', status: value, values: [] } : { server: 'ns1', status: 'ok', values: value },
    ],
    ...(alias === undefined ? {} : { alias }),
  })
  for (const name of ['www.example.com', 'example.com']) map.set(name, toFacts([]))
  for (const [name, value] of Object.entries(given))
    map.set(name, typeof value === 'object' && 'alias' in value ? toFacts(value.values ?? [], value.alias) : toFacts(value))
  return map
}

const OTHER = '0 issue "pki.goog"'
const LE = '0 issue "letsencrypt.org"'

const CASES: readonly [
  title: string,
  given: Parameters<typeof facts>[0],
  over: Partial<CaaRequest>,
  state: 'allowed' | 'forbidden',
  says?: string,
][] = [
  ['no CAA anywhere', {}, {}, 'allowed'],
  ['the zone names the authority', { 'example.com': [LE] }, {}, 'allowed'],
  ['the zone names another one', { 'example.com': [OTHER] }, {}, 'forbidden', 'pki.goog'],
  ['the nearest set wins over the zone’s', { 'example.com': [OTHER], 'www.example.com': [LE] }, {}, 'allowed'],
  ['the nearest set wins the other way too', { 'example.com': [LE], 'www.example.com': [OTHER] }, {}, 'forbidden'],
  ['one of several is enough', { 'example.com': [OTHER, LE] }, {}, 'allowed'],
  ['";" allows nobody', { 'example.com': ['0 issue ";"'] }, {}, 'forbidden'],
  ['only iodef limits nothing', { 'example.com': ['0 iodef "mailto:a@example.com"'] }, {}, 'allowed'],
  ['issuewild does not speak of plain names', { 'example.com': ['0 issuewild ";"'] }, {}, 'allowed'],
  ['issuewild decides for wildcards', { 'example.com': [LE, '0 issuewild ";"'] }, { wildcard: true }, 'forbidden'],
  ['issue decides for wildcards without issuewild', { 'example.com': [LE] }, { wildcard: true }, 'allowed'],
  ['upper case tags and values count', { 'example.com': ['0 ISSUE "LetsEncrypt.org"'] }, {}, 'allowed'],
  [
    'a method that is not ours',
    { 'example.com': ['0 issue "letsencrypt.org; validationmethods=http-01"'] },
    {},
    'forbidden',
    'http-01',
  ],
  [
    'a list of methods with ours',
    { 'example.com': ['0 issue "letsencrypt.org; validationmethods=http-01,dns-01"'] },
    {},
    'allowed',
  ],
  [
    'an account that is not ours',
    { 'example.com': ['0 issue "letsencrypt.org; accounturi=https://ca/acct/1"'] },
    { accountUri: 'https://ca/acct/2' },
    'forbidden',
    'acct/1',
  ],
  [
    'an account that does not exist yet',
    { 'example.com': ['0 issue "letsencrypt.org; accounturi=https://ca/acct/1"'] },
    {},
    'forbidden',
  ],
  [
    'our account',
    { 'example.com': ['0 issue "letsencrypt.org;accounturi=https://ca/acct/1"'] },
    { accountUri: 'https://ca/acct/1' },
    'allowed',
  ],
  ['a critical property nobody knows', { 'example.com': [LE, '128 tbs "Unknown"'] }, {}, 'forbidden', 'critical'],
  ['an unknown property that is not critical', { 'example.com': [LE, '0 tbs "Unknown"'] }, {}, 'allowed'],
  ['SERVFAIL is a no', { 'www.example.com': 'servfail' }, {}, 'forbidden', 'servfail'],
  ['SERVFAIL above is a no too', { 'example.com': 'servfail' }, {}, 'forbidden', 'servfail'],
  ['silence is a no', { 'www.example.com': 'silent' }, {}, 'forbidden', 'silent'],
  ['a name that is not there climbs', { 'www.example.com': 'nxdomain', 'example.com': [LE] }, {}, 'allowed'],
  [
    'an alias’s target decides',
    { 'www.example.com': { alias: 'cname.old.net' }, 'cname.old.net': [OTHER], 'example.com': [LE] },
    {},
    'forbidden',
    'cname.old.net',
  ],
  [
    'an alias’s target is not climbed',
    { 'www.example.com': { alias: 'cname.old.net' }, 'cname.old.net': [], 'old.net': [OTHER], 'example.com': [LE] },
    {},
    'allowed',
  ],
  [
    'an alias of an alias is followed',
    { 'www.example.com': { alias: 'a.old.net' }, 'a.old.net': { alias: 'b.old.net' }, 'b.old.net': [OTHER] },
    {},
    'forbidden',
  ],
  [
    'an endless alias is a no',
    { 'www.example.com': { alias: 'a.old.net' }, 'a.old.net': { alias: 'www.example.com' } },
    {},
    'forbidden',
    'alias',
  ],
]

describe('CAA', () => {
  for (const [title, given, over, state, says] of CASES)
    test(`${title}: ${state}`, () => {
      const verdict = evaluateCaa({ ...request, ...over }, facts(given))
      expect(verdict.state).toBe(state)
      if (says !== undefined) expect(JSON.stringify(verdict)).toContain(says)
    })

  test('servers that disagree: the strictest counts', () => {
    const map = facts({})
    map.set('example.com', {
      answers: [
        { server: 'ns1', status: 'ok', values: [LE] },
        { server: 'ns2', status: 'ok', values: [OTHER] },
      ],
    })
    expect(evaluateCaa(request, map)).toMatchObject({ state: 'forbidden', why: expect.stringContaining('ns2') })
  })

  test('a refusal says which record to add', () => {
    const verdict = evaluateCaa(request, facts({ 'example.com': [OTHER] }))
    expect(verdict.state === 'forbidden' && verdict.hint).toBe('Add a CAA record at example.com: 0 issue "letsencrypt.org"')
  })
})
