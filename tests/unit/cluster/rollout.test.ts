/** A rollout followed to its end: healthy, taken back to the version before, or with nothing to go back to. */

import { describe, expect, test } from 'bun:test'
import { createAuthority } from '../../../lib/cluster/pki.ts'
import { generateSecrets } from '../../../lib/cluster/secrets.ts'
import { type Readers, World } from '../../../lib/engine/world.ts'
import type { Allocation, Deployment, Job, Nomad } from '../../../lib/providers/ports/cluster.ts'
import { Secret } from '../../../lib/secret.ts'
import { type JobDeps, jobSteps } from '../../../lib/steps/cluster-job.ts'
import type { JobState, NodeState, NomadState } from '../../../lib/steps/cluster-world.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load } from '../estate/configs.ts'
import { deps as base, openNode, server } from '../steps/worlds.ts'

const estate = load({
  project: 'nextnode',
  dns: { domain: 'example.com' },
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  servers: { prod: { type: 'cx33' } },
  cluster: { servers: 'prod' },
  apps: { web: { source: { image: 'web:2' }, replicas: 1, domains: [{ host: 'www.example.com' }] } },
})
const clusterIn = ({ cluster }: typeof estate) => {
  if (!cluster) throw new Error('the test config has no cluster')
  return cluster
}
const cluster = clusterIn(estate)
const secrets = generateSecrets(await createAuthority('nextnode', 0))

const node: NodeState = { ...openNode, secrets }
const jobAt = (revision: number, image: string, change: Partial<Job> = {}): Job => ({
  id: 'web',
  status: 'running',
  stopped: false,
  index: 10 + revision,
  revision,
  stable: true,
  meta: { landfall_estate: 'nextnode', landfall_hash: image },
  image,
  count: 1,
  ...change,
})
const deploymentAt = (jobRevision: number, status: Deployment['status']): Deployment => ({
  id: `d${jobRevision}`,
  status,
  why: '',
  jobRevision,
  wanted: 1,
  placed: 1,
  healthy: 0,
  unhealthy: 0,
})

interface Registered {
  readonly index: number | undefined
  readonly meta: Readonly<Record<string, string>>
}
type Body = { readonly Meta: Registered['meta'] }

const bad: Allocation = {
  id: 'a',
  job: 'web',
  jobRevision: 1,
  node: 'prod',
  state: 'failed',
  wanted: false,
  healthy: false,
  said: 'Exceeded allowed attempts',
}

/** The job's step against a Nomad that goes through `states`, one for each time it is asked for the deployment. */
async function stepAfter(
  before: JobState | undefined,
  states: readonly Required<JobState>[] = [],
  allocations: readonly Allocation[] = [bad],
) {
  const registered: Registered[] = []
  const ended: string[] = []
  let at = -1
  const now = () => states[Math.min(Math.max(at, 0), states.length - 1)]
  const nomad = {
    setJob: async ({ Meta: meta }: Body, index: number | undefined) => void registered.push({ index, meta }),
    findJob: async () => now()?.job,
    findDeployment: async () => {
      at += 1
      return now()?.deployment
    },
    failDeployment: async (id: string) => {
      ended.push(id)
      at = states.findIndex(each => each.deployment.status === 'failed') - 1
    },
    listAllocations: async () => allocations,
    readLogs: async () => 'starting\nno such file\n',
  } as unknown as Nomad
  let ms = 0
  const sleep = async (duration: number) => {
    ms += duration
  }
  const deps: JobDeps = {
    ...base,
    estate,
    cluster,
    clock: { nowMs: () => ms, monotonicMs: () => ms, sleep },
    consulOn: () => Promise.reject(new Error('a rollout asked Consul')),
    nomadOn: async () => nomad,
    variablesOf: () => [['NAME', new Secret('NAME', 'value')]],
    images: {},
    imagesIn: () => Promise.reject(new Error('a rollout asked the registry')),
    contextOf: () => {
      throw new Error('a rollout read a folder')
    },
  }
  const state: NomadState = {
    state: 'up',
    leader: true,
    token: 'known',
    nodes: [],
    jobs: before ? { web: before } : {},
    variables: {},
  }
  const slices: Partial<EstateWorld> = {
    servers: [server('prod', { labels: { ...server('prod-dokploy').labels } })],
    clusterNodes: { prod: node },
    nomad: state,
  }
  const readers = new Proxy({}, { get: (_, name) => async () => Reflect.get(slices, name) }) as Readers<EstateWorld>
  const world = new World<EstateWorld>(readers)
  await world.look(['servers', 'clusterNodes', 'nomad'])
  const finding = jobSteps(deps, cluster.apps, 'chosen')
    .find(each => each.id === 'job web')
    ?.look(world)
  if (!finding) throw new Error('the app has no step')
  return { finding, world, registered, ended, waitedMs: () => ms }
}

/** Applies the job's change. */
async function rollOut(before: JobState | undefined, states: readonly Required<JobState>[], allocations?: readonly Allocation[]) {
  const { finding, world, registered, ended, waitedMs } = await stepAfter(before, states, allocations)
  if (finding.state !== 'todo') throw new Error(`nothing to do: ${JSON.stringify(finding)}`)
  const [change] = finding.changes
  const error = await change?.apply({ world, signal: new AbortController().signal, log: () => undefined }).then(
    () => undefined,
    (caught: unknown) => caught,
  )
  return { summary: change?.summary, registered, ended, said: error instanceof Error ? error.message : '', waitedMs: waitedMs() }
}

/** What the job of the app is registered with the first time. */
const wanted = async (): Promise<Registered['meta']> => {
  const { registered } = await rollOut(undefined, [{ job: jobAt(0, 'web:2'), deployment: deploymentAt(0, 'successful') }])
  return registered[0]?.meta ?? {}
}

const before = { job: jobAt(0, 'web:1'), deployment: deploymentAt(0, 'successful') }

test('a healthy one is registered once, over the version that was seen, and waited for', async () => {
  const { summary, registered, said } = await rollOut(before, [
    { job: jobAt(1, 'web:2'), deployment: deploymentAt(1, 'running') },
    { job: jobAt(1, 'web:2'), deployment: deploymentAt(1, 'successful') },
  ])
  expect({ summary, registered, said }).toEqual({
    summary: 'roll out web: web:1 → web:2',
    registered: [{ index: 10, meta: { landfall_estate: 'nextnode', landfall_hash: expect.any(String) } }],
    said: '',
  })
})

test('one that fails is said to be taken back when the version before stands again, with what it printed', async () => {
  const { said, waitedMs } = await rollOut(before, [
    { job: jobAt(1, 'web:2'), deployment: deploymentAt(1, 'running') },
    { job: jobAt(1, 'web:2'), deployment: deploymentAt(1, 'failed') },
    { job: jobAt(2, 'web:1'), deployment: deploymentAt(2, 'running') },
    { job: jobAt(2, 'web:1'), deployment: deploymentAt(2, 'successful') },
  ])
  expect(said).toBe(
    'The new version of web did not become healthy, so Nomad took it back: web:1 runs.\nprod: Exceeded allowed attempts (no such file)',
  )
  expect(waitedMs).toBeLessThan(10_000)
})

test('one that does not end is ended, so that the version before stands again, and the next run tries anew', async () => {
  const stuck = { job: jobAt(1, 'web:2'), deployment: { ...deploymentAt(1, 'running'), placed: 0 } }
  const { said, ended, waitedMs } = await rollOut(
    before,
    [
      ...Array.from({ length: 1_000 }, () => stuck),
      { job: jobAt(1, 'web:2'), deployment: deploymentAt(1, 'failed') },
      { job: jobAt(2, 'web:1'), deployment: deploymentAt(2, 'successful') },
    ],
    [],
  )
  expect(ended).toEqual(['d1'])
  expect(said).toBe(
    'The new version of web did not become healthy, so Nomad took it back: web:1 runs.\n0 of 1 new instances found a machine, 0 were healthy in time.',
  )
  expect(waitedMs).toBeLessThan(6 * 60_000)
})

test('the first version has nothing to go back to', async () => {
  const { said, waitedMs } = await rollOut(undefined, [{ job: jobAt(1, 'web:2'), deployment: deploymentAt(1, 'failed') }])
  expect(said).toBe('The new version of web did not become healthy.\nprod: Exceeded allowed attempts (no such file)')
  expect(waitedMs).toBeLessThan(10_000)
})

test('one that failed, with nothing to go back to, is registered as another job, because Nomad does nothing with the same', async () => {
  const meta = await wanted()
  const failed = { job: jobAt(0, 'web:2', { meta, stable: false, status: 'dead' }), deployment: deploymentAt(0, 'failed') }
  const { summary, registered, said } = await rollOut(failed, [
    { job: jobAt(1, 'web:2'), deployment: deploymentAt(1, 'successful') },
  ])
  expect({ summary, said }).toEqual({ summary: 'roll out web: its last rollout failed', said: '' })
  expect(registered).toEqual([{ index: 10, meta: { ...meta, landfall_attempt: 'run-1' } }])
  // With the mark of an attempt it is still the wanted one.
  const healthy = { job: jobAt(1, 'web:2', { meta: registered[0]?.meta ?? {} }), deployment: deploymentAt(1, 'successful') }
  expect((await stepAfter(healthy)).finding.state).toBe('done')
})

describe('a job whose rollout Nomad has forgotten', () => {
  const sayAfter = async (change: Partial<Job>, deployment?: Deployment) => {
    const job = jobAt(1, 'web:2', { meta: await wanted(), ...change })
    const { finding } = await stepAfter({ job, ...(deployment ? { deployment } : {}) })
    return finding.state === 'todo' ? finding.changes.map(({ kind, summary }) => `${kind} ${summary}`).join() : finding.state
  }
  const again = 'change roll out web: its last rollout failed'

  test('is as wanted when it went well', async () => {
    expect(await sayAfter({})).toBe('done')
    expect(await sayAfter({}, deploymentAt(0, 'successful'))).toBe('done')
  })

  test('is rolled out again when it did not, or nothing of it is left', async () => {
    expect(await sayAfter({ stable: false })).toBe(again)
    expect(await sayAfter({ stable: false }, deploymentAt(0, 'successful'))).toBe(again)
    expect(await sayAfter({ status: 'dead' })).toBe(again)
    expect(await sayAfter({ stopped: true, status: 'dead' })).toBe('create run web (1 × web:2)')
  })

  test('is waited for only while Nomad rolls it out', async () => {
    expect(await sayAfter({ stable: false }, deploymentAt(1, 'running'))).toBe('wait wait for the rollout of web')
  })

  test('is as many as wanted again after somebody scaled it', async () => {
    expect(await sayAfter({ count: 3 })).toBe('change roll out web: 3 → 1 instances')
  })
})
