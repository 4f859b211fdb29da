/** Applications in Dokploy as config.json describes them: projects, apps, variables, domains, webhooks, databases, backups, alerts. */

import { showExport } from '../lib/apps/export.ts'
import { appSteps, openApps } from '../lib/apps/open.ts'
import { converge } from '../lib/converge.ts'
import type { World } from '../lib/engine/world.ts'
import type { AppSpec } from '../lib/estate/apps.ts'
import type { Estate } from '../lib/estate/estate.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'
import { elsewhereRecords } from '../lib/steps/app-record.ts'
import type { EstateWorld } from '../lib/steps/world.ts'

const app = defineScript({
  manual: {
    name: 'app',
    about: 'Set up applications, databases, backups and alerts in Dokploy, as config.json describes them.',
    actions: [
      { name: 'apply', about: 'make what is missing, and put back what was changed in the panel' },
      { name: 'export', about: 'print the config of what exists' },
    ],
    names: 'app',
    flags: [
      { name: 'take-over', value: 'APP', many: true, about: 'an app of that name that Landfall did not make may be managed' },
    ],
    examples: [
      { command: 'bun scripts/app.ts --plan', about: 'what differs from config.json, field by field' },
      { command: 'bun scripts/app.ts export', about: 'begin with what is in the panel already' },
    ],
  },

  async run(session) {
    const opened = await session.open()
    if (session.args.action === 'export') return showExport(session, opened)
    const apps = openApps(session, opened)
    return converge(session, apps.opened, {
      steps: () => appSteps(apps, session.args.names.length > 0 ? 'chosen' : 'all'),
      partial: true,
      confirmName: opened.estate.name,
      report: (world, estate) => ({
        outputs: Object.fromEntries(
          apps.apps.flatMap(each => (each.domains[0] ? [[`${each.name}_url`, `https://${each.domains[0].host}`]] : [])),
        ),
        next: nextOf(apps.apps, world, estate),
      }),
    })
  },
})

function nextOf(apps: readonly AppSpec[], world: World<EstateWorld>, estate: Estate): string {
  const [first] = apps
  if (!first) return 'bun scripts/status.ts'
  const deploy = `bun scripts/deploy.ts ${first.name}`
  const records = world.has('records') ? world.get('records') : []
  const isElsewhere = first.domains.some(({ host }) => elsewhereRecords(estate.name, host, records).length > 0)
  // A deploy asks the public name, which has no trusted certificate here before it leads here.
  return isElsewhere ? `bun scripts/dns.ts certificate\n${deploy}` : deploy
}

export default app
if (import.meta.main) await main(app)
