/**
 * Swarm's part: what runs of a service at a moment. A service that rolls starts the new container beside the old one and goes back when
 * it fails; one that does not (a compose project, or a service without a health check) loses the old one. Nothing runs by itself:
 * the state is brought up to date whenever somebody looks.
 */

import { randomText } from '../state.ts'
import type { Behaviour, PlatformState, Release, RunRow, TimingRow } from './rows.ts'

export const DEFAULT_TIMING: TimingRow = { queueMs: 20, buildMs: 150, startMs: 150, commitMs: 250 }

export const timingOf = ({ timing }: PlatformState): TimingRow => timing.get('only') ?? DEFAULT_TIMING

/** Failures until Swarm takes an update back. */
const TRIES = 3

/** The port that a container really listens on. */
export const listeningPort = ({ behaviour, port }: Pick<Release, 'behaviour' | 'port'>): number =>
  behaviour === 'wrong-port' ? (port === 8080 ? 8081 : 8080) : port

/** The variable that a `needs-env` image insists on. */
export const NEEDED_VARIABLE = 'DATABASE_URL'

/** Whether the process ends by itself. */
const dies = ({ behaviour, env }: Release): boolean =>
  behaviour === 'crash-loop' ||
  behaviour === 'oom' ||
  behaviour === 'no-image' ||
  (behaviour === 'needs-env' && env[NEEDED_VARIABLE] === undefined)

/** Whether a health check inside the container finds it well. */
const isWell = (release: Release): boolean =>
  !dies(release) &&
  !(['wrong-port', 'wrong-path', 'never-healthy'] as const satisfies readonly Behaviour[]).some(
    each => each === release.behaviour,
  )

const errorOf = (release: Release): string =>
  release.behaviour === 'no-image'
    ? `No such image: ${release.image}`
    : dies(release)
      ? `task: non-zero exit (${release.behaviour === 'oom' ? 137 : 1})`
      : 'task: non-zero exit (137): dockerexec: unhealthy container'

/** Hands a release over to Swarm or compose at `nowMs`. */
export const handOver = (state: PlatformState, run: Omit<RunRow, 'current' | 'next' | 'failed'>, release: Release): void => {
  const before = state.runs.get(run.id)
  const keepsOld = run.rolling && before?.current !== undefined
  state.runs.put(run.id, {
    ...run,
    ...(keepsOld && before?.current ? { current: before.current } : {}),
    next: release,
    failed: before?.failed ?? [],
  })
}

export const newContainerId = (): string =>
  randomText(64)
    .toLowerCase()
    .replace(/[^a-f0-9]/g, 'a')

/** The row as it is at `nowMs`. */
export const settleRun = (state: PlatformState, id: string, nowMs: number): RunRow | undefined => {
  const { startMs } = timingOf(state)
  let row = state.runs.get(id)
  while (row?.next) {
    const { next } = row
    const well = row.checked ? isWell(next) : !dies(next)
    const dueAtMs = next.startedAtMs + startMs
    if (nowMs < dueAtMs) return row
    const { next: _started, ...rest } = row
    if (well) {
      row = { ...rest, current: next }
      state.runs.put(id, row)
      return row
    }
    const failed = [{ release: next, atMs: dueAtMs, error: errorOf(next) }, ...row.failed].slice(0, 10)
    const inRow = failed.filter(each => each.release.digest === next.digest && each.release.version === next.version).length
    // Swarm gives up an update after some failures; a first start is tried for ever.
    const over = row.rolling && row.current !== undefined && inRow >= TRIES
    row = over ? { ...rest, failed } : { ...rest, failed, next: { ...next, startedAtMs: dueAtMs, containerId: newContainerId() } }
    state.runs.put(id, row)
    if (over) return row
  }
  return row
}

/** The release that requests are answered by; undefined while nothing serves `port`. */
export const serving = (row: RunRow | undefined, port: number): Release | undefined =>
  row?.current && listeningPort(row.current) === port ? row.current : undefined

/** What a visitor gets from a release. */
export const respond = (release: Release, path: string): Response => {
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'x-version': release.version }
  if (path === '/version') return new Response(`${release.version}\n`, { headers })
  if (release.behaviour === 'never-healthy') return new Response('starting\n', { status: 503, headers })
  if (release.behaviour === 'wrong-path') return new Response('not found\n', { status: 404, headers })
  return new Response(`version ${release.version}\n`, { headers })
}
