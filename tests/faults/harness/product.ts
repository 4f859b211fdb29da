/** The product as its operator starts it: a process of its own, with what it said and how it ended. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const ROOT = new URL('../../../', import.meta.url).pathname
const INSIDE = join(ROOT, 'tests/faults/harness/inside.ts')

/** Waits are this many times shorter in runs that are not about time. */
export const SHORTEN = 40
/** No run may take longer: a wait without an end is a finding. */
const RUN_LIMIT_MS = 90_000

export interface Ended {
  /** 137 after SIGKILL. */
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
  /** It was ended by this harness because it did not end by itself. */
  readonly late: boolean
  readonly ms: number
}

export interface Running {
  readonly pid: number
  kill(signal?: NodeJS.Signals): void
  /** Stops it, and returns when none of its threads runs any more: a signal is only under way when `kill` returns. */
  stop(): void
  readonly ended: Promise<Ended>
}

/** What is typed when a question shows. */
export interface Answer {
  readonly to: string
  readonly say: string
}

export interface Start {
  /** `setup`, or `provision apply`. */
  readonly command: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** Variables of `inside.ts`, without their prefix. */
  readonly inside?: Readonly<Record<string, string>>
  readonly limitMs?: number
  /** In their order, at a terminal of its own; without them there is none. */
  readonly answers?: readonly Answer[]
}

/** A terminal with somebody at it. */
const terminalFor = (answers: readonly Answer[]) => {
  const left = [...answers]
  const decoder = new TextDecoder()
  let said = ''
  let unanswered = ''
  return {
    said: () => said,
    options: {
      cols: 80,
      rows: 24,
      data(terminal: Bun.Terminal, data: Uint8Array) {
        const text = decoder.decode(data, { stream: true })
        said += text
        unanswered += text
        const [next] = left
        if (next === undefined || !unanswered.includes(next.to)) return
        left.shift()
        unanswered = ''
        terminal.write(`${next.say}\r`)
      },
    },
  }
}

/** Only these of our own variables reach the product. */
const own = (names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.flatMap(name => (process.env[name] === undefined ? [] : [[name, process.env[name]]])))

export function start({ command, cwd, env, inside = {}, limitMs = RUN_LIMIT_MS, answers }: Start): Running {
  const [script = '', ...words] = command
  const startedMs = performance.now()
  const terminal = answers && terminalFor(answers)
  const child = Bun.spawn(
    [process.execPath, '--no-env-file', '--preload', INSIDE, join(ROOT, 'scripts', `${script}.ts`), ...words],
    {
      cwd,
      env: {
        ...own(['PATH', 'LANG']),
        HOME: cwd,
        HARNESS_SHORTEN: String(SHORTEN),
        ...Object.fromEntries(Object.entries(inside).map(([name, value]) => [`HARNESS_${name}`, value])),
        ...env,
        ...(terminal ? { TERM: 'xterm-256color' } : {}),
      },
      ...(terminal ? { terminal: terminal.options } : { stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' }),
    },
  )
  let late = false
  const timer = setTimeout(() => {
    late = true
    child.kill('SIGKILL')
  }, limitMs)
  const collect = async (): Promise<Ended> => {
    const code = await child.exited
    clearTimeout(timer)
    // Shared ssh connections keep the pipes of a killed run open; what it wrote is there by now.
    const [stdout, stderr] = await Promise.all([settled(out, code), settled(err, code)])
    child.terminal?.close()
    return { exitCode: code, stdout: terminal ? terminal.said() : stdout, stderr, late, ms: performance.now() - startedMs }
  }
  const out = new Response(child.stdout).text()
  const err = new Response(child.stderr).text()
  return {
    pid: child.pid,
    kill: (signal = 'SIGKILL') => child.kill(signal),
    stop() {
      child.kill('SIGSTOP')
      while (!isStopped(child.pid)) Bun.sleepSync(0.1)
    },
    ended: collect(),
  }
}

/** By proc(5): `T` follows the name of a stopped thread, which is in parentheses and may hold anything. */
const isStopped = (pid: number): boolean =>
  readdirSync(`/proc/${pid}/task`).every(thread => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8')
    return stat.charAt(stat.lastIndexOf(')') + 2) === 'T'
  })

const settled = async (text: Promise<string>, code: number): Promise<string> =>
  code === 137 ? Promise.race([text, Bun.sleep(50).then(() => '')]) : text

/** Runs to the end. */
export const run = (options: Start): Promise<Ended> => start(options).ended

/** The last error sentence of a run in JSON mode, for findings. */
export const lastError = ({ stdout, stderr }: Ended): string => {
  const errors = stdout.split('\n').filter(line => line.includes('"type":"error"'))
  return errors.at(-1)?.slice(0, 600) ?? (stderr.trim() || stdout).slice(-600)
}
