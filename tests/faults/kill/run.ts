/** Every kill point, or the writes alone, with progress in a file: `bun tests/faults/kill/run.ts [--writes] [--scenario TEXT] [--progress FILE]`. */

import { isWrite, prepare, runCampaign, sample } from './campaign.ts'
import { createWorlds, SCENARIOS } from './scenarios.ts'

export interface KillSummary {
  readonly scenarios: number
  readonly points: number
  readonly passed: number
  readonly unreached: number
  readonly failed: number
}

export interface KillRun {
  readonly writesOnly?: boolean
  readonly scenario?: string
  readonly progressFile?: string
  readonly count?: number
  readonly seed?: number
  readonly parallel?: number
  readonly say: (line: string) => void
}

export async function runKills(options: KillRun): Promise<KillSummary> {
  const { say } = options
  const worlds = createWorlds()
  try {
    const scenarios = SCENARIOS.filter(each => each.name.includes(options.scenario ?? ''))
    const prepared = await prepare(worlds, scenarios)
    const points = options.writesOnly ? prepared.points.filter(isWrite) : prepared.points
    say(
      `${points.length} kill points in ${scenarios.length} scenarios (${prepared.points.filter(isWrite).length} at something that writes)`,
    )
    // In an order of chance, so that a part of it says something about the whole.
    const chosen = sample(points, options.count ?? points.length, options.seed ?? 1)
    const result = await runCampaign({
      worlds,
      prepared,
      points: chosen,
      parallel: options.parallel ?? 2,
      ...(options.progressFile ? { progressFile: options.progressFile } : {}),
      onVerdict(finding, done) {
        if (finding.state === 'failed') say(`FAILED ${finding.point}: ${finding.why.join('; ')}`)
        if (done % 50 === 0) say(`${done} of ${chosen.length}`)
      },
    })
    return {
      scenarios: scenarios.length,
      points: result.points,
      passed: result.passed,
      unreached: result.unreached.length,
      failed: result.failed.length,
    }
  } finally {
    worlds.remove()
  }
}

if (import.meta.main) {
  const value = (name: string): string | undefined => {
    const at = process.argv.indexOf(name)
    return at < 0 ? undefined : process.argv[at + 1]
  }
  const count = value('--count')
  const progressFile = value('--progress')
  const scenario = value('--scenario')
  const summary = await runKills({
    writesOnly: process.argv.includes('--writes'),
    parallel: Number(value('--parallel') ?? 2),
    ...(count ? { count: Number(count) } : {}),
    ...(progressFile ? { progressFile } : {}),
    ...(scenario ? { scenario } : {}),
    say: line => void process.stdout.write(`${line}\n`),
  })
  process.stdout.write(`kill points: ${JSON.stringify(summary)}\n`)
  process.exit(summary.failed === 0 ? 0 : 1)
}
