/** A worker of the cluster that config.json no longer wants: found however it left the config, drained, deleted, forgotten; voters never. */

import { expect, test } from 'bun:test'
import { type Readers, World } from '../../../lib/engine/world.ts'
import { labelsFor } from '../../../lib/estate/labels.ts'
import type { Consul, Nomad } from '../../../lib/providers/ports/cluster.ts'
import { PROGRAM_TEXTS } from '../../../lib/providers/ssh/programs.ts'
import { leavingMachinesStep } from '../../../lib/steps/cluster-leave.ts'
import type { ClusterDeps } from '../../../lib/steps/cluster-world.ts'
import type { LeadingDeps } from '../../../lib/steps/leading.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load } from '../estate/configs.ts'
import { address, deps as base, openNode, pricing, say, server, serverType, zone } from './worlds.ts'

const VOTERS = ['node', 'node-2', 'node-3'] as const

const estateOf = (workers: number) =>
  load({
    project: 'acme',
    hetzner: { location: 'nbg1', image: 'debian-12' },
    network: {},
    placement_groups: ['nodes'],
    servers: {
      node: { type: 'cx33', count: 3, placement_group: 'nodes' },
      ...(workers > 0 ? { extra: { type: 'cx33', count: workers } } : {}),
    },
    cluster: { servers: 'node', ...(workers > 0 ? { workers: 'extra' } : {}) },
  })

interface Scene {
  readonly workers: number
  /** Beside the voters. */
  readonly names: readonly string[]
  /** Whose machines do not answer. */
  readonly dead?: readonly string[]
  readonly estate?: string
  readonly protectedNames?: readonly string[]
  /** Who votes, when not all do. */
  readonly voters?: readonly string[]
  /** Whose servers are gone, while Nomad still counts on them. */
  readonly ghosts?: readonly string[]
  readonly primaryIps?: EstateWorld['primaryIps']
}

async function open(scene: Scene) {
  const { workers, names, dead = [], estate: owner = 'acme', protectedNames = [], ghosts = [], primaryIps = [] } = scene
  const did: string[] = []
  const told = new Set<string>()
  const estate = estateOf(workers)
  if (!estate.cluster) throw new Error('the test config has no cluster')
  const all = [...VOTERS, ...names]
  const gone = new Set<string>()
  const nomad: Partial<Nomad> = {
    drainNode: async id => void did.push(`drain ${id}`),
    listAllocationsOn: async () => [],
    forgetNode: async id => void did.push(`nomad gives up ${id}`),
    forgetMember: async name => void did.push(`nomad forgets ${name}`),
  }
  const consul: Partial<Consul> = {
    listMembers: async () => all.filter(name => !gone.has(name)).map(name => ({ name, state: 'alive' as const })),
    forgetMember: async name => void did.push(`consul forgets ${name}`),
  }
  const deps: ClusterDeps & LeadingDeps = {
    ...base,
    estate,
    cluster: estate.cluster,
    programs: PROGRAM_TEXTS,
    clock: { nowMs: () => 0, monotonicMs: () => 0, sleep: async () => undefined },
    cloud: {
      async deleteServer(id: string) {
        did.push(`delete ${id}`)
        gone.add(id)
      },
      deletePrimaryIp: async (id: string) => void did.push(`delete address ${id}`),
    } as unknown as ClusterDeps['cloud'],
    machines: {
      look: async ({ name }: { name: string }) =>
        dead.includes(name) ? { state: 'unreachable', why: 'no answer' } : { state: 'ready' },
    } as unknown as ClusterDeps['machines'],
    consulOn: async ({ name }) => {
      told.add(name)
      return consul as Consul
    },
    nomadOn: async ({ name }) => {
      told.add(name)
      return nomad as Nomad
    },
  }
  const slices: Partial<EstateWorld> = {
    servers: all.map(name => {
      const made = server(name, { id: name, type: 'cx33', deleteProtected: protectedNames.includes(name) })
      const of = VOTERS.some(voter => voter === name) ? 'acme' : owner
      return { ...made, labels: { ...made.labels, ...labelsFor(of, name.replace(/-\d+$/, ''), 'run-0') } }
    }),
    serverTypes: [serverType('cx33')],
    pricing,
    primaryIps,
    zone,
    records: [],
    moves: {},
    clusterNodes: Object.fromEntries(VOTERS.map(name => [name, openNode] as const)),
    consul: { state: 'up', leader: true, members: [], policies: [], tokens: [] },
    nomad: {
      state: 'up',
      leader: true,
      token: 'known',
      quorum: { state: 'formed', voters: scene.voters ?? VOTERS, size: VOTERS.length, healthy: true, failed: [] },
      nodes: [...all, ...ghosts].map(name => ({
        id: `id of ${name}`,
        name,
        status: 'ready' as const,
        eligible: true,
        draining: false,
        version: '1.0.0',
      })),
      jobs: {},
      variables: {},
    },
  }
  const readers = new Proxy({}, { get: (_, name) => async () => Reflect.get(slices, name) }) as Readers<EstateWorld>
  const world = new World<EstateWorld>(readers)
  const step = leavingMachinesStep(deps)
  await world.look([...step.reads])
  const finding = step.look(world)
  const apply = async () => {
    if (finding.state !== 'todo') throw new Error(`nothing to do: ${JSON.stringify(finding)}`)
    for (const change of finding.changes)
      await change.apply({ world, signal: new AbortController().signal, log: () => undefined })
    return did
  }
  return { said: say(finding), finding, apply, told }
}

test('one too many gives its jobs away, goes, and is forgotten; its price is freed', async () => {
  const { said, finding, apply } = await open({ workers: 1, names: ['extra', 'extra-2'] })
  expect(said).toBe('todo destroy move the jobs away from extra-2, then delete it: config.json no longer wants it')
  expect(finding.state === 'todo' && finding.changes[0]?.monthlyNet).toBeCloseTo(-6.99)
  expect(await apply()).toEqual([
    'drain id of extra-2',
    'delete extra-2',
    'nomad gives up id of extra-2',
    'consul forgets extra-2',
    'nomad forgets extra-2',
  ])
})

test('the last of a group goes too, although config.json does not name the group any more', async () => {
  const { said, apply } = await open({ workers: 0, names: ['extra'] })
  expect(said).toBe('todo destroy move the jobs away from extra, then delete it: config.json no longer wants it')
  expect((await apply())[0]).toBe('drain id of extra')
})

test('the address that a rebuild had put aside for it goes with it, and no other', async () => {
  const primaryIps = [address('1', 'extra-2'), address('2', 'extra')]
  const { finding, apply } = await open({ workers: 1, names: ['extra', 'extra-2'], dead: ['extra-2'], primaryIps })
  expect(finding.state === 'todo' && finding.changes[0]?.details).toEqual(['203.0.113.101, put aside for it, goes with it'])
  expect((await apply()).slice(0, 2)).toEqual(['delete extra-2', 'delete address 1'])
  expect((await apply()).filter(did => did === 'delete address 2')).toEqual([])
})

test('one that does not answer is not waited for', async () => {
  const { apply } = await open({ workers: 1, names: ['extra', 'extra-2'], dead: ['extra-2'] })
  expect((await apply())[0]).toBe('delete extra-2')
})

test('its leave is told to a server that votes, not to the first one when that is cut off', async () => {
  const { apply, told } = await open({ workers: 1, names: ['extra', 'extra-2'], voters: ['node-2', 'node-3'] })
  await apply()
  expect([...told]).toEqual(['node-2'])
})

test('voters, what is wanted, and what is not ours stay', async () => {
  expect((await open({ workers: 1, names: ['extra', 'node-4'] })).said).toBe('done none')
  expect((await open({ workers: 0, names: ['extra'], estate: 'another' })).said).toBe('done none')
})

test('a protected one is named before anything is done', async () => {
  expect((await open({ workers: 0, names: ['extra'], protectedNames: ['extra'] })).said).toBe(
    'refused extra is no longer wanted, and protected against deletion at the vendor.',
  )
})

test('what a run that was cut short has deleted is forgotten by the next one', async () => {
  const { said, apply } = await open({ workers: 1, names: ['extra'], ghosts: ['extra-2'] })
  expect(said).toBe('todo change forget extra-2, whose server is gone')
  expect(await apply()).toEqual(['nomad gives up id of extra-2', 'consul forgets extra-2', 'nomad forgets extra-2'])
})
