/** An application as a Nomad job: rolled out beside the old version, taken back by itself when it is not healthy. Pure. */

import { createHash, createHmac } from 'node:crypto'
import type { AppSpec } from '../estate/apps.ts'
import type { ClusterSpec } from '../estate/cluster.ts'
import type { Secret } from '../secret.ts'

/** Variables of an app, in the order of its file. */
export type Variables = readonly (readonly [string, Secret])[]

export interface WantedJob {
  readonly id: string
  readonly image: string
  /** Of everything that the job is made of; kept in its Meta. */
  readonly hash: string
  /** What `POST /v1/jobs` takes as `Job`. */
  readonly body: { readonly Meta: Readonly<Record<string, string>>; readonly [field: string]: unknown }
}

export const META = {
  hash: 'landfall_hash',
  estate: 'landfall_estate',
  attempt: 'landfall_attempt',
  variables: 'landfall_variables',
} as const

/** Time from leaving Consul to the end of the process: longer than anybody still sends requests there. */
const SHUTDOWN_DELAY_MS = 10_000
const KILL_TIMEOUT_MS = 30_000
/** A new instance may take this long to be pulled, besides its own start. */
const PULL_TIMEOUT_MS = 180_000
const DEFAULT_MEMORY_MB = 256
const CPU_MHZ = 100

const ns = (ms: number): number => ms * 1_000_000

export const imageOf = ({ source }: AppSpec): string => (source.kind === 'image' ? source.image : '')

/** Whether a reference names a version: then the file decides which one runs, else the last `deploy` did. */
export const hasTag = (image: string): boolean => image.includes('@') || (image.split('/').at(-1) ?? '').includes(':')

const withoutTag = (image: string): string => {
  const [bare = ''] = image.split('@')
  const at = bare.lastIndexOf(':')
  return at > bare.lastIndexOf('/') ? bare.slice(0, at) : bare
}

/** The image to run: one that was asked for, else the file's, else, where the file names no version, the one that runs. */
export const chooseJobImage = (app: AppSpec, asked: string | undefined, running: string | undefined): string => {
  const named = imageOf(app)
  if (asked !== undefined) return asked
  return !hasTag(named) && running !== undefined && withoutTag(running) === named ? running : named
}

/** Where variables are kept in Nomad. */
export const variablesPath = (place: string): string => `nomad/jobs/${place}`

/** Where a job may read variables without a policy. There are two, so that a version that runs has its own until the next has taken over. */
export const variablesPlaces = (app: string): readonly [string, string] => [app, `${app}/${app}`]

/** Where a job reads its variables. */
export const placeRead = (app: string, job: { readonly meta: Readonly<Record<string, string>> } | undefined): string =>
  job?.meta[META.variables] ?? app

/** How long a new instance may take until it is healthy. */
export const healthyDeadlineMs = ({ health }: Pick<AppSpec, 'health'>): number =>
  PULL_TIMEOUT_MS + (health ? health.startMs + (health.intervalMs + health.timeoutMs) * health.retries : 60_000)

export interface JobContext {
  readonly estate: string
  readonly cluster: Pick<ClusterSpec, 'datacenter'>
  readonly image: string
  /** So that a changed variable is a changed job, without its value being guessable from the job. */
  readonly variables: Variables
  /** Where they are kept; see `variablesPlaces`. */
  readonly variablesIn: string
  readonly hashKey: Secret
}

export function renderJob(app: AppSpec, context: JobContext): WantedJob {
  const { image, variables, variablesIn } = context
  const values = createHmac('sha256', context.hashKey.reveal())
  for (const [name, value] of variables) values.update(`${name}\0${value.reveal()}\0`)
  const variablesHash = values.digest('hex').slice(0, 16)
  const task = {
    ...renderTask(app.name, { image, cpuMhz: CPU_MHZ, memoryMb: app.memoryMb ?? DEFAULT_MEMORY_MB }),
    Config: { image, ports: ['http'], force_pull: false },
    Env: { PORT: String(app.port), LANDFALL_VARIABLES: variablesHash },
    ...(variables.length === 0
      ? {}
      : {
          Templates: [
            {
              // A change of a variable is a change of the job, which is rolled out; the file is written once.
              ChangeMode: 'noop',
              DestPath: 'secrets/app.env',
              Envvars: true,
              EmbeddedTmpl: `{{ with nomadVar "${variablesPath(variablesIn)}" }}{{ range .Tuples }}{{ .K }}={{ .V | toJSON }}\n{{ end }}{{ end }}`,
            },
          ],
        }),
  }
  const group = {
    Name: app.name,
    Count: app.replicas,
    ShutdownDelay: ns(SHUTDOWN_DELAY_MS),
    Networks: [{ Mode: 'host', DynamicPorts: [{ Label: 'http', To: app.port }] }],
    Services: [
      {
        Name: app.name,
        PortLabel: 'http',
        // Nomad's own registry keeps a stopping instance until its end (hashicorp/nomad issue 15602).
        Provider: 'consul',
        Checks: app.health
          ? [
              {
                Name: 'health',
                Type: 'http',
                Path: app.health.path,
                Interval: ns(app.health.intervalMs),
                Timeout: ns(app.health.timeoutMs),
              },
            ]
          : [{ Name: 'port', Type: 'tcp', Interval: ns(10_000), Timeout: ns(3_000) }],
      },
    ],
    RestartPolicy: { Attempts: 2, Interval: ns(30 * 60_000), Delay: ns(5_000), Mode: 'fail' },
    ReschedulePolicy: { Unlimited: true, Delay: ns(5_000), DelayFunction: 'exponential', MaxDelay: ns(3_600_000) },
    Tasks: [task],
  }
  const body = {
    ID: app.name,
    Name: app.name,
    Type: 'service',
    Region: 'global',
    Datacenters: [context.cluster.datacenter],
    // On different machines, as far as there are enough.
    Spreads: [{ Attribute: `\${node.unique.id}`, Weight: 100 }],
    Update: {
      MaxParallel: app.replicas,
      Canary: app.replicas,
      AutoPromote: true,
      AutoRevert: true,
      HealthCheck: 'checks',
      MinHealthyTime: ns(5_000),
      HealthyDeadline: ns(healthyDeadlineMs(app)),
      // None: the first instance that fails ends the rollout, instead of being tried again and again.
      ProgressDeadline: 0,
    },
    TaskGroups: [group],
  }
  const job = withHash(body, { id: app.name, image, estate: context.estate })
  return variablesIn === app.name
    ? job
    : { ...job, body: { ...job.body, Meta: { ...job.body.Meta, [META.variables]: variablesIn } } }
}

/** The job with the sum over itself in its Meta, which tells a changed one from one that runs already. */
export function withHash(
  body: Readonly<Record<string, unknown>>,
  { id, image, estate }: { readonly id: string; readonly image: string; readonly estate: string },
): WantedJob {
  const hash = createHash('sha256').update(JSON.stringify(body)).digest('hex').slice(0, 32)
  return { id, image, hash, body: { ...body, Meta: { [META.hash]: hash, [META.estate]: estate } } }
}

/** The same job once more, after it failed: Nomad does nothing with a body that it has already. */
export const anew = ({ body }: WantedJob, attempt: string): WantedJob['body'] => ({
  ...body,
  Meta: { ...body.Meta, [META.attempt]: attempt },
})

/** What every task has. */
export const renderTask = (
  name: string,
  { image, cpuMhz, memoryMb }: { readonly image: string; readonly cpuMhz: number; readonly memoryMb: number },
) => ({
  Name: name,
  Driver: 'docker',
  Config: { image, force_pull: false },
  KillTimeout: ns(KILL_TIMEOUT_MS),
  Resources: { CPU: cpuMhz, MemoryMB: memoryMb },
  LogConfig: { MaxFiles: 5, MaxFileSizeMB: 10 },
})
