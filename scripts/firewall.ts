/** The cloud firewall: 22, 80, 443 for everybody, the panel's port for admins, nothing else; and following an admin's address. */

import { adminOf } from '../lib/admin.ts'
import { converge } from '../lib/converge.ts'
import { endingOf } from '../lib/ending.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'
import { estateSteps } from '../lib/steps/estate.ts'

const firewall = defineScript({
  manual: {
    name: 'firewall',
    about: 'Make the firewalls what config.json says, and let your present address in to the panels.',
    actions: [
      { name: 'apply', about: 'make rules and attachments as configured' },
      { name: 'allow-me', about: 'let the address you come from now reach the panels, instead of your last one' },
    ],
    examples: [
      { command: 'bun scripts/firewall.ts --plan', about: 'differences, rule by rule' },
      { command: 'bun scripts/firewall.ts allow-me', about: 'after your address has changed; SSH rules are never touched' },
    ],
  },

  async run(session) {
    const opened = await session.open()
    const admin = session.args.action === 'allow-me' ? await adminOf(opened) : undefined
    const deps = { ...opened.composition.deps, ...(admin ? { admin } : {}) }
    return converge(session, opened, {
      deps,
      steps: () => estateSteps(deps, ['firewall', 'access']),
      partial: true,
      report: endingOf(session),
    })
  },
})

export default firewall
if (import.meta.main) await main(firewall)
