/** The cluster's looks: everything as wanted, a worker added, a setting drifted, a newer program, a certificate that has to go round. */

import { describe, expect, test } from 'bun:test'
import { caddyFiles } from '../../../lib/cluster/caddy.ts'
import { META } from '../../../lib/cluster/job.ts'
import { renderMonitoring } from '../../../lib/cluster/monitoring.ts'
import { createAuthority } from '../../../lib/cluster/pki.ts'
import { consulFiles, hashOf, nomadFiles, type Part } from '../../../lib/cluster/render.ts'
import { generateSecrets } from '../../../lib/cluster/secrets.ts'
import { isEmpty, makePlan, type Plan } from '../../../lib/engine/plan.ts'
import { type Readers, World } from '../../../lib/engine/world.ts'
import { LandfallError } from '../../../lib/errors.ts'
import type { ClusterSpec } from '../../../lib/estate/cluster.ts'
import { labelsFor } from '../../../lib/estate/labels.ts'
import type { Server } from '../../../lib/providers/ports/cloud.ts'
import type { Consul, Job, Nomad } from '../../../lib/providers/ports/cluster.ts'
import { PROGRAM_TEXTS } from '../../../lib/providers/ssh/programs.ts'
import { Secret } from '../../../lib/secret.ts'
import { surplusTokenStep } from '../../../lib/steps/cluster-access.ts'
import { sharedCertificateStep } from '../../../lib/steps/cluster-certificate.ts'
import { monitoringSteps } from '../../../lib/steps/cluster-monitoring.ts'
import type { Keeps } from '../../../lib/steps/cluster-node.ts'
import { clusterSteps } from '../../../lib/steps/cluster-quorum.ts'
import { surplusJobsStep } from '../../../lib/steps/cluster-surplus.ts'
import {
  type ClusterDeps,
  certificateHashOf,
  hostOf,
  type NodeState,
  readConsul,
  readNomad,
  type SharedCertificate,
} from '../../../lib/steps/cluster-world.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load } from '../estate/configs.ts'
import { fakeClock } from '../fake-clock.ts'
import { deps as base, lookAt, say, server } from './worlds.ts'

type Open = Extract<NodeState, { state: 'open' }>

const estateOf = (workers: number, cluster: Readonly<Record<string, unknown>> = {}) =>
  load({
    project: 'acme',
    dns: { domain: 'example.com' },
    hetzner: { location: 'nbg1', image: 'debian-12' },
    network: {},
    placement_groups: ['nodes'],
    servers: { node: { type: 'cx33', count: 3, placement_group: 'nodes' }, extra: { type: 'cx33', count: workers } },
    cluster: { servers: 'node', workers: 'extra', ...cluster },
    apps: { web: { source: { image: 'web:1' }, domains: [{ host: 'www.example.com' }] } },
  })

const secrets = generateSecrets(await createAuthority('acme', 0))
const shared: SharedCertificate = {
  certificate: 'a certificate',
  privateKey: new Secret('key', 'a key'),
  names: ['www.example.com'],
  notAfterMs: Date.UTC(2026, 3, 1),
  lasting: true,
  index: 7,
}

const specOf = (estate: ReturnType<typeof estateOf>): ClusterSpec => {
  if (!estate.cluster) throw new Error('the test config has no cluster')
  return estate.cluster
}

const untouched = () => Promise.reject(new Error('a look asked the cluster'))
const depsOf = (estate: ReturnType<typeof estateOf>): ClusterDeps => ({
  ...base,
  estate,
  cluster: specOf(estate),
  consulOn: untouched,
  nomadOn: untouched,
})

/** A machine as it is when everything on it is as `cluster` has it. */
const asWanted = (cluster: ClusterSpec, name: string, at: number): Open => {
  const role = cluster.servers.includes(name) ? 'server' : 'worker'
  const node = { name, role, privateIp: `172.16.0.${at}`, interface: 'enp7s0' } as const
  const files = { consul: consulFiles(cluster, node, secrets), nomad: nomadFiles(cluster, node, secrets) }
  const part = (which: Part) => ({
    version: '1.0.0',
    running: true,
    files: hashOf(which === 'caddy' ? caddyFiles(cluster, 'admin@example.com') : files[which]),
    certificate: 'good' as const,
    certificateHash: which === 'caddy' ? certificateHashOf(shared.certificate) : '',
  })
  return {
    state: 'open',
    privateIp: node.privateIp,
    interface: node.interface,
    leaving: false,
    ...(role === 'server' ? { secrets } : {}),
    parts: { consul: part('consul'), nomad: part('nomad'), caddy: part('caddy') },
  }
}

const ownServer = (name: string): Server => {
  const made = server(name, { id: name })
  return { ...made, labels: { ...made.labels, ...labelsFor('acme', 'prod', 'run-0') } }
}

const OURS = ['landfall-agent', 'landfall-reader', 'landfall-nomad']
const BARE = { running: false, files: 'none', certificate: 'bad', certificateHash: '' } as const

function worldOf(cluster: ClusterSpec, change: Readonly<Record<string, NodeState>> = {}): Partial<EstateWorld> {
  const names = [...cluster.servers, ...cluster.workers]
  const formed = { state: 'formed', voters: cluster.servers, size: 3, healthy: true, failed: [] } as const
  const joined = names.filter(name => !(name in change))
  return {
    servers: [],
    machines: Object.fromEntries(names.map(name => [name, { state: 'ready' }])) as unknown as EstateWorld['machines'],
    clusterNodes: { ...Object.fromEntries(names.map((name, index) => [name, asWanted(cluster, name, index + 2)])), ...change },
    consul: {
      state: 'up',
      leader: true,
      quorum: formed,
      members: joined.map(name => ({ name, state: 'alive' })),
      policies: OURS.map(name => ({ id: `policy ${name}`, name })),
      tokens: OURS.map(name => ({ id: `token ${name}`, description: name, policies: [name] })),
    },
    nomad: {
      state: 'up',
      leader: true,
      token: 'known',
      quorum: formed,
      nodes: joined.map(name => ({ id: name, name, status: 'ready', eligible: true, draining: false, version: '1.0.0' })),
      jobs: {},
      variables: {},
      certificate: shared,
    },
  }
}

const planOf = (estate: ReturnType<typeof estateOf>, world: Partial<EstateWorld>, keeps?: Keeps): Plan<EstateWorld> =>
  makePlan(clusterSteps(depsOf(estate), keeps), { get: slice => world[slice] as EstateWorld[typeof slice] }, { partial: true })

const changesOf = ({ entries }: Plan<EstateWorld>): string[] =>
  entries.flatMap(({ finding }) => (finding.state === 'todo' ? finding.changes.map(change => change.summary) : []))

const pick = (world: Partial<EstateWorld>, name: string): Open => {
  const node = world.clusterNodes?.[name]
  if (node?.state !== 'open') throw new Error(`no machine ${name}`)
  return node
}

test('as wanted there is nothing to do', () => {
  const estate = estateOf(2)
  const plan = planOf(estate, worldOf(specOf(estate)))
  expect(plan.entries.filter(({ finding }) => finding.state !== 'done').map(({ step }) => step.id)).toEqual([])
  expect(isEmpty(plan)).toBe(true)
})

test('a worker that is added is set up, and nothing else is touched', () => {
  const estate = estateOf(2)
  const bare: NodeState = {
    state: 'open',
    privateIp: '172.16.0.6',
    interface: 'enp7s0',
    leaving: false,
    parts: { consul: BARE, nomad: BARE, caddy: BARE },
  }
  const plan = planOf(estate, worldOf(specOf(estate), { 'extra-2': bare }))
  expect(changesOf(plan)).toEqual([
    'set up consul on extra-2 (install consul, configure it, its certificate, start it)',
    'set up nomad on extra-2 (install nomad, configure it, its certificate, start it)',
    'wait until 5 machines take jobs',
  ])
})

test('a drifted setting and a newer program go round one machine after another', () => {
  const estate = estateOf(1)
  const world = worldOf(specOf(estate))
  const drifted = pick(world, 'node-2')
  const changed = { ...drifted, parts: { ...drifted.parts, consul: { ...drifted.parts.consul, files: 'other' } } }
  expect(changesOf(planOf(estate, { ...world, clusterNodes: { ...world.clusterNodes, 'node-2': changed } }))).toEqual([
    'change consul on node-2 (its configuration)',
  ])
  const newer = estateOf(1, { nomad: { version: '1.1.0' } })
  const plan = planOf(newer, worldOf(specOf(newer)))
  expect(changesOf(plan)).toEqual(
    ['node', 'node-2', 'node-3', 'extra'].map(name => `change nomad on ${name} (nomad 1.0.0 → 1.1.0)`),
  )
  const needs = (id: string) => plan.entries.find(({ step }) => step.id === id)?.step.needs
  expect(needs('nomad node-2')).toContain('nomad node')
  expect(needs('nomad node-3')).toContain('nomad node-2')
})

describe('a server that is to be restarted', () => {
  const newer = estateOf(1, { nomad: { version: '1.1.0' } })
  const world = worldOf(specOf(newer))
  const stopped = (part: Part): EstateWorld['clusterNodes'] => {
    const node = pick(world, 'node-3')
    const parts = { ...node.parts, [part]: { ...node.parts[part], version: '1.1.0', running: false } }
    return { ...world.clusterNodes, 'node-3': { ...node, parts } }
  }

  test('waits until another that does not run is back', () => {
    const plan = planOf(newer, { ...world, clusterNodes: stopped('nomad') })
    expect(changesOf(plan)).toEqual([
      'change nomad on node-3 (start it)',
      'change nomad on node (nomad 1.0.0 → 1.1.0)',
      'change nomad on node-2 (nomad 1.0.0 → 1.1.0)',
      'change nomad on extra (nomad 1.0.0 → 1.1.0)',
    ])
    const [first, second] = plan.entries.filter(({ finding }) => finding.state === 'todo').map(({ step }) => step)
    expect(second?.needs).toContain(first?.id ?? '')
  })

  test('stays as it is while the others have no majority without it', async () => {
    const did: string[] = []
    const restarted = async (voters: readonly string[], size = 3): Promise<string> => {
      const nomad: Partial<Nomad> = {
        hasLeader: async () => true,
        quorum: async () => ({ state: 'formed', voters, size, healthy: true, failed: [] }),
        listNodes: async () => worldNodes,
      }
      const deps: ClusterDeps = {
        ...depsOf(newer),
        clock: fakeClock(),
        programs: PROGRAM_TEXTS,
        machines: {
          async run({ name }: { name: string }, program: { name: string }) {
            did.push(`${program.name} on ${name}`)
            return { exitCode: 0, stdout: 'ok=1', stderr: '' }
          },
        } as unknown as ClusterDeps['machines'],
        nomadOn: async () => nomad as Nomad,
      }
      const state = { ...world, servers: specOf(newer).servers.map(ownServer) }
      const worldNodes = state.nomad?.state === 'up' ? state.nomad.nodes : []
      const readers = new Proxy({}, { get: (_, slice) => async () => Reflect.get(state, slice) }) as Readers<EstateWorld>
      const live = new World<EstateWorld>(readers)
      await live.look(['servers', 'machines', 'clusterNodes', 'consul', 'nomad'])
      const finding = clusterSteps(deps)
        .find(({ id }) => id === 'nomad node-2')
        ?.look(live)
      if (finding?.state !== 'todo') throw new Error('nothing to do')
      const [change] = finding.changes
      did.length = 0
      return (
        change?.apply({ world: live, signal: new AbortController().signal, log: () => undefined }).then(
          () => did.join(', '),
          (error: Error) => `${error.message} ${did.join(', ')}`,
        ) ?? ''
      )
    }
    const done = 'set-cluster-part on node-2, confirm-cluster-part on node-2'
    expect(await restarted(['node', 'node-2', 'node-3'])).toBe(done)
    expect(await restarted(['node', 'node-2'])).toBe(
      'After 60 s Nomad still has no majority without node-2, so it is not restarted there. ',
    )
    // One of two cannot be spared, which there are only while a cluster grows.
    expect(await restarted(['node', 'node-2'], 2)).toContain('set-cluster-part on node-2')
  })
})

test('a machine whose visitors were sent elsewhere, by a run that did not end, gets them back', () => {
  const estate = estateOf(1)
  const world = worldOf(specOf(estate))
  const left = { ...pick(world, 'node-2'), leaving: true }
  expect(changesOf(planOf(estate, { ...world, clusterNodes: { ...world.clusterNodes, 'node-2': left } }))).toEqual([
    'change caddy on node-2 (let visitors come again)',
  ])
})

test('a change that was cut short, or refused, is not taken for done: not by a renewal either', () => {
  const estate = estateOf(1)
  const world = worldOf(specOf(estate))
  const node = pick(world, 'node-2')
  for (const part of ['consul', 'nomad', 'caddy'] as const) {
    const cut = { ...node, parts: { ...node.parts, [part]: { ...node.parts[part], files: 'untaken' } } }
    const after = { ...world, clusterNodes: { ...world.clusterNodes, 'node-2': cut } }
    for (const keeps of ['everything', 'certificates'] as const)
      expect(changesOf(planOf(estate, after, keeps))).toEqual([`change ${part} on node-2 (finish its last change)`])
  }
})

describe('monitoring that is switched off', () => {
  const estate = estateOf(1)
  const world = worldOf(specOf(estate))
  const consul = world.consul?.state === 'up' ? world.consul : undefined
  if (!consul) throw new Error('the test world has no Consul')
  const policy = { id: 'p', name: 'landfall-metrics' }
  const token = (id: string, description: string, ...policies: string[]) => ({ id, description, policies })
  const left = token('ours', 'landfall-metrics', 'landfall-metrics')

  const takenOut = async (tokens: readonly ReturnType<typeof token>[], policies = [policy]) => {
    const asked: string[] = []
    const api: Partial<Consul> = {
      deleteToken: async id => void asked.push(`token ${id}`),
      deletePolicy: async id => void asked.push(`policy ${id}`),
    }
    const deps: ClusterDeps = { ...depsOf(estate), consulOn: async () => api as Consul }
    const state = {
      ...world,
      servers: specOf(estate).servers.map(ownServer),
      consul: { ...consul, policies: [...consul.policies, ...policies], tokens: [...consul.tokens, ...tokens] },
    }
    const readers = new Proxy({}, { get: (_, slice) => async () => Reflect.get(state, slice) }) as Readers<EstateWorld>
    const live = new World<EstateWorld>(readers)
    await live.look(['servers', 'clusterNodes', 'consul'])
    const finding = surplusTokenStep(deps).look(live)
    if (finding.state !== 'todo') return { said: finding.state, asked }
    for (const change of finding.changes)
      await change.apply({ world: live, signal: new AbortController().signal, log: () => undefined })
    return { said: finding.changes.map(({ kind, summary }) => `${kind} ${summary}`).join(), asked }
  }

  test('leaves no right behind, and a second run finds nothing', async () => {
    expect(await takenOut([left])).toEqual({
      said: "change take the monitoring's right to read figures out of Consul",
      asked: ['token ours', 'policy p'],
    })
    expect(await takenOut([], [])).toEqual({ said: 'done', asked: [] })
  })

  test('takes nothing that somebody else made', async () => {
    const theirs = [token('other', 'landfall-metrics', 'landfall-metrics', 'more'), token('third', 'graphs', 'landfall-metrics')]
    expect((await takenOut([left, ...theirs])).asked).toEqual(['token ours'])
    expect(await takenOut(theirs)).toEqual({ said: 'done', asked: [] })
  })
})

test('monitoring that has given up, or waits for its next attempt, is started anew', () => {
  const estate = estateOf(1, { monitoring: {} })
  const cluster = specOf(estate)
  if (!cluster.monitoring) throw new Error('the test config has no monitoring')
  const world = worldOf(cluster)
  if (world.nomad?.state !== 'up') throw new Error('the test world has no Nomad')
  const jobs = renderMonitoring({ estate: 'acme', cluster, monitoring: cluster.monitoring })
  const keptAs = (status: Job['status']) =>
    Object.fromEntries(
      jobs.map(({ id, image, body }) => {
        const job: Job = { id, status, stopped: false, index: 7, revision: 0, stable: false, meta: body.Meta, image, count: 1 }
        return [id, { job }]
      }),
    )
  const steps = monitoringSteps({ ...depsOf(estate), cluster }, cluster.monitoring).filter(step => step.id.startsWith('job '))
  const nomad = world.nomad
  const saidOf = (status: Job['status']) =>
    steps.map(step => say(lookAt(step, { ...world, nomad: { ...nomad, jobs: keptAs(status) } })))
  expect(saidOf('running')).toEqual(jobs.map(({ image }) => `done ${image}`))
  for (const status of ['dead', 'pending'] as const)
    expect(saidOf(status)).toEqual(jobs.map(({ id }) => `todo change start ${id} again`))
})

test('a job that config.json no longer names goes with its variables, which go first; a stranger’s stays', async () => {
  const estate = estateOf(1)
  const world = worldOf(specOf(estate))
  if (world.nomad?.state !== 'up') throw new Error('the test world has no Nomad')
  const jobOf = (id: string, owner: string): { readonly job: Job } => ({
    job: {
      id,
      status: 'running',
      stopped: false,
      index: 7,
      revision: 0,
      stable: true,
      meta: { [META.estate]: owner },
      image: 'old:1',
      count: 1,
    },
  })
  const asked: string[] = []
  const nomad: Partial<Nomad> = {
    deleteJob: async id => void asked.push(`job ${id}`),
    deleteVariables: async path => void asked.push(`variables ${path}`),
  }
  const state = {
    ...world,
    servers: specOf(estate).servers.map(ownServer),
    nomad: { ...world.nomad, jobs: { old: jobOf('old', 'acme'), other: jobOf('other', 'acme2'), web: jobOf('web', 'acme') } },
  }
  const readers = new Proxy({}, { get: (_, slice) => async () => Reflect.get(state, slice) }) as Readers<EstateWorld>
  const live = new World<EstateWorld>(readers)
  await live.look(['servers', 'clusterNodes', 'nomad'])
  const finding = surplusJobsStep({ ...depsOf(estate), nomadOn: async () => nomad as Nomad }).look(live)
  if (finding.state !== 'todo') throw new Error(say(finding))
  for (const change of finding.changes)
    await change.apply({ world: live, signal: new AbortController().signal, log: () => undefined })
  expect([say(finding), asked]).toEqual([
    'todo destroy stop old, which config.json no longer names',
    ['variables nomad/jobs/old', 'variables nomad/jobs/old/old', 'job old'],
  ])
})

test('servers with the secrets of two clusters are not joined', () => {
  const estate = estateOf(1)
  const world = worldOf(specOf(estate))
  const other = { ...pick(world, 'node-3'), secrets: { ...secrets, id: 'another' } }
  const plan = planOf(estate, { ...world, clusterNodes: { ...world.clusterNodes, 'node-3': other } })
  expect(plan.refusals.map(each => each.why)).toEqual([expect.stringContaining('keep the secrets of different clusters')])
})

test('a server that cannot be read stops new secrets from being made', () => {
  const estate = estateOf(1)
  const none = Object.fromEntries(
    specOf(estate).servers.map((name, index) => {
      const { secrets: _, ...node } = asWanted(specOf(estate), name, index + 2)
      return [name, node]
    }),
  )
  const world = worldOf(specOf(estate), { ...none, node: { state: 'closed', why: 'no answer' } })
  const machines = { ...world.machines, node: { state: 'unreachable' } } as unknown as EstateWorld['machines']
  const plan = planOf(estate, { ...world, machines })
  expect(plan.entries.find(({ step }) => step.id === 'cluster secrets')?.finding).toMatchObject({
    state: 'blocked',
    on: 'node (no answer)',
  })
})

describe('the certificate', () => {
  const estate = estateOf(1)
  const cluster = specOf(estate)
  const world = worldOf(cluster)
  const nomad = world.nomad?.state === 'up' ? world.nomad : undefined
  if (!nomad) throw new Error('the test world has no Nomad')
  const { certificate: _, ...without } = nomad
  const step = sharedCertificateStep({
    ...base,
    ...depsOf(estate),
    acme: untouched,
    store: { readCertificate: untouched, writeCertificate: untouched, addOrder: untouched },
    email: 'admin@example.com',
    makeKey: label => new Secret(label, 'unused'),
  })
  const look = (change: Partial<typeof nomad>) =>
    say(lookAt(step, { ...world, nomad: { ...nomad, ...change }, records: [], zone: undefined }))
  const order = 'todo create order a certificate for www.example.com, proved by DNS'

  test('is ordered when there is none, when it ends soon, and when it lacks a name', () => {
    expect(say(lookAt(step, { ...world, nomad: without, records: [], zone: undefined }))).toBe(order)
    expect(look({ certificate: { ...shared, lasting: false } })).toBe(order)
    expect(look({ certificate: { ...shared, names: ['example.com'] } })).toBe(order)
    expect(look({})).toBe('done valid until 2026-04-01')
  })

  test('goes to each Caddy that has another, one after another, and none starts without it', () => {
    const renewed = { ...world, nomad: { ...nomad, certificate: { ...shared, certificate: 'a newer one' } } }
    expect(changesOf(planOf(estate, renewed))).toEqual(
      cluster.servers.map(name => `change caddy on ${name} (the certificate of its names)`),
    )
    const before = planOf(estate, { ...world, nomad: without })
    expect(before.later.map(each => each.on)).toEqual(['the certificate', 'the certificate', 'the certificate'])
  })
})

describe('a look at Nomad whose leader answers 403 to a token that it knew', () => {
  const estate = estateOf(1)
  const names = specOf(estate).servers
  const nodes = worldOf(specOf(estate)).clusterNodes ?? {}
  const servers = names.map(ownServer)
  const readAfter = async (refusals: number) => {
    const clock = fakeClock()
    let left = refusals
    const nomad: Partial<Nomad> = {
      hasLeader: async () => true,
      knowsToken: async () => true,
      async quorum() {
        if (left-- > 0) throw new LandfallError('forbidden', 'Permission denied')
        return { state: 'formed', voters: ['node', 'node-2', 'node-3'], size: 3, healthy: true, failed: [] }
      },
      listNodes: async () => [],
      listJobs: async () => [],
      findJob: async () => undefined,
      findVariables: async () => undefined,
    }
    const deps: ClusterDeps = { ...depsOf(estate), clock, nomadOn: async () => nomad as Nomad }
    const state = await readNomad(deps, servers, nodes, 'estate').catch((error: unknown) => error)
    return { state, waitedMs: clock.monotonicMs() }
  }

  test('sees the cluster as it is once that leader has applied its log', async () => {
    expect((await readAfter(0)).waitedMs).toBe(0)
    const { state, waitedMs } = await readAfter(3)
    expect(state).toMatchObject({ state: 'up', token: 'known', quorum: { voters: ['node', 'node-2', 'node-3'] } })
    expect(waitedMs).toBe(1500)
  })

  test('takes a refusal that lasts for one', async () => {
    const { state, waitedMs } = await readAfter(1000)
    expect(state).toMatchObject({ code: 'forbidden' })
    expect(waitedMs).toBeLessThan(10_000)
  })
})

describe('a first server that is cut off from the others, and knows no leader', () => {
  const estate = estateOf(1)
  const cluster = specOf(estate)
  const world = worldOf(cluster)
  const servers = cluster.servers.map(ownServer)
  const readWith = (knows: (name: string) => boolean) => {
    const asked = (name: string): Partial<Consul> => ({
      hasLeader: async () => knows(name),
      quorum: async () => ({ state: 'formed', voters: ['node-2', 'node-3'], size: 3, healthy: false, failed: ['node'] }),
      listMembers: async () => [],
      listPolicies: async () => [],
      listTokens: async () => [],
    })
    const deps: ClusterDeps = { ...depsOf(estate), consulOn: async ({ name }) => asked(name) as Consul }
    return readConsul(deps, servers, world.clusterNodes ?? {})
  }

  test('is not asked how the cluster is', async () => {
    expect(await readWith(name => name !== 'node')).toMatchObject({ leader: true, quorum: { failed: ['node'] } })
    expect(await readWith(() => false)).toMatchObject({ state: 'up', leader: false })
  })

  test('is not told to change anything', async () => {
    const consul = await readWith(name => name !== 'node')
    const state = { ...world, servers, consul }
    const view = { get: <K extends keyof EstateWorld>(slice: K) => state[slice] as EstateWorld[K] }
    expect(hostOf(depsOf(estate), view, 'consul').name).toBe('node-2')
    expect(hostOf(depsOf(estate), view, 'nomad').name).toBe('node')
  })
})
