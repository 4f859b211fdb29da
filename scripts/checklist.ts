/** The migration's checklist: each item seen by a probe where a probe can see it, asked where only a person knows, kept with evidence. */

import { CHECKLIST_FLAGS, walkChecklist } from '../lib/checking.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const checklist = defineScript({
  manual: {
    name: 'checklist',
    about:
      'Walk the migration’s checklist: probes look, you are asked for the rest, and what is known is kept with its evidence.',
    flags: CHECKLIST_FLAGS,
    examples: [
      {
        command: 'bun scripts/checklist.ts',
        about: 'look with every probe, ask what only you know; exit code 2 while something is open',
      },
      { command: 'bun scripts/checklist.ts --phase cutover', about: 'one part' },
      { command: 'bun scripts/checklist.ts --answer post-team=yes:told', about: 'answer without a terminal' },
      { command: 'bun scripts/checklist.ts --export migration.md', about: 'as Markdown' },
      { command: 'bun scripts/checklist.ts --serve 8099', about: 'as a live page in the browser' },
    ],
  },

  async run(session) {
    return walkChecklist(session, await session.open())
  },
})

export default checklist
if (import.meta.main) await main(checklist)
