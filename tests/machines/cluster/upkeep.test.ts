/**
 * A cluster of three in use: its programs restarted, its certificate renewed, a worker that comes and goes, a machine that loses its power, an image that was built here,
 * monitoring. Real Consul, Nomad, Caddy, Docker, registry and Prometheus; Grafana is one that only answers.
 */

import { afterAll, describe, expect, test } from 'bun:test'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CLOSE_TIMEOUT_MS, until } from '../base/world.ts'
import { AS_MANAGER, errorsOf, NODES, STEP_MS, say, summaryOf, useCluster, withApp } from './kit.ts'
import { dockerVariables, LOGIN, type Registry, startRegistry } from './registry.ts'
import { PROMETHEUS, RATE_PER_S, writeApp } from './rig.ts'

const { rig, configure, succeed, expectNothingToDo, expectSecure } = useCluster()

let registry: Registry | undefined
afterAll(async () => {
  await registry?.close()
}, CLOSE_TIMEOUT_MS)

describe('a cluster in use', () => {
  test(
    'stands, with an app',
    async () => {
      await succeed('cluster', 'apply', '--yes')
      for (const node of NODES) await rig().loadApp(node)
      configure(withApp('test/app:2'))
      await succeed('cluster', 'apply', '--yes')
      await expectSecure('version 2')
    },
    STEP_MS,
  )

  test(
    'restarts all of its programs, one machine after another, without failing a visitor',
    async () => {
      // Changed by hand, they are put back, which takes a restart each.
      for (const node of NODES) {
        await rig().inside(node, 'echo >>/etc/consul.d/consul.json; echo >>/etc/nomad.d/nomad.json')
        await rig().inside(node, 'echo "# changed" >>/etc/systemd/system/caddy.service')
      }
      const visitors = await rig().visitors()
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
    'does not take a configuration that Caddy refused for one that it runs with',
    async () => {
      // The certificate's key is as it was, but Caddy can no longer read it: it refuses any configuration with it.
      await rig().inside('node-2', 'echo "# changed" >>/etc/caddy/Caddyfile; chown root /etc/caddy/tls/key.pem')
      for (const _ of ['the first time', 'the second time']) {
        const { code, lines } = await rig().script('cluster', 'apply', '--yes')
        expect(code).toBe(1)
        expect(errorsOf(lines).map(line => line.message)).toEqual([
          expect.stringMatching(/Caddy does not take its new configuration: .*key\.pem: permission denied/),
        ])
        await expectSecure('version 2')
      }
      // Nor is one that it refused what it would start with.
      expect(await rig().inside('node-2', 'tail -n 1 /etc/caddy/Caddyfile')).toBe('# changed')
      await rig().inside('node-2', 'chown caddy /etc/caddy/tls/key.pem')
      expect((await succeed('cluster', 'apply', '--yes')).applied).toBe(1)
      await expectNothingToDo()
    },
    STEP_MS,
  )

  test(
    'restarts a program whose restart was cut short, though its files are as wanted',
    async () => {
      const started = () => rig().inside('node-3', 'systemctl show --property MainPID --value nomad')
      const before = await started()
      await rig().inside('node-3', 'echo >>/etc/nomad.d/nomad.json')
      // Whoever is about to restart Nomad there loses its power.
      const shim = '/usr/local/bin/systemctl'
      await rig().inside(
        'node-3',
        `printf '%s\\n' '#!/bin/sh' 'case $* in restart*) kill -9 $PPID ;; *) exec /usr/bin/systemctl "$@" ;; esac' >${shim}; chmod 755 ${shim}`,
      )
      expect((await rig().script('cluster', 'apply', '--yes')).code).toBe(1)
      await rig().inside('node-3', `rm ${shim}`)
      expect(await started()).toBe(before)
      const plan = await rig().script('cluster', 'plan')
      expect(plan.text).toContain('change nomad on node-3 (finish its last change)')
      expect((await succeed('cluster', 'apply', '--yes')).applied).toBe(1)
      expect(await started()).not.toBe(before)
      await expectNothingToDo()
    },
    STEP_MS,
  )

  test(
    'orders its certificate anew by a timer’s command, without failing a visitor, and changes nothing else',
    async () => {
      const serialOf = (node: string) => rig().inside(node, 'openssl x509 -noout -serial -in /etc/caddy/tls/cert.pem')
      const before = await serialOf('node')
      const summary = await succeed('cluster', 'renew', '--yes')
      expect({ changes: summary.changes, applied: summary.applied }).toEqual({ changes: 0, applied: 0 })
      await rig().inside('node', `${AS_MANAGER} nomad var purge landfall/certificate`)
      // A timer runs in a fresh checkout, which keeps no order from before.
      rmSync(join(rig().cwd, '.landfall/acme/certificates'), { recursive: true })
      // Something else that differs is left to apply.
      await rig().inside('node-2', 'echo >>/etc/nomad.d/nomad.json')
      const visitors = await rig().visitors()
      await succeed('cluster', 'renew', '--yes')
      const report = await visitors.stop()
      expect({ failed: report.failed, reasons: report.reasons }).toEqual({ failed: 0, reasons: {} })
      const after = await Promise.all(NODES.map(serialOf))
      expect(new Set(after).size).toBe(1)
      expect(after[0]).not.toBe(before)
      await expectSecure('version 2')
      const plan = await rig().script('cluster', 'plan')
      expect(plan.text).toContain('change nomad on node-2 (its configuration)')
      await succeed('cluster', 'apply', '--yes')
      await expectNothingToDo()
    },
    STEP_MS,
  )

  test(
    'takes a worker in, and moves its jobs before it goes, without failing a visitor',
    async () => {
      const config = withApp('test/app:2')
      const grown = (replicas: number) => ({
        ...config,
        servers: { ...config.servers, extra: { type: 'cx33' } },
        cluster: { ...config.cluster, workers: 'extra' },
        apps: { web: { ...config.apps.web, replicas } },
      })
      const running = (node: string) => rig().inside(node, "docker ps --format '{{.Image}}'")
      const known = () =>
        rig().inside('node', `${AS_MANAGER} nomad node status -json | sed -n 's/.*"Name": "\\(.*\\)",/\\1/p' | sort`)
      configure(grown(3))
      const { durationMs } = await succeed('cluster', 'apply', '--yes')
      say(`a worker more: ${Math.round(Number(durationMs) / 1000)} s`)
      await rig().loadApp('extra')
      configure(grown(4))
      await succeed('cluster', 'apply', '--yes')
      await expectNothingToDo()
      expect(await running('extra')).toContain('test/app:2')
      expect(await known()).toBe(['extra', ...NODES].join('\n'))

      configure(config)
      const refused = await rig().script('cluster', 'apply', '--yes')
      expect(refused.code).toBe(3)
      const visitors = await rig().visitors()
      await succeed('cluster', 'apply', '--yes', '--confirm', 'acme')
      const report = await visitors.stop()
      say(`a worker less: ${JSON.stringify(report)}`)
      expect({ failed: report.failed, reasons: report.reasons }).toEqual({ failed: 0, reasons: {} })
      expect(Object.keys(report.answers)).toEqual(['version 2'])
      expect(
        rig()
          .sandbox.controls.hetzner.dump()
          .servers.map(({ name }) => name)
          .sort(),
      ).toEqual([...NODES])
      expect(await known()).toBe(NODES.join('\n'))
      expect((await rig().script('cluster', 'status')).code).toBe(0)
      await expectNothingToDo()
    },
    2 * STEP_MS,
  )

  test(
    'loses a machine, and gets a new one in its place',
    async () => {
      const visitors = await rig().visitors()
      await Bun.sleep(3_000)
      await rig().kill('node-2')
      await Bun.sleep(25_000)
      const report = await visitors.stop()
      say(`one of three killed: ${JSON.stringify(report)}`)
      const { intervalS, timeoutS, retries } = rig().sandbox.controls.hetzner.dump().balancers[0]?.services[0]?.health ?? {
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

      const status = await rig().script('cluster', 'status')
      expect(status.code).toBe(1)
      expect(status.text).toContain('node-2')
      const refused = await rig().script('cluster', 'replace', 'node-2', '--yes')
      expect(refused.code).toBe(3)

      const replacing = rig().script('cluster', 'replace', 'node-2', '--yes', '--confirm', 'node-2')
      const { code, lines } = await replacing
      expect({ code, errors: errorsOf(lines) }).toEqual({ code: 0, errors: [] })
      say(`replaced: ${Math.round(Number(summaryOf(lines)?.durationMs) / 1000)} s`)
      await rig().loadApp('node-2')
      await expectNothingToDo()
      expect((await rig().script('cluster', 'status')).code).toBe(0)
      // The new one serves the certificate too, without a new order.
      await expectSecure('version 2')
    },
    STEP_MS,
  )

  test(
    'builds an image here, and runs it by its digest, pulled with a password',
    async () => {
      registry = await startRegistry(join(rig().cwd, 'registry'))
      const { host, folder, configFile } = registry
      await writeApp(join(rig().cwd, 'web'))
      const respond = ['/usr/bin/caddy', 'respond', '--listen', ':3000', '--body', 'version built\n']
      writeFileSync(join(rig().cwd, 'web/Dockerfile'), `FROM scratch\nCOPY . /\nENTRYPOINT ${JSON.stringify(respond)}\n`)
      Object.assign(rig().variables, { REGISTRY_PASSWORD: LOGIN.password, ...(await dockerVariables()) })
      const config = withApp(`${host}/acme/web`)
      const login = { url: host, username: LOGIN.username, password_env: 'REGISTRY_PASSWORD' }
      configure({ ...config, cluster: { ...config.cluster, registry: login, builds: { web: { context: 'web' } } } })
      const { outputs } = await succeed('cluster', 'build', 'web', '--yes')
      // Each machine has the registry on its own loopback, with all that was pushed to it.
      for (const node of NODES) {
        await rig().copyTo(node, folder, rig().cwd)
        await rig().inside(node, `systemd-run --quiet --unit=registry /usr/local/bin/registry serve ${configFile}`)
      }
      await succeed('cluster', 'apply', '--yes')
      await expectNothingToDo()
      await expectSecure('version built')
      for (const node of NODES) expect(await rig().inside(node, 'stat -c %a /etc/landfall/registries.json')).toBe('600')
      // What runs is known by the sum of its image alone; Docker tells which names that image was pulled by.
      const namesOn = async (node: string): Promise<string[][]> =>
        (
          await rig().inside(
            node,
            "for id in $(docker ps -q); do docker image inspect --format '{{json .RepoDigests}}' $(docker inspect --format '{{.Image}}' $id); done",
          )
        )
          .split('\n')
          .filter(Boolean)
          .map(line => (JSON.parse(line) ?? []) as string[])
      const image = (outputs as Record<string, string>).web_image ?? ''
      // A former instance runs on until nobody asks it for anything.
      const names = await until(
        async () => (await Promise.all(NODES.map(namesOn))).flat(),
        all => all.every(each => each.includes(image)),
        30_000,
      )
      expect(names).toEqual(Array.from({ length: config.apps.web.replicas }, () => [image]))
    },
    STEP_MS,
  )

  test(
    'is watched by Prometheus, which may read figures and nothing else',
    async () => {
      const config = withApp('test/app:2')
      // Grafana is a stand-in that answers every path; Prometheus is Debian's.
      const monitoring = { prometheus_image: PROMETHEUS, grafana_image: 'test/app:1' }
      configure({ ...config, cluster: { ...config.cluster, monitoring } })
      await succeed('cluster', 'apply', '--yes')
      await expectNothingToDo()
      const holders = await Promise.all(
        NODES.map(async node => [node, await rig().inside(node, 'ls -d /var/lib/nomad/alloc/*/grafana || true')] as const),
      )
      const [holder, folder] = holders.find(([, path]) => path !== '') ?? ['node', '']
      // Grafana can be reached at the end of a tunnel alone.
      expect(await rig().inside(holder, "ss -Hltn 'sport = :13000' | awk '{ print $4 }'")).toBe('127.0.0.1:13000')

      const address = await rig().inside(holder, "ss -Hltnp | awk '/docker-proxy/ && !/127.0.0.1/ { print $4 }'")
      const found = address.split('\n')
      const asked = async (credentials: string, path: string) =>
        Promise.all(found.map(each => rig().inside(holder, `curl -s -m 5 ${credentials} 'http://${each}${path}' || true`)))
      const up = `-G --data-urlencode 'query=count by (job, node) (up == 1)' -u "landfall:$(cat ${folder}/secrets/password)"`
      const parts = ['caddy', 'consul', 'nomad'].flatMap(job => NODES.map(node => `${job} ${node}`))
      const seen = await until(
        async () =>
          (await asked(up, '/api/v1/query'))
            .flatMap(text => [...text.matchAll(/\{"job":"(\w+)","node":"([\w-]+)"\}/g)].map(([, job, node]) => `${job} ${node}`))
            .sort(),
        all => all.length >= parts.length,
        90_000,
      )
      expect(seen).toEqual(parts)
      expect(
        (await asked('-o /dev/null -w "%{http_code}"', '/api/v1/query?query=up')).filter(code => code === '401'),
      ).toHaveLength(1)

      const token = await rig().inside(holder, 'cat /var/lib/nomad/alloc/*/prometheus/secrets/consul_token')
      const consul = `curl -s -o /dev/null -w "%{http_code}" -H "X-Consul-Token: ${token}" http://127.0.0.1:8500/v1`
      expect(await rig().inside(holder, `${consul}/agent/metrics`)).toBe('200')
      for (const [path, body] of [
        ['kv/stolen', 'x'],
        ['agent/service/register', '{"Name":"x"}'],
        ['acl/token', '{}'],
      ] as const)
        expect([path, await rig().inside(holder, `${consul}/${path} -X PUT -d '${body}'`)]).toEqual([path, '403'])

      configure(config)
      await succeed('cluster', 'apply', '--yes', '--confirm', 'acme')
      await expectNothingToDo()
      // A job that is gone has told its visitors so for ten seconds before its container ends.
      const running = () => rig().inside(holder, "docker ps --format '{{.Image}}' | grep -c prometheus || true")
      await until(running, count => count === '0', 30_000)
      expect(await rig().inside(holder, `${consul}/agent/metrics`)).toBe('403')
      const rights = await rig().inside('node', `${AS_MANAGER} consul acl token list; consul acl policy list`)
      expect(rights).toContain('landfall-agent')
      expect(rights).not.toContain('landfall-metrics')
      const secrets = await rig().inside('node', `${AS_MANAGER} nomad var list -out terse`)
      expect(secrets).toContain('nomad/jobs/')
      expect(secrets).not.toContain('grafana')
    },
    2 * STEP_MS,
  )
})
