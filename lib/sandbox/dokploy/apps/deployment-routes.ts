/** `deployment.*`, `rollback.*`, `swarm.*` and `docker.*`: what was tried, and what runs. */

import { choice, nothing, object, optional, text } from '../input.ts'
import { type Context, mutation, query, type Routes } from '../router.ts'
import { isoOf } from '../state.ts'
import { refuse } from '../wire.ts'
import { logOf, sha256 } from './images.ts'
import { deploymentsOf, runOf } from './jobs.ts'
import { APP_NAME, id, matching, queryNumber } from './readers.ts'
import type { DeploymentRow, Release, RunRow } from './rows.ts'
import { handOver, listeningPort, NEEDED_VARIABLE, newContainerId, timingOf } from './runtime.ts'

const toWireDeployment = ({ platform, clock }: Context, row: DeploymentRow) => {
  const commit = row.commit !== undefined && row.commit.shownAtMs <= clock.nowMs() ? row.commit : undefined
  const rollback = row.rollbackId === null ? undefined : platform.rollbacks.get(row.rollbackId)
  return {
    deploymentId: row.deploymentId,
    title: commit?.message ?? row.title,
    description: commit ? `Commit: ${commit.hash}` : row.description,
    status: row.status,
    createdAt: row.createdAt,
    startedAt: row.createdAt,
    finishedAt: row.finishedAt,
    rollbackId: row.rollbackId,
    errorMessage: row.errorMessage,
    logPath: `/etc/dokploy/logs/${row.deploymentId}.log`,
    ...(rollback && { rollback: { rollbackId: rollback.rollbackId, version: rollback.version, image: rollback.image } }),
  }
}

/** As a service's own answer lists them: as they lie in the database, and without what a rollback is. */
export const listedDeployments = (context: Context, ownerId: string) =>
  deploymentsOf(context.platform, ownerId)
    .toReversed()
    .map(row => ({ ...toWireDeployment(context, row), rollback: undefined }))

const seconds = (fromMs: number, nowMs: number): string => `${Math.max(0, Math.floor((nowMs - fromMs) / 1000))} seconds ago`

interface TaskView {
  readonly release: Release
  readonly wanted: 'running' | 'ready' | 'shutdown'
  readonly currentState: string
  readonly error: string
  readonly state: 'running' | 'exited'
}

const isOfStack = ({ platform }: Context, run: RunRow): boolean =>
  platform.services.get(run.serviceId)?.columns.composeType === 'stack' && run.service !== undefined

/** Of a stack: its image is being pulled, or it waits for its next try, and it has no container yet. */
const isBeforeItsContainer = (context: Context, run: RunRow, release: Release): boolean =>
  release === run.next &&
  isOfStack(context, run) &&
  context.clock.nowMs() < release.startedAtMs + timingOf(context.platform).startMs / 2

const tasksOf = (context: Context, run: RunRow | undefined): TaskView[] => {
  if (!run) return []
  const nowMs = context.clock.nowMs()
  const view = (release: Release, wanted: TaskView['wanted'], word: string, error = ''): TaskView => ({
    release,
    wanted,
    currentState: `${word} ${seconds(release.startedAtMs, nowMs)}`,
    error,
    state: wanted === 'running' && word !== 'Failed' ? 'running' : 'exited',
  })
  // A container that is being checked runs, and Swarm calls it "Starting" until it is healthy.
  return [
    ...(run.next && isBeforeItsContainer(context, run, run.next)
      ? [run.failed.length > 0 ? view(run.next, 'ready', 'Ready') : view(run.next, 'running', 'Preparing')]
      : []),
    ...(run.next && !isBeforeItsContainer(context, run, run.next)
      ? [view(run.next, 'running', run.checked ? 'Starting' : 'Running')]
      : []),
    ...(run.current ? [view(run.current, 'running', 'Running')] : []),
    ...run.failed.map(each => view(each.release, 'shutdown', 'Failed', each.error)),
  ]
}

/** A task has an id of its own; its container has another. */
const taskId = (release: Release): string => sha256(`task ${release.containerId}`).slice(0, 25)

const runsNamed = ({ platform }: Context, appName: string): RunRow[] =>
  platform.runs.all().filter(run => run.id === appName || run.id.startsWith(`${appName}.`))

const stackTasks = (context: Context, appName: string) =>
  runsNamed(context, appName)
    .filter(run => isOfStack(context, run))
    .flatMap(run => tasksOf(context, run).map(task => ({ run, task })))

/** What stopped is "unhealthy" whatever its checks said; how many failed in a row is told apart. */
const healthOf = (status: string, isDead: boolean, error: string) => {
  const failing = isDead && error.includes('unhealthy')
  return {
    Status: isDead ? 'unhealthy' : status,
    FailingStreak: failing ? 3 : 0,
    Log: failing ? [{ ExitCode: 1, Output: 'wget: server returned error: HTTP/1.1 503 Service Unavailable' }] : [],
  }
}

const labelsOf = (context: Context, run: RunRow): Readonly<Record<string, string>> => {
  if (run.service === undefined) return { 'com.docker.swarm.service.name': run.id }
  if (!isOfStack(context, run)) return { 'com.docker.compose.service': run.service }
  const stack = run.id.slice(0, -run.service.length - 1)
  return { 'com.docker.stack.namespace': stack, 'com.docker.swarm.service.name': `${stack}_${run.service}` }
}

/**
 * `docker inspect`, with everything that a container was given, as the real one answers. Nothing about what Docker does not know: an error
 * is swallowed (services/docker.ts of v0.30.2).
 */
const inspect = (context: Context, containerId: string): unknown => {
  for (const run of context.platform.runs.all())
    for (const task of tasksOf(context, run))
      if (taskId(task.release) === containerId) {
        const exitCode = task.state === 'exited' ? (task.error.includes('137') ? 137 : 1) : 0
        return {
          ID: containerId,
          Spec: { ContainerSpec: { Image: task.release.image } },
          Status: {
            State: task.state === 'exited' ? 'failed' : 'running',
            Err: task.error,
            ...(!isBeforeItsContainer(context, run, task.release) && {
              ContainerStatus: { ContainerID: task.release.containerId, PID: 0, ExitCode: exitCode },
            }),
          },
        }
      } else if (task.release.containerId.startsWith(containerId) && !isBeforeItsContainer(context, run, task.release)) {
        const { release } = task
        const isDead = task.state === 'exited'
        const exitCode = isDead ? (task.error.includes('137') ? 137 : 1) : 0
        const health =
          release === run.next ? 'starting' : isDead ? (task.error.includes('unhealthy') ? 'unhealthy' : 'starting') : 'healthy'
        return {
          Id: release.containerId,
          Name: `/${run.id}`,
          Image: release.digest,
          RestartCount: 0,
          Config: {
            Image: release.image,
            Env: Object.entries(release.env).map(([name, value]) => `${name}=${value}`),
            Labels: labelsOf(context, run),
          },
          State: {
            Running: !isDead,
            ExitCode: exitCode,
            OOMKilled: isDead && release.behaviour === 'oom',
            StartedAt: isoOf(release.startedAtMs),
            ...(run.checked && { Health: healthOf(health, isDead, task.error) }),
          },
        }
      }
  return undefined
}

const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Of one container that runs; only when none does, of all tasks of the service (services/docker.ts of v0.30.2). */
const lastLines = (context: Context, run: RunRow | undefined, tail: number, since: string): string => {
  const [, amount = '', unit = ''] = /^(\d+)([smhd])$/.exec(since) ?? []
  const fromMs = amount === '' ? 0 : context.clock.nowMs() - Number(amount) * (UNITS_MS[unit] ?? 0)
  const tasks = tasksOf(context, run).toSorted((a, b) => a.release.startedAtMs - b.release.startedAtMs)
  const one = tasks.find(task => task.state === 'running')
  const shown = (one ? [one] : tasks).map(each => each.release).filter(release => release.startedAtMs >= fromMs)
  return shown.flatMap(stampedLog).slice(-tail).join('\n')
}

const plainLog = (release: Release): readonly string[] => logOf(release.behaviour, listeningPort(release), NEEDED_VARIABLE)

/** Docker puts the time before each line. */
export const stampedLog = (release: Release): readonly string[] =>
  plainLog(release).map(line => `${isoOf(release.startedAtMs).replace('Z', '000000Z')} ${line}`)

/** What `docker service logs` says of one task. */
export const taskLog = (context: Context, id: string, tail: number): string | undefined => {
  const tasks = context.platform.runs.all().flatMap(run => tasksOf(context, run))
  const task = tasks.find(each => taskId(each.release) === id)
  return task && plainLog(task.release).slice(-tail).join('\n')
}

export const deploymentRoutes = {
  'deployment.all': query(object({ applicationId: id }), (context, { applicationId }) =>
    // This list knows only the id of a rollback (facts/dokploy 6).
    deploymentsOf(context.platform, applicationId).map(row => ({ ...toWireDeployment(context, row), rollback: undefined })),
  ),
  'deployment.allByType': query(
    object({
      id,
      type: choice(['application', 'compose', 'server', 'schedule', 'previewDeployment', 'backup', 'volumeBackup']),
    }),
    (context, input) => deploymentsOf(context.platform, input.id).map(row => toWireDeployment(context, row)),
  ),
  'deployment.readLogs': query(
    object({ deploymentId: id, tail: optional(queryNumber) }),
    ({ platform }, { deploymentId, tail }) => {
      const row = platform.deployments.get(deploymentId)
      return row ? row.log.slice(-(tail ?? 100)).join('\n') : refuse('NOT_FOUND', 'Deployment not found')
    },
  ),
  'application.readLogs': query(
    object({
      applicationId: id,
      tail: optional(queryNumber),
      since: optional(matching(/^(all|\d+[smhd])$/)),
      search: optional(text()),
    }),
    (context, { applicationId, tail, since }) => {
      const row = context.platform.services.get(applicationId)
      return row
        ? lastLines(context, context.platform.runs.get(row.appName), tail ?? 100, since ?? 'all')
        : refuse('NOT_FOUND', 'Application not found')
    },
  ),
  'rollback.rollback': mutation(object({ rollbackId: id }), (context, { rollbackId }) => {
    const rollback = context.platform.rollbacks.get(rollbackId)
    const service = rollback && context.platform.services.get(rollback.serviceId)
    if (!rollback || !service) return refuse('INTERNAL_SERVER_ERROR', 'Rollback not found')
    // Image and env come back; no deployment row is written (facts/dokploy 7).
    handOver(context.platform, runOf(service), {
      ...rollback.release,
      startedAtMs: context.clock.nowMs(),
      containerId: newContainerId(),
    })
    return undefined
  }),

  'swarm.getNodeApps': query(object({ serverId: optional(text()) }), context => {
    const rows = context.platform.runs.all().filter(run => run.service === undefined)
    return rows.map(run => {
      const running = (run.current ? run.replicas : 0) + (run.next && !run.checked ? 1 : 0)
      const shown = run.current ?? run.next
      return {
        ID: run.id.slice(0, 12),
        Image: shown?.image.split('@')[0] ?? '',
        Mode: 'replicated',
        Name: run.id,
        Ports: '',
        Replicas: `${running}/${run.replicas}`,
      }
    })
  }),
  'docker.getServiceContainersByAppName': query(
    object({ appName: matching(APP_NAME), serverId: optional(text()) }),
    (context, { appName }) =>
      tasksOf(context, context.platform.runs.get(appName)).map((task, index) => ({
        // The column is called so, and holds a task's id.
        containerId: taskId(task.release),
        name: `${appName}.${index + 1}`,
        state: task.wanted,
        node: 'prod',
        currentState: task.currentState,
        error: task.error,
      })),
  ),
  'docker.getStackContainersByAppName': query(
    object({ appName: matching(APP_NAME), serverId: optional(text()) }),
    (context, { appName }) =>
      stackTasks(context, appName).map(({ run, task }) => ({
        containerId: taskId(task.release),
        name: `${appName}_${run.service}.1`,
        state: task.wanted,
        node: 'prod',
        currentState: task.currentState,
        error: task.error,
      })),
  ),
  'docker.getContainersByAppLabel': query(
    object({ appName: matching(APP_NAME), type: choice(['standalone', 'swarm']), serverId: optional(text()) }),
    (context, { appName }) => {
      const running = tasksOf(context, context.platform.runs.get(appName)).filter(task => task.state === 'running')
      return running.map(task => ({ containerId: task.release.containerId.slice(0, 12), name: appName, state: 'running' }))
    },
  ),
  'docker.getContainersByAppNameMatch': query(
    object({ appName: matching(APP_NAME), appType: optional(choice(['stack', 'docker-compose'])), serverId: optional(text()) }),
    (context, { appName, appType }) => {
      if (appType === 'stack')
        return stackTasks(context, appName)
          .filter(({ task }) => task.wanted === 'running')
          .map(({ run, task }) => ({
            // A task that has no container yet is listed all the same.
            containerId: isBeforeItsContainer(context, run, task.release) ? '' : task.release.containerId.slice(0, 12),
            name: `${appName}_${run.service}.1.${taskId(task.release)}`,
            node: 'prod',
            state: task.currentState.split(' ')[0]?.toLowerCase(),
            status: task.currentState,
          }))
      return runsNamed(context, appName)
        .filter(run => run.service !== undefined && !isOfStack(context, run))
        .flatMap(run => {
          const task = tasksOf(context, run)[0]
          if (!task) return []
          // Without a health check a container that keeps dying is "restarting" most of the time.
          const dying = run.next !== undefined && run.failed.length > 0
          const word = task.state === 'exited' ? 'exited' : dying && !run.checked ? 'restarting' : 'running'
          return [
            {
              containerId: task.release.containerId.slice(0, 12),
              name: `${appName}-${run.service}-1`,
              state: word,
              status: run.checked
                ? `Up 2 seconds (${run.next ? (dying ? 'unhealthy' : 'health: starting') : 'healthy'})`
                : 'Up 2 seconds',
            },
          ]
        })
    },
  ),
  'docker.getConfig': query(object({ containerId: matching(APP_NAME), serverId: optional(text()) }), (context, { containerId }) =>
    inspect(context, containerId),
  ),
  'deployment.queueList': query(nothing, ({ platform }) =>
    platform.jobs.all().map(job => ({ id: job.id, state: job.deploymentId ? 'active' : 'waiting' })),
  ),
} satisfies Routes
