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
  /** The same, sent a signal as soon as `when` says so about one of its lines. Answers whether it was, and with its exit code. */
  kill(
    words: readonly string[],
    variables: Readonly<Record<string, string>>,
    when: (line: ToolLine) => boolean,
    signal?: 'SIGKILL' | 'SIGINT',
    from?: 'inside' | 'outside',
  ): Promise<{ readonly sent: boolean; readonly code: number | undefined }>
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
    async kill(words, variables, when, signal = 'SIGKILL', from = 'inside') {
      const child = start(words, variables, from)
      let sent = false
      listen(child, line => {
        if (sent || !when(line)) return
        sent = true
        child.kill(signal)
      })
      child.stderr?.resume()
      const code = await new Promise<number | null>(resolve => child.on('close', resolve))
      return { sent, code: code ?? undefined }
    },
    async underLoad(work) {
      const file = join(directory, 'load.json')
      rmSync(file, { force: true })
      const load = spawn(
        docker.inside[0] ?? '',
        [
          ...docker.inside.slice(1),
          process.execPath,
          join(import.meta.dir, 'load.ts'),
          docker.address,
          String(PORT),
          String(RATE),
          file,
        ],
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

interface DockerEvent {
  readonly id: string
  readonly status: string
  readonly timeNano: number
  readonly Actor: { readonly Attributes: Readonly<Record<string, string>> }
}

export interface OwnTimes {
  /** Sum over the new containers: from the word to start it until Docker calls it healthy. */
  readonly startMs: number
  /** The same without what Docker takes to start a process in it. */
  readonly bootMs: number
  /** Until the last request that the old ones had was answered, and until the last of them had ended after it was told to. */
  readonly drainMs: number
  /** What is left of the whole when every moment in which a container started or requests ended is taken out. */
  readonly restMs: number
}

type Span = readonly [fromMs: number, toMs: number]

/** How much of the time is in at least one of the spans. */
const covered = (spans: readonly Span[]): number => {
  let endMs = Number.NEGATIVE_INFINITY
  let sumMs = 0
  for (const [fromMs, toMs] of spans.toSorted(([a], [b]) => a - b)) {
    sumMs += Math.max(0, toMs - Math.max(fromMs, endMs))
    endMs = Math.max(endMs, toMs)
  }
  return sumMs
}

/** What no tool can shorten, read from Docker's own events while `work` runs, and the lines that `work` answers with. */
export async function ownTimes(
  { environment }: Pick<Tool, 'environment'>,
  work: () => Promise<{ readonly lines: readonly ToolLine[] }>,
): Promise<OwnTimes> {
  const kinds = ['start', 'health_status', 'kill', 'die'].flatMap(event => ['--filter', `event=${event}`])
  const events = spawn('docker', ['events', '--filter', 'type=container', ...kinds, '--format', '{{json .}}'], {
    env: { ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  events.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  await Bun.sleep(500)
  const begunAtMs = performance.now()
  const { lines } = await work()
  const wholeMs = performance.now() - begunAtMs
  events.kill()
  await new Promise(resolve => (events.exitCode === null ? events.on('close', resolve) : resolve(undefined)))
  const seen = text
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line) as DockerEvent)
    .map(({ id, status, timeNano, Actor }) => ({
      id,
      status,
      atMs: timeNano / 1e6 - performance.timeOrigin,
      service: Actor.Attributes['com.docker.compose.service'] ?? '',
    }))
  const sum = (numbers: readonly number[]) => numbers.reduce((all, each) => all + each, 0)
  const starts = seen
    .filter(({ status }) => status === 'start')
    .flatMap(({ id, atMs, service }) => {
      const healthy = seen.find(each => each.id === id && each.status === 'health_status: healthy')
      return healthy ? [{ service, atMs, healthyAtMs: healthy.atMs }] : []
    })
  const toldAtMs = (service: string) => lines.find(({ message }) => message === `${service}: starting`)?.atMs
  const startSpans = starts.map(({ service, atMs, healthyAtMs }): Span => [toldAtMs(service) ?? atMs, healthyAtMs])
  const at = (pattern: RegExp) => lines.find(({ type, message }) => type === 'log' && pattern.test(message ?? ''))?.atMs ?? 0
  const times = (status: string) => seen.filter(each => each.status === status).map(({ atMs }) => atMs)
  const drainSpans: readonly Span[] = [
    [at(/^waiting until requests/), at(/^stopping the old/)],
    ...(times('die').length === 0 ? [] : [[Math.min(...times('kill')), Math.max(...times('die'))] as const]),
  ]
  const length = (spans: readonly Span[]) => sum(spans.map(([fromMs, toMs]) => toMs - fromMs))
  return {
    startMs: length(startSpans),
    bootMs: sum(starts.map(({ atMs, healthyAtMs }) => healthyAtMs - atMs)),
    drainMs: length(drainSpans),
    restMs: wholeMs - covered([...startSpans, ...drainSpans]),
  }
}
