/** Container machines: real systems behind the Hetzner stand-in, and what is reached of them from outside. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import { SANDBOX_PROJECT } from '../../lib/sandbox/sandbox.ts'
import {
  ANYWHERE,
  BUILD_TIMEOUT_MS,
  logOf,
  openTestWorld,
  rule,
  type TestServer,
  type TestWorld,
  until,
  valuesOf,
} from './base/world.ts'

const PORTS = [22, 80, 443, 2377, 3000, 5432, 6379, 7946] as const
const BOOT_MS = 60_000
const INSTALL_MS = 5 * 60_000

let world: TestWorld
let front: TestServer
let back: TestServer
let firewall: number
const timings: Record<string, number> = {}

/** Every action of the cloud has ended, and the machines have followed. */
const quiet = async (): Promise<void> => {
  await until(
    async () => world.sandbox.controls.hetzner.nextEventAtMs(),
    next => next === undefined,
    10_000,
  )
  await world.containers.settled()
}

const setRules = async (rules: readonly Record<string, unknown>[]): Promise<void> => {
  await world.call('POST', `/firewalls/${firewall}/actions/set_rules`, { rules })
  await quiet()
}

const ready = async (server: TestServer): Promise<number> => {
  const startedMs = performance.now()
  await world.machines.waitReady(server.target, BOOT_MS, new AbortController().signal)
  return performance.now() - startedMs
}

const inside = async (server: TestServer, command: string): Promise<string> => {
  const { exitCode, stdout, stderr } = await world.containers.exec(server.name, ['sh', '-c', command])
  expect({ command, exitCode, stderr: exitCode === 0 ? '' : stderr }).toEqual({ command, exitCode: 0, stderr: '' })
  return stdout.trim()
}

beforeAll(async () => {
  world = await openTestWorld()
  firewall = await world.createFirewall('outer', [
    rule('22', ANYWHERE),
    rule('80', ANYWHERE),
    rule('443', ANYWHERE),
    rule('3000', ['198.51.100.7/32', '2001:db8:ffff::7/128']),
  ])
  ;[front, back] = await Promise.all([
    world.createServer({ name: 'front', firewalls: [firewall] }),
    world.createServer({ name: 'back' }),
  ])
  timings.boot = Math.max(...(await Promise.all([ready(front), ready(back)])))
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  process.stderr.write(`${JSON.stringify(timings)}\n`)
  await world?.close()
}, 60_000)

describe('a server of the API is a machine', () => {
  test(
    'it answers SSH under the host key that came with its user data, and knows itself',
    async () => {
      const facts = valuesOf((await world.run(front, 'facts')).stdout)
      expect(facts).toMatchObject({
        os: 'debian-12',
        swarm: 'inactive',
        dokploy: 'absent',
        dokploy_login: 'absent',
        ssh_client: '198.51.100.7',
      })
      expect(await inside(front, 'hostname')).toBe('front')
    },
    BOOT_MS,
  )

  test(
    'another host key is refused before anything is sent',
    async () => {
      const { publicKey } = await world.machines.generateKey()
      const seen = await world.machines.look({ ...front.target, hostKeyAlias: 'test-impostor', hostKey: publicKey })
      expect(seen.state).toBe('impostor')
    },
    BOOT_MS,
  )

  test(
    'cloud-init ends without a complaint',
    async () => {
      for (const server of [front, back]) await inside(server, 'cloud-init status --wait')
      for (const server of [front, back]) {
        expect(valuesOf((await world.run(server, 'facts')).stdout).cloud_init).toBe('done')
        expect(await inside(server, 'systemctl --failed --no-legend')).toBe('')
      }
    },
    BOOT_MS,
  )

  test(
    'each has its own addresses and reads its own metadata, and nobody else’s',
    async () => {
      for (const server of [front, back]) {
        expect(await inside(server, 'curl -s http://169.254.169.254/hetzner/v1/metadata/instance-id')).toBe(String(server.id))
        expect(await inside(server, 'curl -s http://169.254.169.254/hetzner/v1/userdata')).toContain(server.target.hostKey)
        const addresses = await inside(server, 'ip -o address show dev eth0 scope global')
        expect(addresses).toContain(server.ipv4)
        expect(addresses).toContain(server.ipv6)
      }
      // The router's ports behind the metadata address are not the machines' to choose.
      const other = `for port in $(seq 20001 20005); do curl -s -m 1 http://172.31.1.1:$port/hetzner/v1/metadata/instance-id; echo; done`
      const answers = (await inside(back, `${other}; true`)).split('\n').filter(line => line !== '')
      expect(answers).toEqual([String(back.id)])
    },
    BOOT_MS,
  )

  test(
    'one machine reaches another only through that one’s firewall',
    async () => {
      await inside(front, 'systemd-run --quiet --unit=db python3 -m http.server 5432')
      await until(
        () => inside(front, 'ss -Hltn "sport = :5432"'),
        text => text !== '',
        10_000,
      )
      const code = (address: string) =>
        inside(back, `curl -s -o /dev/null -m 2 -w '%{http_code}' http://${address}:5432/ || true`)
      expect(await code(front.ipv4)).toBe('000')
      expect(
        await inside(
          back,
          `timeout 3 sh -c 'exec 3<>/dev/tcp/${front.ipv4}/22' 2>/dev/null; curl -s -m 3 telnet://${front.ipv4}:22 </dev/null | head -c 4; true`,
        ),
      ).toBe('SSH-')
      await inside(front, 'systemctl stop db')
    },
    BOOT_MS,
  )
})

describe('the firewall outside the machine', () => {
  const everything = (ports: readonly number[]) => ({ ipv4: [...ports], ipv6: [...ports] })

  test(
    'without one a server is wide open, and what does not listen refuses',
    async () => {
      expect(await world.seen('stranger', back, PORTS)).toEqual(everything(PORTS))
    },
    BOOT_MS,
  )

  test(
    'with one only its openings are reached, by whom they are for, over both families',
    async () => {
      expect(await world.seen('stranger', front, PORTS)).toEqual(everything([22, 80, 443]))
      expect(await world.seen('operator', front, PORTS)).toEqual(everything([22, 80, 443, 3000]))
    },
    BOOT_MS,
  )

  test(
    'new rules count at once, and an open session outlives them',
    async () => {
      const session = world.machines.forward(front.target, 22)
      const { url, close } = await session
      await setRules([rule('443', ANYWHERE)])
      expect(await world.seen('stranger', front, PORTS)).toEqual(everything([443]))
      expect(await world.seen('operator', front, PORTS)).toEqual(everything([443]))
      expect((await world.run(front, 'facts')).exitCode).toBe(0)
      expect(url).toStartWith('http://127.0.0.1:')
      await close()
      await setRules([])
      expect(await world.seen('stranger', front, PORTS)).toEqual(everything([]))
      await setRules([rule('22', ANYWHERE), rule('80', ANYWHERE), rule('443', ANYWHERE)])
      expect(await world.seen('stranger', front, PORTS)).toEqual(everything([22, 80, 443]))
    },
    BOOT_MS,
  )

  test(
    'ufw inside lets a published container port through; the outer firewall does not',
    async () => {
      await inside(back, 'until docker image inspect stand-in/traefik:1 >/dev/null 2>&1; do sleep 0.5; done')
      await inside(
        back,
        'mkdir -p /etc/dokploy/traefik/dynamic && printf "{}\\n" >/srv/main.yml && ufw --force reset >/dev/null && ufw default deny incoming >/dev/null && ufw allow 22/tcp >/dev/null && ufw deny 3000/tcp >/dev/null && ufw --force enable >/dev/null',
      )
      await inside(back, `docker swarm init --advertise-addr ${back.ipv4} --default-addr-pool 172.29.0.0/16 >/dev/null`)
      await inside(
        back,
        'docker service create --quiet --detach --no-resolve-image --name panel --publish published=3000,target=80,mode=host --mount type=bind,source=/srv/main.yml,target=/etc/traefik/traefik.yml --mount type=bind,source=/etc/dokploy,target=/etc/dokploy stand-in/traefik:1 >/dev/null',
      )
      await inside(back, 'systemd-run --quiet --unit=plain python3 -m http.server 6379')
      const leaked = await until(
        () => world.containers.probe('192.0.2.66', back.ipv4, 3000),
        state => state === 'open',
        30_000,
      )
      expect(leaked).toBe('open')
      // The same rules hold an ordinary process back: ufw works, it is only not asked about containers.
      expect(await world.containers.probe('192.0.2.66', back.ipv4, 6379)).toBe('silent')

      const outer = await world.createFirewall('outer-back', [rule('22', ANYWHERE)])
      await world.call('POST', `/firewalls/${outer}/actions/apply_to_resources`, {
        apply_to: [{ type: 'server', server: { id: back.id } }],
      })
      await until(
        () => world.containers.probe('192.0.2.66', back.ipv4, 3000),
        state => state === 'silent',
        5_000,
      )
      expect(await world.seen('stranger', back, PORTS)).toEqual(everything([22]))
      await inside(back, 'curl -s -o /dev/null http://127.0.0.1:3000/')
    },
    2 * BOOT_MS,
  )
})

describe('the installation of Dokploy', () => {
  test(
    'ends with a panel that is healthy behind the tunnel, and that no stranger sees',
    async () => {
      const startedMs = performance.now()
      const input = { VERSION: '0.30.2', ADVERTISE_ADDR: front.ipv4, POOL: '172.29.0.0/16' }
      expect(valuesOf((await world.run(front, 'start-dokploy-install', input)).stdout)).toEqual({ unit: 'started' })
      expect(valuesOf((await world.run(front, 'start-dokploy-install', input)).stdout)).toEqual({ unit: 'running' })
      const stages = new Map<string, number>()
      const watched = await until(
        async () => {
          const { stdout } = await world.run(front, 'watch-dokploy-install')
          const { stage = '' } = valuesOf(stdout)
          if (!stages.has(stage)) stages.set(stage, Math.round(performance.now() - startedMs))
          return { ...valuesOf(stdout), log: logOf(stdout) }
        },
        seen => 'unit' in seen && seen.unit !== 'running',
        INSTALL_MS,
      )
      timings.install = performance.now() - startedMs
      Object.assign(timings, Object.fromEntries([...stages].map(([stage, ms]) => [`install ${stage}`, ms])))
      expect<unknown>(watched).toEqual({ unit: 'done', stage: 'done', log: [] })

      const tunnel = await world.machines.forward(front.target, 3000)
      const health = await fetch(`${tunnel.url}/api/trpc/settings.health`)
      expect(await health.text()).toContain('"status":"ok"')
      await tunnel.close()

      const facts = valuesOf((await world.run(front, 'facts')).stdout)
      expect(facts).toMatchObject({ swarm: 'active', dokploy: 'installed' })
      const { stdout } = await world.run(front, 'inspect')
      for (const service of ['dokploy', 'dokploy-postgres', 'dokploy-traefik'])
        expect(stdout).toContain(`service ${service} 1/1 `)
      expect(valuesOf((await world.run(front, 'start-dokploy-install', input)).stdout)).toEqual({ unit: 'done' })
      expect(await world.containers.probe('192.0.2.66', front.ipv4, 443)).toBe('open')
      expect(await world.seen('stranger', front, PORTS)).toEqual({ ipv4: [22, 80, 443], ipv6: [22, 80, 443] })
    },
    INSTALL_MS,
  )

  test(
    'it is there again after a reboot, with the same firewall',
    async () => {
      await world.machines.disconnect(front.target)
      const bootedBefore = await inside(front, 'cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1')
      const startedMs = performance.now()
      await world.call('POST', `/servers/${front.id}/actions/reboot`)
      await until(
        async () => world.sandbox.controls.hetzner.nextEventAtMs(),
        next => next === undefined,
        5_000,
      )
      await world.containers.settled()
      await ready(front)
      expect(await inside(front, 'cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1')).not.toBe(bootedBefore)
      const facts = await until(
        async () => valuesOf((await world.run(front, 'facts')).stdout),
        seen => seen.dokploy === 'installed',
        BOOT_MS,
      )
      expect(facts.swarm).toBe('active')
      await until(
        () => inside(front, 'curl -s -m 3 http://127.0.0.1:3000/api/trpc/settings.health || true'),
        text => text.includes('"status":"ok"'),
        2 * BOOT_MS,
      )
      timings.reboot = performance.now() - startedMs
      expect(await world.seen('stranger', front, PORTS)).toEqual({ ipv4: [22, 80, 443], ipv6: [22, 80, 443] })
    },
    4 * BOOT_MS,
  )
})

describe('the private network', () => {
  test(
    'servers in it reach each other without the firewall, and nobody else does',
    async () => {
      const answer = (await world.call('POST', '/networks', {
        name: 'inner',
        ip_range: '10.0.0.0/16',
        subnets: [{ type: 'cloud', network_zone: 'eu-central', ip_range: '10.0.1.0/24' }],
      })) as { network: { id: number } }
      for (const server of [front, back]) {
        await world.call('POST', `/servers/${server.id}/actions/attach_to_network`, { network: answer.network.id })
        await quiet()
      }
      const address = await inside(front, "ip -4 -o address show dev enp7s0 | awk '{ print $4 }'")
      expect(address).toMatch(/^10\.0\.1\.\d+\/16$/)
      await inside(front, 'systemd-run --quiet --unit=inner python3 -m http.server 6379')
      const code = `curl -s -o /dev/null -m 2 -w '%{http_code}' http://${address.split('/')[0]}:6379/ || true`
      await until(
        () => inside(back, code),
        text => text === '200',
        10_000,
      )
      expect(await inside(back, code.replace(/10\.[\d.]+/, front.ipv4))).toBe('000')
      expect(await world.seen('stranger', front, PORTS)).toEqual({ ipv4: [22, 80, 443], ipv6: [22, 80, 443] })
    },
    BOOT_MS,
  )
})

describe('the power and the disk', () => {
  test(
    'a machine that restarts itself comes back with its addresses',
    async () => {
      const before = await inside(back, 'systemctl show --property=UserspaceTimestampMonotonic')
      await world.machines.disconnect(back.target)
      await world.containers.exec(back.name, ['systemctl', 'reboot'])
      await until(
        async () =>
          (await world.containers.exec(back.name, ['systemctl', 'show', '--property=UserspaceTimestampMonotonic'])).stdout.trim(),
        text => text !== '' && text !== before,
        BOOT_MS,
      )
      await ready(back)
    },
    2 * BOOT_MS,
  )

  test(
    'a snapshot holds what was on the disk',
    async () => {
      await inside(back, 'echo snapped >/root/snapped')
      const answer = (await world.call('POST', `/servers/${back.id}/actions/create_image`, { type: 'snapshot' })) as {
        image: { id: number }
      }
      await quiet()
      const twin = await world.createServer({ name: 'twin', image: String(answer.image.id) })
      await until(
        async () => (await world.containers.exec('twin', ['cat', '/root/snapped'])).stdout.trim(),
        text => text === 'snapped',
        BOOT_MS,
      )
      await world.call('DELETE', `/servers/${twin.id}`)
    },
    2 * BOOT_MS,
  )

  test(
    'a server that is off answers nothing, and is itself again when it is on',
    async () => {
      await inside(back, 'echo kept >/root/mark')
      await world.call('POST', `/servers/${back.id}/actions/poweroff`)
      await until(
        () => world.containers.probe('198.51.100.7', back.ipv4, 22),
        state => state === 'silent',
        30_000,
      )
      await world.call('POST', `/servers/${back.id}/actions/poweron`)
      await until(
        () => world.containers.probe('198.51.100.7', back.ipv4, 22),
        state => state === 'open',
        BOOT_MS,
      )
      expect(await inside(back, 'cat /root/mark')).toBe('kept')
    },
    3 * BOOT_MS,
  )

  test(
    'a rebuilt server has a new disk',
    async () => {
      await world.machines.disconnect(back.target)
      await world.call('POST', `/servers/${back.id}/actions/rebuild`, { image: 'debian-12' })
      await until(
        async () => world.sandbox.controls.hetzner.nextEventAtMs(),
        next => next === undefined,
        5_000,
      )
      await world.containers.settled()
      await ready(back)
      const { stdout } = await world.containers.exec('back', ['ls', '/root'])
      expect(stdout).not.toContain('mark')
    },
    3 * BOOT_MS,
  )

  test(
    'a deleted server leaves nothing',
    async () => {
      const { namespaces } = world.containers
      await world.machines.disconnect(back.target)
      await world.call('DELETE', `/servers/${back.id}`)
      await until(
        () => world.containers.probe('198.51.100.7', back.ipv4, 22),
        state => state === 'silent',
        30_000,
      )
      await world.containers.settled()
      const links = Bun.spawnSync(['ip', '-netns', namespaces.router, '-br', 'link']).stdout.toString()
      expect(links).not.toContain(`m${back.id}`)
      expect(links).toContain(`m${front.id}`)
      expect(world.sandbox.bugs).toEqual([])
    },
    BOOT_MS,
  )
})

describe('the golden image', () => {
  test(
    'brings its own Dokploy, which is healthy without an installation',
    async () => {
      const image = world.sandbox.controls.hetzner.seedGoldenImage({
        project: SANDBOX_PROJECT,
        labels: { 'landfall/image': 'nixos-dokploy', 'landfall/dokploy': '0.30.2' },
        description: 'golden',
        diskGb: 40,
        sizeGb: 2,
      })
      const startedMs = performance.now()
      const golden = await world.createServer({ name: 'golden', image: String(image), stock: false, firewalls: [firewall] })
      await ready(golden)
      timings['golden boot'] = performance.now() - startedMs
      const tunnel = await world.machines.forward(golden.target, 3000)
      await until(
        async () => {
          const health = await fetch(`${tunnel.url}/api/trpc/settings.health`).catch(() => undefined)
          return (await health?.text()) ?? ''
        },
        text => text.includes('"status":"ok"'),
        INSTALL_MS,
      )
      timings['golden healthy'] = performance.now() - startedMs
      await tunnel.close()
      const facts = await until(
        async () => valuesOf((await world.run(golden, 'facts')).stdout),
        seen => seen.dokploy === 'installed' && seen.cloud_init !== 'running',
        BOOT_MS,
      )
      expect(facts).toMatchObject({ swarm: 'active', cloud_init: 'done' })
      expect(await world.seen('stranger', golden, PORTS)).toEqual({ ipv4: [22, 80, 443], ipv6: [22, 80, 443] })
    },
    INSTALL_MS,
  )
})

describe('what a killed run leaves', () => {
  test(
    'is swept away by the next one',
    async () => {
      const child = Bun.spawn([process.execPath, join(import.meta.dir, 'base/abandon.ts')], { stdout: 'pipe', stderr: 'inherit' })
      const { value } = await child.stdout.getReader().read()
      const { namespaces } = JSON.parse(new TextDecoder().decode(value)) as { namespaces: { router: string; outside: string } }
      const listed = () => Bun.spawnSync(['ip', 'netns', 'list']).stdout.toString()
      expect(listed()).toContain(namespaces.router)
      child.kill('SIGKILL')
      await child.exited
      const next = await openTestWorld()
      try {
        for (const name of Object.values(namespaces)) expect(listed()).not.toContain(name)
        // The run of this file lives, and was left alone.
        expect(listed()).toContain(world.containers.namespaces.router)
        expect(await world.containers.probe('198.51.100.7', front.ipv4, 22)).toBe('open')
      } finally {
        await next.close()
      }
    },
    2 * BOOT_MS,
  )
})
