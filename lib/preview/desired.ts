/**
 * Which previews there should be: a function of the pull requests as they are now, never of the event that made somebody look. So
 * events that are lost, doubled or out of order change nothing but the moment. What has to be remembered between looks (since when
 * a preview is there, which commit of a fork was shown to whom) stands in the comment of each pull request.
 */

export type Command = 'deploy' | 'redeploy' | 'destroy'

export interface CommandComment {
  /** Grows with time. */
  readonly id: number
  readonly command: Command
  readonly author: string
  readonly mayWrite: boolean
}

/** What the comment of a pull request remembers. */
export interface PreviewRecord {
  /** Commit that was last looked at; of a fork, the one that a label approves. */
  readonly head: string
  /** `held`: has one of the places. `none`: has none, for whatever reason. */
  readonly place: 'held' | 'none'
  /** Since when the place is held for this commit and command; milliseconds. */
  readonly sinceMs: number
  /** What was last asked for by command, `0` for nothing. A letter before the number tells a comment (`c`) from the operator (`o`). */
  readonly turn: string
  /** The last forced deploy, like `turn`. */
  readonly generation: string
  /** Whether the last word was to destroy it. */
  readonly word: 'run' | 'stop'
  /** Comments up to this one were weighed by the operator's word. */
  readonly after: number
}

export interface Pull {
  readonly number: number
  readonly state: 'open' | 'closed'
  readonly draft: boolean
  /** Commit at its head: 40 hex digits. */
  readonly head: string
  readonly author: string
  readonly fork: boolean
  /** Of a fork: whether it carries the label, put there by somebody with write access. */
  readonly approved: boolean
  readonly commands: readonly CommandComment[]
  readonly record?: PreviewRecord
}

export interface PreviewPolicy {
  readonly max: number
  readonly ttlMs: number
}

/** What the operator says on the command line, by number; weighs more than what was said before it. */
export type Words = Readonly<Record<number, { readonly command: Command; readonly atMs: number }>>

export type Standing =
  | 'wanted'
  /** All places are taken; the first in the queue gets the next one. */
  | 'queued'
  | 'draft'
  | 'closed'
  | 'stopped'
  | 'expired'
  /** A fork whose present commit nobody with write access has approved. */
  | 'unapproved'

export interface Verdict {
  readonly number: number
  readonly head: string
  readonly generation: string
  readonly fork: boolean
  readonly standing: Standing
  /** Place in the queue, from 1. */
  readonly queue?: number
  /** When a wanted one ends by itself; milliseconds. */
  readonly endsAtMs?: number
  /** A label that was meant for an earlier commit, and has to be put anew. */
  readonly staleLabel: boolean
  /** Commands by people who may not give them. */
  readonly ignored: readonly CommandComment[]
  /** What the comment shall remember. */
  readonly record: PreviewRecord
}

const COMMAND = /^\/(deploy|redeploy|destroy)\s*$/

/** The command that a comment gives: its first line, alone. */
export const parseCommand = (body: string): Command | undefined => {
  const [, name] = COMMAND.exec(body.slice(0, 200).split(/\r?\n/)[0]?.trimEnd() ?? '') ?? []
  return name === 'deploy' || name === 'redeploy' || name === 'destroy' ? name : undefined
}

const FRESH: Omit<PreviewRecord, 'head'> = { place: 'none', sinceMs: 0, turn: '0', generation: '0', word: 'run', after: 0 }

/** The record with commands, and the operator's word, taken into account. */
function weigh(pull: Pull, spoken: Words[number] | undefined): PreviewRecord {
  const before = pull.record ?? { ...FRESH, head: pull.head }
  const valid = pull.commands.filter(each => each.mayWrite && each.id > before.after).sort((a, b) => a.id - b.id)
  let { turn, generation, word: said } = before
  for (const { id, command } of valid) {
    said = command === 'destroy' ? 'stop' : 'run'
    if (command !== 'destroy') turn = `c${id}`
    if (command === 'redeploy') generation = `c${id}`
  }
  if (spoken === undefined) return { ...before, turn, generation, word: said }
  const { command: word, atMs } = spoken
  const mark = `o${atMs}`
  return {
    ...before,
    turn: word === 'destroy' ? turn : mark,
    generation: word === 'redeploy' ? mark : generation,
    word: word === 'destroy' ? 'stop' : 'run',
    after: Math.max(before.after, ...pull.commands.map(each => each.id)),
  }
}

interface Candidate {
  readonly pull: Pull
  readonly record: PreviewRecord
  readonly standing: Standing
  readonly staleLabel: boolean
}

function judge(pull: Pull, policy: PreviewPolicy, nowMs: number, spoken: Words[number] | undefined): Candidate {
  if (spoken?.command === 'deploy') {
    // Asking for what is there already changes nothing, not even when it ends.
    const unspoken = judge(pull, policy, nowMs, undefined)
    if (unspoken.standing === 'wanted') return unspoken
  }
  const weighed = weigh(pull, spoken)
  const seen = pull.record !== undefined && pull.record.head === pull.head
  const moved = !seen || pull.record.turn !== weighed.turn
  const held = weighed.place === 'held' && !moved
  const record = { ...weighed, head: pull.head, sinceMs: held ? weighed.sinceMs : nowMs }
  const staleLabel = pull.fork && pull.approved && !seen
  const standing =
    pull.state === 'closed'
      ? 'closed'
      : pull.draft
        ? 'draft'
        : pull.fork && (!pull.approved || staleLabel)
          ? 'unapproved'
          : record.word === 'stop'
            ? 'stopped'
            : held && nowMs >= record.sinceMs + policy.ttlMs
              ? 'expired'
              : 'wanted'
  return { pull, record, standing, staleLabel }
}

/** Who has a place keeps it; then the lower number comes first. */
const byClaim = (a: Candidate, b: Candidate): number => {
  const holds = (each: Candidate) => (each.pull.record?.place === 'held' ? 0 : 1)
  return holds(a) - holds(b) || a.pull.number - b.pull.number
}

/** What each pull request shall have, in the order of their numbers. Pure: the same pull requests at the same moment give the same. */
export function desiredPreviews(
  pulls: readonly Pull[],
  policy: PreviewPolicy,
  nowMs: number,
  words: Words = {},
): readonly Verdict[] {
  const candidates = pulls.map(pull => judge(pull, policy, nowMs, words[pull.number]))
  const line = candidates.filter(each => each.standing === 'wanted').sort(byClaim)
  return candidates
    .map(candidate => {
      const { pull, record, staleLabel } = candidate
      const at = line.indexOf(candidate)
      const standing: Standing = at >= policy.max ? 'queued' : candidate.standing
      // An expired one keeps its record, or it would begin anew.
      const place = standing === 'wanted' || standing === 'expired' ? 'held' : 'none'
      return {
        number: pull.number,
        head: pull.head,
        generation: record.generation,
        fork: pull.fork,
        standing,
        ...(standing === 'queued' ? { queue: at - policy.max + 1 } : {}),
        ...(standing === 'wanted' ? { endsAtMs: record.sinceMs + policy.ttlMs } : {}),
        staleLabel,
        ignored: pull.commands.filter(each => !each.mayWrite),
        record: { ...record, place, sinceMs: place === 'held' ? record.sinceMs : 0 },
      } satisfies Verdict
    })
    .sort((a, b) => a.number - b.number)
}

/** One preview as it is. */
export interface Run {
  readonly number: number
  readonly head: string
  readonly generation: string
}

export interface PreviewDiff {
  readonly deploy: readonly Verdict[]
  readonly keep: readonly Verdict[]
  /** Numbers of previews that nobody wants; they go before anything is deployed, so that the cap holds at every moment. */
  readonly remove: readonly number[]
}

/** What differs between the wanted previews and those there are. Pure. */
export function diffPreviews(verdicts: readonly Verdict[], runs: readonly Run[]): PreviewDiff {
  const wanted = verdicts.filter(each => each.standing === 'wanted')
  const isAsWanted = (verdict: Verdict) =>
    runs.some(run => run.number === verdict.number && run.head === verdict.head && run.generation === verdict.generation)
  return {
    deploy: wanted.filter(each => !isAsWanted(each)),
    keep: wanted.filter(isAsWanted),
    remove: [...new Set(runs.map(run => run.number))]
      .filter(number => !wanted.some(each => each.number === number))
      .sort((a, b) => a - b),
  }
}
