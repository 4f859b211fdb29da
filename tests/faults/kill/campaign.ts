/** Many kills, two or three worlds at a time, with progress that a later call continues. */

import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { mulberry32 } from '../../../lib/sandbox/faults.ts'
import { SCENARIOS, type Scenario, type Worlds } from './scenarios.ts'
import { type Boundary, nameOf, runUndisturbed, tryKill, type Undisturbed, type Verdict } from './trial.ts'

export interface Point {
  readonly scenario: Scenario
  readonly boundary: Boundary
}

export interface Finding extends Verdict {
  readonly point: string
}

export interface Campaign {
  readonly points: number
  readonly passed: number
  readonly unreached: readonly string[]
  readonly failed: readonly Finding[]
}

export const titleOf = ({ scenario, boundary }: Point): string => `${scenario.name} | ${nameOf(boundary)}`

export interface Prepared {
  readonly undisturbed: ReadonlyMap<string, Undisturbed>
  readonly points: readonly Point[]
}

/** Runs each scenario once in peace: what it should end in, and where it can be cut. */
export async function prepare(worlds: Worlds, scenarios: readonly Scenario[] = SCENARIOS): Promise<Prepared> {
  const undisturbed = new Map<string, Undisturbed>()
  for (const scenario of scenarios) undisturbed.set(scenario.name, await runUndisturbed(scenario, worlds))
  const points = scenarios.flatMap(scenario =>
    (undisturbed.get(scenario.name)?.boundaries ?? []).map(boundary => ({ scenario, boundary })),
  )
  return { undisturbed, points }
}

/** Cuts in what changes something: a write to an API, a program, a file. Others leave the world as the cut before them. */
export const isWrite = ({ boundary: { kind, event } }: Point): boolean =>
  kind === 'api'
    ? !/ (GET|HEAD) /.test(event)
    : kind === 'program'
      ? !/ (facts|probe|inspect|watch-dokploy-install|read-dokploy-login)#/.test(event)
      : true

/** `count` of them, the same for the same seed. */
export function sample<T>(items: readonly T[], count: number, seed: number): T[] {
  const random = mulberry32(seed)
  const left = [...items]
  return Array.from({ length: Math.min(count, left.length) }, () => left.splice(Math.floor(random() * left.length), 1)).flat()
}

export interface CampaignOptions {
  readonly worlds: Worlds
  readonly prepared: Prepared
  readonly points: readonly Point[]
  readonly parallel?: number
  /** One JSON line for each point that was tried; those in it are not tried again. */
  readonly progressFile?: string
  readonly onVerdict?: (finding: Finding, done: number) => void
}

export async function runCampaign(options: CampaignOptions): Promise<Campaign> {
  const { worlds, prepared, points, parallel = 2, progressFile } = options
  const known = new Map<string, Finding>(progressFile ? readProgress(progressFile).map(finding => [finding.point, finding]) : [])
  const findings: Finding[] = []
  const queue = [...points]
  const work = async (): Promise<void> => {
    for (let point = queue.shift(); point; point = queue.shift()) {
      const title = titleOf(point)
      const before = known.get(title)
      const expected = prepared.undisturbed.get(point.scenario.name)
      if (!expected) throw new Error(`${point.scenario.name} was not prepared`)
      const finding = before ?? { point: title, ...(await tryKill(point.scenario, point.boundary, expected, worlds)) }
      findings.push(finding)
      if (!before && progressFile) appendFileSync(progressFile, `${JSON.stringify(finding)}\n`)
      options.onVerdict?.(finding, findings.length)
    }
  }
  await Promise.all(Array.from({ length: parallel }, work))
  return {
    points: findings.length,
    passed: findings.filter(each => each.state === 'passed').length,
    unreached: findings.filter(each => each.state === 'unreached').map(each => each.point),
    failed: findings.filter(each => each.state === 'failed'),
  }
}

const readProgress = (path: string): Finding[] =>
  existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map(line => JSON.parse(line) as Finding)
    : []
