import { describe, expect, test } from 'bun:test'
import { contains, hasHostBits, overlaps, parseCidr, parseIp, renderCidr } from '../../../lib/sandbox/hetzner/cidr.ts'

const cidr = (text: string) => {
  const parsed = parseCidr(text)
  if (!parsed) throw new Error(`unreadable: ${text}`)
  return parsed
}

describe('CIDR blocks', () => {
  const canonical: [string, string][] = [
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['::/0', '::/0'],
    ['2001:0DB8:0000:0000:0000:0000:0000:0001/128', '2001:db8::1/128'],
    ['2001:db8:0:1:0:0:0:0/64', '2001:db8:0:1::/64'],
    ['1:0:0:2:0:0:0:3/128', '1:0:0:2::3/128'],
    ['1:0:0:2:0:0:3:4/128', '1::2:0:0:3:4/128'],
    ['::1/128', '::1/128'],
  ]
  for (const [text, expected] of canonical)
    test(`${text} is written ${expected}`, () => expect(renderCidr(cidr(text))).toBe(expected))

  for (const text of [
    '10.0.0.0',
    '10.0.0/8',
    '10.0.0.0/33',
    '::/129',
    '256.0.0.0/8',
    '010.0.0.0/8',
    '1::2::3/64',
    'x/8',
    '10.0.0.0/08',
    ':::/0',
  ])
    test(`${text} is no CIDR block`, () => expect(parseCidr(text)).toBeUndefined())

  test('host bits are seen', () => {
    expect(hasHostBits(cidr('10.0.0.1/24'))).toBe(true)
    expect(hasHostBits(cidr('10.0.0.1/32'))).toBe(false)
    expect(hasHostBits(cidr('2001:db8::1/64'))).toBe(true)
  })

  test('containment and overlap respect the family', () => {
    expect(contains(cidr('10.0.0.0/8'), cidr('10.1.0.0/16'))).toBe(true)
    expect(contains(cidr('10.1.0.0/16'), cidr('10.0.0.0/8'))).toBe(false)
    expect(overlaps(cidr('10.1.0.0/16'), cidr('10.0.0.0/8'))).toBe(true)
    expect(overlaps(cidr('0.0.0.0/0'), cidr('::/0'))).toBe(false)
    expect(parseIp('10.0.0.1')?.value).toBe(0x0a000001n)
  })
})
