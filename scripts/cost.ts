/** What the estate costs, from the vendor's live prices, with what is billed and of no use. */

import { readCost, renderCost } from '../lib/cost-report.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const cost = defineScript({
  manual: {
    name: 'cost',
    about: 'Show what servers, addresses and snapshots cost by month and hour, net and gross, at today’s prices.',
    examples: [
      { command: 'bun scripts/cost.ts', about: 'a table, with what is planned but does not exist yet' },
      { command: 'bun scripts/cost.ts --json', about: 'the same for a program' },
    ],
  },

  looksOnly: () => true,

  async run(session) {
    const opened = await session.open()
    const cost = await readCost(opened)
    session.reporter.page(renderCost(cost), { cost })
    return 0
  },
})

export default cost
if (import.meta.main) await main(cost)
