/** What the journal's lines tell about earlier runs. Pure, and tolerant: a line that is torn or strange counts as absent. */

import type { ChangeKind, Noun } from './step.ts'

/** What is about to be done; never a value, only the change's own sentence. */
export interface Intent {
  readonly step: string
  readonly noun: Noun
  readonly kind: ChangeKind
  readonly summary: string
}

/** An intent of an earlier run whose end is not known. */
export interface UnfinishedIntent {
  readonly runId: string
  readonly id: number
  readonly step: string
  readonly kind: string
  readonly summary: string
  /** ISO 8601, by the clock of the machine that wrote it. */
  readonly at: string
}

export interface LastRun {
  readonly runId: string
  readonly at: string
  readonly command: string
  readonly who: string
  readonly version: string
  /** `unknown`: it never came to an end. */
  readonly outcome: 'done' | 'failed' | 'interrupted' | 'unknown'
  readonly applied: number
}

export interface History {
  /** Mutations of earlier runs that began and whose end was never written, oldest first. */
  unfinished(): readonly UnfinishedIntent[]
  /** The latest earlier run. */
  lastRun(): LastRun | undefined
  /** What was last done of these steps. A destruction counts from its beginning on, because it may have come to its end. */
  latest(steps: readonly string[]): Pick<UnfinishedIntent, 'step' | 'kind'> | undefined
  /** Median of the latest durations of such changes: of this very step when it was seen before, otherwise of its noun. */
  typicalMs(like: { readonly step?: string; readonly noun?: string; readonly kind: string }): number | undefined
}

/** How many of the latest durations count. */
const SAMPLES = 15

type Line = Readonly<Record<string, unknown>>

/** @param runId the present run, which does not count as an earlier one */
export function parseHistory(ndjson: string, runId: string): History {
  const lines = ndjson.split('\n').flatMap(parseLine)
  const intents = new Map<string, UnfinishedIntent & { readonly noun: string }>()
  const durations = new Map<string, number[]>()
  const doings: Pick<UnfinishedIntent, 'step' | 'kind'>[] = []
  let last: LastRun | undefined

  for (const line of lines) {
    const run = text(line, 'run')
    const key = `${run} ${number(line, 'id')}`
    switch (line.entry) {
      case 'start':
        if (run !== runId) last = startedRun(line)
        break
      case 'intent': {
        const intent = parseIntent(line)
        intents.set(key, { ...intent, noun: text(line, 'noun') })
        if (intent.kind === 'destroy') doings.push(intent)
        break
      }
      case 'outcome': {
        const intent = intents.get(key)
        intents.delete(key)
        if (!intent || line.state !== 'done') break
        doings.push(intent)
        for (const name of [`step ${intent.step} ${intent.kind}`, `noun ${intent.noun} ${intent.kind}`]) {
          durations.set(name, [...(durations.get(name) ?? []).slice(1 - SAMPLES), number(line, 'elapsedMs')])
        }
        break
      }
      case 'settled':
        intents.delete(`${text(line, 'of')} ${number(line, 'id')}`)
        break
      case 'end':
        if (last?.runId === run) last = { ...last, outcome: outcomeOf(line), applied: number(line, 'applied') }
        break
    }
  }

  return {
    unfinished: () =>
      [...intents.values()]
        .filter(intent => intent.runId !== runId && intent.kind !== 'wait')
        .map(({ noun: _, ...intent }) => intent),
    lastRun: () => last,
    latest: steps => doings.findLast(({ step }) => steps.includes(step)),
    typicalMs: ({ step, noun, kind }) =>
      median(
        (step === undefined ? undefined : durations.get(`step ${step} ${kind}`)) ?? durations.get(`noun ${noun} ${kind}`) ?? [],
      ),
  }
}

function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)]
}

function parseLine(line: string): Line[] {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? [Object.fromEntries(Object.entries(value))] : []
  } catch (error) {
    if (error instanceof SyntaxError) return []
    throw error
  }
}

/** Control and direction characters become visible: the file may have been written by somebody else. */
const text = (line: Line, key: string): string => {
  const value = line[key]
  if (typeof value !== 'string') return ''
  return value.replace(
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    character => `\\u{${character.charCodeAt(0).toString(16)}}`,
  )
}

const number = (line: Line, key: string): number => {
  const value = line[key]
  return typeof value === 'number' && Number.isFinite(value) ? value : 0
}

const outcomeOf = ({ outcome }: Line): LastRun['outcome'] =>
  outcome === 'done' || outcome === 'failed' || outcome === 'interrupted' ? outcome : 'unknown'

const startedRun = (line: Line): LastRun => ({
  runId: text(line, 'run'),
  at: text(line, 'at'),
  command: text(line, 'command'),
  who: text(line, 'who'),
  version: text(line, 'version'),
  outcome: 'unknown',
  applied: 0,
})

const parseIntent = (line: Line): UnfinishedIntent => ({
  runId: text(line, 'run'),
  id: number(line, 'id'),
  step: text(line, 'step'),
  kind: text(line, 'kind'),
  summary: text(line, 'summary'),
  at: text(line, 'at'),
})
