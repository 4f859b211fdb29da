/** The estate's lock as commands take it: who holds it is told, and a token that may only read is named. */

import { describeHost } from './compose.ts'
import type { HeldLock } from './engine/lock.ts'
import { hasCode, LandfallError } from './errors.ts'
import type { Opened, Session } from './script.ts'
import type { Deps } from './steps/deps.ts'
import { commandLine } from './view.ts'

const TOKENS = {
  hetzner: {
    token: 'HCLOUD_TOKEN',
    make: 'Make one in Hetzner Console → project → Security → API tokens with permission "Read & Write"',
  },
  digitalocean: {
    token: 'DIGITALOCEAN_TOKEN',
    make: 'Make one at cloud.digitalocean.com → API → Tokens with full access',
  },
} as const satisfies Record<Deps['cloud']['vendor'], { readonly token: string; readonly make: string }>

/**
 * Makes this run the only one that changes the estate.
 * @throws LandfallError locked | token_readonly, and what the vendor refuses
 */
export async function takeLock(session: Session, { composition, estate }: Opened): Promise<HeldLock> {
  const { holdLock } = await import('./engine/lock.ts')
  const { deps, locks, runId } = composition
  const lock = await holdLock({
    locks,
    estate: estate.name,
    runId,
    command: commandLine(session),
    host: describeHost(),
    clock: deps.clock,
    signal: session.signal,
    log: line => session.reporter.log(line),
  }).catch((error: unknown) => {
    if (!hasCode(error, 'forbidden')) throw error
    // The lock is the first write of a run: a token that was good until here and may not make it may only read.
    const { token, make } = TOKENS[deps.cloud.vendor]
    throw new LandfallError('token_readonly', `${token} may only read, so nothing was changed.`, {
      hint: `${make}, and set ${token} to it.`,
      ...(error.correlationId ? { correlationId: error.correlationId } : {}),
      cause: error,
    })
  })
  if (lock.tookOverFrom) session.reporter.warning(`Took over from the run of ${lock.tookOverFrom.who}, which is gone.`)
  return lock
}

/** A run without a write takes no lock; one that a killed run left behind would stay for good. */
export async function clearDeadLock(session: Session, opened: Opened): Promise<void> {
  const { locks } = opened.composition
  try {
    if (locks.seen(opened.estate.name) === false || !(await locks.find(opened.estate.name))) return
    const lock = await takeLock(session, opened)
    await lock.release()
  } catch (error) {
    // Its holder lives, or this token may not write, or nobody answers: whoever writes next sees to it.
    if (!(error instanceof LandfallError)) throw error
  }
}
