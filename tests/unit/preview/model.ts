/** A small GitHub and a small world in memory, with the ground truth of both: what the rules say is counted here, not by the engine. */

import { isOutdated, parseComment, renderComment } from '../../../lib/preview/comment.ts'
import {
  type Command,
  type CommandComment,
  desiredPreviews,
  diffPreviews,
  type PreviewPolicy,
  type Pull,
  type Run,
} from '../../../lib/preview/desired.ts'

export const seeded = (seed: number): (() => number) => {
  let state = (seed * 2_654_435_761 + 1) >>> 0
  return () => {
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state / 2 ** 32
  }
}

interface ModelPull {
  readonly number: number
  readonly fork: boolean
  state: 'open' | 'closed'
  draft: boolean
  head: string
  label: 'none' | 'by_writer' | 'by_stranger'
  comments: CommandComment[]
  /** Ours: the text, as GitHub keeps it. */
  comment?: string
}

export const ESTATE = 'model'

export class Model {
  readonly pulls = new Map<number, ModelPull>()
  readonly runs = new Map<number, Run>()
  readonly policy: PreviewPolicy
  readonly random: () => number
  nowMs = Date.UTC(2026, 10, 1)
  writes = 0
  peak = 0
  #nextNumber = 1
  #nextId = 100

  constructor(seed: number, policy: PreviewPolicy) {
    this.random = seeded(seed)
    this.policy = policy
  }

  #int(below: number): number {
    return Math.floor(this.random() * below)
  }

  #sha(): string {
    return Array.from({ length: 40 }, () => '0123456789abcdef'[this.#int(16)]).join('')
  }

  /** One thing that people do, and what GitHub would send for it. */
  happen(): void {
    this.nowMs += 1 + this.#int(600_000)
    const all = [...this.pulls.values()]
    const pull = all[this.#int(all.length)]
    const kind = this.#int(10)
    if (!pull || kind <= 2) {
      const number = this.#nextNumber++
      this.pulls.set(number, {
        number,
        fork: this.random() < 0.25,
        state: 'open',
        draft: this.random() < 0.25,
        head: this.#sha(),
        label: 'none',
        comments: [],
      })
    } else if (kind === 3) pull.state = 'closed'
    else if (kind === 4) pull.state = 'open'
    else if (kind === 5) pull.draft = !pull.draft
    else if (kind === 6) pull.head = this.#sha()
    else if (kind === 7 && pull.fork) pull.label = this.random() < 0.7 ? 'by_writer' : 'by_stranger'
    else {
      const commands: Command[] = ['deploy', 'redeploy', 'destroy']
      pull.comments.push({
        id: this.#nextId++,
        command: commands[this.#int(3)] ?? 'deploy',
        author: 'octo',
        mayWrite: this.random() < 0.7,
      })
    }
  }

  view(): Pull[] {
    // Closed ones are looked at only while something of theirs is left, as the product does.
    return [...this.pulls.values()].map(each => {
      const remembered = each.comment === undefined ? undefined : parseComment(each.comment, ESTATE, each.number)
      return {
        number: each.number,
        state: each.state,
        draft: each.draft,
        head: each.head,
        author: 'octo',
        fork: each.fork,
        approved: each.label === 'by_writer',
        commands: each.comments,
        ...(remembered ? { record: remembered.record } : {}),
      }
    })
  }

  /** What one event makes happen: a look, then what it found, with the cap watched at every moment. */
  look(): void {
    const verdicts = desiredPreviews(this.view(), this.policy, this.nowMs)
    const { deploy, remove } = diffPreviews(verdicts, [...this.runs.values()])
    for (const number of remove) {
      this.runs.delete(number)
      this.writes++
    }
    for (const { number, head, generation } of deploy) {
      this.runs.set(number, { number, head, generation })
      this.writes++
      this.peak = Math.max(this.peak, this.runs.size)
    }
    for (const verdict of verdicts) {
      const pull = this.pulls.get(verdict.number)
      if (!pull) continue
      const have = pull.comment === undefined ? undefined : parseComment(pull.comment, ESTATE, pull.number)
      const told = {
        estate: ESTATE,
        url: `https://pr-${pull.number}.preview.example.com`,
        max: this.policy.max,
        label: 'preview',
        logs: '',
      }
      const want = renderComment(verdict, told, this.nowMs)
      if (verdict.staleLabel) {
        pull.label = 'none'
        this.writes++
      }
      if (!isOutdated(have, want, false, this.nowMs)) continue
      pull.comment = want.body
      this.writes++
    }
  }

  /** The last word that counts, by reading the comments afresh. */
  #isStopped(pull: ModelPull): boolean {
    return pull.comments.filter(each => each.mayWrite).at(-1)?.command === 'destroy'
  }

  /** Open, no draft, not destroyed by command; of forks only those whose label stands. Without regard to cap and TTL. */
  eligible(): number[] {
    return [...this.pulls.values()]
      .filter(
        pull => pull.state === 'open' && !pull.draft && !this.#isStopped(pull) && (!pull.fork || pull.label === 'by_writer'),
      )
      .map(pull => pull.number)
      .sort((a, b) => a - b)
  }

  headOf(number: number): string {
    return this.pulls.get(number)?.head ?? ''
  }
}

/** Events as they come over a network: some lost, some twice, in an order of their own. Only their number matters to a look. */
export const deliveries = (count: number, random: () => number): number[] => {
  const sent = Array.from({ length: count }, (_, index) => index).flatMap(index =>
    random() < 0.25 ? [] : random() < 0.3 ? [index, index] : [index],
  )
  for (let i = sent.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const [a = 0, b = 0] = [sent[i], sent[j]]
    sent[i] = b
    sent[j] = a
  }
  return sent
}
