/** Carries out the steps: each starts the moment its needs are done, applies its changes, and is judged again by its own look. */

import { hasCode, LandfallError } from '../errors.ts'
import type { Clock } from './clock.ts'
import { knownNeeds } from './graph.ts'
import type { Journal } from './journal.ts'
import { coming, wishOf } from './plan.ts'
import type { Change, Finding, Noun, Step } from './step.ts'
import type { World } from './world.ts'

/** What became of a step. `interrupted`: it had begun. `skipped`: it had not, `why` says the reason. */
export type StepEnd = 'done' | 'failed' | 'skipped' | 'interrupted'

/**
 * `started` and `waiting` (for a change of kind `wait`) come before each change, `changed` after each; then one end.
 * A step that was done before the run reports `done` alone, with `applied` 0.
 */
export interface StepEvent {
  readonly id: string
  readonly title: string
  readonly noun: Noun
  readonly state: 'started' | 'waiting' | 'changed' | StepEnd
  /** The change's summary. */
  readonly change?: string
  /** Since the step began; for `changed`, since the change began. */
  readonly elapsedMs: number
  /** Changes applied so far, without waits. */
  readonly applied: number
  /** Why it was skipped, or how it is when done. */
  readonly detail?: string
  readonly error?: unknown
}

export interface RunEvents {
  onStep?(event: StepEvent): void
  onLog?(line: { readonly id: string; readonly line: string }): void
  /** The second look at the world, after everything was applied. */
  onVerify?(event: { readonly state: 'started' | 'done' | 'failed'; readonly elapsedMs: number }): void
}

export interface StepResult {
  readonly id: string
  readonly title: string
  readonly noun: Noun
  readonly state: StepEnd
  /** Changes applied, without waits. */
  readonly applied: number
  readonly elapsedMs: number
  /** Why it was skipped, or how it is when done. */
  readonly detail?: string
  /** What failed, in order; more than one only for changes side by side. */
  readonly errors: readonly unknown[]
}

export interface Execution<W> {
  /** In dependency order. */
  readonly steps: readonly Step<W>[]
  /** What the plan found, by step id. */
  readonly planned: ReadonlyMap<string, Finding<W>>
  readonly world: World<W>
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly journal: Pick<Journal, 'intent' | 'outcome'>
  readonly events: RunEvents
}

/** How often a step may find new changes after its changes. */
const MAX_ROUNDS = 10

const RERUN = 'Run the same command again: it looks first, and continues with what is there.'

const cancelled = () => new LandfallError('cancelled', 'Interrupted.')

/** Starts everything at once; each promise resolves when its step has ended and never rejects. */
export function startSteps<W>(execution: Execution<W>): Map<string, Promise<StepResult>> {
  const running = new Map<string, Promise<StepResult>>()
  for (const step of execution.steps) {
    const needs = knownNeeds(step, running).flatMap(need => running.get(need) ?? [])
    running.set(step.id, runStep(step, needs, execution))
  }
  return running
}

interface Progress {
  applied: number
  readonly startedMs: number
  readonly errors: unknown[]
}

async function runStep<W>(step: Step<W>, needs: Promise<StepResult>[], execution: Execution<W>): Promise<StepResult> {
  const { clock, signal } = execution
  const missing = (await Promise.all(needs)).filter(need => need.state !== 'done')
  const progress: Progress = { applied: 0, startedMs: clock.monotonicMs(), errors: [] }
  const end = (state: StepEnd, detail?: string): StepResult => {
    const { applied, errors } = progress
    const elapsedMs = clock.monotonicMs() - progress.startedMs
    const result = { ...named(step), state, applied, elapsedMs, errors, ...(detail === undefined ? {} : { detail }) }
    execution.events.onStep?.({ ...result, ...(errors.length > 0 ? { error: errors[0] } : {}) })
    return result
  }

  const cause = missing.find(need => need.state === 'failed') ?? missing[0]
  if (cause && !(signal.aborted && cause.state !== 'failed'))
    return end('skipped', `needs "${cause.title}", which ${fate(cause)}`)
  if (signal.aborted) return end('skipped', 'the run was interrupted before')
  try {
    return end('done', await converge(step, progress, execution))
  } catch (error) {
    const errors = error instanceof SideBySide ? error.errors : [error]
    // After an interrupt, "cancelled" is what was asked for.
    progress.errors.push(...errors.filter(each => !(signal.aborted && hasCode(each, 'cancelled'))))
    return end(progress.errors.length > 0 ? 'failed' : 'interrupted')
  }
}

/** Look, apply, look again, until the step says done. Returns how it is then. */
async function converge<W>(step: Step<W>, progress: Progress, execution: Execution<W>): Promise<string> {
  const { world } = execution
  const seen = new Set<string>()
  for (;;) {
    await world.look(step.reads)
    const finding = step.look(world)
    if (finding.state === 'done') return finding.detail
    if (finding.state === 'refused') throw new LandfallError('refused', finding.why, { hint: finding.hint })
    if (finding.state === 'blocked') {
      throw new LandfallError('unverified', `${step.title}: waits for ${finding.on}, although everything it needs is done.`, {
        hint: RERUN,
      })
    }
    if (finding.changes.length === 0) throw new Error(`bug: step "${step.id}" has something to do, but names no change`)

    const round = JSON.stringify(finding.changes.map(({ kind, summary }) => [kind, summary]))
    if (seen.has(round) || seen.size === MAX_ROUNDS) {
      throw new LandfallError('unverified', `${step.title}: its changes were applied, yet it still wants: ${wishOf(finding)}.`, {
        hint: RERUN,
      })
    }
    seen.add(round)
    forbidSurprise(step, finding.changes, execution)
    await applyAll(step, finding.changes, progress, execution)
  }
}

/** What the operator agreed to named every destruction, if only as "later"; one that appears during the run was never agreed to. */
function forbidSurprise<W>(step: Step<W>, changes: readonly Change<W>[], { planned }: Execution<W>): void {
  const surprise = changes.find(change => change.kind === 'destroy')
  const shown = planned.get(step.id)
  if (!surprise || (shown && coming(shown).some(change => change.kind === 'destroy'))) return
  throw new LandfallError('refused', `${step.title}: now wants to ${surprise.summary}, which the plan did not show.`, {
    hint: 'Run the same command again: the new plan shows it and asks.',
  })
}

/** Several changes of one step failed side by side. */
class SideBySide extends Error {
  readonly errors: readonly unknown[]
  constructor(errors: readonly unknown[]) {
    super('several changes failed')
    this.errors = errors
  }
}

async function applyAll<W>(
  step: Step<W>,
  changes: readonly Change<W>[],
  progress: Progress,
  execution: Execution<W>,
): Promise<void> {
  if (step.order !== 'parallel') {
    for (const change of changes) await apply(step, change, progress, execution)
    return
  }
  const ends = await Promise.allSettled(changes.map(change => apply(step, change, progress, execution)))
  const errors = ends.flatMap(end => (end.status === 'rejected' ? [end.reason] : []))
  if (errors.length > 0) throw new SideBySide(errors)
}

async function apply<W>(step: Step<W>, change: Change<W>, progress: Progress, execution: Execution<W>): Promise<void> {
  const { clock, events, journal, signal, world } = execution
  if (signal.aborted) throw cancelled()
  const intent = await journal.intent({ step: step.id, noun: step.noun, kind: change.kind, summary: change.summary })
  const startedMs = clock.monotonicMs()
  const tell = (state: StepEvent['state'], sinceMs: number) =>
    events.onStep?.({
      ...named(step),
      state,
      change: change.summary,
      elapsedMs: clock.monotonicMs() - sinceMs,
      applied: progress.applied,
    })
  const log = (line: string) => events.onLog?.({ id: step.id, line })

  tell(change.kind === 'wait' ? 'waiting' : 'started', progress.startedMs)
  try {
    // The intent took a moment to reach the disk.
    if (signal.aborted) throw cancelled()
    await change.apply({ world, signal, log })
  } catch (error) {
    const state = signal.aborted && hasCode(error, 'cancelled') ? 'interrupted' : 'failed'
    await journal.outcome(intent, { state, elapsedMs: clock.monotonicMs() - startedMs, error }).catch(unwritten => {
      // The change's own failure matters more than the missing line about it.
      log(unwritten instanceof Error ? unwritten.message : String(unwritten))
    })
    throw error
  } finally {
    world.changed()
  }
  if (change.kind !== 'wait') progress.applied += 1
  await journal.outcome(intent, { state: 'done', elapsedMs: clock.monotonicMs() - startedMs })
  tell('changed', startedMs)
}

const named = <W>({ id, title, noun }: Step<W>) => ({ id, title, noun })

const fate = ({ state }: StepResult): string =>
  state === 'skipped' ? 'was skipped' : state === 'failed' ? 'failed' : 'was interrupted'
