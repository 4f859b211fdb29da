/** Every expected figure here was worked out by hand; the sums are in the comments. */

import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { renderCostPage } from '../../../lib/cost-page.ts'
import { type CostReport, renderCost } from '../../../lib/cost-report.ts'
import { renderAmount } from '../../../lib/estate/cost.ts'
import {
  type BilledServer,
  compareWith,
  costTable,
  environmentCosts,
  rowCells,
  unowned,
} from '../../../lib/estate/cost-environments.ts'
import { billedBetween, monthCost, previewCost } from '../../../lib/estate/cost-months.ts'

const both = (net: number) => ({ net, gross: net })
const prices = {
  serverTypes: [
    { name: 'cx23', offers: [{ location: 'nbg1', hourly: both(0.0056), monthly: both(3.49) }] },
    { name: 'cx33', offers: [{ location: 'nbg1', hourly: both(0.0104), monthly: both(6.49) }] },
  ],
  pricing: { primaryIps: [{ type: 'ipv4' as const, location: 'nbg1', hourly: both(0.0008), monthly: both(0.5) }] },
}
const server = (name: string, type: string, createdAt: string, labels: Record<string, string>): BilledServer => ({
  name,
  type,
  location: 'nbg1',
  ipv4: '192.0.2.1',
  createdAt,
  labels: { 'landfall/estate': 'acme', ...labels },
})
const NOW = Date.parse('2026-11-26T20:00:00Z')
const SERVERS = [
  ...['prod-1', 'prod-2', 'prod-3'].map(name => server(name, 'cx33', '2026-10-03T00:00:00Z', { 'landfall/role': 'production' })),
  server('acme-pr-12', 'cx23', '2026-11-20T10:30:00Z', { 'landfall/role': 'preview', 'landfall/pr': '12' }),
  server('acme-pr-9', 'cx23', '2026-11-26T19:59:00Z', { 'landfall/role': 'preview', 'landfall/pr': '9' }),
]

describe('a month', () => {
  test('counts begun hours, for a preview with its address', () => {
    // 20 November 10:30 to 26 November 20:00 are 153.5 hours, so 154; 154 × (0.0056 + 0.0008) = 0.9856.
    const cost = previewCost({
      server: SERVERS[3] as BilledServer,
      sinceMs: Date.parse('2026-11-20T10:30:00Z'),
      sharedBy: 1,
      nowMs: NOW,
      ...prices,
    })
    expect(cost?.net).toBe(0.9856)
    expect(renderAmount(cost?.net ?? 0)).toBe('0.99')
  })

  test('one of four on a shared server pays a quarter', () => {
    // 154 × (0.0104 + 0.0008) = 1.7248; / 4 = 0.4312.
    const cost = previewCost({
      server: SERVERS[0] as BilledServer,
      sinceMs: Date.parse('2026-11-20T10:30:00Z'),
      sharedBy: 4,
      nowMs: NOW,
      ...prices,
    })
    expect(cost?.net).toBe(0.4312)
  })

  test('is capped at the monthly price, each month for itself', () => {
    const rate = { hourly: both(0.0112), monthly: both(6.99) }
    // 620 hours of November × 0.0112 = 6.944; the whole of November would be 720 × 0.0112 = 8.064, over the monthly price.
    expect(monthCost(rate, Date.parse('2026-10-03T00:00:00Z'), NOW)).toEqual({ soFar: both(6.944), forecast: both(6.99) })
    // 30 October 0:00 to 2 November 0:00: 48 + 24 hours × 0.0112 = 0.8064.
    expect(billedBetween(rate, Date.parse('2026-10-30T00:00:00Z'), Date.parse('2026-11-02T00:00:00Z'))).toEqual(both(0.8064))
    // October and November whole: 2 × 6.99.
    expect(billedBetween(rate, Date.parse('2026-10-01T00:00:00Z'), Date.parse('2026-12-01T00:00:00Z'))).toEqual(both(13.98))
  })

  test('costs no less with time, and never more than its months', () =>
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 5_000 }), (start, hours) => {
        const rate = { hourly: both(0.0064), monthly: both(3.99) }
        const from = Date.UTC(2026, 0, 1) + start * 1_800_000
        const to = from + hours * 3_600_000
        const now = billedBetween(rate, from, to).net
        expect(now).toBeLessThanOrEqual(billedBetween(rate, from, to + 3_600_000).net)
        expect(now).toBeLessThanOrEqual(Math.ceil(hours / (28 * 24) + 1) * 3.99)
      }),
    ))
})

test('by environment and pull request, to the cent', () => {
  const costs = environmentCosts({ servers: SERVERS, loadBalancers: [] }, prices, NOW)
  expect(
    costs.map(({ name, servers, monthly, month }) => [
      name,
      servers.length,
      renderAmount(month.soFar.net),
      renderAmount(month.forecast.net),
      renderAmount(monthly.net),
    ]),
  ).toEqual([
    // 3 × 6.944 = 20.832; 3 × 6.99 = 20.97.
    ['production', 3, '20.83', '20.97', '20.97'],
    // One begun hour: 0.0064. From 19:59 to the end of November 100 h 1 min, so 101: 101 × 0.0064 = 0.6464.
    ['preview 9', 1, '0.01', '0.65', '3.99'],
    // So far as above. To the end of November 253.5 hours, so 254: 254 × 0.0064 = 1.6256.
    ['preview 12', 1, '0.99', '1.63', '3.99'],
  ])
})

describe('a load balancer', () => {
  const balancer = (labels: Record<string, string>) => ({
    name: 'acme-cluster',
    type: 'lb11',
    location: 'nbg1',
    createdAt: '2026-10-03T00:00:00Z',
    labels,
  })
  const withBalancers = {
    ...prices,
    pricing: {
      ...prices.pricing,
      loadBalancers: [{ type: 'lb11', location: 'nbg1', hourly: both(0.0084), monthly: both(5.39) }],
    },
  }

  test('belongs to the environment of its servers', () => {
    const own = balancer({ 'landfall/estate': 'acme', 'landfall/role': 'production' })
    const [production] = environmentCosts({ servers: SERVERS, loadBalancers: [own] }, withBalancers, NOW)
    expect(production?.servers).toEqual(['prod-1', 'prod-2', 'prod-3'])
    // 620 hours × 0.0084 = 5.208, and 20.832 of the servers; then 5.39 and 20.97.
    expect(production?.month).toEqual({ soFar: both(26.04), forecast: both(26.36) })
    expect(production?.monthly).toEqual(both(26.36))
  })

  test('is a line of the table, and named when it is nobody’s', () => {
    const rows = costTable({
      fixed: [{ name: 'production', servers: 3, each: both(6.99) }],
      others: [{ name: 'load balancer', monthly: both(5.39) }],
    })
    expect(rows.map(row => [row.name, row.servers, renderAmount(row.monthly.net)])).toEqual([
      ['production', 3, '20.97'],
      ['load balancer', 0, '5.39'],
      ['total', 3, '26.36'],
    ])
    const found = unowned(
      { servers: [], loadBalancers: [balancer({}), balancer({ 'landfall/estate': 'acme' })] },
      { name: 'acme', wanted: [], previews: 'none' },
      withBalancers,
    )
    expect(found.map(each => [each.name, each.why, each.monthly.net])).toEqual([
      ['load balancer acme-cluster', 'belongs to no estate of Landfall', 5.39],
      ['load balancer acme-cluster', 'is of this estate, and config.json no longer wants it', 5.39],
    ])
  })
})

test('the document’s table: its sums hold, but for the line "typical"', () => {
  const each = both(4.59)
  const rows = costTable({ fixed: [{ name: 'production', servers: 3, each }], preview: { each, max: 15 } })
  expect(rows.map(row => [row.name, row.servers, renderAmount(row.monthly.net), renderAmount(row.annual.net)])).toEqual([
    ['production', 3, '13.77', '165.24'],
    ['preview (each)', 1, '4.59', '55.08'],
    // 13.77 + 5 × 4.59 = 36.72 and 13.77 + 8 × 4.59 = 50.49, where the document has 36–45.
    ['with 5 previews', 8, '36.72', '440.64'],
    ['with 8 previews', 11, '50.49', '605.88'],
    ['with 15 previews (maximum)', 18, '82.62', '991.44'],
  ])
  const staging = costTable({ fixed: [{ name: 'staging', servers: 1, each }] })
  expect(staging.map(row => [row.name, renderAmount(row.monthly.net), renderAmount(row.annual.net)])).toEqual([
    ['staging', '4.59', '55.08'],
    ['total', '4.59', '55.08'],
  ])
})

test('what has no price makes no figure, nor does a sum of it', () => {
  const fixed = [
    { name: 'dev', servers: 1, each: both(4.59) },
    { name: 'prod', servers: 2, each: undefined },
  ]
  expect(costTable({ fixed }).map(rowCells)).toEqual([
    ['dev', '1', '4.59', '55.08'],
    ['prod', '2', 'unknown', 'unknown'],
    ['total', '3', 'unknown', 'unknown'],
  ])
})

test('held against another offer', () => {
  // 20 × 5 × 0.9 = 90; 90 − 36.72 = 53.28.
  expect(compareWith(36.72, [{ name: 'Vercel Pro', monthly: 0, perSeat: 20, seats: 5, rate: 0.9 }])).toEqual([
    { name: 'Vercel Pro', monthly: 90, saved: 53.28, how: '20 × 5 seats, at 0.9' },
  ])
})

test('what is billed and nobody’s is named with its price; previews and wanted servers are not', () => {
  const stray = { ...server('forgotten', 'cx33', '2026-01-01T00:00:00Z', {}), labels: {} }
  const old = server('web-9', 'cx23', '2026-01-01T00:00:00Z', { 'landfall/role': 'web' })
  expect(
    unowned(
      { servers: [...SERVERS, stray, old], loadBalancers: [] },
      { name: 'acme', wanted: ['prod-1', 'prod-2', 'prod-3'], previews: 'servers' },
      prices,
    ).map(each => [each.name, renderAmount(each.monthly.net)]),
  ).toEqual([
    ['server forgotten', '6.99'],
    ['server web-9', '3.99'],
  ])
  // Where previews share a server, or there are none any more, nothing else would tell of theirs.
  for (const previews of ['shared', 'none'] as const)
    expect(
      unowned(
        { servers: SERVERS, loadBalancers: [] },
        { name: 'acme', wanted: ['prod-1', 'prod-2', 'prod-3'], previews },
        prices,
      ),
    ).toEqual(
      ['acme-pr-12', 'acme-pr-9'].map(name => ({
        name: `server ${name}`,
        why: 'is of this estate, and config.json no longer wants it',
        monthly: both(3.99),
      })),
    )
})

describe('shown', () => {
  const report: CostReport = {
    currency: 'EUR',
    lines: [{ kind: 'server', name: 'a<b>&"c', detail: 'cx33, nbg1', hourly: both(0.0104), monthly: both(6.49), priced: true }],
    hourly: both(0.0104),
    monthly: both(6.49),
    leftovers: [],
    atMs: NOW,
    environments: environmentCosts({ servers: SERVERS, loadBalancers: [] }, prices, NOW),
    table: costTable({ fixed: [{ name: 'production', servers: 3, each: both(4.59) }], preview: { each: both(4.59), max: 15 } }),
    comparison: compareWith(6.49, [{ name: 'Vercel Pro', monthly: 0, perSeat: 20, seats: 1, rate: 0.9 }]),
    assumption: 'default',
    unowned: [],
    unpriced: [],
    capNet: 100,
  }

  test('no line of the tables is wider than a terminal, and the figures stand in it', () => {
    const text = renderCost(report)
    expect(text.split('\n').filter(line => line.length > 80 && !/held against|What was deleted/.test(line))).toEqual([])
    expect(text).toMatch(/preview 12 +1 +0\.99 +1\.63 +3\.99/)
    expect(text).toMatch(/with 15 previews \(maximum\) +18 +82\.62 +991\.44/)
    expect(text).toContain('cap: 100.00 EUR')
  })

  test('the page holds the same figures, fetches nothing, runs nothing, and escapes names', () => {
    const page = renderCostPage(report, 'acme')
    expect(page).toContain('82.62')
    expect(page).toContain('0.99 / 1.63')
    expect(page).toContain('a&lt;b&gt;&amp;&quot;c')
    expect(page).not.toMatch(/<script|src=|href=|url\(/)
  })
})
