/** Compose stacks behind nginx: checked, rolled without losing a request, taken back, watched, cleaned up. */

import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'
import { runAudit } from '../lib/stack/actions/audit.ts'
import { runRollout } from '../lib/stack/actions/deploy.ts'
import { openStack } from '../lib/stack/actions/open.ts'
import { prune, showStatus } from '../lib/stack/actions/status.ts'

const EXAMPLE = '--config examples/compose-rolling.json'

const stack = defineScript({
  manual: {
    name: 'stack',
    about: 'Roll a Docker Compose stack behind nginx without losing a request, and find beforehand what would keep it from that.',
    actions: [
      {
        name: 'audit',
        about: 'hold the Compose file, the deploy list, nginx and the workflow against the rules; changes nothing',
        names: 'none',
      },
      { name: 'deploy', about: 'roll out what the Compose file says, or only the services that are named' },
      { name: 'rollback', about: 'roll back to a recorded release: images, env and Compose file as they were' },
      { name: 'status', about: 'how it stands, as Docker sees it and as nginx serves it', names: 'none' },
      { name: 'prune', about: 'remove images that no container uses and no recorded release needs', names: 'none' },
    ],
    names: 'service',
    flags: [
      { name: 'env', value: 'dev|staging|prod', about: 'the environment; needed when the stack has several' },
      { name: 'stack', value: 'NAME', about: 'the stack; needed when the configuration has several' },
      { name: 'file', value: 'PATH', about: 'a Compose file to audit without a configuration' },
      { name: 'nginx', value: 'PATH', about: 'with --file: the folder or file of nginx’s configuration' },
      { name: 'workflow', value: 'PATH', about: 'the CI workflow to audit with it' },
      { name: 'fix', about: 'audit: write the corrected deploy list, and the rest as stack-audit.patch' },
      { name: 'release', value: 'ID', about: 'rollback: the release to go back to (default: the one before)' },
      { name: 'image', value: 'SERVICE=REF', many: true, about: 'deploy: another image than the Compose file names' },
      { name: 'no-pull', about: 'deploy: use the images that are on the host' },
    ],
    examples: [
      { command: `bun scripts/stack.ts ${EXAMPLE}`, about: 'audit the example' },
      { command: 'bun scripts/stack.ts audit --file docker-compose.yml --nginx nginx/', about: 'audit any Compose file' },
      { command: `bun scripts/stack.ts deploy --plan ${EXAMPLE}`, about: 'every action of a deploy, none of them done' },
      { command: `bun scripts/stack.ts deploy api web ${EXAMPLE} --yes`, about: 'deploy two services' },
      { command: `bun scripts/stack.ts rollback ${EXAMPLE} --yes`, about: 'back to the release before' },
      { command: `bun scripts/stack.ts status ${EXAMPLE}`, about: 'how it stands' },
    ],
  },
  looksOnly: args => args.action === 'audit' || args.action === 'status',

  async run(session) {
    const opened = openStack(session)
    switch (session.args.action) {
      case 'deploy':
        return runRollout(session, opened, 'deploy')
      case 'rollback':
        return runRollout(session, opened, 'rollback')
      case 'status':
        return showStatus(session, opened)
      case 'prune':
        return prune(session, opened)
      default:
        return runAudit(session, opened)
    }
  },
})

export default stack
if (import.meta.main) await main(stack)
