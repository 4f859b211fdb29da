/**
 * What a run leaves of the vendor's hourly requests, for the next one on this machine: that one sends its first look before any answer
 * has told it. Kept only while it matters; losing the file costs a refused request that is sent again.
 */

import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeFileAtomic } from './engine/files.ts'

const FILE = 'requests-left.json'
/** With more than this left, a first look cannot come too early. */
const ENOUGH = 50

/** What is left now at the least, at one a second since the last run; undefined when that is enough or not known. */
export function readRequestsLeft(directory: string, nowMs: number): number | undefined {
  const path = join(directory, FILE)
  if (!existsSync(path)) return undefined
  try {
    const { left, atMs } = JSON.parse(readFileSync(path, 'utf8'))
    const now = Number(left) + Math.max(0, (nowMs - Number(atMs)) / 1000)
    return now >= 0 && now < ENOUGH ? now : undefined
  } catch (error) {
    // A file that nobody can read says nothing; the first answer will.
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** Keeps `left` where a run has already kept something, and forgets it when it is enough. */
export async function keepRequestsLeft(directory: string, left: number | undefined, nowMs: number): Promise<void> {
  const path = join(directory, FILE)
  if (left !== undefined && left < ENOUGH && existsSync(directory))
    await writeFileAtomic(path, JSON.stringify({ left: Math.floor(left), atMs: nowMs }), 0o600)
  else rmSync(path, { force: true })
}
