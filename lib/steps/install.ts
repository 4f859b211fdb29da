/** An installation on a server: one unit there, which goes on without us, is attached to again, and tells what stopped it. */

import { hasCode, LandfallError } from '../errors.ts'
import type { ProgramName } from '../estate/programs.ts'
import type { ProgramInput, Target } from '../providers/ports/machine.ts'
import type { Deps } from './deps.ts'
import { parseFactLines, runProgram } from './machine.ts'

type InstallDeps = Pick<Deps, 'machines' | 'programs' | 'clock'>

export interface Installation {
  /** What is installed, in a sentence. */
  readonly what: string
  readonly start: ProgramName
  readonly watch: ProgramName
  readonly input: ProgramInput
}

const INSTALL_TIMEOUT_MS = 20 * 60_000
const POLL_MS = 2_000
/** A reboot, or a network that comes back. */
const SILENCE_MS = 2 * 60_000

/** Starts it, or attaches to one that is under way, and sees it to its end. @throws LandfallError unhealthy | timeout | network */
export async function install(
  deps: InstallDeps,
  target: Target,
  { what, start: startProgram, watch, input }: Installation,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const start = () => runProgram(deps, target, startProgram, input, signal)
  const deadlineMs = deps.clock.monotonicMs() + INSTALL_TIMEOUT_MS
  const patiently = createPatience(deps, target, log)
  let begun = (await patiently(start)) !== undefined
  for (;;) {
    const text = await patiently(() => runProgram(deps, target, watch, {}, signal))
    const { unit, stage } = parseFactLines(text ?? '')
    if (unit === 'done') return
    if (unit === 'absent') {
      if (begun) log('the server restarted: the installation goes on where it was')
      begun = (await patiently(start)) !== undefined || begun
    }
    if (unit === 'failed') {
      const words = (text ?? '')
        .split('\n')
        .flatMap(line => (line.startsWith('log ') ? [Buffer.from(line.slice(4), 'base64').toString('utf8')] : []))
      throw new LandfallError(
        'unhealthy',
        `Installing ${what} on ${target.name} failed in the stage "${stage}".\n${words.slice(-10).join('\n')}`,
        {
          hint: 'Mend what the last lines name, then run the same command again: it goes on at this stage.',
        },
      )
    }
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError(
        'timeout',
        `Installing ${what} on ${target.name} is still in the stage "${stage}" after ${INSTALL_TIMEOUT_MS / 60_000} minutes.`,
        {
          hint: 'It goes on by itself on the server: run the same command again to watch it.',
        },
      )
    if (stage) log(`installing: ${stage}`)
    await deps.clock.sleep(POLL_MS, signal)
  }
}

/**
 * Asks a server whose installation goes on without us. One that restarts, or whose network is cut, does not answer for a while: then there
 * is no answer this time. Only for programs that may be sent again.
 * @throws LandfallError network or timeout when there was none for two minutes
 */
function createPatience(deps: Pick<InstallDeps, 'clock'>, target: Target, log: (line: string) => void) {
  let answeredMs = deps.clock.monotonicMs()
  return async (ask: () => Promise<string>): Promise<string | undefined> => {
    try {
      const answer = await ask()
      answeredMs = deps.clock.monotonicMs()
      return answer
    } catch (error) {
      if (!hasCode(error, 'network', 'timeout') || deps.clock.monotonicMs() - answeredMs > SILENCE_MS) throw error
      log(`${target.name} does not answer at the moment; its installation goes on without us`)
      return undefined
    }
  }
}
