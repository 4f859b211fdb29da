/** A step is one fact about the world that the estate wants, found by a pure look, made true by changes, proved by the same look. */

import type { World, WorldView } from './world.ts'

/** The field a step belongs to; the same word in config, files, plan and output. */
export type Noun =
  | 'image'
  | 'key'
  | 'network'
  | 'firewall'
  | 'server'
  | 'machine'
  | 'dokploy'
  | 'service'
  | 'app'
  | 'dns'
  | 'preview'
  | 'cluster'
  | 'stack'
  | 'backup'

/** `wait` changes nothing: it stands for something already under way that has to end. */
export type ChangeKind = 'create' | 'change' | 'destroy' | 'wait'

/** What a change may use while it is applied. */
export interface ApplyContext<W> {
  readonly world: World<W>
  /** Aborts when the operator interrupts; pass it to every wait. */
  readonly signal: AbortSignal
  /** One line of progress, shown beside the step. */
  log(line: string): void
}

/** One mutation, in the operator's words. */
export interface Change<W> {
  readonly kind: ChangeKind
  /** An imperative sentence without a full stop: "create server prod-dokploy (cx33, nbg1)". */
  readonly summary: string
  /** Further lines for the preview: prices, what becomes reachable, field-by-field differences. */
  readonly details?: readonly string[]
  /** Monthly net price difference, in the account's currency; negative when something is freed. */
  readonly monthlyNet?: number
  /** A name that has to be said before this is destroyed, besides the estate's. */
  readonly confirm?: string
  /** Makes it so, and writes the result into the world. */
  apply(context: ApplyContext<W>): Promise<void>
}

/** A change that is known to come and cannot be made yet. */
export type Announced = Omit<Change<never>, 'apply' | 'details'>

export type Finding<W> =
  | { readonly state: 'done'; readonly detail: string }
  | { readonly state: 'todo'; readonly changes: readonly Change<W>[] }
  /** Cannot be judged yet: `on` says what it waits for, `later` what will follow, both for the preview. */
  | { readonly state: 'blocked'; readonly on: string; readonly later: readonly Announced[] }
  /** Must not be done at all: found before the first write. `why` is a sentence, `hint` the next command. */
  | { readonly state: 'refused'; readonly why: string; readonly hint: string }

export interface Step<W> {
  /** Unique and stable: "server prod-dokploy". Other steps name it in `needs`. */
  readonly id: string
  readonly noun: Noun
  /** What the operator reads: "server prod-dokploy runs". */
  readonly title: string
  /** Ids of steps that must be done before this one starts. Unknown ids are a bug, except that a filtered plan drops them. */
  readonly needs: readonly string[]
  /** The slices that `look` uses. */
  readonly reads: readonly (keyof W)[]
  /** Whether a finding's changes run one after another (the default) or side by side. */
  readonly order?: 'sequence' | 'parallel'
  /** How long it usually takes, for the display. */
  readonly typicalMs?: number
  /** Pure: no I/O, no clock, no randomness. */
  look(world: WorldView<W>): Finding<W>
}

export const done = (detail: string): { state: 'done'; detail: string } => ({ state: 'done', detail })
export const todo = <W>(...changes: Change<W>[]): { state: 'todo'; changes: Change<W>[] } => ({ state: 'todo', changes })
export const blocked = (on: string, ...later: Announced[]): { state: 'blocked'; on: string; later: Announced[] } => ({
  state: 'blocked',
  on,
  later,
})
export const refused = (why: string, hint: string): { state: 'refused'; why: string; hint: string } => ({
  state: 'refused',
  why,
  hint,
})
