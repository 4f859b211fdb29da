/** The estate's bill at today's prices: what exists, and what config.json still wants. */

import { World } from './engine/world.ts'
import { chooseOffer } from './estate/choose.ts'
import { type Cost, type CostLine, costOf, renderAmount } from './estate/cost.ts'
import { isOurs, LABEL_KEYS } from './estate/labels.ts'
import type { Opened } from './script.ts'
import { GOLDEN } from './steps/image.ts'

export async function readCost({ estate, composition }: Opened): Promise<Cost> {
  const world = new World(composition.readers)
  await world.look(['servers', 'serverTypes', 'pricing', 'primaryIps', 'images'])
  const existing = world.get('servers').filter(each => isOurs(each.labels, estate.name))
  const serverTypes = world.get('serverTypes')
  const planned = estate.servers
    .filter(spec => !existing.some(server => server.name === spec.name))
    .flatMap(spec => {
      const offer = chooseOffer(spec, serverTypes)
      if ('problem' in offer) return []
      const address = spec.ipv4 ? { ipv4: 'planned' } : {}
      return [{ name: spec.name, type: offer.type, location: offer.location, status: 'planned' as const, ...address }]
    })
  return costOf({
    servers: [...existing, ...planned],
    serverTypes,
    pricing: world.get('pricing'),
    primaryIps: world.get('primaryIps').filter(each => isOurs(each.labels, estate.name)),
    images: world.get('images').filter(each => each.labels[LABEL_KEYS.image] === GOLDEN),
  })
}

const HEAD = ['what', 'details', 'hour net', 'month net', 'month gross'] as const

/** A table of at most 80 columns. Pure. */
export function renderCost({ currency, lines, hourly, monthly, leftovers }: Cost): string {
  const row = ({ kind, name, detail, hourly: hour, monthly: month, priced }: CostLine): string[] => [
    kind === 'server' ? name : `${kind} ${name}`,
    priced ? detail : `${detail} (no price)`,
    hour.net.toFixed(4),
    renderAmount(month.net),
    renderAmount(month.gross),
  ]
  const rows = [
    [...HEAD],
    ...lines.map(row),
    ['total', currency, hourly.net.toFixed(4), renderAmount(monthly.net), renderAmount(monthly.gross)],
  ]
  const widths = HEAD.map((_, column) =>
    Math.min(column < 2 ? 30 : 12, Math.max(...rows.map(cells => cells[column]?.length ?? 0))),
  )
  const cell = (text: string, column: number): string => {
    const width = widths[column] ?? 0
    const cut = text.length > width ? `${text.slice(0, width - 1)}…` : text
    return column < 2 ? cut.padEnd(width) : cut.padStart(width)
  }
  const table = rows.map(cells => cells.map(cell).join('  ').trimEnd())
  const left = leftovers.map(
    each => `billed and of no use: ${each.name} (${each.why}), ${renderAmount(each.monthly.net)} ${currency} a month net`,
  )
  return [...table, ...(left.length > 0 ? ['', ...left] : [])].join('\n')
}
