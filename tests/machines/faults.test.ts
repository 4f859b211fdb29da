/** What goes wrong with machines, done to real ones: each run ends in time, in success or in a sentence, and a rerun finishes the job. */

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Sandbox } from '../../lib/sandbox/sandbox.ts'
import { attemptsOf, oneServer, openContainers, openPlace, type Place, type Ran } from './base/estate.ts'
import { BOOT_MS, BUILD_TIMEOUT_MS, CLOSE_TIMEOUT_MS, until } from './base/world.ts'

const LANE_MS = 10 * 60_000
/** A refusal asks once and waits for nothing. */
const REFUSAL_MS = 60_000
/** Two minutes of silence, and what one question takes. */
const SILENCE_MS = 4 * 60_000

let sandbox: Sandbox
const places: Place[] = []

beforeAll(async () => {
  sandbox = await openContainers()
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  expect(sandbox?.bugs).toEqual([])
  await sandbox?.close()
  for (const place of places) place.close()
}, CLOSE_TIMEOUT_MS)

const open = (config: unknown): Place => {
  const place = openPlace(sandbox, config)
  places.push(place)
  return place
}
const containers = () => {
  const { containers: control } = sandbox.controls
  if (!control) throw new Error('bug: there are no container machines')
  return control
}
const ask = async (name: string, command: string): Promise<string> =>
  (await containers().exec(name, ['sh', '-c', command])).stdout.trim()
const inside = async (name: string, command: string): Promise<string> => {
  const ran = await containers().exec(name, ['sh', '-c', command])
  if (ran.exitCode !== 0) throw new Error(`On ${name}, "${command}" ended with ${ran.exitCode}: ${ran.stderr}`)
  return ran.stdout.trim()
}
const succeeded = ({ code, errors }: Ran) => expect({ code, errors }).toEqual({ code: 0, errors: [] })
const failed = (ran: Ran, code: number, words: string, withinMs: number) => {
  expect(ran.code).toBe(code)
  expect(ran.errors.join('\n')).toContain(words)
  expect(ran.ms).toBeLessThan(withinMs)
}
const exists = (name: string) => sandbox.controls.hetzner.serversForMachines().some(server => server.name === name)
const installing = (name: string) =>
  until(
    async () => (exists(name) ? ask(name, 'cat /var/lib/landfall/dokploy-install.stage 2>/dev/null') : ''),
    stage => stage !== '',
    LANE_MS / 2,
  )

test.concurrent(
  'a full disk, a lock of apt and a server without Docker: first a sentence, then an installation from Debian’s signed packages',
  async () => {
    const place = open(oneServer('box'))
    succeeded(await place.run('provision --yes'))
    await containers().settled()
    await until(
      () => ask('box', 'cloud-init status'),
      text => text.includes('done'),
      BOOT_MS,
    )
    await inside(
      'box',
      'echo "deb file:/var/lib/landfall-images/debian bookworm main" >/etc/apt/sources.list && echo "Acquire::Languages none;" >/etc/apt/apt.conf.d/99own && systemd-run --quiet --unit=strip --setenv=DEBIAN_FRONTEND=noninteractive dpkg -r docker.io containerd runc unattended-upgrades',
    )
    await until(
      () => ask('box', 'systemctl is-active strip; command -v dockerd'),
      text => text === 'inactive',
      3 * BOOT_MS,
    )

    await inside(
      'box',
      'mkdir /small && mount -t tmpfs -o size=500m tmpfs /small && cp -ax /var/lib/. /small/ && mount --rbind /var/lib/docker /small/docker && mount --rbind /var/lib/landfall-images /small/landfall-images && mount --rbind /small /var/lib',
    )
    failed(await place.run('setup --yes'), 1, 'an installation needs 4096 MB', LANE_MS / 2)
    await inside('box', 'umount -l /var/lib')

    await inside(
      'box',
      `systemd-run --quiet --unit=holder python3 -c "import fcntl,time
for name in ('/var/lib/dpkg/lock-frontend', '/var/lib/apt/lists/lock'):
  globals()[name] = open(name, 'w'); fcntl.lockf(globals()[name], fcntl.LOCK_EX)
time.sleep(20)"`,
    )
    succeeded(await place.run('setup --yes'))
    const log = await inside('box', 'cat /var/log/landfall/dokploy-install.log')
    expect(log).toMatch(/Docker \S+ from the distribution's signed repository/)
    expect(await inside('box', 'dpkg -s docker.io unattended-upgrades | grep -c "ok installed"')).toBe('2')
    expect(await inside('box', 'apt-mark showhold')).toContain('docker.io')

    const own = join(place.cwd, '.landfall/box/id_ed25519')
    const other = join(place.cwd, 'other')
    expect(Bun.spawnSync(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', other]).exitCode).toBe(0)
    const config = oneServer('box', { ssh: { public_keys: [readFileSync(`${own}.pub`, 'utf8').trim()] } })

    // A wrong key, and an agent that has not got the right one, on a colleague's computer.
    const colleague = open(config)
    failed(
      await colleague.run('setup --yes', { env: { LANDFALL_SSH_KEY: other } }),
      3,
      'box does not accept this SSH key',
      REFUSAL_MS,
    )
    const socket = join(place.cwd, 'agent')
    const agent = Bun.spawn(['ssh-agent', '-D', '-a', socket], { stdout: 'ignore', stderr: 'ignore' })
    try {
      await until(
        async () => Bun.spawnSync(['ssh-add', other], { env: { SSH_AUTH_SOCK: socket } }).exitCode,
        code => code === 0,
        10_000,
      )
      const ran = await colleague.run('setup --yes', { env: { SSH_AUTH_SOCK: socket } })
      failed(ran, 3, 'box does not accept this SSH key', REFUSAL_MS)
      expect(Bun.spawnSync(['ssh-add', own], { env: { SSH_AUTH_SOCK: socket } }).exitCode).toBe(0)
      succeeded(await colleague.run('setup --yes', { env: { SSH_AUTH_SOCK: socket } }))
    } finally {
      agent.kill()
      await agent.exited
    }

    // Its clock a day ahead, as far as its programs see one.
    await inside(
      'box',
      'printf \'#!/bin/sh\\nexec /bin/date -d "1 day" "$@"\\n\' >/usr/local/bin/date && chmod 755 /usr/local/bin/date',
    )
    const doctor = await place.run('doctor')
    expect(doctor.lines.find(line => line.check === 'machines')).toMatchObject({
      state: 'warn',
      detail: expect.stringContaining('clock of box'),
    })
    succeeded(await place.run('setup --yes'))
    await inside('box', 'rm /usr/local/bin/date')

    // Another host key: nobody can tell it from an impostor.
    const key = '/etc/ssh/ssh_host_ed25519_key'
    await inside('box', `cp -p ${key} /root/kept && cp -p ${key}.pub /root/kept.pub`)
    await containers().changeHostKey('box')
    // Found at the first connection of its own, as long as the session of the last run is still open; then at the login.
    failed(await place.run('setup --yes'), 3, 'does not have the host key that was pinned; nothing was sent', REFUSAL_MS)
    await ask('box', "pkill -f '^sshd: root'")
    failed(await place.run('setup --yes'), 3, 'with an SSH host key that is not the pinned one', REFUSAL_MS)
    await inside('box', `mv /root/kept ${key} && mv /root/kept.pub ${key}.pub && systemctl restart ssh`)
    succeeded(await place.run('setup --yes'))
  },
  LANE_MS,
)

test.concurrent(
  'a network that is cut for good ends in a sentence while the installation goes on; the rerun finds it done',
  async () => {
    const place = open(oneServer('lost'))
    const running = place.run('setup --yes')
    await installing('lost')
    const cutMs = performance.now()
    await containers().setCable('lost', 'pulled')
    const ran = await running
    expect(performance.now() - cutMs).toBeLessThan(SILENCE_MS)
    failed(ran, 1, 'Run the same command again', LANE_MS)
    await containers().setCable('lost', 'plugged')
    succeeded(await place.run('setup --yes'))
    expect(await attemptsOf(sandbox, 'lost')).toBe(1)
  },
  LANE_MS,
)

test.concurrent(
  'a short cut and a reboot in the middle of the installation: one run finishes it',
  async () => {
    const place = open(oneServer('rough'))
    const running = place.run('setup --yes')
    await installing('rough')
    await containers().setCable('rough', 'pulled')
    await Bun.sleep(5_000)
    await containers().setCable('rough', 'plugged')
    await inside('rough', 'systemctl reboot || true')
    succeeded(await running)
    // One begun before the reboot, unless that had ended already, and one after it. The first could not say any more that it ended.
    expect(
      Number(await inside('rough', "grep -c 'attempt .* begins' /var/log/landfall/dokploy-install.log")),
    ).toBeLessThanOrEqual(2)
    succeeded(await place.run('setup --yes'))
  },
  LANE_MS,
)

test.concurrent(
  'a cloud-init that fails is told in its own words, and the server is used',
  async () => {
    containers().cloudInitError('cranky', 'No/Such/Place')
    const place = open({
      project: 'cranky',
      hetzner: { location: 'nbg1', image: 'debian-12' },
      servers: { cranky: { type: 'cx23' } },
    })
    const ran = await place.run('setup --yes')
    succeeded(ran)
    expect(ran.text).toContain('Invalid timezone No/Such/Place')
    expect((await place.run('status')).text).toContain('Invalid timezone No/Such/Place')
  },
  LANE_MS,
)
