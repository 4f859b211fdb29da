/** One backend on a NixOS server: installed, deployed, updated with a way back, watched, scaled, taken away. */

import { main } from '../lib/main.ts'
import { destroyEstate } from '../lib/provisioning.ts'
import { defineScript } from '../lib/script.ts'
import { applyService, scaleService, showLogs, showService, updateService, updateSystem, wantedRevision } from '../lib/service.ts'

const EXAMPLE = '--config examples/nixos-anywhere.json'

const service = defineScript({
  manual: {
    name: 'service',
    about: 'Run a backend that brings its own environment with devenv, on a NixOS server behind Caddy.',
    actions: [
      { name: 'apply', about: 'set it up: server, NixOS over it, the repository, its name and certificate' },
      { name: 'update', about: 'the newest code of the branch; back to the revision before when it is not healthy' },
      { name: 'rollback', about: 'the revision before the last update' },
      { name: 'update-system', about: 'build the system anew from nixos/; back to the one before when it is not healthy' },
      { name: 'status', about: 'how it is, on the server and from outside' },
      { name: 'logs', about: 'what it wrote' },
      { name: 'scale', about: 'give its server the size that the config names; it is off for about two minutes' },
      { name: 'destroy', about: 'delete everything that carries the estate’s labels' },
    ],
    flags: [
      { name: 'revision', value: 'ID', about: 'update: this commit instead of the newest' },
      { name: 'lines', value: 'N', about: 'logs: how many of the last lines (default: 100)' },
      { name: 'follow', about: 'logs: go on until Ctrl-C' },
      { name: 'reinstall', value: 'SERVER', many: true, about: 'apply: erase this server although it runs NixOS' },
      { name: 'low-memory', about: 'apply: install NixOS on a machine with less than 1.5 GB; may fail' },
      { name: 'take-over', value: 'NAME', many: true, about: 'apply: replace the records that somebody else made for this name' },
    ],
    examples: [
      { command: `bun scripts/service.ts --sandbox ${EXAMPLE}`, about: 'a rehearsal without any account' },
      { command: 'bun scripts/service.ts update --yes --json', about: 'in CI, after a push' },
      { command: 'bun scripts/service.ts logs --follow', about: 'watch it' },
      { command: 'bun scripts/service.ts destroy --yes --confirm seance', about: 'for an estate called seance' },
    ],
  },

  looksOnly: args => args.action === 'status' || args.action === 'logs',

  async run(session) {
    const opened = await session.open()
    switch (session.args.action) {
      case 'update':
        return updateService(session, opened, wantedRevision(session))
      case 'rollback':
        return updateService(session, opened, { kind: 'previous' })
      case 'update-system':
        return updateSystem(session, opened)
      case 'status':
        return showService(session, opened)
      case 'logs':
        return showLogs(session, opened)
      case 'scale':
        return scaleService(session, opened)
      case 'destroy':
        return destroyEstate(session, opened)
      default:
        return applyService(session, opened)
    }
  },
})

export default service
if (import.meta.main) await main(service)
