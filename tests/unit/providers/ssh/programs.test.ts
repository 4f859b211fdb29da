/** The shell programs on a pretended server. */

import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { PROGRAMS } from '../../../../lib/estate/programs.ts'
import { INSTALLER_TEXT, PROGRAM_TEXTS } from '../../../../lib/providers/ssh/programs.ts'
import { Secret } from '../../../../lib/secret.ts'
import { createStage, moved, type Stage } from './stage.ts'

let stage: Stage

beforeEach(() => {
  stage = createStage()
  stage.command('docker', 'exit 1')
  stage.command('curl', 'exit 7')
  stage.command('systemctl', 'case "$*" in *ActiveState*) echo inactive ;; *SubState*) echo dead ;; *) exit 3 ;; esac')
  stage.command('systemd-run', 'exit 0')
})
afterEach(() => stage.remove())

const values = (output: string): Record<string, string> =>
  Object.fromEntries(
    output
      .split('\n')
      .flatMap(line => (line.includes('=') ? [[line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]] : [])),
  )

const unitIs = (active: string, sub: string) =>
  stage.command('systemctl', `case "$*" in *ActiveState*) echo ${active} ;; *SubState*) echo ${sub} ;; *) exit 3 ;; esac`)

test('every program of the list ships, names itself, and has its own deadline', () => {
  expect(Object.keys(PROGRAM_TEXTS).sort()).toEqual(Object.keys(PROGRAMS).sort())
  for (const [name, program] of Object.entries(PROGRAM_TEXTS)) {
    expect(program.text.startsWith(`# landfall:${name}\n`)).toBe(true)
    expect(program.timeoutMs).toBeGreaterThan(5_000)
  }
})

describe('facts', () => {
  test('of an empty machine are complete', () => {
    stage.write('etc/os-release', 'PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="12"\n')
    stage.write('proc/meminfo', 'MemTotal:        4015432 kB\n')
    const { exitCode, stdout } = stage.run(PROGRAM_TEXTS.facts)
    const facts = values(stdout)
    expect(exitCode).toBe(0)
    expect(facts).toMatchObject({
      os: 'debian-12',
      memory_mb: '3921',
      docker: 'none',
      swarm: 'inactive',
      cloud_init: 'none',
      dokploy: 'absent',
      dokploy_login: 'absent',
    })
    for (const number of ['uptime_s', 'clock_s', 'disk_free_mb']) expect(facts[number]).toMatch(/^\d+$/)
    expect(Math.abs(Number(facts.clock_s) - Date.now() / 1000)).toBeLessThan(10)
  })

  test('tell Docker, the swarm, the login file and cloud-init apart', () => {
    stage.command('docker', 'case "$1" in info) echo "28.2.2 active" ;; *) exit 1 ;; esac')
    stage.write('etc/landfall/dokploy-login', 'EMAIL YQ==\n')
    stage.write('run/cloud-init/result.json', '{\n "v1": {\n  "datasource": "x",\n  "errors": []\n }\n}')
    expect(values(stage.run(PROGRAM_TEXTS.facts).stdout)).toMatchObject({
      docker: '28.2.2',
      swarm: 'active',
      dokploy_login: 'present',
      cloud_init: 'done',
    })
    stage.write('run/cloud-init/result.json', '{"v1": {"errors": ["package_update failed"]}}')
    const failed = values(stage.run(PROGRAM_TEXTS.facts).stdout)
    expect(failed.cloud_init).toBe('error')
    expect(Buffer.from(failed.cloud_init_error ?? '', 'base64').toString()).toBe('"package_update failed"')
  })

  test('say installing, failed or installed by the unit, by what a reboot left, and by the service', () => {
    const dokploy = () => values(stage.run(PROGRAM_TEXTS.facts).stdout).dokploy
    unitIs('active', 'running')
    expect(dokploy()).toBe('installing')
    unitIs('failed', 'failed')
    expect(dokploy()).toBe('failed')
    unitIs('inactive', 'dead')
    stage.write('var/lib/landfall/dokploy-install.stage', 'docker\n')
    expect(dokploy()).toBe('failed')
    stage.write('var/lib/landfall/dokploy-install.stage', 'done\n')
    expect(dokploy()).toBe('installed')
    stage.write('var/lib/landfall/dokploy-install.stage', '')
    stage.command('docker', 'case "$*" in "service inspect dokploy_dokploy") exit 0 ;; *) exit 1 ;; esac')
    expect(dokploy()).toBe('installed')
  })

  test('hold no more lines than their names, whatever the release file says', () => {
    stage.write('etc/os-release', 'ID="debian$(id)\u001b[31m"\nVERSION_ID="1 2;x"\n')
    expect(values(stage.run(PROGRAM_TEXTS.facts).stdout).os).toBe('debianid31m-12x')
  })
})

describe('the login', () => {
  const write = PROGRAM_TEXTS['write-dokploy-login']
  const read = PROGRAM_TEXTS['read-dokploy-login']

  test('is absent with exit code 4', () => {
    expect(stage.run(read)).toEqual({ exitCode: 4, stdout: '', stderr: '' })
  })

  test('is kept for root alone, read back as it was, and completed without losing what was there', () => {
    const password = new Secret('password', `p'w"$(id)\n\n`)
    expect(stage.run(write, { EMAIL: 'a@example.com', PASSWORD: password })).toEqual({
      exitCode: 0,
      stdout: 'ok=1\n',
      stderr: '',
    })
    const line = (name: string, value: string) => `${name} ${Buffer.from(value).toString('base64')}\n`
    expect(stage.run(read).stdout).toBe(line('EMAIL', 'a@example.com') + line('PASSWORD', password.reveal()))
    stage.run(write, { API_KEY: new Secret('key', 'k-1') })
    stage.run(write, { API_KEY: new Secret('key', 'k-2') })
    expect(stage.run(read).stdout).toBe(
      line('EMAIL', 'a@example.com') + line('PASSWORD', password.reveal()) + line('API_KEY', 'k-2'),
    )
    expect(statSync(join(stage.root, 'etc/landfall')).mode & 0o777).toBe(0o700)
    expect(statSync(join(stage.root, 'etc/landfall/dokploy-login')).mode & 0o777).toBe(0o600)
    expect(stage.list('etc/landfall')).toEqual(['dokploy-login'])
  })
})

describe('starting the installation', () => {
  const start = PROGRAM_TEXTS['start-dokploy-install']
  const input = { VERSION: '0.30.2', ADVERTISE_ADDR: '203.0.113.7', POOL: '10.201.0.0/16' }

  test('writes the installer for root alone and starts it as the one named unit', () => {
    expect(stage.run(start, input)).toEqual({ exitCode: 0, stdout: 'unit=started\n', stderr: '' })
    expect(stage.read('usr/local/lib/landfall/install-dokploy')).toBe(moved(INSTALLER_TEXT, stage.root))
    expect(statSync(join(stage.root, 'usr/local/lib/landfall/install-dokploy')).mode & 0o777).toBe(0o700)
    expect(stage.read('etc/landfall/dokploy-install.conf')).toBe(
      'VERSION=0.30.2\nADVERTISE_ADDR=203.0.113.7\nPOOL=10.201.0.0/16\nDOKPLOY_DIGEST=\nPOSTGRES_DIGEST=\nTRAEFIK_DIGEST=\n',
    )
    expect(stage.calls('systemd-run').length).toBe(1)
    expect(stage.calls('systemd-run')[0]).toContain('--unit=landfall-dokploy-install --remain-after-exit')
  })

  test('attaches to one that runs', () => {
    unitIs('active', 'running')
    expect(stage.run(start, input).stdout).toBe('unit=running\n')
    expect(stage.calls('systemd-run')).toEqual([])
    expect(stage.has('usr/local/lib/landfall/install-dokploy')).toBe(false)
  })

  test('does nothing when it is done and healthy, and repairs when it is done and not', () => {
    unitIs('active', 'exited')
    stage.write('var/lib/landfall/dokploy-install.stage', 'done\n')
    stage.command('curl', `echo '{"result":{"data":{"json":{"status":"ok"}}}}'`)
    expect(stage.run(start, input).stdout).toBe('unit=done\n')
    expect(stage.calls('systemd-run')).toEqual([])
    stage.command('curl', 'exit 7')
    expect(stage.run(start, input).stdout).toBe('unit=started\n')
  })

  test('takes the container’s own health where port 3000 was closed', () => {
    stage.write('var/lib/landfall/dokploy-install.stage', 'done\n')
    stage.command('docker', 'case "$*" in *health=healthy*) echo 0123abcd ;; *) exit 1 ;; esac')
    expect(stage.run(start, input).stdout).toBe('unit=done\n')
  })

  test('starts a failed one again after giving its name free', () => {
    unitIs('failed', 'failed')
    expect(stage.run(start, input).stdout).toBe('unit=started\n')
    expect(stage.calls('systemctl')).toContain('reset-failed landfall-dokploy-install.service')
  })

  test('refuses what is no version, address, pool or digest', () => {
    for (const wrong of [
      { VERSION: '' },
      { VERSION: '1;id' },
      { ADVERTISE_ADDR: 'a b' },
      { POOL: '10.0.0.0/8\nX=1' },
      { DOKPLOY_DIGEST: 'sha256:ZZ' },
    ]) {
      const { exitCode, stdout } = stage.run(start, { ...input, ...wrong })
      expect({ wrong, exitCode, stdout }).toEqual({ wrong, exitCode: 65, stdout: '' })
    }
    expect(stage.run(start, {}).exitCode).toBe(65)
    expect(stage.calls('systemd-run')).toEqual([])
  })

  test('says so when systemd does not start it', () => {
    stage.command('systemd-run', 'exit 1')
    const { exitCode, stderr } = stage.run(start, input)
    expect([exitCode, stderr]).toEqual([1, 'systemd did not start the installation.\n'])
  })
})

describe('watching the installation', () => {
  const watch = PROGRAM_TEXTS['watch-dokploy-install']

  test('says unit and stage, and the log only of a failure', () => {
    expect(stage.run(watch).stdout).toBe('unit=absent\nstage=none\n')
    stage.write('var/lib/landfall/dokploy-install.stage', 'postgres\n')
    stage.write('var/log/landfall/dokploy-install.log', 'one\n\u001b[31mtwo\n')
    expect(stage.run(watch).stdout).toBe('unit=absent\nstage=postgres\n')
    unitIs('active', 'running')
    expect(stage.run(watch).stdout).toBe('unit=running\nstage=postgres\n')
    unitIs('failed', 'failed')
    const log = ['one', '\u001b[31mtwo'].map(line => `log ${Buffer.from(line).toString('base64')}\n`).join('')
    expect(stage.run(watch).stdout).toBe(`unit=failed\nstage=postgres\n${log}`)
  })

  test('calls a unit that ended without coming to the last stage failed', () => {
    stage.write('var/lib/landfall/dokploy-install.stage', 'postgres\n')
    unitIs('active', 'exited')
    expect(stage.run(watch).stdout).toStartWith('unit=failed\n')
  })
})

test('inspect lists services and plain containers, and what went wrong at first boot', () => {
  stage.command(
    'docker',
    `case "$1" in
  service) printf 'service dokploy 1/1 dokploy/dokploy:v0.30.2\\nservice dokploy-postgres 0/1 postgres:16\\n' ;;
  ps) printf 'dokploy|dokploy.1.x running dokploy/dokploy:v0.30.2\\n|dokploy-traefik running traefik:v3.6.7\\n|old exited nginx:1\\n' ;;
esac`,
  )
  const result = '{"v1": {"errors": ["no network"]}}'
  stage.write('run/cloud-init/result.json', result)
  expect(stage.run(PROGRAM_TEXTS.inspect)).toEqual({
    exitCode: 0,
    stdout: [
      'service dokploy 1/1 dokploy/dokploy:v0.30.2',
      'service dokploy-postgres 0/1 postgres:16',
      'service dokploy-traefik 1/1 traefik:v3.6.7',
      'service old 0/1 nginx:1',
      `cloud_init_error ${Buffer.from(result).toString('base64')}`,
      '',
    ].join('\n'),
    stderr: '',
  })
})
