/** GitHub workflows for the estate's own repository, made from its config. */

import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'
import { writeWorkflows } from '../lib/workflow/workflow.ts'

const workflow = defineScript({
  manual: {
    name: 'workflow',
    about: 'Write the GitHub workflows that build the image and provision the estate, into this repository.',
    examples: [
      { command: 'bun scripts/workflow.ts', about: 'show which files would be written or deleted, ask, do it' },
      { command: 'bun scripts/workflow.ts --plan', about: 'exit code 2 when config.json asks for other ones, for CI' },
      { command: 'gh workflow run "Provision Infrastructure" -f action=plan', about: 'run one by hand, once it is pushed' },
    ],
  },

  looksOnly: () => true,

  run: async session => writeWorkflows(session, await session.open()),
})

export default workflow
if (import.meta.main) await main(workflow)
