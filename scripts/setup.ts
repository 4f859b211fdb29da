/** The guided tour, from nothing to a verified estate. */

import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const setup = defineScript({
  manual: {
    name: 'setup',
    about: 'Set the whole estate up: image, servers behind their firewall, Dokploy, names, and a look from outside.',
    flags: [{ name: 'take-over', value: 'NAME', many: true, about: 'replace the records that somebody else made for this name' }],
    examples: [
      { command: 'bun scripts/setup.ts', about: 'asks for what is missing, shows the plan and its price, then acts' },
      { command: 'bun scripts/setup.ts --sandbox --config examples/two-servers.json', about: 'a rehearsal without any account' },
      { command: 'bun scripts/setup.ts --yes --json', about: 'in CI, with HCLOUD_TOKEN and CLOUDFLARE_API_TOKEN set' },
    ],
  },

  async run(given) {
    const [{ testTokens }, { prepareTour }] = await Promise.all([import('../lib/compose.ts'), import('../lib/wizard.ts')])
    const { environment, reporter, signal } = given
    const tests = testTokens(environment, { signal, log: line => reporter.log(line) })
    const session = await prepareTour(given, tests)
    const opened = await session.open()
    const [{ adminOf }, { converge }, { endingOf }, { ALL_STAGES, estateSteps }] = await Promise.all([
      import('../lib/admin.ts'),
      import('../lib/converge.ts'),
      import('../lib/ending.ts'),
      import('../lib/steps/estate.ts'),
    ])
    const { estate, composition } = opened
    // A panel with a name needs no other way in, config.json's list counts for itself, and in CI this address is nobody's.
    const isNameless = estate.servers.some(spec => spec.dokploy && !spec.dokploy.host)
    const ownAddress = isNameless && estate.adminAddresses === undefined && !session.environment.ci
    const deps = { ...composition.deps, ...(ownAddress ? { admin: await adminOf(opened) } : {}) }
    return converge(session, opened, {
      deps,
      steps: () => estateSteps(deps, ALL_STAGES),
      alsoRead: ['pricing', 'serverTypes'],
      confirmName: estate.name,
      report: endingOf(session),
    })
  },
})

export default setup
if (import.meta.main) await main(setup)
