/** The cluster as config.json describes it, resolved, and what can be wrong with it. Pure. */

import type { AppSpec } from './apps.ts'
import type { Say } from './check.ts'
import { frontOf, projectOf, type ServerGroup, serverGroupsOf, ttlOf } from './derive.ts'
import { appFrom } from './derive-apps.ts'
import type { DnsSpec } from './estate.ts'
import { balancerName } from './naming.ts'
import type { Config } from './schema.ts'
import { didYouMean, quoted } from './words.ts'

/** Where a program comes from. Without `url` it is on the image already, or a package of Debian's where there is one. */
export interface ProgramSpec {
  readonly version?: string
  readonly url?: string
  readonly sha256?: string
}

/** Where an app's image is built from; paths as config.json has them. */
export interface BuildWish {
  readonly context: string
  /** From the context. */
  readonly dockerfile: string
  readonly stage?: string
}

/** Prometheus and Grafana in the cluster. */
export interface MonitoringSpec {
  readonly prometheusImage: string
  readonly grafanaImage: string
  readonly retentionDays: number
}

export interface ClusterRegistry {
  readonly url: string
  readonly username: string
  readonly passwordVariable: string
}

export interface ClusterSpec {
  /** Names of the servers that vote; 1, 3 or 5. */
  readonly servers: readonly string[]
  /** Names of the servers that only run jobs. */
  readonly workers: readonly string[]
  readonly front: 'caddy' | 'load_balancer'
  readonly loadBalancerType: string
  /** Consul's and Nomad's word for the place; the estate's name. */
  readonly datacenter: string
  readonly reservedMemoryMb: number
  readonly programs: Readonly<Record<'consul' | 'nomad' | 'caddy', ProgramSpec>>
  readonly apps: readonly AppSpec[]
  readonly registry?: ClusterRegistry
  readonly monitoring?: MonitoringSpec
  /** By name of the app. */
  readonly builds: Readonly<Record<string, BuildWish>>
  /** Names whose TLS its Caddys end with one certificate, sorted; none where each Caddy orders its own. */
  readonly certificateNames: readonly string[]
}

export const PROMETHEUS_IMAGE = 'prom/prometheus:v2.53.2'
export const GRAFANA_IMAGE = 'grafana/grafana:11.1.4'

const QUORUMS = [1, 3, 5]

const groupNamed = (config: Config, name: string | undefined): ServerGroup | undefined =>
  serverGroupsOf(config).find(group => group.path[0] === 'servers' && group.name === name)

/** Whether an app of the file runs in the cluster: it names the cluster's servers, or there is no Dokploy it could live in. */
export const isInCluster = (config: Config, app: { readonly server?: string | undefined }): boolean =>
  config.cluster?.servers !== undefined &&
  (app.server === config.cluster.servers || (app.server === undefined && !serverGroupsOf(config).some(group => group.dokploy)))

const programOf = ({ version, url, sha256 }: { version?: string; url?: string; sha256?: string } = {}): ProgramSpec => ({
  ...(version === undefined ? {} : { version }),
  ...(url === undefined ? {} : { url: url.replaceAll('%VERSION%', version ?? '') }),
  ...(sha256 === undefined ? {} : { sha256 }),
})

const buildOf = ({
  context = '.',
  dockerfile = 'Dockerfile',
  stage,
}: {
  context?: string
  dockerfile?: string
  stage?: string
}): BuildWish => ({
  context,
  dockerfile,
  ...(stage === undefined ? {} : { stage }),
})

export const clusterOf = (config: Config): ClusterSpec | undefined => {
  const { cluster } = config
  if (cluster === undefined) return undefined
  const servers = groupNamed(config, cluster.servers)?.names ?? []
  const front = frontOf(config)
  const apps = Object.entries(config.apps ?? {}).flatMap(([name, app]) =>
    isInCluster(config, app) ? [appFrom(config, name, app)] : [],
  )
  const secure = apps.flatMap(app => app.domains.flatMap(domain => (domain.https ? [domain.host] : [])))
  return {
    servers,
    workers: groupNamed(config, cluster.workers)?.names ?? [],
    front,
    loadBalancerType: cluster.load_balancer_type ?? 'lb11',
    datacenter: projectOf(config) ?? '',
    reservedMemoryMb: cluster.reserved_memory_mb ?? 512,
    programs: { consul: programOf(cluster.consul), nomad: programOf(cluster.nomad), caddy: programOf(cluster.caddy) },
    apps,
    ...(cluster.registry === undefined
      ? {}
      : {
          registry: {
            url: cluster.registry.url ?? '',
            username: cluster.registry.username ?? '',
            passwordVariable: cluster.registry.password_env ?? '',
          },
        }),
    ...(cluster.monitoring === undefined
      ? {}
      : {
          monitoring: {
            prometheusImage: cluster.monitoring.prometheus_image ?? PROMETHEUS_IMAGE,
            grafanaImage: cluster.monitoring.grafana_image ?? GRAFANA_IMAGE,
            retentionDays: cluster.monitoring.retention_days ?? 15,
          },
        }),
    builds: Object.fromEntries(Object.entries(cluster.builds ?? {}).map(([name, build]) => [name, buildOf(build)])),
    certificateNames: front === 'load_balancer' ? [...new Set(secure)].sort() : [],
  }
}

/** Names of the cluster's apps that DNS leads to one address: the load balancer's, or the only server's. */
export const clusterRecords = (config: Config): DnsSpec['records'] => {
  const cluster = clusterOf(config)
  const zone = config.dns?.domain
  if (cluster === undefined || zone === undefined) return []
  const [only, ...others] = cluster.servers
  const holder =
    cluster.front === 'load_balancer'
      ? { server: balancerName(cluster.datacenter), kind: 'balancer' as const }
      : only !== undefined && others.length === 0
        ? { server: only }
        : undefined
  if (holder === undefined) return []
  const hosts = [...new Set(cluster.apps.flatMap(app => app.domains.map(domain => domain.host)))]
  return hosts
    .filter(host => host === zone || host.endsWith(`.${zone}`))
    .map(name => ({ name, ...holder, ttl: ttlOf(config), proxied: config.dns?.proxied ?? false }))
}

const checkGroup = (config: Config, key: 'servers' | 'workers', say: Say): ServerGroup | undefined => {
  const name = config.cluster?.[key]
  const path = ['cluster', key]
  if (name === undefined) return undefined
  const group = groupNamed(config, name)
  if (group === undefined)
    say(path, `names ${quoted(name)}, which is not among servers${didYouMean(name, Object.keys(config.servers ?? {}))}`, [
      'servers',
      name,
    ])
  else if (group.dokploy) say(path, `names ${quoted(name)}, which runs Dokploy: a server does one of the two`)
  else if (!group.network)
    say(path, `names ${quoted(name)}, which is in no private network: add "network": {} to the file`, ['network'])
  else if (group.image.kind === 'golden')
    say(path, `names ${quoted(name)}, whose image is the one for Dokploy: name a system image like "debian-12"`, [
      'servers',
      name,
      'image',
    ])
  else if (!group.ipv4 && !group.ipv6) say(path, `names ${quoted(name)}, which has no public address to log in to`)
  return group
}

const checkServers = (config: Config, say: Say) => {
  const group = checkGroup(config, 'servers', say)
  checkGroup(config, 'workers', say)
  const { servers, workers } = config.cluster ?? {}
  if (servers === undefined) say(['cluster', 'servers'], 'is missing', ['cluster', 'servers'])
  if (servers !== undefined && servers === workers) say(['cluster', 'workers'], 'names the entry that is cluster.servers already')
  if (group === undefined) return
  if (!QUORUMS.includes(group.names.length))
    say(['cluster', 'servers'], `has ${group.names.length} members; a majority needs 1, 3 or 5`, ['servers', group.name, 'count'])
  if (group.names.length > 1 && group.placementGroup === undefined)
    say(
      ['servers', group.name, 'placement_group'],
      'is missing: without one all members may stand on one host, and fall with it',
      ['servers', group.name, 'placement_group'],
    )
}

const checkClusterApps = (config: Config, say: Say) => {
  for (const [name, app] of Object.entries(config.apps ?? {})) {
    if (!isInCluster(config, app)) continue
    const path = ['apps', name]
    for (const key of ['compose', 'build', 'volumes', 'registry', 'post_deploy', 'deploy_on'] as const)
      if (app[key] !== undefined)
        say(
          [...path, key],
          key === 'build'
            ? 'is not known to the cluster: name the folder under cluster.builds'
            : 'is not known to the cluster, which runs finished images',
          [...path, key],
        )
    if (app.source?.image === undefined && app.compose === undefined)
      say([...path, 'source', 'image'], 'is missing: the cluster runs finished images', [...path, 'source'])
    if (app.health?.command !== undefined)
      say([...path, 'health', 'command'], 'is not used by the cluster: Consul asks over HTTP, at health.path')
    for (const [index, domain] of (app.domains ?? []).entries()) {
      const zone = config.dns?.domain
      const inZone = zone !== undefined && (domain.host === zone || domain.host?.endsWith(`.${zone}`))
      if (frontOf(config) === 'load_balancer' && domain.https !== false && domain.host !== undefined && !inZone)
        say(
          [...path, 'domains', index, 'host'],
          `lies outside of ${zone ?? 'any zone of the file'}, so its certificate cannot be proved by DNS: add "https": false, or set "cluster": {"front": "caddy"}`,
          ['dns', 'domain'],
        )
      for (const key of ['service', 'resolver', 'strip_path', 'port'] as const)
        if (domain[key] !== undefined) say([...path, 'domains', index, key], 'is not used by the cluster')
    }
  }
}

const checkImages = (config: Config, say: Say) => {
  const { registry, builds = {} } = config.cluster ?? {}
  for (const key of ['url', 'username', 'password_env'] as const)
    if (registry !== undefined && registry[key] === undefined)
      say(['cluster', 'registry', key], 'is missing', ['cluster', 'registry', key])
  if (registry === undefined && Object.keys(builds).length > 0)
    say(['cluster', 'registry'], 'is missing: what is built here has to be pushed somewhere', ['cluster', 'registry'])
  for (const name of Object.keys(builds)) {
    const path = ['cluster', 'builds', name]
    const app = config.apps?.[name]
    const image = app?.source?.image
    if (app === undefined || !isInCluster(config, app))
      say(path, `is no app of the cluster${didYouMean(name, Object.keys(config.apps ?? {}))}`, ['apps', name])
    else if (image === undefined || registry?.url === undefined) continue
    else if (!image.startsWith(`${registry.url}/`))
      say(path, `is pushed to ${registry.url}, so apps.${name}.source.image must begin with "${registry.url}/"`, [
        'apps',
        name,
        'source',
        'image',
      ])
    else if (/[:@]/.test(image.slice(registry.url.length)))
      say(path, `gives its image a version of its own: take the one out of apps.${name}.source.image`, [
        'apps',
        name,
        'source',
        'image',
      ])
  }
}

/** Every mistake about the cluster. */
export const checkCluster = (config: Config, say: Say): void => {
  if (config.cluster === undefined) return
  if (config.digitalocean !== undefined) say(['cluster'], 'is built at Hetzner only')
  checkServers(config, say)
  for (const name of ['consul', 'nomad', 'caddy'] as const) {
    const { url, sha256, version } = config.cluster[name] ?? {}
    const path = ['cluster', name]
    if (url !== undefined && sha256 === undefined)
      say([...path, 'sha256'], 'is missing: what is fetched is checked before it runs', [...path, 'sha256'])
    if (url === undefined && sha256 !== undefined) say([...path, 'sha256'], 'is not used without url', [...path, 'url'])
    if (url !== undefined && version === undefined)
      say([...path, 'version'], 'is missing: it says when the program has to be replaced', [...path, 'version'])
  }
  checkClusterApps(config, say)
  checkImages(config, say)
}
