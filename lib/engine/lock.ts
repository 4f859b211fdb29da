/**
 * One writer per estate, without a server of our own: a name-unique object in the vendor's account that its holder keeps fresh.
 *
 * Why two holders never write at once. The holder measures age from the moment it *sent* its last confirmed beat, by the larger of
 * its wall clock gap (which sees a suspended machine) and its monotonic gap (which sees a clock set back). It sends nothing when
 * that age passes FENCED_MS without a new beat. A taker compares two times of the vendor's own clock and takes over only past
 * TAKEOVER_MS, which is later by more than a second's rounding and a slow answer. No clock is ever compared with another one.
 * A beat may be written blind, with the vendor's time as a recent answer told it and what has passed here since that answer's request was
 * sent: such a time is never earlier than a fresh question would tell, and one that is later only makes a taker wait longer.
 * A takeover deletes the exact object that was seen and then creates: of two takers, the unique name lets one win, and a beat of the
 * former holder, which names the object by its id, finds nothing to write to.
 */

import { AsyncLocalStorage } from 'node:async_hooks'
import { hasCode, LandfallError } from '../errors.ts'
import type { CloudLocks, LockHolder } from '../providers/ports/cloud.ts'
import type { Clock } from './clock.ts'

/** While the last confirmed beat is younger, a write needs no request. Also the pause between beats. */
export const FREE_MS = 20_000
/** Up to here a beat that fails for the vendor's reasons is tolerated, because nobody can have taken over. */
export const TOLERATED_MS = 60_000
/** From here on the lock may be somebody else's at any moment: it is renewed as a new object, or lost. */
export const FENCED_MS = 75_000
/** By the vendor's clock: from here on the holder is provably unable to write. */
export const TAKEOVER_MS = 90_000

const POLL_MS = 5_000
const RELOOK_MS = 250
/** How often creating and finding may contradict each other, as they do while others come and go. */
const MAX_ATTEMPTS = 10

export interface LockHost {
  /** Equal only for processes that see each other's pids: the machine's id, its boot, and the pid namespace, hashed. */
  readonly hostId: string
  readonly pid: number
  /** user@host, for people. */
  readonly who: string
  /** Whether a process of this pid exists on this host. */
  isPidAlive(pid: number): boolean
}

export interface HoldLockOptions {
  readonly locks: CloudLocks
  readonly estate: string
  readonly runId: string
  /** What this run does, for whoever finds the estate held. */
  readonly command: string
  readonly host: LockHost
  readonly clock: Clock
  /** Ends the waiting for another holder. */
  readonly signal: AbortSignal
  /** How long to wait for another holder to finish; not at all by default. */
  readonly waitMs?: number
  readonly log?: (line: string) => void
  /** Calls `task` again and again until the returned function is called; must not keep the process alive. */
  readonly every?: (ms: number, task: () => void) => () => void
}

export interface HeldLock {
  /**
   * Resolves when a write may be sent now. For `ProviderContext.beforeWrite`; the lock's own requests pass through it at once,
   * so an adapter may use one context for both.
   * @throws LandfallError `locked` when the lock is no longer ours; the vendor's failure when that can't be learned
   */
  confirm(): Promise<void>
  /** Deletes our lock, and no other. Does nothing when it is lost or released; after a failure it may be called again. */
  release(): Promise<void>
  /** Somebody else may write now, so this run must not. */
  readonly lost: boolean
  /** Whose lock was taken over, because that run is provably dead or fenced. */
  readonly tookOverFrom: LockHolder | undefined
}

type Found = NonNullable<Awaited<ReturnType<CloudLocks['find']>>>

interface Acquired {
  readonly id: string
  readonly sentAt: Instant
  readonly tookOverFrom?: LockHolder
}

/** A moment on both of this machine's clocks. */
interface Instant {
  readonly wallMs: number
  readonly monotonicMs: number
}

const unrefInterval = (ms: number, task: () => void): (() => void) => {
  const timer = setInterval(task, ms)
  timer.unref()
  return () => clearInterval(timer)
}

/**
 * Holds the estate until `release`.
 * @throws LandfallError `locked`, naming the holder, when another run has it and does not finish within `waitMs`
 */
export async function holdLock(options: HoldLockOptions): Promise<HeldLock> {
  const { locks, runId, clock, log = () => {}, every = unrefInterval } = options
  const ownRequest = new AsyncLocalStorage<true>()
  const own = <T>(request: () => Promise<T>): Promise<T> => ownRequest.run(true, request)

  const acquired = await own(() => acquire(options))
  let { id } = acquired
  let confirmedAt = acquired.sentAt
  let state: 'held' | 'lost' | 'released' = 'held'
  let renewing: Promise<void> | undefined
  let releasing: Promise<void> | undefined

  const ageMs = () => gapMs(confirmedAt, clock)

  const renew = async (): Promise<void> => {
    try {
      if (ageMs() < FENCED_MS) {
        const previous = confirmedAt
        const sentAt = instant(clock)
        await locks.beat(id, runId)
        // An answer this late does not prove that the beat came before a taker's decision.
        if (gapMs(previous, clock) < FENCED_MS) {
          confirmedAt = sentAt
          return
        }
      }
      const renewed = await replace(options, id)
      id = renewed.id
      confirmedAt = renewed.sentAt
      log(`The lock on estate ${options.estate} was renewed after a pause.`)
    } catch (error) {
      if (hasCode(error, 'locked')) state = 'lost'
      throw error
    }
  }

  const renewOnce = (): Promise<void> => {
    renewing ??= own(renew).finally(() => {
      renewing = undefined
    })
    return renewing
  }

  const check = () => {
    if (state === 'lost') throw lostError(options)
    if (state === 'released') throw new Error('bug: a write was asked for after the lock was released')
  }

  const stop = every(FREE_MS, () => {
    if (state !== 'held') return
    renewOnce().catch((error: unknown) => log(`The lock's beat failed: ${sentence(error)}`))
  })

  return {
    tookOverFrom: acquired.tookOverFrom,
    get lost() {
      return state === 'lost'
    },
    async confirm() {
      if (ownRequest.getStore()) return
      for (let attempt = 1; ; attempt++) {
        check()
        if (ageMs() < FREE_MS) return
        try {
          await renewOnce()
        } catch (error) {
          check()
          if (ageMs() >= TOLERATED_MS) throw error
          log(`The lock's beat failed: ${sentence(error)}`)
          return
        }
        // The machine may have slept while the answer was under way.
        if (attempt === MAX_ATTEMPTS) throw lostError(options)
      }
    },
    release() {
      releasing ??= (async () => {
        stop()
        await renewing?.catch((error: unknown) => log(`The lock's last beat failed: ${sentence(error)}`))
        if (state === 'held') await own(() => locks.delete(id))
        if (state === 'held') state = 'released'
      })().catch((error: unknown) => {
        releasing = undefined
        throw error
      })
      return releasing
    },
  }
}

async function acquire(options: HoldLockOptions): Promise<Acquired> {
  const { locks, estate, runId, clock, signal, waitMs = 0, log } = options
  const deadlineMs = clock.monotonicMs() + waitMs
  let tookOverFrom: LockHolder | undefined
  let told = false
  for (let attempt = 1; ; attempt++) {
    const sentAt = instant(clock)
    try {
      const { id } = await locks.create(claimOf(options))
      return { id, sentAt, ...(tookOverFrom ? { tookOverFrom } : {}) }
    } catch (error) {
      if (!hasCode(error, 'locked')) throw error
    }

    const found = await locks.find(estate)
    if (found && mayTake(found, options)) {
      // Its own create of an earlier attempt counts as nobody's: the answer was lost.
      if (found.holder.runId !== runId) tookOverFrom = found.holder
      await locks.delete(found.id)
      if (attempt < MAX_ATTEMPTS) continue
    }
    tookOverFrom = undefined
    const leftMs = deadlineMs - clock.monotonicMs()
    if (found && leftMs > 0) {
      if (!told) log?.(`Waiting for ${holderWords(found)}.`)
      told = true
      attempt = 0
      await clock.sleep(Math.min(POLL_MS, leftMs), signal)
    } else if (found || attempt >= MAX_ATTEMPTS) {
      throw heldError(options, found)
    } else {
      // It went between the two requests, or the list lags behind.
      await clock.sleep(RELOOK_MS, signal)
    }
  }
}

/** Only for a holder that cannot write any more: dead on this host, fenced by the vendor's clock, or this very run. */
function mayTake({ holder, nowMs }: Found, { host, runId }: HoldLockOptions): boolean {
  if (holder.runId === runId) return true
  if (holder.hostId === host.hostId && holder.pid !== host.pid && !host.isPidAlive(holder.pid)) return true
  return nowMs - holder.beatAtMs > TAKEOVER_MS
}

/** After too long a silence the old object proves nothing. Making a new one is a race like any takeover, and as safe. */
async function replace(options: HoldLockOptions, id: string): Promise<Acquired> {
  const found = await options.locks.find(options.estate)
  // The run's own object under another id: an earlier replacement whose answer was lost.
  if (!found || (found.id !== id && found.holder.runId !== options.runId)) throw lostError(options, found)
  await options.locks.delete(found.id)
  const sentAt = instant(options.clock)
  return { id: (await options.locks.create(claimOf(options))).id, sentAt }
}

const claimOf = ({ estate, runId, command, host }: HoldLockOptions) => ({
  estate,
  runId,
  command,
  who: host.who,
  hostId: host.hostId,
  pid: host.pid,
})

const instant = (clock: Clock): Instant => ({ wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs() })

const gapMs = (since: Instant, clock: Clock): number =>
  Math.max(clock.nowMs() - since.wallMs, clock.monotonicMs() - since.monotonicMs)

const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const ageWords = (ms: number): string =>
  ms < 120_000
    ? `${Math.max(0, Math.round(ms / 1000))} s`
    : ms < 7_200_000
      ? `${Math.round(ms / 60_000)} min`
      : `${Math.round(ms / 3_600_000)} h`

function holderWords({ holder, nowMs, sinceMs }: Found): string {
  const since = sinceMs === undefined ? '' : ` for ${ageWords(nowMs - sinceMs)}`
  const beat = ageWords(nowMs - holder.beatAtMs)
  return `${holder.who} (process ${holder.pid}), who has held estate ${holder.estate}${since} with "${holder.command}"; last sign of life ${beat} ago`
}

function heldError({ estate }: HoldLockOptions, found: Found | undefined): LandfallError {
  if (!found) {
    return new LandfallError('locked', `Estate ${estate} changes hands too often to be held: several runs want it at once.`, {
      hint: 'Run the same command again in a moment.',
    })
  }
  return new LandfallError('locked', `Another run is at work: ${holderWords(found)}.`, {
    hint: `Wait until it has finished, then run the same command again. If that run is dead, the lock can be taken over ${ageWords(TAKEOVER_MS)} after its last sign of life; nothing has to be deleted by hand.`,
  })
}

const lostError = ({ estate }: HoldLockOptions, found?: Found): LandfallError =>
  new LandfallError(
    'locked',
    `This run no longer holds estate ${estate}: it was out of touch for too long${found ? `, and ${holderWords(found)}` : ''}.`,
    { hint: 'Nothing more was sent. Run the same command again: it looks first, and continues with what is there.' },
  )
