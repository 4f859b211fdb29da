/** Where an installation of NixOS stands, told from what the machine says: table tests of the pure look. */

import { describe, expect, test } from 'bun:test'
import { encodeHostKey, LABEL_KEYS } from '../../../lib/estate/labels.ts'
import type { MachineState } from '../../../lib/steps/machine.ts'
import { phasesLeft, systemStep } from '../../../lib/steps/nixos.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load } from '../estate/configs.ts'
import { deps, facts, HOST_KEY, ready, server, serverType } from './worlds.ts'

const estate = load({
  project: 'nextnode',
  hetzner: { location: 'nbg1' },
  servers: { backend: { type: 'cx23', os: 'nixos' } },
})
const [spec] = estate.servers
if (!spec?.nixos) throw new Error('the estate has no server with NixOS')

const lookAt = (world: Partial<EstateWorld>, change: Partial<typeof deps.nixos> = {}) => {
  const all: Partial<EstateWorld> = {
    serverTypes: [serverType('cx23')],
    installer: { state: 'ready' },
    servers: [],
    machines: {},
    ...world,
  }
  const step = systemStep(
    { ...deps, estate, nixos: { ...deps.nixos, ...change } },
    { ...spec, nixos: { system: 'base-hetzner' } },
  )
  return step.look({
    get: slice => {
      if (!step.reads.includes(slice) || !Object.hasOwn(all, slice)) throw new Error(`the look reads ${String(slice)}`)
      return all[slice] as EstateWorld[typeof slice]
    },
  })
}
const made = server('backend', { type: 'cx23', labels: { ...server('backend').labels, [LABEL_KEYS.os]: 'nixos' } })
const on = (change: Partial<typeof facts>, labels = made.labels): Partial<EstateWorld> => ({
  servers: [{ ...made, labels }],
  machines: { backend: { ...ready, facts: { ...facts, ...change } } satisfies MachineState },
})
const nextKey = { ...made.labels, [LABEL_KEYS.nextHostKey]: encodeHostKey(HOST_KEY) }

describe('what is left to do', () => {
  test.each([
    ['stock', 'none', false, 'kexec,disko,install,reboot'],
    ['installer', 'none', false, 'disko,install,reboot'],
    ['installer', 'disko', false, 'install,reboot'],
    // The key on the disk is one that nobody has written down.
    ['installer', 'install', false, 'install,reboot'],
    ['installer', 'install', true, 'reboot'],
    ['nixos', 'none', false, 'kexec,disko,install,reboot'],
  ] as const)('%s after %s, next key recorded %p: %s', (system, installPhase, hasNextKey, phases) => {
    expect(phasesLeft({ system, installPhase }, hasNextKey).join()).toBe(phases)
  })
})

describe('the look', () => {
  test('is content with what a run of ours installed', () => {
    expect(lookAt(on({ system: 'nixos', installedBy: 'run-0' }))).toMatchObject({ state: 'done' })
  })

  test('announces a creation for a server that is yet to come, and a destruction for one that was not made for it', () => {
    expect(lookAt({})).toMatchObject({ state: 'blocked', later: [{ kind: 'create' }] })
    const { [LABEL_KEYS.os]: _, ...others } = made.labels
    expect(lookAt(on({}, others))).toMatchObject({ state: 'todo', changes: [{ kind: 'destroy' }] })
    expect(lookAt(on({}))).toMatchObject({ state: 'todo', changes: [{ kind: 'create' }] })
  })

  test('goes on from where the installer is', () => {
    const found = lookAt(on({ system: 'installer', installPhase: 'install' }, nextKey))
    expect(found).toMatchObject({
      state: 'todo',
      changes: [{ kind: 'create', summary: expect.stringContaining('from the phase reboot') }],
    })
  })

  test('refuses a NixOS that somebody else installed, unless it is named', () => {
    const world = on({ system: 'nixos', installedBy: '' })
    expect(lookAt(world)).toMatchObject({ state: 'refused', hint: expect.stringContaining('--reinstall backend') })
    expect(lookAt(world, { reinstall: ['backend'] })).toMatchObject({ state: 'todo', changes: [{ kind: 'destroy' }] })
  })

  test('refuses too little memory, on the machine or as sold, unless that is wanted', () => {
    expect(lookAt(on({ memoryMb: 980 }))).toMatchObject({ state: 'refused', hint: expect.stringContaining('--low-memory') })
    expect(lookAt({ serverTypes: [serverType('cx23', { memoryGb: 1 })] })).toMatchObject({ state: 'refused' })
    expect(lookAt(on({ memoryMb: 980 }), { lowMemory: true })).toMatchObject({ state: 'todo' })
  })

  test('refuses sources with files that Nix would leave out, and is content with what is there all the same', () => {
    const flake = { ...deps.nixos.flake, untracked: ['nixos/operator-keys'] }
    expect(lookAt({}, { flake })).toMatchObject({
      state: 'refused',
      hint: expect.stringContaining('git add nixos/operator-keys'),
    })
    expect(lookAt(on({ system: 'nixos', installedBy: 'run-0' }), { flake })).toMatchObject({ state: 'done' })
  })

  test('refuses where nothing can be installed from', () => {
    const installer = { state: 'missing', why: 'nix is not installed here.', hint: 'nix develop' } as const
    expect(lookAt({ installer })).toMatchObject({ state: 'refused', why: installer.why, hint: installer.hint })
    expect(lookAt({ ...on({ system: 'nixos', installedBy: 'run-0' }), installer })).toMatchObject({ state: 'done' })
  })
})
