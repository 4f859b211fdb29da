/** Waiting for a machine that boots or is slow, without hammering it and never without an end. */

import type { Clock } from '../../engine/clock.ts'
import { hasCode, LandfallError } from '../../errors.ts'
import type { ProviderContext } from '../context.ts'
import type { Reachability } from '../ports/machine.ts'

export interface WaitOptions {
  /** The server's name, for messages. */
  readonly name: string
  readonly look: (timeoutMs: number) => Promise<Reachability>
  readonly lookTimeoutMs: number
  readonly timeoutMs: number
  readonly signal: AbortSignal
  readonly context: Pick<ProviderContext, 'clock' | 'random'>
}

const FIRST_GAP_MS = 500
const LONGEST_GAP_MS = 5_000
/** A look that is given less cannot succeed. */
const SHORTEST_LOOK_MS = 1_500
/** A machine that fetches its authorized keys while it boots refuses them for a moment. */
const REFUSED_GRACE_MS = 30_000
/** OpenSSH from 9.8 on shuts out an address that is refused again and again. */
const REFUSED_GAP_MS = 3_000

/** @throws timeout | host_key (at once) | forbidden (after a grace) | cancelled */
export async function waitUntilReady({ name, look, lookTimeoutMs, timeoutMs, signal, context }: WaitOptions): Promise<void> {
  const { clock, random } = context
  const startedMs = clock.monotonicMs()
  const leftMs = () => timeoutMs - (clock.monotonicMs() - startedMs)
  let refusedSinceMs: number | undefined
  let gapMs = FIRST_GAP_MS
  for (;;) {
    const lookedMs = clock.monotonicMs()
    const seen = await look(Math.max(SHORTEST_LOOK_MS, Math.min(lookTimeoutMs, leftMs())))
    if (seen.state === 'ready') return
    if (seen.state === 'impostor') throw impostor(seen.why)
    refusedSinceMs = seen.state === 'key_refused' ? (refusedSinceMs ?? lookedMs) : undefined
    const isRefusedForGood = refusedSinceMs !== undefined && clock.monotonicMs() - refusedSinceMs >= REFUSED_GRACE_MS
    if (isRefusedForGood || leftMs() <= 0)
      throw seen.state === 'key_refused' ? refused(seen.why) : late(name, timeoutMs, seen.why)
    const jitteredMs = gapMs * (0.75 + random() / 2)
    const waitMs = seen.state === 'key_refused' ? Math.max(REFUSED_GAP_MS, jitteredMs) : jitteredMs
    await clock.sleep(Math.min(waitMs, leftMs()), signal)
    gapMs = Math.min(LONGEST_GAP_MS, gapMs * 1.5)
  }
}

/**
 * Asks again what got no answer, for as long as `patienceMs`; with 0 it asks once. Only for what has no effect when it is asked twice.
 * @throws what the last try did
 */
export async function askPatiently<T>(
  ask: () => Promise<T>,
  {
    patienceMs,
    clock,
    signal,
  }: { readonly patienceMs: number; readonly clock: Clock; readonly signal?: AbortSignal | undefined },
): Promise<T> {
  const deadlineMs = clock.monotonicMs() + patienceMs
  for (let gapMs = 2 * FIRST_GAP_MS; ; gapMs = Math.min(LONGEST_GAP_MS, gapMs * 1.5)) {
    try {
      return await ask()
    } catch (error) {
      if (!hasCode(error, 'network', 'timeout') || clock.monotonicMs() + gapMs > deadlineMs) throw error
    }
    await clock.sleep(gapMs, signal)
  }
}

const impostor = (why: string) =>
  new LandfallError('host_key', why, {
    hint: 'If you rebuilt this server by hand, rebuild it with Landfall, which pins the new key: bun scripts/provision.ts rebuild --plan; if not, somebody is in between.',
  })

const refused = (why: string) =>
  new LandfallError('forbidden', why, {
    hint: 'Check with ssh-add -l which keys are offered, and that one of them is in the estate.',
  })

const late = (name: string, timeoutMs: number, why: string) =>
  new LandfallError('timeout', `${name} was not ready for SSH within ${Math.round(timeoutMs / 1000)} s: ${why}`, {
    hint: 'Look at the server’s console at the vendor, then run the same command again.',
  })
