/** What follows from config.json: defaults filled in and names derived, piece by piece, each with the path that is to blame for it. */

import { contains, parseCidr } from './address.ts'
import type { AssumedPrices, Estate, FirewallRuleSpec, FirewallSpec, ImageSpec } from './estate.ts'
import type { Path } from './json.ts'
import {
  adminFirewallName,
  baseFirewallName,
  clusterFirewallName,
  dokployFirewallName,
  dokployServerName,
  serverNames,
  serviceFirewallName,
  slug,
} from './naming.ts'
import type { Config } from './schema.ts'
import { runsService } from './service.ts'

export const DEFAULT_DOKPLOY_VERSION = '0.30.2'
export const DEFAULT_NETWORK_RANGE = '172.16.0.0/16'
const DEFAULT_TTL_S = 300
const IMAGE_BUILD_KEY = 'packer_build'
export const PANEL_PORT = 3000

/** One entry of `hetzner.server_types` or `servers`. Empty lists and missing texts mean: the file does not say. */
export interface ServerGroup {
  readonly path: Path
  readonly name: string
  readonly names: readonly string[]
  readonly role: string
  readonly types: readonly string[]
  readonly locations: readonly string[]
  readonly image: ImageSpec
  readonly firewalls: readonly string[]
  readonly network: boolean
  readonly placementGroup?: string
  readonly ipv4: boolean
  readonly ipv6: boolean
  readonly dokploy: boolean
  readonly joins?: string
  readonly nixos?: { readonly system: string }
  readonly protected: boolean
}

export interface FirewallDraft {
  readonly path: Path
  readonly name: string
  readonly attach: FirewallSpec['attach']
  /** `from` still holds the words `anywhere` and `admin`. */
  readonly rules: readonly FirewallRuleSpec[]
}

const asList = (value: string | string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value

/** The estate's name, or undefined when neither `project` nor the domain gives one. */
export const projectOf = (config: Config): string | undefined =>
  config.project ?? (config.dns?.domain === undefined ? undefined : slug(config.dns.domain.split('.')[0] ?? '') || undefined)

/** The vendor that the estate is at. */
export const cloudOf = (config: Config): Estate['cloud'] => (config.digitalocean === undefined ? 'hetzner' : 'digitalocean')

/** DigitalOcean's published prices (docs, "Snapshots", "Volumes", "Backups": pricing, 2026), where the file names no others. */
export const assumedPricesOf = ({ digitalocean }: Config): AssumedPrices | undefined =>
  digitalocean === undefined
    ? undefined
    : {
        snapshotGbMonth: digitalocean.prices?.snapshot_gb_month ?? 0.06,
        volumeGbMonth: digitalocean.prices?.volume_gb_month ?? 0.1,
        backupPercent: digitalocean.prices?.backup_percent ?? 20,
      }

const DEFAULT_DROPLET_IMAGE = 'debian-12-x64'

/** What NixOS is installed over, because kexec fails from Ubuntu 26.04 (nixos-anywhere issue 651), and what previews run on. */
export const BASE_IMAGES = { hetzner: 'ubuntu-24.04', digitalocean: 'ubuntu-24-04-x64' } as const

const systemOf = (config: Config, dokploy: boolean, service: boolean): string => {
  const cloud = cloudOf(config)
  if (service) return `backend-${cloud}`
  if (dokploy) return cloud === 'hetzner' ? 'golden' : 'golden-digitalocean'
  return `base-${cloud}`
}

const imageOf = (name: string | undefined): ImageSpec =>
  name === undefined || name === 'golden' ? { kind: 'golden' } : { kind: 'system', name }

/** Types for Dokploy servers by role, without the one that images are built on. */
export const dokployRoles = (config: Config): readonly (readonly [string, string | string[]])[] =>
  Object.entries(config.hetzner?.server_types ?? {}).filter(([role]) => role !== IMAGE_BUILD_KEY)

/** The type that images are built on; a list is a mistake that `check.ts` reports. */
export const imageBuildTypeOf = (config: Config): string | undefined => asList(config.hetzner?.server_types?.[IMAGE_BUILD_KEY])[0]

export const serverGroupsOf = (config: Config): readonly ServerGroup[] => {
  const project = projectOf(config) ?? ''
  const ownFirewalls = Object.keys(config.firewalls ?? {})
  const firewallsFor = (dokploy: boolean, service = false, name?: string): readonly string[] => {
    if (dokploy) return [dokployFirewallName(project)]
    if (name !== undefined && name === config.cluster?.servers) return [clusterFirewallName(project)]
    if (ownFirewalls.length > 0) return ownFirewalls
    return [service ? serviceFirewallName(project) : baseFirewallName(project)]
  }
  const fromRoles = dokployRoles(config).map(
    ([role, types]): ServerGroup => ({
      path: ['hetzner', 'server_types', role],
      name: dokployServerName(role),
      names: [dokployServerName(role)],
      role,
      types: asList(types),
      locations: asList(config.hetzner?.location),
      image: imageOf(config.hetzner?.image),
      firewalls: firewallsFor(true),
      network: config.network !== undefined,
      ipv4: true,
      ipv6: true,
      dokploy: true,
      protected: false,
    }),
  )
  const fromServers = Object.entries(config.servers ?? {}).map(([name, spec]): ServerGroup => {
    const role = spec.role ?? (name.replace(/-dokploy$/, '') || name)
    const dokploy = spec.dokploy ?? false
    const service = runsService(config, name)
    const nixos = spec.os === 'nixos' ? { system: spec.system ?? systemOf(config, dokploy, service) } : undefined
    return {
      path: ['servers', name],
      name,
      names: serverNames(name, spec.count ?? 1),
      role,
      types: asList(spec.type ?? config.digitalocean?.size),
      locations: asList(spec.location ?? config.hetzner?.location ?? config.digitalocean?.region),
      image: imageOf(
        spec.image ??
          config.servers?.[spec.joins ?? '']?.image ??
          (nixos
            ? BASE_IMAGES[cloudOf(config)]
            : config.digitalocean
              ? (config.digitalocean.image ?? DEFAULT_DROPLET_IMAGE)
              : config.hetzner?.image),
      ),
      // Visitors come to the server that a worker joins.
      firewalls:
        spec.firewalls ?? (spec.joins === undefined ? firewallsFor(dokploy, service, name) : [baseFirewallName(project)]),
      network: spec.network ?? config.network !== undefined,
      ...(spec.placement_group === undefined ? {} : { placementGroup: spec.placement_group }),
      ipv4: spec.ipv4 ?? true,
      ipv6: spec.ipv6 ?? true,
      dokploy,
      ...(spec.joins === undefined ? {} : { joins: spec.joins }),
      ...(nixos === undefined ? {} : { nixos }),
      protected: spec.protected ?? false,
    }
  })
  return [...fromRoles, ...fromServers]
}

const BASE_RULES: readonly FirewallRuleSpec[] = [
  { protocol: 'tcp', port: '22', from: ['anywhere'], why: 'SSH, by key only' },
  { protocol: 'icmp', from: ['anywhere'], why: 'ping and path MTU discovery' },
]

const WEB_RULES: readonly FirewallRuleSpec[] = [
  { protocol: 'tcp', port: '22', from: ['anywhere'], why: 'SSH, by key only' },
  { protocol: 'tcp', port: '80', from: ['anywhere'], why: 'HTTP: redirects and certificates' },
  { protocol: 'tcp', port: '443', from: ['anywhere'], why: 'HTTPS' },
  { protocol: 'udp', port: '443', from: ['anywhere'], why: 'HTTP/3' },
  { protocol: 'icmp', from: ['anywhere'], why: 'ping and path MTU discovery' },
]

/** Consul, Nomad and their panels listen on the private network and on loopback only. */
const clusterRules = (front: 'caddy' | 'load_balancer'): readonly FirewallRuleSpec[] =>
  // A load balancer comes over the private network, where no firewall stands.
  front === 'load_balancer' ? BASE_RULES : WEB_RULES

const ADMIN_RULES: readonly FirewallRuleSpec[] = [
  { protocol: 'tcp', port: String(PANEL_PORT), from: ['admin'], why: "Dokploy's panel, until it has a name" },
]

/** An empty list is a wish: the panel's port is open to nobody, neither by the file nor by hand. */
const adminRulesOf = (config: Config): readonly FirewallRuleSpec[] =>
  config.firewall?.admin_addresses?.length === 0 ? [] : ADMIN_RULES

/** The file's firewalls, and those that servers get when the file does not say. */
export const firewallsOf = (config: Config): readonly FirewallDraft[] => {
  const project = projectOf(config) ?? ''
  const own = Object.entries(config.firewalls ?? {}).map(
    ([name, rules]): FirewallDraft => ({
      path: ['firewalls', name],
      name,
      attach: 'at_create',
      rules: rules.map(rule => ({
        protocol: rule.protocol ?? 'tcp',
        ...(rule.port === undefined ? {} : { port: String(rule.port) }),
        from: rule.from ?? [],
        why: rule.why ?? '',
      })),
    }),
  )
  const groups = serverGroupsOf(config)
  const wanted = new Set(groups.flatMap(group => group.firewalls))
  const defaults: FirewallDraft[] = [
    { path: ['project'], name: dokployFirewallName(project), attach: 'at_create', rules: WEB_RULES },
    { path: ['project'], name: serviceFirewallName(project), attach: 'at_create', rules: WEB_RULES },
    { path: ['project'], name: baseFirewallName(project), attach: 'at_create', rules: BASE_RULES },
    { path: ['project'], name: clusterFirewallName(project), attach: 'at_create', rules: clusterRules(frontOf(config)) },
  ]
  return [
    ...own,
    ...defaults.filter(({ name }) => wanted.has(name) && !own.some(firewall => firewall.name === name)),
    ...(groups.some(group => group.dokploy)
      ? [{ path: ['project'], name: adminFirewallName(project), attach: 'when_owned' as const, rules: adminRulesOf(config) }]
      : []),
  ]
}

/** What visitors of the cluster reach. */
export const frontOf = (config: Config): 'caddy' | 'load_balancer' => {
  const { front, servers = '' } = config.cluster ?? {}
  return front ?? ((config.servers?.[servers]?.count ?? 1) > 1 ? 'load_balancer' : 'caddy')
}

const subdomainKeyOf = (role: string): string => (role === 'prod' ? 'admin_subdomain' : `${role}_admin_subdomain`)

/** Where the panel of a role answers, or undefined without DNS. */
export const panelHostOf = (config: Config, role: string): { readonly path: Path; readonly host: string } | undefined => {
  const domain = config.dns?.domain
  if (config.dns === undefined || domain === undefined) return undefined
  const named = Object.entries(config.dns).find(([key]) => key === subdomainKeyOf(role))?.[1]
  const subdomain = typeof named === 'string' ? named : role === 'prod' ? 'admin' : `${role}.admin`
  return { path: ['dns', subdomainKeyOf(role)], host: `${subdomain}.${domain}` }
}

export const ttlOf = (config: Config): number => config.dns?.ttl ?? DEFAULT_TTL_S

export const networkOf = (config: Config): { readonly range: string; readonly subnet: string } | undefined => {
  if (config.network === undefined) return undefined
  const range = config.network.range ?? DEFAULT_NETWORK_RANGE
  const parsed = parseCidr(range)
  const [address = range, prefix = '24'] = range.split('/')
  return {
    range,
    subnet: config.network.subnet ?? (parsed && parsed.prefix >= 24 ? range : `${address}/${Math.max(24, Number(prefix))}`),
  }
}

export const adminEmailOf = (config: Config): string | undefined =>
  config.dokploy?.admin_email ?? (config.dns?.domain === undefined ? undefined : `admin@${config.dns.domain}`)

/** Whether a rule lets strangers reach a TCP port. */
export const opens = (rule: FirewallRuleSpec, port: number): boolean => {
  if (rule.protocol !== 'tcp' || rule.port === undefined) return false
  const [from = 0, to = from] = rule.port.split('-').map(Number)
  return from <= port && port <= to
}

/** Whether `from` holds practically the whole internet. */
export const isEverybody = (from: string): boolean => {
  if (from === 'anywhere') return true
  const cidr = parseCidr(from)
  return cidr !== undefined && cidr.prefix < (cidr.version === 4 ? 8 : 16)
}

const PRIVATE_RANGES = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16']

export const isPrivateRange = (range: string): boolean => {
  const inner = parseCidr(range)
  return (
    inner !== undefined &&
    PRIVATE_RANGES.some(text => {
      const outer = parseCidr(text)
      return outer !== undefined && contains(outer, inner)
    })
  )
}
