/** The slices of the world that Landfall's steps look at, and how each is read through the ports. */

import type { Move } from '../cutover/move.ts'
import type { Readers } from '../engine/world.ts'
import type { Estate, ServerSpec } from '../estate/estate.ts'
import { isOurs } from '../estate/labels.ts'
import type * as cloud from '../providers/ports/cloud.ts'
import type { Dns, DnsRecord, Zone } from '../providers/ports/dns.ts'
import type { InstallerState, NixosAnywhere } from '../providers/ports/nixos-anywhere.ts'
import type { Outside } from '../providers/ports/outside.ts'
import type { AppsState, HooksState } from './app-world.ts'
import type { BuiltImage } from './cluster-image.ts'
import type { ConsulState, NodeState, NomadState } from './cluster-world.ts'
import type { Arrival, CertificateFacts } from './cutover-world.ts'
import type { MachineReader, MachineState } from './machine.ts'
import type { OutsideReader, OutsideState } from './outside.ts'
import type { PanelReader, PanelState } from './panel.ts'
import type { PreviewsState, PullsState } from './preview-world.ts'
import type { ServiceReader, ServiceState, WantedSettings } from './service.ts'
import { managersOf, type SwarmReader, type SwarmState } from './swarm-world.ts'

export interface EstateWorld {
  locations: readonly cloud.Location[]
  serverTypes: readonly cloud.ServerType[]
  pricing: cloud.Pricing
  images: readonly cloud.Image[]
  keys: readonly cloud.SshKey[]
  networks: readonly cloud.Network[]
  firewalls: readonly cloud.Firewall[]
  /** Empty while nothing of the estate stands; see `withEveryAddress`. */
  primaryIps: readonly cloud.PrimaryIp[]
  placementGroups: readonly cloud.PlacementGroup[]
  servers: readonly cloud.Server[]
  loadBalancers: readonly cloud.LoadBalancer[]
  idleTags: readonly string[]
  /** Addresses that this process comes from, as the machines see it, or the world does; empty when nobody could say. */
  operator: readonly string[]
  /** Undefined when the token sees no zone for the estate's domain. */
  zone: Zone | undefined
  records: readonly DnsRecord[]
  /** By server name. */
  machines: Readonly<Record<string, MachineState>>
  /** Whether NixOS can be installed from here. */
  installer: InstallerState
  /** Dokploy, by server name. */
  panels: Readonly<Record<string, PanelState>>
  /** Swarms that have workers, by the name of the Dokploy server that manages them. */
  swarms: Readonly<Record<string, SwarmState>>
  /** The backend service, by server name. */
  services: Readonly<Record<string, ServiceState>>
  serviceSettings: WantedSettings
  /** Servers whose certificates lie here until they are made anew; empty except when an estate is rebuilt. */
  keptCertificates: readonly string[]
  /** What a visitor sees, by server name. */
  outside: Readonly<Record<string, OutsideState>>
  /** Of names that move here or did, by name. */
  moves: Readonly<Record<string, Move>>
  /** By name; empty except in the commands of a move, as are the certificates. */
  arrivals: Readonly<Record<string, Arrival>>
  /** What lives in each Dokploy, by server name; empty except in the commands about applications, as are the hooks. */
  apps: Readonly<Record<string, AppsState>>
  /** Webhooks at GitHub, by "owner/name". */
  hooks: Readonly<Record<string, HooksState>>
  /** Pull requests and what runs for them, by server name; empty except in the commands about previews. */
  pulls: PullsState
  previews: Readonly<Record<string, PreviewsState>>
  /** By server name. */
  certificates: Readonly<Record<string, CertificateFacts>>
  /** By server name; the three are empty except in the commands about the cluster. */
  clusterNodes: Readonly<Record<string, NodeState>>
  consul: ConsulState
  nomad: NomadState
  /** By name of the app; empty except in the commands about the cluster. */
  clusterImages: Readonly<Record<string, BuiltImage>>
}

export interface WorldPorts {
  readonly cloud: cloud.Cloud
  readonly dns: Pick<Dns, 'findZone' | 'listRecords'>
  readonly machines: MachineReader
  readonly panels: PanelReader
  readonly swarms: SwarmReader
  readonly outside: OutsideReader
  readonly installer: Pick<NixosAnywhere, 'look'>
  readonly services: ServiceReader
  readonly ownAddresses: () => ReturnType<Outside['findOwnAddresses']>
}

/** For what must miss no address, whatever else is left of the estate. */
export const withEveryAddress = (readers: Readers<EstateWorld>, { listPrimaryIps }: cloud.Cloud): Readers<EstateWorld> => ({
  ...readers,
  primaryIps: () => listPrimaryIps(),
})

/** One reader per slice. */
export function estateReaders(estate: Estate, ports: WorldPorts): Readers<EstateWorld> {
  const ofServers = async <T>(servers: readonly cloud.Server[], read: (spec: ServerSpec, server: cloud.Server) => Promise<T>) => {
    const entries = estate.servers.flatMap(spec => {
      const server = servers.find(each => each.name === spec.name)
      return server ? [read(spec, server).then(state => [spec.name, state] as const)] : []
    })
    return Object.fromEntries(await Promise.all(entries))
  }
  return {
    locations: () => ports.cloud.listLocations(),
    serverTypes: () => ports.cloud.listServerTypes(),
    pricing: () => ports.cloud.readPricing(),
    images: () => ports.cloud.listImages(),
    keys: () => ports.cloud.listSshKeys(),
    networks: () => ports.cloud.listNetworks(),
    firewalls: () => ports.cloud.listFirewalls(),
    // An estate of which nothing stands has put no address aside: a first run asks one question less.
    primaryIps: async get => {
      const [servers, firewalls] = await Promise.all([get('servers'), get('firewalls')])
      const stands = [...servers, ...firewalls].some(each => isOurs(each.labels, estate.name))
      return stands ? ports.cloud.listPrimaryIps() : []
    },
    placementGroups: () => ports.cloud.listPlacementGroups(),
    servers: () => ports.cloud.listServers(),
    loadBalancers: () => ports.cloud.listLoadBalancers(),
    idleTags: () => ports.cloud.listIdleTags(),
    operator: async get => {
      const machines = Object.values(await get('machines'))
      const seen = machines.flatMap(machine =>
        machine.state === 'ready' && machine.facts.sshClient ? [machine.facts.sshClient] : [],
      )
      if (seen.length > 0) return [...new Set(seen)]
      const { ipv4, ipv6 } = await ports.ownAddresses()
      return [ipv4, ipv6].filter(address => address !== undefined)
    },
    zone: async () => (estate.dns ? ports.dns.findZone(estate.dns.zone) : undefined),
    records: async get => {
      const zone = await get('zone')
      return zone ? ports.dns.listRecords(zone.id) : []
    },
    machines: async get => ofServers(await get('servers'), (spec, server) => ports.machines.read(spec, server)),
    installer: () => ports.installer.look(),
    panels: async get => {
      const machines = await get('machines')
      return ofServers(await get('servers'), (spec, server) => ports.panels.read(spec, server, machines[spec.name]))
    },
    swarms: async get => {
      const managers = managersOf(estate, await get('servers'))
      const entries = managers.map(async server => [server.name, await ports.swarms.read(server)] as const)
      return Object.fromEntries(await Promise.all(entries))
    },
    services: async get => {
      const machines = await get('machines')
      return ofServers(await get('servers'), (spec, server) => ports.services.read(spec, server, machines[spec.name]))
    },
    serviceSettings: () => ports.services.wanted(),
    outside: async get => ofServers(await get('servers'), (spec, server) => ports.outside.read(spec, server)),
    apps: async () => ({}),
    hooks: async () => ({}),
    keptCertificates: async () => [],
    moves: async () => ({}),
    arrivals: async () => ({}),
    certificates: async () => ({}),
    pulls: async () => ({ nowMs: 0, pulls: [] }),
    previews: async () => ({}),
    clusterNodes: async () => ({}),
    consul: async () => ({ state: 'away', why: 'nobody asked' }),
    nomad: async () => ({ state: 'away', why: 'nobody asked' }),
    clusterImages: async () => ({}),
  }
}
