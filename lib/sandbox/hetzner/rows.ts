/**
 * What the stand-in keeps: one plain JSON row for each object of the cloud, in collections named `hetzner.…`, so that another
 * process finds the same cloud. Rows hold facts; what the API shows is rendered from them.
 */
import type { Labels } from './labels.ts'

export type Access = 'read_write' | 'read_only'
export type Architecture = 'x86' | 'arm'
export type IpType = 'ipv4' | 'ipv6'
export type Stock = 'available' | 'sold_out' | 'withdrawn' | 'silently_sold_out'
export type ServerStatus =
  | 'running'
  | 'initializing'
  | 'starting'
  | 'stopping'
  | 'off'
  | 'deleting'
  | 'migrating'
  | 'rebuilding'
  | 'unknown'

export interface TokenRow {
  readonly project: string
  readonly access: Access
}

/** A project's rate limit: how many requests were left at a moment. */
export interface BucketRow {
  readonly left: number
  readonly atMs: number
}

interface Owned {
  readonly id: number
  readonly project: string
  readonly createdAtMs: number
  readonly labels: Labels
}

export interface PrivateNet {
  readonly network: number
  readonly ip: string
  readonly aliasIps: readonly string[]
  readonly mac: string
}

export interface ServerRow extends Owned {
  readonly name: string
  readonly status: ServerStatus
  readonly type: string
  readonly location: string
  readonly imageId: number
  readonly diskGb: number
  /** Ids of the primary IPs; null without that address. */
  readonly ipv4: number | null
  readonly ipv6: number | null
  readonly privateNets: readonly PrivateNet[]
  readonly placementGroup: number | null
  /** The next boot goes into the rescue system, with these public keys. */
  readonly rescueEnabled: boolean
  readonly rescueKeys: readonly string[]
  /** It runs the rescue system now. */
  readonly inRescue: boolean
  readonly protection: { readonly delete: boolean; readonly rebuild: boolean }
  readonly userData: string
  readonly publicKeys: readonly string[]
  readonly runningSinceMs: number | null
  readonly rebuiltAtMs: number | null
}

export interface ImageRow extends Owned {
  readonly type: 'system' | 'app' | 'snapshot' | 'backup'
  readonly status: 'available' | 'creating' | 'unavailable'
  readonly name: string | null
  readonly description: string
  readonly sizeGb: number | null
  readonly diskGb: number
  readonly createdFrom: { readonly id: number; readonly name: string } | null
  readonly boundTo: number | null
  readonly flavor: string
  readonly version: string | null
  readonly architecture: Architecture
  readonly deprecated: string | null
  readonly deletedAtMs: number | null
  readonly protection: { readonly delete: boolean }
}

export interface KeyRow extends Owned {
  readonly name: string
  readonly fingerprint: string
  readonly publicKey: string
}

export interface Subnet {
  readonly type: 'cloud' | 'server' | 'vswitch'
  readonly range: string
  readonly zone: string
  readonly gateway: string
}

export interface NetworkRow extends Owned {
  readonly name: string
  readonly range: string
  readonly subnets: readonly Subnet[]
  readonly routes: readonly { readonly destination: string; readonly gateway: string }[]
  readonly exposeRoutes: boolean
  readonly protection: { readonly delete: boolean }
}

export interface Rule {
  readonly direction: 'in' | 'out'
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'esp' | 'gre'
  readonly port: string | null
  readonly sourceIps: readonly string[]
  readonly destinationIps: readonly string[]
  readonly description: string | null
}

/** One server that a firewall is on, or is coming onto. */
export interface Attachment {
  readonly server: number
  /** The label selector that brought it; null when it was named itself. */
  readonly selector: string | null
  readonly state: 'pending' | 'applied' | 'removing'
  /** The rules that the server's traffic is filtered by now; later ones come with their action's end. */
  readonly enforced: readonly Rule[]
}

export interface FirewallRow extends Owned {
  readonly name: string
  readonly rules: readonly Rule[]
  readonly selectors: readonly string[]
  readonly attachments: readonly Attachment[]
  /** Until then a delete still answers `resource_in_use`, although the servers are gone. */
  readonly inUseUntilMs: number
}

export interface IpRow extends Owned {
  readonly name: string
  readonly type: IpType
  readonly ip: string
  readonly location: string
  readonly assignee: number | null
  readonly autoDelete: boolean
  readonly pointers: readonly { readonly ip: string; readonly name: string }[]
  readonly protection: { readonly delete: boolean }
}

export interface GroupRow extends Owned {
  readonly name: string
}

/** What becomes true when an action ends. Data, so that a later process can settle it. */
export type Effect =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'server_status'; readonly server: number; readonly to: 'running' | 'off' }
  | { readonly kind: 'server_created'; readonly server: number; readonly to: 'starting' | 'off' }
  | { readonly kind: 'server_deleted'; readonly server: number }
  | { readonly kind: 'server_rebuilt'; readonly server: number; readonly image: number; readonly userData: string | null }
  | { readonly kind: 'server_retyped'; readonly server: number; readonly type: string; readonly upgradeDisk: boolean }
  | { readonly kind: 'server_signalled'; readonly server: number }
  | { readonly kind: 'server_rescue'; readonly server: number; readonly enabled: boolean; readonly keys: readonly string[] }
  | { readonly kind: 'server_protection'; readonly server: number; readonly delete: boolean; readonly rebuild: boolean }
  | { readonly kind: 'server_group'; readonly server: number; readonly group: number | null }
  | { readonly kind: 'server_attached'; readonly server: number; readonly net: PrivateNet }
  | { readonly kind: 'server_detached'; readonly server: number; readonly network: number }
  | { readonly kind: 'image_ended'; readonly image: number; readonly status: 'available' | 'unavailable' }
  | { readonly kind: 'image_protection'; readonly image: number; readonly delete: boolean }
  | { readonly kind: 'network_subnets'; readonly network: number; readonly add: Subnet | null; readonly remove: string | null }
  | { readonly kind: 'network_protection'; readonly network: number; readonly delete: boolean }
  | { readonly kind: 'firewall_applied'; readonly firewall: number; readonly server: number; readonly selector: string | null }
  | { readonly kind: 'firewall_removed'; readonly firewall: number; readonly server: number; readonly selector: string | null }
  | { readonly kind: 'firewall_rules'; readonly firewall: number; readonly server: number }
  | { readonly kind: 'ip_assigned'; readonly ip: number; readonly server: number }
  | { readonly kind: 'ip_unassigned'; readonly ip: number }
  | { readonly kind: 'ip_protection'; readonly ip: number; readonly delete: boolean }

export type ResourceType = 'server' | 'image' | 'network' | 'firewall' | 'primary_ip' | 'load_balancer'

export interface Resource {
  readonly type: ResourceType
  readonly id: number
}

export interface ActionRow {
  readonly id: number
  readonly project: string
  readonly command: string
  readonly resources: readonly Resource[]
  readonly startsAtMs: number
  readonly endsAtMs: number
  readonly outcome: 'running' | 'success' | 'error'
  /** How it will end: with this failure, or well when null. */
  readonly failure: { readonly code: string; readonly message: string } | null
  readonly effect: Effect
  /** What becomes true instead when it fails. */
  readonly otherwise: Effect
  /** The action that must end well before this one begins. */
  readonly after: number | null
  /** Something that happens in the world without an action of the API: a guest shutting itself down. */
  readonly hidden: boolean
}

export interface BalancerServiceRow {
  readonly protocol: 'tcp' | 'http'
  readonly listenPort: number
  readonly destinationPort: number
  readonly health: {
    readonly protocol: 'tcp' | 'http'
    readonly port: number
    readonly intervalS: number
    readonly timeoutS: number
    readonly retries: number
    readonly path: string
    readonly statusCodes: readonly string[]
  }
}

export interface BalancerRow extends Owned {
  readonly name: string
  readonly type: string
  readonly location: string
  readonly ipv4: string
  readonly ipv6: string
  readonly privateNets: readonly { readonly network: number; readonly ip: string }[]
  readonly services: readonly BalancerServiceRow[]
  readonly selectors: readonly { readonly selector: string; readonly usePrivateIp: boolean }[]
}

/** How the stand-in behaves, set through its control; one row, so that it survives a restart. */
export interface RulesRow {
  readonly readOnlyAnswer: { readonly status: number; readonly code: string }
  readonly serverLimit: number
  readonly listLagMs: number
  readonly firewallLingerMs: number
  readonly hideTotals: boolean
  /** What an unassigned primary IP reports as `assignee_type`; "unassigned" since 1 August 2026. */
  readonly unassignedType: 'server' | 'unassigned'
  readonly ignoreShutdown: boolean
  /** The IPv4 address that every new server is reached at: that of a real machine which a test has put in its place. */
  readonly fixedIpv4: string | null
  /** Servers that will end `off` although all their actions end well. */
  readonly endOff: number
  /** By "type@location"; what is absent is available. */
  readonly stock: Readonly<Record<string, Stock>>
  readonly failNext: readonly { readonly command: string; readonly code: string; readonly message: string }[]
}
