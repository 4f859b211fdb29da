/** Dokploy on container machines: the real installer on a stock system, and the image that brings its own. Prints where the time goes. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { SANDBOX_PROJECT } from '../../lib/sandbox/sandbox.ts'
import {
  ANYWHERE,
  BOOT_MS,
  BUILD_TIMEOUT_MS,
  CLOSE_TIMEOUT_MS,
  logOf,
  openTestWorld,
  PORTS,
  rule,
  type TestServer,
  type TestWorld,
  until,
  valuesOf,
} from './base/world.ts'

const INSTALL_MS = 5 * 60_000

let world: TestWorld
let front: TestServer
let firewall: number
const timings: Record<string, number> = {}

beforeAll(async () => {
  world = await openTestWorld()
  firewall = await world.createFirewall('outer', [rule('22', ANYWHERE), rule('80', ANYWHERE), rule('443', ANYWHERE)])
  const startedMs = performance.now()
  front = await world.createServer({ name: 'front', firewalls: [firewall] })
  await world.ready(front)
  timings['stock: running to SSH'] = performance.now() - startedMs
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  const rounded = Object.entries(timings).map(([what, ms]) => `  ${what}: ${(ms / 1000).toFixed(1)} s\n`)
  process.stderr.write(`seconds on this computer:\n${rounded.join('')}`)
  await world?.close()
}, CLOSE_TIMEOUT_MS)

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
      timings['install: start to done'] = performance.now() - startedMs
      Object.assign(timings, Object.fromEntries([...stages].map(([stage, ms]) => [`install: stage ${stage} begins`, ms])))
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
      const bootedBefore = await world.inside(front, 'cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1')
      const startedMs = performance.now()
      await world.call('POST', `/servers/${front.id}/actions/reboot`)
      await until(
        async () => world.sandbox.controls.hetzner.nextEventAtMs(),
        next => next === undefined,
        5_000,
      )
      await world.containers.settled()
      await world.ready(front)
      expect(await world.inside(front, 'cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1')).not.toBe(bootedBefore)
      const facts = await until(
        async () => valuesOf((await world.run(front, 'facts')).stdout),
        seen => seen.dokploy === 'installed' && seen.swarm === 'active',
        BOOT_MS,
      )
      expect(facts.docker).not.toBe('none')
      await until(
        () => world.inside(front, 'curl -s -m 3 http://127.0.0.1:3000/api/trpc/settings.health || true'),
        text => text.includes('"status":"ok"'),
        2 * BOOT_MS,
      )
      timings['reboot to healthy'] = performance.now() - startedMs
      expect(await world.seen('stranger', front, PORTS)).toEqual({ ipv4: [22, 80, 443], ipv6: [22, 80, 443] })
    },
    4 * BOOT_MS,
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
      await world.ready(golden)
      timings['golden: running to SSH'] = performance.now() - startedMs
      const tunnel = await world.machines.forward(golden.target, 3000)
      await until(
        async () => {
          const health = await fetch(`${tunnel.url}/api/trpc/settings.health`).catch(() => undefined)
          return (await health?.text()) ?? ''
        },
        text => text.includes('"status":"ok"'),
        INSTALL_MS,
      )
      timings['golden: running to healthy'] = performance.now() - startedMs
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
