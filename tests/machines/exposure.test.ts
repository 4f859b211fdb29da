/**
 * The whole tour on machines that are real systems: stock Debian, our installer, first admin, names, a look from outside; twice, with
 * an administrator who moves, a reboot, a lock-out that is refused, and a stranger who tries every port all the while.
 */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { STRANGER } from '../../lib/sandbox/exposure.ts'
import { OPERATOR } from '../../lib/sandbox/internet.ts'
import { firstHost } from '../../lib/sandbox/machines/state.ts'
import type { Sandbox } from '../../lib/sandbox/sandbox.ts'
import { from } from '../sandbox/scripts/elsewhere.ts'
import { openContainers, openPlace, type Place, timelineOf } from './base/estate.ts'
import { type Watch, watchAsStranger } from './base/stranger.ts'
import { BUILD_TIMEOUT_MS, CLOSE_TIMEOUT_MS, until } from './base/world.ts'

const SETUP_MS = 10 * 60_000
const ALLOWED = [22, 80, 443]
const INTERNAL = [2377, 3000, 5432, 6379, 7946]
const HOME = '198.51.100.77'

const CONFIG = {
  hetzner: { location: 'nbg1', image: 'debian-12', server_types: { dev: 'cx23', prod: 'cx33' } },
  dns: { domain: 'example.com', admin_subdomain: 'admin', dev_admin_subdomain: 'dev.admin' },
  network: { range: '172.16.0.0/16' },
}

let sandbox: Sandbox
let place: Place
let stranger: Watch

beforeAll(async () => {
  // After every single change of the cloud, before its caller learns of it, the stranger has tried every port.
  sandbox = await openContainers({
    async afterEffect({ vendor, method }) {
      if (vendor === 'hetzner' && method !== 'GET') await stranger.look()
    },
  })
  stranger = watchAsStranger(sandbox)
  place = openPlace(sandbox, CONFIG)
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await stranger?.stop()
  await sandbox?.close()
  place?.close()
}, CLOSE_TIMEOUT_MS)

const serverOf = (name: string) => {
  const server = sandbox.controls.hetzner.serversForMachines().find(each => each.name === name)
  if (!server) throw new Error(`There is no server ${name}.`)
  return server
}
const inside = async (name: string, command: string): Promise<string> => {
  const ran = await sandbox.controls.containers?.exec(name, ['sh', '-c', command])
  if (ran?.exitCode !== 0) throw new Error(`On ${name}, "${command}" ended with ${ran?.exitCode}: ${ran?.stderr}`)
  return ran.stdout.trim()
}
const reaches = async (source: string, name: string, port: number): Promise<boolean> => {
  const { ipv4, ipv6 } = serverOf(name)
  const address = source.includes(':') ? firstHost(ipv6) : ipv4
  return (await sandbox.controls.containers?.probe(source, address ?? '', port)) === 'open'
}
const succeeds = async (command: string, env: Readonly<Record<string, string>> = {}) => {
  const ran = await place.run(command, { env })
  expect({ command, code: ran.code, errors: ran.errors }).toEqual({ command, code: 0, errors: [] })
  return ran
}
const writesOf = async (work: () => Promise<unknown>): Promise<string[]> => {
  const before = sandbox.requests().length
  await work()
  const sent = sandbox.requests().slice(before)
  return sent
    .filter(request => request.method !== 'GET' && request.vendor !== 'dokploy')
    .map(({ method, path }) => `${method} ${path}`)
}
/** 100 % of what was looked at so far. */
const expectNothingElseOpen = () => {
  const { ipv4, ipv6 } = stranger.seen()
  expect({ ipv4: ipv4.filter(port => !ALLOWED.includes(port)), ipv6: ipv6.filter(port => !ALLOWED.includes(port)) }).toEqual({
    ipv4: [],
    ipv6: [],
  })
}

describe('the two-server estate on real systems', () => {
  test(
    'is set up, verified from outside, and never open to a stranger on anything else',
    async () => {
      const { lines, text } = await succeeds('setup --yes')
      const summary = lines.find(line => line.type === 'summary')
      expect(summary).toMatchObject({
        ok: true,
        outputs: { dev_url: 'https://dev.admin.example.com', prod_url: 'https://admin.example.com' },
      })
      expect(text).not.toContain('BEGIN OPENSSH')
      expectNothingElseOpen()
      const { looks, tries, ipv4, ipv6 } = stranger.seen()
      expect(looks).toBeGreaterThan(10)
      expect({ ipv4, ipv6 }).toEqual({ ipv4: ALLOWED, ipv6: ALLOWED })
      process.stderr.write(
        `setup on container machines: ${Math.round(Number(summary?.durationMs) / 1000)} s; a stranger looked ${looks} times, ${tries} tries\n`,
      )
      for (const name of ['dev-dokploy', 'prod-dokploy']) process.stderr.write(`  ${await timelineOf(sandbox, name)}\n`)
    },
    SETUP_MS,
  )

  test(
    'the host key that travelled in cloud-init opens nothing any more',
    async () => {
      for (const name of ['dev-dokploy', 'prod-dokploy']) {
        const [bootstrap = ''] = /ssh-ed25519 [A-Za-z0-9+/]{68}/.exec(serverOf(name).userData) ?? []
        expect(bootstrap).not.toBe('')
        const served = await inside(name, 'ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | cut -d" " -f2-')
        expect(served).toStartWith('ssh-ed25519 ')
        expect(served).not.toBe(bootstrap)
        expect(await inside(name, 'ls /etc/ssh/ssh_host_*')).toBe(
          '/etc/ssh/ssh_host_ed25519_key\n/etc/ssh/ssh_host_ed25519_key.pub',
        )
      }
    },
    SETUP_MS,
  )

  test(
    'takes keys alone, mends itself, and holds Docker at its version',
    async () => {
      expect(await inside('prod-dokploy', 'sshd -T | grep -E "^(passwordauthentication|permitrootlogin|kbdinteractive)"')).toBe(
        'permitrootlogin without-password\npasswordauthentication no\nkbdinteractiveauthentication no',
      )
      expect(await inside('prod-dokploy', 'apt-config dump APT::Periodic::Unattended-Upgrade')).toContain('"1"')
      expect(await inside('prod-dokploy', 'systemctl is-enabled apt-daily-upgrade.timer')).toBe('enabled')
      expect(await inside('prod-dokploy', 'apt-mark showhold')).toContain('docker.io')
    },
    SETUP_MS,
  )

  test(
    'needs nothing the second time',
    async () => {
      expect(await writesOf(() => succeeds('setup --yes'))).toEqual([])
      expectNothingElseOpen()
    },
    SETUP_MS,
  )

  test(
    'keeps the internal ports of one server from the other, over the private network and around it',
    async () => {
      const [privateIp = ''] = serverOf('prod-dokploy').privateIps
      expect(privateIp).toStartWith('172.16.')
      const aims = [privateIp, serverOf('prod-dokploy').ipv4 ?? '', firstHost(serverOf('prod-dokploy').ipv6) ?? '']
      const tryAll = (ports: readonly number[]) =>
        aims.flatMap(aim =>
          ports.map(port => `timeout 3 bash -c 'exec 3<>/dev/tcp/${aim}/${port}' 2>/dev/null && echo ${aim} ${port} &`),
        )
      const reached = async (ports: readonly number[]) =>
        (await inside('dev-dokploy', `${tryAll(ports).join('\n')}\nwait`)).split('\n').filter(Boolean).sort()
      expect(await reached(INTERNAL)).toEqual([])
      // What is there to be reached is: the look above could have found something.
      expect(await reached([443])).toEqual(aims.map(aim => `${aim} 443`).sort())
      expect(await inside('prod-dokploy', 'ss -Hltn "sport = :2377 or sport = :3000 or sport = :7946" | wc -l')).not.toBe('0')
    },
    SETUP_MS,
  )

  test(
    'shuts the panel’s port on the machine once it has a name, and lets an administrator in on demand, wherever he goes',
    async () => {
      expect(await reaches(OPERATOR.ipv4, 'prod-dokploy', 3000)).toBe(false)
      await succeeds('firewall allow-me --yes')
      expect([
        await reaches(OPERATOR.ipv4, 'prod-dokploy', 3000),
        await reaches(OPERATOR.ipv6, 'prod-dokploy', 3000),
        await reaches(HOME, 'prod-dokploy', 3000),
      ]).toEqual([true, true, false])
      const home = await from(HOME, sandbox)
      try {
        await succeeds('firewall allow-me --yes', home.env)
      } finally {
        await home.close()
      }
      expect([
        await reaches(OPERATOR.ipv4, 'prod-dokploy', 3000),
        await reaches(HOME, 'prod-dokploy', 3000),
        await reaches(HOME, 'dev-dokploy', 3000),
        await reaches(STRANGER.ipv4, 'prod-dokploy', 3000),
      ]).toEqual([false, true, true, false])
      expectNothingElseOpen()
    },
    SETUP_MS,
  )

  test(
    'refuses rules that would lock its operator out, before the first write',
    async () => {
      const base = { port: 443, from: ['anywhere'] }
      place.configure({ ...CONFIG, firewalls: { 'example-dokploy': [base, { port: 22, from: ['203.0.113.0/24'] }] } })
      try {
        const sent = await writesOf(async () => {
          const { code, errors } = await place.run('firewall --yes')
          expect(code).toBe(3)
          expect(errors.join('\n')).toContain(`you come from ${OPERATOR.ipv4}`)
        })
        expect(sent).toEqual([])
      } finally {
        place.configure(CONFIG)
      }
      await succeeds('firewall --yes')
      expect(await reaches(OPERATOR.ipv4, 'prod-dokploy', 22)).toBe(true)
    },
    SETUP_MS,
  )

  test(
    'does not let sshd read settings under which nobody could log in',
    async () => {
      const install = '/usr/local/lib/landfall/install-dokploy'
      await inside(
        'dev-dokploy',
        'cd /etc/ssh/sshd_config.d && rm 10-landfall.conf && echo "AuthorizedKeysFile /etc/ssh/none/%u" >05-own.conf',
      )
      const said = await inside('dev-dokploy', `${install} 2>&1 || true`)
      expect(said).toContain('nobody could log in any more; the key-only ones were taken back, and sshd was not reloaded.')
      expect(await inside('dev-dokploy', 'ls /etc/ssh/sshd_config.d')).not.toContain('10-landfall.conf')
      expect((await place.run('status --machine dev-dokploy')).code).toBe(0)
      await inside('dev-dokploy', 'rm /etc/ssh/sshd_config.d/05-own.conf')
      await succeeds('setup --yes')
      expect(await inside('dev-dokploy', 'cat /etc/ssh/sshd_config.d/10-landfall.conf')).toContain('PasswordAuthentication no')
    },
    SETUP_MS,
  )

  test(
    'is as shut after a reboot, and itself again',
    async () => {
      const before = stranger.seen().looks
      for (const name of ['dev-dokploy', 'prod-dokploy'])
        await fetch(`${sandbox.environment.HCLOUD_ENDPOINT}/servers/${serverOf(name).id}/actions/reboot`, {
          method: 'POST',
          headers: { authorization: `Bearer ${sandbox.environment.HCLOUD_TOKEN}` },
        })
      await sandbox.controls.containers?.settled()
      await until(
        async () => (await place.run('setup --yes')).code,
        code => code === 0,
        SETUP_MS / 2,
      )
      expect(await inside('prod-dokploy', 'iptables -t raw -S PREROUTING')).toContain('landfall-guard')
      expect(await writesOf(() => succeeds('setup --yes'))).toEqual([])
      const { looks, tries } = stranger.seen()
      expect(looks).toBeGreaterThan(before)
      expectNothingElseOpen()
      process.stderr.write(
        `a stranger looked ${looks} times in all, ${tries} tries over both families, and never found more than 22, 80, 443\n`,
      )
    },
    SETUP_MS,
  )

  test(
    'is called exposed by doctor when only ufw guards it',
    async () => {
      const exposure = async () => (await place.run('doctor')).lines.find(line => line.check === 'exposure')
      expect(await exposure()).toMatchObject({ state: 'ok' })
      await stranger.stop()
      await inside('dev-dokploy', 'ufw allow 22/tcp >/dev/null && ufw deny 3000/tcp >/dev/null && ufw --force enable >/dev/null')
      const { firewalls } = sandbox.world().hetzner as { firewalls: { id: number }[] }
      const api = (path: string, body: unknown) =>
        fetch(`${sandbox.environment.HCLOUD_ENDPOINT}${path}`, {
          method: 'POST',
          headers: { authorization: `Bearer ${sandbox.environment.HCLOUD_TOKEN}`, 'content-type': 'application/json' },
          body: JSON.stringify(body),
        })
      const server = { type: 'server', server: { id: serverOf('dev-dokploy').id } }
      for (const { id } of firewalls) await api(`/firewalls/${id}/actions/remove_from_resources`, { remove_from: [server] })
      await until(exposure, found => found?.state === 'fail', 20_000)
      expect(await exposure()).toMatchObject({
        state: 'fail',
        detail: expect.stringContaining('dev-dokploy has no cloud firewall'),
      })
      await until(
        async () => (await place.run('firewall --yes')).code + (await place.run('provision --yes')).code,
        code => code === 0,
        60_000,
      )
      expect(await exposure()).toMatchObject({ state: 'ok' })
    },
    SETUP_MS,
  )

  test(
    'is destroyed without a trace',
    async () => {
      await succeeds('destroy --yes --confirm example')
      const { servers, firewalls } = sandbox.world().hetzner as { servers: unknown[]; firewalls: unknown[] }
      expect({ servers, firewalls }).toEqual({ servers: [], firewalls: [] })
      expect(sandbox.bugs).toEqual([])
    },
    SETUP_MS,
  )
})
