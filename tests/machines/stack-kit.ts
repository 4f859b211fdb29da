/** The example stack on a Docker of its own, the tool as its users start it, and a load beside it. */

import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Run, run, type TestDocker } from './docker.ts'
import type { LoadReport } from './load.ts'

const ROOT = new URL('../../', import.meta.url).pathname

export interface Tool {
  readonly directory: string
  readonly environment: Readonly<Record<string, string>>
  /** `bun scripts/stack.ts …` to its end; milliseconds with it. `inside`: on the Docker host itself. */
  run(
    words: readonly string[],
    variables?: Readonly<Record<string, string>>,
    from?: 'inside' | 'outside',
  ): Promise<Run & { readonly ms: number; readonly lines: readonly ToolLine[] }>
  /** The same, killed with SIGKILL as soon as `when` says so about one of its lines. Answers whether it was. */
  kill(
    words: readonly string[],
    variables: Readonly<Record<string, string>>,
    when: (line: ToolLine, count: number) => boolean,
  ): Promise<boolean>
  compose(...words: string[]): Run
  /** Runs `work` under load and answers with what became of the requests. */
  underLoad(work: () => Promise<unknown>): Promise<LoadReport>
}

/** One object of the tool's JSON output, with when it came. */
export interface ToolLine {
  readonly atMs: number
  readonly type: string
  readonly message?: string
  readonly state?: string
  readonly title?: string
}

export const RATE = 200
export const PORT = 8080

export function createTool(docker: TestDocker, configDirectory: string, directory: string): Tool {
  mkdirSync(directory, { recursive: true })
  const environment = {
    ...docker.environment,
    DOCKER_CONFIG: configDirectory,
    LANDFALL_STACK_STATE: join(directory, 'state'),
    HTTP_PORT: String(PORT),
  }
  const start = (
    words: readonly string[],
    variables: Readonly<Record<string, string>>,
    from: 'inside' | 'outside' = 'inside',
  ) => {
    const [command = '', ...rest] = [
      ...(from === 'inside' ? docker.inside : []),
      ...[process.execPath, join(ROOT, 'scripts/stack.ts'), ...words],
      ...['--config', 'compose-rolling.json', '--json', '--yes'],
    ]
    return spawn(command, rest, { cwd: directory, env: { ...environment, ...variables }, stdio: ['ignore', 'pipe', 'pipe'] })
  }
  const compose = (...words: string[]) =>
    run(['docker', 'compose', '-p', 'rolling', '-f', join(directory, 'compose-rolling/compose.yml'), ...words], {
      env: environment,
      cwd: directory,
    })
  const listen = (child: ReturnType<typeof start>, onLine: (line: ToolLine) => void) => {
    let rest = ''
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine({ ...(JSON.parse(line) as Omit<ToolLine, 'atMs'>), atMs: performance.now() })
    })
  }
  return {
    directory,
    environment,
    compose,
    async run(words, variables = {}, from = 'inside') {
      const startedMs = performance.now()
      const child = start(words, variables, from)
      const lines: ToolLine[] = []
      let stderr = ''
      listen(child, line => lines.push(line))
      child.stderr?.on('data', (chunk: Buffer) => {
        stderr += chunk.toString()
      })
      const code = await new Promise<number>(resolve => child.on('close', value => resolve(value ?? 128)))
      return {
        code,
        stdout: lines.map(line => JSON.stringify(line)).join('\n'),
        stderr,
        ms: performance.now() - startedMs,
        lines,
      }
    },
    async kill(words, variables, when) {
      const child = start(words, variables)
      let count = 0
      let killed = false
      listen(child, line => {
        count++
        if (killed || !when(line, count)) return
        killed = true
        child.kill('SIGKILL')
      })
      child.stderr?.resume()
      await new Promise(resolve => child.on('close', resolve))
      return killed
    },
    async underLoad(work) {
      const file = join(directory, 'load.json')
      rmSync(file, { force: true })
      const load = spawn(
        docker.inside[0] ?? '',
        [...docker.inside.slice(1), process.execPath, join(import.meta.dir, 'load.ts'), String(PORT), String(RATE), file],
        { stdio: 'inherit' },
      )
      await Bun.sleep(1_000)
      try {
        await work()
        await Bun.sleep(1_000)
      } finally {
        load.kill('SIGTERM')
        await new Promise(resolve => (load.exitCode === null ? load.on('close', resolve) : resolve(undefined)))
      }
      const report = JSON.parse(readFileSync(file, 'utf8')) as LoadReport
      if (failuresOf(report) === 0) return report
      // What nginx says about it belongs to the failure.
      const { stdout, stderr } = compose('logs', '--no-log-prefix', '--tail', '20000', 'nginx')
      const said = `${stdout}${stderr}`.split('\n').filter(line => /\[(?:warn|error|alert|crit|emerg)\]/.test(line))
      return { ...report, whys: [JSON.stringify(report.failed), ...report.whys, ...said.slice(-10)] }
    },
  }
}

export const failuresOf = ({ failed }: LoadReport): number => Object.values(failed).reduce((sum, count) => sum + count, 0)

export const tags = (tag: string): Record<string, string> => ({ API_TAG: tag, WEB_TAG: tag, PYTHON_API_TAG: tag })

/** What runs, by service: `api:2`. */
export const runningImages = (tool: Pick<Tool, 'environment'>): readonly string[] =>
  run(['docker', 'ps', '--filter', 'label=com.docker.compose.project=rolling', '--format', '{{.Image}}'], {
    env: { ...tool.environment },
  })
    .stdout.split('\n')
    .filter(line => /example\/(?:api|web|python-api):/.test(line))
    .map(line => line.replace('landfall-example/', ''))
    .sort()

/** From a rollout's own lines: how long starting and draining took, which no tool can shorten. */
export function ownTimes(lines: readonly ToolLine[]): {
  readonly startMs: number
  readonly drainMs: number
} {
  const at = (pattern: RegExp) =>
    lines.filter(({ type, message }) => type === 'log' && pattern.test(message ?? '')).map(({ atMs }) => atMs)
  const waits = at(/: waiting until it is healthy$/)
  const begins = at(/: starting (?:a new|\d+ new)/)
  const [switched = 0] = at(/^giving the new containers/)
  const [draining = 0] = at(/^waiting until requests/)
  const [stopping = 0] = at(/^stopping the old/)
  const [restoring = 0] = at(/: back to names/)
  const ends = [...begins.slice(1), switched]
  const startMs = begins.reduce((sum, begin, index) => sum + ((ends[index] ?? begin) - begin), 0)
  return {
    startMs: waits.length === 0 ? 0 : startMs,
    drainMs: stopping - draining + (restoring - stopping),
  }
}
