/** A rollout followed to its end: healthy, taken back to the version before, or with nothing to go back to. */

import { expect, test } from 'bun:test'
import { createAuthority } from '../../../lib/cluster/pki.ts'
import { generateSecrets } from '../../../lib/cluster/secrets.ts'
import { type Readers, World } from '../../../lib/engine/world.ts'
import type { Allocation, Deployment, Job, Nomad } from '../../../lib/providers/ports/cluster.ts'
import { Secret } from '../../../lib/secret.ts'
import { type JobDeps, jobSteps } from '../../../lib/steps/cluster-job.ts'
import type { NodeState, NomadState } from '../../../lib/steps/cluster-world.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load } from '../estate/configs.ts'
import { deps as base, server } from '../steps/worlds.ts'

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

const part = { version: '1.0.0', running: true, files: 'x', certificate: 'good', certificateHash: '' } as const
const node: NodeState = {
  state: 'open',
  privateIp: '172.16.0.2',
  interface: 'enp7s0',
  leaving: false,
  secrets,
  parts: { consul: part, nomad: part, caddy: part },
}
const jobAt = (revision: number, image: string): Job => ({
  id: 'web',
  status: 'running',
  stopped: false,
  index: 10 + revision,
  revision,
  meta: { landfall_estate: 'nextnode', landfall_hash: image },
  image,
  count: 1,
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

/** Applies the job's change against a Nomad that goes through `states`, one for each time it is asked for the deployment. */
async function rollOut(before: Job | undefined, states: readonly { job: Job; deployment: Deployment }[]) {
  const registered: { index: number | undefined }[] = []
  let at = -1
  const now = () => states[Math.min(Math.max(at, 0), states.length - 1)]
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
  const nomad = {
    setJob: async (_: unknown, index: number | undefined) => void registered.push({ index }),
    findJob: async () => now()?.job,
    findDeployment: async () => {
      at += 1
      return now()?.deployment
    },
    listAllocations: async () => [bad],
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
    jobs: before ? { web: { job: before, deployment: deploymentAt(before.revision, 'successful') } } : {},
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
  const step = jobSteps(deps, cluster.apps, 'chosen').find(each => each.id === 'job web')
  const finding = step?.look(world)
  if (finding?.state !== 'todo') throw new Error(`nothing to do: ${JSON.stringify(finding)}`)
  const [change] = finding.changes
  const error = await change?.apply({ world, signal: new AbortController().signal, log: () => undefined }).then(
    () => undefined,
    (caught: unknown) => caught,
  )
  return { summary: change?.summary, registered, said: error instanceof Error ? error.message : '', waitedMs: ms }
}

test('a healthy one is registered once, over the version that was seen, and waited for', async () => {
  const { summary, registered, said } = await rollOut(jobAt(0, 'web:1'), [
    { job: jobAt(1, 'web:2'), deployment: deploymentAt(1, 'running') },
    { job: jobAt(1, 'web:2'), deployment: deploymentAt(1, 'successful') },
  ])
  expect({ summary, registered, said }).toEqual({ summary: 'roll out web: web:1 → web:2', registered: [{ index: 10 }], said: '' })
})

test('one that fails is said to be taken back when the version before stands again, with what it printed', async () => {
  const { said, waitedMs } = await rollOut(jobAt(0, 'web:1'), [
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

test('the first version has nothing to go back to', async () => {
  const { said, waitedMs } = await rollOut(undefined, [{ job: jobAt(1, 'web:2'), deployment: deploymentAt(1, 'failed') }])
  expect(said).toBe('The new version of web did not become healthy.\nprod: Exceeded allowed attempts (no such file)')
  expect(waitedMs).toBeLessThan(10_000)
})
