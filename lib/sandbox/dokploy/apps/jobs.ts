/**
 * Dokploy's own part of a deploy: a queue in memory, one build at a time, and then the hand-over. A deployment is `done` when the
 * service was handed over, whatever becomes of its tasks (facts/dokploy 7).
 */

import { parse } from 'dotenv'
import { isoOf, randomText } from '../state.ts'
import { composeServices, domainLabels, findsVariables, firstFaultOf, headFor } from './compose-file.ts'
import { headOf, pull, push, sha256 } from './images.ts'
import type { DeploymentRow, JobRow, PlatformState, Release, ServiceRow, WireRow } from './rows.ts'
import { handOver, newContainerId, settleRun, timingOf } from './runtime.ts'

const KEPT_DEPLOYMENTS = 10

/** What a deploy changes outside of the rows. */
export interface Effects {
  /** Labels of a compose stack's containers, as the proxy sees them; undefined takes them away. */
  setLabels(appName: string, dynamicFile: string | undefined): void
}

export const enqueue = (
  state: PlatformState,
  service: ServiceRow,
  job: Pick<JobRow, 'title' | 'description' | 'again'>,
  nowMs: number,
): void => {
  const n = state.nextId('jobs')
  state.jobs.put(String(n), { id: String(n), n, serviceId: service.id, queuedAtMs: nowMs, ...job })
}

/** Brings queue and tasks up to `nowMs`. */
export const settle = (state: PlatformState, nowMs: number, effects: Effects): void => {
  const { queueMs, buildMs } = timingOf(state)
  for (;;) {
    const [job] = state.jobs.all().toSorted((a, b) => a.n - b.n)
    if (!job) break
    if (job.deploymentId === undefined) {
      const startedAtMs = Math.max(job.queuedAtMs + queueMs, lastEnd(state))
      if (nowMs < startedAtMs) break
      const row = begin(state, job, startedAtMs)
      state.jobs.put(job.id, { ...job, deploymentId: row.deploymentId, endsAtMs: startedAtMs + buildMs })
      continue
    }
    if (nowMs < (job.endsAtMs ?? 0)) break
    state.jobs.delete(job.id)
    finish(state, job, job.endsAtMs ?? nowMs, effects)
  }
  for (const run of state.runs.all()) if (run.next) settleRun(state, run.id, nowMs)
}

const lastEnd = (state: PlatformState): number =>
  state.deployments.all().reduce((latest, row) => Math.max(latest, row.finishedAt === null ? 0 : Date.parse(row.finishedAt)), 0)

const begin = (state: PlatformState, job: JobRow, atMs: number): DeploymentRow => {
  const row: DeploymentRow = {
    deploymentId: randomText(21),
    ownerId: job.serviceId,
    title: job.title,
    description: job.description,
    status: 'running',
    createdAt: isoOf(atMs),
    startedAtMs: atMs,
    finishedAt: null,
    errorMessage: null,
    rollbackId: null,
    log: ['Initializing deployment'],
  }
  state.deployments.put(row.deploymentId, row)
  const own = deploymentsOf(state, job.serviceId)
  for (const old of own.slice(KEPT_DEPLOYMENTS)) {
    state.deployments.delete(old.deploymentId)
    if (old.rollbackId !== null) state.rollbacks.delete(old.rollbackId)
  }
  return row
}

/** Newest first. */
export const deploymentsOf = (state: PlatformState, ownerId: string): DeploymentRow[] =>
  state.deployments
    .all()
    .filter(row => row.ownerId === ownerId)
    .toReversed()

const setStatus = (state: PlatformState, service: ServiceRow, status: 'done' | 'error'): void => {
  const column = service.kind === 'compose' ? 'composeStatus' : 'applicationStatus'
  state.services.put(service.id, { ...service, columns: { ...service.columns, [column]: status } })
}

const text = (service: ServiceRow, column: string): string => {
  const value = service.columns[column]
  return typeof value === 'string' ? value : ''
}

const finish = (state: PlatformState, job: JobRow, atMs: number, effects: Effects): void => {
  const service = state.services.get(job.serviceId)
  const row = state.deployments.get(job.deploymentId ?? '')
  if (!service || !row) return
  const result =
    service.kind === 'compose' ? deployCompose(state, service, atMs, effects) : deployApplication(state, service, atMs)
  const commit = result.commit
  const done: DeploymentRow = {
    ...row,
    // For a repository the title becomes the commit's message, after "done" and the notifications (services/application.ts of v0.30.2).
    ...(commit ? { commit: { ...commit, shownAtMs: atMs + timingOf(state).commitMs } } : {}),
    status: result.error === undefined ? 'done' : 'error',
    finishedAt: isoOf(atMs),
    log: [...row.log, ...result.log, ...(result.error === undefined ? [] : [`Error: ${result.error}`])],
  }
  state.deployments.put(row.deploymentId, done)
  setStatus(state, service, done.status === 'done' ? 'done' : 'error')
  if (done.status !== 'done') return
  if (result.release) keepForRollback(state, service, done, result.release)
  tell(state, service, atMs)
}

interface Result {
  readonly log: readonly string[]
  readonly error?: string
  readonly commit?: { readonly hash: string; readonly message: string }
  readonly release?: Release
}

/** Every `${{…}}` must lead somewhere, or the deploy fails. */
const resolved = (state: PlatformState, service: ServiceRow): Record<string, string> | string => {
  const environment = state.environments.get(service.environmentId)
  const project = environment && state.projects.get(environment.projectId)
  const own = parse(text(service, 'env'))
  const scopes = { project: parse(project?.env ?? ''), environment: parse(environment?.env ?? '') }
  let fault: string | undefined
  const look = (reference: string): string => {
    const [scope = '', name = ''] = reference.split('.')
    const found = scope === 'project' || scope === 'environment' ? scopes[scope][name] : own[reference]
    if (found === undefined) fault ??= `Invalid service environment variable: ${reference}`
    return found ?? ''
  }
  const values = Object.fromEntries(
    Object.entries(own).map(([name, value]) => [
      name,
      value.replace(/\$\{\{(.*?)\}\}/g, (_, reference: string) => look(reference)),
    ]),
  )
  return fault ?? values
}

const deployApplication = (state: PlatformState, service: ServiceRow, atMs: number): Result => {
  const env = resolved(state, service)
  if (typeof env === 'string') return { log: [], error: env }
  const built = build(state, service)
  if ('error' in built) return built
  const release: Release = {
    image: built.image,
    digest: built.digest,
    version: env.DEPLOY_VERSION ?? built.version,
    behaviour: built.behaviour,
    env,
    port: portOf(state, service),
    startedAtMs: atMs,
    containerId: newContainerId(),
  }
  handOver(state, runOf(service), release)
  return { log: built.log, release, ...(built.commit ? { commit: built.commit } : {}) }
}

export const runOf = (service: ServiceRow) => ({
  id: service.appName,
  serviceId: service.id,
  // Start-first and back on failure is the default of v0.30 (facts/dokploy 7).
  rolling: true,
  checked: service.columns.healthCheckSwarm !== null && service.columns.healthCheckSwarm !== undefined,
  replicas: typeof service.columns.replicas === 'number' ? service.columns.replicas : 1,
})

/** A container listens where its first domain leads, as the image of a well-kept app does. */
const portOf = (state: PlatformState, service: ServiceRow): number => {
  const health = service.columns.healthCheckSwarm
  const probed = /127\.0\.0\.1:(\d+)/.exec(JSON.stringify(health ?? ''))?.[1]
  const domain = state.domains.all().find(row => row.applicationId === service.id)
  return probed !== undefined ? Number(probed) : typeof domain?.port === 'number' ? domain.port : 3000
}

type Built = Omit<Release, 'env' | 'port' | 'startedAtMs' | 'containerId'> & {
  readonly log: readonly string[]
  readonly commit?: { readonly hash: string; readonly message: string }
}

const build = (state: PlatformState, service: ServiceRow): Built | { log: readonly string[]; error: string } => {
  const source = text(service, 'sourceType')
  if (source === 'docker') {
    const ref = text(service, 'dockerImage')
    const image = pull(state, ref)
    if (!image) return { log: [`Pulling ${ref}`], error: `manifest for ${ref} not found: manifest unknown` }
    const log = [`Pulling ${ref}`, `Digest: ${image.digest}`]
    // A copy goes to the registry under a tag, and Docker makes none out of a reference with a digest.
    if (text(service, 'registryId') !== '' && ref.includes('@'))
      return { log: [...log, '❌ Error tagging image'], error: 'exit 1' }
    return { ...image, image: ref, log }
  }
  const [url, branch] =
    source === 'github'
      ? [`https://github.com/${text(service, 'owner')}/${text(service, 'repository')}`, text(service, 'branch')]
      : [text(service, 'customGitUrl'), text(service, 'customGitBranch')]
  if (url === '' || branch === '') return { log: [], error: 'The source of this application is not set.' }
  const head = headOf(state, url, branch)
  const log = [`Cloning ${url} (${branch})`, `Building ${service.appName}`]
  if (head.behaviour === 'build-fails')
    return {
      log: [...log, 'ERROR: process "/bin/sh -c npm run build" did not complete successfully: exit code: 1'],
      error: '❌ Docker build failed',
    }
  // A local image has no digest in its name, and its tag moves on with the next build.
  const made = {
    name: service.appName,
    digest: `sha256:${sha256(`${service.appName} ${head.commit}`)}`,
    version: head.commit,
    behaviour: head.behaviour,
  }
  const local = `${service.appName}:latest`
  state.localImages.put(local, { ...made, id: local })
  const shared = sharedName(state, service)
  if (shared !== undefined) push(state, `${shared}:latest`, { ...made, name: shared })
  return {
    ...made,
    image: shared === undefined ? local : `${shared}:latest`,
    commit: { hash: head.commit, message: head.message },
    log: [...log, '✅ Docker build completed.'],
  }
}

const nameIn = (registry: WireRow, name: string): string =>
  [registry.registryUrl, String(registry.imagePrefix ?? registry.username).toLowerCase(), name]
    .filter(part => part !== '' && part !== null)
    .join('/')

/** A registry's name for what is built here, when there is one for every node of the swarm. */
const sharedName = (state: PlatformState, service: ServiceRow): string | undefined => {
  const registry = state.registries.get(text(service, 'registryId'))
  return registry && nameIn(registry, service.appName)
}

/** The image that a start without a build gives a service: what its name means by now. */
export const imageNow = (
  state: PlatformState,
  service: ServiceRow,
): Pick<Release, 'image' | 'digest' | 'version' | 'behaviour'> => {
  const shared = sharedName(state, service)
  const ref = text(service, 'sourceType') === 'docker' ? text(service, 'dockerImage') : `${shared ?? service.appName}:latest`
  const found = ref === `${service.appName}:latest` ? state.localImages.get(ref) : pull(state, ref)
  return { digest: '', version: '', behaviour: 'no-image', ...found, image: ref }
}

const isAlike = (one: Release, other: Release): boolean =>
  one.image === other.image && one.digest === other.digest && JSON.stringify(one.env) === JSON.stringify(other.env)

const deployCompose = (state: PlatformState, service: ServiceRow, atMs: number, effects: Effects): Result => {
  const given = resolved(state, service)
  if (typeof given === 'string') return { log: [], error: given }
  const env = findsVariables(service) ? given : {}
  const domains = state.domains.all().filter(row => row.composeId === service.id)
  const head = headFor(state, service)
  const commit = head && { hash: head.commit, message: head.message }
  const services = composeServices(state, service, head)
  if (typeof services === 'string') return { log: [], error: services, ...(commit ? { commit } : {}) }
  const fault = firstFaultOf(
    service,
    domains,
    services.map(each => each.name),
  )
  if (fault !== undefined) return { log: [], error: fault, ...(commit ? { commit } : {}) }
  const broken = services.find(each => each.behaviour === 'build-fails')
  if (broken)
    return {
      log: [`Building ${broken.name}`],
      error: `target ${broken.name}: failed to solve: exit code: 1`,
      ...(commit ? { commit } : {}),
    }
  const isStack = service.columns.composeType === 'stack'
  for (const each of services) {
    const id = `${service.appName}.${each.name}`
    const port = domains.find(row => row.serviceName === each.name)?.port
    const release: Release = {
      image: each.image,
      digest: each.digest,
      version: env.DEPLOY_VERSION ?? each.version,
      behaviour: each.behaviour,
      env,
      port: typeof port === 'number' ? port : 3000,
      startedAtMs: atMs,
      containerId: newContainerId(),
    }
    const now = state.runs.get(id)
    // Swarm leaves the tasks of a service alone that is told what it knows.
    if (isStack && now?.current && !now.next && isAlike(now.current, release)) continue
    handOver(
      state,
      {
        id,
        serviceId: service.id,
        service: each.name,
        rolling: isStack && each.startFirst,
        checked: each.checked,
        replicas: 1,
      },
      release,
    )
  }
  effects.setLabels(service.appName, domainLabels(service.appName, domains))
  const copied = new Map<string, string>()
  for (const part of text(service, 'command').split(' && ').slice(1)) {
    const [, name = '', target = ''] = / cp \.\.\/files\/(\S+) (\S+)$/.exec(part) ?? []
    const file = state.mounts.all().find(mount => mount.composeId === service.id && mount.filePath === name)
    if (name !== '' && !file)
      return { log: [], error: `lstat ../files/${name}: no such file or directory`, ...(commit ? { commit } : {}) }
    if (file) copied.set(target, String(file.content ?? ''))
    const [, container = '', command = ''] = / exec -T (\S+) (.+)$/.exec(part) ?? []
    if (command === '') continue
    const script = copied.get(`${container}:${command.replace(/^sh /, '')}`)
    const n = state.nextId('execs')
    state.execs.put(String(n), {
      id: String(n),
      appName: service.appName,
      service: container,
      command: script?.replace(/^set -e\n/, '').trim() ?? command,
      by: 'compose_command',
      atMs,
    })
  }
  return {
    log: [`Command: docker ${text(service, 'command') || 'compose up'}`, 'Docker Compose Deployed: ✅'],
    ...(commit ? { commit } : {}),
  }
}

const keepForRollback = (state: PlatformState, service: ServiceRow, deployment: DeploymentRow, release: Release): void => {
  const { rollbackActive, rollbackRegistryId } = service.columns
  const registry = state.registries.get(typeof rollbackRegistryId === 'string' ? rollbackRegistryId : '')
  if (rollbackActive !== true || !registry) return
  const version =
    state.rollbacks
      .all()
      .filter(row => row.serviceId === service.id)
      .reduce((most, row) => Math.max(most, row.version), 0) + 1
  const rollbackId = randomText(21)
  state.rollbacks.put(rollbackId, {
    rollbackId,
    deploymentId: deployment.deploymentId,
    serviceId: service.id,
    version,
    image: `${service.appName}:v${version}`,
    release: { ...release, image: nameIn(registry, `${service.appName}:v${version}`) },
    env: text(service, 'env'),
  })
  state.deployments.put(deployment.deploymentId, { ...deployment, rollbackId })
}

/** Fires when the build is done, before anything has converged; unsigned, and for the whole organization (facts/dokploy 13). */
const tell = (state: PlatformState, service: ServiceRow, atMs: number): void => {
  for (const row of state.notifications.all().filter(each => each.appDeploy === true)) {
    const target = row.custom ?? row.slack ?? row.discord
    const to =
      typeof target === 'object' && target !== null
        ? Object.entries(target).find(([key]) => key === 'endpoint' || key === 'webhookUrl')?.[1]
        : undefined
    const n = state.nextId('outgoing')
    const environment = state.environments.get(service.environmentId)
    const project = environment && state.projects.get(environment.projectId)
    state.outgoing.put(String(n), {
      id: String(n),
      to: String(to ?? row.name),
      body: {
        projectName: project?.name ?? '',
        applicationName: service.name,
        applicationType: service.kind,
        status: 'success',
        type: 'build',
      },
      atMs,
    })
  }
}
