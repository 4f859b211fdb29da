/**
 * The one comment that a pull request gets: how its preview stands, in words, and what Landfall has to remember, in a mark that
 * people do not see. Nothing of the pull request but its number and its commit is repeated: titles and branches are strangers' texts.
 */

import { createHash } from 'node:crypto'
import type { PreviewRecord, Verdict } from './desired.ts'

export interface Told {
  readonly estate: string
  readonly url: string
  readonly max: number
  readonly label: string
  readonly logs: string
  /** How what runs is; absent when nothing does. */
  readonly run?: { readonly state: 'up' | 'failed'; readonly head: string; readonly why: string }
  /** "0.12 EUR so far", when something was billed. */
  readonly cost?: string
}

export interface Remembered {
  readonly record: PreviewRecord
  /** Of everything that was said, the cost excepted. */
  readonly said: string
  /** Day on which the cost was told, "2026-11-26". */
  readonly day: string
}

/** The last line, and nothing after it: one inside a quotation or a container's log is no mark. */
const MARK =
  /\n<!-- landfall preview estate=([a-z0-9-]+) pr=(\d+) head=([0-9a-f]{40}) place=(held|none) since=(\d+) turn=([co]?\d+) generation=([co]?\d+) word=(run|stop) after=(\d+) said=([0-9a-f]{12}) day=(\d{4}-\d{2}-\d{2}) -->\s*$/

/** What each kind of comment begins with. Who quotes one of ours, or answers it by mail, begins in another way. */
const SIGNS = {
  up: '✅',
  failed: '❌',
  deploying: '⏳',
  queued: '⏸️',
  unapproved: '🔒',
  draft: '📝',
  destroyed: '🗑️',
  expired: '⌛',
} as const

const DAY = 10
const dayOf = (nowMs: number): string => new Date(nowMs).toISOString().slice(0, DAY)
const minuteOf = (ms: number): string => `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`
const short = (head: string): string => head.slice(0, 7)

/** What a comment of this estate remembers, whoever wrote it; undefined for any other comment. */
export function parseComment(body: string, estate: string, number: number): Remembered | undefined {
  if (!Object.values(SIGNS).some(sign => body.startsWith(`${sign} **`))) return undefined
  const match = MARK.exec(body.slice(-600))
  if (!match || match[1] !== estate || Number(match[2]) !== number) return undefined
  const [, , , head = '', place, since, turn = '0', generation = '0', word, after, said = '', day = ''] = match
  return {
    record: {
      head,
      place: place === 'held' ? 'held' : 'none',
      sinceMs: Number(since),
      turn,
      generation,
      word: word === 'stop' ? 'stop' : 'run',
      after: Number(after),
    },
    said,
    day,
  }
}

/** A comment that looks like ours, whoever wrote it. */
export interface Marked {
  readonly id: number
  readonly author: string
  readonly updatedAtMs: number
  readonly remembered: Remembered
}

/**
 * The comment that counts: of those by people whom every run believes, the one that changed last, so that runs with different tokens
 * share one memory; where there is none, our own. Pure.
 */
export function believedOf(marked: readonly Marked[], self: string, isHeard: (login: string) => boolean): Marked | undefined {
  const heard = marked.filter(each => isHeard(each.author))
  return (heard.length > 0 ? heard : marked.filter(each => each.author === self))
    .toSorted((a, b) => a.updatedAtMs - b.updatedAtMs || a.id - b.id)
    .at(-1)
}

/** Words of a machine, as a block that they cannot leave. */
export const quoteBlock = (text: string): string => {
  const plain = text
    .replace(/[^\P{C}\n\t]/gu, '')
    .replaceAll('`', "'")
    .slice(-1_500)
  return `\`\`\`\n${plain.trim()}\n\`\`\``
}

function headline(verdict: Verdict, told: Told): string[] {
  const { standing, head } = verdict
  const { run } = told
  if (standing === 'wanted') {
    if (run?.state === 'failed' && run.head === head)
      return [
        `${SIGNS.failed} **The preview of ${short(head)} could not be deployed.**`,
        '',
        quoteBlock(run.why),
        '',
        'Push a commit, or comment `/redeploy`.',
      ]
    if (run?.state === 'up' && run.head === head) return [`${SIGNS.up} **Preview of ${short(head)}: ${told.url}**`]
    return [`${SIGNS.deploying} **The preview of ${short(head)} is being deployed.**`]
  }
  if (standing === 'queued')
    return [
      `${SIGNS.queued} **Queued at place ${verdict.queue}: all ${told.max} previews are taken.**`,
      '',
      'It is deployed when another pull request is closed, becomes a draft, or gets the comment `/destroy`.',
    ]
  if (standing === 'unapproved')
    return [
      verdict.staleLabel
        ? `${SIGNS.unapproved} **Commit ${short(head)} came after the label; it was taken off.**`
        : `${SIGNS.unapproved} **This comes from a fork: commit ${short(head)} has to be approved.**`,
      '',
      `Somebody with write access who has read ${short(head)} may put the label \`${told.label}\`. The preview gets no variables of this repository.`,
    ]
  if (standing === 'draft')
    return [`${SIGNS.draft} **Drafts have no preview.** It is deployed when the pull request is ready for review.`]
  if (standing === 'stopped') return [`${SIGNS.destroyed} **Destroyed on request.** \`/deploy\` brings it back.`]
  if (standing === 'expired')
    return [`${SIGNS.expired} **Destroyed: nothing was pushed for too long.** \`/deploy\` brings it back.`]
  return [`${SIGNS.destroyed} **Destroyed: the pull request is closed.**`]
}

function body(verdict: Verdict, told: Told): string {
  const { ignored, standing, endsAtMs } = verdict
  const lines = headline(verdict, told)
  if (standing === 'wanted' && endsAtMs !== undefined)
    lines.push('', `It ends by itself on ${minuteOf(endsAtMs)}; a push or \`/deploy\` starts that anew.`)
  const names = [...new Set(ignored.map(each => each.author))].filter(name => /^[A-Za-z0-9[\]-]{1,50}$/.test(name))
  if (names.length > 0)
    lines.push(
      '',
      `Commands count from people with write access; those of ${names.map(name => `\`${name}\``).join(', ')} were not followed.`,
    )
  if (standing !== 'closed') lines.push('', '<sub>`/deploy` `/redeploy` `/destroy`, each as the first line of a comment</sub>')
  return lines.join('\n')
}

export interface Comment {
  readonly body: string
  readonly said: string
}

/**
 * The comment as it shall be. `said` tells whether it differs from one that is there, but for the cost, and for the word that a label was
 * taken off: that stays until there is something else to say. Pure.
 */
export function renderComment(verdict: Verdict, told: Told, nowMs: number): Comment {
  const words = body(verdict, told)
  const { record } = verdict
  const memory = `head=${record.head} place=${record.place} since=${record.sinceMs} turn=${record.turn} generation=${record.generation} word=${record.word} after=${record.after}`
  const lasting = body({ ...verdict, staleLabel: false }, told)
  const said = createHash('sha256').update(`${lasting}\n${memory}`).digest('hex').slice(0, 12)
  const cost = told.cost === undefined ? [] : ['', `Cost so far: ${told.cost} (${dayOf(nowMs)}).`]
  const mark = `<!-- landfall preview estate=${told.estate} pr=${verdict.number} ${memory} said=${said} day=${dayOf(nowMs)} -->`
  return { body: [words, ...cost, '', mark].join('\n'), said }
}

/** Whether the comment has to be written: it says something else, or its cost is of another day. */
export const isOutdated = (have: Remembered | undefined, want: Comment, hasCost: boolean, nowMs: number): boolean =>
  have === undefined || have.said !== want.said || (hasCost && have.day !== dayOf(nowMs))
