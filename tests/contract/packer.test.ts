/** The real Packer, whole builds: against the Hetzner stand-in, over real SSH into an OpenSSH server that takes the place of the machine. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test'
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseLine } from '../../lib/providers/packer/output.ts'
import { SANDBOX_TOKENS } from '../../lib/sandbox/sandbox.ts'
import { closePlaces, openPlace, type Place, ROOT, type Running } from '../sandbox/scripts/run.ts'
import { createSshd, descendants, type TestSshd } from './sshd.ts'

/** The system's, and a newer one with its plugins in the folder `plugins` beside it, where LANDFALL_PACKER names that. */
const newer = process.env.LANDFALL_PACKER
const PACKERS = [
  ...(Bun.which('packer') === null ? [] : [{ packer: 'the real Packer', env: {} }]),
  ...(newer === undefined
    ? []
    : [
        {
          packer: `the real Packer in ${newer}`,
          env: { PATH: `${newer}:${process.env.PATH}`, PACKER_PLUGIN_PATH: join(newer, 'plugins') },
        },
      ]),
]
if (Bun.which('packer') === null) {
  if (process.env.CI) throw new Error('install packer (apt-get install packer)')
  test.skip('whole image builds with Packer (skipped: packer is not installed)', () => undefined)
}

const CONFIG = {
  project: 'solo',
  hetzner: { location: 'nbg1', server_types: { prod: 'cx33', packer_build: 'cx23' } },
  dokploy: { admin_email: 'admin@example.com' },
}

/** What nixos-anywhere leaves below the mount point, as far as the template looks at it. */
const INSTALL = `set -eu
env > "$RIG/environment"
mkdir -p "$RIG/mnt/nix/var/nix/profiles" "$RIG/mnt/boot"
touch "$RIG/mnt/boot/kernel"
ln -sfn /system "$RIG/mnt/nix/var/nix/profiles/system"
`
const FAILING = `echo 'phase: kexec'; echo 'no space left on the machine' >&2; exit 7\n`
const LASTING = `touch "$RIG/installing"; exec sleep 300\n`

interface Rig extends Place {
  readonly sources: string
  readonly words: string
  install(program: string): void
  leftovers(): { readonly servers: number; readonly keys: number }
  snapshots(): readonly { readonly description: string; readonly labels: Readonly<Record<string, string>> }[]
}

let sshd: TestSshd
const folder = mkdtempSync(join(tmpdir(), 'landfall-packer-'))
beforeAll(async () => {
  sshd = await createSshd()
  await sshd.start()
})
afterEach(closePlaces)
afterAll(async () => {
  await sshd.stop()
  rmSync(folder, { recursive: true, force: true })
})

interface RigOptions {
  readonly env: Readonly<Record<string, string>>
  /** How long each action of the vendor takes. */
  readonly actionMs?: number
  /** Told of each request once it has had its effect. */
  readonly seen?: (request: string) => void
}

/** An estate whose temporary servers are all reached at the SSH server of this test, and sources of its own. */
async function openRig({ env, actionMs = 10, seen }: RigOptions): Promise<Rig> {
  let trust: () => void = () => undefined
  const place = await openPlace(CONFIG, {
    seed: { zones: [], goldenImage: false },
    settings: { actionMs: { other: actionMs }, bootMs: 30, dokployStartMs: 30 },
    hooks: {
      afterEffect({ method, path }) {
        if (method === 'POST' && path === '/ssh_keys') trust()
        seen?.(`${method} ${path.replace(/\d+/, '{id}')}`)
      },
    },
  })
  const { hetzner } = place.sandbox.controls
  hetzner.setFixedIpv4('127.0.0.1')
  trust = () => {
    for (const key of hetzner.dump().keys) appendFileSync(join(sshd.directory, 'authorized_keys'), `${key.publicKey}\n`)
  }
  const rig = mkdtempSync(join(folder, 'rig-'))
  const sources = join(rig, 'sources')
  mkdirSync(sources)
  for (const part of ['flake.nix', 'flake.lock', 'nixos', 'packer'])
    cpSync(join(ROOT, part), join(sources, part), { recursive: true })
  const command = join(rig, 'install')
  const given = { env, timeoutMs: 60_000 }
  return {
    ...place,
    run: words => place.run(words, given),
    start: words => place.start(words, given),
    sources,
    words: `--source ${sources} --var ssh_port=${sshd.port} --var mount_root=${rig}/mnt --var install_command=${command}`,
    install(program) {
      writeFileSync(command, `#!/bin/sh\nRIG='${rig}'\n${program}`)
      chmodSync(command, 0o755)
    },
    leftovers: () => ({ servers: hetzner.dump().servers.length, keys: hetzner.dump().keys.length }),
    snapshots: () => hetzner.dump().images.map(({ description, labels }) => ({ description, labels })),
  }
}

/** Whether it still does something: one that has ended stays in /proc until its parent has asked for its exit code. */
const isAlive = (pid: number): boolean => {
  const stat = join('/proc', String(pid), 'stat')
  return existsSync(stat) && readFileSync(stat, 'utf8').split(') ').at(-1)?.[0] !== 'Z'
}

const rigOf = (rig: Rig): string => join(rig.sources, '..')
const today = (): string => new Date().toISOString().slice(0, 10).replaceAll('-', '')

const untilInstalling = async (rig: Rig, running: Running): Promise<void> => {
  for (let tries = 0; !existsSync(join(rigOf(rig), 'installing')); tries++) {
    if (tries > 1200) throw new Error(`the installation did not begin: ${running.stdout()}${running.stderr()}`)
    await Bun.sleep(25)
  }
}

const NONE = { servers: 0, keys: 0 }

describe.each(PACKERS)('with $packer', ({ env }) => {
  test('a build ends in one labelled snapshot and no leftovers; a second one has nothing to do; changed sources are built anew', async () => {
    const rig = await openRig({ env })
    rig.install(INSTALL)
    const first = await rig.run(`image --yes --json ${rig.words}`)
    expect({ code: first.code, errors: first.errors() }).toEqual({ code: 0, errors: [] })
    expect(rig.leftovers()).toEqual(NONE)
    const [snapshot, ...others] = rig.snapshots()
    expect(others).toEqual([])
    expect(snapshot?.description).toBe(`nixos-dokploy-${today()}`)
    expect(snapshot?.labels).toMatchObject({
      'landfall/image': 'nixos-dokploy',
      'landfall/nixos': '26.05',
      'landfall/dokploy': '0.30.2',
    })
    expect(snapshot?.labels['landfall/content']).toMatch(/^[0-9a-f]{40}$/)
    expect(first.summary().outputs.content).toBe(snapshot?.labels['landfall/content'])

    // What Packer says is progress, and nobody's secret.
    const said = first
      .lines()
      .filter(line => line.type === 'log')
      .map(line => JSON.stringify(line))
    expect(said.some(line => line.includes('Creating server'))).toBe(true)
    expect(first.output).not.toContain(SANDBOX_TOKENS.hetzner)
    expect(first.output).not.toContain('PRIVATE KEY')
    const environment = readFileSync(join(rigOf(rig), 'environment'), 'utf8')
    expect(environment).not.toContain(SANDBOX_TOKENS.cloudflare)
    expect(environment).not.toContain('LANDFALL_')

    const second = await rig.run(`image --yes --json ${rig.words}`)
    expect({ code: second.code, changes: second.summary().changes }).toEqual({ code: 0, changes: 0 })
    expect(second.requests.filter(request => request.method !== 'GET')).toEqual([])

    writeFileSync(join(rig.sources, 'nixos', 'more.nix'), '{ }\n')
    const third = await rig.run(`image --yes --json ${rig.words}`)
    expect(third.code).toBe(0)
    expect(rig.snapshots().map(each => each.description)).toEqual([`nixos-dokploy-${today()}`, `nixos-dokploy-${today()}-2`])
    expect(rig.leftovers()).toEqual(NONE)
  }, 120_000)

  test('a provisioner that fails ends in its own words, exit 1, no snapshot and no leftovers', async () => {
    const rig = await openRig({ env })
    rig.install(FAILING)
    const ended = await rig.run(`image --yes --json ${rig.words}`)
    expect(ended.code).toBe(1)
    expect(ended.output).toContain('no space left on the machine')
    expect(JSON.stringify(ended.errors())).toContain('bun scripts/image.ts sweep')
    expect({ ...rig.leftovers(), snapshots: rig.snapshots() }).toEqual({ ...NONE, snapshots: [] })
  }, 60_000)

  test('an installed system that holds a host key is refused, and nothing is left', async () => {
    const rig = await openRig({ env })
    rig.install(`${INSTALL}mkdir -p "$RIG/mnt/etc/ssh"; touch "$RIG/mnt/etc/ssh/ssh_host_ed25519_key"\n`)
    const ended = await rig.run(`image --yes --json ${rig.words}`)
    expect(ended.code).toBe(1)
    expect(ended.output).toContain('every server would share')
    expect({ ...rig.leftovers(), snapshots: rig.snapshots() }).toEqual({ ...NONE, snapshots: [] })
  }, 60_000)

  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    test(`${signal} in the middle lets Packer clean up: exit 130, no snapshot and no leftovers`, async () => {
      const rig = await openRig({ env })
      rig.install(LASTING)
      const running = rig.start(`image --yes --json ${rig.words}`)
      await untilInstalling(rig, running)
      expect(rig.leftovers()).toEqual({ servers: 1, keys: 1 })
      const children = descendants(running.pid)
      running.kill(signal)
      const ended = await running.ended
      expect(ended.code).toBe(130)
      expect({ ...rig.leftovers(), snapshots: rig.snapshots() }).toEqual({ ...NONE, snapshots: [] })
      expect(children.filter(isAlive)).toEqual([])
    }, 60_000)

  // While an action runs on a server, the vendor refuses to delete it.
  for (const request of [
    'POST /ssh_keys',
    'POST /servers',
    'POST /servers/{id}/actions/enable_rescue',
    'POST /servers/{id}/actions/reset',
    'POST /servers/{id}/actions/shutdown',
    'POST /servers/{id}/actions/create_image',
  ])
    test(`SIGINT right after ${request} leaves nothing either, though its action still runs`, async () => {
      let running: Running | undefined
      const rig = await openRig({
        env,
        actionMs: 1_500,
        seen: name => {
          if (name === request) running?.kill('SIGINT')
        },
      })
      rig.install(INSTALL)
      running = rig.start(`image --yes --json ${rig.words}`)
      const ended = await running.ended
      expect({ code: ended.code, ...rig.leftovers() }).toEqual({ code: 130, ...NONE })
      if (rig.snapshots().length === 0) return
      // A snapshot that was begun is of a finished system, and counts.
      const again = await rig.run(`image --yes --json ${rig.words}`)
      expect({ code: again.code, applied: again.summary().applied, images: rig.snapshots().length }).toEqual({
        code: 0,
        applied: 0,
        images: 1,
      })
    }, 60_000)

  test('after SIGKILL of everything, sweep shows what is left, deletes it with --yes, and then finds nothing', async () => {
    const rig = await openRig({ env })
    rig.install(LASTING)
    const running = rig.start(`image --yes --json ${rig.words}`)
    await untilInstalling(rig, running)
    for (const pid of [running.pid, ...descendants(running.pid)]) process.kill(pid, 'SIGKILL')
    expect((await running.ended).code).toBe(null)
    expect(rig.leftovers()).toEqual({ servers: 1, keys: 1 })

    const young = await rig.run('image sweep --json')
    expect({ code: young.code, changes: young.summary().changes }).toEqual({ code: 0, changes: 0 })
    const shown = await rig.run('image sweep --hours 0 --json')
    expect({ code: shown.code, changes: shown.summary().changes, ...rig.leftovers() }).toEqual({
      code: 2,
      changes: 2,
      servers: 1,
      keys: 1,
    })
    const swept = await rig.run('image sweep --hours 0 --yes --json')
    expect({ code: swept.code, errors: swept.errors(), ...rig.leftovers() }).toEqual({ code: 0, errors: [], ...NONE })
    const again = await rig.run('image sweep --hours 0 --yes --json')
    expect(again.requests.filter(request => request.method !== 'GET')).toEqual([])
  }, 60_000)
})

test('a line of machine-readable output is read with its commas and line breaks', () => {
  expect(parseLine('1795197805,hcloud.golden,artifact,0,id,230000001')).toEqual({ kind: 'artifact', id: '230000001' })
  expect(parseLine('1795197805,,ui,say,==> hcloud.golden: a%!(PACKER_COMMA) b')).toEqual({ kind: 'progress', text: 'a, b' })
  expect(parseLine('1795197805,,ui,error,one\\ntwo')).toEqual({ kind: 'error', text: 'one\ntwo' })
  expect(parseLine('nonsense')).toBeUndefined()
})
