/** One kill at one exact boundary, one rerun, and the oracle's word on the world. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Hooks } from '../../../lib/sandbox/kit.ts'
import { differences, lookAtWorld, type Truth } from '../harness/oracle.ts'
import { type Ended, lastError, type Running, run, start } from '../harness/product.ts'
import { openTheatre, type Theatre } from '../harness/theatre.ts'
import type { Scenario, Worlds } from './scenarios.ts'

/**
 * Where a run can be cut. For requests and programs: `before` (sent or not, it has no effect), `effect` (it happened, no answer) and
 * `answer` (the answer arrived). "Before send" and "after send, before effect" leave the same world and the same disk, so they are one.
 * For files: `before`, `torn` (half of the data is written) and `after`.
 */
export type Phase = 'before' | 'effect' | 'answer' | 'torn' | 'after'

export interface Boundary {
  readonly kind: 'api' | 'program' | 'file'
  /** `hetzner POST /servers#2`: what, and for the how-manieth time. */
  readonly event: string
  readonly phase: Phase
}

export const nameOf = ({ kind, event, phase }: Boundary): string => `${kind} ${event}:${phase}`

export interface Undisturbed {
  readonly truth: Truth
  readonly files: Files
  readonly boundaries: readonly Boundary[]
  readonly ms: number
}

/** Counts events, and calls `at` at each moment of each. */
export const gate = (at: (kind: 'api' | 'program', event: string, phase: Phase) => void | Promise<void>): Hooks => {
  const counts = new Map<string, number>()
  const numbers = new Map<string, string>()
  const begin = (what: string): string => {
    const count = (counts.get(what) ?? 0) + 1
    counts.set(what, count)
    return `${what}#${count}`
  }
  const api = (about: { vendor: string; method: string; path: string; n: number }): string => {
    const known = numbers.get(String(about.n))
    if (known) return known
    const event = begin(`${about.vendor} ${about.method} ${about.path}`)
    numbers.set(String(about.n), event)
    return event
  }
  // Programs carry no number; on one machine they answer in the order in which they began.
  const running = new Map<string, string[]>()
  const program = (about: { machine: string; name: string }): string => `${about.machine} ${about.name}`
  const ends = new Map<string, string[]>()
  return {
    beforeEffect: about => at('api', api(about), 'before'),
    afterEffect: about => at('api', api(about), 'effect'),
    afterAnswer: about => at('api', api(about), 'answer'),
    beforeProgram(about) {
      const event = begin(program(about))
      running.set(program(about), [...(running.get(program(about)) ?? []), event])
      return at('program', event, 'before')
    },
    afterProgram(about) {
      const [event = '', ...rest] = running.get(program(about)) ?? []
      running.set(program(about), rest)
      ends.set(program(about), [...(ends.get(program(about)) ?? []), event])
      return at('program', event, 'effect')
    },
    afterProgramAnswer(about) {
      const [event = '', ...rest] = ends.get(program(about)) ?? []
      ends.set(program(about), rest)
      return at('program', event, 'answer')
    },
  }
}

const startIn = (theatre: Theatre, scenario: Scenario, inside: Record<string, string> = {}): Running =>
  start({
    command: scenario.command,
    cwd: theatre.cwd,
    env: theatre.environment,
    inside,
    ...(scenario.answers ? { answers: scenario.answers } : {}),
  })

const FILE_LOG = 'files.log'

type Files = Readonly<Record<string, string>>

/** What lies in the operator's directory, beside the state. */
const filesIn = ({ cwd }: Theatre): Files => {
  const names = readdirSync(cwd, { withFileTypes: true }).flatMap(each =>
    each.isFile() && each.name !== FILE_LOG ? each.name : [],
  )
  return Object.fromEntries(names.sort().map(name => [name, readFileSync(join(cwd, name), 'utf8')]))
}

export async function runUndisturbed(scenario: Scenario, worlds: Worlds): Promise<Undisturbed> {
  const theatre = await openTheatre({ from: await worlds.folder(scenario.world) })
  try {
    const before = lookAtWorld(theatre.sandbox)
    const events: Boundary[] = []
    theatre.hooks = gate((kind, event, phase) => {
      events.push({ kind, event, phase })
    })
    const log = join(theatre.cwd, FILE_LOG)
    const ended = await startIn(theatre, scenario, { FILE_LOG: log }).ended
    theatre.hooks = {}
    if (ended.exitCode !== 0) throw new Error(`${scenario.name} fails undisturbed: ${lastError(ended)}`)
    const truth = lookAtWorld(theatre.sandbox)
    if (truth.problems.length > 0) throw new Error(`${scenario.name}, undisturbed: ${truth.problems.join('; ')}`)
    const strange = differences(JSON.parse(before.strangers), JSON.parse(truth.strangers))
    if (strange.length > 0) throw new Error(`${scenario.name}, undisturbed, changed a stranger's object: ${strange.join('; ')}`)
    const files = existsSync(log) ? readFileSync(log, 'utf8').split('\n').filter(Boolean).flatMap(fileBoundaries) : []
    return { truth, files: filesIn(theatre), boundaries: [...events, ...files], ms: ended.ms }
  } finally {
    await theatre.close()
  }
}

/** What is written has three moments, what is done whole has two; making or opening what is there already has none. */
const fileBoundaries = (event: string): Boundary[] => {
  const phases: Phase[] = /^(writeFileSync|handle\.(writeFile|appendFile)) /.test(event)
    ? ['before', 'torn', 'after']
    : /^(link|rename|renameSync|rm|rmSync) /.test(event) || event.endsWith('#1')
      ? ['before', 'after']
      : []
  return phases.map(phase => ({ kind: 'file', event, phase }))
}

export interface Verdict {
  /** `unreached`: this time the run did not come to that boundary (a poll more or less), so it ended by itself. */
  readonly state: 'passed' | 'failed' | 'unreached'
  readonly why: readonly string[]
  readonly ms: number
}

export async function tryKill(
  scenario: Scenario,
  boundary: Boundary,
  expected: Pick<Undisturbed, 'truth' | 'files'>,
  worlds: Worlds,
): Promise<Verdict> {
  const startedMs = performance.now()
  const theatre = await openTheatre({ from: await worlds.folder(scenario.world) })
  try {
    const before = lookAtWorld(theatre.sandbox)
    const file = boundary.kind === 'file' ? { FILE_KILL: `${boundary.event}:${boundary.phase}` } : undefined
    let running: Running | undefined
    theatre.hooks = gate(async (kind, event, phase) => {
      if (kind !== boundary.kind || event !== boundary.event || phase !== boundary.phase) return
      running?.kill()
      await running?.ended
      // What was not to have an effect is never taken up.
      if (phase === 'before') await new Promise(() => undefined)
    })
    running = startIn(theatre, scenario, file)
    const first = await running.ended
    theatre.hooks = {}
    const reached = first.exitCode === 137 && !first.late
    const runs: Ended[] = [first]
    if (reached) runs.push(await startIn(theatre, scenario).ended)
    const why = judge(theatre, before, expected, runs)
    return { state: why.length > 0 ? 'failed' : reached ? 'passed' : 'unreached', why, ms: performance.now() - startedMs }
  } finally {
    await theatre.close()
  }
}

const judge = (
  theatre: Theatre,
  before: Truth,
  expected: Pick<Undisturbed, 'truth' | 'files'>,
  runs: readonly Ended[],
): string[] => {
  const last = runs.at(-1)
  const truth = lookAtWorld(theatre.sandbox)
  return [
    ...(last?.late ? ['the rerun did not end'] : []),
    ...(last && last.exitCode !== 0 && !last.late ? [`the rerun ended with ${last.exitCode}: ${lastError(last)}`] : []),
    ...truth.problems,
    ...differences(expected.truth.estate, truth.estate),
    ...differences(expected.files, filesIn(theatre)),
    ...differences(JSON.parse(before.strangers), JSON.parse(truth.strangers)).map(line => `stranger: ${line}`),
  ]
}

/** A second and third run: the first of them converges, the last makes no change. */
export const rerun = (theatre: Theatre, scenario: Scenario): Promise<Ended> =>
  run({ command: scenario.command, cwd: theatre.cwd, env: theatre.environment })
