import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { type CostInputs, costOf, renderAmount, sumPrices, timesPrice } from '../../../lib/estate/cost.ts'

const price = (net: number, gross = net) => ({ net, gross })
const offer = (location: string, net: number, gross: number, hour: number) => ({
  location,
  hourly: price(hour, hour),
  monthly: price(net, gross),
})
const serverTypes: CostInputs['serverTypes'] = [
  { name: 'cx23', offers: [offer('nbg1', 3.49, 4.1531, 0.0056), offer('ash', 4.99, 5.9381, 0.008)] },
  { name: 'cx33', offers: [offer('nbg1', 6.49, 7.7231, 0.0104)] },
]
const pricing: CostInputs['pricing'] = {
  currency: 'EUR',
  snapshotGbMonth: price(0.0143, 0.017017),
  primaryIps: [
    { type: 'ipv4', location: 'nbg1', hourly: price(0.0008), monthly: price(0.5, 0.595) },
    { type: 'ipv6', location: 'nbg1', hourly: price(0), monthly: price(0) },
  ],
}
type Planned = CostInputs['servers'][number]
const bare = (name: string, type: string, more: Partial<Planned> = {}): Planned => ({
  id: `id-${name}`,
  name,
  type,
  location: 'nbg1',
  status: 'running',
  ...more,
})
const server = (name: string, type: string, more: Partial<Planned> = {}) => bare(name, type, { ipv4: '192.0.2.1', ...more })
const snapshot = (id: string, createdAt: string, labels: Record<string, string> = { 'landfall/image': 'dokploy' }) => ({
  id,
  description: `image ${id}`,
  kind: 'snapshot' as const,
  status: 'available' as const,
  sizeGb: 2.5,
  createdAt,
  labels,
})
const none: CostInputs = { servers: [], serverTypes, pricing, primaryIps: [], loadBalancers: [], images: [] }

describe('cost', () => {
  test('two servers with their addresses, to the cent', () => {
    const cost = costOf({ ...none, servers: [server('dev-dokploy', 'cx23'), server('prod-dokploy', 'cx33')] })
    expect(cost.monthly).toEqual({ net: 10.98, gross: 13.0662 })
    expect(cost.hourly.net).toBe(0.0176)
    expect(cost.lines.map(line => `${line.kind} ${line.name} ${renderAmount(line.monthly.net)}`)).toEqual([
      'server dev-dokploy 3.49',
      'server prod-dokploy 6.49',
      'ipv4 dev-dokploy 0.50',
      'ipv4 prod-dokploy 0.50',
    ])
    expect(cost.leftovers).toEqual([])
  })

  test('a load balancer is a line, its addresses are in its price', () => {
    const loadBalancers = [{ name: 'acme-cluster', type: 'lb11', location: 'nbg1' }]
    const priced = {
      ...pricing,
      loadBalancers: [{ type: 'lb11', location: 'nbg1', hourly: price(0.0084), monthly: price(5.39, 6.4141) }],
    }
    const cost = costOf({ ...none, pricing: priced, servers: [server('node', 'cx33')], loadBalancers })
    // 6.49 + 0.50 + 5.39.
    expect(cost.monthly.net).toBe(12.38)
    expect(cost.lines.at(-1)).toMatchObject({ kind: 'load balancer', name: 'acme-cluster', detail: 'lb11, nbg1' })
    expect(costOf({ ...none, loadBalancers }).lines).toMatchObject([{ name: 'acme-cluster', priced: false }])
  })

  test('a planned server is priced like a real one', () =>
    expect(
      costOf({ ...none, servers: [{ name: 'new', type: 'cx23', location: 'nbg1', status: 'planned', ipv4: 'new' }] }).monthly.net,
    ).toBe(3.99))

  test('an address in the list is billed once, one without a price is free and not shown', () => {
    const primaryIps = [
      { name: 'a', type: 'ipv4' as const, ip: '192.0.2.1', location: 'nbg1', serverId: 'id-dev' },
      { name: 'b', type: 'ipv6' as const, ip: '2001:db8::', location: 'nbg1', serverId: 'id-dev' },
    ]
    const cost = costOf({ ...none, servers: [server('dev', 'cx23')], primaryIps })
    expect(cost.lines.map(line => line.kind)).toEqual(['server', 'ipv4'])
    expect(cost.monthly.net).toBe(3.99)
  })

  test('what the vendor names no price for is said, not guessed', () => {
    const [line] = costOf({ ...none, servers: [bare('old', 'cx22')] }).lines
    expect(line).toMatchObject({ name: 'old', priced: false, monthly: { net: 0, gross: 0 } })
  })

  test('ten thousand tenths of a cent are exactly ten', () =>
    expect(sumPrices(Array.from({ length: 10_000 }, () => price(0.001)))).toEqual(price(10)))

  test('a sum does not depend on its order and agrees with decimal arithmetic', () =>
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 10_000_000 }), { maxLength: 60 }), amounts => {
        const prices = amounts.map(micros => price(micros / 1_000_000))
        const exact = amounts.reduce((sum, micros) => sum + BigInt(micros), 0n)
        expect(BigInt(Math.round(sumPrices(prices).net * 1_000_000))).toBe(exact)
        expect(sumPrices([...prices].reverse())).toEqual(sumPrices(prices))
      }),
    ))

  test('amounts are rounded as on an invoice', () =>
    expect([1.005, 0.1 + 0.2, 2, -0.255, 1234.5].map(renderAmount)).toEqual(['1.01', '0.30', '2.00', '-0.26', '1234.50']))

  test('a share of a price is rounded to a millionth', () =>
    expect(timesPrice(price(0.0143, 0.017017), 2.5)).toEqual({ net: 0.03575, gross: 0.042543 }))
})

describe('leftovers', () => {
  test('what is billed for nothing is named with its price', () => {
    const cost = costOf({
      ...none,
      servers: [bare('idle', 'cx33', { status: 'off' })],
      primaryIps: [{ name: 'kept', type: 'ipv4', ip: '192.0.2.9', location: 'nbg1' }],
      images: [snapshot('1', '2026-01-01'), snapshot('2', '2026-02-01'), snapshot('3', '2026-03-01', {})],
    })
    expect(cost.leftovers.map(({ name, why, monthly }) => `${name} ${why}: ${renderAmount(monthly.net)}`)).toEqual([
      'server idle is off, and billed until it is deleted: 6.49',
      'address kept (192.0.2.9) belongs to no server: 0.50',
      'snapshot "image 1" has a newer successor: 0.04',
      'snapshot "image 3" no server was made from it: 0.04',
    ])
    expect(cost.monthly.net).toBe(6.49 + 0.5 + 3 * 0.03575)
  })

  test('an image that a server was made from is in use', () =>
    expect(
      costOf({
        ...none,
        servers: [server('dev', 'cx23', { imageId: '1' })],
        images: [snapshot('1', '2026-01-01'), snapshot('2', '2026-02-01')],
      }).leftovers,
    ).toEqual([]))

  test('a snapshot that failed costs nothing', () =>
    expect(costOf({ ...none, images: [{ ...snapshot('1', '2026-01-01'), status: 'unavailable' }] }).lines).toEqual([]))

  test('an address of this server alone is not charged twice', () => {
    const primaryIps = [{ name: 'a', type: 'ipv4' as const, ip: '192.0.2.1', location: 'nbg1', serverId: 'id-dev' }]
    expect(
      costOf({ ...none, servers: [server('dev', 'cx23'), server('prod', 'cx33')], primaryIps }).lines.filter(
        line => line.kind === 'ipv4',
      ),
    ).toHaveLength(2)
  })

  test('system images cost nothing', () =>
    expect(costOf({ ...none, images: [{ ...snapshot('1', '2026-01-01'), kind: 'system' }] }).lines).toEqual([]))
})
