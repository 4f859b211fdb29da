/** The programs of a first boot besides the metadata's, run for real with a Docker that only remembers. */

import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, rmSync } from 'node:fs'
import { cleanUp, createMachine, type Machine } from './machine.ts'

afterEach(cleanUp)

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
    for (const [state, expected] of [
      ['active', 0],
      ['locked', 1],
      ['pending', 1],
    ] as const) {
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
    expect(await machine.run('dokploy', { ...environment, VERSION: '0.31.0', DOKPLOY_IMAGE: 'dokploy/dokploy:v0.31.0' })).toEqual(
      {
        code: 0,
        said: '',
      },
    )
    expect(machine.calls()).not.toMatch(/ create | pull | update | rm /)
  })

  test('says what it waits for', async () => {
    const machine = withSecrets()
    expect(await machine.run('dokploy', { ...environment, SWARM: 'inactive' })).toEqual({
      code: 1,
      said: 'There is no swarm yet.\n',
    })
    expect(await machine.run('dokploy', { ...environment, NO_PULL: 'yes' })).toEqual({
      code: 1,
      said: 'The image postgres:16 could not be pulled.\n',
    })
    rmSync(machine.path('var/lib/landfall/secrets/dokploy_auth_secret'))
    rmSync(machine.path('made/secret-dokploy_auth_secret'))
    expect((await machine.run('dokploy', environment)).said).toEndWith(
      '/var/lib/landfall/secrets/dokploy_auth_secret is missing.\n',
    )
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
