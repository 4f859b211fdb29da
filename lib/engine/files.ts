/** Files that survive a crash: a reader finds the old content or the new one, never half of it. */

import { randomUUID } from 'node:crypto'
import { link, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Makes a created, renamed or removed entry of `directory` survive a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Replaces the file at `path` in one step; the result has exactly `mode`, whatever the umask or the old file said.
 * A symbolic link at `path` is replaced, not followed. The directory must exist.
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  await withTemporary(path, data, mode, temporary => rename(temporary, path))
}

/**
 * Makes the file at `path` in one step, with exactly `mode`, if nothing is there; of several processes that try, one does it.
 * Resolves to whether this call made it. The directory must exist.
 */
export async function createFileAtomic(path: string, data: string | Uint8Array, mode = 0o600): Promise<boolean> {
  return withTemporary(path, data, mode, async temporary => {
    try {
      await link(temporary, path)
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      return false
    }
  })
}

/** Removes what killed runs left of writing the file at `path`. Only for files that no two processes write at a time. */
export async function removeTorn(path: string): Promise<void> {
  const before = `.${basename(path)}.`
  for (const name of await readdir(dirname(path)))
    if (name.startsWith(before) && /^[0-9a-f-]{36}\.tmp$/.test(name.slice(before.length))) await rm(join(dirname(path), name))
}

/** Writes the data beside `path` and hands that file to `place`; it is gone afterwards, under that name. */
async function withTemporary<T>(
  path: string,
  data: string | Uint8Array,
  mode: number,
  place: (temporary: string) => Promise<T>,
): Promise<T> {
  const directory = dirname(path)
  const temporary = join(directory, `.${basename(path)}.${randomUUID()}.tmp`)
  let placed: T
  try {
    const handle = await open(temporary, 'wx', mode)
    try {
      await handle.chmod(mode)
      await handle.writeFile(data)
      await handle.sync()
    } finally {
      await handle.close()
    }
    placed = await place(temporary)
  } finally {
    await rm(temporary, { force: true })
  }
  await syncDirectory(directory)
  return placed
}
