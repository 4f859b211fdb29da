import { describe, expect, test } from 'bun:test'
import { isOverdue, madeAtOf, newestFile } from '../../../lib/apps/backup-files.ts'
import { BACKUP_FILES_LISTED } from '../../../lib/providers/ports/dokploy-apps.ts'

const HOUR_MS = 60 * 60_000
const NOW_MS = Date.parse('2026-11-27T10:00:00Z')
const nameOf = (atMs: number): string => `${new Date(atMs).toISOString().replace(/[:.]/g, '-')}.sql.gz`

/** A bucket as Dokploy lists it: what has the word in its path, the first hundred by name. */
const bucketOf = (paths: readonly string[]) => {
  const searches: string[] = []
  return {
    searches,
    async listBackupFiles(_bucket: string, search: string) {
      searches.push(search)
      const word = search.slice(search.lastIndexOf('/') + 1).toLowerCase()
      const found = paths.filter(path => path.toLowerCase().includes(word)).toSorted()
      return found.slice(0, BACKUP_FILES_LISTED).map(path => ({ path, bytes: 1 }))
    },
  }
}
const everyMs = (stepMs: number, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `db/${nameOf(NOW_MS - 7 * 60_000 - index * stepMs)}`)

describe('the newest file of a backup', () => {
  test.each([
    ['a few', everyMs(24 * HOUR_MS, 5), 1],
    ['a year of days', everyMs(24 * HOUR_MS, 400), 3],
    ['a month of hours', everyMs(HOUR_MS, 900), 4],
    ['two days of minutes', everyMs(60_000, 2_880), 6],
  ])('%s: is found in few lists', async (_name, paths, lists) => {
    const bucket = bucketOf(paths)
    const file = await newestFile(bucket, 'b', 'db/', NOW_MS)
    expect(file).toEqual({ path: paths[0] ?? '', bytes: 1, madeAtMs: NOW_MS - 7 * 60_000 })
    expect(bucket.searches.length).toBeLessThanOrEqual(lists)
  })

  test('a full folder whose newest file is two years old', async () => {
    const paths = everyMs(24 * HOUR_MS, 1_200).filter(path => path < 'db/2024-12')
    expect(paths.length).toBeGreaterThan(BACKUP_FILES_LISTED)
    expect((await newestFile(bucketOf(paths), 'b', 'db/', NOW_MS))?.path).toBe('db/2024-11-30T09-53-00-000Z.sql.gz')
  })

  test('of a volume that was called another before: the newest by its time, not by its name', async () => {
    const paths = ['db/uploads-2026-11-20T03-00-00-000Z.tar', 'db/shop-abc123_uploads-2026-11-27T03-00-00-000Z.tar']
    expect((await newestFile(bucketOf(paths), 'b', 'db/', NOW_MS))?.path).toBe(paths[1])
  })

  test('an empty folder has none, and a name without a time has no age', async () => {
    expect(await newestFile(bucketOf([]), 'b', 'db/', NOW_MS)).toBeUndefined()
    expect(await newestFile(bucketOf(['db/by-hand.sql.gz']), 'b', 'db/', NOW_MS)).toEqual({
      path: 'db/by-hand.sql.gz',
      bytes: 1,
      madeAtMs: undefined,
    })
  })

  test.each([
    ['x/2026-11-27T03-00-00-123Z.sql.gz', '2026-11-27T03:00:00.123Z'],
    ['x/uploads-2026-11-27T03:00:00.123Z.tar', '2026-11-27T03:00:00.123Z'],
    ['x/webserver-backup-2026-13-01T03-00-00-000Z.zip', undefined],
    ['x/2026-11-27.tar', undefined],
  ])('%s', (path, at) => expect(madeAtOf(path)).toBe(at === undefined ? undefined : Date.parse(at)))
})

describe('a backup is overdue when its schedule should have made two more, and a day has gone since', () => {
  test.each([
    ['0 3 * * *', '2026-11-27T03:00:00Z', false],
    ['0 3 * * *', '2026-11-25T03:00:00Z', false],
    ['0 3 * * *', '2026-11-23T03:00:00Z', true],
    ['0 * * * *', '2026-11-26T10:00:00Z', false],
    ['0 * * * *', '2026-11-26T06:00:00Z', true],
    ['0 3 1 * *', '2026-10-01T03:00:00Z', false],
    ['0 3 1 * *', '2026-09-01T03:00:00Z', true],
  ])('%s, made %s: %p', (schedule, made, overdue) => {
    expect(isOverdue(schedule, Date.parse(made), NOW_MS)).toBe(overdue)
  })
})
