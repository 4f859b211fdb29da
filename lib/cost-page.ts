/** The bill as one file for a browser: no script, nothing fetched, readable in light and dark. */

import type { CostReport } from './cost-report.ts'
import { renderAmount } from './estate/cost.ts'
import { rowCells } from './estate/cost-environments.ts'

const escaped = (text: string): string =>
  text
    .replace(/[\p{Cc}\p{Cf}]/gu, '')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')

const STYLE = `:root{color-scheme:light dark;--ink:#1c2733;--soft:#5d6b7a;--line:#d8dee6;--paper:#fff;--so-far:#1f6feb;--rest:#b6d4fe}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa7b4;--line:#30363d;--paper:#0d1117;--so-far:#58a6ff;--rest:#1f3b63}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:2rem 0 .5rem}table{border-collapse:collapse;width:100%}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:left}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
p.note{color:var(--soft)}svg text{fill:var(--ink);font:13px system-ui,sans-serif}svg .soft{fill:var(--soft)}`

const ROW_PX = 34
const LABEL_PX = 190
const BAR_PX = 520

/** One bar for each environment: what the month has cost so far, and what it will have. */
function chart({ environments, currency }: CostReport): string {
  const most = Math.max(0.01, ...environments.map(each => each.month.forecast.net))
  const height = environments.length * ROW_PX + 10
  const bars = environments.map(({ name, month }, index) => {
    const y = index * ROW_PX + 6
    const width = (amount: number) => Math.max(1, Math.round((amount / most) * BAR_PX))
    const label = name.length > 24 ? `${name.slice(0, 23)}…` : name
    return `<g><text x="${LABEL_PX - 10}" y="${y + 16}" text-anchor="end">${escaped(label)}</text>
<rect x="${LABEL_PX}" y="${y}" width="${width(month.forecast.net)}" height="22" rx="3" fill="var(--rest)"/>
<rect x="${LABEL_PX}" y="${y}" width="${width(month.soFar.net)}" height="22" rx="3" fill="var(--so-far)"/>
<text class="soft" x="${LABEL_PX + width(month.forecast.net) + 8}" y="${y + 16}">${renderAmount(month.soFar.net)} / ${renderAmount(month.forecast.net)}</text></g>`
  })
  return `<svg viewBox="0 0 ${LABEL_PX + BAR_PX + 150} ${height}" role="img" aria-label="So far and forecast for this month, ${escaped(currency)} net, by environment">${bars.join('')}</svg>`
}

const table = (head: readonly string[], rows: readonly (readonly string[])[], left = 1): string => {
  const cells = (tag: 'th' | 'td', row: readonly string[]) =>
    row.map((text, i) => `<${tag}${i >= left ? ' class="n"' : ''}>${escaped(text)}</${tag}>`).join('')
  return `<table><thead><tr>${cells('th', head)}</tr></thead><tbody>${rows.map(row => `<tr>${cells('td', row)}</tr>`).join('')}</tbody></table>`
}

/** A whole HTML document. Pure. */
export function renderCostPage(report: CostReport, estate: string): string {
  const { currency, environments, table: rows, comparison, leftovers, unowned, monthly, capNet, lines } = report
  const day = new Date(report.atMs).toISOString().slice(0, 10)
  const section = (title: string, body: string) => (body === '' ? '' : `<h2>${escaped(title)}</h2>${body}`)
  const listed = (items: readonly string[]) =>
    items.length === 0 ? '' : `<ul>${items.map(each => `<li>${escaped(each)}</li>`).join('')}</ul>`
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>What ${escaped(estate)} costs</title><style>${STYLE}</style></head><body>
<h1>What ${escaped(estate)} costs</h1>
<p>${renderAmount(monthly.net)} ${escaped(currency)} a month net, ${renderAmount(monthly.gross)} gross, at the prices of ${day}.${capNet === undefined ? '' : ` The cap is ${renderAmount(capNet)}.`}</p>
${section('This month: so far, and forecast', environments.length === 0 ? '' : `${chart(report)}<p class="note">Dark: billed since the month began. Light: the whole month, when nothing changes. ${escaped(currency)} net.</p>`)}
${section(
  'Everything that is billed',
  table(
    ['what', 'details', 'month net', 'month gross'],
    lines.map(each => [
      each.kind === 'server' ? each.name : `${each.kind} ${each.name}`,
      each.detail,
      renderAmount(each.monthly.net),
      renderAmount(each.monthly.gross),
    ]),
    2,
  ),
)}
${section('As the configuration has it', table(['environment', 'servers', 'month', 'year'], rows.map(rowCells)))}
${section('Of unknown price', listed(report.unpriced.map(({ name, why }) => `${name}: ${why}`)))}
${section(
  `Held against ${report.assumption === 'config' ? 'your assumption' : 'an assumption'}`,
  `${table(
    ['offer', 'how', 'month', 'more than here'],
    comparison.map(each => [each.name, each.how, renderAmount(each.monthly), renderAmount(each.saved)]),
    2,
  )}<p class="note">Prices of others are not asked for: correct them under cost.compare in config.json.</p>`,
)}
${section('Billed and of no use', listed(leftovers.map(each => `${each.name} (${each.why}): ${renderAmount(each.monthly.net)} ${currency} a month`)))}
${section('Billed and accounted for by nobody here', listed(unowned.map(each => `${each.name} ${each.why}: ${renderAmount(each.monthly.net)} ${currency} a month`)))}
<p class="note">What was deleted this month is on the invoice; the API no longer knows it.</p>
</body></html>
`
}
