/** What is known of each item, kept with its evidence and time in the estate's directory, so that a walk can be left and taken up again. */

import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../engine/files.ts'
import { LandfallError } from '../errors.ts'
import type { Item } from './items.ts'

export interface Answer {
  readonly state: 'yes' | 'no' | 'unknown' | 'not_needed'
  readonly evidence: string
  readonly atMs: number
  /** "probe", or who said it. */
  readonly by: string
}

export type Answers = Readonly<Record<string, Answer>>

const FILE = 'checklist.json'
const EVIDENCE_LIMIT = 1_000

/** @throws LandfallError config, for a file that is no checklist */
export async function readAnswers(directory: string): Promise<Answers> {
  const path = join(directory, FILE)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {}
    throw error
  }
  try {
    const value: unknown = JSON.parse(text)
    const entries = typeof value === 'object' && value !== null && 'answers' in value ? value.answers : undefined
    if (typeof entries === 'object' && entries !== null) return Object.fromEntries(Object.entries(entries).flatMap(toEntry))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
  }
  throw new LandfallError('config', `${path} is no checklist.`, {
    hint: 'Move it away; probes answer again, a person has to be asked again.',
  })
}

export async function writeAnswers(directory: string, answers: Answers): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  await writeFileAtomic(join(directory, FILE), `${JSON.stringify({ version: 1, answers }, null, 2)}\n`)
}

const STATES = ['yes', 'no', 'unknown', 'not_needed'] as const

export const toAnswer = (state: Answer['state'], evidence: string, by: string, atMs: number): Answer => ({
  state,
  evidence: evidence.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ').slice(0, EVIDENCE_LIMIT),
  by,
  atMs,
})

function toEntry([id, value]: [string, unknown]): [string, Answer][] {
  if (typeof value !== 'object' || value === null) return []
  const { state, evidence, atMs, by } = Object.fromEntries(Object.entries(value))
  const known = STATES.find(each => each === state)
  if (!known || typeof evidence !== 'string' || typeof atMs !== 'number' || typeof by !== 'string') return []
  return [[id, toAnswer(known, evidence, by, atMs)]]
}

/** A probe's look replaces an older look, and a person's word only where it sees something. Whether an item is needed no probe knows. */
export function merge(before: Answer | undefined, seen: Answer): Answer {
  if (before === undefined || before.by === 'probe') return seen
  return seen.state === 'unknown' || (seen.state === 'no' && before.state === 'not_needed') ? before : seen
}

export const isSettled = (answer: Answer | undefined): boolean => answer?.state === 'yes' || answer?.state === 'not_needed'

/** How far it is, for a line. */
export function progressOf(
  items: readonly Item[],
  answers: Answers,
): { readonly settled: number; readonly failing: number; readonly open: number } {
  const states = items.map(item => answers[item.id])
  const settled = states.filter(isSettled).length
  const failing = states.filter(answer => answer?.state === 'no').length
  return { settled, failing, open: items.length - settled - failing }
}
