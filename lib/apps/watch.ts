/**
 * Whether what was handed over really runs. Dokploy's `done` says only that Swarm or compose was told (facts/dokploy 7), so the tasks are
 * watched until the new ones are healthy and the old ones gone, or until they have failed often enough to say so.
 */

import type { Clock } from '../engine/clock.ts'
import { LandfallError } from '../errors.ts'
import type {
  ContainerReport,
  Deployment,
  DokployApps,
  Service,
  ServiceRef,
  StackTask,
  Task,
} from '../providers/ports/dokploy-apps.ts'

export interface WatchTiming {
  readonly pollMs: number
  /** How long a new version must go on running before it counts. */
  readonly stableMs: number
  /** How long the containers may take. */
  readonly startTimeoutMs: number
  /** How long the public address may take. */
  readonly outsideTimeoutMs: number
}

export interface WatchContext {
  readonly api: DokployApps
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly log: (line: string) => void
  readonly timing: WatchTiming
}

export type Rollout =
  | { readonly state: 'up'; readonly ids: readonly string[] }
  | {
      readonly state: 'failed'
      /** Ids of what failed, the last first, for a closer look. */
      readonly ids: readonly string[]
      readonly errors: readonly string[]
      /** Whether the version before still serves. */
      readonly old: 'serving' | 'gone'
    }

const BUILD_TIMEOUT_MS = 60 * 60_000

/** Swarm tries again and again; so often is enough to call it a failure. */
const FAILURES = 3
/** Looks in a row that must agree that nothing new is coming any more, or that a whole stack is well. */
const QUIET_LOOKS = 3

/** Ids of all tasks or containers that are there now, to tell the new ones from. */
export async function idsNow(api: DokployApps, service: Service): Promise<ReadonlySet<string>> {
  if (service.kind === 'application') return new Set((await api.listTasks(service.appName)).map(task => task.id))
  const { appName, type } = service
  const parts = type === 'stack' ? await api.listStackTasks(appName) : await api.listContainers(appName, 'compose')
  return new Set(parts.map(each => each.id))
}

const lookAt = (api: DokployApps, service: Service, before: ReadonlySet<string>): Promise<Look> =>
  service.kind === 'application'
    ? lookAtTasks(api, service, before)
    : service.type === 'stack'
      ? lookAtStack(api, service, before)
      : lookAtContainers(api, service, before)

const isRunning = (task: Task): boolean => task.wanted === 'running' && task.state.startsWith('running')
const hasFailed = (task: Task): boolean => task.wanted !== 'running' && /^(?:failed|rejected|shutdown|complete)/.test(task.state)

/** Until Dokploy has handed a deploy over, or has failed to. @throws LandfallError timeout */
export async function waitBuilt(context: WatchContext, ref: ServiceRef, started: Deployment): Promise<Deployment> {
  const { api, clock, signal, timing } = context
  const endsAtMs = clock.monotonicMs() + BUILD_TIMEOUT_MS
  for (let current: Deployment | undefined = started; ; ) {
    if (current && current.status !== 'running') return current
    if (clock.monotonicMs() > endsAtMs)
      throw new LandfallError('timeout', `The build did not end within ${BUILD_TIMEOUT_MS / 60_000} minutes.`, {
        hint: 'It goes on in the panel: look at the deployment’s log there.',
      })
    context.log('building')
    await clock.sleep(timing.pollMs, signal)
    current = (await api.listDeployments(ref)).find(each => each.id === started.id)
  }
}

export async function waitRolledOut(context: WatchContext, service: Service, before: ReadonlySet<string>): Promise<Rollout> {
  const { clock, signal, timing } = context
  const endsAtMs = clock.monotonicMs() + timing.startTimeoutMs
  // A stack's services are changed one after another, and those that are as they were keep their tasks.
  const looks = service.kind === 'compose' && service.type === 'stack' ? QUIET_LOOKS : 1
  let quiet = 0
  let alike: readonly string[] = []
  for (;;) {
    const seen = await lookAt(context.api, service, before)
    if (seen.state === 'up') {
      const ids = seen.ids.toSorted().join(' ')
      alike = [...alike.filter(each => each === ids), ids]
      if (alike.length >= looks) return { state: 'up', ids: seen.ids }
      context.log('all tasks run; looking whether more are coming')
      await clock.sleep(timing.pollMs, signal)
      continue
    }
    alike = []
    quiet = seen.failed.length > 0 && !seen.coming ? quiet + 1 : 0
    const late = clock.monotonicMs() > endsAtMs
    if (seen.failed.length >= FAILURES || quiet >= QUIET_LOOKS || late)
      return {
        state: 'failed',
        ids: seen.failed.map(each => each.id),
        errors: [...new Set(seen.failed.map(each => each.error).filter(error => error !== ''))],
        old: seen.old,
      }
    context.log(seen.says)
    await clock.sleep(timing.pollMs, signal)
  }
}

type Look =
  | { readonly state: 'up'; readonly ids: readonly string[] }
  | {
      readonly state: 'under_way'
      readonly failed: readonly { readonly id: string; readonly error: string }[]
      readonly coming: boolean
      readonly old: 'serving' | 'gone'
      readonly says: string
    }

async function lookAtTasks(
  api: DokployApps,
  service: Extract<Service, { kind: 'application' }>,
  before: ReadonlySet<string>,
): Promise<Look> {
  const tasks = await api.listTasks(service.appName)
  const fresh = tasks.filter(task => !before.has(task.id))
  const up = fresh.filter(isRunning)
  const failed = fresh.filter(hasFailed)
  const old = tasks.filter(task => before.has(task.id) && isRunning(task))
  const wanted = service.settings.replicas
  if (up.length >= wanted && old.length === 0) return { state: 'up', ids: up.map(task => task.id) }
  return {
    state: 'under_way',
    failed: failed.map(({ id, error }) => ({ id, error })),
    coming: fresh.some(task => task.wanted === 'running'),
    old: old.length > 0 ? 'serving' : 'gone',
    says: `${up.length} of ${wanted} new containers are healthy${failed.length > 0 ? `, ${failed.length} failed` : ''}`,
  }
}

const isComing = (task: Task): boolean =>
  (task.wanted === 'running' || task.wanted === 'ready') && !/^(?:running|failed|rejected|complete|shutdown)/.test(task.state)

interface Place {
  readonly up: readonly StackTask[]
  readonly coming: boolean
  readonly failed: readonly StackTask[]
  readonly state: 'well' | 'unwell' | 'empty'
  readonly old: 'serving' | 'gone'
}

/** One replica of one service: the tasks that were there in turn, the newest first. */
function placeOf(tasks: readonly StackTask[], before: ReadonlySet<string>): Place {
  const up = tasks.filter(isRunning)
  const coming = tasks.some(isComing)
  const fresh = tasks.filter(task => !before.has(task.id))
  // A service that does its work and ends well is no failure, unless Swarm starts it again for that.
  const failed = fresh.filter(
    ({ state }) => /^(?:failed|rejected|shutdown)/.test(state) || (coming && state.startsWith('complete')),
  )
  const isNew = up.some(task => !before.has(task.id))
  const isDone = up.length === 0 && fresh.some(task => task.state.startsWith('complete'))
  const isWell = !coming && ((up.length === 1 && (isNew || failed.length === 0)) || (isDone && failed.length === 0))
  return {
    up,
    coming,
    failed,
    state: isWell ? 'well' : up.length === 0 && fresh.length === 0 ? 'empty' : 'unwell',
    old: up.some(task => before.has(task.id)) ? 'serving' : 'gone',
  }
}

async function lookAtStack(
  api: DokployApps,
  { appName }: Extract<Service, { kind: 'compose' }>,
  before: ReadonlySet<string>,
): Promise<Look> {
  const tasks = Map.groupBy(await api.listStackTasks(appName), task => task.name)
  const places = [...tasks.values()].map(each => placeOf(each, before)).filter(each => each.state !== 'empty')
  const unwell = places.filter(each => each.state === 'unwell')
  if (places.length > 0 && unwell.length === 0) return { state: 'up', ids: places.flatMap(({ up }) => up.map(task => task.id)) }
  const failed = unwell.flatMap(each => each.failed)
  return {
    state: 'under_way',
    failed: failed.map(({ id, service, error }) => ({ id, error: error === '' ? '' : `${service}: ${error}` })),
    coming: places.some(each => each.coming),
    old: unwell.length > 0 && unwell.every(each => each.old === 'serving') ? 'serving' : 'gone',
    says: `${places.length - unwell.length} of ${places.length} tasks are well${failed.length > 0 ? `, ${failed.length} failed` : ''}`,
  }
}

async function lookAtContainers(
  api: DokployApps,
  service: Extract<Service, { kind: 'compose' }>,
  before: ReadonlySet<string>,
): Promise<Look> {
  const containers = await api.listContainers(service.appName, 'compose')
  const looks = await Promise.all(containers.map(async each => ({ ...each, report: await api.inspectContainer(each.id) })))
  const reports = looks.flatMap(({ report, ...each }) => (report ? [{ ...each, report }] : []))
  // One that was removed between list and look makes way for another.
  const goes = reports.length < looks.length
  // A service that does its work and ends well (a migration) is no failure.
  const failed = reports.filter(
    ({ state, report }) => state === 'restarting' || (report.running ? report.health === 'unhealthy' : report.exitCode !== 0),
  )
  const waiting = reports.filter(({ report }) => report.health === 'starting')
  const up = reports.filter(each => !failed.includes(each) && !waiting.includes(each))
  if (!goes && reports.length > 0 && up.length === reports.length) return { state: 'up', ids: up.map(each => each.id) }
  return {
    state: 'under_way',
    failed: failed.map(({ id, name, report }) => ({ id, error: `${name}: ${wordsFor(report)}` })),
    coming: goes || waiting.length > 0,
    old: reports.some(each => before.has(each.id) && each.report.running) ? 'serving' : 'gone',
    says: `${up.length} of ${reports.length} containers are well${failed.length > 0 ? `, ${failed.length} are not` : ''}`,
  }
}

const wordsFor = (report: ContainerReport): string =>
  report.health === 'unhealthy'
    ? 'unhealthy container'
    : report.oomKilled
      ? 'killed for its memory'
      : `ends with exit code ${report.exitCode}`

/** Goes on looking for the stable period. */
export async function staysUp(
  context: WatchContext,
  service: Service,
  before: ReadonlySet<string>,
  ids: readonly string[],
): Promise<Rollout> {
  const { clock, timing, signal } = context
  const endsAtMs = clock.monotonicMs() + timing.stableMs
  while (clock.monotonicMs() < endsAtMs) {
    await clock.sleep(Math.min(timing.pollMs, Math.max(1, endsAtMs - clock.monotonicMs())), signal)
    const seen = await lookAt(context.api, service, before)
    if (seen.state !== 'up')
      return {
        state: 'failed',
        ids: seen.failed.map(each => each.id),
        errors: seen.failed.map(each => each.error),
        old: seen.old,
      }
    if (!seen.ids.every(id => ids.includes(id)))
      return { state: 'failed', ids: [], errors: ['a container ended and was started again'], old: 'gone' }
  }
  return { state: 'up', ids }
}
