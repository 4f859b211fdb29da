/** Proves that backups can be read and restored, without touching what lives. What is backed up and when stands in config.json. */

import { runDrill } from '../lib/apps/drill.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const backup = defineScript({
  manual: {
    name: 'backup',
    about: 'Restore the newest backup into a throw-away database on the server, and say what came back.',
    actions: [
      {
        name: 'drill',
        about: 'the named backups, or all; exit code 1 when one cannot be restored or is older than its schedule',
      },
    ],
    names: 'backup',
    flags: [{ name: 'now', about: 'make a backup first' }],
    examples: [
      { command: 'bun scripts/backup.ts drill', about: 'a good thing to run every month' },
      { command: 'bun scripts/backup.ts drill db --now', about: 'one backup, made now' },
    ],
  },
  run: runDrill,
})

export default backup
if (import.meta.main) await main(backup)
