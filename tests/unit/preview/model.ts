/** A small GitHub and a small world in memory, with the ground truth of both: what the rules say is counted here, not by the engine. */

import { believedOf, isOutdated, type Marked, parseComment, renderComment } from '../../../lib/preview/comment.ts'
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
  /** Those that look like ours, as GitHub keeps them. */
  told: ToldComment[]
}

interface ToldComment {
  readonly id: number
  readonly author: string
  updatedAtMs: number
  body: string
}

export const ESTATE = 'model'
const FORGED = { head: '', place: 'none', sinceMs: 0, turn: '0', generation: '0', word: 'run', after: 0 } as const
/** Who may write to the repository, and runs the commands. */
export const WRITERS = ['github-actions[bot]', 'octocat'] as const

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
  #nextTold = 1

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
        told: [],
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

  /** A stranger takes a comment of ours, or makes one up, and says with it what would suit him. */
  forge(random: () => number): void {
    for (const pull of this.pulls.values()) {
      if (random() < 0.7) continue
      const [before = { ...FORGED, head: pull.head }] = pull.told.flatMap(
        each => parseComment(each.body, ESTATE, pull.number)?.record ?? [],
      )
      const pick = <T>(...all: T[]): T => all[Math.floor(random() * all.length)] as T
      const record = {
        ...before,
        head: pull.head,
        place: pick('held' as const, 'none' as const),
        sinceMs: pick(0, this.nowMs, this.nowMs * 2),
        word: pick('run' as const, 'stop' as const),
        after: pick(0, 1_000_000),
      }
      const { number, head, fork } = pull
      const verdict = { number, head, fork, record, generation: '0', standing: 'wanted', staleLabel: false, ignored: [] } as const
      const { body } = renderComment(verdict, this.#told(number), this.nowMs)
      const own = pull.told.find(each => each.author === 'stranger')
      if (own) Object.assign(own, { body, updatedAtMs: this.nowMs })
      else pull.told.push({ id: this.#nextTold++, author: 'stranger', updatedAtMs: this.nowMs, body })
    }
  }

  #marked(pull: ModelPull): Marked[] {
    return pull.told.flatMap(({ id, author, updatedAtMs, body }) => {
      const remembered = parseComment(body, ESTATE, pull.number)
      return remembered ? [{ id, author, updatedAtMs, remembered }] : []
    })
  }

  #believed(pull: ModelPull, self: string): Marked | undefined {
    return believedOf(this.#marked(pull), self, login => WRITERS.some(each => each === login))
  }

  #told(number: number) {
    const url = `https://pr-${number}.preview.example.com`
    return { estate: ESTATE, url, max: this.policy.max, label: 'preview', logs: '' }
  }

  view(self: string = WRITERS[0]): Pull[] {
    // Closed ones are looked at only while something of theirs is left, as the product does.
    return [...this.pulls.values()].map(each => {
      const remembered = this.#believed(each, self)?.remembered
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
  look(self: string = WRITERS[0]): void {
    const verdicts = desiredPreviews(this.view(self), this.policy, this.nowMs)
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
      const have = this.#believed(pull, self)
      const want = renderComment(verdict, this.#told(pull.number), this.nowMs)
      if (verdict.staleLabel) {
        pull.label = 'none'
        this.writes++
      }
      if (!isOutdated(have?.remembered, want, false, this.nowMs)) continue
      const there = pull.told.find(each => each.id === have?.id)
      if (there) Object.assign(there, { body: want.body, updatedAtMs: this.nowMs })
      else pull.told.push({ id: this.#nextTold++, author: self, updatedAtMs: this.nowMs, body: want.body })
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

  /** Ours: by those who may write. */
  saidOn(number: number): readonly string[] {
    const told = this.pulls.get(number)?.told ?? []
    return told.filter(each => WRITERS.some(writer => writer === each.author)).map(each => each.body)
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
