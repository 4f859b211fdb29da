/**
 * A Docker Engine of the tests' own, in a network namespace of its own, with two versions of Compose and images that were made
 * here: it neither finds nor touches another daemon's containers, bridges or firewall rules. A start
 * sweeps what killed tests left of theirs. Needs root, dockerd and debootstrap.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { isAlive, ownerLives, ownerOf } from '../../lib/sandbox/containers/owners.ts'

export interface Run {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface TestDocker {
  readonly directory: string
  /** For children: which daemon is meant. */
  readonly environment: Readonly<Record<string, string>>
  /** Where published ports are reached from inside: by the daemon's rules, as from outside, not through its userland proxy. */
  readonly address: string
  /** Words that put a command into the daemon's network namespace. */
  readonly inside: readonly string[]
  docker(...words: string[]): Run
  /** As a reboot does it: every container ends with the daemon, and the daemon brings back those that shall come back. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** Kept between runs: what comes from Debian's mirror. */
const CACHE = process.env.LANDFALL_TEST_CACHE ?? join(homedir(), '.cache', 'landfall-tests')

export function run(
  words: readonly string[],
  options: { readonly env?: Record<string, string>; readonly cwd?: string } = {},
): Run {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...words], { ...options, stdin: 'ignore' })
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
  return { code: exitCode, stdout: text(stdout), stderr: text(stderr) }
}

export function must(words: readonly string[], options: Parameters<typeof run>[1] = {}): string {
  const result = run(words, options)
  if (result.code !== 0)
    throw new Error(`${words.join(' ')} ended with ${result.code}: ${result.stderr.slice(-2000)}${result.stdout.slice(-500)}`)
  return result.stdout
}

/** Of the namespace and the folder of an engine; what follows is its name and the process that it belongs to. */
const PREFIX = 'lf-docker-'
const STOP_TIMEOUT_MS = 30_000

/** A daemon that was in a swarm leaves the namespaces of its networks mounted. */
const removeFolder = (directory: string): void => {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map(line => line.split(' ')[1] ?? '')
    .filter(path => path.startsWith(`${directory}/`))
  for (const path of mounts.reverse()) must(['umount', path])
  rmSync(directory, { recursive: true, force: true })
}

/** Engines whose tests were killed: their containers end with them, and their namespaces and folders go. */
export async function sweepDead(): Promise<void> {
  const names = ['/run/netns', tmpdir()].flatMap(folder => (existsSync(folder) ? readdirSync(folder) : []))
  const dead = new Set(names.filter(name => name.startsWith(PREFIX) && !ownerLives(name.split('-').slice(-2).join('-'))))
  for (const name of dead) {
    const [directory, namespace] = [join(tmpdir(), name), `/run/netns/${name}`]
    const pidFile = join(directory, 'pid')
    const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0
    if (pid > 0 && isAlive(pid, 'dockerd')) {
      process.kill(pid, 'SIGTERM')
      for (const deadlineMs = performance.now() + STOP_TIMEOUT_MS; isAlive(pid, 'dockerd') && performance.now() < deadlineMs; )
        await Bun.sleep(50)
    }
    if (existsSync(namespace)) {
      const left = must(['ip', 'netns', 'pids', name]).split('\n').filter(Boolean)
      if (left.length > 0) run(['kill', '-9', ...left])
      must(['ip', 'netns', 'delete', name])
    }
    removeFolder(directory)
  }
}

/** `subnet` is a /16 that nothing else here uses: "172.26". */
export async function startDocker({ name, subnet }: { readonly name: string; readonly subnet: string }): Promise<TestDocker> {
  await sweepDead()
  const owner = ownerOf(process.pid)
  const directory = join(tmpdir(), `${PREFIX}${name}-${owner}`)
  mkdirSync(directory, { mode: 0o700 })
  const namespace = `${PREFIX}${name}-${owner}`
  must(['ip', 'netns', 'add', namespace])
  const inside = ['nsenter', `--net=/run/netns/${namespace}`]
  must([...inside, 'ip', 'link', 'set', 'lo', 'up'])
  const socket = join(directory, 'docker.sock')
  const log = join(directory, 'dockerd.log')
  const startDaemon = (): ChildProcess => {
    const started = spawn(
      'nsenter',
      [
        `--net=/run/netns/${namespace}`,
        'dockerd',
        ...['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec'), '--pidfile', join(directory, 'pid')],
        ...['--host', `unix://${socket}`, '--bip', `${subnet}.0.1/24`],
        ...['--default-address-pool', `base=${subnet}.128.0/17,size=24`],
        ...['--label', 'landfall.test=1', '--shutdown-timeout', '5'],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    started.stderr?.on('data', (chunk: Buffer) => writeFileSync(log, chunk, { flag: 'a' }))
    return started
  }
  let daemon = startDaemon()
  const environment = {
    PATH: process.env.PATH ?? '',
    HOME: directory,
    DOCKER_HOST: `unix://${socket}`,
    DOCKER_CONFIG: join(directory, 'config'),
  }
  const docker = (...words: string[]) => run(['docker', ...words], { env: environment })
  const untilReady = async () => {
    for (let tries = 0; docker('version', '--format', '{{.Server.Version}}').code !== 0; tries++) {
      if (tries > 300 || daemon.exitCode !== null)
        throw new Error(`dockerd did not start: ${existsSync(log) ? readFileSync(log, 'utf8').slice(-2000) : ''}`)
      await Bun.sleep(100)
    }
  }
  const endDaemon = async () => {
    const pidFile = join(directory, 'pid')
    if (existsSync(pidFile)) process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGTERM')
    if (daemon.exitCode === null) await new Promise(resolve => daemon.once('exit', resolve))
  }
  await untilReady()
  return {
    directory,
    environment,
    address: `${subnet}.0.1`,
    inside,
    docker,
    async restart() {
      await endDaemon()
      daemon = startDaemon()
      await untilReady()
    },
    async stop() {
      const ids = docker('ps', '-aq').stdout.split('\n').filter(Boolean)
      if (ids.length > 0) docker('rm', '-f', ...ids)
      await endDaemon()
      run(['ip', 'netns', 'delete', namespace])
      removeFolder(directory)
    },
  }
}

/** Compose of Debian trixie and of sid, as command line plugins; fetched once, beside the system's own package lists. */
export function composeVersions(): readonly { readonly version: string; readonly configDirectory: string }[] {
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'
  return ['trixie', 'sid'].map(suite => {
    const folder = join(CACHE, `compose-${suite}`)
    const plugin = join(folder, 'cli-plugins', 'docker-compose')
    if (!existsSync(plugin)) {
      const work = mkdtempSync(join(tmpdir(), 'landfall-apt-'))
      for (const path of ['lists/partial', 'archives/partial']) mkdirSync(join(work, path), { recursive: true })
      writeFileSync(join(work, 'status'), '')
      writeFileSync(join(work, 'sources.list'), `deb [signed-by=${keyring}] http://deb.debian.org/debian ${suite} main\n`)
      const places = {
        'Dir::Etc::sourcelist': 'sources.list',
        'Dir::State::lists': 'lists',
        'Dir::Cache::archives': 'archives',
        'Dir::State::status': 'status',
      }
      const apt = [
        'apt-get',
        ...Object.entries(places).flatMap(([key, path]) => ['-o', `${key}=${join(work, path)}`]),
        '-o',
        'Dir::Etc::sourceparts=/dev/null',
      ]
      must([...apt, 'update'])
      must([...apt, 'download', 'docker-compose'], { cwd: work })
      const [package_] = readdirSync(work).filter(file => file.endsWith('.deb'))
      must(['dpkg', '-x', join(work, package_ ?? ''), join(work, 'x')])
      mkdirSync(join(folder, 'cli-plugins'), { recursive: true })
      cpSync(join(work, 'x/usr/libexec/docker/cli-plugins/docker-compose'), `${plugin}.new`)
      chmodSync(`${plugin}.new`, 0o755)
      renameSync(`${plugin}.new`, plugin)
      rmSync(work, { recursive: true, force: true })
    }
    return { version: must([plugin, 'version', '--short']).trim(), configDirectory: folder }
  })
}

const PACKAGES = 'python3-minimal,libpython3-stdlib,nginx-light,nodejs,redis-server,postgresql'

/** A Debian with what the example needs, as `landfall-example/base:1`; no registry is asked. */
export function loadBaseImage({ docker }: Pick<TestDocker, 'docker'>): void {
  const tar = join(CACHE, 'base.tar')
  if (!existsSync(tar)) {
    mkdirSync(CACHE, { recursive: true })
    const root = mkdtempSync(join(tmpdir(), 'landfall-base-'))
    must(['debootstrap', '--variant=minbase', `--include=${PACKAGES}`, 'bookworm', root, 'http://deb.debian.org/debian'])
    for (const path of ['var/cache/apt', 'var/lib/apt/lists', 'usr/share/doc', 'usr/share/man', 'usr/share/locale'])
      rmSync(join(root, path), { recursive: true, force: true })
    must(['tar', '-C', root, '-cf', `${tar}.new`, '.'])
    renameSync(`${tar}.new`, tar)
    rmSync(root, { recursive: true, force: true })
  }
  const result = docker('import', '--change', 'LABEL landfall.test=1', tar, 'landfall-example/base:1')
  if (result.code !== 0) throw new Error(result.stderr)
}

/** `landfall-example/SERVICE:TAG` for every tag; `bad` is one whose health check fails. */
export function buildExampleImages(
  { environment }: Pick<TestDocker, 'environment'>,
  example: string,
  tags: readonly string[],
): void {
  // The old builder takes its base from the daemon itself; the new one would ask a registry.
  const build = (context: string, image: string, ...words: string[]) =>
    must(['docker', 'build', '-q', '--label', 'landfall.test=1', '-t', image, ...words, join(example, context)], {
      env: { ...environment, DOCKER_BUILDKIT: '0' },
    })
  build('proxy', 'landfall-example/nginx:1')
  for (const tag of tags)
    for (const service of ['api', 'web', 'python-api'])
      build(
        service,
        `landfall-example/${service}:${tag}`,
        '--build-arg',
        `VERSION=${tag}`,
        ...(tag === 'bad' ? ['--build-arg', 'BROKEN=1'] : []),
      )
}

/** A copy of the example that a test may change, with its configuration beside it. */
export function copyExample(into: string): string {
  const examples = new URL('../../examples/', import.meta.url).pathname
  cpSync(join(examples, 'compose-rolling'), join(into, 'compose-rolling'), { recursive: true })
  cpSync(join(examples, 'compose-rolling.json'), join(into, 'compose-rolling.json'))
  return into
}
