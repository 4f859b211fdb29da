/** What is reached of container machines from outside: the cloud's firewall, enforced where nothing inside a machine can open it. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
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
} from './base/world.ts'

let world: TestWorld
let front: TestServer
let back: TestServer
let firewall: number

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
  await Promise.all([world.ready(front), world.ready(back)])
}, BUILD_TIMEOUT_MS)

afterAll(() => world?.close(), CLOSE_TIMEOUT_MS)

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
      const { url, close } = await world.machines.forward(front.target, 22)
      await world.setRules(firewall, [rule('443', ANYWHERE)])
      expect(await world.seen('stranger', front, PORTS)).toEqual(everything([443]))
      expect(await world.seen('operator', front, PORTS)).toEqual(everything([443]))
      expect((await world.run(front, 'facts')).exitCode).toBe(0)
      expect(url).toStartWith('http://127.0.0.1:')
      await close()
      await world.setRules(firewall, [])
      expect(await world.seen('stranger', front, PORTS)).toEqual(everything([]))
      await world.setRules(firewall, [rule('22', ANYWHERE), rule('80', ANYWHERE), rule('443', ANYWHERE)])
      expect(await world.seen('stranger', front, PORTS)).toEqual(everything([22, 80, 443]))
    },
    BOOT_MS,
  )

  test(
    'one machine reaches another only through that one’s firewall',
    async () => {
      await world.inside(front, 'systemd-run --quiet --unit=db python3 -m http.server 5432')
      await until(
        () => world.inside(front, 'ss -Hltn "sport = :5432"'),
        text => text !== '',
        10_000,
      )
      const code = (address: string) =>
        world.inside(back, `curl -s -o /dev/null -m 2 -w '%{http_code}' http://${address}:5432/ || true`)
      expect(await code(front.ipv4)).toBe('000')
      expect(
        await world.inside(
          back,
          `timeout 3 sh -c 'exec 3<>/dev/tcp/${front.ipv4}/22' 2>/dev/null; curl -s -m 3 telnet://${front.ipv4}:22 </dev/null | head -c 4; true`,
        ),
      ).toBe('SSH-')
      await world.inside(front, 'systemctl stop db')
    },
    BOOT_MS,
  )

  test(
    'ufw inside lets a published container port through; the outer firewall does not',
    async () => {
      await world.inside(back, 'until docker image inspect stand-in/traefik:1 >/dev/null 2>&1; do sleep 0.5; done')
      await world.inside(
        back,
        'mkdir -p /etc/dokploy/traefik/dynamic && printf "{}\\n" >/srv/main.yml && ufw --force reset >/dev/null && ufw default deny incoming >/dev/null && ufw allow 22/tcp >/dev/null && ufw deny 3000/tcp >/dev/null && ufw --force enable >/dev/null',
      )
      await world.inside(back, `docker swarm init --advertise-addr ${back.ipv4} --default-addr-pool 172.29.0.0/16 >/dev/null`)
      await world.inside(
        back,
        'docker service create --quiet --detach --no-resolve-image --name panel --publish published=3000,target=80,mode=host --mount type=bind,source=/srv/main.yml,target=/etc/traefik/traefik.yml --mount type=bind,source=/etc/dokploy,target=/etc/dokploy stand-in/traefik:1 >/dev/null',
      )
      await world.inside(back, 'systemd-run --quiet --unit=plain python3 -m http.server 6379')
      const leaked = await until(
        () => world.containers.probe('192.0.2.66', back.ipv4, 3000),
        state => state === 'open',
        30_000,
      )
      expect(leaked).toBe('open')
      // Over IPv6 the container is reached through a process of Docker's on the host, and that one ufw does hold back.
      expect(await world.containers.probe('2001:db8:bad::66', back.ipv6, 3000)).toBe('silent')
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
      await world.inside(back, 'curl -s -o /dev/null http://127.0.0.1:3000/')
    },
    2 * BOOT_MS,
  )
})
