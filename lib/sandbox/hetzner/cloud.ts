/** The stand-in's state and surroundings in one value that every handler gets: collections, rules, the time. */
import type { Collection, SandboxClock, SandboxSettings, StandInResponse, Store } from '../kit.ts'
import type { Body } from './input.ts'
import type {
  ActionRow,
  BalancerRow,
  BucketRow,
  FirewallRow,
  GroupRow,
  ImageRow,
  IpRow,
  KeyRow,
  NetworkRow,
  Resource,
  RulesRow,
  ServerRow,
  TokenRow,
} from './rows.ts'

export interface HetznerDeps {
  readonly store: Store
  readonly clock: SandboxClock
  readonly settings: () => Pick<SandboxSettings, 'actionMs' | 'rateLimits'>
  /** Told after every state change that may alter what runs or what is reachable. */
  readonly onChange?: () => void
}

/** An action that has not ended: when it ends, and what it locks meanwhile. */
export interface PendingRow {
  readonly id: number
  readonly endsAtMs: number
  readonly hidden: boolean
  readonly resources: readonly Resource[]
}

export interface Cloud {
  readonly deps: HetznerDeps
  readonly tokens: Collection<TokenRow>
  readonly buckets: Collection<BucketRow>
  readonly servers: Collection<ServerRow>
  readonly images: Collection<ImageRow>
  readonly keys: Collection<KeyRow>
  readonly networks: Collection<NetworkRow>
  readonly firewalls: Collection<FirewallRow>
  readonly ips: Collection<IpRow>
  readonly groups: Collection<GroupRow>
  readonly balancers: Collection<BalancerRow>
  readonly actions: Collection<ActionRow>
  /** The actions that have not ended, so that settling costs nothing when nothing is due. */
  readonly pending: Collection<PendingRow>
  rules(): RulesRow
  setRules(change: Partial<RulesRow>): void
}

/** One authenticated request, on its way through a handler. */
export interface Call {
  readonly cloud: Cloud
  readonly project: string
  /** The numbers in the path, in order. */
  readonly ids: readonly number[]
  readonly path: string
  readonly query: URLSearchParams
  readonly host: string | null
  readonly nowMs: number
  body(): Body
}

export type Handler = (call: Call) => StandInResponse

/** A row of the routing table: what a part of the API answers to. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Path template as in the vendor's document: "/servers/{id}". */
  readonly path: string
  readonly handle: Handler
}

const USUAL_RULES: RulesRow = {
  readOnlyAnswer: { status: 403, code: 'forbidden' },
  serverLimit: 100,
  listLagMs: 0,
  firewallLingerMs: 0,
  hideTotals: false,
  unassignedType: 'server',
  ignoreShutdown: false,
  fixedIpv4: null,
  endOff: 0,
  stock: {},
  failNext: [],
}

export const openCloud = (deps: HetznerDeps): Cloud => {
  const { store } = deps
  const rules = store.collection<RulesRow>('hetzner.rules')
  const read = (): RulesRow => ({ ...USUAL_RULES, ...rules.get('rules') })
  return {
    deps,
    tokens: store.collection('hetzner.tokens'),
    buckets: store.collection('hetzner.buckets'),
    servers: store.collection('hetzner.servers'),
    images: store.collection('hetzner.images'),
    keys: store.collection('hetzner.keys'),
    networks: store.collection('hetzner.networks'),
    firewalls: store.collection('hetzner.firewalls'),
    ips: store.collection('hetzner.ips'),
    groups: store.collection('hetzner.groups'),
    balancers: store.collection('hetzner.balancers'),
    actions: store.collection('hetzner.actions'),
    pending: store.collection('hetzner.pending'),
    rules: read,
    setRules: change => rules.put('rules', { ...read(), ...change }),
  }
}

// Sequences start far apart, so that an id of one kind never passes for one of another.
const FIRST_ID = {
  servers: 51_000_001,
  images: 230_000_001,
  keys: 24_000_001,
  networks: 11_000_001,
  firewalls: 2_000_001,
  ips: 84_000_001,
  groups: 601_001,
  balancers: 4_700_001,
  actions: 584_000_000_000_001,
} as const

export type Kind = keyof typeof FIRST_ID

export const nextId = (cloud: Cloud, kind: Kind): number => cloud.deps.store.nextId(`hetzner.${kind}`, FIRST_ID[kind])

/** The project's own rows of a collection, oldest first. */
export const ofProject = <T extends { readonly project: string }>(rows: Collection<T>, project: string): T[] =>
  rows.all().filter(row => row.project === project)

/** The row with this id, if the project owns it. */
export const own = <T extends { readonly project: string }>(rows: Collection<T>, project: string, id: number): T | undefined => {
  const row = rows.get(String(id))
  return row?.project === project ? row : undefined
}

/** Writes the row with some of its fields changed; what is gone stays gone. */
export const patch = <T extends { readonly id: number }>(rows: Collection<T>, id: number, change: Partial<T>): void => {
  const row = rows.get(String(id))
  if (row) rows.put(String(id), { ...row, ...change })
}
