/** What a run would do, computed from what was observed. Pure, so a plan cannot write. */

import { createHash } from 'node:crypto'
import { type OrderOptions, orderSteps } from './graph.ts'
import type { Announced, ChangeKind, Finding, Step } from './step.ts'
import type { WorldView } from './world.ts'

export interface PlanEntry<W> {
  readonly step: Step<W>
  readonly finding: Finding<W>
}

export interface Plan<W> {
  /** In dependency order. */
  readonly entries: readonly PlanEntry<W>[]
  /** What must not be done at all. A plan with a refusal is not run. */
  readonly refusals: readonly { readonly step: Step<W>; readonly why: string; readonly hint: string }[]
  /** Mutations that are known now, so without `wait`. */
  readonly changes: number
  readonly waits: number
  /** What can be judged only after other steps. */
  readonly later: readonly {
    readonly step: Step<W>
    readonly on: string
    readonly changes: readonly Announced[]
  }[]
  /** Sum of the known changes, in the account's currency. */
  readonly monthlyNet: number
  /** Destructions, known ones and announced ones. */
  readonly destructive: readonly { readonly stepId: string; readonly summary: string; readonly confirm?: string }[]
  /** SHA-256 over ids, states, kinds and summaries: the same digest means the same plan. */
  readonly digest: string
}

/** The slices that `steps` look at. */
export const slicesOf = <W>(steps: readonly Pick<Step<W>, 'reads'>[]): Set<keyof W> =>
  new Set(steps.flatMap(step => [...step.reads]))

/**
 * Looks at every step. One that can be judged is taken at its word even when its needs are not done yet; one that cannot is
 * shown as "later".
 * @throws Error (a bug) for a broken graph, or when a slice was not read; see `slicesOf`
 */
export function makePlan<W>(steps: readonly Step<W>[], world: WorldView<W>, options: OrderOptions = {}): Plan<W> {
  const entries = orderSteps(steps, options).map(step => ({ step, finding: step.look(world) }))
  const changes = entries.flatMap(({ step, finding }) =>
    finding.state === 'todo' ? finding.changes.map(change => ({ step, ...change })) : [],
  )
  const later = entries.flatMap(({ step, finding }) =>
    finding.state === 'blocked' ? [{ step, on: finding.on, changes: finding.later }] : [],
  )
  const announced = later.flatMap(({ step, changes: coming }) => coming.map(change => ({ step, ...change })))
  const waits = changes.filter(change => change.kind === 'wait').length
  return {
    entries,
    refusals: entries.flatMap(({ step, finding }) =>
      finding.state === 'refused' ? [{ step, why: finding.why, hint: finding.hint }] : [],
    ),
    changes: changes.length - waits,
    waits,
    later,
    monthlyNet: [...changes, ...announced].reduce((sum, change) => sum + (change.monthlyNet ?? 0), 0),
    destructive: [...changes, ...announced]
      .filter(change => change.kind === 'destroy')
      .map(({ step, summary, confirm }) => ({ stepId: step.id, summary, ...(confirm === undefined ? {} : { confirm }) })),
    digest: digestOf(entries),
  }
}

/** Whether there is nothing to do, nothing to come and nothing to refuse. */
export const isEmpty = <W>(plan: Plan<W>): boolean => plan.entries.every(({ finding }) => finding.state === 'done')

/** Whether `now` makes no change that `agreed` did not show. Waits may differ, and what has become true meanwhile may be missing. */
export function isCoveredBy<W>(now: Plan<W>, agreed: Plan<W>): boolean {
  const word = (step: Step<W>, { kind, summary }: { kind: ChangeKind; summary: string }) =>
    JSON.stringify([step.id, kind, summary])
  const shown = new Set(agreed.entries.flatMap(({ step, finding }) => coming(finding).map(change => word(step, change))))
  return (
    now.refusals.length === 0 &&
    now.entries.every(({ step, finding }) =>
      coming(finding).every(change => change.kind === 'wait' || shown.has(word(step, change))),
    )
  )
}

/** What a finding still wants, as a sentence part: for errors and logs. */
export function wishOf<W>(finding: Finding<W>): string {
  switch (finding.state) {
    case 'done':
      return 'nothing'
    case 'todo':
      return finding.changes.map(change => change.summary).join('; ')
    case 'blocked':
      return `waits for ${finding.on}`
    case 'refused':
      return finding.why
  }
}

/** Kinds and summaries of the changes that a finding names, now or for later. */
export const coming = <W>(finding: Finding<W>): readonly { readonly kind: ChangeKind; readonly summary: string }[] =>
  finding.state === 'todo' ? finding.changes : finding.state === 'blocked' ? finding.later : []

function digestOf<W>(entries: readonly PlanEntry<W>[]): string {
  const facts = entries.map(({ step, finding }) => [
    step.id,
    finding.state,
    finding.state === 'blocked' ? finding.on : finding.state === 'refused' ? finding.why : '',
    coming(finding).map(({ kind, summary }) => [kind, summary]),
  ])
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex')
}
