/**
 * Loaded into the product's process by the tests (`bun --preload`), never by the product: it shortens waits, moves the clock, and ends
 * the process with SIGKILL at one exact file operation. What it does is said by `HARNESS_…` variables.
 */

import { createRequire } from 'node:module'
import { basename, sep } from 'node:path'

const text = (name: string): string | undefined => process.env[name] || undefined
const load = createRequire(import.meta.url)

// ── file operations ──

type Operation = (...values: unknown[]) => unknown
type Module = Record<string, Operation>

const fs = load('node:fs') as Module
const fsPromises = load('node:fs/promises') as Module
const appendLog = fs.appendFileSync as (path: string, line: string) => void
const logFile = text('HARNESS_FILE_LOG')
const killAt = text('HARNESS_FILE_KILL')
const STATE = `${sep}.landfall`

/** Paths as the operator sees them; random parts of names are the same word in each run. */
const nameOf = (path: string): string | undefined => {
  const at = path.indexOf(STATE)
  const variables = /^\.?\.env/.test(basename(path)) ? basename(path) : undefined
  const relative = at >= 0 ? path.slice(at + 1) : path.startsWith('.landfall') ? path : variables
  return relative
    ?.replace(/\.[0-9a-f]{8}-[0-9a-f-]{27}\.tmp/, '.<random>.tmp')
    .replace(/(known_hosts|ctl)\/[0-9a-f]{16}(?:\.\d+)?/, '$1/<target>')
}

const counts = new Map<string, number>()

/** Counts an operation, and ends the process when it is the one that was asked for. */
const pass = (operation: string, path: unknown): ((phase: 'before' | 'torn' | 'after') => boolean) => {
  const name = typeof path === 'string' ? nameOf(path) : undefined
  if (name === undefined) return () => false
  const what = `${operation} ${name}`
  const count = (counts.get(what) ?? 0) + 1
  counts.set(what, count)
  const key = `${what}#${count}`
  if (logFile) appendLog(logFile, `${key}\n`)
  return phase => killAt === `${key}:${phase}`
}

const die = (): void => {
  process.kill(process.pid, 'SIGKILL')
}

const wrapSync = (name: string): void => {
  const original = fs[name]
  if (!original) throw new Error(`node:fs has no ${name}`)
  fs[name] = (...values: unknown[]) => {
    const at = pass(name, values[0])
    if (at('before')) die()
    if (at('torn') && typeof values[1] === 'string') {
      original(values[0], values[1].slice(0, values[1].length >> 1), values[2])
      die()
    }
    const result = original(...values)
    if (at('after')) die()
    return result
  }
}

const wrapAsync = (name: string): void => {
  const original = fsPromises[name]
  if (!original) throw new Error(`node:fs/promises has no ${name}`)
  fsPromises[name] = async (...values: unknown[]) => {
    const at = pass(name, values[0])
    if (at('before')) die()
    try {
      return await original(...values)
    } finally {
      if (at('after')) die()
    }
  }
}

/** The handles that `open` gives share one prototype, which does not know its path: it is kept beside. */
const wrapHandles = (): void => {
  const paths = new WeakMap<object, unknown>()
  const open = fsPromises.open
  if (!open) throw new Error('node:fs/promises has no open')
  let wrapped = false
  fsPromises.open = async (...values: unknown[]) => {
    const handle = await open(...values)
    if (typeof handle !== 'object' || handle === null) return handle
    paths.set(handle, values[0])
    if (!wrapped) {
      wrapped = true
      const prototype = Object.getPrototypeOf(handle) as Module
      for (const name of ['writeFile', 'appendFile', 'chmod', 'sync', 'datasync']) {
        const original = prototype[name]
        if (!original) continue
        prototype[name] = async function (this: object, ...args: unknown[]) {
          const at = pass(`handle.${name}`, paths.get(this))
          if (at('before')) die()
          if (at('torn') && typeof args[0] === 'string') {
            await Reflect.apply(original, this, [args[0].slice(0, args[0].length >> 1)])
            die()
          }
          const result = await Reflect.apply(original, this, args)
          if (at('after')) die()
          return result
        }
      }
    }
    return handle
  }
}

if (logFile || killAt) {
  for (const name of ['writeFileSync', 'renameSync', 'mkdirSync', 'chmodSync', 'rmSync']) wrapSync(name)
  wrapHandles()
  for (const name of ['open', 'link', 'rename', 'rm', 'mkdir', 'chmod']) wrapAsync(name)
}

// ── requests ──

const sentLog = text('HARNESS_SENT_LOG')
if (sentLog) {
  const original = globalThis.fetch
  const noting = (input: Parameters<typeof fetch>[0], init?: Parameters<typeof fetch>[1]) => {
    const url = input instanceof Request ? input.url : String(input)
    appendLog(sentLog, `${init?.method ?? 'GET'} ${new URL(url).pathname}\n`)
    return original(input, init)
  }
  globalThis.fetch = Object.assign(noting, original)
}

// ── place ──

const place = text('HARNESS_HOSTNAME')
if (place) (load('node:os') as Module).hostname = () => place

// ── time ──

const shorten = Number(text('HARNESS_SHORTEN') ?? 1)
const shiftMs = Number(text('HARNESS_CLOCK_SHIFT_MS') ?? 0)
const rate = Number(text('HARNESS_CLOCK_RATE') ?? 1)
/** A file that holds how far the clocks have jumped, `WALL MONOTONIC` in milliseconds; the harness writes it while we run. */
const jumpFile = text('HARNESS_JUMP_FILE')
const deadlineCapMs = Number(text('HARNESS_DEADLINE_CAP_MS') ?? Number.POSITIVE_INFINITY)

const { systemClock } = await import('../../../lib/engine/clock.ts')
const realSleep = systemClock.sleep
/** How long a tunnel may take to open: no wait, but a deadline, which a busy machine would miss if it came sooner. */
const LOGIN_MS = 15_000
const realNow = Date.now
const startMs = realNow()
const startMonotonicMs = performance.now()
const readFile = fs.readFileSync as (path: string, encoding: string) => string
const jumps = (): readonly number[] => (jumpFile ? readFile(jumpFile, 'utf8').split(' ').map(Number) : [0, 0])
const now = (): number => startMs + (realNow() - startMs) * rate + shiftMs + (jumps()[0] ?? 0)

Object.assign(systemClock, {
  nowMs: now,
  monotonicMs: () => startMonotonicMs + (performance.now() - startMonotonicMs) * rate + (jumps()[1] ?? 0),
  sleep: (ms: number, signal?: AbortSignal) => realSleep(ms === LOGIN_MS ? ms : ms / Math.max(shorten, rate), signal),
})
if (shiftMs !== 0) Date.now = now

if (Number.isFinite(deadlineCapMs)) {
  const timeout = AbortSignal.timeout.bind(AbortSignal)
  AbortSignal.timeout = ms => timeout(Math.min(ms, deadlineCapMs))
}

if (shorten > 1) {
  // A probe of a filtered port waits this long, for a silence that the sandbox keeps reliably.
  const PROBE_MS = 1_500
  const original = globalThis.setTimeout
  const shorter = (work: (...values: unknown[]) => void, ms?: number, ...values: unknown[]) =>
    original(work, ms === PROBE_MS ? PROBE_MS / 5 : ms, ...values)
  globalThis.setTimeout = Object.assign(shorter, original) as typeof setTimeout
}
