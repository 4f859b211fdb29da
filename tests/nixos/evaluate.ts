/**
 * Evaluates the flake's machines without network and without nixpkgs: the offline evaluator knows names and types of options, follows
 * imports and merges definitions. What it cannot say (assertions, package names, builds) is `nix flake check`'s to say.
 */

import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const ROOT = new URL('../../', import.meta.url).pathname
export const SHARED = process.env.LANDFALL_SHARED ?? join(ROOT, '..', 'shared')

export const MACHINES = [
  'backend-digitalocean',
  'backend-hetzner',
  'base-digitalocean',
  'base-hetzner',
  'cluster-node',
  'golden',
  'golden-digitalocean',
] as const
export type Machine = (typeof MACHINES)[number]

const EVALUATOR = join(SHARED, 'nix-offline-eval')

/** In CI everything that a test needs has to be there, so that a missing tool fails instead of hiding the test. */
export const CAN_EVALUATE = Boolean(process.env.CI) || (Bun.which('nix') !== null && existsSync(EVALUATOR))
export const WHY_NOT = 'needs nix and the offline evaluator'

/** Names that the evaluator's own package set lacks. By hand, so that a name which nobody looked up fails the evaluation. */
const MORE_PACKAGES = ['bun', 'devenv', 'hcloud', 'nixos-anywhere', 'packer']
/** Of those, what nixpkgs gives only to whom its license was named. */
const UNFREE = ['packer']

/** `import nixpkgs { … }`, as far as a development shell needs it. */
const PACKAGE_SET = `{ system, config ? { } }:
let
  packages = import ./pkgs.nix;
  allowed = package:
    if builtins.elem package.pname [ ${UNFREE.map(name => `"${name}"`).join(' ')} ] && !((config.allowUnfreePredicate or (_: false)) package)
    then throw "\${package.pname} has an unfree license" else package.pname;
in
packages // { mkShell = { packages }: { inherit system; packages = map allowed packages; }; }
`

export interface Flake {
  /** The value of an attribute of the flake. Throws with Nix's own words. */
  read(attribute: string): Promise<unknown>
  readonly directory: string
  remove(): void
}

/** A copy of the flake that may be changed, with inputs that need no network. */
export const createFlake = (): Flake => {
  const base = mkdtempSync(join(tmpdir(), 'landfall-nix-'))
  const directory = join(base, 'flake')
  mkdirSync(directory)
  for (const path of ['flake.nix', 'flake.lock', 'nixos']) cpSync(join(ROOT, path), join(directory, path), { recursive: true })

  const nixpkgs = join(base, 'nixpkgs')
  mkdirSync(nixpkgs)
  for (const name of ['flake.nix', 'lib.nix', 'options.json', 'pkgs.nix'])
    writeFileSync(join(nixpkgs, name), readFileSync(join(EVALUATOR, name)))
  appendFileSync(join(nixpkgs, 'pkgs.nix'), `  // { ${MORE_PACKAGES.map(name => `${name} = mk "${name}";`).join(' ')} }\n`)

  writeFileSync(join(nixpkgs, 'default.nix'), PACKAGE_SET)

  const disko = join(base, 'disko')
  mkdirSync(disko)
  writeFileSync(join(disko, 'flake.nix'), '{ outputs = { self, ... }: { nixosModules.disko = { }; }; }\n')

  return {
    directory,
    async read(attribute) {
      const nix = Bun.spawn(
        [
          'nix',
          'eval',
          '--offline',
          '--no-write-lock-file',
          ...['--store', join(base, 'store')],
          ...['--override-input', 'nixpkgs', `path:${nixpkgs}`],
          ...['--override-input', 'disko', `path:${disko}`],
          ...[`path:${directory}#${attribute}`, '--json'],
        ],
        {
          env: { ...process.env, HOME: base, NIX_CONFIG: 'experimental-features = nix-command flakes\nbuild-users-group =\n' },
          stdout: 'pipe',
          stderr: 'pipe',
        },
      )
      const [stdout, stderr, code] = await Promise.all([nix.stdout.text(), nix.stderr.text(), nix.exited])
      if (code !== 0) throw new Error(stderr)
      const value: unknown = JSON.parse(stdout)
      return value
    },
    remove: () => {
      Bun.spawnSync(['chmod', '-R', 'u+w', base])
      rmSync(base, { recursive: true, force: true })
    },
  }
}
