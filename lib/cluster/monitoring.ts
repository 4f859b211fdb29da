/**
 * Prometheus and Grafana as Nomad jobs. Consul, Nomad and Caddy show their figures on their machines' loopback only, so a small Prometheus on
 * each machine reads them there and passes them on to the one that keeps them; Grafana listens on loopback too, at the end of a tunnel. Pure.
 */

import { createHmac } from 'node:crypto'
import type { ClusterSpec, MonitoringSpec } from '../estate/cluster.ts'
import { Secret } from '../secret.ts'
import { DASHBOARD } from './dashboard.ts'
import { renderTask, type Variables, type WantedJob, withHash } from './job.ts'
import type { ClusterSecrets } from './secrets.ts'

export const MONITORING_JOB = 'landfall-monitoring'
export const METRICS_JOB = 'landfall-metrics'
export const MONITORING_JOBS = [METRICS_JOB, MONITORING_JOB] as const
/** On the loopback of the machine that runs Grafana. */
export const GRAFANA_PORT = 13_000
const METRICS_PORT = 9464
export const METRICS_POLICY = 'landfall-metrics'
/** What `agent/metrics` asks for, and nothing else. */
export const METRICS_RULES = 'agent_prefix "" { policy = "read" }\n'

const USER = 'landfall'

/** Made from what the cluster's servers keep, so that there is nothing further to keep. */
const derived = (secrets: ClusterSecrets, what: string): Buffer =>
  createHmac('sha256', secrets.nomadManagement.reveal()).update(`landfall ${what}`).digest()

export const grafanaPassword = (secrets: ClusterSecrets): Secret =>
  new Secret('Grafana password', derived(secrets, 'grafana').toString('base64url').slice(0, 32))

/** What Prometheus shows to Consul's agents: may read their figures. */
export const metricsToken = (secrets: ClusterSecrets): Secret => {
  const hex = derived(secrets, 'consul metrics').toString('hex')
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `a${hex.slice(17, 20)}`, hex.slice(20, 32)]
  return new Secret('consul token of the monitoring', parts.join('-'))
}

const prometheusPassword = (secrets: ClusterSecrets): Secret =>
  new Secret('Prometheus password', derived(secrets, 'prometheus').toString('base64url').slice(0, 32))

/** A hash that fits the password: the one that is kept already, where it does, because each new one is another. */
const hashFor = (password: Secret, have: Secret | undefined): Secret =>
  have?.reveal().startsWith('$2') && Bun.password.verifySync(password.reveal(), have.reveal())
    ? have
    : // The password is 190 bits of chance: what makes guessing slow is not needed.
      new Secret('hash of the Prometheus password', Bun.password.hashSync(password.reveal(), { algorithm: 'bcrypt', cost: 4 }))

/** @param have what Nomad keeps now */
export function monitoringVariables(job: string, secrets: ClusterSecrets, have: ReadonlyMap<string, Secret>): Variables {
  const password = prometheusPassword(secrets)
  return job === METRICS_JOB
    ? [
        ['password', password],
        ['consul_token', metricsToken(secrets)],
      ]
    : [
        ['password', password],
        ['password_hash', hashFor(password, have.get('password_hash'))],
        ['grafana_password', grafanaPassword(secrets)],
      ]
}

// ── files of the tasks ──

/** Other brackets than Nomad's own: Grafana's and Prometheus's texts have those for themselves. */
const template = (path: string, text: string, change: 'noop' | 'restart' | 'SIGHUP' = 'noop') => ({
  DestPath: path,
  EmbeddedTmpl: text,
  LeftDelim: '[[',
  RightDelim: ']]',
  ...(change === 'SIGHUP' ? { ChangeMode: 'signal', ChangeSignal: 'SIGHUP' } : { ChangeMode: change }),
})

const variable = (job: string, name: string): string => `[[ with nomadVar "nomad/jobs/${job}" ]][[ .${name} ]][[ end ]]`

const lines = (...all: readonly string[]): string => `${all.join('\n')}\n`

const SCRAPE_S = 15

const readerConfig = (servers: readonly string[]): string =>
  lines(
    'global:',
    `  scrape_interval: ${SCRAPE_S}s`,
    '  external_labels:',
    '    node: [[ env "node.unique.name" ]]',
    'scrape_configs:',
    '  - job_name: nomad',
    '    metrics_path: /v1/metrics',
    '    params: { format: [prometheus] }',
    '    static_configs: [{ targets: ["127.0.0.1:4646"] }]',
    '  - job_name: consul',
    '    metrics_path: /v1/agent/metrics',
    '    params: { format: [prometheus] }',
    '    authorization: { credentials_file: /secrets/consul_token }',
    '    static_configs: [{ targets: ["127.0.0.1:8500"] }]',
    // Only servers have a Caddy.
    `[[ $name := env "node.unique.name" ]][[ if or ${servers.map(name => `(eq $name "${name}")`).join(' ')} false ]]`,
    '  - job_name: caddy',
    '    static_configs: [{ targets: ["127.0.0.1:2019"] }]',
    '[[ end ]]',
    'remote_write:',
    '[[ range service "landfall-prometheus" ]]',
    '  - url: http://[[ .Address ]]:[[ .Port ]]/api/v1/write',
    `    basic_auth: { username: ${USER}, password_file: /secrets/password }`,
    '[[ end ]]',
  )

const DATASOURCES = lines(
  'apiVersion: 1',
  'datasources:',
  '  - name: Prometheus',
  '    uid: prometheus',
  '    type: prometheus',
  '    access: proxy',
  '    isDefault: true',
  '    url: http://[[ env "NOMAD_ADDR_prometheus" ]]',
  '    basicAuth: true',
  `    basicAuthUser: ${USER}`,
  '    secureJsonData: { basicAuthPassword: "$__file{/secrets/password}" }',
)

const DASHBOARDS = lines(
  'apiVersion: 1',
  'providers:',
  '  - name: landfall',
  '    type: file',
  '    options: { path: /local/dashboards }',
)

// ── the jobs ──

interface MonitoringContext {
  readonly estate: string
  readonly cluster: Pick<ClusterSpec, 'datacenter' | 'servers'>
  readonly monitoring: MonitoringSpec
}

const jobOf = (id: string, type: 'service' | 'system', { cluster }: MonitoringContext) => ({
  ID: id,
  Name: id,
  Type: type,
  Region: 'global',
  Datacenters: [cluster.datacenter],
})

const metricsJob = (context: MonitoringContext): WantedJob => {
  const { prometheusImage: image } = context.monitoring
  const task = {
    ...renderTask('prometheus', { image, cpuMhz: 50, memoryMb: 192 }),
    Config: {
      image,
      network_mode: 'host',
      args: [
        '--config.file=/local/prometheus.yml',
        '--storage.tsdb.path=/alloc/data',
        '--storage.tsdb.retention.time=2h',
        `--web.listen-address=127.0.0.1:${METRICS_PORT}`,
      ],
    },
    Templates: [
      template('local/prometheus.yml', readerConfig(context.cluster.servers), 'SIGHUP'),
      template('secrets/password', variable(METRICS_JOB, 'password')),
      template('secrets/consul_token', variable(METRICS_JOB, 'consul_token')),
    ],
  }
  const body = { ...jobOf(METRICS_JOB, 'system', context), TaskGroups: [{ Name: 'metrics', Tasks: [task] }] }
  return withHash(body, { id: METRICS_JOB, image, estate: context.estate })
}

const seconds = (s: number): number => s * 1_000_000_000

const monitoringJob = (context: MonitoringContext): WantedJob => {
  const { prometheusImage, grafanaImage, retentionDays } = context.monitoring
  const prometheus = {
    ...renderTask('prometheus', { image: prometheusImage, cpuMhz: 200, memoryMb: 512 }),
    Config: {
      image: prometheusImage,
      ports: ['prometheus'],
      args: [
        '--config.file=/local/prometheus.yml',
        '--web.config.file=/secrets/web.yml',
        '--web.enable-remote-write-receiver',
        '--storage.tsdb.path=/alloc/data/prometheus',
        `--storage.tsdb.retention.time=${retentionDays}d`,
      ],
    },
    Templates: [
      template('local/prometheus.yml', lines('global:', `  scrape_interval: ${SCRAPE_S}s`)),
      template(
        'secrets/web.yml',
        lines('basic_auth_users:', `  ${USER}: '${variable(MONITORING_JOB, 'password_hash')}'`),
        'restart',
      ),
    ],
  }
  const grafana = {
    ...renderTask('grafana', { image: grafanaImage, cpuMhz: 100, memoryMb: 256 }),
    Config: { image: grafanaImage, ports: ['grafana'] },
    Env: {
      GF_PATHS_DATA: '/alloc/data/grafana',
      GF_PATHS_PROVISIONING: '/local/provisioning',
      GF_SECURITY_ADMIN_PASSWORD__FILE: '/secrets/grafana_password',
      GF_USERS_ALLOW_SIGN_UP: 'false',
      GF_ANALYTICS_REPORTING_ENABLED: 'false',
      GF_ANALYTICS_CHECK_FOR_UPDATES: 'false',
    },
    Templates: [
      template('local/provisioning/datasources/landfall.yml', DATASOURCES),
      template('local/provisioning/dashboards/landfall.yml', DASHBOARDS),
      template('local/dashboards/cluster.json', `${JSON.stringify(DASHBOARD, null, 2)}\n`),
      template('secrets/password', variable(MONITORING_JOB, 'password')),
      template('secrets/grafana_password', variable(MONITORING_JOB, 'grafana_password'), 'restart'),
    ],
  }
  const service = (name: 'prometheus' | 'grafana', check: Readonly<Record<string, unknown>>) => ({
    Name: `landfall-${name}`,
    PortLabel: name,
    Provider: 'consul',
    Checks: [{ Name: 'health', Interval: seconds(10), Timeout: seconds(3), ...check }],
  })
  const group = {
    Name: 'monitoring',
    Count: 1,
    // Figures move along when a machine is drained; they are lost with one that dies.
    EphemeralDisk: { SizeMB: 2_048, Sticky: true, Migrate: true },
    Networks: [
      {
        Mode: 'host',
        DynamicPorts: [{ Label: 'prometheus', To: 9090 }],
        ReservedPorts: [{ Label: 'grafana', Value: GRAFANA_PORT, To: 3000, HostNetwork: 'loopback' }],
      },
    ],
    Services: [service('prometheus', { Type: 'tcp' }), service('grafana', { Type: 'http', Path: '/api/health' })],
    RestartPolicy: { Attempts: 3, Interval: seconds(30 * 60), Delay: seconds(15), Mode: 'fail' },
    ReschedulePolicy: { Unlimited: true, Delay: seconds(30), DelayFunction: 'exponential', MaxDelay: seconds(3_600) },
    Tasks: [prometheus, grafana],
  }
  const body = {
    ...jobOf(MONITORING_JOB, 'service', context),
    Update: {
      MaxParallel: 1,
      HealthCheck: 'checks',
      MinHealthyTime: seconds(10),
      HealthyDeadline: seconds(300),
      AutoRevert: true,
    },
    TaskGroups: [group],
  }
  return withHash(body, { id: MONITORING_JOB, image: prometheusImage, estate: context.estate })
}

/** Both jobs, the readers first. */
export const renderMonitoring = (context: MonitoringContext): readonly WantedJob[] => [
  metricsJob(context),
  monitoringJob(context),
]
