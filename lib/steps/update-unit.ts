/**
 * An update is one unit on the machine that goes on when the connection ends, looks at the service afterwards, and puts back what was
 * there before when it is not healthy.
 */

import { LandfallError } from '../errors.ts'
import type { ServiceSpec } from '../estate/service.ts'
import type { ProgramInput, Target } from '../providers/ports/machine.ts'
import type { Deps } from './deps.ts'
import { parseFactLines, runProgram } from './machine.ts'

type UnitDeps = Pick<Deps, 'machines' | 'programs' | 'clock'>

const POLL_MS = 2_000
/** Longer than the units themselves may take. */
const TIMEOUT_MS = 65 * 60_000
const LOG_LINES_IN_ERROR = 6

export interface Update {
  readonly kind: 'service' | 'system'
  readonly input: ProgramInput
  readonly signal: AbortSignal
  readonly log: (line: string) => void
}

/** An update of the service's code, to the head of the branch unless a revision is named. */
export const serviceUpdate = (
  { branch, port, health }: ServiceSpec,
  { revision = '', isRollback = false }: { readonly revision?: string; readonly isRollback?: boolean } = {},
): Pick<Update, 'kind' | 'input'> => ({
  kind: 'service',
  input: { REVISION: revision, BRANCH: branch, PORT: String(port), HEALTH: health, BACK: isRollback ? 'yes' : 'no' },
})

/** Starts the unit, or joins the one that runs, and follows it to its end. @throws unhealthy | vendor | timeout */
export async function runUpdate(deps: UnitDeps, target: Target, { kind, input, signal, log }: Update): Promise<void> {
  const started = await deps.machines.run(target, deps.programs[`start-${kind}-update`], input, signal)
  if (started.exitCode !== 0)
    throw new LandfallError('vendor', `The update on ${target.name} did not start: ${started.stderr.trim().split('\n').at(-1)}`, {
      hint: 'bun scripts/service.ts status',
    })
  if (started.stdout.includes('unit=running')) log('joining the update that runs already')
  const deadlineMs = deps.clock.monotonicMs() + TIMEOUT_MS
  let told = 0
  for (;;) {
    const text = await runProgram(deps, target, 'watch-update', { KIND: kind }, signal)
    const { unit, stage, result = 'none' } = parseFactLines(text)
    const lines = text
      .split('\n')
      .flatMap(line => (line.startsWith('log ') ? [Buffer.from(line.slice(4), 'base64').toString('utf8')] : []))
    for (const line of lines.slice(told)) log(line)
    told = Math.max(told, lines.length)
    if (unit === 'done' || unit === 'failed' || unit === 'absent') {
      if (result === 'updated' || result === 'unchanged') return
      throw failure(target.name, kind, unit === 'absent' ? 'interrupted' : result, lines)
    }
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError(
        'timeout',
        `The update on ${target.name} is still at "${stage}" after ${TIMEOUT_MS / 60_000} minutes.`,
        {
          hint: 'Run the same command again: it joins the update.',
        },
      )
    await deps.clock.sleep(POLL_MS, signal)
  }
}

const OUTCOMES: Readonly<Record<string, string>> = {
  returned: 'was not healthy, so what ran before runs again',
  unhealthy: 'was not healthy, and what ran before does not become healthy either',
  failed: 'could not be made; what ran before was not touched',
  interrupted: 'was ended by a restart of the server',
  none: 'was ended before it was over',
}

const failure = (name: string, kind: 'service' | 'system', result: string, lines: readonly string[]): LandfallError =>
  new LandfallError(
    result === 'failed' ? 'vendor' : 'unhealthy',
    `The update of the ${kind} on ${name} ${OUTCOMES[result] ?? OUTCOMES.none}${lines.length > 0 ? `: ${lines.slice(-LOG_LINES_IN_ERROR).join('; ')}` : '.'}`,
    { hint: kind === 'service' ? 'Its log: bun scripts/service.ts logs' : 'Correct nixos/, then run the same command again.' },
  )
