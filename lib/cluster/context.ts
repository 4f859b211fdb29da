/**
 * What an app's image is built from, as one sum: the image carries it as its tag, so the registry itself knows whether this very state has
 * been built. Anybody's checkout of the same files gives the same sum.
 */

import { createHash, type Hash } from 'node:crypto'
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import { dirname, join, resolve, sep } from 'node:path'
import { LandfallError } from '../errors.ts'
import type { BuildWish } from '../estate/cluster.ts'
import { parseIgnore } from './ignore.ts'

export interface BuildContext {
  readonly directory: string
  readonly dockerfile: string
  /** The tag of an image that was built from it. */
  readonly tag: string
}

/** @throws LandfallError config when the folder or its Dockerfile is not there, or lies outside of the config's folder */
export function readContext(configPath: string, app: string, wish: BuildWish): BuildContext {
  const wrong = (why: string, hint: string) => new LandfallError('config', `cluster.builds.${app}: ${why}.`, { hint })
  const root = realpathSync(resolve(dirname(configPath)))
  const named = resolve(root, wish.context)
  if (!existsSync(named)) throw wrong(`the folder ${wish.context} is not there`, `Put it beside ${configPath}.`)
  const directory = realpathSync(named)
  if (directory !== root && !directory.startsWith(`${root}${sep}`))
    throw wrong(`the folder ${wish.context} lies outside of the folder of the config`, 'Move config.json up, or the folder down.')
  const dockerfile = join(directory, wish.dockerfile)
  if (!existsSync(dockerfile))
    throw wrong(`${wish.context} has no ${wish.dockerfile}`, `Write one, or name it: "dockerfile": "docker/${app}.Dockerfile"`)
  // Which of the two counts is the builder's choice, so only what both leave out can make no difference.
  const rules = [`${dockerfile}.dockerignore`, join(directory, '.dockerignore')]
    .filter(path => existsSync(path))
    .map(path => parseIgnore(readFileSync(path, 'utf8')))
  const isIgnored = (path: string): boolean => rules.length > 0 && rules.every(ignores => ignores(path))
  const sum = createHash('sha256').update(`${wish.dockerfile}\0${wish.stage ?? ''}\0`)
  // The repository's own history changes with every commit, and no build should depend on it.
  for (const path of [...pathsIn(directory, '')].sort())
    if (path !== '.git' && !path.startsWith('.git/') && (path === wish.dockerfile || !isIgnored(path))) add(sum, directory, path)
  return { directory, dockerfile, tag: `landfall-${sum.digest('hex').slice(0, 24)}` }
}

/** Folders too: an empty one is part of an image. */
function* pathsIn(root: string, below: string): Generator<string> {
  for (const entry of readdirSync(join(root, below), { withFileTypes: true })) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`
    yield path
    if (entry.isDirectory()) yield* pathsIn(root, path)
  }
}

/** Its name, whether it may be executed, and what it holds. */
const add = (sum: Hash, root: string, path: string): void => {
  const full = join(root, path)
  const found = lstatSync(full)
  const content = found.isSymbolicLink() ? readlinkSync(full) : found.isFile() ? readFileSync(full) : ''
  const kind = found.isSymbolicLink() ? 'link' : found.isDirectory() ? 'folder' : found.mode & 0o100 ? 'program' : 'file'
  sum.update(`${path}\0${kind}\0${Buffer.byteLength(content)}\0`).update(content)
}
