/** Bounded repetition, visible and interruptible. What may be repeated is the provider's table; how, is here. */

import { LandfallError } from '../errors.ts'
import type { Clock } from './clock.ts'

export interface RetryPolicy {
  /** Repeats after the first try. */
  readonly maxRetries: number
  readonly baseMs: number
  readonly capMs: number
}

/** Hetzner's own client: 5 repeats, doubling from 1 s, capped at 60 s (facts/cloud-apis 1.3). */
export const VENDOR_POLICY: RetryPolicy = { maxRetries: 5, baseMs: 1_000, capMs: 60_000 }

export interface RetryContext {
  readonly clock: Clock
  readonly signal?: AbortSignal
  /** Uniform in [0, 1); a parameter so that schedules replay. */
  readonly random: () => number
  /** Told before each wait, for the log. */
  readonly onWait?: (wait: { readonly attempt: number; readonly waitMs: number; readonly error: unknown }) => void
}

export interface RetryOptions extends RetryContext {
  readonly policy: RetryPolicy
  /** Whether this failure may be tried again. */
  readonly mayRetry: (error: unknown) => boolean
  /** What the vendor asked for, if it did; the wait is at least this, and never longer than the cap. */
  readonly askedWaitMs?: (error: unknown) => number | undefined
}

/** Milliseconds before try number `attempt` (from 1): jittered in [base, base × 2^(attempt-1)], at least what was asked, at most the cap. */
export function backoffMs(policy: RetryPolicy, attempt: number, random: () => number, askedMs = 0): number {
  const ceilingMs = Math.min(policy.capMs, policy.baseMs * 2 ** (attempt - 1))
  const jitteredMs = policy.baseMs + random() * Math.max(0, ceilingMs - policy.baseMs)
  return Math.min(policy.capMs, Math.max(askedMs, jitteredMs))
}

/** Calls until it succeeds, fails for good, or the policy is used up; then the last failure is thrown. */
export async function retry<T>(call: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call(attempt)
    } catch (error) {
      if (attempt > options.policy.maxRetries || !options.mayRetry(error)) throw error
      const waitMs = backoffMs(options.policy, attempt, options.random, options.askedWaitMs?.(error))
      options.onWait?.({ attempt, waitMs, error })
      await options.clock.sleep(waitMs, options.signal)
    }
  }
}

export interface CreateOnceOptions<T> extends RetryContext {
  readonly policy: RetryPolicy
  /** What is created, for the error: "server prod-dokploy". */
  readonly what: string
  /** Sends the mutation once. */
  readonly send: () => Promise<T>
  /** Reads back what `send` makes; undefined when it is not there. Throws `name_taken` for a stranger's namesake. */
  readonly find: () => Promise<T | undefined>
  /** `refused`: certainly had no effect and may be sent again. `unknown`: may have happened. `exists`: somebody made it. `fatal`: give up. */
  readonly judge: (error: unknown) => 'refused' | 'unknown' | 'exists' | 'fatal'
  readonly askedWaitMs?: (error: unknown) => number | undefined
}

/** How often an unknown outcome is read back before the create counts as not done; lists can be stale for a while. */
const READ_BACKS = 3

/**
 * Creates exactly one thing. After an unknown outcome it reads back, adopts what it finds, and sends again only when several
 * reads in a row found nothing.
 * @throws the vendor's failure, or LandfallError `ambiguous` when the outcome can't be learned
 */
export async function createOnce<T>(options: CreateOnceOptions<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    let failure: unknown
    try {
      return await options.send()
    } catch (error) {
      failure = error
    }
    const judgement = options.judge(failure)
    if (judgement === 'fatal') throw failure
    const pauseMs = backoffMs(options.policy, attempt, options.random, options.askedWaitMs?.(failure))
    if (judgement === 'refused') {
      if (attempt > options.policy.maxRetries) throw failure
    } else {
      const found = await readBack(options, judgement, failure)
      if (found !== undefined) return found
      if (judgement === 'exists' || attempt > options.policy.maxRetries) throw failure
    }
    options.onWait?.({ attempt, waitMs: pauseMs, error: failure })
    await options.clock.sleep(pauseMs, options.signal)
  }
}

async function readBack<T>(
  options: CreateOnceOptions<T>,
  judgement: 'unknown' | 'exists',
  failure: unknown,
): Promise<T | undefined> {
  for (let read = 1; read <= READ_BACKS; read++) {
    try {
      const found = await options.find()
      if (found !== undefined) return found
    } catch (error) {
      if (error instanceof LandfallError && (error.code === 'name_taken' || error.code === 'cancelled')) throw error
      throw new LandfallError(
        'ambiguous',
        `It is not known whether ${options.what} was created: the answer was lost and reading back failed.`,
        {
          hint: 'Run the same command again: it looks first, and continues with what is there.',
          cause: judgement === 'unknown' ? failure : error,
        },
      )
    }
    if (read < READ_BACKS) await options.clock.sleep(backoffMs(options.policy, read, options.random), options.signal)
  }
  return undefined
}
