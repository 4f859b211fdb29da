/** The evaluation finds what it is there to find: each mistake is planted in a copy of the flake. */

import { afterEach, describe, expect, test } from 'bun:test'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CAN_EVALUATE, createFlake, type Flake, ROOT, WHY_NOT } from './evaluate.ts'

const plant = (flake: Flake, path: string, right: string, wrong: string): void => {
  const file = join(flake.directory, path)
  const text = readFileSync(file, 'utf8')
  if (!text.includes(right)) throw new Error(`${path} does not contain ${right}`)
  writeFileSync(file, text.replace(right, wrong))
}

describe.skipIf(!CAN_EVALUATE)(`planted mistakes (${WHY_NOT})`, () => {
  const made: Flake[] = []
  const copy = (): Flake => {
    const flake = createFlake()
    made.push(flake)
    return flake
  }
  afterEach(() => {
    for (const flake of made.splice(0)) flake.remove()
  })

  test('an option that does not exist is named', async () => {
    const flake = copy()
    plant(flake, 'nixos/modules/firewall.nix', 'allowedTCPPorts =', 'allowedTcpPorts =')
    expect(await flake.read('nixosConfigurations.golden.unknownOptions')).toEqual(['networking.firewall.allowedTcpPorts'])
  })

  test('an option that was renamed is named', async () => {
    const flake = copy()
    plant(flake, 'nixos/modules/disk.nix', 'boot.growPartition', 'virtualisation.growPartition')
    expect(await flake.read('nixosConfigurations.golden.unknownOptions')).toEqual(['virtualisation.growPartition'])
  })

  test('a value of the wrong type is refused', async () => {
    const flake = copy()
    plant(flake, 'nixos/modules/ssh.nix', 'PasswordAuthentication = false', 'PasswordAuthentication = "no"')
    await expect(flake.read('nixosConfigurations.golden.definitions')).rejects.toThrow(
      "A definition for option `services.openssh.settings.PasswordAuthentication' is not of type `nullOr bool'",
    )
  })

  test('an option of our own that is misspelt is named', async () => {
    const flake = copy()
    plant(flake, 'flake.nix', '{ dokploy.enable = true; }', '{ dokplay.enable = true; }')
    expect(await flake.read('nixosConfigurations.golden.unknownOptions')).toEqual(['landfall.dokplay'])
  })

  test('a shell that asks for an unfree package without naming it is refused', async () => {
    const flake = copy()
    plant(flake, 'flake.nix', '== "packer"', '== "packor"')
    await expect(flake.read('devShells.x86_64-linux.default')).rejects.toThrow('packer has an unfree license')
  })

  test('a package that nobody looked up is refused', async () => {
    const flake = copy()
    plant(flake, 'nixos/modules/base.nix', 'pkgs.git', 'pkgs.gitt')
    await expect(flake.read('nixosConfigurations.golden.definitions')).rejects.toThrow("attribute 'gitt' missing")
  })
})

test('flake.lock pins every input of flake.nix, by revision and by hash', () => {
  const lock: unknown = JSON.parse(readFileSync(join(ROOT, 'flake.lock'), 'utf8'))
  const inputs = [
    ...readFileSync(join(ROOT, 'flake.nix'), 'utf8').matchAll(
      /^ {4}([a-z-]+)\.url = "github:([^/]+)\/([^/"]+)(?:\/([^"]+))?";$/gm,
    ),
  ]
  expect(inputs.length).toBe(2)
  for (const [, name = '', owner, repo, ref] of inputs)
    expect(lock).toHaveProperty(['nodes', name], {
      ...(name === 'nixpkgs' ? {} : { inputs: { nixpkgs: ['nixpkgs'] } }),
      locked: {
        type: 'github',
        owner,
        repo,
        rev: expect.stringMatching(/^[0-9a-f]{40}$/),
        narHash: expect.stringMatching(/^sha256-[A-Za-z0-9+/]{43}=$/),
        lastModified: expect.any(Number),
      },
      original: { type: 'github', owner, repo, ...(ref === undefined ? {} : { ref }) },
    })
  expect(lock).toHaveProperty(['nodes', 'root', 'inputs'], Object.fromEntries(inputs.map(([, name]) => [name, name])))
})
