/**
 * Where a sandbox keeps its world: maps in memory, written through to one SQLite file. Writes are gathered and reach the file together, at
 * the latest at the end of the tick, of the transaction, or when `flush` is called; a front flushes before it answers, so that no
 * client ever knows more than the file.
 */

import { Database } from 'bun:sqlite'
import { existsSync, mkdirSync, readFileSync, realpathSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { LandfallError } from '../errors.ts'
import type { Collection, Store } from './kit.ts'

export interface FlushableStore extends Store {
  /** Puts everything that was written until now on disk. */
  flush(): void
  /** Forgets every object and sequence. */
  clear(): void
}

interface Entry {
  value: unknown
  readonly ord: number
}

interface Table {
  readonly entries: Map<string, Entry>
}

/** Undoes one write. */
type Undo = () => void

interface Disk {
  /** Everything that was kept, in its order. */
  load(): Iterable<{ collection: string; id: string; json: string; ord: number }>
  write(changed: ReadonlyMap<string, ReadonlyMap<string, Entry | undefined>>): void
  clear(): void
  close(): void
}

const SEQUENCES = 'sandbox.sequences'

/**
 * @param path a file, made when it is missing, or ':memory:' for a world that dies with the process
 * @throws LandfallError `locked` when another live sandbox has the file
 */
export function openStore(path: string): FlushableStore {
  const disk = path === ':memory:' ? undefined : openDisk(resolve(path))
  const tables = new Map<string, Table>()
  let dirty = new Map<string, Map<string, Entry | undefined>>()
  let ord = 0
  let undo: Undo[] | undefined
  let scheduled: ReturnType<typeof setImmediate> | undefined
  let closed = false

  const tableOf = (name: string): Table => {
    const known = tables.get(name)
    if (known) return known
    const table: Table = { entries: new Map() }
    tables.set(name, table)
    return table
  }

  for (const row of disk?.load() ?? []) {
    tableOf(row.collection).entries.set(row.id, { value: JSON.parse(row.json), ord: row.ord })
    ord = Math.max(ord, row.ord)
  }

  const flush = (): void => {
    if (scheduled !== undefined) clearImmediate(scheduled)
    scheduled = undefined
    if (!disk || dirty.size === 0) return
    const changed = dirty
    dirty = new Map()
    disk.write(changed)
  }

  const set = (collection: string, id: string, entry: Entry | undefined): void => {
    const { entries } = tableOf(collection)
    if (entry) entries.set(id, entry)
    else entries.delete(id)
    if (!disk) return
    const ids = dirty.get(collection) ?? new Map<string, Entry | undefined>()
    dirty.set(collection, ids.set(id, entry))
    if (!undo) scheduled ??= setImmediate(flush)
  }

  const change = (collection: string, id: string, value: unknown): void => {
    if (closed) throw new LandfallError('cancelled', `The sandbox is closed; "${collection}" can't be written any more.`)
    const before = tableOf(collection).entries.get(id)
    undo?.push(() => set(collection, id, before))
    set(collection, id, value === undefined ? undefined : { value, ord: before?.ord ?? ++ord })
  }

  const collection = <T>(name: string): Collection<T> => {
    const { entries } = tableOf(name)
    return {
      get: id => entries.get(id)?.value as T | undefined,
      put: (id, value) => change(name, id, value),
      delete(id) {
        const had = entries.has(id)
        if (had) change(name, id, undefined)
        return had
      },
      all: () => Array.from(entries.values(), entry => entry.value as T),
      get size() {
        return entries.size
      },
    }
  }

  const sequences = collection<number>(SEQUENCES)

  return {
    collection,
    nextId(sequence, from = 1) {
      const id = sequences.get(sequence) ?? from
      sequences.put(sequence, id + 1)
      return id
    },
    transaction(work) {
      if (undo) return work()
      const steps: Undo[] = []
      undo = steps
      try {
        const result = work()
        undo = undefined
        flush()
        return result
      } catch (error) {
        undo = undefined
        for (const step of steps.reverse()) step()
        // An object that was deleted and came back stands at the end of its map; its place is its number.
        for (const { entries } of tables.values()) restoreOrder(entries)
        throw error
      }
    },
    flush,
    clear() {
      for (const { entries } of tables.values()) entries.clear()
      dirty = new Map()
      disk?.clear()
    },
    close() {
      if (closed) return
      flush()
      closed = true
      disk?.close()
    },
  }
}

const restoreOrder = (entries: Map<string, Entry>): void => {
  let last = 0
  let sorted = true
  for (const { ord } of entries.values()) {
    sorted &&= ord >= last
    last = ord
  }
  if (sorted) return
  const rows = [...entries].sort(([, a], [, b]) => a.ord - b.ord)
  entries.clear()
  for (const [id, entry] of rows) entries.set(id, entry)
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS objects (
    collection TEXT NOT NULL, id TEXT NOT NULL, json TEXT NOT NULL, ord INTEGER NOT NULL, PRIMARY KEY (collection, id)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS holder (one INTEGER PRIMARY KEY CHECK (one = 1), pid INTEGER NOT NULL, started TEXT NOT NULL);
`

const openDisk = (path: string): Disk => {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const file = join(realpathSync(dirname(path)), basename(path))
  const database = new Database(file, { create: true, strict: true })
  database.run('PRAGMA busy_timeout = 5000')
  database.run('PRAGMA journal_mode = WAL')
  // With a write-ahead log this loses nothing when a process is killed, only when the machine loses power.
  database.run('PRAGMA synchronous = NORMAL')
  try {
    database.run(SCHEMA)
    take(database, file)
  } catch (error) {
    database.close()
    throw error
  }
  const upsert = database.prepare<unknown, [string, string, string, number]>(
    'INSERT INTO objects (collection, id, json, ord) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET json = excluded.json, ord = excluded.ord',
  )
  const remove = database.prepare<unknown, [string, string]>('DELETE FROM objects WHERE collection = ? AND id = ?')
  const write = database.transaction((changed: ReadonlyMap<string, ReadonlyMap<string, Entry | undefined>>) => {
    for (const [collection, ids] of changed)
      for (const [id, entry] of ids)
        if (entry) upsert.run(collection, id, JSON.stringify(entry.value), entry.ord)
        else remove.run(collection, id)
  })
  return {
    load: () =>
      database
        .query<{ collection: string; id: string; json: string; ord: number }, []>('SELECT * FROM objects ORDER BY ord')
        .all(),
    write: changed => write.immediate(changed),
    clear: () => database.run('DELETE FROM objects'),
    close() {
      database.run('DELETE FROM holder')
      openHere.delete(file)
      upsert.finalize()
      remove.finalize()
      database.close()
    },
  }
}

/** Files that this process has open; a row with our own pid and none of these is left over from a namesake. */
const openHere = new Set<string>()

const take = (database: Database, file: string): void => {
  database
    .transaction(() => {
      const holder = database.query<{ pid: number; started: string }, []>('SELECT pid, started FROM holder').get()
      const alive = holder && (holder.pid === process.pid ? openHere.has(file) : isAlive(holder.pid, holder.started))
      if (alive)
        throw new LandfallError('locked', `The sandbox in ${file} is in use by process ${holder.pid}.`, {
          hint: `Wait for process ${holder.pid} to end, end it, or name another file.`,
        })
      database.run('INSERT OR REPLACE INTO holder (one, pid, started) VALUES (1, ?, ?)', [process.pid, startOf(process.pid)])
    })
    .immediate()
  openHere.add(file)
}

/** When a process began, in the kernel's ticks; tells a process from a later one with its number. Empty where there is no /proc. */
const startOf = (pid: number): string => {
  const path = `/proc/${pid}/stat`
  if (!existsSync(path)) return ''
  const stat = readFileSync(path, 'utf8')
  // Fields are counted behind the command's name, which may hold spaces and brackets itself.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}

const isAlive = (pid: number, started: string): boolean => {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it lives, and belongs to somebody else.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false
  }
  return started === '' || startOf(pid) === started
}
