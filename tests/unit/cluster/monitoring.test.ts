/** Monitoring as Nomad jobs: figures are read on loopback, kept behind a password, looked at through a tunnel; no secret stands in a job. */

import { describe, expect, test } from 'bun:test'
import { caddyFiles } from '../../../lib/cluster/caddy.ts'
import {
  METRICS_JOB,
  MONITORING_JOB,
  metricsToken,
  monitoringVariables,
  renderMonitoring,
} from '../../../lib/cluster/monitoring.ts'
import { createAuthority } from '../../../lib/cluster/pki.ts'
import { consulFiles, nomadFiles } from '../../../lib/cluster/render.ts'
import { generateSecrets } from '../../../lib/cluster/secrets.ts'
import { load } from '../estate/configs.ts'

interface Task {
  readonly Name: string
  readonly Config: { readonly image: string; readonly args?: readonly string[]; readonly network_mode?: string }
  readonly Templates: readonly { readonly DestPath: string; readonly EmbeddedTmpl: string }[]
}
interface Group {
  readonly Tasks: readonly Task[]
  readonly Networks?: readonly { readonly DynamicPorts: unknown; readonly ReservedPorts: unknown }[]
}

const clusterOf = (monitoring?: Readonly<Record<string, unknown>>) => {
  const { cluster } = load({
    project: 'acme',
    dns: { domain: 'example.com' },
    hetzner: { location: 'nbg1', image: 'debian-12' },
    network: {},
    placement_groups: ['nodes'],
    servers: { node: { type: 'cx33', count: 3, placement_group: 'nodes' } },
    cluster: { servers: 'node', ...(monitoring ? { monitoring } : {}) },
  })
  if (!cluster) throw new Error('the test config has no cluster')
  return cluster
}
const jobsOf = (settings: Readonly<Record<string, unknown>> = {}) => {
  const cluster = clusterOf(settings)
  if (!cluster.monitoring) throw new Error('the test config has no monitoring')
  return renderMonitoring({ estate: 'acme', cluster, monitoring: cluster.monitoring })
}
const groupOf = (id: string): Group => {
  const groups = jobsOf().find(job => job.id === id)?.body.TaskGroups as readonly Group[] | undefined
  const [group] = groups ?? []
  if (!group) throw new Error(`${id} has no group`)
  return group
}
const templateOf = (id: string, task: string, path: string): string =>
  groupOf(id)
    .Tasks.find(each => each.Name === task)
    ?.Templates.find(each => each.DestPath === path)?.EmbeddedTmpl ?? ''

const secrets = generateSecrets(await createAuthority('acme', 0))

describe('the jobs', () => {
  test('run one reader on every machine, which listens on loopback, and one that keeps what they read', () => {
    const [reader, keeper] = jobsOf()
    expect(reader?.body).toMatchObject({ ID: METRICS_JOB, Type: 'system' })
    expect(keeper?.body).toMatchObject({ ID: MONITORING_JOB, Type: 'service', TaskGroups: [{ Count: 1 }] })
    expect(groupOf(METRICS_JOB).Tasks[0]?.Config).toMatchObject({
      network_mode: 'host',
      args: expect.arrayContaining(['--web.listen-address=127.0.0.1:9464']),
    })
  })

  test('let Grafana be reached on its machine’s loopback alone', () => {
    expect(groupOf(MONITORING_JOB).Networks).toMatchObject([
      {
        DynamicPorts: [{ Label: 'prometheus' }],
        ReservedPorts: [{ Label: 'grafana', Value: 13_000, HostNetwork: 'loopback' }],
      },
    ])
  })

  test('name images with a version, which the config may choose', () => {
    expect(jobsOf().map(job => job.image)).toEqual(['prom/prometheus:v2.53.2', 'prom/prometheus:v2.53.2'])
    expect(groupOf(MONITORING_JOB).Tasks.map(task => task.Config.image)).toEqual([
      'prom/prometheus:v2.53.2',
      'grafana/grafana:11.1.4',
    ])
    expect(jobsOf({ prometheus_image: 'prom/prometheus:v3.1.0' }).map(job => job.image)).toEqual([
      'prom/prometheus:v3.1.0',
      'prom/prometheus:v3.1.0',
    ])
    expect(() => clusterOf({ grafana_image: 'grafana/grafana' })).toThrow('an image with a version')
  })

  test('have Caddy read on servers only, and each figure carry its machine', () => {
    const config = templateOf(METRICS_JOB, 'prometheus', 'local/prometheus.yml')
    expect(config).toContain('[[ if or (eq $name "node") (eq $name "node-2") (eq $name "node-3") false ]]')
    expect(config).toContain('node: [[ env "node.unique.name" ]]')
    expect(config.match(/targets: \["127\.0\.0\.1:\d+"\]/g)).toHaveLength(3)
  })

  test('bring a dashboard that is JSON, with its source', () => {
    const dashboard = JSON.parse(templateOf(MONITORING_JOB, 'grafana', 'local/dashboards/cluster.json')) as {
      panels: { datasource: { uid: string }; targets: { expr: string }[] }[]
    }
    const source = templateOf(MONITORING_JOB, 'grafana', 'local/provisioning/datasources/landfall.yml')
    for (const panel of dashboard.panels) {
      expect(source).toContain(`uid: ${panel.datasource.uid}\n`)
      expect(panel.targets.every(({ expr }) => expr !== '')).toBe(true)
    }
    // Its legends have Nomad's usual brackets, which must reach Grafana as they are.
    expect(JSON.stringify(dashboard)).toContain('{{node}}')
    expect(JSON.stringify(dashboard)).not.toContain('[[')
  })

  test('change with the retention, and hold no secret', () => {
    expect(jobsOf({ retention_days: 30 }).map(job => job.hash)).not.toEqual(jobsOf().map(job => job.hash))
    const text = JSON.stringify(jobsOf().map(job => job.body))
    for (const id of [METRICS_JOB, MONITORING_JOB])
      for (const [, value] of monitoringVariables(id, secrets, new Map())) expect(text).not.toContain(value.reveal())
  })
})

describe('the secrets', () => {
  const valuesOf = (id: string, have: Parameters<typeof monitoringVariables>[2] = new Map()) =>
    new Map(monitoringVariables(id, secrets, have).map(([name, value]) => [name, value] as const))

  test('are the same each time, so that nothing is written twice', () => {
    const first = valuesOf(MONITORING_JOB)
    const again = valuesOf(MONITORING_JOB, first)
    expect([...again].map(([name, value]) => [name, value.reveal()])).toEqual(
      [...first].map(([name, value]) => [name, value.reveal()]),
    )
    expect(valuesOf(METRICS_JOB).get('password')?.reveal()).toBe(first.get('password')?.reveal() ?? '')
  })

  test('the hash is of the password, and made anew where another one is kept', () => {
    const values = valuesOf(MONITORING_JOB)
    const [password, hash] = [values.get('password'), values.get('password_hash')]
    expect(Bun.password.verifySync(password?.reveal() ?? '', hash?.reveal() ?? '')).toBe(true)
    const other = Bun.password.hashSync('another', { algorithm: 'bcrypt', cost: 4 })
    const replaced = valuesOf(MONITORING_JOB, new Map([['password_hash', { reveal: () => other } as never]])).get('password_hash')
    expect(Bun.password.verifySync(password?.reveal() ?? '', replaced?.reveal() ?? '')).toBe(true)
  })

  test('the token is a UUID that is none of the cluster’s others', () => {
    const token = metricsToken(secrets).reveal()
    expect(token).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/)
    expect([secrets.consulManagement, secrets.consulAgent, secrets.nomadManagement].map(each => each.reveal())).not.toContain(
      token,
    )
  })
})

test('the machines show their figures only where they are asked for', () => {
  const node = { name: 'node', role: 'server', privateIp: '172.16.0.3', interface: 'enp7s0' } as const
  for (const [cluster, shown] of [
    [clusterOf({}), true],
    [clusterOf(), false],
  ] as const) {
    expect(consulFiles(cluster, node, secrets).config.reveal().includes('prometheus_retention_time')).toBe(shown)
    expect(nomadFiles(cluster, node, secrets).config.reveal().includes('host_network')).toBe(shown)
    expect(caddyFiles(cluster, undefined).config.reveal().includes('\tservers {\n\t\tmetrics\n')).toBe(shown)
  }
})
