/**
 * What an image or a commit does once it runs. A word in the tag or branch decides ("web:2-crash-loop"), or what was laid into the
 * simulated registry or repository beforehand.
 */

import type { Behaviour, HeadRow, ImageRow, PlatformState } from './rows.ts'

const BEHAVIOURS = [
  'crash-loop',
  'wrong-port',
  'wrong-path',
  'never-healthy',
  'needs-env',
  'oom',
  'build-fails',
  'no-image',
] as const satisfies readonly Behaviour[]

const behaviourIn = (word: string): Behaviour => BEHAVIOURS.find(each => word.includes(each)) ?? 'healthy'

export const sha256 = (text: string): string => new Bun.CryptoHasher('sha256').update(text).digest('hex')

/** "ghcr.io/acme/web:1.4@sha256:…" in its parts. */
export const parseImage = (ref: string): { readonly name: string; readonly tag: string; readonly digest?: string } => {
  const [tagged = '', digest] = ref.split('@')
  const colon = tagged.lastIndexOf(':')
  const hasTag = colon > tagged.lastIndexOf('/')
  return {
    name: hasTag ? tagged.slice(0, colon) : tagged,
    tag: hasTag ? tagged.slice(colon + 1) : 'latest',
    ...(digest === undefined ? {} : { digest }),
  }
}

/** Pulls an image: what a tag points at now, or what a digest always is; undefined when the registry has no such thing. */
export const pull = ({ images }: Pick<PlatformState, 'images'>, ref: string): ImageRow | undefined => {
  const { name, tag, digest } = parseImage(ref)
  if (digest !== undefined) return images.all().find(row => row.digest === digest && row.name === name)
  const known = images.get(`${name}:${tag}`)
  const behaviour = known?.behaviour ?? behaviourIn(tag)
  if (behaviour === 'no-image') return undefined
  if (known) return known
  const made: ImageRow = { name, version: tag, behaviour, digest: `sha256:${sha256(`${name}:${tag}`)}` }
  images.put(`${name}:${tag}`, made)
  return made
}

/** What a tag of a registry points at from now on; what it pointed at stays there. */
export const push = ({ images }: Pick<PlatformState, 'images'>, tagged: string, image: ImageRow): void => {
  const before = images.get(tagged)
  if (before) images.put(`${before.name}@${before.digest}`, before)
  images.put(tagged, image)
}

/** What a branch points at now. A branch that nobody pushed to has one commit and an ordinary compose file. */
export const headOf = ({ heads }: Pick<PlatformState, 'heads'>, url: string, branch: string): HeadRow => {
  const id = `${repositoryKey(url)}#${branch}`
  return (
    heads.get(id) ?? { id, commit: sha256(id).slice(0, 40), message: 'Initial commit', behaviour: behaviourIn(branch), files: {} }
  )
}

/** One repository has several addresses. */
export const repositoryKey = (url: string): string =>
  url
    .replace(/^(?:https?:\/\/|ssh:\/\/)?(?:[^@/]+@)?/, '')
    .replace(':', '/')
    .replace(/\.git$/, '')
    .toLowerCase()

/** What a container of this behaviour writes before it ends, or while it runs. */
export const logOf = (behaviour: Behaviour, port: number, wanted: string): readonly string[] => {
  switch (behaviour) {
    case 'crash-loop':
      return [
        'starting',
        "TypeError: Cannot read properties of undefined (reading 'connect')",
        '    at main (/app/server.js:12:7)',
      ]
    case 'needs-env':
      return ['starting', `Error: required environment variable ${wanted} is not set`]
    case 'oom':
      return [
        'starting',
        '<--- Last few GCs --->',
        'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory',
      ]
    case 'wrong-path':
      return [`listening on http://0.0.0.0:${port}`, 'GET / 404 1ms', 'GET / 404 0ms']
    case 'never-healthy':
      return [`listening on http://0.0.0.0:${port}`, 'waiting for migrations', 'GET / 503 1ms']
    default:
      return [`listening on http://0.0.0.0:${port}`]
  }
}
