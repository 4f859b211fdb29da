/** The estate's names at Cloudflare, each pointing at its server, with nothing else in the zone touched. */

import { converge } from '../lib/converge.ts'
import { endingOf } from '../lib/ending.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'
import { estateSteps } from '../lib/steps/estate.ts'

const dns = defineScript({
  manual: {
    name: 'dns',
    about: 'Point the estate’s names at its servers.',
    flags: [
      {
        name: 'take-over',
        value: 'NAME',
        many: true,
        about: 'replace the records that somebody else made for this name',
      },
    ],
    examples: [
      { command: 'bun scripts/dns.ts --plan', about: 'records that would be made or changed' },
      { command: 'bun scripts/dns.ts --take-over admin.example.com', about: 'replace a record that Landfall did not make' },
    ],
  },

  async run(session) {
    const opened = await session.open()
    return converge(session, opened, {
      steps: deps => estateSteps(deps, ['dns']),
      partial: true,
      confirmName: opened.estate.name,
      report: endingOf(session),
    })
  },
})

export default dns
if (import.meta.main) await main(dns)
