/**
 * Deploys and what became of them. `deploy` answers with no id, and `done` means "handed to Swarm", not "running" (facts/dokploy 7):
 * the deployment is found by being new, and what runs is asked of Swarm itself.
 */

import { LandfallError } from '../../errors.ts'
import type { ContainerReport, Deployment, DokployApps, ListedDeployment, ServiceRef, Task } from '../ports/dokploy-apps.ts'
import { fromWireDeployment } from './apps-wire.ts'
import type { DokployContext } from './client.ts'
import { flagIn, given, idIn, listIn, numberIn, objectIn, type Requests, type Row, rowOf, rowsOf, textIn } from './requests.ts'

/** A queued deploy waits behind the others of its server, one at a time. */
const QUEUE_TIMEOUT_MS = 15 * 60_000
const RELOAD_TIMEOUT_MS = 120_000

type Calls = Pick<
  DokployApps,
  | 'startDeploy'
  | 'listDeployments'
  | 'readDeploymentLog'
  | 'readComposeLog'
  | 'reload'
  | 'rollBack'
  | 'readReplicas'
  | 'listTasks'
  | 'listStackTasks'
  | 'listContainers'
  | 'inspectContainer'
>

export const deployCalls = (requests: Requests, context: DokployContext, pollMs: number): Calls => {
  const listDeployments = async ({ kind, id }: ServiceRef): Promise<readonly ListedDeployment[]> =>
    rowsOf(await requests.get('deployment.allByType', { id, type: kind }), '/api/deployment.allByType').map(fromWireDeployment)

  // What the panel's own Docker does not know, because it is gone or another node's, is answered with nothing.
  const inspect = async (containerId: string): Promise<Row | undefined> => {
    const answer = (await requests.get('docker.getConfig', { containerId })) ?? undefined
    return answer === undefined ? undefined : rowOf(answer, '/api/docker.getConfig')
  }

  return {
    listDeployments,

    async startDeploy(ref, { title, description, again }) {
      const before = new Set((await listDeployments(ref)).map(each => each.id))
      const findNew = async () => (await listDeployments(ref)).find(each => !before.has(each.id))
      const procedure = `${ref.kind}.${again ? 'redeploy' : 'deploy'}`
      const started = await requests.create<Deployment | 'queued'>(
        `the deploy of ${ref.id}`,
        procedure,
        { [`${ref.kind}Id`]: ref.id, title, description },
        () => 'queued',
        findNew,
      )
      if (started !== 'queued') return started
      const deadlineMs = context.clock.monotonicMs() + QUEUE_TIMEOUT_MS
      for (;;) {
        // An early look may not show the row yet.
        const found = await findNew()
        if (found) return found
        if (context.clock.monotonicMs() > deadlineMs)
          throw new LandfallError(
            'timeout',
            `Dokploy queued the deploy, but did not begin it within ${QUEUE_TIMEOUT_MS / 60_000} minutes.`,
            {
              hint: 'Look at what builds: the panel → Deployments. A restart of the panel forgets its queue.',
            },
          )
        await context.clock.sleep(pollMs, context.signal)
      }
    },

    readDeploymentLog: async (deploymentId, lines) =>
      textOf(await requests.get('deployment.readLogs', { deploymentId, tail: lines })),
    readComposeLog: async (composeId, containerId, lines) =>
      bareLines(textOf(await requests.get('compose.readLogs', { composeId, containerId, tail: lines }))),

    async reload({ id, appName }) {
      await requests.set('application.reload', { applicationId: id, appName }, RELOAD_TIMEOUT_MS)
    },
    async rollBack(rollbackId) {
      await requests.set('rollback.rollback', { rollbackId }, RELOAD_TIMEOUT_MS)
    },

    async readReplicas(appName) {
      const rows = rowsOf((await requests.get('swarm.getNodeApps')) ?? [], '/api/swarm.getNodeApps')
      const row = rows.find(each => textIn(each, 'Name') === appName)
      const [, running, wanted] = /^(\d+)\/(\d+)/.exec(row ? textIn(row, 'Replicas') : '') ?? []
      return running === undefined || wanted === undefined ? undefined : { running: Number(running), wanted: Number(wanted) }
    },
    listTasks: async appName =>
      rowsOf(
        (await requests.get('docker.getServiceContainersByAppName', { appName })) ?? [],
        '/api/docker.getServiceContainersByAppName',
      ).map(fromWireTask),
    listStackTasks: async appName =>
      rowsOf(
        (await requests.get('docker.getStackContainersByAppName', { appName })) ?? [],
        '/api/docker.getStackContainersByAppName',
      ).map(row => ({ ...fromWireTask(row), service: serviceIn(appName, textIn(row, 'name').replace(/\.[^.]*$/, '')) })),
    async listContainers(appName, kind) {
      const rows =
        kind === 'application'
          ? await requests.get('docker.getContainersByAppLabel', { appName, type: 'swarm' })
          : await requests.get('docker.getContainersByAppNameMatch', { appName, appType: 'docker-compose' })
      // Nothing running is answered with nothing at all.
      return rowsOf(rows ?? [], '/api/docker.getContainers').map(row => ({
        id: textIn(row, 'containerId'),
        name: textIn(row, 'name'),
        state: textIn(row, 'state'),
      }))
    },
    async inspectContainer(id) {
      const row = await inspect(id)
      if (!row) return undefined
      // A task's id leads to the task, which names its container; that may be removed by now.
      const ofTask = objectIn(objectIn(row, 'Status'), 'ContainerStatus')
      const containerId = textIn(ofTask, 'ContainerID')
      const container = containerId === '' ? undefined : await inspect(containerId)
      if (container) return fromWireContainer(container)
      return 'Spec' in row && 'Status' in row ? fromWireTaskStatus(row, ofTask) : fromWireContainer(row)
    },
  }
}

/** Docker puts the time before each line. */
const bareLines = (text: string): string => text.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\S+Z ?/gm, '')

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

const fromWireTask = (row: Row): Task => ({
  id: idIn(row, 'containerId', '/api/docker.getServiceContainersByAppName'),
  name: textIn(row, 'name'),
  wanted: textIn(row, 'state'),
  state: textIn(row, 'currentState').toLowerCase(),
  error: textIn(row, 'error'),
})

/** Swarm puts the stack's name before its services'. */
const serviceIn = (stack: string, name: string): string => (name.startsWith(`${stack}_`) ? name.slice(stack.length + 1) : name)

const HEALTH_OUTPUT_LIMIT = 4096
const HEALTHS = ['starting', 'healthy', 'unhealthy'] as const

function fromWireContainer(row: Row): ContainerReport {
  const state = objectIn(row, 'State')
  const health = textIn(objectIn(state, 'Health'), 'Status')
  const healthFailures = numberIn(objectIn(state, 'Health'), 'FailingStreak')
  const lastCheck = listIn(objectIn(state, 'Health'), 'Log').at(-1)
  // The same answer holds the container's variables: nothing else is taken out of it.
  const labels = objectIn(objectIn(row, 'Config'), 'Labels')
  const stack = textIn(labels, 'com.docker.stack.namespace')
  const service =
    stack === ''
      ? textIn(labels, 'com.docker.compose.service')
      : serviceIn(stack, textIn(labels, 'com.docker.swarm.service.name'))
  return {
    image: textIn(objectIn(row, 'Config'), 'Image'),
    imageId: textIn(row, 'Image'),
    running: flagIn(state, 'Running'),
    health: HEALTHS.find(each => each === health) ?? 'none',
    healthOutput: lastCheck ? textIn(lastCheck, 'Output').slice(0, HEALTH_OUTPUT_LIMIT) : '',
    healthFailures,
    exitCode: numberIn(state, 'ExitCode'),
    oomKilled: flagIn(state, 'OOMKilled'),
    restarts: numberIn(row, 'RestartCount'),
    startedAt: textIn(state, 'StartedAt'),
    ...given('service', service === '' ? undefined : service),
  }
}

/** A task whose container is gone, another node's or not there yet: only what Swarm says is known. */
const fromWireTaskStatus = (task: Row, status: Row): ContainerReport => ({
  image: textIn(objectIn(objectIn(task, 'Spec'), 'ContainerSpec'), 'Image'),
  imageId: '',
  running: textIn(objectIn(task, 'Status'), 'State') === 'running',
  health: 'none',
  healthOutput: '',
  healthFailures: 0,
  exitCode: numberIn(status, 'ExitCode'),
  oomKilled: false,
  restarts: 0,
  startedAt: '',
})
