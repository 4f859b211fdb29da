/** An app's variables while its versions change: one that runs finds its own whenever it has to start again. */

import { expect, test } from 'bun:test'
import { placeRead, variablesPath } from '../../../lib/cluster/job.ts'
import { createAuthority } from '../../../lib/cluster/pki.ts'
import { generateSecrets } from '../../../lib/cluster/secrets.ts'
import { type Readers, World } from '../../../lib/engine/world.ts'
import type { Job, Nomad } from '../../../lib/providers/ports/cluster.ts'
import { Secret } from '../../../lib/secret.ts'
import { type JobDeps, jobSteps } from '../../../lib/steps/cluster-job.ts'
import { type NodeState, readNomad } from '../../../lib/steps/cluster-world.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load } from '../estate/configs.ts'
import { deps as base, openNode, server } from '../steps/worlds.ts'

const config = {
  project: 'nextnode',
  dns: { domain: 'example.com' },
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  servers: { prod: { type: 'cx33' } },
  cluster: { servers: 'prod' },
}
const app = { source: { image: 'web:1' }, replicas: 1, domains: [{ host: 'www.example.com' }] }
const withFile = load({ ...config, apps: { web: { ...app, env_file: 'web.env' } } })
const withoutFile = load({ ...config, apps: { web: app } })
const secrets = generateSecrets(await createAuthority('nextnode', 0))
const node: NodeState = { ...openNode, secrets }

interface Version {
  readonly revision: number
  readonly meta: Job['meta']
  readonly template: string
}

/** A Nomad that goes back to the version before by itself, as 1.6.1 does. */
function pretendNomad() {
  const variables = new Map<string, { readonly items: ReadonlyMap<string, Secret>; readonly index: number }>()
  let index = 0
  let running: Version | undefined
  let failing: Version | undefined
  const world = { isHealthy: true }
  const nomad: Partial<Nomad> = {
    hasLeader: async () => true,
    knowsToken: async () => true,
    quorum: async () => ({ state: 'formed', voters: ['prod'], size: 1, healthy: true, failed: [] }),
    listNodes: async () => [],
    listJobs: async () => (running ? [{ id: 'web' }] : []),
    listAllocations: async () => [],
    findVariables: async path => variables.get(path),
    async setVariables(path, items) {
      index += 1
      variables.set(path, { items: new Map(items), index })
    },
    deleteVariables: async path => void variables.delete(path),
    async setJob({ Meta: meta, TaskGroups: groups }) {
      const version = {
        revision: (running?.revision ?? 0) + 1,
        meta: meta as Job['meta'],
        template: JSON.stringify(groups),
      }
      if (world.isHealthy) running = version
      else failing = version
    },
    async findJob() {
      const now = failing ?? running
      if (!now) return undefined
      const { revision, meta } = now
      return { id: 'web', status: 'running', stopped: false, index, revision, stable: true, meta, image: 'web:1', count: 1 }
    },
    async findDeployment() {
      const { revision = 0 } = failing ?? running ?? {}
      const status = failing ? ('failed' as const) : ('successful' as const)
      if (failing && running) running = { ...running, revision: revision + 1 }
      failing = undefined
      return { id: 'd', status, why: '', jobRevision: revision, wanted: 1, placed: 1, healthy: 1, unhealthy: 0 }
    },
  }
  /** What the version that runs would start with now. */
  const startsWith = (): Record<string, string> => {
    const path = variablesPath(placeRead('web', running))
    expect(running?.template).toContain(`nomadVar \\"${path}\\"`)
    const { items } = variables.get(path) ?? { items: new Map<string, Secret>() }
    return Object.fromEntries([...items].map(([name, value]) => [name, value.reveal()]))
  }
  return { nomad: nomad as Nomad, world, startsWith, kept: () => [...variables.values()].map(({ items }) => items.size) }
}

/** One run of `deploy` with these variables, or with no file of them; answers with what it did. */
async function deploy(nomad: Nomad, variables: Readonly<Record<string, string>> | undefined): Promise<string[]> {
  const estate = variables ? withFile : withoutFile
  if (!estate.cluster) throw new Error('the test config has no cluster')
  let ms = 0
  const deps: JobDeps = {
    ...base,
    estate,
    cluster: estate.cluster,
    clock: {
      nowMs: () => ms,
      monotonicMs: () => ms,
      async sleep(duration) {
        ms += duration
      },
    },
    consulOn: () => Promise.reject(new Error('a deploy asked Consul')),
    nomadOn: async () => nomad,
    variablesOf: () => Object.entries(variables ?? {}).map(([name, value]) => [name, new Secret(name, value)] as const),
    images: {},
    imagesIn: () => Promise.reject(new Error('a deploy asked the registry')),
    contextOf: () => {
      throw new Error('a deploy read a folder')
    },
  }
  const servers = [server('prod')]
  const readers = {
    servers: async () => servers,
    clusterNodes: async () => ({ prod: node }),
    nomad: () => readNomad(deps, servers, { prod: node }, 'landfall_estate'),
  } as unknown as Readers<EstateWorld>
  const world = new World<EstateWorld>(readers)
  const did: string[] = []
  for (const step of jobSteps(deps, estate.cluster.apps, 'chosen')) {
    await world.look(['servers', 'clusterNodes', 'nomad'])
    const finding = step.look(world)
    if (finding.state !== 'todo') continue
    for (const change of finding.changes) {
      did.push([change.summary, ...(change.details ?? [])].join(' '))
      const failed = await change.apply({ world, signal: new AbortController().signal, log: () => undefined }).then(
        () => undefined,
        (error: Error) => error.message,
      )
      if (failed !== undefined) return [...did, failed]
    }
  }
  return did
}

const FIRST = ['set the variables of web + DB + KEY', 'run web (1 × web:1)']
/** @param changes of names, by what runs */
const next = (changes: string): string[] => [
  `set the variables of web ${changes}`,
  'roll out web: its settings or variables changed',
  'forget the former variables of web',
]

test('a version that was taken back to finds its own variables, and the next one that is healthy the new', async () => {
  const { nomad, world, startsWith, kept } = pretendNomad()
  expect(await deploy(nomad, { DB: 'good', KEY: 'x' })).toEqual(FIRST)
  world.isHealthy = false
  for (const bad of [{ DB: 'bad' }, { DB: 'worse', KEY: 'x' }]) {
    expect((await deploy(nomad, bad)).at(-1)).toContain('The new version of web did not become healthy, so Nomad took it back')
    expect(startsWith()).toEqual({ DB: 'good', KEY: 'x' })
  }
  world.isHealthy = true
  expect(await deploy(nomad, { DB: 'better' })).toEqual(next('~ DB - KEY'))
  expect([startsWith(), kept()]).toEqual([{ DB: 'better' }, [1]])
  expect(await deploy(nomad, { DB: 'better' })).toEqual([])
})

test('each version has its own, and nothing of a former one is kept', async () => {
  const { nomad, startsWith, kept } = pretendNomad()
  await deploy(nomad, { DB: 'one' })
  for (const DB of ['two', 'three', 'four']) {
    expect(await deploy(nomad, { DB })).toEqual(next('~ DB'))
    expect([startsWith(), kept()]).toEqual([{ DB }, [1]])
    expect(await deploy(nomad, { DB })).toEqual([])
  }
})

test('what was rolled out back to the variables that run is no change', async () => {
  const { nomad, world, kept } = pretendNomad()
  await deploy(nomad, { DB: 'good' })
  world.isHealthy = false
  await deploy(nomad, { DB: 'bad' })
  world.isHealthy = true
  expect(await deploy(nomad, { DB: 'good' })).toEqual(['forget the former variables of web'])
  expect(kept()).toEqual([1])
})

test('an app without a file of variables leaves none in Nomad once no version of it reads them', async () => {
  const { nomad, world, startsWith, kept } = pretendNomad()
  await deploy(nomad, { DB: 'one' })
  world.isHealthy = false
  await deploy(nomad, undefined)
  expect(startsWith()).toEqual({ DB: 'one' })
  world.isHealthy = true
  expect(await deploy(nomad, undefined)).toEqual([
    'roll out web: its settings or variables changed',
    'forget the former variables of web - DB',
  ])
  expect(kept()).toEqual([])
  expect(await deploy(nomad, undefined)).toEqual([])
})
