/** `stack.ts deploy` and `rollback`: look, preview, confirm, act under the hosts' locks, look again, tell whoever wants to know. */

import { randomUUID } from 'node:crypto'
import { systemClock } from '../../engine/clock.ts'
import { openJournal } from '../../engine/journal.ts'
import { isEmpty, makePlan, type Plan, slicesOf } from '../../engine/plan.ts'
import { runSteps } from '../../engine/runner.ts'
import { World } from '../../engine/world.ts'
import { exitCodeOfRun, LandfallError } from '../../errors.ts'
import { nearest } from '../../estate/near.ts'
import { didYouMean, listed, quoted } from '../../estate/words.ts'
import type { HeldStack } from '../../providers/ports/docker.ts'
import { flagValues, hasFlag, type Session } from '../../script.ts'
import { shownIn } from '../../shown.ts'
import { stackSteps } from '../../steps/stack.ts'
import { type StackWorld, stackReaders, type Wish } from '../../steps/stack-world.ts'
import type { PlanView } from '../../ui/types.ts'
import { commandLine, entriesOf } from '../../view.ts'
import { rollbackTarget } from '../model.ts'
import { refuseFaults } from './audit.ts'
import { notify } from './notify.ts'
import { type OpenedHosts, type OpenedStack, openHosts, stackDirectory, whoAmI } from './open.ts'

const EXIT = { done: 0, planned: 2, refused: 3, interrupted: 130 } as const

/** Deploys, or goes back to a recorded release. Answers with the exit code. */
export async function runRollout(session: Session, opened: OpenedStack, kind: Wish['kind']): Promise<number> {
  if (kind === 'deploy') await refuseFaults(session, opened)
  const hosts = await openHosts(session, opened)
  try {
    return await rollOutOn(session, opened, hosts, kind)
  } finally {
    await hosts.close()
  }
}

async function rollOutOn(
  session: Session,
  opened: OpenedStack,
  { hosts, meter }: OpenedHosts,
  kind: Wish['kind'],
): Promise<number> {
  const { args, reporter, signal } = session
  const { stack, environment } = opened
  const runId = `${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')}-${randomUUID().slice(0, 8)}`
  const listedServices = stack.services.filter(name => name !== stack.nginx.service)
  const named = namesOf(session, stack.services)
  const rolled = named.length === 0 ? listedServices : listedServices.filter(name => named.includes(name))
  const wish: Wish =
    kind === 'rollback'
      ? { kind, release: flagValues(session, 'release')[0] }
      : {
          kind,
          leave: listedServices.filter(name => !rolled.includes(name)),
          images: imagesOf(session, stack.services),
          pull: !args.plan && !hasFlag(session, 'no-pull'),
        }
  const roles = { rolled, nginx: stack.nginx.service, fixed: [] as readonly string[] }
  const reading = {
    project: stack.project,
    hosts,
    roles,
    wish,
    signal,
    rollbackTarget: (view: { state: Parameters<typeof rollbackTarget>[0] }, release: string | undefined) =>
      rollbackTarget(view.state, release),
  }
  const stepsFor = (world: World<StackWorld>) => {
    const services = world.get(hosts[0]?.key ?? '').resolved.services
    const fixed = Object.keys(services).filter(name => !stack.services.includes(name))
    const absent = rolled.filter(name => !(name in services))
    if (absent.length > 0)
      throw new LandfallError(
        'config',
        `${listed(absent)} of the deploy list ${absent.length === 1 ? 'is' : 'are'} not in ${opened.shown(opened.composePath)}${didYouMean(absent[0] ?? '', Object.keys(services)) || '.'}`,
        {
          hint: commandLine({
            ...session,
            args: { ...args, action: 'audit', names: [], plan: false, flags: onlyPlace(args.flags) },
          }),
        },
      )
    return stackSteps({
      project: stack.project,
      hosts,
      wish,
      confirmed: args.confirm,
      selected: named.length > 0,
      tools: {
        roles: { ...roles, fixed },
        clock: systemClock,
        runId,
        who: whoAmI(),
        startMs: stack.startS * 1000,
        drainMs: stack.drainS * 1000,
      },
    })
  }
  const read = async () => {
    const world = new World(stackReaders(reading))
    await world.look(hosts.map(({ key }) => key))
    const steps = stepsFor(world)
    await world.look([...slicesOf(steps)].map(String))
    return { world, steps, plan: makePlan(steps, world) }
  }
  const finish = (code: number, plan: Plan<StackWorld>, applied: number, world: World<StackWorld>): number => {
    const releases = hosts.map(({ key }) => world.get(key).state.history.at(-1)?.id ?? 'none')
    reporter.summary({
      ok: code === EXIT.done || code === EXIT.planned,
      changes: plan.changes,
      applied,
      durationMs: session.elapsedMs(),
      requests: meter.snapshot(),
      outputs: {
        environment: environment.name,
        hosts: hosts.map(({ docker }) => docker.name).join(', '),
        release: [...new Set(releases)].join(', '),
      },
      notes:
        code === EXIT.done && applied > 0 && hosts.every(({ key }) => world.get(key).state.history.length > 1)
          ? [
              {
                label: 'undo',
                text: commandLine({ ...session, args: { ...args, action: 'rollback', names: [], flags: onlyPlace(args.flags) } }),
              },
            ]
          : [],
      ...(code === EXIT.planned ? { next: commandLine({ ...session, args: { ...args, plan: false } }) } : {}),
      simulated: [],
    })
    return code
  }

  const locks: HeldStack[] = []
  const hold = async () => {
    for (const { docker } of hosts) locks.push(await docker.hold(runId, whoAmI(), signal))
  }
  try {
    // Where nobody is asked between the look and the first change, one look under the lock is enough.
    if (args.yes && !args.plan) await hold()
    let current = await read()
    warnAboutImages(
      session,
      hosts.map(({ key }) => current.world.get(key)),
    )
    const empty = isEmpty(current.plan)
    if (!empty || args.plan)
      reporter.plan(
        viewOf(current.plan, `stack ${stack.name}, ${environment.name}, on ${listed(hosts.map(({ docker }) => docker.name))}`),
      )
    if (current.plan.refusals.length > 0) return finish(EXIT.refused, current.plan, 0, current.world)
    if (args.plan || empty) return finish(empty ? EXIT.done : EXIT.planned, current.plan, 0, current.world)
    if (locks.length === 0) {
      await agree(session, current.plan)
      await hold()
      // Another run may have come and gone between the look and the lock.
      const agreed = current.plan
      current = await read()
      if (current.plan.digest !== agreed.digest)
        throw new LandfallError('refused', 'Nothing was changed: the stack is no longer as it was when the plan was shown.', {
          hint: 'Run the same command again: it shows the new plan.',
        })
    }
    const result = await act(session, opened, runId, current)
    const ok = result.outcome === 'done' || result.outcome === 'nothing'
    await notify(session, {
      stack: stack.name,
      environment: environment.name,
      kind,
      ok,
      who: whoAmI(),
      seconds: result.durationMs / 1000,
      ...(ok ? {} : { why: result.error === undefined ? 'it was interrupted; the stack serves' : sentence(result.error) }),
    })
    const failed = exitCodeOfRun([result.error, ...result.others])
    const code = result.outcome === 'interrupted' ? EXIT.interrupted : result.outcome === 'failed' ? failed : EXIT.done
    return finish(code, current.plan, result.applied, current.world)
  } finally {
    for (const lock of locks) await lock.release()
  }
}

async function act(
  session: Session,
  opened: OpenedStack,
  runId: string,
  { world, steps, plan }: { world: World<StackWorld>; steps: ReturnType<typeof stackSteps>; plan: Plan<StackWorld> },
) {
  const { reporter } = session
  const journal = await openJournal(stackDirectory(opened), {
    clock: systemClock,
    runId,
    command: commandLine(session),
    who: whoAmI(),
    version: session.version,
    clean: session.clean,
  })
  try {
    const result = await runSteps({
      steps,
      world,
      plan,
      clock: systemClock,
      ...shownIn(session, journal, 'stack', { onLog: ({ line }) => reporter.log(line) }),
    })
    for (const error of [result.error, ...result.others]) if (error !== undefined) reporter.error(error)
    if (result.outcome === 'interrupted')
      reporter.warning('Interrupted. The stack serves; run the same command again to finish or take back what was begun.')
    return result
  } finally {
    await journal.flush()
  }
}

async function agree(session: Session, plan: Plan<StackWorld>): Promise<void> {
  const { ask, interactive } = session
  if (!interactive)
    throw new LandfallError('usage', 'There is no terminal to ask on whether this plan may be carried out.', {
      hint: `Say it with a flag: ${commandLine(session, '--yes')}`,
    })
  const destroys = plan.destructive.length > 0
  if (!(await ask.confirm({ flag: '--yes', message: destroys ? 'Stop these services?' : 'Carry this out?', default: !destroys })))
    throw new LandfallError('cancelled', 'Nothing was changed.')
}

function warnAboutImages({ reporter }: Session, views: readonly StackWorld[string][]): void {
  for (const view of views)
    for (const { image, why } of view.unfetched)
      if (view.images[image])
        reporter.warning(
          `The image ${image} could not be fetched; the one that is on the host is used. ${why.trim().split('\n').at(-1) ?? ''}`,
        )
}

const viewOf = (plan: Plan<StackWorld>, subject: string): PlanView => ({
  subject,
  entries: entriesOf(plan),
  changes: plan.changes,
})

/** `deploy api web`, with commas or blanks. @throws usage for one that is not in the list */
function namesOf(session: Session, services: readonly string[]): readonly string[] {
  const names = session.args.names.flatMap(name => name.split(',')).filter(name => name !== '' && name !== 'all')
  const unknown = names.find(name => !services.includes(name))
  if (unknown !== undefined) {
    const meant = names.map(name => (services.includes(name) ? name : nearest(name, services)))
    throw new LandfallError(
      'usage',
      `${quoted(unknown)} is not in the deploy list${didYouMean(unknown, services) || `, which is ${listed(services)}.`}`,
      // Without a name the command would deploy all of them.
      meant.every(name => name !== undefined)
        ? { hint: commandLine({ ...session, args: { ...session.args, names: meant } }) }
        : {},
    )
  }
  return names
}

/** `--image api=registry.example.com/api:42`. @throws usage */
function imagesOf(session: Session, services: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    flagValues(session, 'image').map(value => {
      const match = /^([A-Za-z0-9._-]+)=([A-Za-z0-9][A-Za-z0-9._/:@-]*)$/.exec(value)
      if (match?.[1] && match[2] && services.includes(match[1])) return [match[1], match[2]]
      throw new LandfallError(
        'usage',
        `--image takes SERVICE=REFERENCE with a service of the deploy list, not ${quoted(value)}.`,
        { hint: `For example: --image ${services[0] ?? 'api'}=registry.example.com/${services[0] ?? 'api'}:42` },
      )
    }),
  )
}

/** The flags that say which stack is meant. */
export const onlyPlace = (flags: Session['args']['flags']): Session['args']['flags'] =>
  Object.fromEntries(Object.entries(flags).filter(([name]) => ['env', 'stack', 'file', 'nginx'].includes(name)))

const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error))
