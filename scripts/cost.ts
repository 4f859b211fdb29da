/** What the estate costs, from the vendor's live prices, by environment and pull request, with what is billed and of no use. */

import { writeFile } from 'node:fs/promises'
import { renderCostPage } from '../lib/cost-page.ts'
import { readCost, renderCost } from '../lib/cost-report.ts'
import { main } from '../lib/main.ts'
import { defineScript, flagValues } from '../lib/script.ts'

const cost = defineScript({
  manual: {
    name: 'cost',
    about:
      'Show what servers, addresses and snapshots cost at today’s prices: line by line, by environment and pull request, this month so far and to its end, and at most.',
    flags: [{ name: 'html', value: 'PATH', about: 'write it as a page with a chart, to be opened in a browser' }],
    examples: [
      { command: 'bun scripts/cost.ts', about: 'tables, with what is planned but does not exist yet' },
      { command: 'bun scripts/cost.ts --json', about: 'the same for a program' },
      { command: 'bun scripts/cost.ts --html cost.html', about: 'the same with a chart, in one file' },
    ],
  },

  looksOnly: () => true,

  async run(session) {
    const opened = await session.open()
    const report = await readCost(opened)
    const [path] = flagValues(session, 'html')
    if (path !== undefined) await writeFile(path, renderCostPage(report, opened.estate.name))
    session.reporter.page([renderCost(report), ...(path === undefined ? [] : ['', `Written to ${path}`])].join('\n'), {
      cost: report,
    })
    // A bill that lacks something is no basis for a pipeline’s decision.
    return report.unpriced.length > 0 ? 1 : 0
  },
})

export default cost
if (import.meta.main) await main(cost)
