/** Everything that carries the estate's mark, and nothing else, removed and proved gone. */

import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const destroy = defineScript({
  manual: {
    name: 'destroy',
    about: 'Delete the estate: DNS records, servers, firewalls, networks, keys; nothing that is not labelled as its own.',
    examples: [
      { command: 'bun scripts/destroy.ts --plan', about: 'list what would go' },
      { command: 'bun scripts/destroy.ts', about: 'list it, ask for the estate’s name, delete it' },
      { command: 'bun scripts/destroy.ts --yes --confirm nextnode', about: 'in CI, for an estate called nextnode' },
    ],
  },

  async run(session) {
    const opened = await session.open()
    const { estate, composition, directory } = opened
    const { aheadOfDestroy } = await import('../lib/ahead.ts')
    const world = composition.lookAhead(aheadOfDestroy(estate))
    const { converge } = await import('../lib/converge.ts')
    const { destroySteps, protectedNames } = await import('../lib/steps/destroy.ts')
    return converge(session, opened, {
      world,
      steps: destroySteps,
      confirmName: estate.name,
      alsoConfirm: protectedNames(estate),
      report: () => ({
        notes: [
          { label: 'kept', text: 'golden images (they are shared by estates): see them with  bun scripts/cost.ts' },
          { label: 'kept', text: `the journal and the SSH key in ${directory}` },
        ],
      }),
    })
  },
})

export default destroy
if (import.meta.main) await main(destroy)
