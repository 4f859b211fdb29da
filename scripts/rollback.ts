/** Brings an app back to a version that ran: its image, its variables and, for a compose stack, its file together. */

import { runRollback } from '../lib/apps/deploying.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const rollback = defineScript({
  manual: {
    name: 'rollback',
    about: 'Bring an app back to a version that ran before, with the variables it ran with.',
    actions: [
      { name: 'back', about: 'to the version before the present one was deployed, or to --to' },
      { name: 'list', about: 'the versions that are kept, and how each can be had again' },
    ],
    names: 'app',
    flags: [
      { name: 'to', value: 'VERSION', about: 'which version' },
      { name: 'stable', value: 'SECONDS', about: 'how long it must go on running before it counts (10)' },
      { name: 'timeout', value: 'SECONDS', about: 'how long containers and public address may take' },
      { name: 'inside-only', about: 'do not ask the public address' },
    ],
    examples: [
      { command: 'bun scripts/rollback.ts web', about: 'one version back' },
      { command: 'bun scripts/rollback.ts list web', about: 'what there is to go back to' },
    ],
  },
  run: runRollback,
})

export default rollback
if (import.meta.main) await main(rollback)
