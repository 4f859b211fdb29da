/** config.json's text → a checked `Config`. Every mistake is reported at once, with its place and the nearest right word. */

import { LandfallError } from '../errors.ts'
import { checkConfig } from './check.ts'
import { type Mistake, type ParsedJson, type Path, type Position, parseJson } from './json.ts'
import { CONFIG_KEYS } from './keys.ts'
import { nearest } from './near.ts'
import { asConfig, type Config, shapeMistakes } from './schema.ts'
import { listed, quoted, renderPath } from './words.ts'

export { resolveEstate } from './resolve.ts'

const MAX_BYTES = 1024 * 1024
/** More than a person reads; a file with more is broken in some other way. */
const MAX_SHOWN = 50

const isGroup = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const childNames = new Map<string, readonly string[]>()

/** Names that may stand directly below a documented path; `<name>` among them means any. */
const childrenOf = (docPath: string): readonly string[] => {
  const known = childNames.get(docPath)
  if (known !== undefined) return known
  const prefix = docPath === '' ? '' : `${docPath}.`
  const names = CONFIG_KEYS.map(({ path }) => path)
    .filter(path => path.startsWith(prefix) && path !== docPath)
    .map(path => path.slice(prefix.length).split(/[.[]/)[0] ?? '')
    .filter((name, index, all) => name !== '' && all.indexOf(name) === index)
  childNames.set(docPath, names)
  return names
}

const SECRET_KEY = /token|secret|passw|private_key|api_key/i

const unknownKey = (name: string, docPath: string, siblings: readonly string[], path: Path): Mistake => {
  const below = [...path, name]
  if (SECRET_KEY.test(name))
    return {
      path: below,
      says: 'unknown key: secrets never stand in this file, they come from the environment (HCLOUD_TOKEN, CLOUDFLARE_API_TOKEN)',
    }
  const near = nearest(
    name,
    siblings.filter(sibling => !sibling.includes('<')),
  )
  if (near !== undefined) return { path: below, says: `unknown key; did you mean ${quoted(near)}?`, meant: [...path, near] }
  const elsewhere = CONFIG_KEYS.map(key => key.path).filter(other => other.split('.').at(-1) === name && !other.includes('<'))
  if (elsewhere.length > 0) return { path: below, says: `unknown key here; did you mean ${listed(elsewhere, 'or')}?` }
  const known = siblings.map(sibling => (sibling === '<name>' ? 'names' : sibling))
  return { path: below, says: `unknown key; ${docPath === '' ? 'the file' : 'this group'} knows ${listed(known)}` }
}

const unknownKeys = (value: unknown, docPath: string, path: Path): Mistake[] => {
  const children = childrenOf(docPath)
  if (Array.isArray(value)) {
    // The schema library takes a list for a group whose keys are all optional.
    if (children.length > 0) return [{ path, says: `must be a group of keys in braces, not ${quoted(value)}` }]
    return value.flatMap((item, index) => unknownKeys(item, `${docPath}[]`, [...path, index]))
  }
  if (!isGroup(value) || children.length === 0) return []
  return Object.entries(value).flatMap(([name, inner]) => {
    // Keys made from roles are judged where the roles are known.
    if (docPath === 'dns' && /^[a-z0-9-]+_admin_subdomain$/.test(name)) return []
    if (!children.includes('<name>') && (!children.includes(name) || name.includes('<')))
      return [unknownKey(name, docPath, children, path)]
    const doc = children.includes('<name>') ? '<name>' : name
    return unknownKeys(inner, docPath === '' ? doc : `${docPath}.${doc}`, [...path, name])
  })
}

/** What has to go with a wrong value: a list's element takes its list along, so that the other positions stay true. */
const removable = (path: Path): Path => path.slice(0, path.findLastIndex(part => typeof part === 'string') + 1)

/** A copy without what is at `paths`, each of which ends in a key. */
const without = (value: unknown, paths: readonly Path[]): unknown => {
  if (!isGroup(value)) return {}
  const copy = structuredClone(value)
  for (const path of paths) {
    let holder: unknown = copy
    for (const part of path.slice(0, -1))
      holder = isGroup(holder) || Array.isArray(holder) ? Reflect.get(holder, part) : undefined
    const last = path.at(-1)
    if (isGroup(holder) && typeof last === 'string') delete holder[last]
  }
  return copy
}

const startsWith = (path: Path, prefix: Path): boolean => prefix.every((part, index) => path[index] === part)

const isConsequence = (mistake: Mistake, explained: readonly Path[]): boolean =>
  (mistake.because ?? []).some(cause => explained.some(path => startsWith(path, cause) || startsWith(cause, path)))

/** Where the value at the mistake's path stands, or the nearest group around what is missing. */
const positionOf = (json: ParsedJson, mistake: Mistake): Position => {
  for (let length = mistake.path.length; length > 0 && mistake.at === undefined; length--) {
    const at = json.positionOf(mistake.path.slice(0, length))
    if (at !== undefined) return at
  }
  return mistake.at ?? { line: 1, column: 1 }
}

const fail = (source: string, json: ParsedJson, mistakes: readonly Mistake[]): never => {
  const placed = mistakes.map(mistake => ({ at: positionOf(json, mistake), path: renderPath(mistake.path), says: mistake.says }))
  placed.sort((a, b) => a.at.line - b.at.line || a.at.column - b.at.column)
  const lines = placed
    .slice(0, MAX_SHOWN)
    .map(({ at, path, says }) => `  line ${at.line}:${at.column}  ${path === '' ? says : `${path}: ${says}`}`)
  const rest = placed.length - lines.length
  const count = placed.length === 1 ? 'a mistake' : `${placed.length} mistakes`
  throw new LandfallError(
    'config',
    [`${source} has ${count}:`, ...lines, ...(rest > 0 ? [`  … and ${rest} more`] : [])].join('\n'),
    {
      hint: `Correct ${source} and run the same command again; docs/config.md lists every key.`,
    },
  )
}

/**
 * @param source what messages call the file, for example `config.json`
 * @throws LandfallError config, with one line per mistake
 */
export const parseConfig = (text: string, source: string): Config => {
  const bytes = Buffer.byteLength(text)
  if (bytes > MAX_BYTES)
    throw new LandfallError('config', `${source} has ${bytes} bytes; a configuration has at most ${MAX_BYTES}.`, {
      hint: 'Name the right file: --config PATH.',
    })
  const json = parseJson(text.startsWith('\uFEFF') ? text.slice(1) : text)
  if (json.value === undefined) return fail(source, json, json.mistakes)
  if (!isGroup(json.value)) return fail(source, json, [{ path: [], says: 'must hold one group of keys in braces' }])
  const unknown = unknownKeys(json.value, '', [])
  const foreign = unknown.map(mistake => removable(mistake.path))
  const shape = shapeMistakes(without(json.value, foreign))
  const removed = [...foreign, ...shape.map(mistake => removable(mistake.path))]
  const config = asConfig(without(json.value, removed))
  const meant = unknown.flatMap(mistake => (mistake.meant && json.positionOf(mistake.meant) === undefined ? [mistake.meant] : []))
  const explained = [...removed, ...meant]
  const late = checkConfig(config).filter(mistake => !isConsequence(mistake, explained))
  const mistakes = [...json.mistakes, ...unknown, ...shape, ...late]
  return mistakes.length > 0 ? fail(source, json, mistakes) : config
}
