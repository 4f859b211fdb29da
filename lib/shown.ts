/** How a run of steps is shown and told in a session, whatever the steps are about. */

import type { Journal } from './engine/journal.ts'
import type { RunEvents, RunOptions } from './engine/runner.ts'
import type { Session } from './script.ts'

type Shown = Pick<RunOptions<unknown>, 'signal' | 'journal' | 'display' | 'terminal' | 'clean' | 'typical' | 'events'>

/** What `runSteps` takes from the session. `told`: who else is told; the lines of a log only where no list is drawn. */
export function shownIn(
  { reporter, terminal, interactive, signal, clean }: Session,
  journal: Journal,
  noun: string,
  told: Pick<RunEvents, 'onLog' | 'onVerify'> = {},
): Shown {
  const common = { signal, journal, clean, typical: journal.typicalMs, ...(terminal ? { terminal } : {}) }
  if (interactive && terminal !== undefined)
    return { ...common, display: 'list', events: told.onVerify ? { onVerify: told.onVerify } : {} }
  return {
    ...common,
    display: 'silent',
    events: {
      ...told,
      onStep: event => reporter.step(event),
      onVerify: event => {
        told.onVerify?.(event)
        const title = 'the second look finds everything as wanted'
        reporter.step({ id: 'verification', noun, title, state: event.state, elapsedMs: event.elapsedMs })
      },
    },
  }
}
