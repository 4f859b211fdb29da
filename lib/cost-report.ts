/** The estate's bill at today's prices: what exists, what config.json still wants, by environment, and what is billed and nobody's. */

import { World } from './engine/world.ts'
import { chooseOffer } from './estate/choose.ts'
import { type Cost, type CostLine, costOf, renderAmount } from './estate/cost.ts'
import {
  ASSUMED_ALTERNATIVES,
  balancerRate,
  type Comparison,
  compareWith,
  costTable,
  type EnvironmentCost,
  environmentCosts,
  rowCells,
  type TableRow,
  type Unowned,
  unowned,
} from './estate/cost-environments.ts'
import { rateOf } from './estate/cost-months.ts'
import type { Estate } from './estate/estate.ts'
import { isOurs, LABEL_KEYS } from './estate/labels.ts'
import { balancerName } from './estate/naming.ts'
import { previewServerSpec } from './estate/previews.ts'
import type { Opened } from './script.ts'
import { GOLDEN } from './steps/image.ts'
import { type EstateWorld, withEveryAddress } from './steps/world.ts'
import { wrap } from './ui/wrap.ts'

export interface CostReport extends Cost {
  readonly atMs: number
  readonly environments: readonly EnvironmentCost[]
  /** The whole estate as its configuration has it, with as many previews as are usual and as are allowed. */
  readonly table: readonly TableRow[]
  readonly comparison: readonly Comparison[]
  /** Whether the alternatives are the operator's, or ours. */
  readonly assumption: 'config' | 'default'
  readonly unowned: readonly Unowned[]
  /** Servers of a type or at a place that the vendor does not know, and why. */
  readonly unpriced: readonly { readonly name: string; readonly why: string }[]
  readonly capNet?: number
}

export async function readCost({ estate, composition }: Opened): Promise<CostReport> {
  const world = new World(withEveryAddress(composition.readers, composition.deps.cloud))
  await world.look(['servers', 'serverTypes', 'pricing', 'primaryIps', 'loadBalancers', 'images'])
  const existing = world.get('servers').filter(each => isOurs(each.labels, estate.name))
  const prices = { serverTypes: world.get('serverTypes'), pricing: world.get('pricing') }
  const planned = estate.servers
    .filter(spec => !existing.some(server => server.name === spec.name))
    .flatMap(spec => planOf(spec, world))
  const balancers = world.get('loadBalancers').filter(each => isOurs(each.labels, estate.name))
  const wantedBalancer = plannedBalancer(estate, world)
  const cost = costOf({
    servers: [...existing, ...planned],
    loadBalancers: [
      ...balancers,
      ...(wantedBalancer && !balancers.some(each => each.name === wantedBalancer.name) ? [wantedBalancer] : []),
    ],
    ...prices,
    primaryIps: world.get('primaryIps').filter(each => isOurs(each.labels, estate.name)),
    images: world.get('images').filter(each => each.labels[LABEL_KEYS.image] === GOLDEN),
  })
  const atMs = composition.deps.clock.nowMs()
  return {
    ...cost,
    atMs,
    environments: environmentCosts({ servers: existing, loadBalancers: balancers }, prices, atMs),
    table: tableFor(estate, world),
    comparison: compareWith(cost.monthly.net, estate.alternatives ?? ASSUMED_ALTERNATIVES),
    assumption: estate.alternatives ? 'config' : 'default',
    unowned: [
      ...unowned(
        { servers: world.get('servers'), loadBalancers: world.get('loadBalancers') },
        {
          name: estate.name,
          wanted: [...estate.servers.map(each => each.name), ...(wantedBalancer ? [wantedBalancer.name] : [])],
          previews: estate.previews?.substrate ?? 'none',
        },
        prices,
      ),
      ...strayAddresses(world, estate.name),
    ],
    unpriced: estate.servers.flatMap(spec => {
      const offer = chooseOffer(spec, prices.serverTypes)
      return 'problem' in offer && planOf(spec, world).length === 0 ? [{ name: spec.name, why: offer.problem }] : []
    }),
    ...(estate.monthlyCapNet === undefined ? {} : { capNet: estate.monthlyCapNet }),
  }
}

type Spec = Pick<Estate['servers'][number], 'name' | 'types' | 'locations' | 'ipv4'>

/** As it would be ordered now; what is sold out has its price too. */
const planOf = (spec: Spec, world: World<EstateWorld>) => {
  const types = world.get('serverTypes')
  const chosen = chooseOffer(spec, types)
  const listed = spec.types.flatMap(name =>
    spec.locations
      .filter(place => types.find(type => type.name === name)?.offers.some(each => each.location === place))
      .map(location => ({ type: name, location })),
  )
  const offer = 'problem' in chosen ? listed[0] : chosen
  if (!offer) return []
  const address = spec.ipv4 ? { ipv4: 'planned' } : {}
  return [{ name: spec.name, type: offer.type, location: offer.location, status: 'planned' as const, ...address }]
}

/** The cluster's, as it would be ordered now: beside its first server. */
function plannedBalancer(estate: Estate, world: World<EstateWorld>) {
  const { cluster } = estate
  const first = cluster?.front === 'load_balancer' ? estate.servers.find(each => cluster.servers.includes(each.name)) : undefined
  const [place] = first ? planOf(first, world) : []
  return cluster && place
    ? { name: balancerName(estate.name), type: cluster.loadBalancerType, location: place.location }
    : undefined
}

const NOTHING = { net: 0, gross: 0 }

/** config.json's environments by role, at the price of what would be ordered now. */
function tableFor(estate: Estate, world: World<EstateWorld>): readonly TableRow[] {
  const prices = { serverTypes: world.get('serverTypes'), pricing: world.get('pricing') }
  const monthlyOf = (spec: Spec) => planOf(spec, world).map(each => rateOf(each, prices)?.monthly)[0]
  const groups = Map.groupBy(estate.servers, spec => `${spec.role} ${spec.types.join()}`)
  const fixed = [...groups.values()].flatMap(specs => {
    const [first] = specs
    return first ? [{ name: first.role, servers: specs.length, each: monthlyOf(first) }] : []
  })
  const balancer = plannedBalancer(estate, world)
  const others = balancer ? [{ name: 'load balancer', monthly: balancerRate(balancer, prices)?.monthly }] : []
  const { previews } = estate
  const preview =
    previews === undefined
      ? undefined
      : {
          each: previews.substrate === 'shared' ? NOTHING : monthlyOf(previewServerSpec(estate, previews, 0)),
          max: previews.max,
        }
  return costTable({ fixed, others, ...(preview ? { preview } : {}) })
}

/** Addresses that are billed without a server, and no estate's. */
const strayAddresses = (world: World<EstateWorld>, estate: string): Unowned[] =>
  world
    .get('primaryIps')
    .filter(each => each.serverId === undefined && !isOurs(each.labels, estate))
    .map(each => ({
      name: `address ${each.name} (${each.ip})`,
      why: 'belongs to no server',
      monthly:
        world.get('pricing').primaryIps.find(price => price.type === each.type && price.location === each.location)?.monthly ??
        NOTHING,
    }))
    .filter(each => each.monthly.net > 0)

/** Columns of at most 80 characters together: the first `left` to the left, the others to the right. */
function columns(rows: readonly (readonly string[])[], left: number): string[] {
  const count = Math.max(...rows.map(each => each.length))
  const widths = Array.from({ length: count }, (_, column) =>
    Math.min(column < left ? 30 : 12, Math.max(...rows.map(cells => cells[column]?.length ?? 0))),
  )
  const cell = (text: string, column: number): string => {
    const width = widths[column] ?? 0
    const cut = text.length > width ? `${text.slice(0, width - 1)}…` : text
    return column < left ? cut.padEnd(width) : cut.padStart(width)
  }
  return rows.map(cells => cells.map(cell).join('  ').trimEnd())
}

const HEAD = ['what', 'details', 'hour net', 'month net', 'month gross'] as const

/** Tables of at most 80 columns. Pure. */
export function renderCost(report: CostReport): string {
  const { currency, lines, hourly, monthly, leftovers, environments, table, comparison, capNet } = report
  const row = ({ kind, name, detail, hourly: hour, monthly: month, priced }: CostLine): string[] => [
    kind === 'server' ? name : `${kind} ${name}`,
    priced ? detail : `${detail} (no price)`,
    hour.net.toFixed(4),
    renderAmount(month.net),
    renderAmount(month.gross),
  ]
  const total = ['total', currency, hourly.net.toFixed(4), renderAmount(monthly.net), renderAmount(monthly.gross)]
  const part = (title: string, body: readonly string[]) => (body.length === 0 ? [] : ['', title, ...body])
  const byEnvironment = environments.map(({ name, servers, monthly: each, month }) => [
    name,
    String(servers.length),
    renderAmount(month.soFar.net),
    renderAmount(month.forecast.net),
    renderAmount(each.net),
  ])
  const sum = (of: (each: EnvironmentCost) => number) => renderAmount(environments.reduce((all, each) => all + of(each), 0))
  return [
    ...columns([HEAD, ...lines.map(row), total], 2),
    ...part(
      `by environment, with addresses, ${currency} net (${new Date(report.atMs).toISOString().slice(0, 7)})`,
      environments.length === 0
        ? []
        : columns(
            [
              ['environment', 'servers', 'so far', 'forecast', 'full month'],
              ...byEnvironment,
              [
                'together',
                String(environments.reduce((all, each) => all + each.servers.length, 0)),
                sum(each => each.month.soFar.net),
                sum(each => each.month.forecast.net),
                sum(each => each.monthly.net),
              ],
            ],
            1,
          ),
    ),
    ...part(
      `as the configuration has it, ${currency} net`,
      columns([['environment', 'servers', 'month', 'year'], ...table.map(rowCells)], 1),
    ),
    ...part(
      'of unknown price',
      report.unpriced.flatMap(({ name, why }) => wrap(`${name}: ${why}`, 80)),
    ),
    ...part(
      report.assumption === 'config'
        ? 'held against (your assumption, cost.compare)'
        : 'held against (an assumption: correct it under cost.compare in config.json)',
      comparison.map(
        ({ name, monthly: theirs, saved, how }) =>
          `${name}: ${renderAmount(theirs)} ${currency} a month (${how}), ${renderAmount(Math.abs(saved))} ${saved >= 0 ? 'more' : 'less'} than here`,
      ),
    ),
    ...part(
      'billed and of no use',
      leftovers.map(each => `${each.name} (${each.why}), ${renderAmount(each.monthly.net)} ${currency} a month net`),
    ),
    ...part(
      'billed and accounted for by nobody here',
      report.unowned.map(each => `${each.name} ${each.why}: ${renderAmount(each.monthly.net)} ${currency} a month net`),
    ),
    ...(capNet === undefined
      ? []
      : ['', `cap: ${renderAmount(capNet)} ${currency} a month net; a plan that passes it is refused`]),
    '',
    'What was deleted this month is on the invoice; the API no longer knows it.',
  ].join('\n')
}
