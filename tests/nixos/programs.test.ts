/** The programs of a first boot, run for real: against a metadata service on loopback, on a root directory of their own. */

import { afterEach, describe, expect, test } from 'bun:test'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { renderUserData } from '../../lib/estate/cloud-init.ts'
import { ROOT } from './evaluate.ts'

const PROGRAMS = join(ROOT, 'nixos', 'programs')
const KEY_A = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBjYTHGYkNK7DZ4Gn0NGN1sjFUVapus4GXybEYg/ylcA'
const KEY_B = 'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDWg9Q1example+key/AAAA=='

const cleanUps: (() => void)[] = []
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0).reverse()) cleanUp()
})

interface Machine {
  readonly root: string
  path(name: string): string
  read(name: string): string
  mode(name: string): string
  put(name: string, text: string): void
  /** What the stand-in commands were called with, one line each. */
  calls(): string
  run(program: string, environment: Readonly<Record<string, string>>): Promise<{ code: number; said: string }>
}

/** A root directory, and commands in PATH that write down their arguments. `commands` are shell texts by name. */
const createMachine = (commands: Readonly<Record<string, string>> = {}): Machine => {
  const root = mkdtempSync(join(tmpdir(), 'landfall-machine-'))
  cleanUps.push(() => rmSync(root, { recursive: true, force: true }))
  const path = (name: string) => join(root, name)
  const put = (name: string, text: string) => {
    mkdirSync(join(path(name), '..'), { recursive: true })
    writeFileSync(path(name), text)
  }
  put('proc/sys/kernel/hostname', '(none)\n')
  for (const [name, text] of Object.entries({ systemctl: 'exit 0', networkctl: 'exit 0', ...commands })) {
    put(`stand-ins/${name}`, `#!/bin/sh\nprintf '%s %s\\n' ${name} "$*" >>'${path('calls')}'\n${text}\n`)
    chmodSync(path(`stand-ins/${name}`), 0o755)
  }
  return {
    root,
    path,
    put,
    read: name => readFileSync(path(name), 'utf8'),
    mode: name => (statSync(path(name)).mode & 0o777).toString(8),
    calls: () => (existsSync(path('calls')) ? readFileSync(path('calls'), 'utf8') : ''),
    async run(program, environment) {
      const child = Bun.spawn(['bash', '-e', join(PROGRAMS, `${program}.sh`)], {
        env: { PATH: `${path('stand-ins')}:${process.env.PATH}`, ROOT: root, HOME: root, PAUSE_S: '0', TRIES: '1', ...environment },
        stdout: 'pipe',
        stderr: 'pipe',
      })
      const [said, code] = await Promise.all([child.stderr.text(), child.exited])
      return { code, said }
    },
  }
}

const serve = (answers: Readonly<Record<string, string | number>>): string => {
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch(request) {
      const answer = answers[new URL(request.url).pathname]
      if (answer === undefined) return new Response('not found', { status: 404 })
      return typeof answer === 'number' ? new Response('', { status: answer }) : new Response(answer)
    },
  })
  cleanUps.push(() => server.stop(true))
  return `http://127.0.0.1:${server.port}`
}

const newHostKey = async (): Promise<{ privateKey: string; publicKey: string }> => {
  const directory = mkdtempSync(join(tmpdir(), 'landfall-key-'))
  cleanUps.push(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'key')
  const child = Bun.spawn(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', file])
  expect(await child.exited).toBe(0)
  return { privateKey: readFileSync(file, 'utf8'), publicKey: readFileSync(`${file}.pub`, 'utf8').trim() }
}

const userData = ({ privateKey, publicKey }: { privateKey: string; publicKey: string }): string =>
  renderUserData({ hostKeyPrivate: privateKey, hostKeyPublic: publicKey, hostname: 'prod', stock: false })

const document = (instance = '42', keys = `- ${KEY_A} somebody@laptop\n- '${KEY_B}\n  somebody else'`): string => `availability-zone: nbg1-dc3
hostname: prod
instance-id: ${instance}
local-ipv4: ''
network-config:
  config:
  - mac_address: 96:00:00:08:19:da
    name: eth0
    subnets:
    - dns_nameservers:
      - 185.12.64.1
      ipv4: true
      type: dhcp
    type: physical
  - name: eth0:0
    subnets:
    - address: 2001:db8:beef:1::1/64
      gateway: fe80::1
      ipv6: true
      type: static
    type: physical
  version: 1
public-ipv4: 192.0.2.10
public-keys:
${keys}
region: eu-central
vendor_data: "ssh-rsa AAAAvendor"
`

const PRIVATE = `- ip: 10.0.1.4
  alias_ips: []
  mac_address: 86:00:00:2a:7d:e0
  network: 10.0.0.0/16
`

const HOST_KEY = 'etc/ssh/ssh_host_ed25519_key'
const NETWORK = 'etc/systemd/network/10-landfall-public.network'

describe('metadata on Hetzner', () => {
  const answersOf = (key: { privateKey: string; publicKey: string }, text = document()) => ({
    '/hetzner/v1/metadata': text,
    '/hetzner/v1/userdata': userData(key),
    '/hetzner/v1/metadata/private-networks': PRIVATE,
  })
  const run = (machine: Machine, answers: Readonly<Record<string, string | number>>) =>
    machine.run('metadata', { PROVIDER: 'hetzner', METADATA_URL: serve(answers) })

  test('a new machine takes its name, its login keys, its pinned host key and its addresses', async () => {
    const [machine, key] = [createMachine(), await newHostKey()]
    machine.put('etc/ssh/ssh_host_rsa_key', 'of somebody else')
    expect(await run(machine, answersOf(key))).toEqual({ code: 0, said: '' })
    expect(machine.read('etc/hostname')).toBe('prod\n')
    expect(machine.read('proc/sys/kernel/hostname')).toBe('prod\n')
    expect(machine.read('root/.ssh/authorized_keys')).toBe(`${KEY_A}\n${KEY_B}\n`)
    expect(machine.mode('root/.ssh/authorized_keys')).toBe('600')
    expect(machine.mode('root/.ssh')).toBe('700')
    expect(machine.read(HOST_KEY).trim()).toBe(key.privateKey.trim())
    expect(machine.mode(HOST_KEY)).toBe('600')
    expect(machine.read(`${HOST_KEY}.pub`).trim()).toBe(key.publicKey)
    expect(existsSync(machine.path('etc/ssh/ssh_host_rsa_key'))).toBe(false)
    expect(machine.read('run/landfall/private-ipv4')).toBe('10.0.1.4\n')
    expect(machine.read(NETWORK)).toContain('MACAddress=96:00:00:08:19:da')
    expect(machine.read(NETWORK)).toContain('Address=2001:db8:beef:1::1/64')
    expect(machine.mode(NETWORK)).toBe('644')
    expect(machine.calls()).toContain('networkctl reload')
  })

  test('a reboot changes nothing: a host key that was replaced and a login key that was taken away stay so', async () => {
    const [machine, key] = [createMachine(), await newHostKey()]
    const answers = answersOf(key)
    await run(machine, answers)
    machine.put(HOST_KEY, 'replaced')
    machine.put('root/.ssh/authorized_keys', `${KEY_A}\n`)
    machine.put('calls', '')
    expect(await run(machine, answers)).toEqual({ code: 0, said: '' })
    expect(machine.read(HOST_KEY)).toBe('replaced')
    expect(machine.read('root/.ssh/authorized_keys')).toBe(`${KEY_A}\n`)
    expect(machine.calls()).toBe('')
  })

  test('a machine made from a snapshot of another one gets an identity of its own', async () => {
    const [machine, key] = [createMachine(), await newHostKey()]
    await run(machine, answersOf(key))
    machine.put('var/lib/landfall/host-key-seeded', '')
    const next = await newHostKey()
    await run(machine, answersOf(next, document('43')))
    expect(machine.read(`${HOST_KEY}.pub`).trim()).toBe(next.publicKey)

    await run(machine, { '/hetzner/v1/metadata': document('44') })
    expect(existsSync(machine.path(HOST_KEY))).toBe(false)
  })

  test('a host key that the installation brought is kept, not replaced by the one of the user data', async () => {
    const [machine, key] = [createMachine(), await newHostKey()]
    machine.put(HOST_KEY, 'brought by the installation')
    machine.put('var/lib/landfall/host-key-seeded', '')
    expect((await run(machine, answersOf(key))).code).toBe(0)
    expect(machine.read(HOST_KEY)).toBe('brought by the installation')
    expect(machine.read('etc/hostname')).toBe('prod\n')
  })

  test('a service that fails leaves everything as it was, so that the next try begins anew', async () => {
    const [machine, key] = [createMachine(), await newHostKey()]
    const { code, said } = await run(machine, { ...answersOf(key), '/hetzner/v1/userdata': 403 })
    expect(code).toBe(1)
    expect(said).toContain('answers /hetzner/v1/userdata with 403')
    for (const name of [HOST_KEY, 'root/.ssh/authorized_keys', 'etc/hostname', 'var/lib/landfall/metadata/instance'])
      expect(existsSync(machine.path(name))).toBe(false)
    expect((await run(machine, answersOf(key))).code).toBe(0)
    expect(machine.read(`${HOST_KEY}.pub`).trim()).toBe(key.publicKey)
    // sshd came up with a key of its own in between.
    expect(machine.calls()).toContain('systemctl reload --no-block sshd.service')
  })

  test('a broken host key, a missing instance id and a hostile name are refused before anything is recorded', async () => {
    const key = await newHostKey()
    const answers = answersOf(key)
    const broken = answers['/hetzner/v1/userdata'].replace(/[A-Za-z0-9]{20}\n/, 'broken\n')
    for (const wrong of [
      { ...answers, '/hetzner/v1/userdata': broken },
      { ...answers, '/hetzner/v1/metadata': document('') },
      { ...answers, '/hetzner/v1/metadata': document().replace('hostname: prod', 'hostname: a;reboot') },
    ]) {
      const machine = createMachine()
      expect((await run(machine, wrong)).code).toBe(1)
      expect(existsSync(machine.path('var/lib/landfall/metadata/instance'))).toBe(false)
      expect(existsSync(machine.path(HOST_KEY))).toBe(false)
    }
  })

  test('options in front of a login key are left behind, and no key at all leaves the ones that are there', async () => {
    const machine = createMachine()
    machine.put('root/.ssh/authorized_keys', 'kept\n')
    const { said } = await run(machine, { '/hetzner/v1/metadata': document('42', '[]') })
    expect(said).toContain('names no login key')
    expect(machine.read('root/.ssh/authorized_keys')).toBe('kept\n')
    await run(machine, { '/hetzner/v1/metadata': document('43', `- command="reboot" ${KEY_A}`) })
    expect(machine.read('root/.ssh/authorized_keys')).toBe(`${KEY_A}\n`)
  })
})

test('metadata on DigitalOcean gives the same identity, and leaves the network to cloud-init', async () => {
  const [machine, key] = [createMachine(), await newHostKey()]
  const METADATA_URL = serve({
    '/metadata/v1/id': '2756294',
    '/metadata/v1/hostname': 'backend',
    '/metadata/v1/public-keys': `${KEY_A} one\n${KEY_B} two\n`,
    '/metadata/v1/user-data': userData(key),
    '/metadata/v1/interfaces/private/0/ipv4/address': '10.120.0.2',
  })
  expect(await machine.run('metadata', { PROVIDER: 'digitalocean', METADATA_URL })).toEqual({ code: 0, said: '' })
  expect(machine.read('etc/hostname')).toBe('backend\n')
  expect(machine.read('root/.ssh/authorized_keys')).toBe(`${KEY_A}\n${KEY_B}\n`)
  expect(machine.read(`${HOST_KEY}.pub`).trim()).toBe(key.publicKey)
  expect(machine.read('run/landfall/private-ipv4')).toBe('10.120.0.2\n')
  expect(existsSync(machine.path(NETWORK))).toBe(false)
})

describe('secrets', () => {
  const SECRETS = 'dokploy_auth_secret dokploy_encryption_key'
  const file = (name: string) => `var/lib/landfall/secrets/${name}`

  test('are made once, each its own, for root alone', async () => {
    const machine = createMachine()
    expect((await machine.run('secrets', { SECRETS })).code).toBe(0)
    const first = machine.read(file('dokploy_auth_secret'))
    expect(first).toMatch(/^[0-9a-f]{64}$/)
    expect(machine.read(file('dokploy_encryption_key'))).not.toBe(first)
    expect(machine.mode(file('dokploy_auth_secret'))).toBe('600')
    await machine.run('secrets', { SECRETS })
    expect(machine.read(file('dokploy_auth_secret'))).toBe(first)
  })

  test('are never made anew beside data that needs the old ones', async () => {
    const machine = createMachine()
    machine.put('var/lib/docker/volumes/dokploy-postgres/_data/PG_VERSION', '16')
    const { code, said } = await machine.run('secrets', { SECRETS })
    expect(code).toBe(1)
    expect(said).toContain('Put it back from a backup')
    expect(existsSync(machine.path(file('dokploy_auth_secret')))).toBe(false)
  })
})

describe('swarm', () => {
  const POOL = '172.29.0.0/16'
  const docker = (state: string) => `case "$1" in info) echo ${state} ;; esac`
  const ip = (...lines: readonly string[]) => lines.map(line => `echo '${line}'`).join('\n')
  const PUBLIC = '2: eth0    inet 192.0.2.10/32 scope global dynamic eth0'
  const OWN = '3: enp7s0    inet 10.0.1.4/32 scope global dynamic enp7s0'
  const BRIDGE = '4: docker0    inet 172.17.0.1/16 scope global docker0'

  test('is advertised on the private address', async () => {
    const machine = createMachine({ docker: docker('inactive'), ip: ip(BRIDGE, PUBLIC, OWN) })
    machine.put('run/landfall/private-ipv4', '10.0.1.4\n')
    expect((await machine.run('swarm', { POOL })).code).toBe(0)
    expect(machine.calls()).toContain(
      'docker swarm init --advertise-addr 10.0.1.4 --default-addr-pool 172.29.0.0/16 --default-addr-pool-mask-length 24\n',
    )
  })

  test('is advertised on the public address where there is no private network', async () => {
    // A droplet's anchor address looks private and is none.
    const machine = createMachine({ docker: docker('inactive'), ip: ip(BRIDGE, OWN.replace('10.0.1.4', '10.17.0.5'), PUBLIC) })
    expect((await machine.run('swarm', { POOL })).code).toBe(0)
    expect(machine.calls()).toContain('--advertise-addr 192.0.2.10 ')
  })

  test('waits for a private address that the interface does not have yet', async () => {
    const machine = createMachine({ docker: docker('inactive'), ip: ip(PUBLIC) })
    machine.put('run/landfall/private-ipv4', '10.0.1.4\n')
    const { code, said } = await machine.run('swarm', { POOL })
    expect(code).toBe(1)
    expect(said).toContain('The private address 10.0.1.4 is on no interface')
    expect(machine.calls()).not.toContain('swarm init')
  })

  test('is left alone when there is one, in whatever state', async () => {
    for (const [state, expected] of [['active', 0], ['locked', 1], ['pending', 1]] as const) {
      const machine = createMachine({ docker: docker(state), ip: ip(PUBLIC) })
      expect((await machine.run('swarm', { POOL })).code).toBe(expected)
      expect(machine.calls()).not.toContain('docker swarm')
    }
  })
})

/** A Docker that remembers what was made, as files below its root. */
const DOCKER = `
made=$ROOT/made
mkdir -p "$made"
remember() { for last; do :; done; [ "$1" != -q ] || shift; }
case "$1 $2" in
  'info --format') case "$3" in *NodeAddr*) echo 10.0.1.4 ;; *) echo "\${SWARM:-active}" ;; esac ;;
  'secret inspect' | 'network inspect' | 'service inspect' | 'image inspect' | 'container inspect') [ -e "$made/$1-$(echo "$3" | tr / _)" ] ;;
  'secret create') touch "$made/secret-$3" ;;
  'network create') touch "$made/network-dokploy-network" ;;
  'service create') while [ "$1" != --name ]; do shift; done; touch "$made/service-$2" ;;
  'service ls') for each in "$made"/service-*; do echo "\${each#"$made"/service-} 1/1"; done ;;
  'pull -q') [ -z "\${NO_PULL-}" ] && touch "$made/image-$(echo "$3" | tr / _)" ;;
  'ps -q') [ -e "$made/service-dokploy" ] && echo 1234 ;;
esac`

describe('Dokploy', () => {
  const environment = { ARCHIVES: '', VERSION: '0.30.2', DOKPLOY_IMAGE: 'dokploy/dokploy:v0.30.2', POSTGRES_IMAGE: 'postgres:16' }
  const withSecrets = (): Machine => {
    const machine = createMachine({ docker: DOCKER, curl: 'exit 7' })
    for (const name of ['postgres_password', 'auth_secret', 'encryption_key'])
      machine.put(`var/lib/landfall/secrets/dokploy_${name}`, 'a'.repeat(64))
    return machine
  }

  test('starts once with secrets from files, the panel on a port of the host, and is found at the next start', async () => {
    const machine = withSecrets()
    expect(await machine.run('dokploy', environment)).toEqual({ code: 0, said: '' })
    const calls = machine.calls()
    expect(calls).toContain('--publish published=3000,target=3000,mode=host')
    expect(calls).toContain('--env ENCRYPTION_KEY_FILE=/run/secrets/encryption_key')
    expect(calls).toContain('--env ADVERTISE_ADDR=10.0.1.4 --env RELEASE_TAG=v0.30.2 dokploy/dokploy:v0.30.2')
    expect(calls).not.toContain('a'.repeat(64))
    machine.put('calls', '')
    expect(await machine.run('dokploy', { ...environment, VERSION: '0.31.0', DOKPLOY_IMAGE: 'dokploy/dokploy:v0.31.0' })).toEqual({
      code: 0,
      said: '',
    })
    expect(machine.calls()).not.toMatch(/ create | pull | update | rm /)
  })

  test('says what it waits for', async () => {
    const machine = withSecrets()
    expect(await machine.run('dokploy', { ...environment, SWARM: 'inactive' })).toEqual({ code: 1, said: 'There is no swarm yet.\n' })
    expect(await machine.run('dokploy', { ...environment, NO_PULL: 'yes' })).toEqual({
      code: 1,
      said: 'The image postgres:16 could not be pulled.\n',
    })
    rmSync(machine.path('var/lib/landfall/secrets/dokploy_auth_secret'))
    rmSync(machine.path('made/secret-dokploy_auth_secret'))
    expect((await machine.run('dokploy', environment)).said).toEndWith('/var/lib/landfall/secrets/dokploy_auth_secret is missing.\n')
  })

  test('has Traefik in front of it as soon as its settings are written, and not before', async () => {
    const machine = createMachine({ docker: DOCKER })
    const TRAEFIK_IMAGE = 'traefik:v3.6.7'
    expect((await machine.run('traefik', { TRAEFIK_IMAGE })).code).toBe(1)
    expect(machine.calls()).toBe('')
    machine.put('etc/dokploy/traefik/traefik.yml', 'entryPoints: {}\n')
    expect((await machine.run('traefik', { TRAEFIK_IMAGE })).code).toBe(0)
    expect(machine.calls()).toMatch(/docker run -d --name dokploy-traefik .* -p 443:443\/udp traefik:v3\.6\.7\n$/)
  })
})

describe('the backend', () => {
  const git = (directory: string, ...words: readonly string[]) => {
    const done = Bun.spawnSync(['git', '-C', directory, '-c', 'user.name=a', '-c', 'user.email=a@example.com', ...words])
    expect(done.exitCode).toBe(0)
  }

  test('is cloned once; what is there is left to the action that updates it', async () => {
    const machine = createMachine()
    machine.put('upstream/devenv.nix', '{ }\n')
    git(machine.path('upstream'), 'init', '-q', '-b', 'main')
    git(machine.path('upstream'), 'add', '.')
    git(machine.path('upstream'), 'commit', '-q', '-m', 'first')
    machine.put('source.new/left', 'of a clone that was cut short')
    const environment = { LANDFALL_REPOSITORY: machine.path('upstream') }
    expect((await machine.run('backend', environment)).code).toBe(0)
    expect(machine.read('source/devenv.nix')).toBe('{ }\n')
    machine.put('source/devenv.nix', '{ changed = true; }\n')
    expect((await machine.run('backend', environment)).code).toBe(0)
    expect(machine.read('source/devenv.nix')).toBe('{ changed = true; }\n')
  })

  test('names the setting that is missing', async () => {
    const { code, said } = await createMachine().run('backend', {})
    expect(code).toBe(1)
    expect(said).toContain('LANDFALL_REPOSITORY is not set')
  })
})
