/**
 * `bun run test:faults`: the bounded part, as CI runs it. `bun run test:faults --all [--part kills|seeds|processes|races|strings]
 * [--progress DIR] [--parallel N]`: the whole, which goes on where an earlier call stopped.
 */

import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkStrings } from './hostile/strings.ts'
import { runKills } from './kill/run.ts'
import { createWorlds } from './kill/scenarios.ts'
import { runRaces } from './lock/races.ts'
import { playProcessSeed } from './schedules/process.ts'

const SEEDS = 10_000
const PROCESS_SEEDS = 300
const RACES = 1_000
const STRINGS = 100_000
const CHUNK = 100

interface Summary {
  readonly part: string
  readonly tried: number
  readonly violations: number
  readonly [more: string]: unknown
}

interface Options {
  readonly directory: string
  readonly parallel: number
  readonly say: (line: string) => void
}

const linesOf = (path: string): string[] => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [])

const kills = async ({ directory, parallel, say }: Options): Promise<Summary> => {
  const { points, failed, ...rest } = await runKills({ progressFile: join(directory, 'kills.ndjson'), parallel, say })
  return { part: 'kills', tried: points, violations: failed, ...rest }
}

interface SeedLine {
  readonly seed: number
  readonly findings: readonly { readonly where: string; readonly why: string }[]
  readonly reruns: readonly number[]
  readonly faults: number
}

/** Workers of their own: virtual time belongs to a process. */
const seeds = async ({ directory, parallel, say }: Options): Promise<Summary> => {
  const path = join(directory, 'seeds.ndjson')
  const done = new Set(linesOf(path).map(line => (JSON.parse(line) as SeedLine).seed))
  const chunks = Array.from({ length: SEEDS / CHUNK }, (_, index) => index * CHUNK).filter(first =>
    Array.from({ length: CHUNK }, (_, index) => first + index).some(seed => !done.has(seed)),
  )
  const work = async (): Promise<void> => {
    for (let first = chunks.shift(); first !== undefined; first = chunks.shift()) {
      const words = [
        process.execPath,
        '--no-env-file',
        join(import.meta.dir, 'schedules/worker.ts'),
        String(first),
        String(first + CHUNK),
      ]
      const child = Bun.spawn(words, { stdout: 'pipe', stderr: 'inherit' })
      const out = await new Response(child.stdout).text()
      if ((await child.exited) !== 0) throw new Error(`the worker for the seeds from ${first} failed`)
      for (const line of out.split('\n').filter(Boolean)) {
        const { seed, findings } = JSON.parse(line) as SeedLine
        for (const { where, why } of findings) say(`FAILED seed ${seed}, ${where}: ${why}`)
        if (!done.has(seed)) appendFileSync(path, `${line}\n`)
      }
      say(`seeds up to ${first + CHUNK}`)
    }
  }
  await Promise.all(Array.from({ length: parallel }, work))
  const results = linesOf(path).map(line => JSON.parse(line) as SeedLine)
  return {
    part: 'seeds',
    tried: results.length,
    violations: results.filter(each => each.findings.length > 0).length,
    faults: results.reduce((sum, each) => sum + each.faults, 0),
    mostReruns: Math.max(...results.flatMap(each => each.reruns)),
  }
}

const processes = async ({ directory, parallel, say }: Options): Promise<Summary> => {
  const path = join(directory, 'processes.ndjson')
  const done = new Set(linesOf(path).map(line => (JSON.parse(line) as { seed: number }).seed))
  const worlds = createWorlds()
  try {
    const queue = Array.from({ length: PROCESS_SEEDS }, (_, seed) => seed).filter(seed => !done.has(seed))
    const work = async (): Promise<void> => {
      for (let seed = queue.shift(); seed !== undefined; seed = queue.shift()) {
        const result = await playProcessSeed(seed, worlds)
        for (const { where, why } of result.findings) say(`FAILED process seed ${seed}, ${where}: ${why}`)
        appendFileSync(path, `${JSON.stringify(result)}\n`)
      }
    }
    await Promise.all(Array.from({ length: parallel }, work))
  } finally {
    worlds.remove()
  }
  const results = linesOf(path).map(line => JSON.parse(line) as { findings: unknown[]; reruns: number; faults: number })
  return {
    part: 'processes',
    tried: results.length,
    violations: results.filter(each => each.findings.length > 0).length,
    faults: results.reduce((sum, each) => sum + each.faults, 0),
    mostReruns: Math.max(...results.map(each => each.reruns)),
  }
}

const races = async ({ say }: Options): Promise<Summary> => {
  const report = await runRaces(RACES)
  for (const violation of report.violations) say(`FAILED ${violation}`)
  return {
    part: 'races',
    tried: report.races,
    violations: report.violations.length,
    wins: report.wins,
    slowestLoserMs: Math.round(report.slowestLoserMs),
  }
}

const strings = async (): Promise<Summary> => {
  const { strings: tried, paths } = checkStrings(STRINGS, 1)
  return { part: 'strings', tried, violations: 0, paths }
}

const PARTS = { strings, races, seeds, processes, kills } satisfies Record<string, (options: Options) => Promise<Summary>>

if (import.meta.main) {
  const say = (line: string): void => void process.stdout.write(`${line}\n`)
  const value = (name: string): string | undefined => {
    const at = process.argv.indexOf(name)
    return at < 0 ? undefined : process.argv[at + 1]
  }
  if (!process.argv.includes('--all')) {
    const bounded = Bun.spawn([process.execPath, 'test', import.meta.dir], { stdio: ['ignore', 'inherit', 'inherit'] })
    process.exit(await bounded.exited)
  }
  const directory = value('--progress') ?? join(tmpdir(), 'landfall-faults')
  mkdirSync(directory, { recursive: true })
  const options = { directory, parallel: Number(value('--parallel') ?? 2), say }
  const wanted = value('--part')
  let violations = 0
  for (const [name, part] of Object.entries(PARTS)) {
    if (wanted !== undefined && name !== wanted) continue
    const startedMs = performance.now()
    const summary = await part(options)
    violations += summary.violations
    say(`${JSON.stringify({ ...summary, minutes: Math.round((performance.now() - startedMs) / 6_000) / 10 })}`)
  }
  say(`${violations} violations`)
  process.exit(violations === 0 ? 0 : 1)
}
