/** Variables of an app: from a .env file into Dokploy and back, compared by name, and imported from Vercel. Values are never shown. */

import { runEnv } from '../lib/apps/env.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const env = defineScript({
  manual: {
    name: 'env',
    about: 'Push, pull, compare and import the variables of an app, byte for byte and without showing a value.',
    actions: [
      { name: 'push', about: 'the app’s env_file becomes its variables in Dokploy' },
      { name: 'pull', about: 'its variables in Dokploy become the env_file' },
      { name: 'diff', about: 'names that differ; exit code 2 when there are any' },
      { name: 'history', about: 'what changed when, by name' },
      { name: 'import', about: 'read a project of Vercel; with an app, write its env_file' },
    ],
    names: 'app',
    flags: [
      { name: 'overwrite', about: 'replace the env_file (pull, import)' },
      { name: 'project', value: 'NAME', about: 'project at Vercel (import)' },
      { name: 'target', value: 'NAME', about: 'production, preview or development (import; default production)' },
    ],
    examples: [
      { command: 'bun scripts/env.ts diff web', about: 'what is not in Dokploy yet' },
      { command: 'bun scripts/env.ts import web --project web', about: 'take the variables along from Vercel' },
    ],
  },
  run: runEnv,
})

export default env
if (import.meta.main) await main(env)
