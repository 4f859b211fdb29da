/** The one way in which plans are shown, agreed to and run: look, preview, confirm, act, look again. */

import { type Ahead, describeHost } from './compose.ts'
import { costNow } from './ending.ts'
import type { Journal } from './engine/journal.ts'
import type { HeldLock } from './engine/lock.ts'
import { isCoveredBy, isEmpty, makePlan, type Plan, slicesOf } from './engine/plan.ts'
import { World } from './engine/world.ts'
import { exitCodeOfRun, hasCode, LandfallError } from './errors.ts'
import { renderAmount } from './estate/cost.ts'
import type { Estate } from './estate/estate.ts'
import { isOurs } from './estate/labels.ts'
import { clearDeadLock, takeLock } from './estate-lock.ts'
import { findForeignProject } from './identity.ts'
import type { Opened, Session } from './script.ts'
import { shownIn } from './shown.ts'
import type { Deps, EstateStep } from './steps/deps.ts'
import type { EstateWorld } from './steps/world.ts'
import type { Summary } from './ui/types.ts'
import { commandLine, viewOf } from './view.ts'

export interface Convergence {
  readonly steps: (deps: Deps, world: World<EstateWorld>) => readonly EstateStep[]
  /** The first look, where it has begun. */
  readonly ahead?: Ahead
  /** Slices to read besides the steps' own, for the end's report. */
  readonly alsoRead?: readonly (keyof EstateWorld)[]
  /** The steps are a selection of the estate's: needs outside it count as met. */
  readonly partial?: boolean
  /** What the operator must name before something is destroyed. */
  readonly confirmName?: string
  /** Further names of that kind: what is protected asks for a word of its own. */
  readonly alsoConfirm?: readonly string[]
  /** For what must work while the cloud is down: it goes on without the lock. Called when the cloud is given up, to end what still tries. */
  readonly withoutLock?: () => void
  /** Deps that differ from the composition's. */
  readonly deps?: Deps
  /** Told what was found, before any plan is shown. */
  readonly onLook?: (steps: readonly EstateStep[], world: World<EstateWorld>) => void
  /** Outputs and lines for the end, from the world as it then is. */
  readonly report?: (world: World<EstateWorld>, estate: Estate) => Partial<Pick<Summary, 'outputs' | 'notes' | 'next'>>
}

/** Longer than this between the look and the lock, and the world is looked at again: another run may have come and gone. */
const RELOOK_AFTER_MS = 1_000

/** What a monthly cap is about. */
const BILLED = ['servers', 'serverTypes', 'pricing', 'loadBalancers'] as const

const EXIT = { done: 0, planned: 2, refused: 3, interrupted: 130 } as const

/** Shows the plan and, when it is agreed to, carries it out. Answers with the exit code. */
export async function converge(session: Session, opened: Opened, convergence: Convergence): Promise<number> {
  const { args, reporter } = session
  const { composition, estate } = opened
  const deps = convergence.deps ?? composition.deps
  const order = { partial: convergence.partial ?? false }
  const read = async (world = new World(composition.readers)) => {
    const steps = convergence.steps(deps, world)
    await world.look([...slicesOf(steps), ...(convergence.alsoRead ?? []), ...(estate.monthlyCapNet === undefined ? [] : BILLED)])
    return { world, steps, plan: makePlan(steps, world, order) }
  }

  const { ahead } = convergence
  ahead?.check()
  let lookedAtMs = ahead?.begunAtMs ?? deps.clock.monotonicMs()
  const looking = read(ahead?.world)
  if (!args.plan) composition.warmUp()
  let current = await looking
  await refuseForeignProject(session, opened, current.world)
  convergence.onLook?.(current.steps, current.world)
  const empty = isEmpty(current.plan)
  if (!empty || args.plan) reporter.plan(viewOf(opened, current.plan, current.world, deps.admin))
  if (current.plan.refusals.length > 0) {
    adviseFreshWorld(session)
    return finish(session, opened, convergence, current, { ok: false, applied: 0 }, EXIT.refused)
  }
  if (args.plan) return finish(session, opened, convergence, current, { ok: true, applied: 0 }, empty ? EXIT.done : EXIT.planned)
  const needsWrites = current.plan.changes > 0 || current.plan.later.length > 0
  if (!needsWrites && !convergence.withoutLock) await clearDeadLock(session, opened)
  if (empty) return finish(session, opened, convergence, current, { ok: true, applied: 0 }, EXIT.done)

  checkCap(estate, current)
  await confirmPlan(session, convergence, current.plan)
  if (needsWrites) await probeRights(deps, current)
  const { withoutLock } = convergence
  const take = () => (withoutLock ? takeLockIfReachable(session, opened, withoutLock) : takeLock(session, opened))
  const lock = needsWrites ? await take() : undefined
  let ended: Ended
  try {
    if (deps.clock.monotonicMs() - lookedAtMs > RELOOK_AFTER_MS) {
      lookedAtMs = deps.clock.monotonicMs()
      const agreed = current.plan
      current = await read()
      // A machine that booted meanwhile leaves less to do; anything more was not agreed to.
      if (!isCoveredBy(current.plan, agreed)) agreeAgain(session, opened, deps, current, agreed)
    }
    ended = await act(session, opened, convergence, current, lock)
  } finally {
    await lock?.release()
  }
  // After the lock is gone: its release is one of the requests that the summary counts.
  return finish(session, opened, convergence, current, ended, ended.code)
}

/** A kept sandbox holds what earlier rehearsals made, of other estates too. */
function adviseFreshWorld({ args: { sandbox, ...args }, manual, reporter }: Session): void {
  if (sandbox !== 'kept') return
  const command = commandLine({ args, manual }, '--sandbox=fresh')
  reporter.warning(`This sandbox holds what earlier rehearsals have made. To rehearse in an empty one: ${command}`)
}

/**
 * Whoever said `--yes` agreed to whatever is needed but destroys nothing, so the new plan is shown and carried out.
 * @throws LandfallError refused, when somebody read the old one, or the new one refuses or destroys something else; over_cap
 */
function agreeAgain(
  { args, reporter }: Session,
  opened: Opened,
  deps: Pick<Deps, 'admin'>,
  now: Looked,
  agreed: Plan<EstateWorld>,
): void {
  const known = new Set(agreed.destructive.map(each => `${each.stepId} ${each.summary}`))
  const isSafe = now.plan.refusals.length === 0 && now.plan.destructive.every(each => known.has(`${each.stepId} ${each.summary}`))
  if (!args.yes || !isSafe)
    throw new LandfallError('refused', 'Nothing was changed: the world is no longer as it was when the plan was shown.', {
      hint: 'Run the same command again: it shows the new plan.',
    })
  reporter.warning('The world has changed since the plan was made. The new plan is carried out:')
  reporter.plan(viewOf(opened, now.plan, now.world, deps.admin))
  checkCap(opened.estate, now)
}

interface Ended {
  readonly ok: boolean
  readonly applied: number
  readonly code: number
}

interface Looked {
  readonly world: World<EstateWorld>
  readonly steps: readonly EstateStep[]
  readonly plan: Plan<EstateWorld>
}

async function act(
  session: Session,
  opened: Opened,
  convergence: Convergence,
  { world, steps, plan }: Looked,
  lock: HeldLock | undefined,
): Promise<Ended> {
  const { reporter } = session
  const { composition } = opened
  composition.guardWrites(async () => {
    if (session.signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
    await lock?.confirm()
  })
  const journal = await openJournalOf(session, opened)
  const { runSteps } = await import('./engine/runner.ts')
  // From the second look on nothing is written any more, so others need not wait for it. A failed release is tried again at the end.
  const releaseEarly = (state: 'started' | 'done' | 'failed') => {
    if (state === 'started') lock?.release().catch(() => undefined)
  }
  try {
    const result = await runSteps({
      steps,
      world,
      plan,
      partial: convergence.partial ?? false,
      clock: composition.deps.clock,
      ...shownIn(session, journal, 'estate', { onVerify: ({ state }) => releaseEarly(state) }),
    })
    const { outcome, applied } = result
    const failures = [result.error, ...result.others].filter(error => error !== undefined)
    for (const error of failures) reporter.error(error)
    if (outcome === 'interrupted')
      reporter.warning(
        session.args.sandbox === 'fresh'
          ? `Interrupted. What was done stays; to go on from here: ${commandLine(session)}`
          : 'Interrupted. What was done stays; run the same command again to go on from here.',
      )
    const code = outcome === 'interrupted' ? EXIT.interrupted : outcome === 'failed' ? exitCodeOfRun(failures) : EXIT.done
    return { ok: code === 0, applied, code }
  } finally {
    await journal.flush()
  }
}

/** An estate's cap is a refusal before the first write: what is there and what the plan adds, together. */
function checkCap(estate: Estate, { world, plan }: Looked): void {
  if (estate.monthlyCapNet === undefined || plan.monthlyNet <= 0) return
  const monthlyNet = (costNow(estate, world)?.monthly.net ?? 0) + plan.monthlyNet
  if (monthlyNet <= estate.monthlyCapNet) return
  throw new LandfallError(
    'over_cap',
    `With this plan the estate costs ${renderAmount(monthlyNet)} a month net; config.json caps it at ${renderAmount(estate.monthlyCapNet)}.`,
    { hint: 'Raise cost.monthly_cap in config.json, or choose smaller types.' },
  )
}

async function confirmPlan(
  session: Session,
  { confirmName, alsoConfirm = [] }: Convergence,
  plan: Plan<EstateWorld>,
): Promise<void> {
  const { args, ask, interactive } = session
  const destroys = plan.destructive.length > 0
  const own = plan.destructive.flatMap(each => each.confirm ?? [])
  const names = destroys && confirmName !== undefined ? [...new Set([confirmName, ...alsoConfirm, ...own])] : []
  const unsaid = names.filter(name => !args.confirm.includes(name))
  if (unsaid.length > 0) {
    if (!interactive)
      throw new LandfallError('refused', `This destroys: ${plan.destructive.map(each => each.summary).join('; ')}.`, {
        hint: `If that is what you want: ${commandLine(session, '--yes', ...names.map(name => `--confirm ${name}`))}`,
      })
    for (const name of unsaid) {
      const typed = await ask.text({ flag: `--confirm ${name}`, message: `This destroys. Type "${name}" to go on` })
      if (typed.trim() !== name) throw new LandfallError('refused', 'The name did not match. Nothing was changed.')
    }
    return
  }
  if (args.yes) return
  if (!interactive)
    throw new LandfallError('usage', 'There is no terminal to ask on whether this plan may be carried out.', {
      hint: `Say it with a flag: ${commandLine(session, '--yes')}`,
    })
  const agreed = await ask.confirm({ flag: '--yes', message: destroys ? 'Destroy this?' : 'Carry this out?', default: !destroys })
  if (!agreed) throw new LandfallError('cancelled', 'Nothing was changed.')
}

/** The lock's creation proves the right to write at the cloud; the zone's has to be asked. */
async function probeRights(deps: Deps, { world, plan }: Looked): Promise<void> {
  const zone = world.has('zone') ? world.get('zone') : undefined
  const writesDns = plan.entries.some(
    ({ step, finding }) => (step.noun === 'dns' || step.reads.includes('zone')) && finding.state !== 'done',
  )
  if (zone && writesDns) await deps.dns.probeWrite(zone.id)
}

const LOCK_PATIENCE_MS = 3_000
const TOKEN_CODES = ['token_missing', 'token_invalid', 'token_readonly'] as const

/** Another run that is alive still ends this one; a cloud that does not answer, or may not give a lock, does not. */
async function takeLockIfReachable(session: Session, opened: Opened, giveUp: () => void): Promise<HeldLock | undefined> {
  const { clock } = opened.composition.deps
  const taking = takeLock(session, opened)
  const late = Symbol('late')
  try {
    const lock = await Promise.race([taking, clock.sleep(LOCK_PATIENCE_MS, session.signal).then(() => late)])
    if (typeof lock !== 'symbol') return lock
    // One that comes after all is given back at once.
    taking.then(each => each.release()).catch(() => undefined)
    giveUp()
  } catch (error) {
    if (!hasCode(error, 'network', 'timeout', 'vendor', 'rate_limited', 'limit', 'forbidden', ...TOKEN_CODES)) throw error
  }
  session.reporter.warning('The cloud gives no lock, so this goes on without: see that nobody else runs Landfall now.')
  return undefined
}

async function openJournalOf(session: Session, { composition, directory }: Opened): Promise<Journal> {
  const { openJournal } = await import('./engine/journal.ts')
  return openJournal(directory, {
    clock: composition.deps.clock,
    runId: composition.runId,
    command: commandLine(session),
    who: describeHost().who,
    version: session.version,
    clean: session.clean,
  })
}

/** Another word than an estate's name, which whoever destroys says anyway. */
const NO_SERVERS = 'no-servers'

async function refuseForeignProject(session: Session, opened: Opened, world: World<EstateWorld>): Promise<void> {
  const { estate } = opened
  const foreign = findForeignProject(estate.name, world)
  if (!foreign || session.args.confirm.includes(NO_SERVERS)) return
  // A rebuild that was left between the old servers and the new ones goes on, in the project that has what guards them.
  const guarded = world.has('firewalls') && world.get('firewalls').some(each => isOurs(each.labels, estate.name))
  const [{ latest }, { oldServerStepId }] = await Promise.all([openJournalOf(session, opened), import('./steps/server.ts')])
  if (guarded && foreign.servers.every(name => latest([oldServerStepId(name), `server ${name}`])?.kind === 'destroy')) return
  throw new LandfallError('refused', foreign.why, {
    hint:
      'Use the API token of the project that holds this estate. If it has no servers any more, because you removed them: ' +
      commandLine(session, `--confirm ${NO_SERVERS}`),
  })
}

/** Changes that the plan showed as "later", without waits. */
const announced = ({ later }: Plan<EstateWorld>): number =>
  later.flatMap(each => each.changes).filter(change => change.kind !== 'wait').length

function finish(
  session: Session,
  opened: Opened,
  convergence: Convergence,
  { world, plan }: Looked,
  result: { readonly ok: boolean; readonly applied: number },
  code: number,
): number {
  const { composition, estate, simulated } = opened
  const report = code === EXIT.done ? convergence.report?.(world, estate) : undefined
  session.reporter.summary({
    ok: result.ok,
    changes: plan.changes + announced(plan),
    applied: result.applied,
    durationMs: session.elapsedMs(),
    requests: composition.meter.snapshot(),
    outputs: report?.outputs ?? {},
    notes: report?.notes ?? [],
    ...(report?.next ? { next: report.next } : {}),
    simulated,
  })
  return code
}
