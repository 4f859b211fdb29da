/** Deploys and the way back as functions, against the stand-in in memory: what runs afterwards, not what was asked for. */

import { describe, expect, test } from 'bun:test'
import { goBack, runsAgain } from '../../../lib/apps/back.ts'
import { type DeployContext, deploy } from '../../../lib/apps/deploy.ts'
import { readHistory } from '../../../lib/apps/history.ts'
import { idsNow, waitRolledOut } from '../../../lib/apps/watch.ts'
import { hasCode } from '../../../lib/errors.ts'
import type { AppSpec } from '../../../lib/estate/apps.ts'
import type { ServiceRef, Source } from '../../../lib/providers/ports/dokploy-apps.ts'
import type { Machines } from '../../../lib/providers/ports/machine.ts'
import { PROGRAM_TEXTS } from '../../../lib/providers/ssh/programs.ts'
import { APP_PROGRAMS } from '../../../lib/sandbox/machines/app-programs.ts'
import type { Emulation, ProgramMachine } from '../../../lib/sandbox/machines/programs.ts'
import { Secret } from '../../../lib/secret.ts'
import { openRig, type Rig, type RigOptions } from './rig.ts'

const REPOSITORY = 'https://git.example.com/shop.git'
const GIT: Source = { kind: 'git', url: REPOSITORY, branch: 'main', path: '/', watch: [] }
const image = (tag: string): Source => ({ kind: 'image', image: `ghcr.io/acme/web:${tag}` })

/** Landfall's programs, where the stand-in's panel is the machine's. */
function machinesOf(rig: Rig): Pick<Machines, 'run'> {
  let history: Readonly<Record<string, readonly string[]>> = {}
  const machine = {
    get history() {
      return history
    },
    setHistory: (next: typeof history) => {
      history = next
    },
    apps: () => rig.control.apps,
    diskFull: false,
  }
  const table: Readonly<Record<string, Emulation>> = APP_PROGRAMS
  return {
    async run(_target, program, input = {}) {
      const values = Object.fromEntries(
        Object.entries(input).map(([name, value]) => [name, typeof value === 'string' ? value : value.reveal()]),
      )
      const outcome = await table[program.name]?.run(machine as unknown as ProgramMachine, values)
      return { exitCode: outcome?.exitCode ?? 127, stdout: outcome?.stdout ?? '', stderr: outcome?.stderr ?? '' }
    },
  }
}

/** @param upstream what the public address leads to */
function openContext(rig: Rig, upstream: string) {
  const ask = (path: string): Response => {
    const answer = rig.control.apps.answer(upstream, path)
    return answer instanceof Response ? answer : new Response('bad gateway', { status: 502 })
  }
  const context: DeployContext = {
    api: rig.api,
    deps: { machines: machinesOf(rig), programs: PROGRAM_TEXTS },
    target: { name: 'prod', address: '', port: 22, user: 'root', hostKeyAlias: '', hostKey: '' },
    server: { ipv4: '203.0.113.10' },
    movingNames: [],
    outside: {
      async fetchPage(url) {
        const answer = ask(new URL(url).pathname)
        return { status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.text() }
      },
    },
    clock: rig.clock,
    signal: new AbortController().signal,
    runId: 'run-1',
    who: 'tests',
    title: 'landfall run-1',
    look: 'outside',
    log: () => undefined,
    timing: { pollMs: 50, stableMs: 500, startTimeoutMs: 20_000, outsideTimeoutMs: 2_000 },
  }
  return { ask, context }
}

async function openApp(source: Source, more: { registry?: 'shared' | 'keeps versions'; deployOn?: 'push' } & RigOptions = {}) {
  const rig = await openRig(more)
  const { api } = rig
  const { environmentId } = await api.createProject({ name: 'shop', description: 'n' })
  const ref: ServiceRef = await api.createService({ kind: 'application', environmentId, name: 'web', description: 'm' })
  await api.setSource(ref.id, source)
  if (more.registry) {
    await api.createRegistry({ name: 'r', url: 'ghcr.io', username: 'acme', prefix: '', password: new Secret('p', 'secret') })
    const [registry] = await api.listRegistries()
    await api.setSettings(ref.id, {
      replicas: 1,
      memoryBytes: 0,
      update: 'start_first_rollback',
      autoDeploy: false,
      [more.registry === 'shared' ? 'registryId' : 'rollbackRegistryId']: registry?.id ?? '',
    })
  }
  const { appName } = await api.readService(ref)
  const spec: AppSpec = {
    name: 'web',
    server: 'prod',
    project: 'shop',
    environment: 'production',
    source:
      source.kind === 'image'
        ? source
        : {
            kind: 'build',
            repository: { kind: 'git', url: REPOSITORY, branch: 'main', path: '/', watch: [] },
            build: { type: 'nixpacks', spa: false },
          },
    port: 3000,
    domains: [{ host: 'www.example.com', path: '/', port: 3000, https: false, certificate: 'none', stripPath: false }],
    replicas: 1,
    volumes: [],
    isShared: more.registry === 'shared',
    deployOn: more.deployOn ?? 'command',
    ...(more.deployOn ? { version: { in: 'header', name: 'x-version' } as const } : {}),
    postDeploy: { action: 'none' },
  }
  const { ask, context } = openContext(rig, `${appName}:3000`)
  const history = () => readHistory(context.deps, context.target, 'web')
  return {
    rig,
    ref,
    context,
    history,
    served: async () => (await ask('/version').text()).trim(),
    async deploy(said?: string) {
      const service = await api.readService(ref)
      const wanted = service.source.kind === 'image' ? { ...spec, source: service.source } : spec
      return deploy(context, wanted, service, (await history()).at(-1), said)
    },
    /** As rollback.ts does. */
    async back(version: string) {
      const release = (await history()).find(each => each.version === version)
      if (!release) throw new Error(`no release ${version}`)
      const service = await api.readService(ref)
      const before = await idsNow(api, service)
      await goBack(context, spec, service, release)
      return waitRolledOut(context, service, before)
    },
  }
}

describe('an app from an image, named by a tag', () => {
  test('that answers wrongly makes way for the version before, which then serves', async () => {
    const app = await openApp(image('1'))
    expect(await app.deploy()).toMatchObject({ state: 'deployed', version: '1' })
    await app.rig.api.setSource(app.ref.id, image('2-never-healthy'))
    const result = await app.deploy()
    expect({ result, served: await app.served() }).toMatchObject({ result: { before: 'brought_back' }, served: '1' })
  })

  test('goes back to the image that ran, although its tag has moved on', async () => {
    const app = await openApp(image('1'))
    await app.deploy()
    await app.rig.api.setSource(app.ref.id, image('2'))
    expect(await app.deploy()).toMatchObject({ state: 'deployed', version: '2' })
    app.rig.control.apps.setImage('ghcr.io/acme/web:1', { version: 'moved' })
    expect((await app.back('1')).state).toBe('up')
    expect(await app.served()).toBe('1')
  })

  test('is not called back while something else runs', async () => {
    // Somebody takes the image out again before the deploy reads it.
    const app = await openApp(image('1'), {
      intercept: async ({ path, body }, ask) =>
        path === '/api/application.saveDockerProvider' && JSON.stringify(body).includes('@sha256:')
          ? { status: 200, json: true }
          : ask(),
    })
    await app.deploy()
    await app.rig.api.setSource(app.ref.id, image('2-never-healthy'))
    expect(await app.deploy()).toMatchObject({ state: 'failed', before: 'lost' })
    expect(await app.served()).toBe('2-never-healthy')
  })

  test('whose digest nobody knows has no way back, and nothing is written', async () => {
    const app = await openApp(image('1'))
    await app.deploy()
    const [release] = await app.history()
    if (!release) throw new Error('no release')
    const service = await app.rig.api.readService(app.ref)
    const sent = app.rig.calls.length
    const error = await goBack(app.context, {} as AppSpec, service, { ...release, image: 'ghcr.io/acme/web:1' }).catch(
      (caught: unknown) => caught,
    )
    expect(hasCode(error, 'refused')).toBe(true)
    expect(String(error)).toContain('digest')
    expect(app.rig.calls.slice(sent).filter(call => call.method !== 'GET')).toEqual([])
  })
})

describe('an app that Dokploy builds', () => {
  test.each([
    ['for its own machine', {}],
    ['for every node of a swarm, through a registry', { registry: 'shared' }],
    ['with a registry of former versions', { registry: 'keeps versions' }],
  ] as const)('%s goes back to the build that ran', async (_name, more) => {
    const app = await openApp(GIT, more)
    expect(await app.deploy('one')).toMatchObject({ state: 'deployed' })
    const one = await app.served()
    app.rig.control.apps.push(REPOSITORY, 'main')
    expect(await app.deploy('two')).toMatchObject({ state: 'deployed' })
    expect(await app.served()).not.toBe(one)
    const [first] = await app.history()
    expect((await app.back(first?.version ?? '')).state).toBe('up')
    expect(await app.served()).toBe(one)
  })
})

test('a registry of former versions is asked for one, not the machine', async () => {
  const app = await openApp(GIT, { registry: 'keeps versions' })
  await app.deploy('one')
  app.rig.control.apps.push(REPOSITORY, 'main')
  await app.deploy('two')
  const sent = app.rig.calls.length
  const [first] = await app.history()
  await app.back(first?.version ?? '')
  const asked = app.rig.calls.slice(sent).flatMap(call => (call.method === 'GET' ? [] : [call.path]))
  expect(asked).toEqual(['/api/application.saveEnvironment', '/api/rollback.rollback'])
})

describe('an app that is deployed by pushes', () => {
  test('and shows its commit is told by the commit, which Dokploy says some time after "done"', async () => {
    const app = await openApp(GIT, { deployOn: 'push' })
    app.rig.control.apps.setTiming({ commitMs: 12_000 })
    const commit = app.rig.control.apps.push(REPOSITORY, 'main')
    expect(await app.deploy()).toMatchObject({ state: 'deployed', version: commit })
    expect((await app.history()).at(-1)?.version).toBe(commit)
  })

  test('and whose commit is never told is not taken back for it', async () => {
    const app = await openApp(GIT, { deployOn: 'push' })
    await app.deploy()
    app.rig.control.apps.setTiming({ commitMs: 3_600_000 })
    const commit = app.rig.control.apps.push(REPOSITORY, 'main')
    const result = await app.deploy()
    expect(result).toMatchObject({
      state: 'deployed',
      notes: [{ label: 'version', text: expect.stringContaining('did not name the commit') }],
    })
    expect(await app.served()).toBe(commit)
  })
})

test('a version that crashes beside the old one is told by its own lines, not by what the old one says', async () => {
  const app = await openApp(image('1'))
  await app.deploy()
  await app.rig.api.setSource(app.ref.id, image('2-crash-loop'))
  const result = await app.deploy()
  const lines = result.state === 'failed' ? result.error.message.split('\n').filter(line => line.startsWith('  | ')) : []
  expect(lines).toEqual([
    '  | starting',
    "  | TypeError: Cannot read properties of undefined (reading 'connect')",
    '  |     at main (/app/server.js:12:7)',
  ])
})

const stackFile = (tag: string, more = ''): string =>
  `services:\n  web:\n    image: ghcr.io/acme/web:${tag}\n${more}  cache:\n    image: redis:8\n`
const START_FIRST = '    healthcheck: {test: [CMD, "true"]}\n    deploy: {update_config: {order: start-first}}\n'

/** A compose stack of two services. */
async function openStack({ type = 'stack', ...options }: { type?: 'stack' | 'docker-compose' } & RigOptions = {}) {
  const rig = await openRig(options)
  const { api } = rig
  const { environmentId } = await api.createProject({ name: 'shop', description: 'n' })
  const setFile = (text: string) => api.setCompose(ref.id, { file: new Secret('f', text, 'unlisted') })
  const ref = await api.createService({
    kind: 'compose',
    environmentId,
    name: 'web',
    description: 'm',
    compose: { type, file: new Secret('f', stackFile('1'), 'unlisted') },
  })
  const { appName } = await api.readService(ref)
  const { ask, context } = openContext(rig, `${appName}.web:3000`)
  const spec: AppSpec = {
    name: 'web',
    server: 'prod',
    project: 'shop',
    environment: 'production',
    source: { kind: 'compose', type, file: 'compose.yml' },
    port: 3000,
    domains: [
      { host: 'www.example.com', path: '/', port: 3000, service: 'web', https: false, certificate: 'none', stripPath: false },
    ],
    replicas: 1,
    volumes: [],
    isShared: false,
    deployOn: 'command',
    postDeploy: { action: 'none' },
  }
  const history = () => readHistory(context.deps, context.target, 'web')
  return {
    rig,
    ref,
    appName,
    setFile,
    history,
    served: async () => (await ask('/version').text()).trim(),
    deploy: async (said: string) =>
      deploy({ ...context, runId: said }, spec, await api.readService(ref), (await history()).at(-1), said),
    async back(version: string) {
      const release = (await history()).find(each => each.version === version)
      if (!release) throw new Error(`no release ${version}`)
      const service = await api.readService(ref)
      const before = await idsNow(api, service)
      const way = await goBack(context, spec, service, release)
      const rollout = await waitRolledOut(context, service, before)
      return rollout.state === 'up' && (await runsAgain(api, rollout.ids, way, release))
    },
  }
}

describe('a stack for Swarm', () => {
  test('is waited for while its tasks have no containers, and goes back to the images that ran', async () => {
    const stack = await openStack()
    expect(await stack.deploy('1')).toMatchObject({ state: 'deployed' })
    expect((await stack.history())[0]?.services).toEqual({
      web: expect.stringMatching(/^ghcr\.io\/acme\/web:1@sha256:/),
      cache: expect.stringMatching(/^redis:8@sha256:/),
    })
    await stack.setFile(stackFile('2'))
    expect(await stack.deploy('2')).toMatchObject({ state: 'deployed' })
    expect(await stack.served()).toBe('2')
    stack.rig.control.apps.setImage('ghcr.io/acme/web:1', { version: 'moved' })
    expect(await stack.back('1')).toBe(true)
    expect(await stack.served()).toBe('1')
  })

  test('that crashes is told by the lines of the task that failed, and the images before come back', async () => {
    const stack = await openStack()
    await stack.deploy('1')
    await stack.setFile(stackFile('2-crash-loop'))
    const result = await stack.deploy('2')
    expect(result).toMatchObject({ state: 'failed', cause: 'crash', before: 'brought_back' })
    const lines = result.state === 'failed' ? result.error.message.split('\n').filter(line => line.startsWith('  | ')) : []
    expect(lines[0]).toBe('  | starting')
    expect(await stack.served()).toBe('1')
  })

  test('that starts the new beside the old goes on serving when the new one fails', async () => {
    const stack = await openStack()
    await stack.setFile(stackFile('1', START_FIRST))
    await stack.deploy('1')
    await stack.setFile(stackFile('2-crash-loop', START_FIRST))
    expect(await stack.deploy('2')).toMatchObject({ state: 'failed', before: 'kept_serving' })
    expect(await stack.served()).toBe('1')
  })

  test('whose containers are another node’s is deployed and brought back by the names of its images', async () => {
    const stack = await openStack({
      intercept: async ({ path, query }, ask) =>
        path === '/api/docker.getConfig' && (query.get('containerId')?.length ?? 0) > 25 ? { status: 200 } : ask(),
    })
    expect(await stack.deploy('1')).toMatchObject({ state: 'deployed' })
    await stack.setFile(stackFile('2'))
    await stack.deploy('2')
    stack.rig.control.apps.setImage('ghcr.io/acme/web:1', { version: 'moved' })
    expect(await stack.back('1')).toBe(true)
    expect(await stack.served()).toBe('1')
  })
})

test.each(['stack', 'docker-compose'] as const)(
  'a %s whose images are pulled for long is back when they run, not before',
  async type => {
    const stack = await openStack({ type })
    await stack.deploy('1')
    await stack.setFile(stackFile('2'))
    await stack.deploy('2')
    stack.rig.control.apps.setTiming({ buildMs: 120_000 })
    expect(await stack.back('1')).toBe(true)
    // Without a health check a container counts from its start on.
    stack.rig.sleep(1_000)
    expect(await stack.served()).toBe('1')
  },
)

describe('a compose app whose file lies in its repository, in a folder', () => {
  const PATH = 'infra/compose.yml'
  async function openRepository(more = '') {
    const stack = await openStack({ type: 'docker-compose' })
    const { api, control } = stack.rig
    const push = (tag: string) => control.apps.push(REPOSITORY, 'main', { files: { [PATH]: stackFile(tag, more) } })
    const project = `compose -p ${stack.appName} -f ${PATH}`
    push('1-needs-env')
    await api.setCompose(stack.ref.id, {
      source: GIT,
      path: PATH,
      command: `${project} up -d --build --remove-orphans && docker ${project} exec -T cache redis-cli FLUSHALL`,
    })
    await api.setEnv(stack.ref, [['DATABASE_URL', new Secret('d', 'postgres://db')]])
    return { ...stack, push }
  }

  test('goes back with its variables and its action', async () => {
    const stack = await openRepository()
    expect(await stack.deploy('1')).toMatchObject({ state: 'deployed' })
    const first = (await stack.history())[0]?.version ?? ''
    stack.push('2')
    expect(await stack.deploy('2')).toMatchObject({ state: 'deployed' })
    const done = stack.rig.control.apps.execs().length
    expect(await stack.back(first)).toBe(true)
    stack.rig.sleep(1_000)
    expect(await stack.served()).toBe('1-needs-env')
    expect(stack.rig.control.apps.execs().slice(done)).toMatchObject([{ service: 'cache', command: 'redis-cli FLUSHALL' }])
    // And once more, from the file that it has now.
    expect(await stack.back((await stack.history())[1]?.version ?? '')).toBe(true)
    stack.rig.sleep(1_000)
    expect(await stack.served()).toBe('2')
  })

  test('that needs another file of it has no way back: nothing is written, and a failure is still told', async () => {
    const stack = await openRepository('    env_file: [.env, web.env]\n')
    expect(await stack.deploy('1')).toMatchObject({ state: 'deployed' })
    const first = (await stack.history())[0]?.version ?? ''
    stack.push('2-crash-loop')
    expect(await stack.deploy('2')).toMatchObject({ state: 'failed', cause: 'crash', before: 'lost' })
    const sent = stack.rig.calls.length
    const error = await stack.back(first).catch((caught: unknown) => caught)
    expect(hasCode(error, 'refused')).toBe(true)
    expect(String(error)).toContain('web.env')
    expect(stack.rig.calls.slice(sent).filter(call => call.method !== 'GET')).toEqual([])
  })
})
