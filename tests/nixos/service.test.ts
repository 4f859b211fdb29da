/** The programs of the backend service, run for real against real repositories, with stand-ins for systemd, curl and what changes users. */

import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import type { ProgramName } from '../../lib/estate/programs.ts'
import { packSystemSource, ROOT } from '../../lib/image/source.ts'
import { PROGRAM_TEXTS } from '../../lib/providers/ssh/programs.ts'
import { parseFactLines } from '../../lib/steps/machine.ts'
import { cleanUp, createMachine, type Machine } from './machine.ts'

afterEach(cleanUp)

/** Units are files that hold their state; a restart of the service serves what is checked out. */
const SYSTEMCTL = `
case "$1" in
  is-active) cat "$ROOT/units/$2" 2>/dev/null || { echo inactive; exit 3; } ;;
  show) case "$*" in *ActiveState*) cut -d/ -f1 "$ROOT/units/update" 2>/dev/null || echo inactive ;; *) cut -d/ -f2 "$ROOT/units/update" 2>/dev/null || echo dead ;; esac ;;
  restart) echo active >"$ROOT/units/landfall-backend.service"; git -C "$ROOT/var/lib/backend/source" rev-parse HEAD >"$ROOT/served" 2>/dev/null || true ;;
esac
exit 0`
const SYSTEMD_RUN = `
for word in "$@"; do case $word in --property=StandardOutput=append:*) log=\${word#--property=StandardOutput=append:} ;; esac; done
while [ "$1" != timeout ]; do shift; done
if "$@" >>"$log" 2>&1; then echo active/exited >"$ROOT/units/update"; else echo failed/failed >"$ROOT/units/update"; fi
exit 0`
const STAND_INS = {
  systemctl: SYSTEMCTL,
  'systemd-run': SYSTEMD_RUN,
  setpriv: 'while [ "$1" != env ]; do shift; done; shift; exec env "$@"',
  // What is served is healthy unless its revision is among the broken.
  curl: 'revision=$(cat "$ROOT/served" 2>/dev/null || echo none); if [ "$revision" = "$(cat "$ROOT/power-fails-with" 2>/dev/null)" ]; then kill -9 $PPID; fi; ! grep -q "$revision" "$ROOT/broken"',
  journalctl: 'echo "Error: cannot find module"; echo "-- cursor: s=1"',
  'nixos-rebuild':
    'if [ -e "$ROOT/unbuildable" ]; then exit 1; fi; ln -sfn "$ROOT/system-2" "$ROOT/nix/var/nix/profiles/system"; [ ! -e "$ROOT/breaks" ] || git -C "$ROOT/var/lib/backend/source" rev-parse HEAD >>"$ROOT/broken"; [ ! -e "$ROOT/power-fails" ] || kill -9 $PPID',
  'nix-env': 'ln -sfn "$ROOT/system-1" "$ROOT/nix/var/nix/profiles/system"; : >"$ROOT/broken"',
}

const git = (directory: string, ...words: string[]): string => {
  const { stdout, stderr, exitCode } = Bun.spawnSync(['git', '-C', directory, ...words], {
    env: {
      ...process.env,
      GIT_AUTHOR_NAME: 'a',
      GIT_AUTHOR_EMAIL: 'a@example.com',
      GIT_COMMITTER_NAME: 'a',
      GIT_COMMITTER_EMAIL: 'a@example.com',
    },
  })
  if (exitCode !== 0) throw new Error(stderr.toString())
  return stdout.toString().trim()
}

interface Rig extends Machine {
  readonly remote: string
  commit(): string
  call(name: ProgramName, values?: Readonly<Record<string, string>>): Promise<{ code: number; out: string; err: string }>
  update(values?: Readonly<Record<string, string>>): Promise<Readonly<Record<string, string>> & { log: string }>
  /** What a reboot in the stage `health` of an update to `revision` leaves. */
  cutOff(revision: string, values?: Readonly<Record<string, string>>): Promise<void>
}

const openRig = async (): Promise<Rig> => {
  const machine = createMachine(STAND_INS)
  for (const path of [
    'units',
    'var/lib/landfall',
    'var/lib/backend',
    'remote',
    'nix/var/nix/profiles',
    'system-1/bin',
    'system-2/bin',
  ])
    mkdirSync(machine.path(path), { recursive: true })
  machine.put('broken', '')
  machine.put('units/sshd.service', 'active\n')
  machine.put('var/lib/landfall/installed', 'run=r-1\ncontent=aaaa\nsystem=base-digitalocean\n')
  for (const system of ['system-1', 'system-2'])
    writeFileSync(machine.path(`${system}/bin/switch-to-configuration`), '#!/bin/sh\nexit 0\n', { mode: 0o755 })
  Bun.spawnSync(['ln', '-sfn', machine.path('system-1'), machine.path('nix/var/nix/profiles/system')])
  const remote = machine.path('remote')
  git(remote, 'init', '-q', '-b', 'main')
  let count = 0
  const commit = (): string => {
    count += 1
    writeFileSync(`${remote}/file`, String(count))
    git(remote, 'add', '.')
    git(remote, 'commit', '-q', '-m', `number ${count}`)
    return git(remote, 'rev-parse', 'HEAD')
  }
  commit()
  git(machine.root, 'clone', '-q', remote, machine.path('var/lib/backend/source'))
  const call: Rig['call'] = async (name, values = {}) => {
    const child = Bun.spawn(['sh', '-c', PROGRAM_TEXTS[name].text], {
      env: {
        PATH: `${machine.path('stand-ins')}:${process.env.PATH}`,
        ROOT: machine.root,
        HOME: machine.root,
        HEALTH_TRIES: '2',
        PAUSE_S: '0',
      },
      stdin: new Blob([
        ...Object.entries(values).map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}\n`),
        '.\n',
      ]),
      stdout: 'pipe',
      stderr: 'pipe',
    })
    const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
    return { code, out, err }
  }
  const settings = `LANDFALL_REPOSITORY="${remote}"\nLANDFALL_BRANCH="main"\nLANDFALL_PORT="3000"\nLANDFALL_HEALTH="/"\n`
  const written = await call('write-service-settings', { SETTINGS: settings, VARIABLES: 'KEY="secret"\n', HASH: 'abc123' })
  expect(written).toEqual({ code: 0, out: 'ok=1\n', err: '' })
  const start = (values: Readonly<Record<string, string>>) =>
    call('start-service-update', { REVISION: '', BRANCH: 'main', PORT: '3000', HEALTH: '/', ...values })
  const watch = async (kind: string) => {
    const { out } = await call('watch-update', { KIND: kind })
    const log = out
      .split('\n')
      .flatMap(line => (line.startsWith('log ') ? [Buffer.from(line.slice(4), 'base64').toString()] : []))
    return { ...parseFactLines(out), log: log.join('\n') }
  }
  return {
    ...machine,
    remote,
    commit,
    call,
    async update(values = {}) {
      expect(await start(values)).toMatchObject({ code: 0, out: 'unit=started\n' })
      return watch('service')
    },
    async cutOff(revision, values = {}) {
      machine.put('power-fails-with', revision)
      await start(values)
      rmSync(machine.path('power-fails-with'))
      rmSync(machine.path('units/update'))
    },
  }
}

const facts = async (rig: Rig) => parseFactLines((await rig.call('service-facts')).out)

describe('settings', () => {
  test('are for root alone, and their hash tells what is there', async () => {
    const rig = await openRig()
    expect(['backend.env', 'backend-variables.env'].map(name => rig.mode(`var/lib/landfall/${name}`))).toEqual(['600', '600'])
    expect(rig.read('var/lib/landfall/backend.env')).not.toContain('secret')
    expect(await facts(rig)).toMatchObject({ settings: 'abc123', unit: 'active', health: 'healthy', content: 'aaaa' })
  })

  test('are refused by a machine that is not ours', async () => {
    const rig = await openRig()
    rig.put('var/lib/landfall/installed', '')
    expect(await rig.call('write-service-settings', { SETTINGS: '', VARIABLES: '', HASH: 'abc' })).toMatchObject({ code: 3 })
  })
})

describe('an update of the code', () => {
  test('puts the head of the branch in place and remembers what was before', async () => {
    const rig = await openRig()
    const before = (await facts(rig)).revision
    const head = rig.commit()
    expect((await facts(rig)).remote).toBe(head)
    expect(await rig.update()).toMatchObject({ unit: 'done', result: 'updated' })
    expect(await facts(rig)).toMatchObject({ revision: head, previous: before, health: 'healthy' })
    expect(rig.read('served').trim()).toBe(head)
    expect(await rig.update()).toMatchObject({ unit: 'done', result: 'unchanged' })
  })

  test('goes back to the revision before when the new one is not healthy, and says what it wrote', async () => {
    const rig = await openRig()
    const before = (await facts(rig)).revision
    const broken = rig.commit()
    rig.put('broken', broken)
    const update = await rig.update()
    expect(update).toMatchObject({ unit: 'failed', result: 'returned' })
    expect(update.log).toContain('Error: cannot find module')
    expect(await facts(rig)).toMatchObject({ revision: before, health: 'healthy' })
    expect(rig.read('served').trim()).toBe(before ?? '')
  })

  test('says so when the revision before is not healthy any more either', async () => {
    const rig = await openRig()
    const { revision = '' } = await facts(rig)
    rig.put('broken', `${rig.commit()}\n${revision}\n`)
    expect(await rig.update()).toMatchObject({ unit: 'failed', result: 'unhealthy' })
  })

  test('takes a revision by its id, also an older one, and none that is not there', async () => {
    const rig = await openRig()
    const { revision: first = '' } = await facts(rig)
    rig.commit()
    await rig.update()
    expect(await rig.update({ REVISION: first.slice(0, 10) })).toMatchObject({ result: 'updated' })
    expect((await facts(rig)).revision).toBe(first)
    expect(await rig.update({ REVISION: 'deadbeef' })).toMatchObject({ unit: 'failed', result: 'failed' })
    expect((await facts(rig)).revision).toBe(first)
  })

  test('comes from the repository that the settings name now, which is the clone’s own when its code is in force', async () => {
    const rig = await openRig()
    const { origin = '', revision: before = '' } = await facts(rig)
    expect(origin).toBe(rig.remote)
    const moved = rig.path('moved')
    git(rig.root, 'clone', '-q', rig.remote, moved)
    writeFileSync(`${moved}/file`, 'moved')
    git(moved, 'commit', '-q', '-a', '-m', 'moved')
    const head = git(moved, 'rev-parse', 'HEAD')
    const settings = rig.read('var/lib/landfall/backend.env').replace(rig.remote, moved)
    await rig.call('write-service-settings', { SETTINGS: settings, VARIABLES: '', HASH: 'abc124' })
    rig.put('broken', head)
    expect(await rig.update()).toMatchObject({ result: 'returned' })
    expect(await facts(rig)).toMatchObject({ revision: before, origin: rig.remote })
    rig.put('broken', '')
    expect(await rig.update()).toMatchObject({ result: 'updated' })
    expect(await facts(rig)).toMatchObject({ revision: head, origin: moved })
    expect(await rig.update({ REVISION: before, BACK: 'yes' })).toMatchObject({ result: 'updated' })
    expect(await facts(rig)).toMatchObject({ revision: before, origin: moved })
  })

  test('touches nothing when files were changed on the server', async () => {
    const rig = await openRig()
    rig.commit()
    rig.put('var/lib/backend/source/file', 'by hand')
    const update = await rig.update()
    expect(update).toMatchObject({ unit: 'failed', result: 'failed' })
    expect(update.log).toContain('were changed on the server')
    expect(rig.read('var/lib/backend/source/file')).toBe('by hand')
  })

  test('joins one that runs', async () => {
    const rig = await openRig()
    rig.put('units/update', 'active/running\n')
    expect(await rig.call('start-service-update', { BRANCH: 'main', PORT: '3000', HEALTH: '/' })).toMatchObject({
      out: 'unit=running\n',
    })
  })

  test('takes nothing for a branch or a revision that is none', async () => {
    const rig = await openRig()
    for (const wrong of [
      { REVISION: '$(id)' },
      { BRANCH: '--upload-pack=x' },
      { PORT: '80 81' },
      { HEALTH: 'x' },
      { BACK: 'forth' },
    ])
      expect((await rig.call('start-service-update', { BRANCH: 'main', PORT: '3000', HEALTH: '/', ...wrong })).code).toBe(65)
  })
})

describe('an update of the code that a reboot cuts off', () => {
  test('still knows the way back from a revision that is not healthy', async () => {
    const rig = await openRig()
    const { revision: before = '' } = await facts(rig)
    const broken = rig.commit()
    rig.put('broken', broken)
    await rig.cutOff(broken)
    expect(await facts(rig)).toMatchObject({ revision: broken, health: 'unhealthy', back: before })
    const update = await rig.update()
    expect(update).toMatchObject({ unit: 'failed', result: 'returned' })
    expect(update.log).toContain(`from ${before.slice(0, 12)} to ${broken.slice(0, 12)}`)
    expect(await facts(rig)).toMatchObject({ revision: before, health: 'healthy' })
  })

  test('counts as in force when what it left is healthy', async () => {
    const rig = await openRig()
    const { revision: before = '' } = await facts(rig)
    const head = rig.commit()
    await rig.cutOff(head)
    const broken = rig.commit()
    rig.put('broken', broken)
    expect(await rig.update()).toMatchObject({ result: 'returned' })
    expect(await facts(rig)).toMatchObject({ revision: head, previous: before, back: before })
  })

  test('keeps what it knows when the next one cannot begin', async () => {
    const rig = await openRig()
    const { revision: before = '' } = await facts(rig)
    const broken = rig.commit()
    rig.put('broken', broken)
    await rig.cutOff(broken)
    expect(await rig.update({ BRANCH: 'gone' })).toMatchObject({ result: 'failed' })
    expect((await facts(rig)).back).toBe(before)
  })
})

describe('a rollback', () => {
  test('leads to one place however often it is asked for, until another revision is in force', async () => {
    const rig = await openRig()
    const { revision: first = '' } = await facts(rig)
    const second = rig.commit()
    await rig.update()
    expect((await facts(rig)).back).toBe(first)
    expect(await rig.update({ REVISION: first, BACK: 'yes' })).toMatchObject({ result: 'updated' })
    expect(await facts(rig)).toMatchObject({ revision: first, previous: second, back: first })
    rig.put('broken', second)
    expect(await rig.update()).toMatchObject({ result: 'returned' })
    expect((await facts(rig)).back).toBe(first)
    rig.put('broken', '')
    expect(await rig.update({ REVISION: second })).toMatchObject({ result: 'updated' })
    expect(await facts(rig)).toMatchObject({ revision: second, back: first })
  })

  test('that a reboot cuts off goes on to where it was going', async () => {
    const rig = await openRig()
    const { revision: first = '' } = await facts(rig)
    const second = rig.commit()
    await rig.update()
    await rig.cutOff(first, { REVISION: first, BACK: 'yes' })
    expect((await facts(rig)).back).toBe(first)
    expect(await rig.update({ REVISION: first, BACK: 'yes' })).toMatchObject({ unit: 'done' })
    expect(await facts(rig)).toMatchObject({ revision: first, previous: second, back: first })
  })

  test('to what is not healthy any more leaves what it was going to be known', async () => {
    const rig = await openRig()
    const { revision: first = '' } = await facts(rig)
    const second = rig.commit()
    await rig.update()
    rig.put('broken', first)
    expect(await rig.update({ REVISION: first, BACK: 'yes' })).toMatchObject({ result: 'returned' })
    expect(await facts(rig)).toMatchObject({ revision: second, back: first })
    expect(existsSync(rig.path('var/lib/landfall/update-service/rollback'))).toBe(false)
  })

  test('needs no repository that can be reached', async () => {
    const rig = await openRig()
    const { revision: first = '' } = await facts(rig)
    rig.commit()
    await rig.update()
    rmSync(rig.remote, { recursive: true })
    expect(await rig.update({ REVISION: first, BACK: 'yes' })).toMatchObject({ result: 'updated' })
    expect((await facts(rig)).revision).toBe(first)
  })
})

const updateSystem = async (rig: Rig, content = 'bbbb') => {
  const values = { ARCHIVE: await packSystemSource(ROOT), SYSTEM: 'backend-digitalocean', CONTENT: content }
  expect(await rig.call('start-system-update', values)).toMatchObject({ code: 0, out: 'unit=started\n' })
  return parseFactLines((await rig.call('watch-update', { KIND: 'system' })).out)
}

describe('an update of the system', () => {
  test('is built from the flake that was sent, and remembered', async () => {
    const rig = await openRig()
    expect(await updateSystem(rig)).toMatchObject({ unit: 'done', result: 'updated' })
    expect(await facts(rig)).toMatchObject({ content: 'bbbb', system: 'backend-digitalocean' })
    expect(rig.read('var/lib/landfall/installed')).toBe('run=r-1\ncontent=bbbb\nsystem=backend-digitalocean\n')
    expect(rig.calls()).toContain(
      `nixos-rebuild switch --flake path:${rig.root}/var/lib/landfall/update-system/source#backend-digitalocean`,
    )
    expect(existsSync(rig.path('var/lib/landfall/update-system/source/nixos/modules/backend.nix'))).toBe(true)
  })

  test('goes back when the service is not healthy with it', async () => {
    const rig = await openRig()
    rig.put('breaks', '')
    expect(await updateSystem(rig)).toMatchObject({ unit: 'failed', result: 'returned' })
    expect(await facts(rig)).toMatchObject({ content: 'aaaa', health: 'healthy' })
  })

  test('that cannot be built changes nothing', async () => {
    const rig = await openRig()
    rig.put('unbuildable', '')
    expect(await updateSystem(rig)).toMatchObject({ unit: 'failed', result: 'failed' })
    expect((await facts(rig)).content).toBe('aaaa')
  })
})

describe('an update of the system that a reboot cuts off', () => {
  const cutOff = async (): Promise<Rig> => {
    const rig = await openRig()
    rig.put('breaks', '')
    rig.put('power-fails', '')
    await updateSystem(rig)
    rmSync(rig.path('power-fails'))
    rmSync(rig.path('units/update'))
    expect(await facts(rig)).toMatchObject({ content: 'aaaa', health: 'unhealthy' })
    return rig
  }

  test('goes back to the system before when what it left is broken', async () => {
    const rig = await cutOff()
    expect(await updateSystem(rig)).toMatchObject({ unit: 'failed', result: 'returned' })
    expect(realpathSync(rig.path('nix/var/nix/profiles/system'))).toBe(realpathSync(rig.path('system-1')))
    expect(await facts(rig)).toMatchObject({ content: 'aaaa', health: 'healthy' })
  })

  test('goes back also when the next system cannot be built', async () => {
    const rig = await cutOff()
    rig.put('unbuildable', '')
    expect(await updateSystem(rig, 'cccc')).toMatchObject({ unit: 'failed', result: 'returned' })
    expect(await facts(rig)).toMatchObject({ content: 'aaaa', health: 'healthy' })
  })

  test('is over when the next one is in force', async () => {
    const rig = await cutOff()
    rmSync(rig.path('breaks'))
    rig.put('broken', '')
    expect(await updateSystem(rig, 'cccc')).toMatchObject({ unit: 'done', result: 'updated' })
    expect(await updateSystem(rig, 'cccc')).toMatchObject({ unit: 'done', result: 'unchanged' })
  })
})

test('logs come with a cursor to go on from', async () => {
  const rig = await openRig()
  const { out } = await rig.call('service-logs', { LINES: '10', CURSOR: '' })
  expect(out.split('\n')[1]).toBe('cursor=s=1')
  expect(Buffer.from(out.split('\n')[0]?.slice(4) ?? '', 'base64').toString()).toBe('Error: cannot find module')
})
