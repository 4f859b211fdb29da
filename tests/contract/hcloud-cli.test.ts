/** Real clients, unmodified, against the Hetzner stand-in: the hcloud CLI and the vendor's Python library. */
import { afterAll, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createHetznerStandIn } from '../../lib/sandbox/hetzner/standin.ts'
import { openStore } from '../../lib/sandbox/store.ts'
import { publicKey } from '../sandbox/hetzner/world.ts'
import { serveStandIn } from './front.ts'

const TOKEN = 't'.repeat(64)
const PYTHON = '/usr/bin/python3'

const hcloud = Bun.which('hcloud')
const hasPython = Bun.which(PYTHON) !== null && Bun.spawnSync([PYTHON, '-c', 'import hcloud']).success

const openCloud = () => {
  const store = openStore(':memory:')
  const standIn = createHetznerStandIn({
    store,
    clock: { nowMs: () => Date.now() },
    settings: () => ({ actionMs: { other: 5 }, rateLimits: true }),
  })
  standIn.control.addToken(TOKEN, { project: 'demo', access: 'read_write' })
  return { control: standIn.control, front: serveStandIn(standIn, '/v1') }
}

const folder = mkdtempSync(join(tmpdir(), 'landfall-hcloud-'))
afterAll(() => rmSync(folder, { recursive: true }))

const run = async (command: readonly string[], env: Readonly<Record<string, string>>) => {
  // A home of its own: the operator's contexts and tokens are none of this.
  const child = Bun.spawn([...command], {
    env: { PATH: process.env.PATH ?? '', HOME: folder, ...env },
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [code, out, err] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()])
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}:\n${out}${err}`)
  return out
}

if (!hcloud || !hasPython) {
  const missing = [...(hcloud ? [] : ['hcloud-cli']), ...(hasPython ? [] : ['python3-hcloud'])].join(' and ')
  if (process.env.CI) throw new Error(`install ${missing} (apt-get install ${missing.replace(' and', '')})`)
  test.skip(`real clients against the Hetzner stand-in (skipped: ${missing} not installed)`, () => undefined)
}

describe.if(hcloud !== null)('the hcloud CLI', () => {
  test('lists, creates, waits for and deletes what it asks the stand-in for', async () => {
    const { control, front } = openCloud()
    const cli = (...words: string[]) => run([hcloud ?? '', ...words], { HCLOUD_ENDPOINT: front.url, HCLOUD_TOKEN: TOKEN })
    const keyFile = join(folder, 'key.pub')
    const rulesFile = join(folder, 'rules.json')
    writeFileSync(keyFile, publicKey(3))
    writeFileSync(
      rulesFile,
      JSON.stringify([{ direction: 'in', protocol: 'tcp', port: '443', source_ips: ['0.0.0.0/0', '::/0'], destination_ips: [] }]),
    )
    try {
      expect(await cli('location', 'list')).toContain('nbg1')
      expect(await cli('server-type', 'list')).toContain('cx23')
      expect(await cli('image', 'list')).toContain('ubuntu-24.04')
      await cli('ssh-key', 'create', '--name', 'laptop', '--public-key-from-file', keyFile)
      await cli('network', 'create', '--name', 'inner', '--ip-range', '10.0.0.0/16')
      await cli('network', 'add-subnet', 'inner', '--type', 'cloud', '--network-zone', 'eu-central', '--ip-range', '10.0.1.0/24')
      await cli('firewall', 'create', '--name', 'wall', '--rules-file', rulesFile, '--label', 'estate=demo')
      await cli(
        'firewall',
        'add-rule',
        'wall',
        '--direction',
        'in',
        '--protocol',
        'tcp',
        '--port',
        '22',
        '--source-ips',
        '192.0.2.0/24',
      )
      const made = await cli(
        ...['server', 'create', '--name', 'prod', '--type', 'cx23', '--image', 'ubuntu-24.04', '--location', 'nbg1'],
        ...['--ssh-key', 'laptop', '--network', 'inner', '--firewall', 'wall', '--label', 'estate=demo'],
      )
      expect(made).toContain('203.0.113.1')
      const [server] = control.dump().servers
      expect(server).toMatchObject({
        name: 'prod',
        status: 'running',
        privateNets: [{ ip: '10.0.1.1' }],
        labels: { estate: 'demo' },
      })
      expect(control.exposure(server?.id ?? 0).map(opening => opening.ports?.first)).toEqual([443, 22])
      expect(await cli('server', 'list', '--selector', 'estate=demo')).toMatch(/prod\s+running\s+203\.0\.113\.1/)
      expect(await cli('server', 'describe', 'prod')).toContain('10.0.1.1')
      await cli('server', 'create-image', 'prod', '--type', 'snapshot', '--description', 'golden', '--label', 'a=b')
      expect(await cli('image', 'list', '--type', 'snapshot')).toContain('golden')
      await cli('server', 'delete', 'prod')
      await cli('firewall', 'delete', 'wall')
      await cli('network', 'delete', 'inner')
      await cli('ssh-key', 'delete', 'laptop')
      expect(control.dump()).toMatchObject({ servers: [], firewalls: [], networks: [], keys: [], ips: [] })
    } finally {
      await front.stop()
    }
  }, 60_000)

  test('shows the operator the stand-in’s refusals as it shows the vendor’s', async () => {
    const { control, front } = openCloud()
    control.setStock('cx23', 'nbg1', 'silently_sold_out')
    try {
      const create = run(
        [hcloud ?? '', 'server', 'create', '--name', 'a', '--type', 'cx23', '--image', 'debian-12', '--location', 'nbg1'],
        {
          HCLOUD_ENDPOINT: front.url,
          HCLOUD_TOKEN: TOKEN,
        },
      )
      await expect(create).rejects.toThrow('error during placement (resource_unavailable)')
    } finally {
      await front.stop()
    }
  }, 30_000)
})

const SCRIPT = `
import os
from hcloud import Client, APIException
from hcloud.images.domain import Image
from hcloud.locations.domain import Location
from hcloud.server_types.domain import ServerType
from hcloud.firewalls.domain import FirewallRule

client = Client(token=os.environ["HCLOUD_TOKEN"], api_endpoint=os.environ["HCLOUD_ENDPOINT"], poll_interval=0.02)
assert "nbg1" in [location.name for location in client.locations.get_all()]
assert "cx23" in [kind.name for kind in client.server_types.get_all()]
assert "debian-12" in [image.name for image in client.images.get_all()]
key = client.ssh_keys.create(name="laptop", public_key=os.environ["PUBLIC_KEY"])
rule = FirewallRule(direction="in", protocol="tcp", port="22", source_ips=["192.0.2.0/24"], destination_ips=[])
wall = client.firewalls.create(name="wall", rules=[rule]).firewall
made = client.servers.create(
    name="prod", server_type=ServerType("cx23"), image=Image(name="debian-12"), location=Location("nbg1"),
    ssh_keys=[key], firewalls=[wall], labels={"estate": "demo"},
)
for action in [made.action, *made.next_actions]:
    action.wait_until_finished()
server = client.servers.get_by_name("prod")
assert server.status == "running", server.status
assert [entry.name for entry in client.servers.get_all(label_selector="estate=demo")] == ["prod"]
try:
    client.servers.create(name="prod", server_type=ServerType("cx23"), image=Image(name="debian-12"))
    raise SystemExit("a second server of the same name was made")
except APIException as error:
    assert error.code == "uniqueness_error", error.code
server.delete().wait_until_finished()
wall.delete()
key.delete()
print("done", server.public_net.ipv4.ip)
`

describe.if(hasPython)('the Python library', () => {
  test('lists, creates, waits for and deletes what it asks the stand-in for', async () => {
    const { control, front } = openCloud()
    try {
      const out = await run([PYTHON, '-c', SCRIPT], { HCLOUD_ENDPOINT: front.url, HCLOUD_TOKEN: TOKEN, PUBLIC_KEY: publicKey(4) })
      expect(out).toContain('done 203.0.113.1')
      expect(control.dump()).toMatchObject({ servers: [], firewalls: [], keys: [], ips: [] })
    } finally {
      await front.stop()
    }
  }, 30_000)
})
