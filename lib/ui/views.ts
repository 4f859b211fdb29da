/** What is shown, as plain data: the same for people and for programs, and independent of the engine's types. */

export type ChangeKind = 'create' | 'change' | 'destroy' | 'wait'

export interface ChangeView {
  readonly kind: ChangeKind
  /** An imperative sentence without a full stop. */
  readonly summary: string
  readonly details?: readonly string[]
  /** In the account's currency; negative when something is freed. */
  readonly monthlyNet?: number
}

export interface PlanEntry {
  readonly noun: string
  readonly title: string
  readonly state: 'done' | 'todo' | 'blocked' | 'refused'
  /** How it is, when done. */
  readonly detail?: string
  readonly changes: readonly ChangeView[]
  /** What will follow when it is no longer blocked. */
  readonly later: readonly Pick<ChangeView, 'kind' | 'summary'>[]
  /** What it waits for, when blocked. */
  readonly on?: string
  /** Why it must not be done, and the next command, when refused. */
  readonly why?: string
  readonly hint?: string
  readonly typicalMs?: number
}

export interface MoneyView {
  readonly currency: string
  /** What the plan adds (or frees, when negative). */
  readonly addedMonthly: { readonly net: number; readonly gross: number }
  /** Everything of the estate, after the plan. */
  readonly totalMonthly?: { readonly net: number; readonly gross: number }
  readonly totalHourly?: { readonly net: number; readonly gross: number }
}

export interface PlanView {
  readonly estate: string
  readonly entries: readonly PlanEntry[]
  readonly money?: MoneyView
  /** "prod-dokploy: 22/tcp from anywhere" */
  readonly reachable?: readonly string[]
  /** How long all of it usually takes. */
  readonly typicalMs?: number
  /** What is only simulated, when this is a rehearsal. */
  readonly simulated?: readonly string[]
  readonly notes?: readonly string[]
}

/** The engine's events have this shape. */
export interface StepView {
  readonly id: string
  readonly title: string
  readonly state: 'started' | 'waiting' | 'changed' | 'done' | 'failed' | 'skipped' | 'interrupted'
  readonly noun?: string
  readonly change?: string
  readonly elapsedMs: number
  readonly applied?: number
  readonly detail?: string
  readonly typicalMs?: number
  readonly error?: unknown
}

export interface SummaryView {
  readonly ok: boolean
  /** A sentence: "2 servers run, and both panels answer." */
  readonly title?: string
  /** Changes that were planned. */
  readonly changes: number
  readonly applied: number
  readonly durationMs: number
  readonly requests: Readonly<Record<string, { readonly reads: number; readonly writes: number }>>
  /** `dev_ip`, `prod_url` … */
  readonly outputs: Readonly<Record<string, string>>
  /** Where secrets lie, never what they are. */
  readonly secrets?: readonly string[]
  readonly login?: readonly string[]
  readonly cost?: readonly string[]
  readonly undo?: readonly string[]
  readonly next?: readonly string[]
  readonly simulated?: readonly string[]
}

/** What is used of an engine's plan. */
interface PlanLike {
  readonly entries: readonly {
    readonly step: { readonly noun: string; readonly title: string; readonly typicalMs?: number }
    readonly finding:
      | { readonly state: 'done'; readonly detail: string }
      | { readonly state: 'todo'; readonly changes: readonly ChangeView[] }
      | { readonly state: 'blocked'; readonly on: string; readonly later: PlanEntry['later'] }
      | { readonly state: 'refused'; readonly why: string; readonly hint: string }
  }[]
}

const entryOf = ({ step, finding }: PlanLike['entries'][number]): PlanEntry => {
  const base = {
    noun: step.noun,
    title: step.title,
    state: finding.state,
    changes: [],
    later: [],
    ...(step.typicalMs === undefined ? {} : { typicalMs: step.typicalMs }),
  }
  switch (finding.state) {
    case 'done':
      return { ...base, detail: finding.detail }
    case 'todo': {
      // Only what is shown: a change also knows how to apply itself.
      const changes = finding.changes.map(({ kind, summary, details, monthlyNet }) => ({
        kind,
        summary,
        ...(details === undefined ? {} : { details }),
        ...(monthlyNet === undefined ? {} : { monthlyNet }),
      }))
      return { ...base, changes }
    }
    case 'blocked':
      return { ...base, on: finding.on, later: finding.later.map(({ kind, summary }) => ({ kind, summary })) }
    case 'refused':
      return { ...base, why: finding.why, hint: finding.hint }
  }
}

/** The view of an engine's plan. */
export const planView = (estate: string, plan: PlanLike, more: Omit<PlanView, 'estate' | 'entries'> = {}): PlanView => ({
  estate,
  entries: plan.entries.map(entryOf),
  ...more,
})

export interface PlanCounts {
  readonly create: number
  readonly change: number
  readonly destroy: number
  readonly later: number
  readonly done: number
  readonly refused: number
}

export const countPlan = ({ entries }: Pick<PlanView, 'entries'>): PlanCounts => {
  const changes = entries.flatMap(entry => entry.changes)
  const of = (kind: ChangeKind) => changes.filter(change => change.kind === kind).length
  const inState = (state: PlanEntry['state']) => entries.filter(entry => entry.state === state)
  return {
    create: of('create'),
    change: of('change'),
    destroy: of('destroy'),
    later: inState('blocked').reduce((sum, entry) => sum + Math.max(1, entry.later.length), 0),
    done: inState('done').length,
    refused: inState('refused').length,
  }
}
