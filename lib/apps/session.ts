/** What deploy, rollback and env share: one app in its Dokploy, under the estate's lock. */

import { describeHost } from '../compose.ts'
import { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { AppSpec } from '../estate/apps.ts'
import { clearDeadLock, takeLock } from '../estate-lock.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { DokployApps, Service } from '../providers/ports/dokploy-apps.ts'
import type { Target } from '../providers/ports/machine.ts'
import { flagValues, type Opened, type Session } from '../script.ts'
import { diffService } from '../steps/app-diff.ts'
import { type AppsView, matchesOf, openPanel, SERVICE_KINDS } from '../steps/app-world.ts'
import { findServer } from '../steps/server.ts'
import type { Summary } from '../ui/types.ts'
import { commandLine } from '../view.ts'
import type { DeployContext } from './deploy.ts'
import { type OpenedApps, openApps } from './open.ts'

export interface AppSession {
  readonly session: Session
  readonly opened: Opened
  readonly deps: OpenedApps['deps']
  readonly app: AppSpec
  readonly api: DokployApps
  readonly target: Target
  readonly server: Server
  readonly view: AppsView
  readonly service: Service
}

/** Finds the one app that the command names. @throws LandfallError usage | not_found */
export async function openApp(session: Session, inputs?: Parameters<typeof openApps>[2]): Promise<AppSession> {
  const opened = await session.open()
  const apps = openApps(session, opened, inputs)
  const [app, ...more] = apps.apps
  if (!app)
    throw new LandfallError('config', `${opened.configPath} describes no app.`, {
      hint: 'Add one under apps; docs/config.md lists the keys.',
    })
  if (more.length > 0)
    throw new LandfallError('usage', 'Name one app.', {
      hint: `${session.manual.name} takes one of: ${apps.apps.map(each => each.name).join(', ')}`,
    })
  const world = new World(apps.opened.composition.readers)
  await world.look(['servers', 'panels', 'apps'])
  const setUp = `bun scripts/app.ts ${app.name}`
  const view = world.get('apps')[app.server]
  if (view?.state !== 'open')
    throw new LandfallError('not_found', `Dokploy on ${app.server} cannot be asked: ${view?.why ?? 'it is not there'}.`, {
      hint: 'bun scripts/setup.ts',
    })
  const found = matchesOf(view, app, app.name, SERVICE_KINDS)
  if (found.length > 1)
    throw new LandfallError('name_taken', `Dokploy on ${app.server} has ${found.length} services called ${app.name}.`, {
      hint: `${setUp} --plan`,
    })
  const service = view.services[found[0]?.id ?? '']
  if (!service)
    throw new LandfallError('not_found', `${app.name} is not set up in Dokploy on ${app.server} yet.`, { hint: setUp })
  const server = findServer(opened.estate.name, app.server, world.get('servers'))
  const panel = await openPanel(apps.deps, server)
  if (!server || !panel)
    throw new LandfallError('not_found', `The API key of Dokploy on ${app.server} is not kept on the machine.`, {
      hint: 'bun scripts/dokploy.ts',
    })
  return { session, opened, deps: apps.deps, app, api: panel.api, target: panel.target, server, view, service }
}

/** What config.json wants and Dokploy does not have yet, in lines; variables by name. */
export function driftOf({ app, deps, service, view }: AppSession): readonly string[] {
  const diff = diffService(app, deps.inputOf(app.name), service, view)
  const { creates, updates, deletes } = diff.domains
  return [
    ...diff.source,
    ...diff.build,
    ...diff.settings,
    ...diff.compose,
    ...diff.schedule,
    ...diff.env.map(line => `variable ${line}`),
    ...[...creates, ...updates.map(each => each.domain), ...deletes].map(domain => `domain ${domain.host}`),
    ...diff.volumes.map(volume => `volume ${volume.name}`),
  ]
}

const seconds = (session: Session, flag: string, fallbackMs: number): number => {
  const [text] = flagValues(session, flag)
  if (text === undefined) return fallbackMs
  const value = Number(text)
  if (Number.isFinite(value) && value >= 0 && value <= 3600) return value * 1000
  throw new LandfallError('usage', `--${flag} wants seconds from 0 to 3600.`, {
    hint: `bun scripts/${session.manual.name}.ts --help`,
  })
}

const STABLE_MS = 10_000
const OUTSIDE_TIMEOUT_MS = 120_000
const START_SLACK_MS = 120_000

/** How long a container may take by its own health check, and two minutes for the pull. */
const startTimeoutOf = ({ health }: AppSpec): number =>
  START_SLACK_MS + (health ? health.startMs + (health.intervalMs + health.timeoutMs) * (health.retries + 1) : 60_000)

export function deployContext(app: AppSession, look: DeployContext['look']): DeployContext {
  const { session, deps, api, target, server } = app
  const { runId } = app.opened.composition
  // Behind the sandbox's internet nothing takes long.
  const simulated = app.opened.composition.parts.environment.internet !== undefined
  return {
    api,
    deps,
    target,
    server,
    outside: deps.outside,
    clock: deps.clock,
    signal: session.signal,
    runId,
    who: describeHost().who,
    title: `landfall ${runId}`,
    look,
    movingNames: deps.estate.migration?.names.map(({ name }) => name) ?? [],
    log: sayOnce(line => session.reporter.log(line)),
    timing: {
      pollMs: simulated ? 100 : 2_000,
      stableMs: seconds(session, 'stable', simulated ? 500 : STABLE_MS),
      startTimeoutMs: seconds(session, 'timeout', startTimeoutOf(app.app)),
      outsideTimeoutMs: seconds(session, 'timeout', simulated ? 30_000 : OUTSIDE_TIMEOUT_MS),
    },
  }
}

/** The same line again says nothing new. */
const sayOnce = (say: (line: string) => void) => {
  let last = ''
  return (line: string) => {
    if (line !== last) say(line)
    last = line
  }
}

/** Asks, where somebody is there to answer. */
export async function confirm(session: Session, message: string): Promise<void> {
  if (session.args.yes) return
  if (!session.interactive)
    throw new LandfallError('usage', `There is no terminal to ask on: ${message}`, {
      hint: `Say it with a flag: ${commandLine(session, '--yes')}`,
    })
  if (!(await session.ask.confirm({ flag: '--yes', message, default: true })))
    throw new LandfallError('cancelled', 'Nothing was changed.')
}

/** Does `work` as the only run that changes the estate. */
export async function alone<T>({ session, opened }: Pick<AppSession, 'session' | 'opened'>, work: () => Promise<T>): Promise<T> {
  const { composition } = opened
  const lock = await takeLock(session, opened)
  composition.guardWrites(async () => {
    if (session.signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
    await lock.confirm()
  })
  try {
    return await work()
  } finally {
    composition.guardWrites(async () => {})
    await lock.release()
  }
}

/** Ends a command that found nothing to do. */
export async function endWithoutChange(app: AppSession, outputs: Summary['outputs'] = {}): Promise<void> {
  if (!app.session.args.plan) await clearDeadLock(app.session, app.opened)
  summarise(app, { ok: true, changes: 0, applied: 0, outputs })
}

export function summarise(
  { session, opened }: Pick<AppSession, 'session' | 'opened'>,
  result: Pick<Summary, 'ok' | 'changes' | 'applied'> & Partial<Pick<Summary, 'title' | 'outputs' | 'notes' | 'next'>>,
): void {
  session.reporter.summary({
    outputs: {},
    notes: [],
    ...result,
    durationMs: session.elapsedMs(),
    requests: opened.composition.meter.snapshot(),
    simulated: opened.simulated,
  })
}
