/** Deploys one app and tells the truth about it: healthy containers, a stable period, the new version at the public address. */

import { runDeploy } from '../lib/apps/deploying.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const deploy = defineScript({
  manual: {
    name: 'deploy',
    about: 'Deploy an app, wait until it really runs, and go back to the version before when it does not.',
    names: 'app',
    flags: [
      { name: 'version', value: 'TEXT', about: 'what the version is called (DEPLOY_VERSION); else the image’s tag, or this run' },
      { name: 'stable', value: 'SECONDS', about: 'how long it must go on running before it counts (10)' },
      { name: 'timeout', value: 'SECONDS', about: 'how long containers and public address may take' },
      { name: 'again', about: 'deploy although that version runs already' },
      { name: 'inside-only', about: 'do not ask the public address, for a name that does not lead here yet' },
      { name: 'as-is', about: 'deploy what Dokploy has, even where config.json says otherwise' },
    ],
    examples: [
      { command: 'bun scripts/deploy.ts web', about: 'exit code 0 only when the new version answers' },
      { command: 'bun scripts/deploy.ts web --yes --version "$GITHUB_SHA"', about: 'in CI' },
    ],
  },
  run: runDeploy,
})

export default deploy
if (import.meta.main) await main(deploy)
