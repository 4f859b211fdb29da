/** A machine's way out of the cluster: nobody is sent to it any more before its jobs move, and both before it is deleted. */

import { expect, test } from 'bun:test'
import { type Readers, World } from '../../../lib/engine/world.ts'
import type { Consul, Nomad } from '../../../lib/providers/ports/cluster.ts'
import { PROGRAM_TEXTS } from '../../../lib/providers/ssh/programs.ts'
import { replaceStep } from '../../../lib/steps/cluster-replace.ts'
import type { ClusterDeps, NodeState } from '../../../lib/steps/cluster-world.ts'
import type { LeadingDeps } from '../../../lib/steps/leading.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load } from '../estate/configs.ts'
import { address, deps as base, clusterPart, openNode, record, say, server, zone } from './worlds.ts'

const estate = load({
  project: 'nextnode',
  dns: { domain: 'example.com' },
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  placement_groups: ['nodes'],
  servers: { node: { type: 'cx33', count: 3, placement_group: 'nodes' } },
  cluster: { servers: 'node' },
})
const NODES = ['node', 'node-2', 'node-3'] as const

interface Scene {
  readonly isKnownDead?: boolean
  readonly records?: ReturnType<typeof record>[]
  /** Who votes in Nomad, when node-2 is not the only one that is away; `none`: it is not set up yet. */
  readonly nomadVoters?: readonly string[] | 'none'
}

/** Replaces node-2 of three, and tells what was done to the world, in order. */
async function replaced(
  isAlive: boolean,
  { isKnownDead = true, records = [], nomadVoters }: Scene = {},
): Promise<{ did: string[]; summary: string }> {
  const did: string[] = []
  if (!estate.cluster) throw new Error('the test config has no cluster')
  const nomad = {
    drainNode: async (id: string) => void did.push(`drain ${id}`),
    listAllocationsOn: async () => [],
    forgetNode: async (id: string) => void did.push(`nomad gives up ${id}`),
    forgetMember: async (name: string) => void did.push(`nomad forgets ${name}`),
  } as unknown as Nomad
  const consul = {
    listMembers: async () => [],
    forgetMember: async (name: string) => void did.push(`consul forgets ${name}`),
  } as unknown as Consul
  const deps: ClusterDeps & LeadingDeps = {
    ...base,
    estate,
    cluster: estate.cluster,
    programs: PROGRAM_TEXTS,
    clock: { nowMs: () => 0, monotonicMs: () => 0, sleep: async () => undefined },
    cloud: { deleteServer: async (id: string) => void did.push(`delete ${id}`) } as unknown as ClusterDeps['cloud'],
    machines: {
      async run(target: { name: string }, program: { name: string }, values: Readonly<Record<string, string>>) {
        did.push(`${program.name} on ${target.name}: ${values.VISITORS} ${values.BLIND_S}`)
        return { exitCode: 0, stdout: 'ok=1', stderr: '' }
      },
    } as unknown as ClusterDeps['machines'],
    consulOn: async () => consul,
    nomadOn: async () => nomad,
  }
  const nomadPart = nomadVoters === 'none' ? { ...clusterPart, running: false, files: 'none' } : clusterPart
  const open: NodeState = { ...openNode, parts: { ...openNode.parts, nomad: nomadPart } }
  const quorumOf = (voters: readonly string[]) =>
    ({ state: 'formed', voters, size: Math.max(2, voters.length), healthy: true, failed: [] }) as const
  const isThere = (name: string) => isAlive || name !== 'node-2'
  const slices: Partial<EstateWorld> = {
    servers: NODES.map(name => server(name, { id: name })),
    // The next node-2 gets it, so it stays.
    primaryIps: [address('1', 'node-2')],
    zone,
    records,
    moves: {},
    clusterNodes: Object.fromEntries(
      NODES.map(name => [name, isThere(name) ? open : { state: 'closed', why: 'no answer' }] as const),
    ),
    consul: {
      state: 'up',
      leader: true,
      quorum: quorumOf(NODES.filter(isThere)),
      members: NODES.map(name => ({ name, state: isThere(name) ? 'alive' : 'failed' })),
      policies: [],
      tokens: [],
    },
    nomad: {
      state: 'up',
      leader: true,
      token: 'known',
      ...(nomadVoters === 'none' ? {} : { quorum: quorumOf(nomadVoters ?? NODES.filter(isThere)) }),
      nodes: NODES.map(name => ({
        id: `id of ${name}`,
        name,
        status: isThere(name) || !isKnownDead ? 'ready' : 'down',
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
  const step = replaceStep(deps, 'node-2', 'node-2')
  await world.look([...step.reads])
  const finding = step.look(world)
  if (finding.state !== 'todo') throw new Error(`nothing to do: ${say(finding)}`)
  const [change] = finding.changes
  await change?.apply({ world, signal: new AbortController().signal, log: () => undefined })
  expect(world.get('primaryIps').map(({ id, serverId }) => ({ id, serverId }))).toEqual([{ id: '1', serverId: undefined }])
  return { did, summary: change?.summary ?? '' }
}

test('one that is alive: its visitors, its jobs, then the machine', async () => {
  expect(await replaced(true)).toEqual({
    summary: 'move visitors and jobs away from node-2, then delete server node-2, which is made anew',
    did: [
      // Two failed checks of 3 s and 1 s each, and a second more.
      'set-cluster-visitors on node-2: leave 9',
      'drain id of node-2',
      'delete node-2',
      'nomad gives up id of node-2',
      'consul forgets node-2',
      'nomad forgets node-2',
    ],
  })
})

test('one that somebody else’s name leads to stays, and nothing is done to it', async () => {
  const theirs = record('shop.example.com', '203.0.113.1', { comment: '' })
  await expect(replaced(true, { records: [theirs] })).rejects.toThrow('shop.example.com (A 203.0.113.1) would be left pointing')
})

test('one that does not answer: nobody asks it for anything', async () => {
  expect(await replaced(false)).toEqual({
    summary: 'delete server node-2, which is made anew',
    did: ['delete node-2', 'nomad gives up id of node-2', 'consul forgets node-2', 'nomad forgets node-2'],
  })
})

test('one that has just died, which Nomad does not know yet: its jobs are not waited for', async () => {
  expect(await replaced(false, { isKnownDead: false })).toEqual(await replaced(false))
})

test('one without which Nomad would lose its majority stays, though Consul would keep its own', async () => {
  // Another was replaced before, by a run that was killed between its Consul and its Nomad.
  await expect(replaced(true, { nomadVoters: ['node', 'node-2'] })).rejects.toThrow(
    'refused Without node-2 only 1 of 2 servers vote in Nomad, which is no majority: the cluster would stop.',
  )
})

test('one that fell ill before there was a Nomad anywhere goes', async () => {
  expect((await replaced(false, { nomadVoters: 'none' })).did[0]).toBe('delete node-2')
})
