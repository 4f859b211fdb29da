/** A sandbox with container machines for a cluster: stock Debian with Consul, Nomad and Caddy on the image, and small images of an app. */

import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../../../lib/sandbox/containers/commands.ts'
import { type Engine, openEngine } from '../../../lib/sandbox/containers/engine.ts'
import { matchesSelector, parseSelector } from '../../../lib/sandbox/hetzner/labels.ts'
import { type Sandbox, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { BASE_IMAGE, buildBase, machinesDirectory } from '../base/build.ts'
import type { BalancerReport } from './balancer.ts'
import { findTools } from './tools.ts'

const ROOT = new URL('../../../', import.meta.url).pathname
const IMAGE = 'landfall-machine:cluster'
/** Where a machine finds the app's images. */
const APP_ARCHIVE = '/var/lib/cluster-test/app.tar'

/** Visitors of a test, each second. */
export const RATE_PER_S = 100

/** Debian's Prometheus as an image. */
export const PROMETHEUS = 'test/prometheus:1'

export const APP_VERSIONS = ['1', '2', '3'] as const

export interface Line {
  readonly type: string
  readonly [field: string]: unknown
}

export interface ClusterRig {
  readonly sandbox: Sandbox
  readonly cwd: string
  readonly containers: NonNullable<Sandbox['controls']['containers']>
  /** Further variables of the scripts. */
  readonly variables: Record<string, string>
  /** Runs `scripts/<words>` in the estate's folder. */
  script(...words: string[]): Promise<{ code: number; lines: Line[]; text: string }>
  /** What a command printed on a machine. Fails when the command does. */
  inside(machine: string, command: string): Promise<string>
  /** Brings the app's images into a machine's Docker, as a pull from a registry would. */
  loadApp(machine: string): Promise<void>
  /** Visitors of www.example.com from now on, through a balancer at the private address that the sandbox's has. */
  visitors(): Promise<{ stop(): Promise<BalancerReport> }>
  /** What each machine's Caddy answers at its private address, asked as the balancer would, with the sandbox's authority alone trusted. */
  ask(
    url: string,
  ): Promise<readonly { readonly machine: string; readonly status: string; readonly location: string; readonly text: string }[]>
  /** Puts a file or folder from here into a folder of a machine's. */
  copyTo(machine: string, from: string, folder: string): Promise<void>
  /** Cuts a machine's power: it ends at once, and tells nobody. */
  kill(machine: string): Promise<void>
  close(): Promise<void>
}

/** One program with its libraries, for an image without anything else: `caddy respond`, a web server whose answer is in its command line. */
export async function writeApp(root: string, program = '/usr/bin/caddy'): Promise<void> {
  mkdirSync(join(root, 'tmp'), { recursive: true })
  const linked = await run(['ldd', program])
  for (const file of [program, ...[...linked.matchAll(/(\/\S+) \(0x/g)].map(match => match[1] ?? '')])
    await run(['cp', '--parents', '--dereference', file, root])
}

/** `broken` ends at once. */
async function buildApp(
  docker: (words: readonly string[]) => Promise<string>,
  work: string,
  prometheus: string,
): Promise<string> {
  const root = join(work, 'app')
  await writeApp(root)
  const tar = join(work, 'app.tar')
  await run(['tar', '-C', root, '-cf', tar, '.'])
  const entry = (...words: string[]) => `ENTRYPOINT ${JSON.stringify(['/usr/bin/caddy', ...words])}`
  for (const version of APP_VERSIONS)
    await docker([
      'import',
      '--change',
      entry('respond', '--listen', ':3000', '--body', `version ${version}\n`),
      tar,
      `test/app:${version}`,
    ])
  await docker(['import', '--change', entry('broken'), tar, 'test/app:broken'])
  const watcher = join(work, 'watcher')
  await writeApp(watcher, prometheus)
  await run(['tar', '-C', watcher, '-cf', `${watcher}.tar`, '.'])
  await docker(['import', '--change', `ENTRYPOINT ${JSON.stringify([prometheus])}`, `${watcher}.tar`, PROMETHEUS])
  const archive = join(work, 'images.tar')
  await docker([
    'save',
    '--output',
    archive,
    ...APP_VERSIONS.map(version => `test/app:${version}`),
    'test/app:broken',
    PROMETHEUS,
  ])
  return archive
}

export async function buildImage(directory: string): Promise<void> {
  const { prometheus, ...tools } = await findTools()
  await buildBase(directory)
  const engine = await openEngine(directory)
  const work = mkdtempSync(join(tmpdir(), 'landfall-cluster-'))
  try {
    const archive = await buildApp(words => engine.docker(words, { timeoutMs: 120_000 }), work, prometheus)
    const root = join(work, 'machine')
    for (const folder of ['usr/local/bin', 'var/lib/cluster-test']) mkdirSync(join(root, folder), { recursive: true })
    for (const [name, file] of Object.entries({ ...tools, caddy: '/usr/bin/caddy' })) {
      copyFileSync(file, join(root, 'usr/local/bin', name))
      await run(['chmod', '755', join(root, 'usr/local/bin', name)])
    }
    copyFileSync(archive, join(root, APP_ARCHIVE))
    const container = await engine.docker(['create', '--network', 'none', BASE_IMAGE, '/bin/true'])
    await engine.docker(['cp', `${root}/.`, `${container}:/`], { timeoutMs: 120_000 })
    await engine.docker(['commit', container, IMAGE], { timeoutMs: 120_000 })
    await engine.docker(['rm', container])
  } finally {
    rmSync(work, { recursive: true, force: true })
    await engine.close()
  }
}

const containerOf = (engine: Engine, machine: string): Promise<string> =>
  engine.docker(['ps', '--quiet', '--filter', `label=landfall.server=${machine}`])

export async function openRig(config: Readonly<Record<string, unknown>>): Promise<ClusterRig> {
  const directory = machinesDirectory()
  await buildImage(directory)
  const sandbox = await startSandbox({
    machines: { kind: 'container', directory, image: IMAGE },
    settings: { actionMs: { other: 20 }, rateLimits: false },
    seed: { zones: ['example.com'] },
  })
  const { containers } = sandbox.controls
  if (!containers) throw new Error('bug: the sandbox has no container machines')
  const cwd = mkdtempSync(join(tmpdir(), 'landfall-cluster-'))
  writeFileSync(join(cwd, 'config.json'), JSON.stringify(config, null, 2))
  const inside: ClusterRig['inside'] = async (machine, command) => {
    const { exitCode, stdout, stderr } = await containers.exec(machine, ['sh', '-c', command])
    if (exitCode !== 0) throw new Error(`On ${machine}, "${command}" ended with ${exitCode}: ${stderr.trim()}`)
    return stdout.trim()
  }
  const { router } = containers.namespaces
  const caFile = sandbox.environment.LANDFALL_CA_FILE ?? ''
  /** Gives the router the balancer's address in the private network. */
  const joinNetwork = async (): Promise<void> => {
    const { balancers, networks } = sandbox.controls.hetzner.dump()
    const address = `${balancers[0]?.privateNets[0]?.ip}/16`
    await run(['ip', '-netns', router, 'address', 'replace', address, 'dev', `n${networks[0]?.id}`])
  }
  const variables: Record<string, string> = {}
  return {
    sandbox,
    cwd,
    variables,
    containers,
    inside,
    async ask(url) {
      await joinNetwork()
      const { hostname, port, protocol } = new URL(url)
      return Promise.all(
        sandbox.controls.hetzner.dump().servers.map(async server => {
          const resolve = `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}:${server.privateNets[0]?.ip}`
          const words = [
            'curl',
            '--silent',
            '--show-error',
            '--noproxy',
            '*',
            '--max-time',
            '10',
            '--cacert',
            caFile,
            '--resolve',
            resolve,
          ]
          const format = '\n%{http_code} %{redirect_url}'
          const said = await run(['nsenter', `--net=/run/netns/${router}`, '--', ...words, '--write-out', format, url])
          const lines = said.trimEnd().split('\n')
          const [status = '', location = ''] = (lines.at(-1) ?? '').split(' ')
          return { machine: server.name, status, location, text: lines.slice(0, -1).join('\n').trim() }
        }),
      )
    },
    async script(...words) {
      const [name = '', ...rest] = words
      const child = Bun.spawn([process.execPath, join(ROOT, `scripts/${name}.ts`), ...rest, '--json'], {
        cwd,
        env: { PATH: process.env.PATH ?? '', HOME: cwd, ...sandbox.environment, ...variables },
        stdout: 'pipe',
        stderr: 'pipe',
      })
      const [text, failures, code] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
        child.exited,
      ])
      const lines = text
        .split('\n')
        .filter(line => line.startsWith('{'))
        .map(line => JSON.parse(line) as Line)
      return { code, lines, text: text + failures }
    },
    async loadApp(machine) {
      await inside(machine, `docker load --quiet --input ${APP_ARCHIVE}`)
    },
    async visitors() {
      const { balancers, servers } = sandbox.controls.hetzner.dump()
      const [balancer] = balancers
      const isTarget = ({ labels }: (typeof servers)[number]): boolean =>
        balancer?.selectors.some(({ selector }) => matchesSelector(parseSelector(selector) ?? [], labels)) ?? false
      await joinNetwork()
      const wish = {
        targets: servers.filter(isTarget).flatMap(server => server.privateNets.map(net => net.ip)),
        host: 'www.example.com',
        ratePerS: RATE_PER_S,
        health: balancer?.services[0]?.health,
      }
      const program = join(import.meta.dir, 'balancer.ts')
      const bun = [process.execPath, '--config=/dev/null', '--no-env-file', program, JSON.stringify(wish)]
      const child = Bun.spawn(['nsenter', `--net=/run/netns/${router}`, '--', ...bun], {
        stdin: 'pipe',
        stdout: 'pipe',
        stderr: 'inherit',
      })
      return {
        async stop() {
          await child.stdin.end()
          const lines = (await new Response(child.stdout).text()).trim().split('\n')
          return JSON.parse(lines.at(-1) ?? '{}') as BalancerReport
        },
      }
    },
    async copyTo(machine, from, folder) {
      await inside(machine, `mkdir -p ${folder}`)
      const engine = await openEngine(directory)
      await engine.docker(['cp', from, `${await containerOf(engine, machine)}:${folder}`], { timeoutMs: 120_000 })
    },
    async kill(machine) {
      const engine = await openEngine(directory)
      await engine.docker(['kill', '--signal', 'KILL', await containerOf(engine, machine)])
    },
    async close() {
      await sandbox.close()
      rmSync(cwd, { recursive: true, force: true })
    },
  }
}
