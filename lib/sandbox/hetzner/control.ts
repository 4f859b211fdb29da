/** The levers of the stand-in: what tests and rehearsals set up beforehand, and the ground truth that they read afterwards. */
import { hostAddress } from './addresses.ts'
import { exposureOf } from './attachments.ts'
import { anyImage } from './catalogue.ts'
import type { Cloud } from './cloud.ts'
import { addToken } from './gate.ts'
import { createSnapshot } from './images.ts'
import type { Labels } from './labels.ts'
import type {
  Architecture,
  BalancerRow,
  FirewallRow,
  GroupRow,
  ImageRow,
  IpRow,
  KeyRow,
  NetworkRow,
  RulesRow,
  ServerRow,
  ServerStatus,
  Stock,
  TokenRow,
} from './rows.ts'
import type { Opening } from './rules.ts'

/** Everything that exists in the cloud, in the stand-in's own rows. */
export interface GroundTruth {
  readonly servers: readonly ServerRow[]
  readonly firewalls: readonly FirewallRow[]
  readonly networks: readonly NetworkRow[]
  readonly keys: readonly KeyRow[]
  readonly ips: readonly IpRow[]
  readonly groups: readonly GroupRow[]
  readonly balancers: readonly BalancerRow[]
  readonly images: readonly ImageRow[]
}

/** A server as its machine knows it: what it booted from, with which keys and user data, since when. */
export interface MachineServer {
  readonly id: number
  readonly project: string
  readonly name: string
  readonly status: ServerStatus
  readonly ipv4?: string
  /** The first address of the server's /64. */
  readonly ipv6?: string
  readonly privateIps: readonly string[]
  readonly userData: string
  /** Public keys given at creation; those of the rescue system while it runs that. */
  readonly sshKeys: readonly string[]
  readonly image: { readonly id: number; readonly labels: Labels; readonly name: string | null }
  readonly createdAtMs: number
  readonly runningSinceMs?: number
  readonly rebuiltAtMs?: number
  readonly inRescue: boolean
}

export interface GoldenImage {
  readonly project: string
  readonly labels: Labels
  readonly description: string
  readonly diskGb: number
  readonly sizeGb: number
  readonly architecture?: Architecture
}

export interface HetznerControl {
  addToken(token: string, row: TokenRow): void
  /** A finished build: a snapshot that is available at once. Returns its id. */
  seedGoldenImage(image: GoldenImage): number
  /** `silently_sold_out`: the catalogue says available, a create still fails. */
  setStock(type: string, location: string, stock: Stock): void
  setServerLimit(servers: number): void
  /** Objects younger than this do not show in lists, although they answer by id. */
  setListLagMs(ms: number): void
  /** How long a firewall stays in use after its last server is gone. */
  setFirewallLingerMs(ms: number): void
  /** The next action with this command ends with this error. Queues when called again. */
  failNext(command: string, code: string, message?: string): void
  /** What `failNext` and `endNextServerOff` have queued is forgotten. */
  forgetNext(): void
  /** The next server ends `off` although all its actions end well. */
  endNextServerOff(): void
  /** Guests do not react to `shutdown`. */
  setIgnoreShutdown(ignore: boolean): void
  /** New servers get this IPv4 address, all the same: a real machine stands in for them, as for Packer, which knows no proxy. */
  setFixedIpv4(address: string | null): void
  /** What a read-only token gets for a write; 403 `forbidden` unless set. */
  setReadOnlyAnswer(answer: RulesRow['readOnlyAnswer']): void
  /** Lists do not tell `last_page` and `total_entries`. */
  setHideTotals(hide: boolean): void
  /** `assignee_type` of an unassigned primary IP: "server" as in the published document, "unassigned" since 1 August 2026. */
  setUnassignedType(word: RulesRow['unassignedType']): void
  /** Brings the cloud up to now; true when something changed. */
  settle(): boolean
  /** When the next action ends, if one is running: when it is worth settling again. */
  nextEventAtMs(): number | undefined
  dump(project?: string): GroundTruth
  /** What the cloud lets in to the server's public addresses now; everything without a firewall, nothing without rules. */
  exposure(serverId: number): readonly Opening[]
  serversForMachines(): MachineServer[]
}

export const controlOf = (cloud: Cloud, settleNow: () => boolean): HetznerControl => ({
  addToken: (token, row) => addToken(cloud, token, row),
  seedGoldenImage: image =>
    createSnapshot(cloud, cloud.deps.clock.nowMs(), { type: 'snapshot', from: null, architecture: 'x86', ...image }).id,
  setStock: (type, location, stock) => cloud.setRules({ stock: { ...cloud.rules().stock, [`${type}@${location}`]: stock } }),
  setServerLimit: serverLimit => cloud.setRules({ serverLimit }),
  setListLagMs: listLagMs => cloud.setRules({ listLagMs }),
  setFirewallLingerMs: firewallLingerMs => cloud.setRules({ firewallLingerMs }),
  failNext: (command, code, message = 'Action failed') =>
    cloud.setRules({ failNext: [...cloud.rules().failNext, { command, code, message }] }),
  forgetNext: () => cloud.setRules({ failNext: [], endOff: 0 }),
  endNextServerOff: () => cloud.setRules({ endOff: cloud.rules().endOff + 1 }),
  setIgnoreShutdown: ignoreShutdown => cloud.setRules({ ignoreShutdown }),
  setFixedIpv4: fixedIpv4 => cloud.setRules({ fixedIpv4 }),
  setReadOnlyAnswer: readOnlyAnswer => cloud.setRules({ readOnlyAnswer }),
  setHideTotals: hideTotals => cloud.setRules({ hideTotals }),
  setUnassignedType: unassignedType => cloud.setRules({ unassignedType }),
  settle: settleNow,
  nextEventAtMs: () => {
    const ends = cloud.pending.all().map(pending => pending.endsAtMs)
    return ends.length === 0 ? undefined : Math.min(...ends)
  },
  dump: project => {
    settleNow()
    const of = <T extends { readonly project: string }>(rows: { all(): T[] }): T[] =>
      rows.all().filter(row => project === undefined || row.project === project)
    return {
      servers: of(cloud.servers),
      firewalls: of(cloud.firewalls),
      networks: of(cloud.networks),
      keys: of(cloud.keys),
      ips: of(cloud.ips),
      groups: of(cloud.groups),
      balancers: of(cloud.balancers),
      images: of(cloud.images).filter(image => image.deletedAtMs === null),
    }
  },
  exposure: serverId => {
    settleNow()
    const server = cloud.servers.get(String(serverId))
    return server ? exposureOf(cloud, server) : []
  },
  serversForMachines: () => {
    settleNow()
    return cloud.servers.all().map(server => toMachineServer(cloud, server))
  },
})

const toMachineServer = (cloud: Cloud, server: ServerRow): MachineServer => {
  const ipv4 = cloud.ips.get(String(server.ipv4))
  const ipv6 = cloud.ips.get(String(server.ipv6))
  const image = anyImage(cloud, server.imageId)
  return {
    id: server.id,
    project: server.project,
    name: server.name,
    status: server.status,
    ...(ipv4 ? { ipv4: hostAddress(ipv4) } : {}),
    ...(ipv6 ? { ipv6: hostAddress(ipv6) } : {}),
    privateIps: server.privateNets.map(net => net.ip),
    userData: server.userData,
    sshKeys: server.inRescue ? server.rescueKeys : server.publicKeys,
    image: { id: server.imageId, labels: image?.labels ?? {}, name: image?.name ?? null },
    createdAtMs: server.createdAtMs,
    ...(server.runningSinceMs === null ? {} : { runningSinceMs: server.runningSinceMs }),
    ...(server.rebuiltAtMs === null ? {} : { rebuiltAtMs: server.rebuiltAtMs }),
    inRescue: server.inRescue,
  }
}
