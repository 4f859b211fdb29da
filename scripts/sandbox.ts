/** Keeps the stand-in world running, for other clients and other terminals. */

import { main } from '../lib/main.ts'
import { serveRehearsal } from '../lib/rehearsal.ts'
import { defineScript } from '../lib/script.ts'

const sandbox = defineScript({
  manual: {
    name: 'sandbox',
    about: 'Run stand-ins for Hetzner, Cloudflare, DNS, Dokploy and machines on this machine, until Ctrl-C.',
    flags: [
      { name: 'zone', value: 'NAME', many: true, about: 'a DNS zone that exists (default: example.com)' },
      { name: 'latency-ms', value: 'N', about: 'added to every request (default: 0)' },
      { name: 'fast', about: 'actions and boots take milliseconds' },
      {
        name: 'machines',
        value: 'KIND',
        about: 'simulated (default), or container: real systems, on Linux as root with Docker (see tests/machines/base/build.ts)',
      },
      { name: 'memory', about: 'forget everything at the end; otherwise the world is kept in .landfall/sandbox.sqlite' },
    ],
    examples: [
      { command: 'bun scripts/sandbox.ts', about: 'prints what to export so that any client finds it' },
      { command: 'bun scripts/sandbox.ts --machines=container', about: 'OpenSSH, cloud-init, Docker and a real firewall' },
      { command: 'bun scripts/setup.ts --sandbox=http://127.0.0.1:PORT', about: 'in another terminal: a script against it' },
    ],
  },

  run: session => serveRehearsal(session),
})

export default sandbox
if (import.meta.main) await main(sandbox)
