/**
 * The lock on a stack. A process on the host holds an flock for as long as somebody reads what it writes, so it ends by itself
 * within seconds when this process does, even by kill -9, and nobody has to judge whether the holder still lives.
 */

import type { Clock } from '../../engine/clock.ts'
import { hasCode, LandfallError } from '../../errors.ts'
import type { HeldStack, StackPlace } from '../ports/docker.ts'
import type { ProgramResult } from '../ports/machine.ts'
import type { RunProgram } from './docker.ts'

export interface HoldOptions {
  readonly attempt: RunProgram
  readonly place: Pick<StackPlace, 'project'>
  readonly runId: string
  readonly who: string
  readonly host: string
  readonly signal: AbortSignal
  readonly clock: Clock
}

/** A killed run's holder notices within about two seconds; over SSH it takes a moment more. */
const WAIT_S = 8
const BUSY = 75

/** @throws locked, naming the holder */
export async function holdStack(options: HoldOptions): Promise<HeldStack> {
  const { attempt, runId, who, host, signal, place } = options
  const ending = new AbortController()
  let ended: ProgramResult | undefined
  const holding = attempt('stack-hold', { RUN: runId, WHO: who, WAIT_S: String(WAIT_S) }, ending.signal).then(
    result => {
      ended = result
    },
    error => {
      // Ended by us: that is how it is released.
      if (!hasCode(error, 'cancelled')) throw error
    },
  )
  // It takes its time only while another run holds the lock, or an action of a killed one still ends.
  while (ended === undefined) {
    const seen = await Promise.race([attempt('stack-held', { RUN: runId, TRIES: '200' }, signal), holding])
    if (seen?.exitCode === 0) {
      return {
        async release() {
          await attempt('stack-release', { RUN: runId })
          ending.abort()
          await holding
        },
      }
    }
  }
  if (ended.exitCode !== BUSY) {
    throw new LandfallError('vendor', `The lock of stack ${place.project} on ${host} could not be taken: ${ended.stderr.trim()}`)
  }
  const holder = /holder=(\S+)/.exec(ended.stdout)?.[1]
  const [, ...words] = Buffer.from(holder ?? '', 'base64')
    .toString('utf8')
    .trim()
    .split(' ')
  throw new LandfallError('locked', `Another run works on stack ${place.project} on ${host}: ${words.join(' ') || 'unknown'}.`, {
    hint: 'Wait until it has ended, then run the same command again. The lock goes with its holder; nothing has to be deleted by hand.',
  })
}
