/** Servers, their keys, network and firewalls: what Terraform did, without a state file. */

import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const provision = defineScript({
  manual: {
    name: 'provision',
    about: 'Create the servers of the estate behind their firewalls, or take them away.',
    actions: [
      { name: 'apply', about: 'create what is missing, wait until it runs, install NixOS where the config says so' },
      { name: 'plan', about: 'show what apply would do; the same as --plan' },
      { name: 'scale', about: 'give servers, one after another, the type that config.json names; disks and addresses stay' },
      {
        name: 'rebuild',
        about: 'from scratch: build the image, delete the servers, make them anew; addresses, certificates and backups stay',
      },
      { name: 'destroy', about: 'delete everything that carries the estate’s labels' },
    ],
    flags: [
      { name: 'server', value: 'SERVER', many: true, about: 'scale: this server alone' },
      { name: 'reinstall', value: 'SERVER', many: true, about: 'erase this server although it runs NixOS, and install it anew' },
      { name: 'drop', value: 'addresses|certificates', many: true, about: 'rebuild: do not keep these' },
      { name: 'source', value: 'DIR', about: 'rebuild: where nixos/, packer/ and flake.nix lie (default: this project)' },
      { name: 'var', value: 'NAME=VALUE', many: true, about: 'rebuild: a variable of the Packer template' },
      {
        name: 'take-over',
        value: 'NAME',
        many: true,
        about: 'rebuild: replace the records that somebody else made for this name',
      },
      { name: 'low-memory', about: 'install NixOS on a machine with less than 1.5 GB; may fail' },
    ],
    examples: [
      { command: 'bun scripts/provision.ts rebuild --plan', about: 'what would be lost, and what stays' },
      {
        command: 'bun scripts/provision.ts scale --server prod-dokploy --plan',
        about: 'up or down: the price, the disk, the pause',
      },
      { command: 'bun scripts/provision.ts plan', about: 'what would change, and what it costs' },
      { command: 'bun scripts/provision.ts apply --yes --json', about: 'in CI' },
      { command: 'bun scripts/provision.ts apply --sandbox --config examples/two-servers.json', about: 'a rehearsal' },
    ],
  },

  looksOnly: args => args.action === 'plan',

  async run(session) {
    const opened = await session.open()
    if (session.args.action === 'rebuild') {
      const { rebuildEstate } = await import('../lib/rebuild.ts')
      return rebuildEstate(session, opened)
    }
    if (session.args.action === 'scale') {
      const { scaleServers } = await import('../lib/scale.ts')
      return scaleServers(session, opened)
    }
    const { destroyEstate, provisionServers } = await import('../lib/provisioning.ts')
    if (session.args.action === 'destroy') return destroyEstate(session, opened)
    const planned = session.args.action === 'plan' ? { ...session, args: { ...session.args, plan: true } } : session
    return provisionServers(planned, opened)
  },
})

export default provision
if (import.meta.main) await main(provision)
