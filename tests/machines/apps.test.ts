/**
 * Deploys on a real Docker Swarm: start-first updates with a health check, a real HTTP service behind a real nginx, and visitors at a
 * hundred requests per second on connections of their own. Needs root, dockerd, debootstrap and what builds the registry (cluster/tools.ts).
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { request } from 'node:http'
import { goBack } from '../../lib/apps/back.ts'
import { type DeployContext, deploy } from '../../lib/apps/deploy.ts'
import { readHistory } from '../../lib/apps/history.ts'
import { idsNow, waitRolledOut } from '../../lib/apps/watch.ts'
import { systemClock } from '../../lib/engine/clock.ts'
import { createMeter } from '../../lib/engine/meter.ts'
import type { AppSpec } from '../../lib/estate/apps.ts'
import { createOutside } from '../../lib/providers/outside/outside.ts'
import type { Health, ServiceRef } from '../../lib/providers/ports/dokploy-apps.ts'
import { PROGRAM_TEXTS } from '../../lib/providers/ssh/programs.ts'
import { buildImages, IMAGE, openSwarm, type Swarm } from './apps/swarm.ts'
import { loadBaseImage, startDocker, type TestDocker } from './docker.ts'

setDefaultTimeout(180_000)

const RATE = 100
const HOST = 'www.example.com'
const BROKEN = {
  'crash-loop': 'crash',
  'wrong-port': 'wrong-port',
  'never-healthy': 'never-healthy',
  'wrong-path': 'wrong-path',
  'needs-env': 'needs-env',
  hungry: 'hungry',
}
const HEALTH: Health = {
  // Light and patient: on a machine without time to spare, a heavier check would call the good version unhealthy, and Swarm would end it.
  command: [
    'bash',
    '-c',
    'exec 3<>/dev/tcp/127.0.0.1/3000 && printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3 && read -r -t 8 _ status _ <&3 && echo "HTTP status $status" && [ "$status" -lt 400 ]',
  ],
  intervalMs: 1_000,
  timeoutMs: 10_000,
  startMs: 1_000,
  retries: 3,
}

let docker: TestDocker
let swarm: Swarm
beforeAll(async () => {
  docker = await startDocker({ name: 'apps', subnet: '172.28' })
  loadBaseImage(docker)
  buildImages(docker, { good: 'well', better: 'well', ...BROKEN })
  swarm = await openSwarm(docker)
})
afterAll(async () => {
  docker?.docker('service', 'rm', ...docker.docker('service', 'ls', '-q').stdout.split('\n').filter(Boolean))
  await swarm?.close()
  await docker?.stop()
  process.stdout.write(`${figures.join('\n')}\n`)
})

const specFor = (name: string, host: string, source: AppSpec['source']): AppSpec => ({
  name,
  server: 'prod',
  project: 'shop',
  environment: 'production',
  source,
  port: 3000,
  domains: [{ host, path: '/', port: 3000, https: false, certificate: 'none', stripPath: false }],
  health: { ...HEALTH, path: '/' },
  version: { in: 'header', name: 'x-version' },
  replicas: 1,
  memoryMb: 128,
  volumes: [],
  isShared: false,
  deployOn: 'command',
  postDeploy: { action: 'none' },
})

interface Subject {
  readonly app: AppSpec
  readonly ref: ServiceRef
}

/** An application in the panel as app.ts would leave it. */
async function setUp(app: AppSpec): Promise<Subject> {
  const { api } = swarm.rig
  const [project] = await api.listProjects()
  const environmentId =
    project?.environments[0]?.id ?? (await api.createProject({ name: 'shop', description: 'landfall estate=e' })).environmentId
  const ref = await api.createService({ kind: 'application', environmentId, name: app.name, description: `mark ${app.name}` })
  const settings = {
    replicas: app.replicas,
    memoryBytes: 128 * 1_048_576,
    health: HEALTH,
    update: 'start_first_rollback',
    autoDeploy: false,
  } as const
  await api.setSettings(ref.id, settings)
  const { appName } = await api.readService(ref)
  swarm.route(app.domains[0]?.host ?? '', appName, app.port)
  return { app, ref }
}

const context = (): DeployContext => ({
  api: swarm.rig.api,
  deps: { machines: swarm.machines, programs: PROGRAM_TEXTS },
  target: { name: 'prod', address: '', port: 22, user: 'root', hostKeyAlias: '', hostKey: '' },
  server: { ipv4: swarm.address },
  outside: createOutside({ route: { kind: 'direct' }, context: { meter: createMeter(), signal: new AbortController().signal } }),
  clock: systemClock,
  signal: new AbortController().signal,
  runId: 'run-1',
  who: 'tests',
  title: 'landfall run-1',
  look: 'outside',
  movingNames: [],
  log: () => undefined,
  timing: { pollMs: 250, stableMs: 3_000, startTimeoutMs: 60_000, outsideTimeoutMs: 15_000 },
})

/** Deploys a tag of the test's image, as app.ts and deploy.ts would. */
async function deployNow({ app, ref }: Subject, tag: string) {
  const { api } = swarm.rig
  const source = { kind: 'image', image: `${IMAGE}:${tag}` } as const
  if (app.source.kind === 'image') await api.setSource(ref.id, source)
  else swarm.setBuild(tag)
  const before = (await readHistory(context().deps, context().target, app.name)).at(-1)
  const wanted = app.source.kind === 'image' ? { ...app, source } : app
  return deploy(context(), wanted, await api.readService(ref), before, app.source.kind === 'image' ? undefined : tag)
}

const ranBefore = async (app: string, version: string) => {
  const release = (await readHistory(context().deps, context().target, app)).find(each => each.version === version)
  if (!release) throw new Error(`the release ${version} is not kept`)
  return release
}

/** As rollback.ts goes back. */
async function backTo({ app, ref }: Subject, version: string) {
  const service = await swarm.rig.api.readService(ref)
  const before = await idsNow(swarm.rig.api, service)
  await goBack(context(), app, service, await ranBefore(app.name, version))
  return waitRolledOut(context(), service, before)
}

/** What was measured; printed at the end. */
const figures: string[] = []

interface Load {
  readonly sent: number
  readonly perSecond: number
  readonly failures: readonly string[]
  readonly versions: readonly string[]
}

/** Visitors at a steady rate, each on a connection of its own, until told to stop. */
function visit(host: string): () => Promise<Load> {
  const failures: string[] = []
  const versions = new Set<string>()
  const asked: Promise<void>[] = []
  const beganMs = performance.now()
  const ask = () => {
    const sentMs = performance.now() - beganMs
    return new Promise<void>(resolve => {
      const fail = (why: string) => {
        failures.push(`${(sentMs / 1000).toFixed(2)} s: ${why}`)
        resolve()
      }
      const call = request({ host: swarm.address, port: 80, path: '/', agent: false, headers: { host } }, answer => {
        answer.resume()
        answer.on('error', error => fail(error.message))
        answer.on('end', () => {
          if (answer.statusCode !== 200) return fail(`status ${answer.statusCode}`)
          versions.add(String(answer.headers['x-version']))
          resolve()
        })
      })
      call.setTimeout(20_000, () => call.destroy(new Error('no answer within 20 s')))
      call.on('error', error => fail(error.message))
      call.end()
    })
  }
  const timer = setInterval(() => {
    const due = ((performance.now() - beganMs) / 1000) * RATE
    while (asked.length < due) asked.push(ask())
  }, 5)
  return async () => {
    clearInterval(timer)
    const seconds = (performance.now() - beganMs) / 1000
    await Promise.all(asked)
    figures.push(
      `${host}: ${asked.length} requests at ${(asked.length / seconds).toFixed(1)}/s, ${failures.length} failed, versions ${[...versions].join(', ')}`,
    )
    const shown =
      failures.length > 6 ? [...failures.slice(0, 3), `… ${failures.length} in all …`, ...failures.slice(-3)] : failures
    return { sent: asked.length, perSecond: asked.length / seconds, failures: shown, versions: [...versions].sort() }
  }
}

async function underLoad<T>(host: string, work: () => Promise<T>): Promise<{ readonly result: T; readonly load: Load }> {
  const stop = visit(host)
  await Bun.sleep(500)
  const result = await work()
  await Bun.sleep(500)
  return { result, load: await stop() }
}

const idOf = (image: string) => docker.docker('image', 'inspect', '--format', '{{.Id}}', image).stdout.trim()

describe('an application from an image, under a hundred requests per second', () => {
  let subject: Subject
  beforeAll(async () => {
    subject = await setUp(specFor('web', HOST, { kind: 'image', image: `${IMAGE}:good` }))
    expect(await deployNow(subject, 'good')).toMatchObject({ state: 'deployed', version: 'good' })
  })

  test.each([
    ['crash-loop', 'crash', 'ends by itself with exit code 1', 'TypeError: Cannot read properties of undefined'],
    ['wrong-port', 'port', 'listens on 8080, config.json says 3000', 'listening on http://0.0.0.0:8080'],
    ['never-healthy', 'unhealthy', 'its health check never succeeded', 'HTTP status 503'],
    ['wrong-path', 'path', '/ is answered with 404', 'GET / 404'],
    ['needs-env', 'env', 'DATABASE_URL is missing', 'DATABASE_URL is not set'],
    ['hungry', 'memory', 'looks like memory', 'listening on'],
  ])('%s: failed for its reason, with its last lines; the old version serves every visitor', async (tag, cause, says, line) => {
    const old = swarm.running((await swarm.rig.api.readService(subject.ref)).appName)
    const { result, load } = await underLoad(HOST, () => deployNow(subject, tag))
    expect(result).toMatchObject({ state: 'failed', cause, before: 'kept_serving' })
    const message = result.state === 'failed' ? result.error.message : ''
    expect(message).toContain(says)
    expect(message).toContain(line)
    expect({ failures: load.failures, versions: load.versions }).toEqual({ failures: [], versions: ['good'] })
    expect(load.perSecond).toBeGreaterThan(RATE * 0.9)
    expect(swarm.running((await swarm.rig.api.readService(subject.ref)).appName)).toEqual(old)
  })

  test('a good version takes over and rollback brings the old image back, without a failed request', async () => {
    const good = idOf(`${IMAGE}:good`)
    const { result, load } = await underLoad(HOST, async () => {
      const deployed = await deployNow(subject, 'better')
      // The old version's tag moves on in the registry.
      for (const words of [
        ['tag', `${IMAGE}:better`, `${IMAGE}:good`],
        ['push', `${IMAGE}:good`],
        ['tag', good, `${IMAGE}:good`],
      ])
        expect(docker.docker(...words).code).toBe(0)
      return { deployed, back: await backTo(subject, 'good') }
    })
    const tasks = result.back.state === 'up' ? result.back.ids : []
    const images = tasks.map(id => swarm.rig.api.inspectContainer(id).then(report => report?.imageId))
    expect(await Promise.all(images)).toEqual([good])
    expect(result).toMatchObject({ deployed: { state: 'deployed', version: 'better' }, back: { state: 'up' } })
    expect({ failures: load.failures, versions: load.versions }).toEqual({ failures: [], versions: ['better', 'good'] })
  })
})

test('an application that Dokploy builds: its tag moves on with a broken build, and leads back to the good image', async () => {
  const repository = { kind: 'git', url: 'https://git.example.com/shop.git', branch: 'main', path: '/', watch: [] } as const
  const source = { kind: 'build', repository, build: { type: 'dockerfile', spa: false } } as const
  const subject = await setUp(specFor('built', 'built.example.com', source))
  await swarm.rig.api.setSource(subject.ref.id, { ...repository })
  expect(await deployNow(subject, 'good')).toMatchObject({ state: 'deployed', version: 'good' })
  const { appName } = await swarm.rig.api.readService(subject.ref)
  const failed = await underLoad('built.example.com', () => deployNow(subject, 'crash-loop'))
  expect(failed.result).toMatchObject({ state: 'failed', cause: 'crash', before: 'kept_serving' })
  expect({ failures: failed.load.failures, versions: failed.load.versions }).toEqual({ failures: [], versions: ['good'] })
  expect(idOf(`${appName}:latest`)).toBe(idOf(`${IMAGE}:good`))
  const moved = await underLoad('built.example.com', async () => {
    expect(await deployNow(subject, 'better')).toMatchObject({ state: 'deployed', version: 'better' })
    return backTo(subject, 'good')
  })
  expect(moved.result.state).toBe('up')
  expect({ failures: moved.load.failures, versions: moved.load.versions }).toEqual({ failures: [], versions: ['better', 'good'] })
})
