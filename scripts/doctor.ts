/** Finds in the first minute what would fail in the tenth: tokens, rights, stock, image, names, exposure. Changes nothing. */

import { showDiagnoses } from '../lib/doctor.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const doctor = defineScript({
  manual: {
    name: 'doctor',
    about: 'Check tools, tokens and their rights, stock, image, DNS and what the internet reaches; each finding with its mend.',
    examples: [
      { command: 'bun scripts/doctor.ts', about: 'exit code 1 when something would fail' },
      { command: 'bun scripts/doctor.ts --json', about: 'one line per check' },
    ],
  },

  looksOnly: () => true,

  async run(session) {
    return showDiagnoses(session, await session.open())
  },
})

export default doctor
if (import.meta.main) await main(doctor)
