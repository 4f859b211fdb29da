/** What one config.json describes, complete and resolved: every default filled in, every name derived. Pure data, frozen. */

import type { Platform } from './apps.ts'
import type { ClusterSpec } from './cluster.ts'
import type { MigrationSpec } from './migration.ts'
import type { PreviewSpec } from './previews.ts'
import type { ServiceSpec } from './service.ts'

export interface Estate {
  /** Names and labels start with it: RFC 1123 label, at most 30 characters. */
  readonly name: string
  readonly cloud: 'hetzner' | 'digitalocean'
  readonly servers: readonly ServerSpec[]
  /** Public keys that log in as root, by their name at the vendor. */
  readonly keys: readonly KeySpec[]
  /** Who `admin` in a firewall's rule stands for: normalised CIDRs, sorted. Empty: nobody, on purpose. Absent: the file does not say. */
  readonly adminAddresses?: readonly string[]
  readonly network?: NetworkSpec
  readonly firewalls: readonly FirewallSpec[]
  readonly placementGroups: readonly { readonly name: string }[]
  readonly dns?: DnsSpec
  /** Names that move here from another host. */
  readonly migration?: MigrationSpec
  /** Type that images are built on. */
  readonly imageBuildType?: string
  /** Endpoint named in the config; `main` refuses one that is not the vendor's unless the environment agrees. */
  readonly cloudflareBaseUrl?: string
  /** Prices that DigitalOcean's API does not tell, in US dollars. */
  readonly assumedPrices?: AssumedPrices
  /** Refuse a plan whose monthly net price would pass this, in the account's currency. */
  readonly monthlyCapNet?: number
  /** What the bill is held against. */
  readonly alternatives?: readonly Alternative[]
  /** What lives inside Dokploy: applications and what belongs to them; absent when the file has no such section. */
  readonly platform?: Platform
  /** An environment for each open pull request. */
  readonly previews?: PreviewSpec
  readonly cluster?: ClusterSpec
}

/** An offer of somebody else's, by the operator's assumption. */
export interface Alternative {
  readonly name: string
  readonly monthly: number
  readonly perSeat: number
  readonly seats: number
  /** What one unit of its currency is in the account's. */
  readonly rate: number
}

export interface AssumedPrices {
  readonly snapshotGbMonth: number
  readonly volumeGbMonth: number
  readonly backupPercent: number
}

export interface ServerSpec {
  readonly name: string
  /** "dev", "prod", or the group's name. */
  readonly role: string
  /** In order of preference; the first that can be had is used. An existing server of any listed type is accepted. */
  readonly types: readonly string[]
  readonly locations: readonly string[]
  readonly image: ImageSpec
  /** Names of `firewalls`, attached in the create call. */
  readonly firewalls: readonly string[]
  readonly network: boolean
  readonly placementGroup?: string
  readonly ipv4: boolean
  readonly ipv6: boolean
  /** Present when Dokploy shall run on it. */
  readonly dokploy?: DokploySpec
  /** The Dokploy server whose swarm it works for. */
  readonly joins?: string
  /** Present when NixOS is installed over its image: which of the flake's nixosConfigurations it becomes. */
  readonly nixos?: { readonly system: string }
  /** Present when the backend service runs on it. */
  readonly service?: ServiceSpec
  /** Named in `--confirm` before it is destroyed or replaced. */
  readonly protected: boolean
  /** The pull request that it is a preview of; labels the server. */
  readonly pullRequest?: number
}

export type ImageSpec =
  /** The newest available snapshot built by Landfall for this purpose. */
  | { readonly kind: 'golden' }
  /** A vendor's system image: "debian-12". */
  | { readonly kind: 'system'; readonly name: string }

export interface DokploySpec {
  /** The panel's public host name, when the estate has DNS. */
  readonly host?: string
  readonly adminEmail: string
  /** Wanted version without "v", for example "0.30.2". */
  readonly version: string
}

export interface KeySpec {
  readonly name: string
  /** `ssh-ed25519 AAAA…` without a comment. */
  readonly publicKey: string
}

export interface NetworkSpec {
  readonly name: string
  readonly range: string
  readonly subnet: string
}

export interface FirewallSpec {
  readonly name: string
  /** `at_create`: in the create call of every server that names it. `when_owned`: once the server's Dokploy has an admin of ours. */
  readonly attach: 'at_create' | 'when_owned'
  readonly rules: readonly FirewallRuleSpec[]
}

export interface FirewallRuleSpec {
  readonly protocol: 'tcp' | 'udp' | 'icmp'
  readonly port?: string
  /** CIDRs, normalised; `anywhere` and `admin` are resolved. Empty: for nobody, and the rule is left out. */
  readonly from: readonly string[]
  readonly why: string
}

export interface DnsSpec {
  readonly zone: string
  readonly records: readonly {
    readonly name: string
    /** Name of what it points at. */
    readonly server: string
    /** A server when absent. */
    readonly kind?: 'balancer'
    readonly ttl: number
    readonly proxied: boolean
  }[]
}
