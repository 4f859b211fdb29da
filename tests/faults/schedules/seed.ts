/** One number is one schedule: what goes wrong at which request, and how the vendor's side misbehaves besides. */

import type { FaultRule } from '../../../lib/sandbox/kit.ts'
import type { Sandbox } from '../../../lib/sandbox/sandbox.ts'
import destroy from '../../../scripts/destroy.ts'
import dns from '../../../scripts/dns.ts'
import provision from '../../../scripts/provision.ts'
import { differences, lookAtWorld, type Truth } from '../harness/oracle.ts'
import { plantStrangers } from '../harness/strangers.ts'
import { type Outcome, randomOf, type Stage } from './inprocess.ts'

/** What is wrong with the world, besides single requests. */
export interface Mood {
  readonly probability: number
  readonly listLagMs: number
  readonly firewallLingerMs: number
  readonly failing: readonly string[]
  readonly endsOff: boolean
  readonly soldOut: boolean
  readonly hideTotals: boolean
  /** Requests, counted over all vendors' writes, whose answer never comes. */
  readonly hangs: readonly FaultRule[]
}

const PROBABILITIES = [0.03, 0.08, 0.15, 0.3] as const
const COMMANDS = ['create_server', 'start_server', 'apply_firewall', 'set_firewall_rules', 'delete_server'] as const

export function moodOf(seed: number): Mood {
  const random = randomOf(seed)
  const pick = <T>(items: readonly T[]): T => {
    const item = items[Math.floor(random() * items.length)]
    if (item === undefined) throw new Error('nothing to pick from')
    return item
  }
  return {
    probability: pick(PROBABILITIES),
    listLagMs: pick([0, 0, 400, 2_500]),
    firewallLingerMs: pick([0, 0, 3_000]),
    failing: random() < 0.25 ? [pick(COMMANDS)] : [],
    endsOff: random() < 0.15,
    soldOut: random() < 0.1,
    hideTotals: random() < 0.2,
    hangs:
      random() < 0.3
        ? [
            {
              vendor: pick(['hetzner', 'hetzner', 'cloudflare'] as const),
              method: pick(['POST', 'GET', 'DELETE', 'PUT']),
              nth: [1 + Math.floor(random() * 3)],
              effect: { kind: 'hang' },
            },
          ]
        : [],
  }
}

const spoil = (sandbox: Sandbox, mood: Mood, seed: number): void => {
  const { hetzner } = sandbox.controls
  hetzner.setListLagMs(mood.listLagMs)
  hetzner.setFirewallLingerMs(mood.firewallLingerMs)
  hetzner.setHideTotals(mood.hideTotals)
  for (const command of mood.failing) hetzner.failNext(command, 'unknown_error')
  if (mood.endsOff) hetzner.endNextServerOff()
  if (mood.soldOut) hetzner.setStock('cx33', 'nbg1', 'silently_sold_out')
  sandbox.settings.faults = mood.hangs
  sandbox.settings.chaos = { seed, probability: mood.probability }
}

const heal = (sandbox: Sandbox): void => {
  const { hetzner } = sandbox.controls
  hetzner.setListLagMs(0)
  hetzner.setFirewallLingerMs(0)
  hetzner.setHideTotals(false)
  // What no run came to under faults would otherwise meet the runs after them.
  hetzner.forgetNext()
  hetzner.setStock('cx33', 'nbg1', 'available')
  sandbox.settings.faults = []
  delete sandbox.settings.chaos
}

export interface Finding {
  readonly seed: number
  readonly where: string
  readonly why: string
}

export interface SeedResult {
  readonly seed: number
  readonly findings: readonly Finding[]
  /** Runs without faults until each part was as wanted. */
  readonly reruns: readonly number[]
  readonly faults: number
  readonly failedRuns: number
  /** What was asked and what was done to it, in a form that two plays of one seed share. */
  readonly trace: string
}

/** After the faults have ended, so many runs must do. */
const MAX_RERUNS = 2

const PARTS = [
  { name: 'provision apply', script: provision, words: ['apply'] },
  { name: 'provision apply after drift', script: provision, words: ['apply'] },
  { name: 'dns', script: dns, words: [] },
  { name: 'destroy', script: destroy, words: ['--confirm', 'example'] },
] as const

/** Somebody opens a port and deletes a server. */
const drift = async (stage: Stage): Promise<void> => {
  const { sandbox } = stage
  await asSomebody(sandbox, async call => {
    const { firewalls, servers } = sandbox.controls.hetzner.dump()
    const wall = firewalls.find(each => each.name === 'example-dokploy')
    const server = servers.find(each => each.name === 'dev-dokploy')
    const rules = [{ direction: 'in', protocol: 'tcp', port: '5432', source_ips: ['0.0.0.0/0'] }]
    await call('POST', `/firewalls/${wall?.id}/actions/set_rules`, { rules })
    await settle(stage)
    await call('DELETE', `/servers/${server?.id}`)
  })
  await settle(stage)
}

const asSomebody = async (
  sandbox: Sandbox,
  work: (call: (method: string, path: string, body?: unknown) => Promise<void>) => Promise<void>,
): Promise<void> => {
  await work(async (method, path, body) => {
    const answer = await fetch(`${sandbox.environment.HCLOUD_ENDPOINT}${path}`, {
      method,
      headers: { Authorization: `Bearer ${sandbox.environment.HCLOUD_TOKEN}`, 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`)
  })
}

/** What each part ends in when nothing goes wrong. */
export async function playInPeace(stage: Stage): Promise<readonly Truth[]> {
  const truths: Truth[] = []
  await begin(stage)
  for (const part of PARTS) {
    if (part.name.endsWith('drift')) await drift(stage)
    const outcome = await stage.run(part.script, part.words, randomOf(1))
    if (outcome.exitCode !== 0) throw new Error(`${part.name} fails in peace: ${JSON.stringify(outcome.errors)}`)
    truths.push(await lookAtRest(stage))
  }
  return truths
}

const begin = async ({ sandbox, time }: Stage): Promise<void> => {
  heal(sandbox)
  sandbox.reset()
  await planting(sandbox, time)
}

/** The strangers' servers take their time, which nobody waits for here. */
const planting = async (sandbox: Sandbox, { stir }: Stage['time']): Promise<void> => {
  const { actionMs } = sandbox.settings
  sandbox.settings.actionMs = { other: 0 }
  stir()
  await plantStrangers(sandbox)
  sandbox.settings.actionMs = actionMs
}

const settle = async ({ sandbox, time }: Stage): Promise<void> => {
  const { systemClock } = await import('../../../lib/engine/clock.ts')
  while (sandbox.controls.hetzner.nextEventAtMs() !== undefined) {
    await systemClock.sleep(500)
    time.stir()
    sandbox.controls.hetzner.settle()
  }
}

/** A machine that was powered on last boots while nothing waits for it. */
const lookAtRest = async ({ sandbox, time }: Stage): Promise<Truth> => {
  const { systemClock } = await import('../../../lib/engine/clock.ts')
  await systemClock.sleep(sandbox.settings.bootMs)
  time.stir()
  return lookAtWorld(sandbox)
}

const complaints = (outcome: Outcome, when: string): string[] => [
  ...outcome.errors.filter(error => error.bug).map(error => `${when}: a bug: ${error.message}`),
  ...outcome.errors.filter(error => !error.bug && !error.hint).map(error => `${when}: no hint: ${error.message}`),
  ...(/\n\s+at [^\n]*\.ts:\d+/.test(outcome.output) ? [`${when}: a stack was printed`] : []),
  ...(outcome.exitCode !== 0 && outcome.errors.length === 0 && !/"state":"refused"[^}]*"hint":/.test(outcome.output)
    ? [`${when}: exit code ${outcome.exitCode} without a sentence`]
    : []),
  ...([0, 1, 3].includes(outcome.exitCode) ? [] : [`${when}: exit code ${outcome.exitCode}`]),
]

export async function playSeed(stage: Stage, seed: number, expected: readonly Truth[]): Promise<SeedResult> {
  const { sandbox } = stage
  const findings: Finding[] = []
  const reruns: number[] = []
  let failedRuns = 0
  await begin(stage)
  const firstRequest = sandbox.requests().at(-1)?.n ?? 0
  const mood = moodOf(seed)
  const before = lookAtWorld(sandbox)
  for (const [index, part] of PARTS.entries()) {
    const note = (why: string) => void findings.push({ seed, where: part.name, why })
    if (part.name.endsWith('drift')) await drift(stage)
    spoil(sandbox, mood, seed * PARTS.length + index)
    const random = randomOf(seed)
    const first = await stage.run(part.script, part.words, random)
    for (const complaint of complaints(first, 'under faults')) note(complaint)
    if (first.exitCode !== 0) failedRuns += 1
    heal(sandbox)
    let runs = 0
    let last: Outcome = first
    do {
      runs += 1
      last = await stage.run(part.script, part.words, random)
      for (const complaint of complaints(last, `rerun ${runs}`)) note(complaint)
    } while (last.exitCode !== 0 && runs < MAX_RERUNS)
    reruns.push(runs)
    if (last.exitCode !== 0) note(`${runs} reruns do not converge: ${JSON.stringify(last.errors)}`)
    const truth = await lookAtRest(stage)
    for (const problem of truth.problems) note(problem)
    for (const line of differences(expected[index]?.estate, truth.estate)) note(line)
    for (const line of differences(JSON.parse(before.strangers), JSON.parse(truth.strangers))) note(`stranger: ${line}`)
  }
  const requests = sandbox.requests().filter(each => each.n > firstRequest)
  return {
    seed,
    findings,
    reruns,
    failedRuns,
    faults: requests.filter(each => each.fault).length,
    trace: requests
      .map(each => `${each.vendor} ${each.method} ${each.path} ${each.fault ?? each.status}`)
      .sort()
      .join('\n'),
  }
}
