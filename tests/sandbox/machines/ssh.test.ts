import { afterEach, describe, expect, test } from 'bun:test'
import { REMOTE_COMMAND } from '../../../lib/providers/ssh/protocol.ts'
import { LAUNCHER } from '../../../lib/sandbox/machines/launcher.ts'
import { BOOT_MS, closeRigs, createRig, DOKPLOY_START_MS, debian, generateKey, hostKey, operator, requestOf } from './rig.ts'

afterEach(closeRigs)

test('the command that the machines take is the one that the product sends', () => {
  expect(LAUNCHER).toBe(REMOTE_COMMAND)
})

describe('a booted machine', () => {
  test('runs facts for the pinned client', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS + 7_000)
    const { exitCode, values, stderr } = await rig.run('facts')
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    expect(values).toEqual({
      os: 'nixos-26.05',
      uptime_s: '27',
      clock_s: String(Math.floor(rig.nowMs() / 1000)),
      memory_mb: '3819',
      disk_free_mb: '34212',
      docker: '28.5.0',
      swarm: 'active',
      swarm_node: 'manager42',
      swarm_peers: '',
      worker: 'absent',
      cloud_init: 'done',
      dokploy: 'installed',
      dokploy_login: 'absent',
      panel_port: 'unguarded',
      ssh_client: '198.51.100.7',
      system: 'stock',
      installed_by: '',
      install_phase: 'none',
    })
  })

  test('of a system image has neither Docker nor Dokploy', async () => {
    const rig = createRig({ server: { image: debian } })
    rig.advance(BOOT_MS)
    expect((await rig.run('facts')).values).toMatchObject({
      os: 'debian-12',
      docker: 'none',
      swarm: 'inactive',
      dokploy: 'absent',
    })
  })

  test('sees the address that the connection comes from', async () => {
    const rig = createRig({ sourceOf: port => (port > 0 ? '198.51.100.99' : undefined) })
    rig.advance(BOOT_MS)
    expect((await rig.run('facts')).values.ssh_client).toBe('198.51.100.99')
  })

  test('is reached by its first IPv6 address too, and by no other', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    expect(await rig.machines.dial('2001:db8:1::1', 22)).toEqual({ host: '127.0.0.1', port: await rig.portOf(22) })
    expect(await rig.machines.dial('203.0.113.11', 22)).toBe('closed')
    expect(await rig.machines.dial('203.0.113.10', 23)).toBe('closed')
  })

  test('has one host key for two who dial a machine without user data at the same moment', async () => {
    const rig = createRig({ server: { userData: '' } })
    rig.advance(BOOT_MS)
    await Promise.all([rig.machines.dial('203.0.113.10', 22), rig.machines.dial('203.0.113.10', 22)])
    const [{ hostKey: key = '' } = {}] = rig.machines.dump() as { hostKey?: string }[]
    expect(key).toStartWith('ssh-ed25519 ')
    expect((await rig.run('facts', {}, { pinned: key })).exitCode).toBe(0)
  })
})

describe('nobody gets in', () => {
  test('before the machine has booted', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS - 1)
    expect(await rig.machines.dial('203.0.113.10', 22)).toBe('closed')
  })

  test('with another key, or as another user', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    const stranger = await generateKey()
    const asStranger = await rig.run('facts', {}, { identity: stranger.privateKey })
    expect(asStranger.exitCode).toBe(255)
    expect(asStranger.stderr).toContain('Permission denied (publickey)')
    expect((await rig.run('facts', {}, { user: 'admin' })).stderr).toContain('Permission denied (publickey)')
  })

  test('whose pin is another host key', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    const other = await generateKey()
    const result = await rig.run('facts', {}, { pinned: other.publicKey })
    expect({ exitCode: result.exitCode, stdout: result.stdout }).toEqual({ exitCode: 255, stdout: '' })
    expect(result.stderr).toContain('Host key verification failed')
  })

  test('when an impostor took the address over', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    expect((await rig.run('facts')).exitCode).toBe(0)
    await rig.machines.control.changeHostKey('prod')
    expect((await rig.run('facts')).stderr).toContain('Host key verification failed')
  })
})

describe('what is sent', () => {
  test('has to be the launcher', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    const { exitCode, stderr } = await rig.ssh({ command: ['uptime'] })
    expect({ exitCode, stderr }).toEqual({ exitCode: 127, stderr: 'sh: not simulated\n' })
  })

  test('an unknown program exits 127, the probe 0', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    expect(await rig.run('format-disk')).toMatchObject({ exitCode: 127, stderr: 'sh: not simulated\n' })
    expect((await rig.run('probe')).exitCode).toBe(0)
  })

  test('a stream that is cut short runs nothing', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    const whole = requestOf('write-dokploy-login', { EMAIL: 'admin@example.com' })
    const cut = await rig.ssh({ stdin: whole.slice(0, -2) })
    expect(cut).toMatchObject({ exitCode: 65, stderr: 'The input ended before its closing line.\n' })
    expect((await rig.run('read-dokploy-login')).exitCode).toBe(4)
  })

  test('a value that the program does not take ends it', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    expect((await rig.run('facts', { EMAIL: 'x' })).exitCode).toBe(65)
  })
})

describe('the kept login', () => {
  test('is absent, then kept field by field, whatever bytes a password has', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    expect(await rig.run('read-dokploy-login')).toMatchObject({ exitCode: 4, stdout: '' })
    const password = `ü'"$(id)\n\\ end `
    expect(await rig.run('write-dokploy-login', { EMAIL: 'admin@example.com', PASSWORD: password })).toMatchObject({
      exitCode: 0,
      stdout: 'ok=1\n',
    })
    await rig.run('write-dokploy-login', { API_KEY: 'key' })
    const { stdout } = await rig.run('read-dokploy-login')
    const read = Object.fromEntries(
      stdout
        .trim()
        .split('\n')
        .map(line => line.split(' ')),
    )
    expect(Object.keys(read)).toEqual(['EMAIL', 'PASSWORD', 'API_KEY'])
    expect(Buffer.from(read.PASSWORD ?? '', 'base64').toString()).toBe(password)
    expect((await rig.run('facts')).values.dokploy_login).toBe('present')
    expect(JSON.stringify(rig.machines.dump())).not.toContain(password)
  })

  test('cannot be written to a full disk', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    rig.machines.control.diskFull('prod')
    const { exitCode, stderr } = await rig.run('write-dokploy-login', { EMAIL: 'admin@example.com' })
    expect(exitCode).toBe(1)
    expect(stderr).toContain('No space left on device')
    expect((await rig.run('facts')).values).toMatchObject({ disk_free_mb: '0', dokploy_login: 'absent' })
    rig.machines.control.heal('prod')
    expect((await rig.run('write-dokploy-login', { EMAIL: 'admin@example.com' })).exitCode).toBe(0)
  })
})

describe('rotating the host key', () => {
  test('kills the old one for every later connection', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    const next = await generateKey()
    expect((await rig.run('rotate-host-key', { PRIVATE: next.privateKey, PUBLIC: next.publicKey })).stdout).toBe('ok=1\n')
    expect((await rig.run('facts')).stderr).toContain('Host key verification failed')
    expect((await rig.run('facts', {}, { pinned: next.publicKey })).exitCode).toBe(0)
  })

  test('refuses halves that do not belong together and changes nothing', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    const next = await generateKey()
    expect((await rig.run('rotate-host-key', { PRIVATE: next.privateKey, PUBLIC: operator.publicKey })).exitCode).toBe(65)
    expect((await rig.run('rotate-host-key', { PRIVATE: 'nonsense', PUBLIC: next.publicKey })).exitCode).toBe(65)
    expect((await rig.run('facts')).exitCode).toBe(0)
  })

  test('outlives a reboot, and not a rebuild, which boots with its user data again', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    const next = await generateKey()
    await rig.run('rotate-host-key', { PRIVATE: next.privateKey, PUBLIC: next.publicKey })
    rig.change({ runningSinceMs: rig.nowMs() })
    expect(await rig.machines.dial('203.0.113.10', 22)).toBe('closed')
    rig.advance(BOOT_MS)
    expect((await rig.run('facts', {}, { pinned: next.publicKey })).exitCode).toBe(0)
    rig.change({ runningSinceMs: rig.nowMs(), rebuiltAtMs: rig.nowMs() })
    rig.advance(BOOT_MS)
    expect((await rig.run('facts', {}, { pinned: hostKey.publicKey })).exitCode).toBe(0)
  })
})

describe('trouble with cloud-init', () => {
  test('is seen in the facts and explained by inspect', async () => {
    const rig = createRig()
    rig.machines.control.cloudInitError('prod', 'no route to the mirror')
    rig.advance(BOOT_MS)
    expect((await rig.run('facts')).values.cloud_init).toBe('error')
    const error = /^cloud_init_error (.+)$/m.exec((await rig.run('inspect')).stdout)?.[1]
    expect(Buffer.from(error ?? '', 'base64').toString()).toContain('no route to the mirror')
  })

  test('comes from user data that cannot be read, and the machine boots with a key of its own', async () => {
    const rig = createRig({ server: { userData: '#cloud-config\nssh_keys: [\n' } })
    rig.advance(BOOT_MS)
    await rig.portOf(22)
    const [{ hostKey: key = '' } = {}] = rig.machines.dump() as { hostKey?: string }[]
    expect((await rig.run('facts', {}, { pinned: key })).values.cloud_init).toBe('error')
  })

  test('late is running until it is done, and a machine that never boots answers nobody', async () => {
    const rig = createRig()
    rig.machines.control.cloudInitLate('prod', 9_000)
    rig.advance(BOOT_MS)
    expect((await rig.run('facts')).values.cloud_init).toBe('running')
    rig.advance(9_000)
    expect((await rig.run('facts')).values.cloud_init).toBe('done')
    rig.machines.control.neverBoots('prod')
    rig.advance(DOKPLOY_START_MS)
    expect(await rig.machines.dial('203.0.113.10', 22)).toBe('closed')
  })
})
