/** The backend service on a droplet that NixOS is installed over: set up, updated with a way back, scaled, destroyed; and every way to fail. */

import { afterAll, describe, expect, test } from 'bun:test'
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { INSTALL_PHASES } from '../../../lib/providers/ports/nixos-anywhere.ts'
import { closePlaces, FAST, openPlace, type Place, ROOT } from '../scripts/run.ts'

afterAll(closePlaces)

const REPOSITORY = 'https://github.com/example/backend.git'
const EXAMPLE: Readonly<Record<string, unknown>> = JSON.parse(readFileSync(join(ROOT, 'examples/nixos-anywhere.json'), 'utf8'))

const openService = (change: Readonly<Record<string, unknown>> = {}): Promise<Place> =>
  // Ten lists of keys a minute are few for a test that lives a whole life in seconds.
  openPlace(
    { ...EXAMPLE, ...change },
    { seed: { zones: ['example.com'], goldenImage: false }, settings: { ...FAST, rateLimits: false } },
  )

const LONG = { timeoutMs: 60_000 }
const run = async (place: Place, command: string, env: Readonly<Record<string, string>> = {}) => {
  const ended = await place.run(command, { ...LONG, env })
  return { code: ended.code, errors: JSON.stringify(ended.errors()), ended }
}

const writesIn = (ended: Awaited<ReturnType<Place['run']>>): number =>
  Object.values(ended.summary().requests).reduce((sum, each) => sum + each.writes, 0)

/** The second run of a command finds nothing to do. */
const settles = async (place: Place, command: string): Promise<void> => {
  const { code, errors, ended } = await run(place, command)
  expect({ command, code, errors, writes: writesIn(ended) }).toEqual({ command, code: 0, errors: '[]', writes: 0 })
}

const droplets = (place: Place) => place.sandbox.controls.digitalocean.dump().droplets

/** A stand-in that does what `phase` needs and then goes on as the sandbox's. */
const interposed = (place: Place, program: string): Readonly<Record<string, string>> => {
  const path = join(place.cwd, 'nixos-anywhere')
  writeFileSync(
    path,
    `#!/bin/sh\nfor word in "$@"; do phase=$word; done\necho "$phase" >>'${place.cwd}/phases'\n${program}\nexec '${place.sandbox.environment.LANDFALL_NIXOS_ANYWHERE}' "$@"\n`,
  )
  chmodSync(path, 0o755)
  return { LANDFALL_NIXOS_ANYWHERE: path }
}
const phasesOf = (place: Place): string[] => readFileSync(join(place.cwd, 'phases'), 'utf8').trim().split('\n')

describe('the backend service of the example', () => {
  test('lives from an empty account to an empty account; every second run writes nothing', async () => {
    const place = await openService()
    const planned = await run(place, 'service --plan --json')
    expect({ code: planned.code, droplets: droplets(place) }).toEqual({ code: 2, droplets: [] })

    const first = await run(place, 'service --yes --json')
    expect({ code: first.code, errors: first.errors }).toEqual({ code: 0, errors: '[]' })
    expect(first.ended.summary().outputs).toMatchObject({
      service_url: 'https://backend.example.com',
      backend_ip: '198.19.128.1',
    })
    const world = JSON.stringify(place.sandbox.world().machines)
    expect(world).toContain('"system":"nixos"')
    const [wall] = place.sandbox.controls.digitalocean.dump().firewalls
    expect(wall?.inbound.map(rule => rule.ports)).toEqual(['22', '80', '443', '4444', '0'])
    await settles(place, 'service --yes --json')
    await settles(place, 'provision --yes --json')
    await settles(place, 'setup --yes --json')

    await settles(place, 'service update-system --yes --json')

    const good = place.sandbox.controls.machines.pushRevision(REPOSITORY, true)
    const updated = await run(place, 'service update --yes --json')
    expect({ code: updated.code, revision: updated.ended.summary().outputs.revision }).toEqual({ code: 0, revision: good })
    await settles(place, 'service update --yes --json')

    const back = await run(place, 'service rollback --yes --json')
    expect({ code: back.code, errors: back.errors }).toEqual({ code: 0, errors: '[]' })
    expect(back.ended.summary().outputs.revision).not.toBe(good)
    await settles(place, 'service rollback --yes --json')
    const forth = await run(place, 'service update --yes --json')
    expect(forth.ended.summary().outputs.revision).toBe(good)

    place.sandbox.controls.machines.pushRevision(REPOSITORY, false)
    const broken = await run(place, 'service update --yes --json')
    expect(broken.code).toBe(1)
    expect(broken.errors).toContain('was not healthy, so what ran before runs again')
    const after = await run(place, 'service status --json')
    expect(after.ended.stdout).toContain(good)
    expect(after.ended.stdout).toContain('"health":"healthy"')

    const logs = await run(place, 'service logs --lines 5 --json')
    expect(logs.ended.stdout).toContain(good.slice(0, 12))

    place.writeConfig({ ...EXAMPLE, digitalocean: { region: 'fra1', size: 's-2vcpu-4gb' } })
    const scaled = await run(place, 'service scale --yes --json')
    expect({ code: scaled.code, errors: scaled.errors }).toEqual({ code: 0, errors: '[]' })
    expect(droplets(place).map(({ size, status }) => ({ size, status }))).toEqual([{ size: 's-2vcpu-4gb', status: 'active' }])
    await settles(place, 'service scale --yes --json')
    await settles(place, 'service --yes --json')

    const gone = await run(place, 'service destroy --yes --confirm solo --json')
    expect({ code: gone.code, errors: gone.errors }).toEqual({ code: 0, errors: '[]' })
    expect(place.sandbox.controls.digitalocean.dump()).toEqual({ droplets: [], firewalls: [], keys: [], vpcs: [], tags: [] })
    await settles(place, 'service destroy --yes --confirm solo --json')
  }, 240_000)

  test('gets its variables without their values appearing anywhere', async () => {
    const place = await openService({ service: { repository: REPOSITORY, env_file: 'backend.env' } })
    writeFileSync(join(place.cwd, 'backend.env'), 'BUILDER_KEY=hunter2-hunter2\n')
    const first = await run(place, 'service --yes --json')
    expect({ code: first.code, errors: first.errors }).toEqual({ code: 0, errors: '[]' })
    expect(first.ended.output).not.toContain('hunter2')
    writeFileSync(join(place.cwd, 'backend.env'), 'BUILDER_KEY=other-hunter2\n')
    const changed = await run(place, 'service --yes --json')
    expect({ code: changed.code, applied: changed.ended.summary().applied }).toEqual({ code: 0, applied: 1 })
    await settles(place, 'service --yes --json')

    rmSync(join(place.cwd, 'backend.env'))
    const good = place.sandbox.controls.machines.pushRevision(REPOSITORY, true)
    const updated = await run(place, 'service update --yes --json')
    expect({ code: updated.code, revision: updated.ended.summary().outputs.revision }).toEqual({ code: 0, revision: good })
    const status = await place.run('service status', LONG)
    expect(status.code).toBe(0)
    expect(status.stdout).toContain('settings: not compared with config.json: service.env_file: backend.env is not there')
    await settles(place, 'setup --yes --json')
    const unwritten = await run(place, 'service --yes --json')
    expect(unwritten.code).toBe(64)
    expect(unwritten.errors).toContain('service.env_file: backend.env is not there.')
  }, 120_000)

  test('moves to the repository that the config names now, and stays where it was when that is not healthy', async () => {
    const place = await openService()
    const { machines } = place.sandbox.controls
    const first = await run(place, 'service --yes --json')
    expect({ code: first.code, errors: first.errors }).toEqual({ code: 0, errors: '[]' })
    const repository = 'https://github.com/example/moved.git'
    const broken = machines.pushRevision(repository, false)
    place.writeConfig({ ...EXAMPLE, service: { repository } })
    const failed = await run(place, 'service --yes --json')
    expect(failed.code).toBe(1)
    expect(failed.errors).toContain('was not healthy, so what ran before runs again')
    expect((await run(place, 'service --plan --json')).code).toBe(2)
    const good = machines.pushRevision(repository, true)
    const moved = await run(place, 'service --yes --json')
    expect({ code: moved.code, errors: moved.errors }).toEqual({ code: 0, errors: '[]' })
    const status = await run(place, 'service status --json')
    expect(status.ended.stdout).toContain(`"revision":"${good}"`)
    expect(status.ended.stdout).not.toContain(broken)
    await settles(place, 'service --yes --json')
  }, 120_000)

  test('without a service in the config says where to describe it', async () => {
    const { service: _, ...without } = EXAMPLE
    const place = await openPlace(without)
    expect((await run(place, 'service --yes --json')).errors).toContain('describes no service')
  })
})

describe('at Hetzner', () => {
  test('the service is set up and its server changed in size, too', async () => {
    const config = (type: string) => ({
      project: 'solo',
      hetzner: { location: 'nbg1' },
      dns: { domain: 'example.com' },
      servers: { backend: { os: 'nixos', type } },
      service: { repository: REPOSITORY },
    })
    const place = await openPlace(config('cx23'), { seed: { zones: ['example.com'], goldenImage: false }, settings: FAST })
    const first = await run(place, 'service --yes --json')
    expect({ code: first.code, errors: first.errors }).toEqual({ code: 0, errors: '[]' })
    place.writeConfig(config('cx33'))
    const scaled = await run(place, 'service scale --yes --json')
    expect({ code: scaled.code, errors: scaled.errors }).toEqual({ code: 0, errors: '[]' })
    const [server] = place.sandbox.controls.hetzner.dump().servers
    expect({ type: server?.type, status: server?.status }).toEqual({ type: 'cx33', status: 'running' })
    await settles(place, 'service scale --yes --json')
  }, 120_000)
})

describe('an installation', () => {
  for (const phase of INSTALL_PHASES)
    test(`that fails in ${phase} is gone on with from there by the same command`, async () => {
      const place = await openService()
      const env = interposed(
        place,
        `if [ "$phase" = ${phase} ] && [ ! -e '${place.cwd}/failed' ]; then touch '${place.cwd}/failed'; echo 'disk on fire' >&2; exit 7; fi`,
      )
      const failed = await run(place, 'provision --yes --json', env)
      expect(failed.code).toBe(1)
      expect(failed.errors).toContain(
        `The phase ${phase} of installing NixOS on backend (198.19.128.1) failed with exit code 7: disk on fire`,
      )
      expect(failed.errors).toContain('Go on from this phase: bun scripts/provision.ts apply')
      const again = await run(place, 'provision --yes --json', env)
      expect({ code: again.code, errors: again.errors }).toEqual({ code: 0, errors: '[]' })
      const before = INSTALL_PHASES.slice(0, INSTALL_PHASES.indexOf(phase) + 1)
      expect(phasesOf(place)).toEqual([...before, ...INSTALL_PHASES.slice(INSTALL_PHASES.indexOf(phase))])
      await settles(place, 'provision --yes --json')
    }, 120_000)

  test('that is interrupted ends at once and says how to go on', async () => {
    const place = await openService()
    const env = interposed(
      place,
      `if [ "$phase" = disko ] && [ ! -e '${place.cwd}/hung' ]; then touch '${place.cwd}/hung'; exec sleep 300; fi`,
    )
    const running = place.start('provision --yes --json', { ...LONG, env })
    for (let tries = 0; tries < 600 && !(await Bun.file(join(place.cwd, 'hung')).exists()); tries += 1) await Bun.sleep(50)
    running.kill('SIGINT')
    const ended = await running.ended
    expect(ended.code).toBe(130)
    expect((await run(place, 'provision --yes --json', env)).code).toBe(0)
    expect(phasesOf(place)).toEqual(['kexec', 'disko', 'disko', 'install', 'reboot'])
  }, 120_000)

  test('is not begun on a machine with too little memory, nor bought for one, unless that is wanted', async () => {
    const place = await openService({ digitalocean: { region: 'fra1', size: 's-1vcpu-1gb' } })
    const refused = await run(place, 'provision --yes --json')
    expect(refused.code).toBe(3)
    expect(refused.ended.output).toContain('the installer of NixOS needs 1.5 GB')
    expect(droplets(place)).toEqual([])
    const wanted = await run(place, 'provision --yes --low-memory --json', interposed(place, `echo "$*" >>'${place.cwd}/words'`))
    expect({ code: wanted.code, errors: wanted.errors }).toEqual({ code: 0, errors: '[]' })
    expect(readFileSync(join(place.cwd, 'words'), 'utf8')).toContain('--no-disko-deps')
  }, 120_000)

  test('of what is installed already needs its name twice: as the one to erase, and as a confirmation', async () => {
    const place = await openService()
    expect((await run(place, 'provision --yes --json')).code).toBe(0)
    const env = interposed(place, ':')
    const unsaid = await run(place, 'provision --yes --reinstall backend --json', env)
    expect(unsaid.code).toBe(3)
    expect(unsaid.errors).toContain('erase everything on backend')
    const again = await run(place, 'provision --yes --reinstall backend --confirm solo --json', env)
    expect({ code: again.code, errors: again.errors }).toEqual({ code: 0, errors: '[]' })
    expect(phasesOf(place)).toEqual([...INSTALL_PHASES])
    await settles(place, 'provision --yes --json')
  }, 120_000)

  test('over a server that was not made for it destroys what is there, and says so', async () => {
    const { service: _, ...plain } = EXAMPLE
    const place = await openService()
    place.writeConfig({ ...plain, servers: { backend: { image: 'ubuntu-24-04-x64' } } })
    expect((await run(place, 'provision --yes --json')).code).toBe(0)
    place.writeConfig(plain)
    const unsaid = await run(place, 'provision --yes --json')
    expect(unsaid.code).toBe(3)
    expect(unsaid.errors).toContain('erase everything on backend')
    expect((await run(place, 'provision --yes --confirm solo --json')).code).toBe(0)
    await settles(place, 'provision --yes --json')
  }, 120_000)
})
