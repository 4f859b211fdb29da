/**
 * Builds what container machines start from: the base image `landfall-machine:base` and an archive with the stand-in images. Each is
 * made again only when its recipe changed. Sweeps what killed runs left. `bun tests/machines/base/build.ts [DIRECTORY]`; the directory is $LANDFALL_MACHINES_DIR, or
 * .landfall/machines, unless it is given. Needs Linux, root, debootstrap and docker.io.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { arch, argv, env, execPath, stdout } from 'node:process'
import { run } from '../../../lib/sandbox/containers/commands.ts'
import { type Engine, openEngine } from '../../../lib/sandbox/containers/engine.ts'
import { sweep } from '../../../lib/sandbox/containers/sweep.ts'

export const BASE_IMAGE = 'landfall-machine:base'
const RECIPE_LABEL = 'landfall.recipe'
const HERE = import.meta.dir
const ARCHITECTURE = arch === 'arm64' ? 'arm64' : 'amd64'
const BUILD_TIMEOUT_MS = 15 * 60_000

export const machinesDirectory = (): string => resolve(env.LANDFALL_MACHINES_DIR ?? join(HERE, '../../../.landfall/machines'))

/** What was built, and how long each part took. */
export interface Built {
  readonly parts: readonly { readonly what: string; readonly ms: number }[]
}

/** @param say told what is being done */
export async function buildBase(directory: string, say: (line: string) => void = () => undefined): Promise<Built> {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const parts: { what: string; ms: number }[] = []
  const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    say(what)
    const startedMs = performance.now()
    const result = await work()
    parts.push({ what, ms: Math.round(performance.now() - startedMs) })
    return result
  }
  const engine = await timed('engine', () => openEngine(directory))
  try {
    await sweep(engine)
    const recipe = hashOf([join(HERE, 'recipe.sh'), ...filesBelow(join(HERE, 'files'))].map(file => [file, readFileSync(file)]))
    const roots = join(directory, `roots-${recipe}`)
    if ((await labelOf(engine, BASE_IMAGE)) !== recipe) {
      if (!existsSync(join(roots, 'machine.tar'))) await timed('root file systems', () => makeRoots(directory, roots))
      await timed('base image', () =>
        importTar(engine, join(roots, 'machine.tar'), BASE_IMAGE, [`LABEL ${RECIPE_LABEL}=${recipe}`]),
      )
    }
    if (!existsSync(join(directory, 'images', ARCHIVE, 'ready'))) await timed('package archive', () => fetchArchive(directory))
    await buildStandIns(engine, { directory, roots, recipe, timed })
    for (const name of readdirSync(directory))
      if (name.startsWith('roots-') && name !== `roots-${recipe}`) rmSync(join(directory, name), { recursive: true })
  } finally {
    await engine.close()
  }
  return { parts }
}

const MIRROR = 'http://deb.debian.org/debian'
/** Below the folder that every machine has: what `apt` finds there is Debian's own, with Debian's signature over it. */
export const ARCHIVE = 'debian'
/** A machine can be freed of these, and gets them again by an installation. */
export const ARCHIVED_PACKAGES = ['docker.io', 'containerd', 'runc', 'unattended-upgrades'] as const

const fetchArchive = async (directory: string): Promise<void> => {
  const root = join(directory, 'images', ARCHIVE)
  rmSync(root, { recursive: true, force: true })
  const get = async (path: string): Promise<Uint8Array> => {
    const answer = await fetch(`${MIRROR}/${path}`)
    if (!answer.ok) throw new Error(`${MIRROR}/${path} was answered ${answer.status}.`)
    const bytes = new Uint8Array(await answer.arrayBuffer())
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), bytes)
    return bytes
  }
  await get('dists/bookworm/InRelease')
  await get(`dists/bookworm/main/binary-${ARCHITECTURE}/Packages.xz`)
  const list = await run(['xz', '-dc', join(root, `dists/bookworm/main/binary-${ARCHITECTURE}/Packages.xz`)])
  const paths = list.split('\n\n').flatMap(entry => {
    const [, name = ''] = /^Package: (.*)$/m.exec(entry) ?? []
    const [, path = ''] = /^Filename: (.*)$/m.exec(entry) ?? []
    return ARCHIVED_PACKAGES.some(each => each === name) ? [path] : []
  })
  await Promise.all(paths.map(get))
  writeFileSync(join(root, 'ready'), '')
}

/** Two archives: the machine's root and the database's. */
const makeRoots = async (directory: string, roots: string): Promise<void> => {
  const work = join(directory, 'work')
  rmSync(work, { recursive: true, force: true })
  mkdirSync(work, { recursive: true })
  const output = await run(['sh', join(HERE, 'recipe.sh'), work, join(HERE, 'files')], { timeoutMs: BUILD_TIMEOUT_MS })
  writeFileSync(join(directory, 'recipe.log'), output)
  await run(['tar', '-C', join(work, 'machine'), '-cf', join(work, 'machine.tar'), '.'], { timeoutMs: BUILD_TIMEOUT_MS })
  await run(['tar', '-C', join(work, 'postgres'), '-cf', join(work, 'postgres.tar'), '.'], { timeoutMs: BUILD_TIMEOUT_MS })
  for (const root of ['machine', 'postgres']) rmSync(join(work, root), { recursive: true })
  renameSync(work, roots)
}

interface StandIns {
  readonly directory: string
  readonly roots: string
  readonly recipe: string
  readonly timed: <T>(what: string, work: () => Promise<T>) => Promise<T>
}

const buildStandIns = async (engine: Engine, { directory, roots, recipe, timed }: StandIns): Promise<void> => {
  const images = join(directory, 'images')
  const mark = join(images, 'hash')
  const work = join(directory, 'standins')
  const source = join(HERE, 'standins.ts')
  const bundle = await Bun.build({ entrypoints: [source], target: 'bun', minify: false })
  const [main] = bundle.outputs
  if (!main) throw new Error('bug: the stand-ins were not bundled')
  const entry = readFileSync(join(HERE, 'postgres-entry.sh'))
  const hash = hashOf([
    ['program', Buffer.from(await main.text())],
    ['entry', entry],
    ['build', readFileSync(import.meta.path)],
    ['base', Buffer.from(`${recipe} ${Bun.version}`)],
  ])
  if (existsSync(join(images, 'images.tar')) && readFileSync(mark, 'utf8') === hash) return
  if (!existsSync(join(roots, 'postgres.tar'))) await timed('root file systems', () => makeRoots(directory, roots))

  await timed('stand-in program', async () => {
    rmSync(work, { recursive: true, force: true })
    for (const folder of ['root/tmp', 'root/etc', 'entry/usr/local/bin']) mkdirSync(join(work, folder), { recursive: true })
    await run([execPath, 'build', '--compile', source, '--outfile', join(work, 'root/standins')], { timeoutMs: BUILD_TIMEOUT_MS })
    // The program runs in an image that holds nothing else, so what it is linked with goes along.
    const linked = await run(['ldd', join(work, 'root/standins')])
    for (const [, file] of linked.matchAll(/(\/\S+) \(0x/g))
      if (file !== undefined) await run(['cp', '--parents', '--dereference', file, join(work, 'root')])
    writeFileSync(join(work, 'root/etc/passwd'), 'root:x:0:0:root:/root:/bin/false\n')
    await run(['tar', '-C', join(work, 'root'), '-cf', join(work, 'standins.tar'), '.'])
    writeFileSync(join(work, 'entry/usr/local/bin/postgres-entry'), entry, { mode: 0o755 })
    await run(['cp', join(roots, 'postgres.tar'), join(work, 'postgres.tar')])
    await run(['tar', '-C', join(work, 'entry'), '-rf', join(work, 'postgres.tar'), './usr/local/bin/postgres-entry'])
  })
  await timed('stand-in images', async () => {
    const health = 'HEALTHCHECK --interval=2s --timeout=5s --start-period=60s --retries=3 CMD ["/standins", "health"]'
    await importTar(engine, join(work, 'standins.tar'), 'stand-in/dokploy:1', ['ENTRYPOINT ["/standins", "dokploy"]', health])
    await importTar(engine, join(work, 'standins.tar'), 'stand-in/traefik:1', ['ENTRYPOINT ["/standins", "traefik"]'])
    await importTar(engine, join(work, 'postgres.tar'), 'stand-in/postgres:1', [
      'ENTRYPOINT ["/usr/local/bin/postgres-entry"]',
      'VOLUME /var/lib/postgresql/data',
    ])
    mkdirSync(images, { recursive: true })
    const tags = ['dokploy', 'postgres', 'traefik'].map(name => `stand-in/${name}:1`)
    await engine.docker(['save', '--output', join(images, 'images.tar'), ...tags], { timeoutMs: BUILD_TIMEOUT_MS })
    writeFileSync(mark, hash)
    rmSync(work, { recursive: true })
  })
}

const importTar = (engine: Engine, tar: string, tag: string, changes: readonly string[]): Promise<string> =>
  engine.docker(['import', ...changes.flatMap(change => ['--change', change]), tar, tag], { timeoutMs: BUILD_TIMEOUT_MS })

const labelOf = async (engine: Engine, image: string): Promise<string | undefined> => {
  const format = `{{index .Config.Labels "${RECIPE_LABEL}"}}`
  const found = await engine.tryDocker(['image', 'inspect', '--format', format, image])
  return found.exitCode === 0 ? found.stdout.trim() : undefined
}

const filesBelow = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map(name => join(folder, name))
    .filter(file => statSync(file).isFile())
    .sort()

const hashOf = (parts: readonly (readonly [string, Uint8Array])[]): string => {
  const hasher = new Bun.CryptoHasher('sha256')
  for (const [name, bytes] of parts) hasher.update(`${name.slice(HERE.length)} ${bytes.length}\n`).update(bytes)
  return hasher.digest('hex').slice(0, 16)
}

if (import.meta.main) {
  const startedMs = performance.now()
  const { parts } = await buildBase(argv[2] === undefined ? machinesDirectory() : resolve(argv[2]), line =>
    stdout.write(`${line} …\n`),
  )
  for (const { what, ms } of parts) stdout.write(`${what}: ${(ms / 1000).toFixed(1)} s\n`)
  stdout.write(`ready after ${((performance.now() - startedMs) / 1000).toFixed(1)} s\n`)
}
