/** The golden image: built with Packer where the sources have changed, listed, and cleaned up after. */

import { buildImage, listImages, pruneImages, sweepBuilds } from '../lib/image/image.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const image = defineScript({
  manual: {
    name: 'image',
    about: 'Build the golden image that servers start from (NixOS with Dokploy), and look after the built ones.',
    actions: [
      { name: 'build', about: 'build it with Packer, unless one of the present sources exists' },
      { name: 'list', about: 'show every image: when, of which sources, how large, what it costs, who uses it' },
      { name: 'prune', about: 'delete old ones; never the newest, never one that a server was made from' },
      { name: 'sweep', about: 'show servers and keys that killed builds have left; with --yes delete them' },
    ],
    flags: [
      { name: 'keep', value: 'N', about: 'prune: how many of the newest stay (default: 3)' },
      { name: 'hours', value: 'N', about: 'sweep: how old a leftover must be (default: 6)' },
      { name: 'source', value: 'DIR', about: 'the directory with nixos/, packer/ and flake.nix (default: this project)' },
      { name: 'var', value: 'NAME=VALUE', many: true, about: 'build: a variable of the Packer template, for example rescue=' },
    ],
    examples: [
      { command: 'bun scripts/image.ts', about: 'build it if need be; takes about 20 minutes' },
      { command: 'bun scripts/image.ts list', about: 'which images there are' },
      { command: 'bun scripts/image.ts prune --keep 2 --yes --confirm nextnode', about: 'in CI, for an estate called nextnode' },
      { command: 'bun scripts/image.ts sweep', about: 'after a build that was killed' },
    ],
  },

  looksOnly: args => args.action === 'list' || (args.action === 'sweep' && !args.yes),

  async run(session) {
    const opened = await session.open()
    switch (session.args.action) {
      case 'list':
        return listImages(session, opened)
      case 'prune':
        return pruneImages(session, opened)
      case 'sweep':
        return sweepBuilds(session, opened)
      default:
        return buildImage(session, opened)
    }
  },
})

export default image
if (import.meta.main) await main(image)
