import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import type { FirewallRuleSpec } from '../../../lib/estate/estate.ts'
import { desiredRules, diffRules, exposureLines, wouldCutOff } from '../../../lib/estate/firewall.ts'
import type { FirewallRule } from '../../../lib/providers/ports/cloud.ts'

const tcp = (port: string, from: string[], why = ''): FirewallRule => ({ protocol: 'tcp', port, from, why })
const ALL = ['0.0.0.0/0', '::/0']

const range = fc.oneof(
  fc.constantFrom(...ALL),
  fc.tuple(fc.ipV4(), fc.integer({ min: 8, max: 32 })).map(([ip, prefix]) => `${ip}/${prefix}`),
)
const rule: fc.Arbitrary<FirewallRule> = fc.oneof(
  fc.record({
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    port: fc.constantFrom('22', '80', '8000-8100'),
    from: fc.array(range, { minLength: 1, maxLength: 4 }),
    why: fc.constantFrom('', 'a', 'b'),
  }),
  fc.record({
    protocol: fc.constant('icmp' as const),
    from: fc.array(range, { minLength: 1, maxLength: 4 }),
    why: fc.constant(''),
  }),
)

describe('desired rules', () => {
  const spec: { rules: FirewallRuleSpec[] } = {
    rules: [
      { protocol: 'tcp', port: '22', from: ['anywhere'], why: 'SSH' },
      { protocol: 'tcp', port: '3000', from: ['admin', '203.0.113.9/24'], why: 'panel' },
      { protocol: 'udp', port: '9', from: ['admin'], why: '' },
    ],
  }

  test('words become ranges in one spelling', () =>
    expect(desiredRules(spec, ['198.51.100.7', '2001:DB8::1'])).toEqual([
      tcp('22', ALL, 'SSH'),
      tcp('3000', ['198.51.100.7/32', '2001:db8::1/128', '203.0.113.0/24'], 'panel'),
      { protocol: 'udp', port: '9', from: ['198.51.100.7/32', '2001:db8::1/128'], why: '' },
    ]))

  test('a rule for nobody is left out', () => expect(desiredRules(spec).map(each => each.port)).toEqual(['22', '3000']))

  test('what is no range never reaches the vendor', () =>
    expect(() => desiredRules({ rules: [{ protocol: 'tcp', port: '1', from: ['everyone'], why: '' }] })).toThrow(
      '"everyone" is no range',
    ))
})

describe('differences', () => {
  test('rules that let in the same people do not differ, whatever their order, spelling and division', () => {
    const have = [tcp('443', ['::/0', '0.0.0.0/0']), tcp('22', ['198.51.100.7']), tcp('22', ['2001:db8:0::1/128'], 'x')]
    expect(diffRules(have, [tcp('22-22', ['2001:DB8::1', '198.51.100.7/32']), tcp('443', ALL, 'HTTPS')])).toEqual([])
  })

  test('what opens and what closes is said with its reason', () =>
    expect(
      diffRules(
        [tcp('22', ALL, 'SSH'), tcp('80', ALL)],
        [tcp('22', ['198.51.100.0/24'], 'SSH'), tcp('3000', ['198.51.100.7/32'], "Dokploy's panel, until it has a name")],
      ),
    ).toEqual([
      '+ 22/tcp from 198.51.100.0/24 (SSH)',
      "+ 3000/tcp from 198.51.100.7/32 (Dokploy's panel, until it has a name)",
      '- 22/tcp from anywhere (SSH)',
      '- 80/tcp from anywhere',
    ]))

  test('what lets in without an address, or by a protocol that config.json has no word for, closes', () =>
    expect(
      diffRules(
        [tcp('22', ALL, 'SSH'), { ...tcp('5432', []), others: ['tag staff'] }, { protocol: 'gre', from: ALL, why: '' }],
        [tcp('22', ALL, 'SSH')],
      ),
    ).toEqual(['- 5432/tcp from tag staff', '- gre from anywhere']))

  test('a set of rules never differs from itself shuffled, and what is gained one way is lost the other', () =>
    fc.assert(
      fc.property(
        fc
          .array(rule, { maxLength: 6 })
          .chain(rules =>
            fc.tuple(
              fc.constant(rules),
              fc.shuffledSubarray(rules, { minLength: rules.length }),
              fc.array(rule, { maxLength: 6 }),
            ),
          ),
        ([rules, shuffled, others]) => {
          expect(diffRules(rules, shuffled)).toEqual([])
          const flip = (lines: readonly string[], mark: string) =>
            lines
              .filter(line => line.startsWith(mark))
              .map(line => line.slice(2).replace(/ \(.*$/, ''))
              .sort()
          expect(flip(diffRules(rules, others), '+')).toEqual(flip(diffRules(others, rules), '-'))
        },
      ),
      { numRuns: 500 },
    ))
})

describe('exposure', () => {
  test('one line per source, ports first', () =>
    expect(
      exposureLines([
        { protocol: 'icmp', from: ALL, why: '' },
        tcp('8000-8100', ['10.0.0.0/8']),
        tcp('22', ['0.0.0.0/0']),
        tcp('22', ['2001:db8::/32']),
        tcp('443', ALL),
      ]),
    ).toEqual([
      '22/tcp from anywhere over IPv4 and 2001:db8::/32',
      '443/tcp, icmp from anywhere',
      '8000-8100/tcp from 10.0.0.0/8',
    ]))
})

describe('the lock-out guard', () => {
  const cases: [string, FirewallRule[], string, boolean][] = [
    ['SSH from anywhere keeps everybody in', [tcp('22', ALL)], '198.51.100.7', false],
    ['IPv4 alone cuts off who comes by IPv6', [tcp('22', ['0.0.0.0/0'])], '2001:db8::1', true],
    ["a neighbour's range is not mine", [tcp('22', ['198.51.100.0/25'])], '198.51.100.200', true],
    ['a range of ports holds 22', [tcp('1-1024', ['198.51.100.0/24'])], '198.51.100.200', false],
    ['a range that ends at 21 does not', [tcp('1-21', ALL)], '198.51.100.200', true],
    ['UDP is no SSH', [{ protocol: 'udp', port: '22', from: ALL, why: '' }], '198.51.100.7', true],
    ['no rule at all lets nobody in', [], '198.51.100.7', true],
  ]
  for (const [name, rules, address, cut] of cases) test(name, () => expect(wouldCutOff(rules, address)).toBe(cut))
})
