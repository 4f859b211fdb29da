/**
 * A cluster of three with real Consul, Nomad and Caddy on stock Debian machines: set up in the right order, deployed to and a machine replaced
 * under load. What stands in front is a balancer of the test's own, with the health check that Landfall gave Hetzner's.
 */

import { describe, expect, test } from 'bun:test'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { STRANGER } from '../../../lib/sandbox/exposure.ts'
import { until } from '../base/world.ts'
import { AS_MANAGER, errorsOf, NODES, STEP_MS, say, summaryOf, useCluster, withApp } from './kit.ts'
import { RATE_PER_S } from './rig.ts'

const { rig, configure, succeed, expectNothingToDo, expectSecure } = useCluster()

/** Of each instance that runs, by machine. */
const greetings = async (): Promise<string[]> => {
  const all = await Promise.all(
    NODES.map(node =>
      rig().inside(
        node,
        "docker ps -q | xargs -r docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' | grep ^GREETING= || true",
      ),
    ),
  )
  return all.flatMap(text => text.split('\n').filter(Boolean)).sort()
}

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
      for (const { ipv4, ipv6 } of rig().sandbox.controls.hetzner.serversForMachines()) {
        const reached = async (source: string, address: string) => {
          const states = await Promise.all(ports.map(port => rig().containers.probe(source, address, port)))
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
        expect([path, await rig().inside('node', `${asked}:8500/v1/${path} -X PUT -d '${body}'`)]).toEqual([path, '403'])
      expect(await rig().inside('node', `${asked}:8500/v1/agent/self`)).toBe('403')
      expect(await rig().inside('node', `${asked}:4646/v1/jobs`)).toBe('403')
      for (const name of ['consul.d/consul.json', 'nomad.d/nomad.json', 'landfall/cluster.json'])
        expect(await rig().inside('node', `stat -c %a /etc/${name}`)).toBe('600')
    },
    STEP_MS,
  )

  test(
    'tries a first version that failed again, once what it failed for is gone',
    async () => {
      // No machine has its image yet, and none can pull it.
      configure(withApp('test/app:1'))
      const { code, lines } = await rig().script('cluster', 'apply', '--yes')
      expect(code).toBe(1)
      expect(errorsOf(lines).map(line => line.message)).toEqual([
        expect.stringContaining('The new version of web did not become healthy.'),
      ])
      for (const node of NODES) await rig().loadApp(node)
      await succeed('cluster', 'apply', '--yes')
      await expectSecure('version 1')
      await expectNothingToDo()
    },
    STEP_MS,
  )

  test(
    'runs an app, and rolls a new version out without failing a visitor',
    async () => {
      configure(withApp('test/app:1'))
      const first = await succeed('cluster', 'apply', '--yes')
      expect(first.outputs).toMatchObject({ environment_url: 'http://www.example.com' })
      await expectNothingToDo()
      await expectSecure('version 1')
      const visitors = await rig().visitors()
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
    'replaces a machine that is alive without failing a visitor',
    async () => {
      const idOf = () =>
        rig()
          .sandbox.controls.hetzner.dump()
          .servers.find(server => server.name === 'node-3')?.id
      const before = idOf()
      const visitors = await rig().visitors()
      const replacing = rig().script('cluster', 'replace', 'node-3', '--yes', '--confirm', 'node-3')
      const { code, lines } = await replacing
      const report = await visitors.stop()
      expect({ code, errors: errorsOf(lines) }).toEqual({ code: 0, errors: [] })
      say(`replaced alive: ${JSON.stringify(report)}, ${Math.round(Number(summaryOf(lines)?.durationMs) / 1000)} s`)
      expect({ failed: report.failed, reasons: report.reasons }).toEqual({ failed: 0, reasons: {} })
      expect(idOf()).toEqual(expect.any(Number))
      expect(idOf()).not.toBe(before)
      await rig().loadApp('node-3')
      await expectNothingToDo()
      await expectSecure('version 2')
    },
    STEP_MS,
  )

  test(
    'takes a version back that does not become healthy, and says why; its variables go with it',
    async () => {
      const env = join(rig().cwd, 'web.env')
      const before = readFileSync(env, 'utf8')
      const visitors = await rig().visitors()
      configure(withApp('test/app:broken'))
      writeFileSync(env, 'GREETING=broken\n')
      const { code, lines } = await rig().script('cluster', 'deploy', 'web', '--yes')
      expect(code).toBe(1)
      expect(
        errorsOf(lines)
          .map(line => line.message)
          .join(),
      ).toContain('Nomad took it back')
      const report = await visitors.stop()
      expect({ failed: report.failed, answers: Object.keys(report.answers) }).toEqual({ failed: 0, answers: ['version 2'] })
      // One that has to start again does so as it was.
      const ended = await rig().inside('node', 'docker kill $(docker ps -q --filter ancestor=test/app:2)')
      const hello = NODES.map(() => 'GREETING=hello')
      const now = async () => ((await rig().inside('node', 'docker ps -q')).includes(ended) ? [] : greetings())
      expect(await until(now, all => all.length === hello.length, 60_000)).toEqual(hello)
      configure(withApp('test/app:2'))
      writeFileSync(env, before)
      // The variables that failed are forgotten.
      expect((await succeed('cluster', 'apply', '--yes')).applied).toBe(1)
      await expectNothingToDo()
    },
    STEP_MS,
  )

  test(
    'knows an app for rolled out when Nomad has forgotten the rollout',
    async () => {
      const nomad = (words: string) => rig().inside('node', `${AS_MANAGER} nomad ${words}`)
      const running = async () =>
        (JSON.parse(await nomad('job allocs -json web')) as Record<'ID' | 'ClientStatus' | 'DesiredStatus', string>[]).flatMap(
          each => (each.ClientStatus === 'running' && each.DesiredStatus === 'run' ? [each.ID] : []),
        )
      // Instances that moved belong to no rollout; Nomad keeps one only for those that do.
      for (const id of await running()) await nomad(`alloc stop -detach ${id}`)
      const left = await until(
        async () => {
          await nomad('system gc')
          return nomad('job deployments -json web')
        },
        each => each === '[]',
        60_000,
      )
      expect(left).toBe('[]')
      expect(
        await until(
          async () => (await running()).length,
          count => count === NODES.length,
          60_000,
        ),
      ).toBe(NODES.length)
      await expectNothingToDo()
      await expectSecure('version 2')
    },
    STEP_MS,
  )

  test(
    'compares the variables of an app by name, and shows no value',
    async () => {
      const compared = async () => {
        const { code, lines, text } = await rig().script('cluster', 'secrets', 'web')
        expect(code).toBe(0)
        expect(text).not.toContain('canary-of-the-cluster')
        return lines.find(line => line.app === 'web')
      }
      expect(await compared()).toMatchObject({ same: ['GREETING', 'API_KEY'], added: [], changed: [], removed: [] })
      writeFileSync(join(rig().cwd, 'web.env'), 'GREETING=welcome\nMODE=fast\n')
      expect(await compared()).toMatchObject({ same: [], added: ['MODE'], changed: ['GREETING'], removed: ['API_KEY'] })
      const plan = await rig().script('cluster', 'plan')
      expect(plan.code).toBe(2)
      expect(plan.text).toContain('"+ MODE","~ GREETING","- API_KEY"')
      expect(plan.text).not.toContain('canary-of-the-cluster')
      await succeed('cluster', 'deploy', 'web', '--yes')
      expect(await compared()).toMatchObject({ same: ['GREETING', 'MODE'], added: [], changed: [], removed: [] })
      const welcome = NODES.map(() => 'GREETING=welcome')
      // A former instance runs on until nobody asks it for anything.
      expect(await until(greetings, all => all.length === welcome.length, 60_000)).toEqual(welcome)
      await expectNothingToDo()
    },
    STEP_MS,
  )
})
