/** A child process with all that it starts: told to end together, and ended together. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createInterface } from 'node:readline'

export interface ChildRun {
  readonly words: readonly [string, ...string[]]
  readonly directory: string
  readonly env: Readonly<Record<string, string>>
  readonly timeoutMs: number
  /** Between the word to end and the end. */
  readonly graceMs: number
  readonly signal: AbortSignal
  readonly onLine: (line: string) => void
}

export interface ChildOutcome {
  /** 127 when it could not be started. */
  readonly exitCode: number
  readonly stopped?: 'cancelled' | 'timeout'
}

/** Runs a program in a process group of its own, so that an interrupt at the terminal reaches it only through us. */
export async function runChild(run: ChildRun): Promise<ChildOutcome> {
  if (run.signal.aborted) return { exitCode: 130, stopped: 'cancelled' }
  const [program, ...rest] = run.words
  const child = spawn(program, rest, {
    cwd: run.directory,
    env: run.env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stopped: ChildOutcome['stopped']
  let ending: Promise<void> | undefined
  const stop = (why: 'cancelled' | 'timeout') => {
    stopped ??= why
    ending ??= endAll(child, run.graceMs)
  }
  const timer = setTimeout(() => stop('timeout'), run.timeoutMs)
  const onAbort = () => stop('cancelled')
  run.signal.addEventListener('abort', onAbort, { once: true })
  try {
    const reading = Promise.all([readLines(child.stdout, run.onLine), readLines(child.stderr, run.onLine)])
    const exitCode = await exitOf(child)
    // What it started may live on and hold the pipes; then there is no more to read that anybody waits for.
    if (stopped === undefined) await reading
    await ending
    return { exitCode, ...(stopped === undefined ? {} : { stopped }) }
  } finally {
    clearTimeout(timer)
    run.signal.removeEventListener('abort', onAbort)
    child.stdout.destroy()
    child.stderr.destroy()
  }
}

const readLines = async (stream: NodeJS.ReadableStream, onLine: (line: string) => void): Promise<void> => {
  for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) onLine(line)
}

const exitOf = (child: ChildProcess): Promise<number> =>
  new Promise(resolve => {
    child.once('error', () => resolve(127))
    child.once('exit', code => resolve(code ?? 128))
  })

/** `timeout`, which nixos-anywhere calls, has a group of its own: every group below the child is told. */
async function endAll({ pid }: ChildProcess, graceMs: number): Promise<void> {
  if (pid === undefined) return
  const groups = new Set([pid, ...groupsBelow(pid)])
  for (const group of groups) signalGroup(group, 'SIGTERM')
  const deadlineMs = performance.now() + graceMs
  while ([...groups].some(group => signalGroup(group, 0)) && performance.now() < deadlineMs) await Bun.sleep(50)
  for (const group of groups) signalGroup(group, 'SIGKILL')
}

function groupsBelow(root: number): number[] {
  const { stdout } = spawnSync('ps', ['-A', '-o', 'pid=,ppid=,pgid='], { encoding: 'utf8' })
  const rows = (stdout ?? '').split('\n').map(line => line.trim().split(/\s+/).map(Number))
  const found = new Set<number>()
  const visit = (parent: number): void => {
    for (const [pid = 0, ppid = 0, group = 0] of rows)
      if (ppid === parent && pid > 0) {
        found.add(group)
        visit(pid)
      }
  }
  visit(root)
  return [...found].filter(group => group > 1)
}

/** Whether there was anybody to tell. */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-group, signal)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ESRCH' || error.code === 'EPERM')) return false
    throw error
  }
}
