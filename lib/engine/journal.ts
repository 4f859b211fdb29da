/**
 * The run's audit log: one JSON object per line, the intent on disk before the call. It is no state: deleting it loses no estate.
 * It tells what an earlier run left unfinished and how long things usually take.
 */

import { constants } from 'node:fs'
import { chmod, type FileHandle, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { LandfallError } from '../errors.ts'
import type { Clock } from './clock.ts'
import { syncDirectory } from './files.ts'
import { type History, type Intent, parseHistory, type UnfinishedIntent } from './history.ts'

export type { Intent } from './history.ts'

export interface Outcome {
  readonly state: 'done' | 'failed' | 'interrupted'
  readonly elapsedMs: number
  readonly error?: unknown
}

export interface JournalOptions {
  readonly clock: Clock
  /** Unique per run; the same word as in the lock. */
  readonly runId: string
  /** The command line in the operator's words, without secrets. */
  readonly command: string
  /** user@host. */
  readonly who: string
  /** Landfall's version. */
  readonly version: string
  /** Takes secrets and control characters out; applied to every text that is written. */
  readonly clean: (text: string) => string
}

/** Writing rejects with LandfallError `refused` when the disk does not take it; then nothing may be sent. */
export interface Journal extends Pick<History, 'unfinished' | 'lastRun' | 'latest' | 'typicalMs'> {
  /** Once per run, before the first intent. */
  start(run: { readonly planDigest: string; readonly changes: number }): Promise<void>
  /** On disk when it resolves; the returned number goes to `outcome`. */
  intent(intent: Intent): Promise<number>
  outcome(intent: number, outcome: Outcome): Promise<void>
  /** These steps were seen done: what earlier runs left unfinished in them is over. Writes only when there is such a thing. */
  settle(stepIds: Iterable<string>): Promise<void>
  end(run: {
    readonly outcome: 'done' | 'failed' | 'interrupted'
    readonly applied: number
    readonly durationMs: number
  }): Promise<void>
  /** Resolves when everything that was handed over is written, or has failed and said so. */
  flush(): Promise<void>
}

/** Older entries than fit in here no longer count. */
const TAIL_BYTES = 4 * 1024 * 1024

const FILE = 'journal.ndjson'

/**
 * Reads `directory`/journal.ndjson; makes directory (0700) and file (0600) with the first entry, so that looking leaves no trace.
 * @throws LandfallError `refused` when the file is there and cannot be read
 */
export async function openJournal(directory: string, options: JournalOptions): Promise<Journal> {
  const { clock, runId, command, who, version, clean } = options
  const path = join(directory, FILE)
  const refuse = (what: string) => (error: unknown) => {
    throw new LandfallError(
      'refused',
      `The journal ${clean(path)} cannot be ${what}: ${clean(reasonOf(error))}. Nothing more is sent.`,
      {
        hint: `Make ${clean(directory)} a directory of yours with free space, then run the same command again.`,
        cause: error,
      },
    )
  }
  const history = parseHistory(await readTail(path).catch(refuse('read')), runId)
  const pending = new Map<string, UnfinishedIntent[]>(Map.groupBy(history.unfinished(), intent => intent.step))
  const texts = <T extends Record<string, unknown>>(entry: T) =>
    Object.fromEntries(Object.entries(entry).map(([key, value]) => [key, typeof value === 'string' ? clean(value) : value]))

  let queue: Promise<void> = Promise.resolve()
  let mine = false
  let intents = 0
  /** What comes while one batch is being written: it shares the next append and the next sync. */
  let batch: { lines: string; durable: boolean; written: Promise<void> } | undefined

  const write = (entry: Record<string, unknown>, durable: boolean): Promise<void> => {
    const line = `${JSON.stringify({ at: new Date(clock.nowMs()).toISOString(), run: runId, ...texts(entry) })}\n`
    if (batch) {
      batch.lines += line
      batch.durable ||= durable
      return batch.written
    }
    const fresh = { lines: line, durable, written: Promise.resolve() }
    const turn = queue.then(async () => {
      batch = undefined
      if (!mine) await prepare(directory, path)
      mine = true
      await append(path, fresh.lines, fresh.durable)
    })
    queue = turn.catch(() => undefined)
    fresh.written = turn.catch(refuse('written'))
    batch = fresh
    return fresh.written
  }

  return {
    ...history,
    unfinished: () => [...pending.values()].flat(),
    start: ({ planDigest, changes }) => write({ entry: 'start', command, who, version, planDigest, changes }, true),
    async intent(intent) {
      intents += 1
      const id = intents
      await write({ entry: 'intent', id, ...intent }, true)
      return id
    },
    // Page cache outlives the process; only a power cut can lose it, and then the intent shows as unfinished, which is the safe side.
    outcome: (id, { state, elapsedMs, error }) =>
      write({ entry: 'outcome', id, state, elapsedMs: Math.round(elapsedMs), ...failureOf(error) }, false),
    async settle(stepIds) {
      for (const step of stepIds) {
        for (const intent of pending.get(step) ?? [])
          await write({ entry: 'settled', of: intent.runId, id: intent.id, step }, false)
        pending.delete(step)
      }
    },
    end: ({ outcome, applied, durationMs }) =>
      write({ entry: 'end', outcome, applied, durationMs: Math.round(durationMs) }, true),
    flush: () => queue,
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const failureOf = (error: unknown): Record<string, unknown> =>
  error === undefined
    ? {}
    : {
        error: reasonOf(error),
        ...(error instanceof LandfallError ? { code: error.code, correlationId: error.correlationId } : {}),
      }

/** Makes directory and file ours alone, and ends half a line that a killed run left, so that ours is not glued to it. */
async function prepare(directory: string, path: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  await chmod(directory, 0o700)
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_RDWR } = constants
  const handle = await open(path, O_APPEND | O_CREAT | O_NOFOLLOW | O_RDWR, 0o600)
  try {
    await handle.chmod(0o600)
    const { size } = await handle.stat()
    const last = Buffer.alloc(1)
    if (size > 0) await handle.read(last, 0, 1, size - 1)
    if (size > 0 && last.toString() !== '\n') await handle.appendFile('\n')
  } finally {
    await handle.close()
  }
  await syncDirectory(directory)
}

/** Opens for each line: a handle kept for the whole run would have to be closed on every way out of it. */
async function append(path: string, line: string, durable: boolean): Promise<void> {
  const handle = await open(path, constants.O_APPEND | constants.O_NOFOLLOW | constants.O_WRONLY)
  try {
    await handle.appendFile(line)
    if (durable) await handle.datasync()
  } finally {
    await handle.close()
  }
}

async function readTail(path: string): Promise<string> {
  let handle: FileHandle
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
    throw error
  }
  try {
    const { size } = await handle.stat()
    const from = Math.max(0, size - TAIL_BYTES)
    const bytes = Buffer.alloc(size - from)
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, from)
    return bytes.subarray(0, bytesRead).toString()
  } finally {
    await handle.close()
  }
}
