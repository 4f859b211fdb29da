/** A machine's jobs move before it goes: what Nomad answers, as 1.6.1 does, about those that run everywhere and those that failed there. */

import { afterAll, expect, test } from 'bun:test'
import { createMeter } from '../../../lib/engine/meter.ts'
import { type Readers, World } from '../../../lib/engine/world.ts'
import { createNomad } from '../../../lib/providers/cluster/nomad.ts'
import type { Consul } from '../../../lib/providers/ports/cluster.ts'
import { takeOut } from '../../../lib/steps/cluster-out.ts'
import type { ClusterDeps } from '../../../lib/steps/cluster-world.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load } from '../estate/configs.ts'
import { fakeClock } from '../fake-clock.ts'
import { deps as base, openNode, server } from './worlds.ts'

interface Run {
  readonly JobID: string
  DesiredStatus: 'run' | 'stop'
  ClientStatus: 'running' | 'complete' | 'failed'
}

/** What runs on node-2. */
let runs: Run[] = []

/** A drain stops what runs; system jobs only when it is asked to; what has ended is as it was. */
const drain = ({ IgnoreSystemJobs }: { readonly IgnoreSystemJobs: boolean }): void => {
  for (const run of runs.filter(each => each.ClientStatus === 'running' && !(each.JobID === 'system' && IgnoreSystemJobs)))
    Object.assign(run, { DesiredStatus: 'stop', ClientStatus: 'complete' })
}

const stub = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  async fetch(request) {
    const { pathname } = new URL(request.url)
    if (pathname === '/v1/node/id/allocations') return Response.json(runs)
    if (pathname === '/v1/node/id/drain') drain(((await request.json()) as { DrainSpec: Parameters<typeof drain>[0] }).DrainSpec)
    return Response.json({})
  },
})
afterAll(() => stub.stop(true))

const estate = load({
  project: 'nextnode',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  placement_groups: ['nodes'],
  servers: { node: { type: 'cx33', count: 3, placement_group: 'nodes' } },
  cluster: { servers: 'node' },
})

/** Whether node-2 is deleted once its jobs have moved, or what keeps it. */
async function takenOut(): Promise<string> {
  if (!estate.cluster) throw new Error('the test config has no cluster')
  const clock = fakeClock()
  let deleted = 'not deleted'
  const context = {
    clock,
    meter: createMeter(),
    signal: new AbortController().signal,
    random: Math.random,
    log: () => undefined,
    beforeWrite: async () => undefined,
  }
  const deps: ClusterDeps = {
    ...base,
    estate,
    cluster: estate.cluster,
    clock,
    cloud: {
      deleteServer: async (id: string) => {
        deleted = `${id} deleted`
      },
    } as unknown as ClusterDeps['cloud'],
    consulOn: async () => ({ listMembers: async () => [], forgetMember: async () => undefined }) as unknown as Consul,
    nomadOn: async () => createNomad({ baseUrl: stub.url.origin, context }),
  }
  const names = estate.cluster.servers
  const slices: Partial<EstateWorld> = {
    servers: names.map(name => server(name, { id: name })),
    primaryIps: [],
    clusterNodes: Object.fromEntries(names.map(name => [name, openNode] as const)),
    nomad: { state: 'up', leader: true, token: 'known', nodes: [], jobs: {}, variables: {} },
  }
  const readers = new Proxy({}, { get: (_, name) => async () => Reflect.get(slices, name) }) as Readers<EstateWorld>
  const world = new World<EstateWorld>(readers)
  await world.look(['servers', 'primaryIps', 'clusterNodes', 'nomad'])
  const leaver = {
    server: { id: 'node-2', name: 'node-2' },
    known: [{ id: 'id' }],
    drained: { id: 'id' },
    successor: 'comes',
  } as const
  const failed = await takeOut(deps, leaver, world, { signal: context.signal, log: () => undefined }).then(
    () => undefined,
    (error: Error) => error.message,
  )
  return failed ?? deleted
}

test('what runs on every machine ends there too', async () => {
  runs = [
    { JobID: 'web', DesiredStatus: 'run', ClientStatus: 'running' },
    { JobID: 'system', DesiredStatus: 'run', ClientStatus: 'running' },
  ]
  expect(await takenOut()).toBe('node-2 deleted')
  expect(runs.map(run => run.ClientStatus)).toEqual(['complete', 'complete'])
})

test('an instance that failed there, and waits for its next attempt, keeps nobody waiting', async () => {
  runs = [{ JobID: 'web', DesiredStatus: 'run', ClientStatus: 'failed' }]
  expect(await takenOut()).toBe('node-2 deleted')
})
