/** Servers, their keys, network and firewalls: what Terraform did, without a state file. */

import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const provision = defineScript({
  manual: {
    name: 'provision',
    about: 'Create the servers of the estate behind their firewalls, or take them away.',
    actions: [
      { name: 'apply', about: 'create what is missing and wait until it runs' },
      { name: 'plan', about: 'show what apply would do; the same as --plan' },
      { name: 'destroy', about: 'delete everything that carries the estate’s labels' },
    ],
    examples: [
      { command: 'bun scripts/provision.ts plan', about: 'what would change, and what it costs' },
      { command: 'bun scripts/provision.ts apply --yes --json', about: 'in CI' },
      { command: 'bun scripts/provision.ts apply --sandbox --config examples/two-servers.json', about: 'a rehearsal' },
    ],
  },

  looksOnly: args => args.action === 'plan',

  async run(session) {
    const opened = await session.open()
    const { estate, composition } = opened
    const { aheadOfDestroy, aheadOfServers } = await import('../lib/ahead.ts')
    if (session.args.action === 'destroy') {
      const world = composition.lookAhead(aheadOfDestroy(estate))
      const { converge } = await import('../lib/converge.ts')
      const { destroySteps, protectedNames } = await import('../lib/steps/destroy.ts')
      return converge(session, opened, {
        world,
        steps: destroySteps,
        confirmName: estate.name,
        alsoConfirm: protectedNames(estate),
      })
    }
    const world = composition.lookAhead(aheadOfServers(estate))
    const { converge } = await import('../lib/converge.ts')
    const { endingOf } = await import('../lib/ending.ts')
    const { estateSteps } = await import('../lib/steps/estate.ts')
    const planned = session.args.action === 'plan' ? { ...session, args: { ...session.args, plan: true } } : session
    return converge(planned, opened, {
      world,
      steps: deps => estateSteps(deps, ['image', 'firewall', 'servers']),
      partial: true,
      confirmName: estate.name,
      report: endingOf(session),
    })
  },
})

export default provision
if (import.meta.main) await main(provision)
