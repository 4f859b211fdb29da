/**
 * Servers and what belongs to them, in our words. Hetzner and DigitalOcean both serve this port.
 *
 * Contract of every adapter: ids are strings; `list…` reads everything the token sees (paged, ours and others'), because a
 * stranger's namesake must be known before the first write; `create…` never sends twice blind (after a lost answer it reads back
 * by name and adopts only what carries the same labels, else LandfallError `name_taken`); `delete…` of what is gone succeeds.
 */

export type Labels = Readonly<Record<string, string>>

/** A decimal amount in the account's currency. */
export interface Money {
  readonly net: number
  readonly gross: number
}

export interface Location {
  readonly name: string
  readonly city: string
  readonly country: string
  readonly networkZone: string
}

export interface ServerType {
  readonly id: string
  readonly name: string
  readonly cores: number
  readonly memoryGb: number
  readonly diskGb: number
  readonly architecture: 'x86' | 'arm'
  /** Where it is offered, and whether it can be had there now. */
  readonly offers: readonly {
    readonly location: string
    readonly stock: 'available' | 'sold_out' | 'withdrawn'
    /** When it is being withdrawn, the day after which it cannot be ordered (ISO date). */
    readonly withdrawnAfter?: string
    readonly hourly: Money
    readonly monthly: Money
  }[]
}

/** Prices of what is not a server. */
export interface Pricing {
  readonly currency: string
  readonly vatRate: number
  readonly snapshotGbMonth: Money
  readonly volumeGbMonth: Money
  /** Without their addresses; what may be bought now is in the server types. */
  readonly servers: readonly {
    readonly type: string
    readonly location: string
    readonly hourly: Money
    readonly monthly: Money
  }[]
  readonly primaryIps: readonly {
    readonly type: 'ipv4' | 'ipv6'
    readonly location: string
    readonly hourly: Money
    readonly monthly: Money
  }[]
  /** Absent at a vendor whose balancers Landfall does not use. */
  readonly loadBalancers?: readonly {
    readonly type: string
    readonly location: string
    readonly hourly: Money
    readonly monthly: Money
  }[]
  /** Percentage of the server's price. */
  readonly serverBackupPercent: number
}

export interface Image {
  readonly id: string
  /** System images have a name; snapshots do not. */
  readonly name?: string
  readonly description: string
  readonly kind: 'system' | 'snapshot' | 'backup' | 'app'
  readonly status: 'available' | 'creating' | 'unavailable'
  readonly architecture: 'x86' | 'arm'
  readonly diskGb: number
  /** What a snapshot is billed for. */
  readonly sizeGb: number
  readonly createdAt: string
  readonly labels: Labels
}

export interface SshKey {
  readonly id: string
  readonly name: string
  readonly publicKey: string
  readonly labels: Labels
}

export interface Network {
  readonly id: string
  readonly name: string
  readonly range: string
  readonly subnets: readonly { readonly range: string; readonly zone: string }[]
  readonly labels: Labels
}

export interface FirewallRule {
  /** config.json knows the first three; the others can only be somebody's by hand. */
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'esp' | 'gre'
  /** "22" or "8000-8100"; absent where the protocol has none. */
  readonly port?: string
  /** CIDRs that may reach it. */
  readonly from: readonly string[]
  /** Who else may, in the vendor's words: "tag web". Only somebody's hand puts them there, and no rule of ours is sent with any. */
  readonly others?: readonly string[]
  /** Why the rule exists; stored with it and shown in the plan. */
  readonly why: string
}

export interface Firewall {
  readonly id: string
  readonly name: string
  readonly labels: Labels
  /** Inbound only: Landfall never restricts what leaves a server. */
  readonly rules: readonly FirewallRule[]
  readonly serverIds: readonly string[]
}

export interface PrimaryIp {
  readonly id: string
  readonly name: string
  readonly type: 'ipv4' | 'ipv6'
  readonly ip: string
  readonly location: string
  readonly serverId?: string
  readonly deletedWithServer: boolean
  readonly labels: Labels
}

export interface PlacementGroup {
  readonly id: string
  readonly name: string
  readonly labels: Labels
  readonly serverIds: readonly string[]
}

export interface Server {
  readonly id: string
  readonly name: string
  readonly status: 'starting' | 'running' | 'off' | 'stopping' | 'busy' | 'deleting' | 'unknown'
  readonly labels: Labels
  readonly type: string
  /** Size of its disk, which grows with no change of its type. */
  readonly diskGb?: number
  readonly location: string
  readonly ipv4?: string
  /** The first usable address of the server's /64. */
  readonly ipv6?: string
  readonly privateIps: readonly { readonly networkId: string; readonly ip: string }[]
  readonly firewallIds: readonly string[]
  /** Those of `firewallIds` that do not filter yet: soon after a create, or for good when the vendor failed to apply them. */
  readonly pendingFirewallIds?: readonly string[]
  readonly placementGroupId?: string
  readonly imageId?: string
  readonly createdAt: string
  /** Another action is working on it. */
  readonly locked: boolean
  /** The vendor refuses to delete it until protection is lifted. */
  readonly deleteProtected: boolean
}

/** What a load balancer takes on one port, and how it sees that a target is well. With `tcp` it reads nothing of what it passes on. */
export interface BalancerService {
  readonly protocol: 'http' | 'tcp'
  readonly listenPort: number
  readonly targetPort: number
  /** Asked over HTTP. A target that fails `retries` checks in a row, `intervalS` apart, gets no more requests. */
  readonly health: {
    readonly port: number
    readonly path: string
    readonly intervalS: number
    readonly timeoutS: number
    readonly retries: number
  }
}

export interface LoadBalancer {
  readonly id: string
  readonly name: string
  readonly labels: Labels
  readonly type: string
  readonly location: string
  /** ISO 8601. */
  readonly createdAt: string
  readonly ipv4?: string
  readonly ipv6?: string
  readonly networkIds: readonly string[]
  /** Label selectors of its targets. */
  readonly selectors: readonly string[]
  /** The servers that these find now. */
  readonly targets: readonly { readonly serverId: string; readonly state: 'healthy' | 'unhealthy' | 'unknown' }[]
  readonly services: readonly BalancerService[]
}

export interface CreateServer {
  readonly name: string
  readonly type: string
  readonly location: string
  /** Image id or system image name. */
  readonly image: string
  readonly sshKeyIds: readonly string[]
  readonly firewallIds: readonly string[]
  readonly networkIds: readonly string[]
  readonly placementGroupId?: string
  readonly labels: Labels
  /** cloud-init; readable on the server for its whole life, so never a lasting secret. */
  readonly userData?: string
  /** `none`: no address. `new`: one that dies with the server. `{id}`: a kept primary IP. */
  readonly ipv4: 'none' | 'new' | { readonly id: string }
  readonly ipv6: 'none' | 'new' | { readonly id: string }
}

/** Where a vendor's things are seen and changed by hand. */
export const CONSOLES = {
  hetzner: 'the Hetzner console',
  digitalocean: "DigitalOcean's control panel",
} as const satisfies Record<Cloud['vendor'], string>

export interface Cloud {
  readonly vendor: 'hetzner' | 'digitalocean'
  listLocations(): Promise<readonly Location[]>
  listServerTypes(): Promise<readonly ServerType[]>
  readPricing(): Promise<Pricing>
  /** System images and snapshots. */
  listImages(): Promise<readonly Image[]>
  listSshKeys(): Promise<readonly SshKey[]>
  listNetworks(): Promise<readonly Network[]>
  /** Without lock objects; see `CloudLocks`. */
  listFirewalls(): Promise<readonly Firewall[]>
  listPrimaryIps(): Promise<readonly PrimaryIp[]>
  listPlacementGroups(): Promise<readonly PlacementGroup[]>
  listServers(): Promise<readonly Server[]>
  /** None at a vendor whose balancers Landfall does not use. */
  listLoadBalancers(): Promise<readonly LoadBalancer[]>
  /** Landfall's own tags that nothing carries any more, where labels are kept as tags that outlive what they were on; else none. */
  listIdleTags(): Promise<readonly string[]>

  createSshKey(input: { name: string; publicKey: string; labels: Labels }): Promise<SshKey>
  createNetwork(input: { name: string; range: string; subnet: string; zone: string; labels: Labels }): Promise<Network>
  createFirewall(input: { name: string; rules: readonly FirewallRule[]; labels: Labels }): Promise<Firewall>
  createPlacementGroup(input: { name: string; labels: Labels }): Promise<PlacementGroup>
  createPrimaryIp(input: { name: string; type: 'ipv4' | 'ipv6'; location: string; labels: Labels }): Promise<PrimaryIp>
  /** From now on it outlives its server; replaces its labels. */
  keepPrimaryIp(id: string, labels: Labels): Promise<void>
  /** Resolves when the vendor has accepted it and its addresses are known; `waitServerRunning` waits for the rest. */
  createServer(input: CreateServer): Promise<Server>
  /** Its targets are the servers that `selector` finds, at their private addresses. @throws LandfallError refused where the vendor has none */
  createLoadBalancer(input: {
    name: string
    type: string
    location: string
    networkId: string
    selector: string
    services: readonly BalancerService[]
    labels: Labels
  }): Promise<LoadBalancer>

  /** Replaces all rules and waits until every attached server has them. */
  setFirewallRules(id: string, rules: readonly FirewallRule[]): Promise<void>
  attachFirewall(id: string, serverIds: readonly string[]): Promise<void>
  /** Resolves when it filters nothing there any more. @throws LandfallError refused when a label selector of somebody else's holds it there */
  detachFirewall(id: string, serverIds: readonly string[]): Promise<void>
  setServerLabels(id: string, labels: Labels): Promise<void>
  /** Gives a server, running or not, an address in the network. @throws LandfallError refused where only a create can */
  attachNetwork(serverId: string, networkId: string): Promise<Server>
  /** Replaces what it does on the service's port. */
  setLoadBalancerService(id: string, service: BalancerService): Promise<void>
  powerOn(id: string): Promise<void>
  /**
   * Shuts the server down (hard, when it does not obey), changes its type without touching its disk, and waits until it runs again; it is
   * powered on again when the vendor refuses the type, too.
   */
  setServerType(id: string, type: string, signal: AbortSignal): Promise<Server>
  /** Waits until the server runs; uses the create's own actions when this process made it. Private addresses may be known only to the next list. */
  waitServerRunning(id: string, signal: AbortSignal): Promise<Server>

  /** Resolves when it is gone, not when the request was accepted. */
  deleteServer(id: string): Promise<void>
  /** Retries while the vendor still says "in use", up to a deadline. */
  deleteFirewall(id: string): Promise<void>
  deleteNetwork(id: string): Promise<void>
  deleteSshKey(id: string): Promise<void>
  deletePlacementGroup(id: string): Promise<void>
  deletePrimaryIp(id: string): Promise<void>
  deleteLoadBalancer(id: string): Promise<void>
  deleteImage(id: string): Promise<void>
  /** Leaves those that something carries by now. */
  deleteIdleTags(names: readonly string[]): Promise<void>

  /**
   * Asks, by a request that cannot have an effect, whether the token may write. Resolves when it may.
   * @throws LandfallError token_readonly | token_invalid | forbidden
   */
  probeWrite(): Promise<void>
}

/** Who holds an estate. Times are the vendor's own clock (its Date header), so that holders with wrong clocks compare equal. */
export interface LockHolder {
  readonly estate: string
  readonly runId: string
  /** user@host, for people. */
  readonly who: string
  /** Hash of the machine's id, so that a holder on this machine can be checked by pid. */
  readonly hostId: string
  readonly pid: number
  readonly command: string
  readonly beatAtMs: number
}

/** A mutual exclusion object in the vendor's account, made atomic by its unique name. */
export interface CloudLocks {
  /** @throws LandfallError `locked` with the holder in the message when somebody has it */
  create(holder: Omit<LockHolder, 'beatAtMs'>): Promise<{ readonly id: string }>
  /** The present holder with the vendor's time of now, or undefined. `sinceMs` is when the lock was made, by the same clock. */
  find(
    estate: string,
  ): Promise<{ readonly id: string; readonly holder: LockHolder; readonly nowMs: number; readonly sinceMs?: number } | undefined>
  /** Whether the newest list of firewalls showed a lock of this estate, which saves a request; undefined when that says nothing. */
  seen(estate: string): boolean | undefined
  /**
   * Writes a beat that is by the vendor's clock no older than this call, but for the second that dates are rounded to.
   * @throws LandfallError `locked` when the lock is no longer ours
   */
  beat(id: string, runId: string): Promise<void>
  /** Deletes exactly this lock; one that is gone is no error. */
  delete(id: string): Promise<void>
}
