/**
 * What every stand-in of the sandbox is made of: a persistent store, a clock, one HTTP front that adds latency and faults, keeps
 * the ground truth of what was asked, and hands the request to the stand-in. The stand-ins hold the vendors' rules; this holds none.
 */

export type Vendor = 'hetzner' | 'digitalocean' | 'cloudflare' | 'dokploy' | 'github' | 'vercel' | 'acme'

export interface StandInRequest {
  readonly method: string
  /** Path below the stand-in's base, with a leading slash, without the query. */
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: Headers
  /** Raw body bytes as text; empty when none was sent. */
  readonly bodyText: string
  /** When the request arrived, by the sandbox's clock. */
  readonly atMs: number
}

export interface StandInResponse {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON; undefined sends an empty body without a content type. */
  readonly json?: unknown
  /** Sent as it is, with the content type from `headers`. */
  readonly text?: string
}

/** One vendor's stand-in: pure rules over its collections in the store. Must be synchronous in effect: no await between read and write. */
export interface StandIn {
  readonly vendor: Vendor
  handle(request: StandInRequest): StandInResponse | Promise<StandInResponse>
}

/** A typed, ordered, write-through collection. Objects are plain JSON; `put` replaces the whole object. */
export interface Collection<T> {
  get(id: string): T | undefined
  put(id: string, value: T): void
  delete(id: string): boolean
  all(): T[]
  readonly size: number
}

export interface Store {
  /** The collection called `name`, made on first use. Names are `vendor.things`. */
  collection<T>(name: string): Collection<T>
  /** The next id of a sequence, starting at `from`. */
  nextId(sequence: string, from?: number): number
  /** Runs `work` so that its writes are on disk together. */
  transaction<T>(work: () => T): T
  close(): void
}

export interface SandboxClock {
  nowMs(): number
}

/** What a fault does to one request. */
export type FaultEffect =
  | {
      readonly kind: 'status'
      readonly status: number
      readonly json?: unknown
      readonly text?: string
      readonly headers?: Readonly<Record<string, string>>
      /** The request takes effect first, as behind a gateway that gave up waiting; absent: it has none. */
      readonly after?: true
    }
  /** Connection closed before the request has an effect. */
  | { readonly kind: 'reset_before' }
  /** The request takes effect, then the connection is closed without an answer. */
  | { readonly kind: 'lost_answer' }
  /** The request takes effect, then no byte ever comes back. */
  | { readonly kind: 'hang' }
  /** The answer is cut in the middle of its body. */
  | { readonly kind: 'truncate' }
  /** The answer comes `ms` later. */
  | { readonly kind: 'slow'; readonly ms: number }

export interface FaultRule {
  readonly vendor?: Vendor
  readonly method?: string
  /** Regular expression over the path. */
  readonly path?: string
  /** Which matching requests are hit, counted from 1; all when absent. */
  readonly nth?: readonly number[]
  readonly effect: FaultEffect
}

export interface SandboxSettings {
  /** Added to every request, half before and half after its effect. */
  readonly latencyMs: number
  /** How long a vendor's action takes, by command ("create_server"), with `other` for the rest. */
  readonly actionMs: Readonly<Record<string, number>> & { readonly other: number }
  /** How long a new machine takes from "running" until SSH answers, and until the golden image's Dokploy is healthy. */
  readonly bootMs: number
  readonly dokployStartMs: number
  /** Whether vendors' rate limits are enforced. */
  readonly rateLimits: boolean
  readonly faults: readonly FaultRule[]
  /** When given, faults are also drawn from this seed, with this probability for each request. */
  readonly chaos?: { readonly seed: number; readonly probability: number }
  /** How long a wait for a TTL, which passes in the sandbox's time, really takes; 120 where absent. */
  readonly waitMs?: number
  /** Whether the requests are kept in the store too, so that they outlive the process. */
  readonly keepRequests?: boolean
}

export interface LoggedRequest {
  readonly n: number
  readonly vendor: Vendor
  readonly method: string
  readonly path: string
  readonly query: string
  readonly body: string
  /** What the client was sent; 0 when it got no answer. */
  readonly status: number
  readonly responseBody: string
  readonly atMs: number
  readonly fault?: FaultEffect['kind']
}

/** Points at which a harness may look or kill; awaited, so that a kill lands exactly there. */
export interface Hooks {
  beforeEffect?(request: { vendor: Vendor; method: string; path: string; n: number }): void | Promise<void>
  afterEffect?(request: { vendor: Vendor; method: string; path: string; n: number }): void | Promise<void>
  afterAnswer?(request: { vendor: Vendor; method: string; path: string; n: number }): void | Promise<void>
  /** The same three moments of a program that is run on a machine over SSH; `name` as in `lib/estate/programs.ts`. */
  beforeProgram?(run: { machine: string; name: string }): void | Promise<void>
  afterProgram?(run: { machine: string; name: string }): void | Promise<void>
  afterProgramAnswer?(run: { machine: string; name: string }): void | Promise<void>
}
