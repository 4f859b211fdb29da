/**
 * Ansible's hetzner.hcloud collection as Debian packages it, unmodified, against the Hetzner stand-in. Without servers: the collection
 * asks the packaged Python library for a server type's architecture, which that older library does not know, whoever it talks to.
 */
import { afterAll, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createHetznerStandIn } from '../../lib/sandbox/hetzner/standin.ts'
import { openStore } from '../../lib/sandbox/store.ts'
import { publicKey } from '../sandbox/hetzner/world.ts'
import { serveStandIn } from './front.ts'

const TOKEN = 't'.repeat(64)
const playbook = Bun.which('ansible-playbook')
const isThere = playbook !== null && existsSync('/usr/lib/python3/dist-packages/ansible_collections/hetzner/hcloud')

const folder = mkdtempSync(join(tmpdir(), 'landfall-ansible-'))
afterAll(() => rmSync(folder, { recursive: true }))

if (!isThere) {
  if (process.env.CI) throw new Error('install ansible (apt-get install ansible)')
  test.skip('Ansible against the Hetzner stand-in (skipped: ansible is not installed)', () => undefined)
}

const tasks = (state: 'present' | 'absent') => {
  return [
    { 'hetzner.hcloud.hcloud_ssh_key': { name: 'ana', public_key: publicKey(4), state } },
    { 'hetzner.hcloud.hcloud_network': { name: 'net', ip_range: '10.0.0.0/16', state } },
    {
      'hetzner.hcloud.hcloud_firewall': {
        name: 'web',
        rules: [{ direction: 'in', protocol: 'tcp', port: '443', source_ips: ['0.0.0.0/0', '::/0'] }],
        state,
      },
    },
  ]
}

test.if(isThere)(
  'lists, creates, changes nothing the second time, and deletes',
  async () => {
    const store = openStore(':memory:')
    const standIn = createHetznerStandIn({
      store,
      clock: { nowMs: () => Date.now() },
      settings: () => ({ actionMs: { other: 5 }, rateLimits: true }),
    })
    standIn.control.addToken(TOKEN, { project: 'demo', access: 'read_write' })
    const front = serveStandIn(standIn, '/v1')
    const login = { api_token: TOKEN, endpoint: front.url }
    const play = async (name: string, given: readonly Readonly<Record<string, object>>[]) => {
      // Older collections do not look into the environment for the endpoint.
      const list = given.map(task =>
        Object.fromEntries(Object.entries(task).map(([module, words]) => [module, { ...words, ...login }])),
      )
      const file = join(folder, `${name}.json`)
      // YAML is a superset of JSON.
      writeFileSync(
        file,
        JSON.stringify([
          {
            hosts: 'localhost',
            connection: 'local',
            gather_facts: false,
            vars: { ansible_python_interpreter: '/usr/bin/python3' },
            tasks: list,
          },
        ]),
      )
      const child = Bun.spawn([playbook ?? '', '-i', 'localhost,', file], {
        env: {
          PATH: process.env.PATH ?? '',
          HOME: folder,
          LC_ALL: 'C.UTF-8',
          ANSIBLE_STDOUT_CALLBACK: 'json',
          HCLOUD_TOKEN: TOKEN,
          HCLOUD_ENDPOINT: front.url,
        },
        stdout: 'pipe',
        stderr: 'pipe',
      })
      const [code, out, err] = await Promise.all([
        child.exited,
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
      ])
      if (code !== 0) throw new Error(`ansible-playbook ended with ${code}:\n${out}${err}`)
      const { stats, plays } = JSON.parse(out)
      return {
        changed: stats.localhost.changed,
        results: plays[0].tasks.map((task: { hosts: { localhost: object } }) => task.hosts.localhost),
      }
    }
    try {
      expect((await play('make', tasks('present'))).changed).toBe(3)
      const { firewalls, networks, keys } = standIn.control.dump('demo')
      expect([firewalls, networks, keys].map(each => each.length)).toEqual([1, 1, 1])
      expect((await play('again', tasks('present'))).changed).toBe(0)
      const listed = await play('list', [
        { 'hetzner.hcloud.hcloud_ssh_key_info': {} },
        { 'hetzner.hcloud.hcloud_network_info': {} },
        { 'hetzner.hcloud.hcloud_server_info': {} },
      ])
      expect(listed.results).toMatchObject([
        { hcloud_ssh_key_info: [{ name: 'ana' }] },
        { hcloud_network_info: [{ name: 'net', ip_range: '10.0.0.0/16' }] },
        { hcloud_server_info: [] },
      ])
      expect((await play('remove', tasks('absent'))).changed).toBe(3)
      expect(Object.values(standIn.control.dump('demo')).flat()).toEqual([])
    } finally {
      await front.stop()
      store.close()
    }
  },
  300_000,
)
