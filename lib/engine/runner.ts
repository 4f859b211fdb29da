/** Runs a plan: refuses first, records, applies along the graph, shows, and looks again. The only importer of listr2. */

import { hasCode, LandfallError } from '../errors.ts'
import type { Clock } from './clock.ts'
import { type RunEvents, type StepResult, startSteps } from './execute.ts'
import { orderSteps } from './graph.ts'
import type { Journal } from './journal.ts'
import { fitWidth, type Row, renderRows } from './list.ts'
import { coming, isEmpty, makePlan, type Plan, type PlanEntry, slicesOf } from './plan.ts'
import type { Step } from './step.ts'
import { verify } from './verify.ts'
import type { World } from './world.ts'

export type { RunEvents, StepResult } from './execute.ts'

/** How long such a change usually takes; `Journal.typicalMs` has this shape. */
export type Typical = Journal['typicalMs']

export interface RunOptions<W> {
  readonly steps: readonly Step<W>[]
  readonly world: World<W>
  /** What the operator agreed to. When the world has since come to want something else, nothing is done. */
  readonly plan?: Plan<W>
  /** The steps are a selection; see `orderSteps`. */
  readonly partial?: boolean
  readonly events?: RunEvents
  readonly clock: Clock
  /** Aborts when the operator interrupts. */
  readonly signal: AbortSignal
  readonly journal: Pick<Journal, 'start' | 'intent' | 'outcome' | 'settle' | 'end'>
  /** `list` draws on `terminal`; with `silent` the caller prints what `events` tell. */
  readonly display: 'list' | 'silent'
  /** Where `list` draws. Without it nothing is drawn. */
  readonly terminal?: NodeJS.WriteStream
  /** Makes a text fit for the terminal: no control characters, no secrets. */
  readonly clean?: (text: string) => string
  readonly typical?: Typical
  /** How long vendors' lists may lag behind in the second look. */
  readonly settleMs?: number
}

export interface RunResult {
  /** `nothing`: everything was as wanted, and nothing was written anywhere. `done`: applied and seen to be so. */
  readonly outcome: 'nothing' | 'done' | 'failed' | 'interrupted'
  /** Changes applied, without waits. */
  readonly applied: number
  readonly durationMs: number
  /** In dependency order. */
  readonly steps: readonly StepResult[]
  /** The first failure; also set when a step failed before an interrupt. */
  readonly error?: unknown
  /** Further failures. */
  readonly others: readonly unknown[]
}

const SETTLE_MS = 10_000
/** What is printed while a list is drawn shows only after it. */
const ENDING = 'interrupted: the current calls end; Ctrl-C again stops at once'
const SECOND_LOOK = 'second look at everything that was touched'

/**
 * Makes every step true. Failures of steps are in the result, not thrown.
 * @throws LandfallError `refused` before the first write, when a step refuses or the plan is no longer the one that was shown;
 * whatever the first reading of the world throws
 */
export async function runSteps<W>(options: RunOptions<W>): Promise<RunResult> {
  const { world, clock, signal, journal } = options
  const startedMs = clock.monotonicMs()
  const order = { partial: options.partial ?? false }
  const steps = orderSteps(options.steps, order)
  await world.look(slicesOf(steps))
  const plan = makePlan(steps, world, order)
  refuseUnsafe(plan, options.plan)

  const planned = new Map(plan.entries.map(({ step, finding }) => [step.id, finding]))
  const known = plan.entries.filter(({ finding }) => finding.state === 'done').map(({ step }) => step.id)
  const broken: unknown[] = []
  const told = guarded(options.events ?? {}, broken)
  const begin = (events: RunEvents) => startSteps({ steps, planned, world, clock, signal, journal, events })
  if (isEmpty(plan)) {
    const results = await Promise.all(begin(told).values())
    await journal.settle(known)
    return { outcome: 'nothing', applied: 0, durationMs: clock.monotonicMs() - startedMs, steps: results, others: [] }
  }

  const list =
    options.display === 'list' && options.terminal ? await openList(options, options.terminal, plan.entries) : undefined
  await journal.start({ planDigest: plan.digest, changes: plan.changes })
  const running = begin(list ? joined(list.events, told) : told)
  const ended = Promise.all(running.values()).then(async results => {
    const errors = results.flatMap(result => result.errors)
    const complete = results.every(result => result.state === 'done')
    if (complete) errors.push(...(await secondLook(options, steps, list ? joined(list.events, told) : told)))
    return { results, errors, complete }
  })
  // A display that breaks must not stop the run; it is reported with the rest.
  const [drawn] = await Promise.allSettled([list?.draw(running, ended)])
  const { results, errors, complete } = await ended
  if (drawn.status === 'rejected') broken.push(drawn.reason)

  const isInterrupt = (error: unknown) => signal.aborted && hasCode(error, 'cancelled')
  const failures = [...errors.filter(error => !isInterrupt(error)), ...broken]
  const interrupted = signal.aborted && (!complete || errors.some(isInterrupt))
  const outcomeNow = () => (interrupted ? 'interrupted' : failures.length > 0 ? 'failed' : 'done')
  const applied = results.reduce((sum, result) => sum + result.applied, 0)
  const durationMs = clock.monotonicMs() - startedMs
  try {
    if (errors.length === 0) await journal.settle(results.filter(({ state }) => state === 'done').map(({ id }) => id))
    await journal.end({ outcome: outcomeNow(), applied, durationMs })
  } catch (error) {
    failures.push(error)
  }
  const [error, ...others] = failures
  return { outcome: outcomeNow(), applied, durationMs, steps: results, ...(error === undefined ? {} : { error }), others }
}

function refuseUnsafe<W>(plan: Plan<W>, shown: Plan<W> | undefined): void {
  const [first] = plan.refusals
  if (first) {
    const whys = plan.refusals.map(({ step, why }) => `${step.title}: ${why}`)
    throw new LandfallError('refused', `Nothing was changed. ${whys.join(' ')}`, { hint: first.hint })
  }
  if (shown && shown.digest !== plan.digest) {
    throw new LandfallError('refused', 'Nothing was changed: the world is no longer as it was when the plan was shown.', {
      hint: 'Run the same command again: it shows the new plan.',
    })
  }
}

async function secondLook<W>(options: RunOptions<W>, steps: readonly Step<W>[], events: RunEvents): Promise<unknown[]> {
  const { world, clock, signal, settleMs = SETTLE_MS } = options
  const startedMs = clock.monotonicMs()
  const tell = (state: 'started' | 'done' | 'failed') => events.onVerify?.({ state, elapsedMs: clock.monotonicMs() - startedMs })
  tell('started')
  try {
    await verify({ steps, world, clock, signal, settleMs })
    tell('done')
    return []
  } catch (error) {
    tell('failed')
    return [error]
  }
}

/** An observer that throws loses its voice, not the run: the failure is kept and it is not called again. */
function guarded(events: RunEvents, broken: unknown[]): Required<RunEvents> {
  const guard =
    <E>(tell: ((event: E) => void) | undefined) =>
    (event: E) => {
      if (broken.length > 0) return
      try {
        tell?.(event)
      } catch (error) {
        broken.push(error)
      }
    }
  return {
    onStep: guard(events.onStep?.bind(events)),
    onLog: guard(events.onLog?.bind(events)),
    onVerify: guard(events.onVerify?.bind(events)),
  }
}

const joined = (first: RunEvents, second: RunEvents): Required<RunEvents> => ({
  onStep(event) {
    first.onStep?.(event)
    second.onStep?.(event)
  },
  onLog(line) {
    first.onLog?.(line)
    second.onLog?.(line)
  },
  onVerify(event) {
    first.onVerify?.(event)
    second.onVerify?.(event)
  },
})

/** What was learned about this very step, else what its author says, else what was learned about its noun. */
export function typicalStepMs<W>({ step, finding }: PlanEntry<W>, typical: Typical = () => undefined): number | undefined {
  const kinds = coming(finding).map(({ kind }) => kind)
  const learned = (of: { readonly step: string } | { readonly noun: string }): number | undefined => {
    const times = kinds.flatMap(kind => typical({ ...of, kind }) ?? [])
    if (kinds.length === 0 || times.length < kinds.length) return undefined
    return step.order === 'parallel' ? Math.max(...times) : times.reduce((sum, time) => sum + time, 0)
  }
  return learned({ step: step.id }) ?? step.typicalMs ?? learned({ noun: step.noun })
}

interface List {
  readonly events: RunEvents
  /** Draws until every step, and the whole run, has ended. */
  draw(running: ReadonlyMap<string, Promise<StepResult>>, ended: Promise<unknown>): Promise<void>
}

async function openList<W>(
  options: RunOptions<W>,
  terminal: NodeJS.WriteStream,
  entries: readonly PlanEntry<W>[],
): Promise<List> {
  const { clock, clean = text => text } = options
  const { color, DefaultRenderer, figures, Listr, ListrLogger, ProcessOutput, Spinner } = await import('listr2')
  const paint = (style: 'dim' | 'yellow' | 'green' | 'red', text: string) => color[style]?.(text) ?? text
  const spinner = new Spinner()
  const startedMs = new Map<string, number>()
  const rows = new Map<string, Row>(
    entries.map(entry => {
      const typicalMs = typicalStepMs(entry, options.typical)
      const row = {
        title: clean(entry.step.title),
        state: 'pending',
        unchanged: entry.finding.state === 'done',
        elapsedMs: 0,
      } as const
      return [entry.step.id, typicalMs === undefined ? row : { ...row, typicalMs }]
    }),
  )
  const set = (id: string, change: Partial<Row>) => {
    const row = rows.get(id)
    if (row) rows.set(id, { ...row, ...change })
  }
  const icons = () => ({
    pending: paint('dim', figures.squareSmallFilled),
    running: paint('yellow', spinner.fetch()),
    done: paint('green', figures.tick),
    failed: paint('red', figures.cross),
    skipped: paint('yellow', figures.arrowDown),
    interrupted: paint('red', figures.circleSlash),
  })

  /** Listr's own drawing shows waiting tasks as running and lets the top of a long list scroll away; see `renderRows`. */
  class StepList extends DefaultRenderer {
    static override nonTTY = true
    override create(how?: Parameters<InstanceType<typeof DefaultRenderer>['create']>[0]): string {
      for (const [id, atMs] of startedMs) set(id, { elapsedMs: clock.monotonicMs() - atMs })
      const final = how?.prompt === false
      const columns = terminal.columns ?? 80
      const ending =
        options.signal.aborted && !final ? [paint('yellow', fitWidth(`${figures.circleSlash} ${ENDING}`, columns))] : []
      const size = { columns, rows: final ? Number.POSITIVE_INFINITY : (terminal.rows ?? 24) - 1 - ending.length }
      const lines = renderRows([...rows.values()], { ...size, icons: icons(), dim: text => paint('dim', text) })
      return [...lines, ...ending].join('\n')
    }
  }

  return {
    events: {
      onStep({ id, state, change, detail, error, elapsedMs }) {
        if (state === 'changed') return
        if (state === 'started' || state === 'waiting') {
          if (!startedMs.has(id)) startedMs.set(id, clock.monotonicMs())
          return set(id, { state: 'running', ...(change === undefined ? {} : { note: clean(change) }) })
        }
        startedMs.delete(id)
        const note = error instanceof Error ? error.message : state === 'done' ? undefined : detail
        set(id, { state, elapsedMs, ...(note === undefined ? {} : { note: clean(note) }) })
      },
      onLog: ({ id, line }) => set(id, { note: clean(line) }),
      onVerify({ state, elapsedMs }) {
        if (state === 'started') startedMs.set(SECOND_LOOK, clock.monotonicMs())
        else startedMs.delete(SECOND_LOOK)
        const shown = state === 'started' ? 'running' : state
        rows.set(SECOND_LOOK, { title: SECOND_LOOK, state: shown, unchanged: false, elapsedMs })
      },
    },
    async draw(running, ended) {
      const logger = new ListrLogger({ useIcons: true, toStderr: [], processOutput: new ProcessOutput(terminal) })
      const tasks = entries.map(({ step }) => ({
        title: clean(step.title),
        task: () => running.get(step.id)?.then(() => undefined),
      }))
      const whole = { title: SECOND_LOOK, task: () => ended.then(() => undefined) }
      // Ctrl-C belongs to main: with listr2's own listener the prompt returns while calls are still under way.
      const drawing = { concurrent: true, exitOnError: false, registerSignalListeners: false } as const
      await new Listr([...tasks, whole], { ...drawing, renderer: StepList, rendererOptions: { spinner, logger } }).run()
    },
  }
}
