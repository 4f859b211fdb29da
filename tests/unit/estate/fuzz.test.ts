import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { hasCode } from '../../../lib/errors.ts'
import { parseConfig, resolveEstate } from '../../../lib/estate/load.ts'
import { fleet, KEY, twoServers } from './configs.ts'

const rich = {
  ...twoServers,
  ...fleet,
  hetzner: { ...twoServers.hetzner, image: 'debian-12' },
  network: { range: '172.16.0.0/16', subnet: '172.16.1.0/24' },
  dns: { ...twoServers.dns, ttl: 300, proxied: false },
  firewall: { admin_addresses: ['198.51.100.7'] },
  ssh: { public_keys: [KEY] },
  dokploy: { version: '0.30.2', admin_email: 'me@example.com' },
  placement_groups: ['g'],
  cost: { monthly_cap: 10 },
}

type Path = (string | number)[]
const pathsOf = (value: unknown, path: Path = []): Path[] =>
  typeof value === 'object' && value !== null
    ? [
        path,
        ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...path, Array.isArray(value) ? Number(key) : key])),
      ]
    : [path]

const at = (value: unknown, [head, ...rest]: Path, change: (old: unknown) => unknown): unknown => {
  if (head === undefined) return change(value)
  if (Array.isArray(value)) return value.map((item, index) => (index === head ? at(item, rest, change) : item))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, key === head ? at(inner, rest, change) : inner]))
}

const junk = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    0,
    -1,
    1.5,
    1e308,
    '',
    'x',
    'cx23',
    'anywhere',
    '10.0.0.0/8',
    '::/0',
    [],
    {},
    [[]],
    [null],
    { a: {} },
    ['cx23', 7],
    '22',
    22,
    'debian-12',
    'a'.repeat(200),
  ),
  fc.jsonValue({ maxDepth: 3 }),
)

test('whatever stands in a file, it is either an estate or a list of mistakes', () => {
  let estates = 0
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(...pathsOf(rich)), junk), { maxLength: 3 }), changes => {
      const text = JSON.stringify(changes.reduce<unknown>((value, [path, put]) => at(value, path, () => put), rich)) ?? ''
      try {
        const estate = resolveEstate(parseConfig(text, 'config.json'), { adminAddresses: ['203.0.113.1'], publicKeys: [] })
        estates++
        const names = estate.servers.map(server => server.name)
        expect(new Set(names).size).toBe(names.length)
        for (const server of estate.servers) {
          expect(server.types.length).toBeGreaterThan(0)
          expect(server.locations.length).toBeGreaterThan(0)
          for (const firewall of server.firewalls) expect(estate.firewalls.map(each => each.name)).toContain(firewall)
        }
      } catch (error) {
        if (!hasCode(error, 'config')) throw error
        const [head, ...lines] = error.message.split('\n')
        expect(head).toMatch(/^config\.json has (?:a mistake|\d+ mistakes):$/)
        for (const line of lines) expect(line).toMatch(/^ {2}(?:line \d+:\d+ {2}\S|… and)/)
      }
    }),
    { numRuns: 3_000 },
  )
  expect(estates).toBeGreaterThan(100)
}, 60_000)
