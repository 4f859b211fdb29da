/** What stands in the files of a cluster's machine: Consul's, Nomad's and Caddy's configuration and units. Pure. */

import { createHash } from 'node:crypto'
import { basename, dirname } from 'node:path'
import type { AppSpec } from '../estate/apps.ts'
import type { ClusterSpec } from '../estate/cluster.ts'
import type { RegistryLogin } from '../providers/ports/registry.ts'
import { Secret } from '../secret.ts'
import type { ClusterSecrets } from './secrets.ts'

export const PARTS = ['consul', 'nomad', 'caddy'] as const
export type Part = (typeof PARTS)[number]

/** A machine of the cluster as its files need to know it. */
export interface Node {
  readonly name: string
  readonly role: 'server' | 'worker'
  readonly privateIp: string
  /** The network interface that has the private address. */
  readonly interface: string
}

/** The files of one part: compared by their hash, because some hold secrets. */
export interface Files {
  readonly config: Secret
  readonly unit: string
  /** Docker's file of logins, for Nomad. */
  readonly logins?: Secret
}

export const hashOf = ({ config, unit, logins }: Files): string =>
  createHash('sha256')
    .update(config.reveal())
    .update(unit)
    .update(logins?.reveal() ?? '')
    .digest('hex')

const json = (label: string, value: unknown): Secret => new Secret(label, `${JSON.stringify(value, null, 2)}\n`)

export function consulFiles(cluster: ClusterSpec, node: Node, secrets: ClusterSecrets): Files {
  const server = node.role === 'server'
  const tls = '/etc/consul.d/tls'
  return {
    unit: unitOf({
      about: 'Consul',
      exec: '/usr/local/bin/consul agent -config-dir=/etc/consul.d',
      type: 'notify',
      after: 'network-online.target',
      user: 'consul',
    }),
    config: json('consul configuration', {
      datacenter: cluster.datacenter,
      node_name: node.name,
      data_dir: '/var/lib/consul',
      server,
      ...(server ? { bootstrap_expect: cluster.servers.length, ui_config: { enabled: true } } : {}),
      bind_addr: node.privateIp,
      // The API and its pages are for this machine only; people come through an SSH tunnel.
      client_addr: '127.0.0.1',
      ports: { http: 8500, dns: 8600, https: -1, grpc: -1, grpc_tls: -1 },
      encrypt: secrets.consulGossip.reveal(),
      tls: {
        defaults: {
          ca_file: `${tls}/ca.pem`,
          cert_file: `${tls}/cert.pem`,
          key_file: `${tls}/key.pem`,
          verify_incoming: true,
          verify_outgoing: true,
        },
        internal_rpc: { verify_server_hostname: true },
      },
      acl: {
        enabled: true,
        default_policy: 'deny',
        tokens: {
          // Takes effect when the first leader is elected: there is no moment without access rules.
          ...(server ? { initial_management: secrets.consulManagement.reveal() } : {}),
          agent: secrets.consulAgent.reveal(),
          default: secrets.consulReader.reveal(),
        },
      },
      // A restarted agent is the same member again; one that is switched off for good is cleaned up when its successor has joined.
      leave_on_terminate: false,
      skip_leave_on_interrupt: true,
      rejoin_after_leave: true,
      performance: { raft_multiplier: 1 },
      ...(cluster.monitoring ? { telemetry: { prometheus_retention_time: '60s', disable_hostname: true } } : {}),
      dns_config: { only_passing: true, service_ttl: { '*': '0s' }, node_ttl: '0s' },
      disable_update_check: true,
      log_level: 'INFO',
    }),
  }
}

/** Not in Nomad's own folder, all of which it takes for configuration. The programs for machines know it by this name too. */
const LOGINS_FILE = '/etc/landfall/registries.json'

const loginsOf = ({ url, username, password }: RegistryLogin): Secret =>
  json('registry logins', { auths: { [url]: { auth: Buffer.from(`${username}:${password.reveal()}`).toString('base64') } } })

/** @param login of the registry that the apps' images come from */
export function nomadFiles(cluster: ClusterSpec, node: Node, secrets: ClusterSecrets, login?: RegistryLogin): Files {
  const server = node.role === 'server'
  const tls = '/etc/nomad.d/tls'
  return {
    unit: unitOf({
      about: 'Nomad',
      exec: '/usr/local/bin/nomad agent -config=/etc/nomad.d',
      type: 'simple',
      after: 'network-online.target docker.service consul.service',
      user: 'root',
      // Jobs outlive a restart of the agent.
      more: ['KillMode=process', 'Delegate=yes', 'TasksMax=infinity', 'OOMScoreAdjust=-1000'],
    }),
    ...(login ? { logins: loginsOf(login) } : {}),
    config: json('nomad configuration', {
      name: node.name,
      region: 'global',
      datacenter: cluster.datacenter,
      data_dir: '/var/lib/nomad',
      bind_addr: node.privateIp,
      addresses: { http: '127.0.0.1' },
      advertise: { http: node.privateIp, rpc: node.privateIp, serf: node.privateIp },
      ...(server
        ? {
            server: {
              enabled: true,
              bootstrap_expect: cluster.servers.length,
              encrypt: secrets.nomadGossip.reveal(),
              heartbeat_grace: '10s',
              raft_multiplier: 1,
            },
            ui: { enabled: true },
          }
        : {}),
      client: {
        enabled: true,
        network_interface: node.interface,
        reserved: { memory: cluster.reservedMemoryMb },
        // For what is reached through a tunnel only.
        ...(cluster.monitoring ? { host_network: { loopback: { cidr: '127.0.0.1/32' } } } : {}),
      },
      plugin: {
        docker: {
          config: {
            allow_privileged: false,
            gc: { image: true, image_delay: '24h' },
            ...(login ? { auth: { config: LOGINS_FILE } } : {}),
          },
        },
      },
      acl: { enabled: true },
      tls: {
        http: false,
        rpc: true,
        ca_file: `${tls}/ca.pem`,
        cert_file: `${tls}/cert.pem`,
        key_file: `${tls}/key.pem`,
        verify_server_hostname: true,
      },
      consul: {
        address: '127.0.0.1:8500',
        token: secrets.consulNomad.reveal(),
        // Members find each other in Consul, so no file lists addresses that change when a machine is replaced.
        server_auto_join: true,
        client_auto_join: true,
        checks_use_advertise: false,
      },
      telemetry: { prometheus_metrics: true, publish_allocation_metrics: true, publish_node_metrics: true },
      leave_on_interrupt: false,
      leave_on_terminate: false,
      disable_update_check: true,
    }),
  }
}

/** Answered by each Caddy itself: what a load balancer asks. */
export const CADDY_HEALTH_PATH = '/.landfall/health'
/** While it exists on a machine, the answer is 503; the programs for machines know it by this name too. */
export const LEAVING_FILE = '/run/landfall/leaving'

const ROUTE = (app: AppSpec): readonly string[] => [
  '\treverse_proxy {',
  '\t\tdynamic srv {',
  `\t\t\tname ${app.name}.service.consul`,
  '\t\t\trefresh 1s',
  '\t\t\tresolvers 127.0.0.1:8600',
  '\t\t}',
  // A dead instance is one failed dial; the request goes to the next, and for a while none goes to the dead one.
  '\t\tlb_try_duration 10s',
  '\t\tlb_try_interval 50ms',
  '\t\tfail_duration 10s',
  '\t\ttransport http {',
  // The addresses that an SRV answer names are Consul's own, unknown to the system's resolver.
  '\t\t\tresolvers 127.0.0.1:8600',
  '\t\t\tdial_timeout 1s',
  // A connection kept open to a machine that lost its power would hold the next request until it times out.
  '\t\t\tkeepalive off',
  '\t\t}',
  '\t}',
]

const TLS = '/etc/caddy/tls'

export function caddyFiles(cluster: ClusterSpec, email: string | undefined): Files {
  const sites = cluster.apps.flatMap(app =>
    app.domains.flatMap(domain => {
      const scheme = domain.https ? '' : 'http://'
      const shared = cluster.certificateNames.includes(domain.host) ? [`\ttls ${TLS}/cert.pem ${TLS}/key.pem`] : []
      const route =
        domain.path === '/'
          ? ROUTE(app)
          : [`\thandle ${domain.path.replace(/\/$/, '')}/* {`, ...ROUTE(app).map(line => `\t${line}`), '\t}']
      return [{ site: `${scheme}${domain.host}`, route, shared }]
    }),
  )
  const bySite = Map.groupBy(sites, each => each.site)
  const config = [
    '{',
    '\tadmin 127.0.0.1:2019',
    // Requests that are under way when the configuration changes get this long.
    '\tgrace_period 20s',
    ...(email === undefined ? [] : [`\temail ${email}`]),
    '}',
    '',
    'http:// {',
    '\t@leaving {',
    `\t\tpath ${CADDY_HEALTH_PATH}`,
    '\t\tfile {',
    `\t\t\troot ${dirname(LEAVING_FILE)}`,
    `\t\t\ttry_files /${basename(LEAVING_FILE)}`,
    '\t\t}',
    '\t}',
    '\troute {',
    '\t\trespond @leaving 503',
    `\t\trespond ${CADDY_HEALTH_PATH} 200`,
    '\t\trespond "There is no such site here." 404',
    '\t}',
    '}',
    ...[...bySite].flatMap(([site, routes]) => [
      '',
      `${site} {`,
      ...(routes[0]?.shared ?? []),
      ...routes.flatMap(each => each.route),
      '}',
      // Caddy's own redirect would come after the answer of those that ask for no site.
      ...(site.startsWith('http://') || bySite.has(`http://${site}`)
        ? []
        : ['', `http://${site} {`, '\tredir https://{host}{uri} 308', '}']),
    ]),
    '',
  ].join('\n')
  return {
    config: new Secret('Caddyfile', config, 'unlisted'),
    unit: unitOf({
      about: 'Caddy',
      exec: '/usr/local/bin/caddy run --environ --config /etc/caddy/Caddyfile --adapter caddyfile',
      type: 'notify',
      after: 'network-online.target consul.service',
      user: 'caddy',
      more: [
        'ExecReload=/usr/local/bin/caddy reload --config /etc/caddy/Caddyfile --adapter caddyfile --force',
        'AmbientCapabilities=CAP_NET_BIND_SERVICE',
        'Environment=XDG_DATA_HOME=/var/lib XDG_CONFIG_HOME=/var/lib/caddy',
        'TimeoutStopSec=25s',
      ],
    }),
  }
}

const unitOf = ({
  about,
  exec,
  type,
  after,
  user,
  more = [],
}: {
  readonly about: string
  readonly exec: string
  readonly type: 'notify' | 'simple'
  readonly after: string
  readonly user: string
  readonly more?: readonly string[]
}): string =>
  [
    '[Unit]',
    `Description=${about}, set up by Landfall`,
    `After=${after}`,
    'Wants=network-online.target',
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    `Type=${type}`,
    `User=${user}`,
    `ExecStart=${exec}`,
    'Restart=always',
    'RestartSec=2',
    'LimitNOFILE=65536',
    // Consul reports ready only when it has joined; a first member may wait for the others for long.
    'TimeoutStartSec=infinity',
    ...more,
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ].join('\n')
