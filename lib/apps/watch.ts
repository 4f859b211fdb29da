/**
 * Whether what was handed over really runs. Dokploy's `done` says only that Swarm or compose was told (facts/dokploy 7), so the tasks are
 * watched until the new ones are healthy and the old ones gone, or until they have failed often enough to say so.
 */

import type { Clock } from '../engine/clock.ts'
import type { ContainerReport, DokployApps, Service, Task } from '../providers/ports/dokploy-apps.ts'

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

/** Swarm tries again and again; so often is enough to call it a failure. */
const FAILURES = 3
/** Looks in a row that must agree that nothing new is coming any more. */
const QUIET_LOOKS = 3

/** Ids of all tasks or containers that are there now, to tell the new ones from. */
export async function idsNow(api: DokployApps, service: Service): Promise<ReadonlySet<string>> {
  if (service.kind === 'application') return new Set((await api.listTasks(service.appName)).map(task => task.id))
  const containers = await api.listContainers(service.appName, service.type === 'stack' ? 'stack' : 'compose')
  return new Set(containers.map(each => each.id))
}

const isRunning = (task: Task): boolean => task.wanted === 'running' && task.state.startsWith('running')
const hasFailed = (task: Task): boolean => task.wanted !== 'running' && /^(?:failed|rejected|shutdown|complete)/.test(task.state)

export async function waitRolledOut(context: WatchContext, service: Service, before: ReadonlySet<string>): Promise<Rollout> {
  const { clock, signal, timing } = context
  const endsAtMs = clock.monotonicMs() + timing.startTimeoutMs
  let quiet = 0
  for (;;) {
    const seen =
      service.kind === 'application'
        ? await lookAtTasks(context.api, service, before)
        : await lookAtContainers(context.api, service, before)
    if (seen.state === 'up') return { state: 'up', ids: seen.ids }
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

async function lookAtContainers(
  api: DokployApps,
  service: Extract<Service, { kind: 'compose' }>,
  before: ReadonlySet<string>,
): Promise<Look> {
  const containers = await api.listContainers(service.appName, service.type === 'stack' ? 'stack' : 'compose')
  const reports = await Promise.all(containers.map(async each => ({ ...each, report: await api.inspectContainer(each.id) })))
  // A service that does its work and ends well (a migration) is no failure.
  const failed = reports.filter(
    ({ state, report }) => state === 'restarting' || (report.running ? report.health === 'unhealthy' : report.exitCode !== 0),
  )
  const waiting = reports.filter(({ report }) => report.health === 'starting')
  const up = reports.filter(each => !failed.includes(each) && !waiting.includes(each))
  if (reports.length > 0 && up.length === reports.length) return { state: 'up', ids: up.map(each => each.id) }
  return {
    state: 'under_way',
    failed: failed.map(({ id, name, report }) => ({ id, error: `${name}: ${wordsFor(report)}` })),
    coming: waiting.length > 0,
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
    const seen =
      service.kind === 'application'
        ? await lookAtTasks(context.api, service, before)
        : await lookAtContainers(context.api, service, before)
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
