/** The estate's names at Cloudflare, each pointing at its server, with nothing else in the zone touched; and names that move here. */

import { converge } from '../lib/converge.ts'
import { endingOf } from '../lib/ending.ts'
import { decommission, watch } from '../lib/leaving.ts'
import { main } from '../lib/main.ts'
import { certificates, cutover, MOVE_FLAGS, rollback } from '../lib/moving.ts'
import { defineScript } from '../lib/script.ts'
import { estateSteps } from '../lib/steps/estate.ts'

const dns = defineScript({
  manual: {
    name: 'dns',
    about: 'Point the estate’s names at its servers, and move names here from another host without a moment of absence.',
    actions: [
      { name: 'apply', about: 'make the records of the panels what config.json says', names: 'none' },
      { name: 'certificate', about: 'trusted certificates for names that still lead elsewhere, given to their servers' },
      { name: 'cutover', about: 'snapshot, certificate, low TTL, switch, watch, verify; goes on where it was stopped' },
      { name: 'watch', about: 'what name servers, resolvers and visitors see of moved names' },
      { name: 'rollback', about: 'put back the records from before the move; needs neither Hetzner nor Dokploy' },
      { name: 'decommission', about: 'prove that nobody reaches the old host any more, then list what to remove' },
    ],
    names: 'name',
    flags: [
      {
        name: 'take-over',
        value: 'NAME',
        many: true,
        about: 'replace the records that somebody else made for this name',
      },
      ...MOVE_FLAGS,
    ],
    examples: [
      { command: 'bun scripts/dns.ts --plan', about: 'records that would be made or changed' },
      { command: 'bun scripts/dns.ts --take-over admin.example.com', about: 'replace a record that Landfall did not make' },
      { command: 'bun scripts/dns.ts cutover --plan', about: 'what a move would do, and what stands in its way' },
      { command: 'bun scripts/dns.ts cutover www.example.com --to prod-dokploy', about: 'move one name' },
      { command: 'bun scripts/dns.ts rollback', about: 'every moved name as it was' },
      { command: 'bun scripts/dns.ts decommission --for 1440', about: 'watch for a day' },
    ],
  },
  looksOnly: args => args.action === 'watch',

  async run(session) {
    const opened = await session.open()
    const { action } = session.args
    if (action === 'certificate') return certificates(session, opened)
    if (action === 'cutover') return cutover(session, opened)
    if (action === 'watch') return watch(session, opened)
    if (action === 'rollback') return rollback(session, opened)
    if (action === 'decommission') return decommission(session, opened)
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
