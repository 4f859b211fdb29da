/**
 * The files of a backup in its bucket. Dokploy lists the first hundred by name, and names hold their time, so in a full folder the newest
 * are the ones left out: it is searched by year, month, day and hour, from now on back.
 */

import { BACKUP_FILES_LISTED, type DokployApps } from '../providers/ports/dokploy-apps.ts'

export interface BackupFile {
  readonly path: string
  readonly bytes: number
  /** From its name; undefined where that holds none. */
  readonly madeAtMs: number | undefined
}

const TIME = /(\d{4}-\d\d-\d\d)T(\d\d)[:-](\d\d)[:-](\d\d)(?:[.-](\d{3}))?Z/
const OLDEST_YEAR = 2024

/** When the backup of this name was made: Dokploy writes UTC, with hyphens for colons and dots. Pure. */
export function madeAtOf(path: string): number | undefined {
  const [, day, hour, minute, second, ms = '000'] = TIME.exec(path) ?? []
  if (day === undefined) return undefined
  const atMs = Date.parse(`${day}T${hour}:${minute}:${second}.${ms}Z`)
  return Number.isNaN(atMs) ? undefined : atMs
}

/** The parts of the time that `word` begins, the latest first: of "2026-02" its days. */
function partsOf(word: string): readonly string[] {
  const two = (from: number, to: number, mark: string) =>
    Array.from({ length: to - from + 1 }, (_, index) => `${word}${mark}${String(to - index).padStart(2, '0')}`)
  if (word.length === 4) return two(1, 12, '-')
  if (word.length === 7) return two(1, 31, '-')
  if (word.length === 10) return two(0, 23, 'T')
  return []
}

/** By the time in the name, for a volume that is called another now has older files that sort behind it; then by the name. */
const byAge = (a: { readonly path: string }, b: { readonly path: string }): number =>
  (madeAtOf(a.path) ?? 0) - (madeAtOf(b.path) ?? 0) || (a.path < b.path ? -1 : 1)

/** @param folder with a slash at its end */
export async function newestFile(
  api: Pick<DokployApps, 'listBackupFiles'>,
  bucketId: string,
  folder: string,
  nowMs: number,
): Promise<BackupFile | undefined> {
  const now = new Date(nowMs).toISOString()
  const search = async (word: string, parts: readonly string[]): Promise<{ path: string; bytes: number } | undefined> => {
    const files = await api.listBackupFiles(bucketId, `${folder}${word}`)
    if (files.length >= BACKUP_FILES_LISTED)
      for (const part of parts) {
        // A clock that is a little ahead made no file of next month.
        const found = part > now ? undefined : await search(part, partsOf(part))
        if (found) return found
      }
    return files.toSorted(byAge).at(-1)
  }
  const years = Array.from({ length: new Date(nowMs).getUTCFullYear() - OLDEST_YEAR + 1 }, (_, index) =>
    String(OLDEST_YEAR + index),
  )
  const file = await search('', years.toReversed())
  return file && { ...file, madeAtMs: madeAtOf(file.path) }
}

/** A panel's clock may be in any zone, and a long backup takes its time. */
const SLACK_MS = 24 * 60 * 60_000

/** Whether a backup of this schedule should have been followed by two more by now. Pure. */
export function isOverdue(schedule: string, madeAtMs: number, nowMs: number): boolean {
  const next = Bun.cron.parse(schedule, madeAtMs)
  const second = next && Bun.cron.parse(schedule, next)
  return second !== null && second !== undefined && nowMs > second.getTime() + SLACK_MS
}
