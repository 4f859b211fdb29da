/**
 * The table form of Dokploy's procedures. A route says how it is asked (query → GET, mutation → POST), who may ask, which input it
 * accepts, and what it does; REST and tRPC are both served from the same table, as the vendor generates both from one router.
 */

import type { SandboxClock } from '../kit.ts'
import type { PlatformState, ServiceRow } from './apps/rows.ts'
import { parseInput, type Reader } from './input.ts'
import type { DokployState, UserRow } from './state.ts'
import { refuseInput } from './wire.ts'

/** Who asks. */
export interface Caller {
  readonly user: UserRow
  readonly organizationId: string
}

/** What a route may use. */
export interface Context {
  readonly state: DokployState
  readonly clock: SandboxClock
  readonly version: string
  /** The address that outside services see this machine at. */
  readonly publicIp: () => string | undefined
  /** Projects, services and what belongs to them. */
  readonly platform: PlatformState
  /** Puts a file into Traefik's folder; undefined takes it away. */
  writeDynamic(name: string, text: string | undefined): void
  /** A service's variables as its containers get them; what leads nowhere stays as it is. */
  envOf(service: ServiceRow): Readonly<Record<string, string>>
}

export interface Route {
  readonly kind: 'query' | 'mutation'
  readonly access: 'public' | 'member'
  /** A value for the answer, undefined for an empty one, or a `Refusal`. `raw` is the input as it came. */
  answer(context: Context, raw: unknown, caller: Caller | undefined): unknown
}

export type Routes = Readonly<Record<string, Route>>

const parsed = <I>(reader: Reader<I>, raw: unknown, work: (input: I) => unknown): unknown => {
  const result = parseInput(reader, raw)
  return result.ok ? work(result.value) : refuseInput(result.issues)
}

const withCaller = (caller: Caller | undefined, work: (caller: Caller) => unknown): unknown => {
  if (!caller) throw new Error('A route for members was reached without a caller.')
  return work(caller)
}

export const query = <I>(input: Reader<I>, run: (context: Context, input: I, caller: Caller) => unknown): Route => ({
  kind: 'query',
  access: 'member',
  answer: (context, raw, caller) => withCaller(caller, who => parsed(input, raw, value => run(context, value, who))),
})

export const mutation = <I>(input: Reader<I>, run: (context: Context, input: I, caller: Caller) => unknown): Route => ({
  kind: 'mutation',
  access: 'member',
  answer: (context, raw, caller) => withCaller(caller, who => parsed(input, raw, value => run(context, value, who))),
})

/** Open to everybody over tRPC. REST wants a key for every route. */
export const publicQuery = (run: (context: Context) => unknown): Route => ({
  kind: 'query',
  access: 'public',
  answer: context => run(context),
})
