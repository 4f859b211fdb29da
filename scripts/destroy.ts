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
    const { destroyEstate } = await import('../lib/provisioning.ts')
    const golden = opened.estate.servers.some(spec => spec.image.kind === 'golden')
    return destroyEstate(session, opened, {
      report: () => ({
        notes: [
          { label: 'kept', text: `the journal, the SSH key and ordered certificates in ${opened.directory}` },
          ...(golden
            ? [{ label: 'images', text: 'golden ones stay, other estates may use them:  bun scripts/image.ts list' }]
            : []),
        ],
      }),
    })
  },
})

export default destroy
if (import.meta.main) await main(destroy)
