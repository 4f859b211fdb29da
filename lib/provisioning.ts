/** The servers of an estate made or taken away: the look begins at once, and what the plan needs loads while the answers are under way. */

import { aheadOfDestroy, aheadOfServers } from './ahead.ts'
import type { Convergence } from './converge.ts'
import type { Opened, Session } from './script.ts'
import { withEveryAddress } from './steps/world.ts'

/** Servers and what they are made with. */
export async function provisionServers(session: Session, opened: Opened): Promise<number> {
  const { estate, composition } = opened
  const { readsNames } = composition.deps
  const ahead = composition.lookAhead(aheadOfServers(estate, readsNames))
  const [{ converge }, { endingOf }, { provisionSteps }] = await Promise.all([
    import('./converge.ts'),
    import('./ending.ts'),
    import('./steps/estate.ts'),
  ])
  return converge(session, opened, {
    ahead,
    steps: deps => provisionSteps(deps),
    alsoRead: readsNames ? ['records'] : [],
    partial: true,
    confirmName: estate.name,
    report: endingOf(session),
  })
}

/** Everything that carries the estate's mark. */
export async function destroyEstate(session: Session, opened: Opened, report: Pick<Convergence, 'report'> = {}): Promise<number> {
  const { estate, directory } = opened
  const readers = withEveryAddress(opened.composition.readers, opened.composition.deps.cloud)
  const composition = { ...opened.composition, readers }
  const ahead = composition.lookAhead(aheadOfDestroy(estate), readers)
  const [{ converge }, { openMoveStore }, { destroySteps, protectedNames }] = await Promise.all([
    import('./converge.ts'),
    import('./cutover/store.ts'),
    import('./steps/destroy.ts'),
  ])
  return converge(
    session,
    { ...opened, composition },
    {
      ahead,
      steps: deps => destroySteps({ ...deps, store: openMoveStore(directory) }),
      confirmName: estate.name,
      alsoConfirm: protectedNames(estate),
      ...report,
    },
  )
}
