/** One deploy, from the queue to the public address; and, when the new version does not come up, the reason and the way back. */

import { hasCode, LandfallError } from '../errors.ts'
import type { AppSpec } from '../estate/apps.ts'
import { envValue } from '../providers/dokploy/dotenv.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { ContainerReport, Deployment, EnvSet, Service, ServiceRef } from '../providers/ports/dokploy-apps.ts'
import type { Outside } from '../providers/ports/outside.ts'
import { HOOK_SCHEDULE, VERSION_VARIABLE } from '../steps/app-diff.ts'
import { runProgram } from '../steps/machine.ts'
import type { Summary } from '../ui/types.ts'
import { type BackContext, fileOf, goBack, isKeptHere, readDigests, runsAgain, setImage, type Way, withDigest } from './back.ts'
import { type Cause, diagnose } from './diagnose.ts'
import { appendHistory, type Release } from './history.ts'
import { type Unseen, waitPublic } from './public.ts'
import { idsNow, type Rollout, staysUp, waitBuilt, waitRolledOut } from './watch.ts'

export interface DeployContext extends BackContext {
  readonly outside: Pick<Outside, 'fetchPage'>
  readonly server: Pick<Server, 'ipv4' | 'ipv6'>
  /** Marks what this run does. */
  readonly runId: string
  readonly who: string
  /** Whether the public address is part of the truth. */
  readonly look: 'outside' | 'inside'
  /** Names that config.json moves here from another host. */
  readonly movingNames: readonly string[]
}

/** `replaced`: the new version runs and is healthy; what is wrong lies before it. */
export type Before = 'kept_serving' | 'brought_back' | 'replaced' | 'none' | 'lost'

const SAID: Record<Before, string> = {
  kept_serving: 'the version before goes on serving',
  brought_back: 'the version before is back',
  replaced: 'its containers run and are healthy',
  none: 'there was no version before',
  lost: 'the version before could not be brought back',
}

export type DeployResult =
  | {
      readonly state: 'deployed'
      readonly version: string
      readonly urls: readonly string[]
      readonly image: string
      readonly notes: Summary['notes']
    }
  | {
      readonly state: 'failed'
      readonly cause: Cause
      readonly error: LandfallError
      /** What became of the version before. */
      readonly before: Before
    }

const COMMIT_TIMEOUT_MS = 30_000
const LINES = 20

/** Whether deploys say the version to the app, instead of the image bringing its own. */
export const tellsVersion = (app: AppSpec): boolean =>
  app.deployOn === 'command' && (app.version !== undefined || app.postDeploy.action === 'versioned')

/** What a deploy's version is called: said, else the image's tag, else this run. */
export function versionFor(app: AppSpec, said: string | undefined, runId: string): string {
  if (said !== undefined) return said
  if (app.source.kind !== 'image') return runId
  const [tagged = '', digest] = app.source.image.split('@')
  const tag = tagged.slice(tagged.lastIndexOf('/') + 1).split(':')[1]
  return digest !== undefined ? digest.slice(7, 19) : tag === undefined || tag === 'latest' ? runId : tag
}

const withVersion = (env: EnvSet, version: string): EnvSet => [
  ...env.filter(([name]) => name !== VERSION_VARIABLE),
  envValue(VERSION_VARIABLE, version),
]

const commitIn = (deployment: Deployment): string | undefined => /^Commit: ([0-9a-f]{7,40})/.exec(deployment.description)?.[1]

/** Stands for what a deploy is made from, beside the version: variables, settings, source and, for a stack, file, command and names. */
export function setUpOf(service: Service): string {
  const env = service.env.filter(([name]) => name !== VERSION_VARIABLE).map(([name, value]) => [name, value.reveal()])
  const own =
    service.kind === 'application'
      ? [service.settings, service.build, service.mounts.map(({ path, volume }) => [path, volume])]
      : [service.type, service.file.reveal(), service.path, service.command, service.domains]
  return new Bun.CryptoHasher('sha256').update(JSON.stringify([service.source, env, own])).digest('hex')
}

interface Part {
  readonly id: string
  /** Of a stack. */
  readonly service?: string
}

/** The tasks or containers that make up a service now. */
async function partsNow(api: DeployContext['api'], service: Service): Promise<readonly Part[]> {
  const { appName } = service
  if (service.kind === 'compose' && service.type === 'stack')
    return (await api.listStackTasks(appName)).filter(task => task.wanted === 'running')
  const here = await api.listContainers(appName, service.kind)
  // Containers on a swarm's workers are not in the panel's own Docker; their tasks are.
  return here.length > 0 || service.kind === 'compose'
    ? here
    : (await api.listTasks(appName)).filter(task => task.wanted === 'running')
}

async function inspectPart(api: DeployContext['api'], { id, service }: Part): Promise<readonly ContainerReport[]> {
  const report = await api.inspectContainer(id)
  return report?.running ? [{ ...report, ...(service === undefined ? {} : { service }) }] : []
}

/** A container's image as it can be pulled again, whatever becomes of its tag. */
async function lastingImage(
  context: Pick<DeployContext, 'deps' | 'target' | 'signal'>,
  { image, imageId }: ContainerReport,
  deploymentId: string,
): Promise<string> {
  // The container may be another node's; then the name tells, as long as nothing was deployed since.
  const known = imageId !== '' ? imageId : deploymentId !== '' ? image : ''
  return known === '' || image.includes('@sha256:') ? image : withDigest(image, await readDigests(context, known))
}

/** What runs now, so that it can be had again. Undefined when nothing does. */
export async function releaseNow(
  context: Pick<DeployContext, 'api' | 'clock' | 'who' | 'deps' | 'target' | 'signal'>,
  service: Service,
  about: Pick<Release, 'version' | 'event' | 'deploymentId'>,
): Promise<Release | undefined> {
  const { api } = context
  const parts = await partsNow(api, service)
  const reports = (await Promise.all(parts.map(each => inspectPart(api, each)))).flat()
  const [first] = reports
  if (!first) return undefined
  const file = service.kind === 'compose' ? await fileOf(api, service) : undefined
  return {
    ...about,
    at: new Date(context.clock.nowMs()).toISOString(),
    by: context.who,
    image: service.kind === 'compose' ? '' : await lastingImage(context, first, about.deploymentId),
    imageId: service.kind === 'compose' ? '' : first.imageId,
    services: Object.fromEntries(
      reports.flatMap(each =>
        each.service === undefined ? [] : [[each.service, each.image.includes('@sha256:') ? each.image : each.imageId]],
      ),
    ),
    env: service.env,
    setUp: setUpOf(service),
    ...(file ? { file } : {}),
  }
}

/** The commit that was built. Dokploy names it some time after "done", behind its notifications; undefined when it does not. */
async function waitCommit(context: DeployContext, ref: ServiceRef, built: Deployment): Promise<string | undefined> {
  const { api, clock, signal, timing } = context
  const endsAtMs = clock.monotonicMs() + COMMIT_TIMEOUT_MS
  for (;;) {
    const commit = commitIn((await api.listDeployments(ref)).find(each => each.id === built.id) ?? built)
    if (commit !== undefined || clock.monotonicMs() > endsAtMs) return commit
    context.log('waiting until Dokploy names the commit')
    await clock.sleep(timing.pollMs, signal)
  }
}

/** Values of variables do not go into a log that is shown. */
export const hideValues = (text: string, env: EnvSet): string =>
  env
    .map(([name, value]) => [name, value.reveal()] as const)
    .filter(([, value]) => value.length >= 8 && !/^[a-z]+$/.test(value))
    .toSorted((a, b) => b[1].length - a[1].length)
    .reduce((hidden, [name, value]) => hidden.replaceAll(value, `<${name}>`), text)

/** @param before what ran last and ran well; undefined for a first deploy */
export async function deploy(
  context: DeployContext,
  app: AppSpec,
  service: Service,
  before: Release | undefined,
  said: string | undefined,
): Promise<DeployResult> {
  const { api } = context
  const ref: ServiceRef = { kind: service.kind, id: service.id }
  const told = tellsVersion(app) ? versionFor(app, said, context.runId) : undefined
  const env = told === undefined ? service.env : withVersion(service.env, told)
  // An image that was built here has no registry: it is kept before its tag moves on.
  if (before && isKeptHere(service, before)) await setImage(context, 'keep', service.appName, before.imageId)
  const ids = await idsNow(api, service)
  if (told !== undefined) await api.setEnv(ref, env)
  context.log('deploying: waiting for its turn')
  const started = await api.startDeploy(ref, { title: context.title, description: `by ${context.who}` })
  const built = await waitBuilt(context, ref, started)
  const fail = (stage: 'build' | 'start' | 'outside', rollout?: Rollout, seen?: Unseen) =>
    failed({
      context,
      app,
      service: { ...service, env },
      before,
      deployment: built,
      stage,
      ...(rollout ? { rollout } : {}),
      ...(seen ? { seen } : {}),
    })
  if (built.status !== 'done') return fail('build')

  const rollout = await waitRolledOut(context, service, ids)
  if (rollout.state === 'failed') return fail('start', rollout)
  context.log(`healthy; watching for ${Math.ceil(context.timing.stableMs / 1000)} s whether it stays`)
  const stable = await staysUp(context, service, ids, rollout.ids)
  if (stable.state === 'failed') return fail('start', stable)
  const isBuilt = service.source.kind !== 'image' && service.source.kind !== 'raw'
  const commit = told === undefined && isBuilt ? await waitCommit(context, ref, built) : undefined
  const version = told ?? commit ?? versionFor(app, said, context.runId)
  // A version that nobody named is not what the address can show.
  const isNamed = told !== undefined || commit !== undefined || !isBuilt
  const seen =
    context.look === 'outside' && app.domains.length > 0
      ? await waitPublic(context, app, context.server, app.version && isNamed ? version : undefined)
      : { state: 'seen' as const, urls: [] }
  if (seen.state === 'unseen') return fail('outside', { ...stable, state: 'up' }, seen)

  const now = await api.readService(ref)
  const release = await releaseNow(context, now, { version, event: 'deploy', deploymentId: built.id })
  if (release) await appendHistory(context.deps, context.target, app.name, release)
  const notes = [
    ...(isNamed ? [] : [{ label: 'version', text: 'Dokploy did not name the commit: seen was only that the address answers.' }]),
    ...(await afterDeploy(context, app, ref)).map(text => ({ label: 'after', text })),
  ]
  return { state: 'deployed', version, urls: seen.urls, image: release?.image ?? '', notes }
}

/** The action that only our own deploys run. @throws LandfallError unhealthy when it fails: the new version runs on */
async function afterDeploy({ api, log }: DeployContext, app: AppSpec, ref: ServiceRef): Promise<readonly string[]> {
  const { postDeploy } = app
  if (postDeploy.action !== 'exec' || postDeploy.via !== 'deploy') return []
  const schedule = (await api.listSchedules(ref)).find(each => each.name === HOOK_SCHEDULE)
  if (!schedule)
    throw new LandfallError('not_found', `The post-deploy action of ${app.name} is not set up in Dokploy.`, {
      hint: `bun scripts/app.ts ${app.name}`,
    })
  log(`post-deploy: ${postDeploy.command}`)
  const { status, log: text } = await api.runSchedule(schedule.id)
  if (status === 'error')
    throw new LandfallError(
      'unhealthy',
      `${app.name} is deployed, but its post-deploy action failed: ${text.trim().split('\n').at(-1) ?? ''}`,
      {
        hint: `Look at the service "${postDeploy.service}" and at what the image has; then: bun scripts/deploy.ts ${app.name}`,
      },
    )
  return [`post-deploy: ${postDeploy.command}`]
}

interface Failure {
  readonly context: DeployContext
  readonly app: AppSpec
  readonly service: Service
  readonly before: Release | undefined
  readonly deployment: Deployment
  readonly stage: 'build' | 'start' | 'outside'
  readonly rollout?: Rollout
  readonly seen?: Unseen
}

/** Of the very task that failed: the panel shows the log of one that runs, which is the version before. */
const readTaskLog = ({ deps, target, signal }: DeployContext, task: string): Promise<string> =>
  runProgram(deps, target, 'task-log', { TASK: task, LINES: String(LINES) }, signal)

async function failed(failure: Failure): Promise<DeployResult> {
  const { context, app, service, deployment, stage, rollout, seen } = failure
  const { api } = context
  const [containerId] = rollout?.ids ?? []
  const report = stage === 'build' || containerId === undefined ? undefined : await api.inspectContainer(containerId)
  const text =
    stage === 'build'
      ? await api.readDeploymentLog(deployment.id, LINES)
      : containerId === undefined
        ? ''
        : service.kind === 'compose' && service.type === 'docker-compose'
          ? await api.readComposeLog(service.id, containerId, LINES)
          : await readTaskLog(context, containerId)
  const lines = hideValues(text, service.env)
    .trimEnd()
    .split('\n')
    .filter(line => line.trim() !== '')
  const checked = lastLine(hideValues(report?.healthOutput ?? '', service.env))
  const movingName = app.domains.map(({ host }) => host).find(host => context.movingNames.includes(host))
  const diagnosis = diagnose({
    app,
    stage,
    log: lines,
    taskErrors: rollout?.state === 'failed' ? rollout.errors : [],
    oomKilled: report?.oomKilled ?? false,
    ...(report
      ? {
          exitCode: report.exitCode,
          healthFailures: report.healthFailures,
          healthOutput: hideValues(report.healthOutput, service.env),
        }
      : {}),
    ...(seen?.status === undefined ? {} : { status: seen.status }),
    ...(seen ? { outside: seen.kind, outsideError: seen.why } : {}),
    ...(movingName === undefined ? {} : { movingName }),
  })
  const kept = stage === 'build' || (rollout?.state === 'failed' && rollout.old === 'serving')
  const outcome = await comeBack(failure, kept)
  const error = new LandfallError(
    'unhealthy',
    [
      `${app.name} was not deployed: ${diagnosis.says}; ${SAID[outcome]}.`,
      ...lines.slice(-LINES).map(line => `  | ${line}`),
      ...(checked === undefined ? [] : [`  health check | ${checked}`]),
    ].join('\n'),
    { hint: diagnosis.hint },
  )
  return { state: 'failed', cause: diagnosis.cause, error, before: outcome }
}

const lastLine = (text: string): string | undefined => {
  const line = text.trim().split('\n').at(-1)?.slice(0, 300)
  return line === '' ? undefined : line
}

/** Makes Dokploy want again what ran before, and runs it again when it is gone. */
async function comeBack({ context, app, service, before, stage, rollout, seen }: Failure, kept: boolean): Promise<Before> {
  const { api } = context
  if (seen?.kind === 'unreachable') return 'replaced'
  if (!before) return 'none'
  const ref: ServiceRef = { kind: service.kind, id: service.id }
  if (kept) {
    if (tellsVersion(app)) await api.setEnv(ref, before.env)
    // Swarm kept the old container, but its tag already means the new image: a restart would run that.
    if (stage !== 'build' && isKeptHere(service, before)) await setImage(context, 'restore', service.appName, before.imageId)
    return 'kept_serving'
  }
  context.log(`going back to ${before.version}`)
  const ids = await idsNow(api, service)
  let way: Way
  try {
    way = await goBack(context, app, await api.readService(ref), before)
  } catch (error) {
    // What failed is to be told, and not only that there is no way back from it.
    if (!hasCode(error, 'refused')) throw error
    context.log(error.message)
    return 'lost'
  }
  const back = await waitRolledOut(context, service, rollout?.state === 'up' ? ids : new Set(ids))
  return back.state === 'up' && (await runsAgain(api, back.ids, way, before)) ? 'brought_back' : 'lost'
}
