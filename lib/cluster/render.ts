/** What stands in the files of a cluster's machine: Consul's and Nomad's configuration and units. Pure. */

import { createHash } from 'node:crypto'
import type { ClusterSpec } from '../estate/cluster.ts'
import type { RegistryLogin } from '../providers/ports/registry.ts'
import { Secret } from '../secret.ts'
import type { ClusterSecrets } from './secrets.ts'
import { unitOf } from './unit.ts'

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
              // A new leader gives every machine this long before it misses one; five minutes, unless told, if the leader was the one that died.
              failover_heartbeat_ttl: '30s',
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
