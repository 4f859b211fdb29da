/** Fault schedules against the product as a process, with SSH, machines and Dokploy: slower, so fewer. */

import { differences, lookAtWorld, type Truth } from '../harness/oracle.ts'
import { type Ended, run } from '../harness/product.ts'
import { openTheatre } from '../harness/theatre.ts'
import { SCENARIOS, type Scenario, type Worlds } from '../kill/scenarios.ts'
import { runUndisturbed } from '../kill/trial.ts'
import { randomOf } from './inprocess.ts'
import { type Finding, moodOf } from './seed.ts'

const NAMES = [
  'setup in the empty world',
  'setup in the half world',
  'setup in the drifted world',
  'dokploy apply in the named world',
  'firewall allow-me in the drifted world',
  'destroy in the full world',
]

/** Requests of half-open connections are given up after this, not after the product's half minute. */
const DEADLINE_CAP_MS = 2_500
const MAX_RERUNS = 2

export interface ProcessSeedResult {
  readonly seed: number
  readonly scenario: string
  readonly findings: readonly Finding[]
  readonly reruns: number
  readonly faults: number
  readonly firstExit: number
}

const truths = new Map<string, Promise<Truth>>()

const truthOf = (scenario: Scenario, worlds: Worlds): Promise<Truth> => {
  const known = truths.get(scenario.name) ?? runUndisturbed(scenario, worlds).then(({ truth }) => truth)
  truths.set(scenario.name, known)
  return known
}

export function scenarioOf(seed: number): Scenario {
  const name = NAMES[Math.floor(randomOf(seed ^ 0x5eed)() * NAMES.length)]
  const scenario = SCENARIOS.find(each => each.name === name)
  if (!scenario) throw new Error(`there is no scenario "${name}"`)
  return scenario
}

/** What a run in JSON mode must never say, and what it must when it fails. */
export function complaintsAbout(ended: Ended, when: string): string[] {
  const errors = ended.stdout
    .split('\n')
    .filter(line => line.endsWith('"type":"error"}'))
    .map(line => JSON.parse(line) as { message: string; hint?: string; bug: boolean })
  const refusedInPlan = /"state":"refused"[^}]*"hint":/.test(ended.stdout)
  return [
    ...(ended.late ? [`${when}: it did not end`] : []),
    ...errors.filter(error => error.bug).map(error => `${when}: a bug: ${error.message}`),
    ...errors.filter(error => !error.bug && !error.hint).map(error => `${when}: no hint: ${error.message}`),
    ...(/\n\s+at [^\n]*\.ts:\d+/.test(`${ended.stdout}${ended.stderr}`) ? [`${when}: a stack was printed`] : []),
    ...(ended.exitCode !== 0 && errors.length === 0 && !refusedInPlan && !ended.late
      ? [`${when}: exit code ${ended.exitCode} without a sentence: ${ended.stderr.slice(-300)}`]
      : []),
    ...([0, 1, 3].includes(ended.exitCode) || ended.late ? [] : [`${when}: exit code ${ended.exitCode}`]),
  ]
}

export async function playProcessSeed(seed: number, worlds: Worlds): Promise<ProcessSeedResult> {
  const scenario = scenarioOf(seed)
  const expected = await truthOf(scenario, worlds)
  const mood = moodOf(seed)
  const theatre = await openTheatre({ from: await worlds.folder(scenario.world) })
  const findings: Finding[] = []
  const note = (why: string) => void findings.push({ seed, where: scenario.name, why })
  try {
    const { sandbox } = theatre
    const { hetzner } = sandbox.controls
    const before = lookAtWorld(sandbox)
    hetzner.setListLagMs(Math.min(300, mood.listLagMs))
    hetzner.setHideTotals(mood.hideTotals)
    for (const command of mood.failing) hetzner.failNext(command, 'unknown_error')
    if (mood.endsOff) hetzner.endNextServerOff()
    sandbox.settings.faults = mood.hangs
    sandbox.settings.chaos = { seed, probability: mood.probability }
    const start = {
      command: scenario.command,
      cwd: theatre.cwd,
      env: sandbox.environment,
      inside: { DEADLINE_CAP_MS: String(DEADLINE_CAP_MS) },
    }
    const first = await run(start)
    for (const complaint of complaintsAbout(first, 'under faults')) note(complaint)
    const faults = sandbox.requests().filter(each => each.fault).length
    hetzner.setListLagMs(0)
    hetzner.setHideTotals(false)
    hetzner.forgetNext()
    sandbox.settings.faults = []
    delete sandbox.settings.chaos
    let reruns = 0
    let last: Ended
    do {
      reruns += 1
      last = await run(start)
      for (const complaint of complaintsAbout(last, `rerun ${reruns}`)) note(complaint)
    } while (last.exitCode !== 0 && reruns < MAX_RERUNS)
    if (last.exitCode !== 0) note(`${reruns} reruns do not converge`)
    const truth = lookAtWorld(sandbox)
    for (const problem of truth.problems) note(problem)
    for (const line of differences(expected.estate, truth.estate)) note(line)
    for (const line of differences(JSON.parse(before.strangers), JSON.parse(truth.strangers))) note(`stranger: ${line}`)
    return { seed, scenario: scenario.name, findings, reruns, faults, firstExit: first.exitCode }
  } finally {
    await theatre.close()
  }
}
