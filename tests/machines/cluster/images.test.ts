/** Images from Dockerfiles: built by a real Docker Engine, pushed to a real registry with a password, and only when something changed. */

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Engine, openEngine } from '../../../lib/sandbox/containers/engine.ts'
import { type Sandbox, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { machinesDirectory } from '../base/build.ts'
import { BUILD_TIMEOUT_MS, CLOSE_TIMEOUT_MS } from '../base/world.ts'
import { dockerVariables, LOGIN, type Registry, startRegistry } from './registry.ts'
import type { Line } from './rig.ts'

const ROOT = new URL('../../../', import.meta.url).pathname
const root = mkdtempSync(join(tmpdir(), 'landfall-images-'))
const argumentsFile = join(root, 'arguments')

let engine: Engine
let registry: Registry
let sandbox: Sandbox

beforeAll(async () => {
  engine = await openEngine(machinesDirectory())
  registry = await startRegistry(join(root, 'registry'))
  sandbox = await startSandbox({ settings: { actionMs: { other: 20 }, rateLimits: false }, seed: { zones: ['example.com'] } })
  mkdirSync(join(root, 'web'))
  mkdirSync(join(root, 'bin'))
  writeFileSync(join(root, 'web/Dockerfile'), 'FROM scratch\nCOPY . /\nCMD ["/none"]\n')
  writeFileSync(join(root, 'web/.dockerignore'), '*.log\n')
  writeFileSync(join(root, 'web/page.html'), 'one')
  // Docker itself, whose arguments, which everybody on a computer can see, are kept.
  writeFileSync(join(root, 'bin/docker'), `#!/bin/sh\necho "$*" >>${argumentsFile}\nexec ${Bun.which('docker')} "$@"\n`)
  chmodSync(join(root, 'bin/docker'), 0o755)
  writeFileSync(
    join(root, 'config.json'),
    JSON.stringify({
      project: 'acme',
      dns: { domain: 'example.com' },
      hetzner: { location: 'nbg1', image: 'debian-12' },
      network: {},
      placement_groups: ['nodes'],
      servers: { node: { type: 'cx33', count: 3, placement_group: 'nodes' } },
      cluster: {
        servers: 'node',
        registry: { url: registry.host, username: LOGIN.username, password_env: 'REGISTRY_PASSWORD' },
        builds: { web: { context: 'web' } },
      },
      apps: { web: { source: { image: `${registry.host}/acme/web` }, domains: [{ host: 'www.example.com' }] } },
    }),
  )
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await sandbox?.close()
  await registry?.close()
  await engine?.close()
  rmSync(root, { recursive: true, force: true })
}, CLOSE_TIMEOUT_MS)

const PATH = `${join(root, 'bin')}:${process.env.PATH}`

async function build(password: string = LOGIN.password, path = PATH) {
  const docker = await dockerVariables()
  const child = Bun.spawn([process.execPath, join(ROOT, 'scripts/cluster.ts'), 'build', 'web', '--yes', '--json'], {
    cwd: root,
    env: {
      ...sandbox.environment,
      PATH: path,
      HOME: root,
      ...docker,
      REGISTRY_PASSWORD: password,
    },
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited])
  const lines = out
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as Line)
  expect(out + err).not.toContain(LOGIN.password)
  const { changes, applied, outputs } = lines.find(line => line.type === 'summary') ?? { type: 'none' }
  const errors = lines.filter(line => line.type === 'error').map(line => String(line.message))
  return { code, changes, applied, outputs, errors }
}

const writes = (): readonly string[] => registry.requests().filter(each => !/^(GET|HEAD) /.test(each))
const imageIn = (outputs: unknown): string => String((outputs as Record<string, string> | undefined)?.web_image)

/** What the registry has under a digest, asked without any of our own code. */
const manifestOf = async (image: string): Promise<number> => {
  const [repository = '', digest = ''] = image.slice(registry.host.length + 1).split('@')
  const answer = await fetch(`http://${registry.host}/v2/${repository}/manifests/${digest}`, {
    headers: { authorization: `Basic ${btoa(`${LOGIN.username}:${LOGIN.password}`)}`, accept: '*/*' },
  })
  return answer.status
}

let first = ''

test('an image is built and pushed, and named by its digest', async () => {
  const { code, errors, changes, applied, outputs } = await build()
  expect({ code, errors, changes, applied }).toEqual({ code: 0, errors: [], changes: 1, applied: 1 })
  first = imageIn(outputs)
  expect(first).toMatch(/^127\.0\.0\.1:\d+\/acme\/web@sha256:[0-9a-f]{64}$/)
  expect(await manifestOf(first)).toBe(200)
  expect(writes()).not.toEqual([])
})

test('the password is on no command line, and in no file that is left', () => {
  const seen = readFileSync(argumentsFile, 'utf8')
  expect(seen).toContain('--password-stdin')
  expect(seen).not.toContain(LOGIN.password)
  expect(existsSync(join(root, '.docker/config.json'))).toBe(false)
})

test('without a change nothing is built and nothing pushed', async () => {
  const before = writes().length
  rmSync(argumentsFile)
  writeFileSync(join(root, 'web/debug.log'), 'what the build does not see')
  const { code, changes, outputs } = await build()
  expect({ code, changes, image: imageIn(outputs) }).toEqual({ code: 0, changes: 0, image: first })
  expect(writes().length).toBe(before)
  expect(existsSync(argumentsFile)).toBe(false)
})

test('a changed file is another image, and taking the change back is the first again, without a build', async () => {
  writeFileSync(join(root, 'web/page.html'), 'two')
  const second = await build()
  expect(second).toMatchObject({ code: 0, changes: 1, applied: 1 })
  expect(imageIn(second.outputs)).not.toBe(first)
  expect(await manifestOf(imageIn(second.outputs))).toBe(200)
  const before = writes().length
  writeFileSync(join(root, 'web/page.html'), 'one')
  const third = await build()
  expect({ code: third.code, changes: third.changes, image: imageIn(third.outputs) }).toEqual({
    code: 0,
    changes: 0,
    image: first,
  })
  expect(writes().length).toBe(before)
})

test('a build that fails says why, and pushes nothing', async () => {
  const before = writes().length
  writeFileSync(join(root, 'web/Dockerfile'), 'FROM scratch\nCOPY missing.html /\n')
  const { code, errors } = await build()
  expect(code).toBe(1)
  expect(errors.join()).toContain('"docker build" ended with exit code 1')
  expect(errors.join()).toContain('missing.html')
  expect(writes().length).toBe(before)
})

test('a wrong password, and none, are said', async () => {
  const wrong = await build('guessed')
  expect({ code: wrong.code, said: wrong.errors.join() }).toEqual({
    code: 1,
    said: `The registry ${registry.host} answered ci with status 401.`,
  })
  const none = await build('')
  expect({ code: none.code, said: none.errors.join() }).toEqual({
    code: 64,
    said: 'REGISTRY_PASSWORD is not set, and config.json names it.',
  })
})

test('a computer without Docker is said', async () => {
  writeFileSync(join(root, 'web/page.html'), 'three')
  const { code, errors } = await build(LOGIN.password, join(root, 'empty'))
  expect({ code, said: errors.join() }).toEqual({
    code: 1,
    said: 'docker is not installed here, and images are built with it.',
  })
})
