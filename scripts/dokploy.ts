/** Dokploy on the estate's servers: installed, healthy, owned by you, served under its name. */

import { converge } from '../lib/converge.ts'
import { endingOf } from '../lib/ending.ts'
import { adoptLogin, showLogins } from '../lib/logins.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'
import { estateSteps, withWorkers } from '../lib/steps/estate.ts'

const dokploy = defineScript({
  manual: {
    name: 'dokploy',
    about: 'Bring Dokploy up on the estate’s servers, make its first admin through SSH, and give the panel its name.',
    actions: [
      { name: 'apply', about: 'from a reachable machine to a panel under its own name, with the workers of its swarm' },
      { name: 'login', about: 'show who logs in where; with --show also the password' },
      { name: 'adopt', about: 'take over a panel that you registered in the browser' },
    ],
    names: 'server',
    flags: [{ name: 'show', about: 'print the passwords (login)' }],
    examples: [
      { command: 'bun scripts/dokploy.ts --plan', about: 'what is missing' },
      { command: 'bun scripts/dokploy.ts login prod-dokploy --show', about: 'the password of one panel' },
    ],
  },

  looksOnly: args => args.action === 'login',

  async run(session) {
    const opened = await session.open()
    const actions = session.manual.actions?.map(action => action.name) ?? []
    const names = withWorkers(opened.estate, session.args.names, actions)
    if (session.args.action === 'login') return showLogins(session, opened)
    if (session.args.action === 'adopt') return adoptLogin(session, opened)
    return converge(session, opened, {
      steps: deps => estateSteps(deps, ['machines', 'dokploy', 'workers', 'names'], names),
      partial: true,
      report: endingOf(session),
    })
  },
})

export default dokploy
if (import.meta.main) await main(dokploy)
