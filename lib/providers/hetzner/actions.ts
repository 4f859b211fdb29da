/**
 * One poller for everything that the vendor is doing for this process. It asks late, when the actions should be over, and for all
 * that are due in one request, because per-server polling is what empties the budget of 3600 requests (facts/cloud-apis 1.2).
 */

import type { Clock } from '../../engine/clock.ts'
import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import { createEstimates } from './estimates.ts'
import { actionFailureOf } from './failure.ts'
import type { WireAction } from './wire.ts'

export interface TrackOptions {
  /** To follow "Could not": "create server prod". */
  readonly what: string
  /** `chain`: each starts when the one before it has ended, as after a create. `together`: all at once. */
  readonly order: 'chain' | 'together'
  /** When the answer with the actions arrived, by the monotonic clock. */
  readonly receivedAtMs: number
  readonly signal?: AbortSignal
}

export interface ActionPoller {
  /**
   * Resolves when all of them succeeded.
   * @throws LandfallError with the code of the action's error; `timeout`; `cancelled`; `vendor` for an action that vanished
   */
  track(actions: readonly WireAction[], options: TrackOptions): Promise<void>
}

export interface ActionPollerDeps {
  readonly clock: Clock
  /** Aborts all waits. */
  readonly signal: AbortSignal
  readonly token: Secret
  /** `GET /actions` for these ids, in this order. */
  readonly list: (ids: readonly string[]) => Promise<readonly WireAction[]>
  /** Resolves when nothing waits for the rate limit that is more urgent than a question about actions. */
  readonly idle?: (signal: AbortSignal) => Promise<void>
  /** How long a request and its answer are under way at the least. */
  readonly roundTripMs?: () => number
}

interface Group {
  readonly options: TrackOptions
  /** As last seen, by id, in the order of the answer. */
  readonly actions: Map<string, WireAction>
  readonly deadlineAtMs: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
  state: 'waiting' | 'asked'
  polls: number
  /** After the first poll: when to ask again. */
  againAtMs: number
}

/** A page without a word on its size holds 25 (facts/cloud-apis 1.2, 1.4), and this list has no parameter for it. */
const IDS_PER_REQUEST = 25
/** Of a round trip; a little less than the whole, because an early poll costs another one. */
const LEAD = 0.85
const DEADLINE_MS = 15 * 60_000
const IMAGE_DEADLINE_MS = 30 * 60_000

const FIRST_PAUSE_MS = 250
const PAUSE_GROWTH = 1.4
const LONGEST_PAUSE_MS = 2_500

/** How far apart two groups may be due to be asked for together: little when few wait, because the earlier one waits for it. */
const windowMs = (groups: number): number => Math.min(400, Math.max(25, groups * 2))

export function createActionPoller(deps: ActionPollerDeps): ActionPoller {
  const { clock } = deps
  const estimates = createEstimates()
  const groups = new Set<Group>()
  let alarm: AbortController | undefined

  const dueAtMs = (group: Group): number => {
    if (group.polls > 0) return Math.min(group.againAtMs, group.deadlineAtMs)
    const expected = [...group.actions.values()].map(action => estimates.expectedMs(action.command))
    const totalMs = group.options.order === 'chain' ? expected.reduce((sum, ms) => sum + ms, 0) : Math.max(...expected)
    // The vendor began half a round trip before its answer came, and is asked half a round trip after we send.
    const leadMs = LEAD * (deps.roundTripMs?.() ?? 0)
    return Math.min(group.options.receivedAtMs + Math.max(0, totalMs - leadMs), group.deadlineAtMs)
  }

  const runningIds = (group: Group): string[] => [...group.actions].flatMap(([id, action]) => (isRunning(action) ? [id] : []))

  /** Sets the one alarm for the next moment at which something is due. */
  const arm = () => {
    alarm?.abort()
    alarm = undefined
    const dues = [...groups].filter(group => group.state === 'waiting').map(dueAtMs)
    if (dues.length === 0) return
    const lastOfWindowMs = Math.min(...dues) + windowMs(dues.length)
    const fireAtMs = Math.max(...dues.filter(due => due <= lastOfWindowMs))
    const mine = new AbortController()
    alarm = mine
    clock
      .sleep(Math.max(0, fireAtMs - clock.monotonicMs()), mine.signal)
      .then(() => fullOrIdle(mine.signal))
      .then(
        // Whatever became due while others went first is asked for in the same request.
        () => poll(Math.max(fireAtMs, clock.monotonicMs())),
        // Only a newer alarm ends this sleep early, and that one has taken over.
        () => undefined,
      )
  }

  const dueBy = (atMs: number): Group[] => [...groups].filter(group => group.state === 'waiting' && dueAtMs(group) <= atMs)

  /** A question for one action costs as much as one for many: while requests are scarce, only a full one may go before others. */
  const fullOrIdle = async (signal: AbortSignal): Promise<void> => {
    if (dueBy(clock.monotonicMs()).flatMap(runningIds).length < IDS_PER_REQUEST) await deps.idle?.(signal)
  }

  const poll = (fireAtMs: number) => {
    const due = dueBy(fireAtMs)
    for (const group of due) group.state = 'asked'
    const ids = due.flatMap(runningIds).sort((one, other) => Number(one) - Number(other))
    const asked = new Map<string, Promise<Map<string, WireAction>>>()
    for (let start = 0; start < ids.length; start += IDS_PER_REQUEST) {
      const chunk = ids.slice(start, start + IDS_PER_REQUEST)
      const answer = ask(chunk)
      for (const id of chunk) asked.set(id, answer)
    }
    for (const group of due) {
      Promise.all(runningIds(group).map(id => asked.get(id) ?? new Map<string, WireAction>())).then(
        answers => update(group, new Map(answers.flatMap(answer => [...answer]))),
        error => finish(group, error),
      )
    }
    arm()
  }

  const ask = async (ids: readonly string[]): Promise<Map<string, WireAction>> => {
    const found = byId(await deps.list(ids))
    const missing = ids.filter(id => !found.has(id))
    // A short answer may be a page of one that pages after all; only what is missing when asked for by itself is really gone.
    return missing.length === 0 ? found : new Map([...found, ...byId(await deps.list(missing))])
  }

  const update = (group: Group, answer: Map<string, WireAction>) => {
    const nowMs = clock.monotonicMs()
    for (const id of runningIds(group)) {
      const now = answer.get(id)
      const before = group.actions.get(id)
      if (now === undefined) return finish(group, vanished(group, id, before?.command ?? 'unknown'))
      group.actions.set(id, { ...now, command: now.command || (before?.command ?? '') })
    }
    settle(group, nowMs)
    if (groups.has(group)) {
      group.polls += 1
      // With many pending, each poll is many requests, so they come less often.
      const pending = [...groups].reduce((sum, each) => sum + each.actions.size, 0)
      const pauseMs = FIRST_PAUSE_MS * PAUSE_GROWTH ** (group.polls - 1) * (1 + pending / 100)
      group.againAtMs = nowMs + Math.min(LONGEST_PAUSE_MS, pauseMs)
      group.state = 'waiting'
    }
    arm()
  }

  /** Ends the group when its actions have ended, one has failed, or time is up. */
  const settle = (group: Group, nowMs: number) => {
    const actions = [...group.actions.values()]
    const failed = actions.find(action => action.status === 'error')
    if (failed) return finish(group, failureOf(group, failed))
    if (actions.every(action => action.status === 'success')) {
      // What had ended before the first poll says nothing about how long a poll should wait.
      if (group.state === 'asked') learn(group, nowMs)
      return finish(group)
    }
    // Whoever slept past the deadline asks once before judging.
    if (group.state === 'asked' && nowMs >= group.deadlineAtMs) finish(group, late(group, nowMs))
  }

  const learn = (group: Group, nowMs: number) => {
    let formerEndMs = Number.NEGATIVE_INFINITY
    for (const action of group.actions.values()) {
      const startMs = Date.parse(action.started ?? '')
      const endMs = Date.parse(action.finished ?? '')
      if (Number.isNaN(startMs) || Number.isNaN(endMs)) continue
      // An action that follows another one counts as started while it still waits for it.
      const tookMs = endMs - (group.options.order === 'chain' ? Math.max(startMs, formerEndMs) : startMs)
      formerEndMs = endMs
      // The vendor's times have whole seconds; what was seen here bounds them.
      estimates.observe(action.command, Math.min(Math.max(0, tookMs), nowMs - group.options.receivedAtMs))
    }
  }

  const finish = (group: Group, error?: unknown) => {
    if (!groups.delete(group)) return
    if (error === undefined) group.resolve()
    else group.reject(error)
    arm()
  }

  const failureOf = (group: Group, action: WireAction): LandfallError =>
    actionFailureOf(
      group.options.what,
      {
        id: String(action.id),
        command: action.command,
        code: action.error?.code || 'unknown_error',
        said: action.error?.message ?? '',
      },
      deps.token,
    )

  const vanished = (group: Group, id: string, command: string): LandfallError =>
    actionFailureOf(group.options.what, { id, command, code: 'vanished', said: '' }, deps.token)

  const late = (group: Group, nowMs: number): LandfallError => {
    const running = [...group.actions.values()].filter(isRunning).map(action => `${action.command} (${action.id})`)
    const minutes = Math.round((nowMs - group.options.receivedAtMs) / 60_000)
    return new LandfallError(
      'timeout',
      `Could not ${group.options.what}: after ${minutes} min Hetzner still works on ${running.join(', ')}.`,
      {
        hint: 'Look at its activities in the Hetzner Console; run the same command again when they have ended.',
      },
    )
  }

  return {
    track(actions, options) {
      return new Promise((resolve, reject) => {
        const signal = options.signal === undefined ? deps.signal : AbortSignal.any([deps.signal, options.signal])
        const onAbort = () => finish(group, new LandfallError('cancelled', 'Interrupted.'))
        const group: Group = {
          options,
          actions: byId(actions),
          deadlineAtMs: options.receivedAtMs + Math.max(0, ...actions.map(deadlineMs)),
          resolve: () => {
            signal.removeEventListener('abort', onAbort)
            resolve()
          },
          reject: error => {
            signal.removeEventListener('abort', onAbort)
            reject(error)
          },
          state: 'waiting',
          polls: 0,
          againAtMs: 0,
        }
        groups.add(group)
        settle(group, clock.monotonicMs())
        if (!groups.has(group)) return
        if (signal.aborted) return onAbort()
        signal.addEventListener('abort', onAbort, { once: true })
        arm()
      })
    },
  }
}

const isRunning = (action: WireAction): boolean => action.status !== 'success' && action.status !== 'error'

const deadlineMs = (action: WireAction): number => (action.command === 'create_image' ? IMAGE_DEADLINE_MS : DEADLINE_MS)

const byId = (actions: readonly WireAction[]): Map<string, WireAction> =>
  new Map(actions.map(action => [String(action.id), action]))
