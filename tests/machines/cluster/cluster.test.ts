/**
 * A cluster of three with real Consul, Nomad and Caddy on stock Debian machines: set up in the right order, deployed to under load, one
 * machine killed and replaced. What stands in front is a balancer of the test's own, with the health check that Landfall gave Hetzner's.
 */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { STRANGER } from '../../../lib/sandbox/exposure.ts'
import { BUILD_TIMEOUT_MS, CLOSE_TIMEOUT_MS } from '../base/world.ts'
import { type ClusterRig, type Line, openRig, RATE_PER_S } from './rig.ts'

const STEP_MS = 5 * 60_000
const NODES = ['node-1', 'node-2', 'node-3'] as const

const BASE = {
  project: 'acme',
  dns: { domain: 'example.com' },
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  placement_groups: ['nodes'],
  servers: { node: { type: 'cx33', count: 3, placement_group: 'nodes' } },
  cluster: { servers: 'node', reserved_memory_mb: 64 },
}
const withApp = (image: string) => ({
  ...BASE,
  apps: {
    web: {
      source: { image },
      port: 3000,
      replicas: 3,
      memory_mb: 64,
      env_file: 'web.env',
      health: { path: '/', interval_s: 1, timeout_s: 1, start_s: 5, retries: 2 },
      domains: [{ host: 'www.example.com', https: false }, { host: 'secure.example.com' }],
    },
  },
})

let rig: ClusterRig

beforeAll(async () => {
  rig = await openRig(BASE)
  writeFileSync(join(rig.cwd, 'web.env'), 'GREETING=hello\nAPI_KEY=canary-of-the-cluster\n')
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await rig?.close()
}, CLOSE_TIMEOUT_MS)

const configure = (config: Readonly<Record<string, unknown>>): void =>
  writeFileSync(join(rig.cwd, 'config.json'), JSON.stringify(config, null, 2))

const summaryOf = (lines: readonly Line[]): Line | undefined => lines.find(line => line.type === 'summary')
const errorsOf = (lines: readonly Line[]): Line[] => lines.filter(line => line.type === 'error')

async function succeed(...words: string[]): Promise<Line> {
  const { code, lines, text } = await rig.script(...words)
  expect({ code, errors: errorsOf(lines) }).toEqual({ code: 0, errors: [] })
  expect(text).not.toContain('canary-of-the-cluster')
  return summaryOf(lines) ?? { type: 'none' }
}

/** Every request of a whole command that could change something, by any vendor and over SSH. */
async function expectNothingToDo(): Promise<void> {
  const { changes, applied, requests } = await succeed('cluster', 'apply', '--yes')
  const writes = Object.values(requests as Record<string, { writes: number }>).reduce((sum, each) => sum + each.writes, 0)
  expect({ changes, applied, writes }).toEqual({ changes: 0, applied: 0, writes: 0 })
}

/** Each of the machines ends TLS itself, with a certificate that holds, and sends plain HTTP there. */
async function expectSecure(text: string): Promise<void> {
  const each = (answer: { status: string; location: string; text: string }) => NODES.map(machine => ({ machine, ...answer }))
  const sorted = async (url: string) => [...(await rig.ask(url))].sort((a, b) => (a.machine < b.machine ? -1 : 1))
  expect(await sorted('https://secure.example.com/')).toEqual(each({ status: '200', location: '', text }))
  expect(await sorted('http://secure.example.com/a?b')).toEqual(
    each({ status: '308', location: 'https://secure.example.com/a?b', text: '' }),
  )
}

const say = (text: string) => process.stderr.write(`${text}\n`)

describe('a cluster of three', () => {
  test(
    'comes to life from stock servers, and has nothing to do the second time',
    async () => {
      const { outputs, durationMs } = await succeed('cluster', 'apply', '--yes')
      expect(outputs).toMatchObject({
        load_balancer_ip: expect.stringMatching(/^203\.0\.113\./),
        nomad_ui_url: 'http://127.0.0.1:4646/ui',
        consul_ui_url: 'http://127.0.0.1:8500/ui',
      })
      say(`cluster from nothing: ${Math.round(Number(durationMs) / 1000)} s`)
      await expectNothingToDo()
    },
    STEP_MS,
  )

  test(
    'shows a stranger nothing but SSH, and one without a token on a machine nothing that matters',
    async () => {
      const ports = [22, 80, 443, 4646, 4647, 4648, 8300, 8301, 8500, 8600] as const
      for (const { ipv4, ipv6 } of rig.sandbox.controls.hetzner.serversForMachines()) {
        const reached = async (source: string, address: string) => {
          const states = await Promise.all(ports.map(port => rig.containers.probe(source, address, port)))
          return ports.filter((_, index) => states[index] !== 'silent')
        }
        expect(await reached(STRANGER.ipv4, ipv4 ?? '')).toEqual([22])
        expect(await reached(STRANGER.ipv6, ipv6?.replace('/64', '1') ?? '')).toEqual([22])
      }
      // On a machine itself, whoever shows no token finds services and changes nothing.
      const asked = 'curl -s -o /dev/null -w "%{http_code}" http://127.0.0.1'
      for (const [path, body] of [
        ['kv/stolen', 'x'],
        ['agent/service/register', '{"Name":"x"}'],
        ['catalog/register', '{"Node":"x","Address":"192.0.2.1"}'],
        ['acl/token', '{}'],
      ] as const)
        expect([path, await rig.inside('node-1', `${asked}:8500/v1/${path} -X PUT -d '${body}'`)]).toEqual([path, '403'])
      expect(await rig.inside('node-1', `${asked}:8500/v1/agent/self`)).toBe('403')
      expect(await rig.inside('node-1', `${asked}:4646/v1/jobs`)).toBe('403')
      for (const name of ['consul.d/consul.json', 'nomad.d/nomad.json', 'landfall/cluster.json'])
        expect(await rig.inside('node-1', `stat -c %a /etc/${name}`)).toBe('600')
    },
    STEP_MS,
  )

  test(
    'runs an app, and rolls a new version out without failing a visitor',
    async () => {
      for (const node of NODES) await rig.loadApp(node)
      configure(withApp('test/app:1'))
      const first = await succeed('cluster', 'apply', '--yes')
      expect(first.outputs).toMatchObject({ environment_url: 'http://www.example.com' })
      await expectNothingToDo()
      await expectSecure('version 1')
      const visitors = await rig.visitors()
      await Bun.sleep(2_000)
      configure(withApp('test/app:2'))
      const { durationMs } = await succeed('cluster', 'deploy', 'web', '--yes')
      // The old instances are told to end when the new ones have taken over, and have ten seconds for it.
      await Bun.sleep(12_000)
      const report = await visitors.stop()
      say(`rollout: ${JSON.stringify(report)}, ${Math.round(Number(durationMs) / 1000)} s`)
      expect({ failed: report.failed, reasons: report.reasons }).toEqual({ failed: 0, reasons: {} })
      expect(Object.keys(report.answers).sort()).toEqual(['version 1', 'version 2'])
      expect(report.sent).toBeGreaterThan(RATE_PER_S * 20)
    },
    STEP_MS,
  )

  test(
    'restarts all of its programs, one machine after another, without failing a visitor',
    async () => {
      // Changed by hand, they are put back, which takes a restart each.
      for (const node of NODES) {
        await rig.inside(node, 'echo >>/etc/consul.d/consul.json; echo >>/etc/nomad.d/nomad.json')
        await rig.inside(node, 'echo "# changed" >>/etc/systemd/system/caddy.service')
      }
      const visitors = await rig.visitors()
      const { applied, durationMs } = await succeed('cluster', 'apply', '--yes')
      const report = await visitors.stop()
      say(`nine programs restarted: ${JSON.stringify(report)}, ${Math.round(Number(durationMs) / 1000)} s`)
      expect(applied).toBe(NODES.length * 3)
      expect({ failed: report.failed, reasons: report.reasons }).toEqual({ failed: 0, reasons: {} })
      // Each was out for its Consul's restart and for its Caddy's.
      expect(Object.values(report.takenOut)).toEqual(NODES.map(() => 2))
      await expectNothingToDo()
    },
    STEP_MS,
  )

  test(
    'replaces a machine that is alive without failing a visitor',
    async () => {
      const idOf = () => rig.sandbox.controls.hetzner.dump().servers.find(server => server.name === 'node-3')?.id
      const before = idOf()
      const visitors = await rig.visitors()
      const replacing = rig.script('cluster', 'replace', 'node-3', '--yes', '--confirm', 'node-3')
      const { code, lines } = await replacing
      const report = await visitors.stop()
      expect({ code, errors: errorsOf(lines) }).toEqual({ code: 0, errors: [] })
      say(`replaced alive: ${JSON.stringify(report)}, ${Math.round(Number(summaryOf(lines)?.durationMs) / 1000)} s`)
      expect({ failed: report.failed, reasons: report.reasons }).toEqual({ failed: 0, reasons: {} })
      expect(idOf()).toEqual(expect.any(Number))
      expect(idOf()).not.toBe(before)
      await rig.loadApp('node-3')
      await expectNothingToDo()
      await expectSecure('version 2')
    },
    STEP_MS,
  )

  test(
    'loses a machine, and gets a new one in its place',
    async () => {
      const visitors = await rig.visitors()
      await Bun.sleep(3_000)
      await rig.kill('node-2')
      await Bun.sleep(25_000)
      const report = await visitors.stop()
      say(`one of three killed: ${JSON.stringify(report)}`)
      const { intervalS, timeoutS, retries } = rig.sandbox.controls.hetzner.dump().balancers[0]?.services[0]?.health ?? {
        intervalS: 0,
        timeoutS: 0,
        retries: 0,
      }
      // Until its health checks have taken the machine out, every third visitor is sent to it.
      const blindS = retries * (intervalS + timeoutS)
      expect(report.failed).toBeLessThanOrEqual(Math.ceil((blindS * RATE_PER_S) / NODES.length) + RATE_PER_S / 10)
      expect(report.failed).toBeGreaterThan(0)
      expect(report.failingMs).toBeLessThan((blindS + 1) * 1000)
      expect(Object.keys(report.answers)).toEqual(['version 2'])

      const status = await rig.script('cluster', 'status')
      expect(status.code).toBe(1)
      expect(status.text).toContain('node-2')
      const refused = await rig.script('cluster', 'replace', 'node-2', '--yes')
      expect(refused.code).toBe(3)

      const replacing = rig.script('cluster', 'replace', 'node-2', '--yes', '--confirm', 'node-2')
      const { code, lines } = await replacing
      expect({ code, errors: errorsOf(lines) }).toEqual({ code: 0, errors: [] })
      say(`replaced: ${Math.round(Number(summaryOf(lines)?.durationMs) / 1000)} s`)
      await rig.loadApp('node-2')
      await expectNothingToDo()
      expect((await rig.script('cluster', 'status')).code).toBe(0)
      // The new one serves the certificate too, without a new order.
      await expectSecure('version 2')
    },
    STEP_MS,
  )

  test(
    'takes a version back that does not become healthy, and says why',
    async () => {
      const visitors = await rig.visitors()
      configure(withApp('test/app:broken'))
      const { code, lines } = await rig.script('cluster', 'deploy', 'web', '--yes')
      expect(code).toBe(1)
      expect(
        errorsOf(lines)
          .map(line => line.message)
          .join(),
      ).toContain('Nomad took it back')
      const report = await visitors.stop()
      expect({ failed: report.failed, answers: Object.keys(report.answers) }).toEqual({ failed: 0, answers: ['version 2'] })
      configure(withApp('test/app:2'))
      await expectNothingToDo()
    },
    STEP_MS,
  )

  test(
    'compares the variables of an app by name, and shows no value',
    async () => {
      const compared = async () => {
        const { code, lines, text } = await rig.script('cluster', 'secrets', 'web')
        expect(code).toBe(0)
        expect(text).not.toContain('canary-of-the-cluster')
        return lines.find(line => line.app === 'web')
      }
      expect(await compared()).toMatchObject({ same: ['GREETING', 'API_KEY'], added: [], changed: [], removed: [] })
      writeFileSync(join(rig.cwd, 'web.env'), 'GREETING=welcome\nMODE=fast\n')
      expect(await compared()).toMatchObject({ same: [], added: ['MODE'], changed: ['GREETING'], removed: ['API_KEY'] })
      const plan = await rig.script('cluster', 'plan')
      expect(plan.code).toBe(2)
      expect(plan.text).toContain('"+ MODE","~ GREETING","- API_KEY"')
      expect(plan.text).not.toContain('canary-of-the-cluster')
    },
    STEP_MS,
  )
})
