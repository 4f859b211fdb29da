/** Loaded before the tests (`bun test --preload`): counts the branches taken in the files that `BRANCHES_OF` names, one path a line. */

import { afterAll } from 'bun:test'
import { appendFileSync } from 'node:fs'
import { plugin } from 'bun'
import { createInstrumenter } from 'istanbul-lib-instrument'

const wanted = (process.env.BRANCHES_OF ?? '').split('\n').filter(Boolean)
const report = process.env.BRANCHES_REPORT
if (wanted.length === 0 || !report) throw new Error('BRANCHES_OF and BRANCHES_REPORT are not set')

const VARIABLE = '__branches__'
const counts: Record<string, unknown> = {}
Object.assign(globalThis, { [VARIABLE]: counts })

const instrumenter = createInstrumenter({
  coverageVariable: VARIABLE,
  coverageGlobalScope: 'globalThis',
  coverageGlobalScopeFunc: false,
  esModules: true,
  parserPlugins: ['typescript'],
})
const escaped = wanted.map(path => path.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`))

plugin({
  name: 'branches',
  setup(build) {
    build.onLoad({ filter: new RegExp(`^(?:${escaped.join('|')})$`) }, async ({ path }) => ({
      contents: instrumenter.instrumentSync(await Bun.file(path).text(), path),
      loader: 'ts',
    }))
  },
})

afterAll(() => appendFileSync(report, `${JSON.stringify(counts)}\n`))
