/**
 * `bun tests/faults/branches.ts`: which branches of the parts that everything stands on the unit tests take. Bun counts lines, not
 * branches, so the files are instrumented while they are loaded. Ends with 1 while a branch is never taken.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const ROOT = new URL('../../', import.meta.url).pathname

const PARTS = {
  planner: ['lib/engine/plan.ts', 'lib/engine/graph.ts'],
  'retry table': ['lib/engine/retry.ts'],
  redactor: ['lib/ui/redact.ts', 'lib/ui/printable.ts'],
  quoting: ['lib/providers/ssh/quote.ts', 'lib/providers/dokploy/dotenv.ts'],
  lock: ['lib/engine/lock.ts'],
} satisfies Record<string, readonly string[]>

const TESTS = [
  ...['plan', 'graph', 'retry', 'lock'].map(name => `tests/unit/engine/${name}.test.ts`),
  ...['redact', 'printable'].map(name => `tests/unit/ui/${name}.test.ts`),
  'tests/unit/providers/ssh/protocol.test.ts',
  'tests/unit/providers/dokploy/dotenv.test.ts',
]

/** As istanbul counts them: how often each arm of each branch was taken, and where the branch stands. */
interface FileCounts {
  readonly b: Readonly<Record<string, readonly number[]>>
  readonly branchMap: Readonly<
    Record<string, { readonly type: string; readonly loc: { readonly start: { readonly line: number } } }>
  >
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)

const directory = mkdtempSync(join(tmpdir(), 'landfall-branches-'))
try {
  const report = join(directory, 'report.ndjson')
  const files = Object.values(PARTS).flat()
  const tests = Bun.spawnSync(
    [process.execPath, 'test', '--timeout', '120000', '--preload', join(import.meta.dir, 'branches/instrument.ts'), ...TESTS],
    {
      cwd: ROOT,
      env: { ...process.env, BRANCHES_OF: files.map(path => join(ROOT, path)).join('\n'), BRANCHES_REPORT: report },
      stdout: 'ignore',
      stderr: 'pipe',
    },
  )
  if (tests.exitCode !== 0) throw new Error(`the unit tests failed: ${tests.stderr.toString().slice(-2000)}`)
  const lines = existsSync(report) ? readFileSync(report, 'utf8').split('\n').filter(Boolean) : []
  const reports = lines.map(line => JSON.parse(line) as Record<string, FileCounts>)

  let missed = 0
  for (const [part, paths] of Object.entries(PARTS))
    for (const path of paths) {
      const found = reports.flatMap(counts => counts[join(ROOT, path)] ?? [])
      const [first] = found
      if (!first) throw new Error(`${path} was not loaded by the unit tests`)
      const arms = Object.entries(first.branchMap).flatMap(([id, { type, loc }]) =>
        (first.b[id] ?? []).map((_, arm) => ({
          where: `${path}:${loc.start.line} ${type}, arm ${arm + 1}`,
          taken: found.some(({ b }) => (b[id]?.[arm] ?? 0) > 0),
        })),
      )
      const never = arms.filter(({ taken }) => !taken)
      missed += never.length
      say(`${part.padEnd(12)} ${path.padEnd(34)} ${arms.length - never.length} of ${arms.length} branches`)
      for (const { where } of never) say(`  never taken: ${where}`)
    }
  process.exitCode = missed === 0 ? 0 : 1
} finally {
  rmSync(directory, { recursive: true, force: true })
}
