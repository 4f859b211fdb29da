/** What the machines are configured to be, read from the evaluated options rather than from the text that sets them. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DEFAULT_DOKPLOY_VERSION } from '../../lib/estate/derive.ts'
import { CAN_EVALUATE, createFlake, type Flake, MACHINES, type Machine, ROOT, WHY_NOT } from './evaluate.ts'

const KEYS = [
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9mBfSYMxvPXQF9tTh2FQ4JkP8fTn3cJ1E9rJ6vB7xk ops@example.com',
  'sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t ops@example.com',
]

type Options = Readonly<Record<string, unknown>>

const isOptions = (value: unknown): value is Options => typeof value === 'object' && value !== null && !Array.isArray(value)
const isList = (value: unknown): value is readonly unknown[] => Array.isArray(value)

/** The value at a path of keys, each of which may hold dots. */
const at = (value: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>((inner, key) => (isOptions(inner) ? inner[key] : undefined), value)

const list = (value: unknown): readonly unknown[] => {
  if (!isList(value)) throw new Error(`not a list: ${JSON.stringify(value)}`)
  return value
}

const textOf = (value: unknown): string => {
  if (typeof value !== 'string') throw new Error(`not a text: ${JSON.stringify(value)}`)
  return value
}

describe.skipIf(!CAN_EVALUATE)(`evaluated machines (${WHY_NOT})`, () => {
  const machines = new Map<Machine, Options>()
  const unknownOptions = new Map<Machine, unknown>()
  let flake: Flake

  beforeAll(async () => {
    flake = createFlake()
    for (const name of MACHINES) {
      unknownOptions.set(name, await flake.read(`nixosConfigurations.${name}.unknownOptions`))
      const definitions = await flake.read(`nixosConfigurations.${name}.definitions`)
      if (!isOptions(definitions)) throw new Error(`${name} has no definitions`)
      machines.set(name, definitions)
    }
  }, 60_000)
  afterAll(() => flake.remove())

  const option = (machine: Machine, name: string): unknown => machines.get(machine)?.[name]
  const script = (machine: Machine, unit: string): string => textOf(option(machine, `systemd.services.${unit}.script`))

  test('the flake has exactly the machines that are looked at here', async () => {
    const text = readFileSync(join(ROOT, 'flake.nix'), 'utf8')
    const names = [...text.matchAll(/^ {8}([a-z-]+) = machine "/gm)].map(match => match[1])
    expect(names.sort()).toEqual([...MACHINES])
  })

  test('every machine takes the operator’s own keys from a file, for when the metadata service fails', async () => {
    const file = join(flake.directory, 'nixos', 'operator-keys')
    writeFileSync(file, `# fall-back\n\n${KEYS.join('\n')}\n`)
    try {
      for (const name of ['golden', 'backend-digitalocean'] as const) {
        const definitions = await flake.read(`nixosConfigurations.${name}.definitions`)
        expect(at(definitions, 'users.users.root.openssh.authorizedKeys.keys')).toEqual(KEYS)
      }
    } finally {
      rmSync(file)
    }
  })

  test('the development shell brings what the scripts call and no Bun, on every system, the unfree one by its name alone', async () => {
    for (const system of ['x86_64-linux', 'aarch64-linux', 'x86_64-darwin', 'aarch64-darwin'])
      expect(await flake.read(`devShells.${system}.default`)).toEqual({
        system,
        packages: ['packer', 'nixos-anywhere', 'hcloud'],
      })
  })

  for (const name of MACHINES)
    describe(name, () => {
      test('sets only options that exist, each to a value of its type', () => {
        expect(unknownOptions.get(name)).toEqual([])
        expect(Object.keys(machines.get(name) ?? {}).length).toBeGreaterThan(50)
      })

      test('can be entered with a key alone', () => {
        expect(option(name, 'services.openssh.enable')).toBe(true)
        expect(option(name, 'services.openssh.settings.PasswordAuthentication')).toBe(false)
        expect(option(name, 'services.openssh.settings.KbdInteractiveAuthentication')).toBe(false)
        expect(option(name, 'services.openssh.settings.PermitRootLogin')).toBe('prohibit-password')
        expect(option(name, 'users.users.root.hashedPassword')).toBe('!')
        expect(option(name, 'services.openssh.authorizedKeysInHomedir')).toBe(true)
      })

      test('serves one host key, of the type that is pinned, and takes a new one by a reload', () => {
        expect(option(name, 'services.openssh.hostKeys')).toEqual([{ path: '/etc/ssh/ssh_host_ed25519_key', type: 'ed25519' }])
        expect(at(option(name, 'systemd.services.sshd.serviceConfig'), 'ExecReload')).toMatch(/\/bin\/kill -HUP \$MAINPID$/)
      })

      test('has its identity before sshd answers or makes a key of its own', () => {
        expect(option(name, 'systemd.services.landfall-metadata.before')).toEqual(
          expect.arrayContaining(['sshd.service', 'sshd-keygen.service']),
        )
        expect(option(name, 'systemd.services.landfall-metadata.wantedBy')).toEqual(['multi-user.target'])
        expect(option(name, 'networking.hostName')).toBe('')
      })

      test('opens 22, 80 and 443, and never the panel', () => {
        const ports = list(option(name, 'networking.firewall.allowedTCPPorts'))
        expect(ports).toEqual(expect.arrayContaining([22, 80, 443]))
        expect(ports).not.toContain(3000)
        expect(option(name, 'networking.firewall.enable')).toBe(true)
        expect(option(name, 'networking.nftables.enable')).toBe(false)
        for (const key of Object.keys(machines.get(name) ?? {}))
          expect(key).not.toMatch(/^networking\.firewall\.(interfaces|allowedTCPPortRanges|trustedInterfaces)/)
      })

      test('holds what Docker publishes to the same ports, for both families', () => {
        const commands = textOf(option(name, 'networking.firewall.extraCommands')).split('\n')
        for (const family of ['iptables', 'ip6tables']) {
          const restored = commands.find(line => line.endsWith(` | ${family}-restore -w --noflush`)) ?? ''
          const rules = [...restored.matchAll(/'(-A landfall-docker [^']*)'/g)].map(([, rule]) => rule ?? '')
          expect(restored).toMatch(/^printf '%s\\n' '\*filter' ':landfall-docker - \[0:0\]' .* 'COMMIT' \|/)
          expect(rules[0]).toBe('-A landfall-docker -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN')
          expect(rules.at(-1)).toBe('-A landfall-docker -m conntrack --ctdir ORIGINAL -j DROP')
          const open = rules.flatMap(rule => /-p tcp .*--ctorigdstport (\d+) /.exec(rule)?.[1] ?? []).map(Number)
          expect([22, ...open]).toEqual(list(option(name, 'networking.firewall.allowedTCPPorts')).map(Number))
          for (const outside of ['en+', 'eth+']) {
            const way = `DOCKER-USER -i ${outside} -j landfall-docker`
            expect(commands).toContain(`${family} -w -C ${way} 2>/dev/null || ${family} -w -I ${way}`)
          }
        }
      })

      test('has its root last, plain ext4 and growing', () => {
        const partitions = at(option(name, 'disko.devices'), 'disk', 'main', 'content', 'partitions')
        if (!isOptions(partitions)) throw new Error('no partitions')
        const byPriority = Object.entries(partitions).sort((a, b) => Number(at(a[1], 'priority')) - Number(at(b[1], 'priority')))
        const [last, root] = byPriority.at(-1) ?? []
        expect(last).toBe('root')
        expect(at(root, 'size')).toBe('100%')
        expect(at(root, 'content')).toEqual({ type: 'filesystem', format: 'ext4', mountpoint: '/' })
        expect(byPriority.map(([, partition]) => at(partition, 'type'))).toEqual(['EF02', 'EF00', undefined])
        expect(option(name, 'boot.growPartition')).toBe(true)
        expect(option(name, 'fileSystems./.autoResize')).toBe(true)
        // disko mounts it; a second device would contradict it.
        expect(option(name, 'fileSystems./.device')).toBeUndefined()
      })

      test('runs a Docker that a swarm can use, with bounded logs and addresses of its own', () => {
        const settings = option(name, 'virtualisation.docker.daemon.settings')
        expect(at(settings, 'live-restore')).toBe(false)
        expect(at(settings, 'log-opts')).toEqual({ 'max-size': '10m', 'max-file': '3' })
        expect(at(settings, 'default-address-pools')).toEqual([{ base: '172.20.0.0/14', size: 24 }])
        expect(option(name, 'virtualisation.docker.logDriver')).toBe('json-file')
      })

      test('was made with one release and says so for ever', () => {
        expect(option(name, 'system.stateVersion')).toBe('26.05')
      })

      test('carries no secret', () => {
        const text = JSON.stringify(machines.get(name))
        expect(text).not.toMatch(/PRIVATE KEY-----\\n[A-Za-z0-9+/]{20}/)
        expect(text).not.toMatch(/\b[0-9a-f]{64}\b/)
        expect(text).not.toMatch(/SWMTKN-|ghp_|hcloud_token|\$(?:y|6|2[aby])\$/i)
        expect(text).not.toMatch(/"(?:encrypt|SecretID|initial_management)"/)
        expect(option(name, 'users.users.root.openssh.authorizedKeys.keys')).toEqual([])
      })
    })

  for (const name of ['golden', 'golden-digitalocean'] as const)
    describe(name, () => {
      test('makes its swarm at first boot, in one unit and nowhere else', () => {
        const holders = Object.entries(machines.get(name) ?? {})
          .filter(([, value]) => JSON.stringify(value).includes('docker swarm'))
          .map(([key]) => key)
        expect(holders).toEqual(['systemd.services.landfall-swarm.script'])
        expect(script(name, 'landfall-swarm')).not.toContain('swarm leave')
        expect(option(name, 'systemd.services.landfall-swarm.after')).toEqual(
          expect.arrayContaining(['docker.service', 'landfall-metadata.service', 'network-online.target']),
        )
        expect(option(name, 'system.activationScripts')).toBeUndefined()
      })

      test('makes its secrets on the machine, before Dokploy wants them', () => {
        expect(at(option(name, 'systemd.services.landfall-secrets.environment'), 'SECRETS')).toBe(
          'dokploy_postgres_password dokploy_auth_secret dokploy_encryption_key',
        )
        expect(option(name, 'systemd.services.dokploy-stack.after')).toEqual(
          expect.arrayContaining(['landfall-secrets.service', 'landfall-swarm.service']),
        )
      })

      test('tries again what failed, since nothing that waits for it was cancelled', () => {
        for (const unit of ['landfall-metadata', 'landfall-swarm', 'dokploy-stack', 'dokploy-traefik']) {
          expect(at(option(name, `systemd.services.${unit}.serviceConfig`), 'Restart')).toBe('on-failure')
          expect(option(name, `systemd.services.${unit}.requires`)).toBeUndefined()
        }
      })

      test('brings the Dokploy that an estate asks for by default, and the images of a stock installation', () => {
        const environment = option(name, 'systemd.services.dokploy-stack.environment')
        expect(at(environment, 'DOKPLOY_IMAGE')).toBe(`dokploy/dokploy:v${DEFAULT_DOKPLOY_VERSION}`)
        const installer = readFileSync(join(ROOT, 'lib/providers/ssh/programs/install-dokploy.sh'), 'utf8')
        const stock = (variable: string) => new RegExp(`\\b${variable}=([a-z]\\S*:\\S+)`).exec(installer)?.[1]
        expect(at(environment, 'POSTGRES_IMAGE')).toBe(stock('POSTGRES_IMAGE'))
        expect(at(option(name, 'systemd.services.dokploy-traefik.environment'), 'TRAEFIK_IMAGE')).toBe(stock('TRAEFIK_IMAGE'))
      })

      test('stops without taking the platform down', () => {
        for (const unit of ['dokploy-stack', 'dokploy-traefik']) {
          expect(at(option(name, `systemd.services.${unit}.serviceConfig`), 'ExecStop')).toBeUndefined()
          expect(option(name, `systemd.services.${unit}.preStop`)).toBeUndefined()
          expect(script(name, unit)).not.toMatch(/docker (?:stack|service) rm|docker rm/)
        }
      })
    })

  describe('providers', () => {
    test('Hetzner: addresses by DHCP on every interface of its own, no cloud-init', () => {
      expect(option('golden', 'systemd.network.networks.30-landfall.matchConfig')).toEqual({ Name: 'en* eth*' })
      expect(at(option('golden', 'systemd.network.networks.30-landfall.networkConfig'), 'DHCP')).toBe('ipv4')
      expect(option('golden', 'services.cloud-init.enable')).toBeUndefined()
      expect(at(option('golden', 'disko.devices'), 'disk', 'main', 'device')).toBe('/dev/sda')
    })

    test('DigitalOcean: addresses from cloud-init, which touches neither keys nor users', () => {
      const name = 'golden-digitalocean'
      expect(option(name, 'networking.useDHCP')).toBe(false)
      expect(option(name, 'services.cloud-init.network.enable')).toBe(true)
      const settings = JSON.stringify(option(name, 'services.cloud-init.settings'))
      expect(settings).toContain('"datasource_list":["ConfigDrive","DigitalOcean"]')
      for (const module of ['users-groups', 'ssh-authkey', '"ssh"', 'set_hostname', 'growpart'])
        expect(settings).not.toContain(module)
      expect(option(name, 'boot.loader.grub.devices')).toEqual(['/dev/vda'])
      expect(option(name, 'virtualisation.digitalOcean.setSshKeys')).toBe(false)
      expect(option(name, 'virtualisation.digitalOcean.setRootPassword')).toBe(false)
    })
  })

  describe('backend-digitalocean', () => {
    const name = 'backend-digitalocean'

    test('opens 22, 80, 443 and 4444', () => {
      expect(option(name, 'networking.firewall.allowedTCPPorts')).toEqual([22, 80, 443, 4444])
    })

    test('runs devenv with the production profile, without a terminal, as a user of its own', () => {
      const service = option(name, 'systemd.services.landfall-backend.serviceConfig')
      expect(at(service, 'ExecStart')).toMatch(/\/bin\/devenv --profile \$\{LANDFALL_PROFILE\} up$/)
      expect(at(service, 'User')).toBe('backend')
      expect(at(service, 'Restart')).toBe('on-failure')
      expect(at(service, 'KillMode')).toBe('mixed')
      expect(at(service, 'TimeoutStartSec')).toBeGreaterThanOrEqual(1800)
      expect(at(option(name, 'systemd.services.landfall-backend.environment'), 'DEVENV_TUI')).toBe('false')
      expect(at(option(name, 'systemd.services.landfall-backend.environment'), 'LANDFALL_PROFILE')).toBe('prod')
      expect(textOf(option(name, 'systemd.services.landfall-backend.preStart'))).toContain('git clone')
    })

    test("is served by Caddy under the estate's name, which is not built into the system", () => {
      expect(option(name, 'services.caddy.enable')).toBe(true)
      expect(textOf(option(name, 'services.caddy.extraConfig'))).toStartWith('{$LANDFALL_DOMAIN} {')
      expect(option(name, 'services.caddy.environmentFile')).toBe('/var/lib/landfall/backend.env')
    })

    test('has no Dokploy and no swarm', () => {
      expect(Object.keys(machines.get(name) ?? {}).filter(key => /dokploy|swarm/.test(key))).toEqual([])
    })
  })

  describe('cluster-node', () => {
    const name = 'cluster-node'

    test('joins by fixed private addresses, so that no node holds a token of the cloud', () => {
      const servers = ['10.0.1.1', '10.0.1.2', '10.0.1.3']
      const consul = option(name, 'services.consul.extraConfig')
      expect(at(consul, 'retry_join')).toEqual(servers)
      expect(at(consul, 'bootstrap_expect')).toBe(3)
      expect(at(option(name, 'services.nomad.settings'), 'server', 'server_join', 'retry_join')).toEqual(servers)
    })

    test('answers the programming interfaces on loopback alone, and binds the rest to the private network', () => {
      expect(at(option(name, 'services.consul.extraConfig'), 'client_addr')).toBe('127.0.0.1')
      expect(at(option(name, 'services.consul.extraConfig'), 'bind_addr')).toContain('"10.0.0.0/16"')
      expect(at(option(name, 'services.nomad.settings'), 'addresses', 'http')).toBe('127.0.0.1')
    })

    test('refuses everybody without a token', () => {
      expect(at(option(name, 'services.consul.extraConfig'), 'acl', 'default_policy')).toBe('deny')
      expect(at(option(name, 'services.nomad.settings'), 'acl', 'enabled')).toBe(true)
    })

    test('reads its secrets from files of the machine, and waits for them', () => {
      expect(at(option(name, 'systemd.services.consul.unitConfig'), 'ConditionPathExists')).toBe('/var/lib/landfall/consul.json')
      expect(at(option(name, 'systemd.services.consul.serviceConfig'), 'LoadCredential')).toEqual([
        'secrets.json:/var/lib/landfall/consul.json',
      ])
      expect(option(name, 'services.nomad.credentials')).toEqual({ 'secrets.json': '/var/lib/landfall/nomad.json' })
    })

    test('is open to the private network alone besides the usual ports', () => {
      const accepted = textOf(option(name, 'networking.firewall.extraCommands'))
        .split('\n')
        .filter(line => line.includes('nixos-fw-accept'))
      expect(accepted).toEqual(['iptables -w -A nixos-fw -s 10.0.0.0/16 -j nixos-fw-accept'])
    })
  })
})
