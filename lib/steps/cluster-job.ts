/** Applications in the cluster: their variables, then their jobs, rolled out beside the old version and watched to the end. */

import {
  anew,
  chooseJobImage,
  healthyDeadlineMs,
  META,
  placeRead,
  renderJob,
  type Variables,
  variablesPath,
  variablesPlaces,
  type WantedJob,
} from '../cluster/job.ts'
import { blocked, type Change, done, refused, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { AppSpec } from '../estate/apps.ts'
import type { Allocation, Deployment, Job, Nomad } from '../providers/ports/cluster.ts'
import type { Secret } from '../secret.ts'
import { nomadAt } from './cluster-api.ts'
import { type ImageDeps, imageStep, imageStepId, pinned } from './cluster-image.ts'
import { NOMAD_READY_STEP } from './cluster-quorum.ts'
import { surplusJobsStep } from './cluster-surplus.ts'
import { type ClusterDeps, type JobState, type NomadState, secretsOf } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'
import type { EstateWorld } from './world.ts'

export interface JobDeps extends ClusterDeps, ImageDeps {
  /** The app's variables, from its file. */
  readonly variablesOf: (app: AppSpec) => Variables
  /** Images that a `deploy` named. */
  readonly images: Readonly<Record<string, string>>
}

const POLL_MS = 1_000
/** Nomad registers the version before anew within a moment. */
const REVERT_BEGINS_MS = 5_000
/** From one instance's deadline to Nomad's word about the rollout. */
const MARGIN_MS = 60_000
const LAST_LINES_BYTES = 2_000

/** Names by what has to happen to them; values are compared and never shown. Pure. */
export function variableChanges(
  wanted: Variables,
  have: ReadonlyMap<string, { reveal(): string }>,
): { readonly added: string[]; readonly changed: string[]; readonly removed: string[] } {
  const names = new Set(wanted.map(([name]) => name))
  return {
    added: wanted.flatMap(([name]) => (have.has(name) ? [] : [name])),
    changed: wanted.flatMap(([name, value]) => {
      const old = have.get(name)
      return old !== undefined && old.reveal() !== value.reveal() ? [name] : []
    }),
    removed: [...have.keys()].filter(name => !names.has(name)),
  }
}

export const variablesStepId = (app: Pick<AppSpec, 'name'>): string => `variables ${app.name}`
export const jobStepId = (app: Pick<AppSpec, 'name'>): string => `job ${app.name}`

type NomadUp = Extract<NomadState, { state: 'up' }>

interface VariablesWish {
  /** Of the job that reads them. */
  readonly name: string
  readonly title: string
  /** Where they go, and where those are that they differ from; both by its name unless said. */
  readonly placesIn?: (nomad: NomadUp) => { readonly to: string; readonly from: string }
  /** @param have what Nomad keeps now */
  readonly wanted: (world: WorldView<EstateWorld>, have: ReadonlyMap<string, Secret>) => Variables
}

/** The variables of a job are as wanted. */
export function variablesStep(
  deps: ClusterDeps,
  { name, title, placesIn = () => ({ to: name, from: name }), wanted: wantedIn }: VariablesWish,
): EstateStep {
  return {
    id: variablesStepId({ name }),
    noun: 'app',
    title,
    needs: [NOMAD_READY_STEP],
    reads: ['servers', 'clusterNodes', 'nomad'],
    look(world) {
      const nomad = world.get('nomad')
      if (nomad.state !== 'up' || nomad.token !== 'known')
        return blocked('Nomad', { kind: 'change', summary: `set the variables of ${name}` })
      const { to, from } = placesIn(nomad)
      const have = nomad.variables[to]
      const wanted = wantedIn(world, have?.items ?? new Map())
      const { added, changed, removed } = variableChanges(wanted, nomad.variables[from]?.items ?? new Map())
      if (!differ(wanted, have?.items)) return done(`${wanted.length}, by name and value`)
      return todo({
        kind: 'change',
        summary: `set the variables of ${name}`,
        details: [...added.map(each => `+ ${each}`), ...changed.map(each => `~ ${each}`), ...removed.map(each => `- ${each}`)],
        async apply({ world: live }) {
          await (await nomadAt(deps, live)).setVariables(variablesPath(to), wanted, have?.index ?? 0)
          live.touch('nomad')
        },
      })
    },
  }
}

const differ = (wanted: Variables, have: ReadonlyMap<string, Secret> | undefined): boolean =>
  Object.values(variableChanges(wanted, have ?? new Map())).some(names => names.length > 0)

/** Where the wanted variables are, or go: not over those of another version that runs, which starts with them wherever it has to start again. */
function placeFor(deps: JobDeps, app: AppSpec, nomad: NomadUp): string {
  const [first, second] = variablesPlaces(app.name)
  const job = nomad.jobs[app.name]?.job
  const read = placeRead(app.name, job)
  if (app.envFile === undefined || !job || !differ(deps.variablesOf(app), nomad.variables[read]?.items)) return read
  return read === first ? second : first
}

const appVariablesStep = (deps: JobDeps, app: AppSpec): EstateStep =>
  variablesStep(deps, {
    name: app.name,
    title: `the variables of ${app.name} are those of ${app.envFile}`,
    placesIn: nomad => ({ to: placeFor(deps, app, nomad), from: placeRead(app.name, nomad.jobs[app.name]?.job) }),
    wanted: () => deps.variablesOf(app),
  })

/** Those of the version before are gone when nothing of it can start any more; all of them, when the app has no file of them any more. */
function formerVariablesStep(deps: JobDeps, app: AppSpec): EstateStep {
  return {
    id: `former variables ${app.name}`,
    noun: 'app',
    title: `Nomad keeps no former variables of ${app.name}`,
    needs: [jobStepId(app)],
    reads: ['servers', 'clusterNodes', 'nomad', 'clusterImages'],
    look(world) {
      const nomad = world.get('nomad')
      if (nomad.state !== 'up' || nomad.token !== 'known') return done('none')
      const have = nomad.jobs[app.name]
      const place = app.envFile === undefined ? undefined : placeFor(deps, app, nomad)
      const former = variablesPlaces(app.name).filter(each => each !== place && each in nomad.variables)
      if (former.length === 0) return done('none')
      const names = former.flatMap(each => [...(nomad.variables[each]?.items.keys() ?? [])])
      const change = {
        kind: 'change',
        summary: `forget the former variables of ${app.name}`,
        ...(place === undefined ? { details: names.map(each => `- ${each}`) } : {}),
      } as const
      if (have && (have.job.meta[META.hash] !== wantedJob(deps, app, world)?.hash || lastRollout(have) !== 'done'))
        return blocked(`the rollout of ${app.name}`, change)
      return todo({
        ...change,
        async apply({ world: live }) {
          const api = await nomadAt(deps, live)
          for (const each of former) await api.deleteVariables(variablesPath(each))
          live.touch('nomad')
        },
      })
    },
  }
}

type Rollout = 'done' | 'running' | 'failed'

/** How the rollout of a revision goes; `unseen` where Nomad has no deployment of it: not yet, or not any more. */
const rolloutOf = (deployment: Deployment | undefined, revision: number): Rollout | 'unseen' =>
  deployment === undefined || deployment.jobRevision < revision
    ? 'unseen'
    : deployment.jobRevision > revision
      ? 'failed'
      : deployment.status === 'successful'
        ? 'done'
        : deployment.status === 'failed' || deployment.status === 'cancelled'
          ? 'failed'
          : 'running'

/** How the last rollout of a job ended. Nomad forgets a deployment an hour after it ended, once all its instances have moved. */
const lastRollout = ({ job, deployment }: JobState): Rollout => {
  const rollout = rolloutOf(deployment, job.revision)
  if (rollout === 'running') return 'running'
  return job.status === 'dead' || rollout === 'failed' || (rollout === 'unseen' && !job.stable) ? 'failed' : 'done'
}

/** Whether the image is made here, unless the command names another. */
const isBuilt = (deps: JobDeps, app: AppSpec): boolean =>
  Object.hasOwn(deps.cluster.builds, app.name) && deps.images[app.name] === undefined

/** Undefined while Nomad cannot be asked, or the image is still to be built. */
function wantedJob(deps: JobDeps, app: AppSpec, world: WorldView<EstateWorld>): WantedJob | undefined {
  const nomad = world.get('nomad')
  const secrets = secretsOf(world.get('clusterNodes'))
  if (nomad.state !== 'up' || nomad.token !== 'known' || !secrets) return undefined
  const built = isBuilt(deps, app) ? world.get('clusterImages')[app.name] : undefined
  const running = nomad.jobs[app.name]?.job.image
  const image = isBuilt(deps, app) ? built && pinned(app, built) : chooseJobImage(app, deps.images[app.name], running)
  if (image === undefined) return undefined
  return renderJob(app, {
    estate: deps.estate.name,
    cluster: deps.cluster,
    image,
    variables: deps.variablesOf(app),
    variablesIn: placeFor(deps, app, nomad),
    hashKey: secrets.nomadManagement,
  })
}

function jobStep(deps: JobDeps, app: AppSpec): EstateStep {
  return {
    id: jobStepId(app),
    noun: 'app',
    title: `${app.name} runs in the cluster`,
    needs: [
      NOMAD_READY_STEP,
      ...(isBuilt(deps, app) ? [imageStepId(app)] : []),
      ...(app.envFile === undefined ? [] : [variablesStepId(app)]),
    ],
    reads: ['servers', 'clusterNodes', 'nomad', 'clusterImages'],
    typicalMs: 45_000,
    look(world) {
      const nomad = world.get('nomad')
      const wanted = wantedJob(deps, app, world)
      const have = nomad.state === 'up' ? nomad.jobs[app.name] : undefined
      if (nomad.state !== 'up' || !wanted)
        return blocked(isBuilt(deps, app) ? `Nomad and the image of ${app.name}` : 'Nomad', {
          kind: have ? 'change' : 'create',
          summary: have ? `roll out ${app.name}` : `run ${app.name}`,
        })
      if (have && have.job.meta[META.estate] !== deps.estate.name)
        return refused(
          `Nomad has a job ${app.name} that Landfall did not make.`,
          `Rename the app in config.json, or stop that job: nomad job stop -purge ${app.name}`,
        )
      // Whoever scales by hand keeps the hash.
      const same = have?.job.meta[META.hash] === wanted.hash && have.job.count === app.replicas && !have.job.stopped
      const last = same ? lastRollout(have) : undefined
      if (last === 'done') return done(`${app.replicas} × ${wanted.image}`)
      if (same && last === 'running')
        return todo({
          kind: 'wait',
          summary: `wait for the rollout of ${app.name}`,
          apply: ({ world: live, signal, log }) => follow(deps, app, have.job.revision, live, signal, log),
        })
      const first = have === undefined || have.job.stopped
      return todo({
        kind: first ? 'create' : 'change',
        summary: first
          ? `run ${app.name} (${app.replicas} × ${wanted.image})`
          : `roll out ${app.name}: ${last === 'failed' ? 'its last rollout failed' : differs(have.job, app, wanted)}`,
        async apply({ world: live, signal, log }) {
          // The index keeps two deploys apart: the later of them is refused.
          const api = await nomadAt(deps, live)
          await api.setJob(last === 'failed' ? anew(wanted, deps.runId) : wanted.body, have?.job.index)
          live.touch('nomad')
          const registered = await api.findJob(app.name)
          await follow(deps, app, registered?.revision ?? 0, live, signal, log)
        },
      })
    },
  }
}

const differs = (have: { readonly image: string; readonly count: number }, app: AppSpec, wanted: WantedJob): string => {
  const parts = [
    ...(have.image === wanted.image ? [] : [`${have.image} → ${wanted.image}`]),
    ...(have.count === app.replicas ? [] : [`${have.count} → ${app.replicas} instances`]),
  ]
  return parts.length > 0 ? parts.join(', ') : 'its settings or variables changed'
}

/** Waits until the rollout has succeeded. @throws LandfallError unhealthy with what the instances said, when it was taken back */
async function follow(
  deps: JobDeps,
  app: AppSpec,
  revision: number,
  world: Parameters<Change<EstateWorld>['apply']>[0]['world'],
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const deadlineMs = deps.clock.monotonicMs() + healthyDeadlineMs(app) + MARGIN_MS
  let last = ''
  for (;;) {
    const nomad = await nomadAt(deps, world)
    const deployment = await nomad.findDeployment(app.name)
    if (deployment?.jobRevision === revision) {
      const line = `${deployment.healthy} of ${deployment.wanted} new instances healthy`
      if (line !== last) log(line)
      last = line
    }
    const state = rolloutOf(deployment, revision)
    if (state === 'done') {
      world.touch('nomad')
      return
    }
    if (state === 'failed' || deps.clock.monotonicMs() > deadlineMs) {
      // Nomad waits without end for a place that an instance does not get.
      if (state === 'running' && deployment) await nomad.failDeployment(deployment.id)
      const before = await takenBack(deps, nomad, app, revision, signal)
      world.touch('nomad')
      throw await failure(nomad, app, { revision, deployment, before })
    }
    await deps.clock.sleep(POLL_MS, signal)
  }
}

/** Waits until the version before `revision` stands again; undefined when there is none to go back to. */
async function takenBack(
  deps: Pick<JobDeps, 'clock'>,
  nomad: Nomad,
  app: AppSpec,
  revision: number,
  signal: AbortSignal,
): Promise<Job | undefined> {
  const beginsByMs = deps.clock.monotonicMs() + REVERT_BEGINS_MS
  const endsByMs = deps.clock.monotonicMs() + healthyDeadlineMs(app)
  for (;;) {
    const [job, deployment] = [await nomad.findJob(app.name), await nomad.findDeployment(app.name)]
    const begun = job !== undefined && job.revision > revision
    const rollout = begun ? rolloutOf(deployment, job.revision) : 'unseen'
    if (rollout === 'done' || rollout === 'failed') return job
    if (deps.clock.monotonicMs() > (begun ? endsByMs : beginsByMs)) return undefined
    await deps.clock.sleep(POLL_MS, signal)
  }
}

interface Ended {
  readonly revision: number
  readonly deployment: Deployment | undefined
  /** What runs instead. */
  readonly before: Job | undefined
}

async function failure(nomad: Nomad, app: AppSpec, { revision, deployment, before }: Ended): Promise<LandfallError> {
  const all = await nomad.listAllocations(app.name)
  const bad = all.filter(each => each.jobRevision === revision && isBad(each)).slice(0, 2)
  const words = await Promise.all(
    bad.map(async each => {
      const printed = await nomad.readLogs(each.id, app.name, 'stderr', LAST_LINES_BYTES).catch((error: unknown) => {
        if (error instanceof LandfallError) return ''
        throw error
      })
      const line = printed.trim().split('\n').at(-1) ?? ''
      return `${each.node}: ${each.said}${line ? ` (${line})` : ''}`
    }),
  )
  return new LandfallError(
    'unhealthy',
    [
      `The new version of ${app.name} did not become healthy${before ? `, so Nomad took it back: ${before.image} runs` : ''}.`,
      ...(words.length > 0 ? words : [inTime(deployment, revision)]),
    ]
      .join('\n')
      .slice(0, 1_500),
    { hint: `What it printed: bun scripts/cluster.ts logs ${app.name}` },
  )
}

/** For a rollout of which no instance failed. */
const inTime = (deployment: Deployment | undefined, revision: number): string =>
  deployment?.jobRevision === revision
    ? `${deployment.placed} of ${deployment.wanted} new instances found a machine, ${deployment.healthy} were healthy in time.`
    : 'Nomad did not begin the rollout in time.'

const isBad = (each: Allocation): boolean => each.healthy === false || each.state === 'failed' || each.state === 'pending'

/** The jobs of these apps; with `all`, also that there are no others. */
export const jobSteps = (deps: JobDeps, apps: readonly AppSpec[], which: 'all' | 'chosen'): EstateStep[] => [
  ...apps.flatMap(app => [
    ...(isBuilt(deps, app) ? [imageStep(deps, app)] : []),
    ...(app.envFile === undefined ? [] : [appVariablesStep(deps, app)]),
    jobStep(deps, app),
    formerVariablesStep(deps, app),
  ]),
  ...(which === 'all' ? [surplusJobsStep(deps)] : []),
]
