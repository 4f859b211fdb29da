/** Container machines: servers of the Hetzner stand-in that are real systems, with their disks, power, private networks and leftovers. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import {
  ANYWHERE,
  BOOT_MS,
  BUILD_TIMEOUT_MS,
  CLOSE_TIMEOUT_MS,
  openTestWorld,
  PORTS,
  rule,
  type TestServer,
  type TestWorld,
  until,
  valuesOf,
} from './base/world.ts'

let world: TestWorld
let front: TestServer
let back: TestServer

beforeAll(async () => {
  world = await openTestWorld()
  const firewall = await world.createFirewall('outer', [rule('22', ANYWHERE), rule('80', ANYWHERE), rule('443', ANYWHERE)])
  ;[front, back] = await Promise.all([
    world.createServer({ name: 'front', firewalls: [firewall] }),
    world.createServer({ name: 'back' }),
  ])
  await Promise.all([world.ready(front), world.ready(back)])
}, BUILD_TIMEOUT_MS)

afterAll(() => world?.close(), CLOSE_TIMEOUT_MS)

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
      expect(await world.inside(front, 'hostname')).toBe('front')
    },
    BOOT_MS,
  )

  test(
    'one that never boots is given up in time, in words',
    async () => {
      world.containers.neverBoots('asleep')
      const asleep = await world.createServer({ name: 'asleep' })
      await world.quiet()
      const waited = world.machines.waitReady(asleep.target, 8_000, new AbortController().signal)
      expect(await waited.catch((error: Error) => error.message)).toMatch(/^asleep was not ready for SSH within 8 s: /)
      world.containers.heal('asleep')
      await world.call('DELETE', `/servers/${asleep.id}`)
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
      for (const server of [front, back]) await world.inside(server, 'cloud-init status --wait')
      for (const server of [front, back]) {
        expect(valuesOf((await world.run(server, 'facts')).stdout).cloud_init).toBe('done')
        expect(await world.inside(server, 'systemctl --failed --no-legend')).toBe('')
      }
    },
    BOOT_MS,
  )

  test(
    'each has its own addresses and reads its own metadata, and nobody else’s',
    async () => {
      for (const server of [front, back]) {
        expect(await world.inside(server, 'curl -s http://169.254.169.254/hetzner/v1/metadata/instance-id')).toBe(
          String(server.id),
        )
        expect(await world.inside(server, 'curl -s http://169.254.169.254/hetzner/v1/userdata')).toContain(server.target.hostKey)
        const addresses = await world.inside(server, 'ip -o address show dev eth0 scope global')
        expect(addresses).toContain(server.ipv4)
        expect(addresses).toContain(server.ipv6)
      }
      // The router's ports behind the metadata address are not the machines' to choose.
      const other = `for port in $(seq 20001 20005); do curl -s -m 1 http://172.31.1.1:$port/hetzner/v1/metadata/instance-id; echo; done`
      const answers = (await world.inside(back, `${other}; true`)).split('\n').filter(line => line !== '')
      expect(answers).toEqual([String(back.id)])
    },
    BOOT_MS,
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
        await world.quiet()
      }
      const address = await world.inside(front, "ip -4 -o address show dev enp7s0 | awk '{ print $4 }'")
      expect(address).toMatch(/^10\.0\.1\.\d+\/16$/)
      await world.inside(front, 'systemd-run --quiet --unit=inner python3 -m http.server 6379')
      const code = `curl -s -o /dev/null -m 2 -w '%{http_code}' http://${address.split('/')[0]}:6379/ || true`
      await until(
        () => world.inside(back, code),
        text => text === '200',
        10_000,
      )
      expect(await world.inside(back, code.replace(/10\.[\d.]+/, front.ipv4))).toBe('000')
      expect(await world.seen('stranger', front, PORTS)).toEqual({ ipv4: [22, 80, 443], ipv6: [22, 80, 443] })
    },
    BOOT_MS,
  )
})

describe('the power and the disk', () => {
  test(
    'a machine that restarts itself comes back with its addresses',
    async () => {
      const before = await world.inside(back, 'systemctl show --property=UserspaceTimestampMonotonic')
      await world.machines.disconnect(back.target)
      await world.containers.exec(back.name, ['systemctl', 'reboot'])
      await until(
        async () =>
          (await world.containers.exec(back.name, ['systemctl', 'show', '--property=UserspaceTimestampMonotonic'])).stdout.trim(),
        text => text !== '' && text !== before,
        BOOT_MS,
      )
      await world.ready(back)
    },
    2 * BOOT_MS,
  )

  test(
    'a snapshot holds what was on the disk',
    async () => {
      await world.inside(back, 'echo snapped >/root/snapped')
      const answer = (await world.call('POST', `/servers/${back.id}/actions/create_image`, { type: 'snapshot' })) as {
        image: { id: number }
      }
      await world.quiet()
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
      await world.inside(back, 'echo kept >/root/mark')
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
      expect(await world.inside(back, 'cat /root/mark')).toBe('kept')
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
      await world.ready(back)
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
      // The kernel takes a machine's cables away by itself, a moment after its last process.
      const links = await until(
        async () => Bun.spawnSync(['ip', '-netns', namespaces.router, '-br', 'link']).stdout.toString(),
        text => !text.includes(`m${back.id}`),
        10_000,
      )
      expect(links).toContain(`m${front.id}`)
      expect(world.sandbox.bugs).toEqual([])
    },
    BOOT_MS,
  )
})

describe('what a killed run leaves', () => {
  test(
    'is swept away by the next one',
    async () => {
      const child = Bun.spawn([process.execPath, join(import.meta.dir, 'base/abandon.ts')], { stdout: 'pipe', stderr: 'inherit' })
      const { value } = await child.stdout.getReader().read()
      const { namespaces, directory } = JSON.parse(new TextDecoder().decode(value)) as {
        namespaces: { router: string; outside: string }
        directory: string
      }
      const listed = () => Bun.spawnSync(['ip', 'netns', 'list']).stdout.toString()
      expect(listed()).toContain(namespaces.router)
      child.kill('SIGKILL')
      await child.exited
      rmSync(directory, { recursive: true })
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
