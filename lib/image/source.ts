/** What the golden image is made of: the files that decide its content, their hash, and where they come from. */

import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { LandfallError } from '../errors.ts'
import type { ImageSource } from '../steps/image-build.ts'

/** Everything that can change the image; nothing else may, or a fresh image would count as old. */
const PARTS = ['flake.lock', 'flake.nix', 'nixos', 'packer'] as const
const UNKNOWN = 'unknown'

/** The same for a system that is installed on a server or changed there. */
const SYSTEM_PARTS = ['flake.lock', 'flake.nix', 'nixos'] as const

/** This project's own root. */
export const ROOT = new URL('../../', import.meta.url).pathname

/**
 * @param root the directory that holds `nixos/`, `packer/`, `flake.nix` and `flake.lock`
 * @throws LandfallError config when one of them is not there
 */
export function readImageSource(root: string): ImageSource {
  const directory = resolve(root)
  const missing = PARTS.filter(part => !existsSync(join(directory, part)))
  if (missing.length > 0)
    throw new LandfallError('config', `${directory} holds no ${missing.join(' and no ')}, so no image can be built from it.`, {
      hint: 'Name the directory that holds nixos/, packer/ and flake.nix: --source DIR.',
    })
  const files = PARTS.flatMap(part => filesBelow(directory, part)).sort()
  return {
    directory,
    content: hashFiles(files.map(path => [path, readFileSync(join(directory, path))] as const)),
    revision: revisionOf(directory),
    nixos: nixosOf(readFileSync(join(directory, 'flake.lock'), 'utf8')),
    dokploy: dokployOf(directory),
    untracked: untrackedOf(directory),
  }
}

/** What systems of servers are built from. */
export function readSystemSource(root: string): {
  readonly directory: string
  readonly content: string
  readonly files: readonly string[]
  readonly untracked: readonly string[]
} {
  const directory = resolve(root)
  const files = SYSTEM_PARTS.flatMap(part => (existsSync(join(directory, part)) ? filesBelow(directory, part) : [])).sort()
  const content = hashFiles(files.map(path => [path, readFileSync(join(directory, path))] as const))
  return { directory, content, files, untracked: untrackedOf(directory) }
}

/** These files as base64 of a .tar.gz. */
export async function packSystemSource(root: string): Promise<string> {
  const { directory, files } = readSystemSource(root)
  const archive = new Bun.Archive(Object.fromEntries(files.map(path => [path, readFileSync(join(directory, path))])), {
    compress: 'gzip',
  })
  return Buffer.from(await archive.bytes()).toString('base64')
}

/** 40 hexadecimal digits over names and bytes, in the order given. Pure. */
export function hashFiles(files: readonly (readonly [string, Uint8Array])[]): string {
  const hash = createHash('sha256')
  for (const [path, bytes] of files) hash.update(`${path}\0${bytes.length}\0`).update(bytes)
  return hash.digest('hex').slice(0, 40)
}

/** Paths below `root`, without what editors and builds leave (names that begin with a dot, Packer's manifest). */
function filesBelow(root: string, path: string): string[] {
  if (!statSync(join(root, path)).isDirectory()) return [path]
  return readdirSync(join(root, path))
    .filter(name => !name.startsWith('.') && name !== 'packer-manifest.json')
    .flatMap(name => filesBelow(root, `${path}/${name}`))
}

/** What Git says of the directory; undefined where it says nothing. */
function git(directory: string, ...words: string[]): string | undefined {
  if (Bun.which('git') === null) return undefined
  const { exitCode, stdout } = Bun.spawnSync(['git', '-C', directory, ...words], { stderr: 'ignore' })
  return exitCode === 0 ? stdout.toString().trim() : undefined
}

/** The commit, with "-dirty" when files differ from it. */
function revisionOf(directory: string): string {
  const commit = git(directory, 'rev-parse', '--short=12', 'HEAD')
  if (!commit) return UNKNOWN
  return git(directory, 'status', '--porcelain', '--', ...PARTS) === '' ? commit : `${commit}-dirty`
}

function untrackedOf(directory: string): string[] {
  const known = git(directory, 'ls-files', '--', ...SYSTEM_PARTS)
  if (known === undefined) return []
  const tracked = new Set(known.split('\n'))
  return SYSTEM_PARTS.flatMap(part => filesBelow(directory, part)).filter(path => !tracked.has(path))
}

/** "26.05", from the branch that the lock file follows. */
function nixosOf(lock: string): string {
  const match = /"ref":\s*"nixos-(\d\d\.\d\d)/.exec(lock)
  return match?.[1] ?? UNKNOWN
}

/** The version that the module pins. */
function dokployOf(directory: string): string {
  const module = join(directory, 'nixos/modules/dokploy.nix')
  if (!existsSync(module)) return UNKNOWN
  return /version = lib\.mkOption \{[^}]*?default = "([^"]+)"/.exec(readFileSync(module, 'utf8'))?.[1] ?? UNKNOWN
}
