/** The observed part of a stack's world: one slice per host, read by two programs. */

import type { Readers } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { DockerHost, HostFacts } from '../providers/ports/docker.ts'
import { type FileText, type Manifest, parseManifest, parseState } from '../stack/model.ts'
import { parseResolved, type Resolved, withImages, withoutDependencies } from '../stack/resolved.ts'
import type { Roles, Seen } from '../stack/rollout.ts'

/** What is to run, and where it comes from. */
export type Wish =
  | {
      readonly kind: 'deploy'
      /** Rolled services that are left as they are. */
      readonly leave: readonly string[]
      readonly images: Readonly<Record<string, string>>
      /** Whether images are fetched before they are compared. */
      readonly pull: boolean
    }
  | { readonly kind: 'rollback'; readonly release: string | undefined }

type Deploy = Extract<Wish, { kind: 'deploy' }>

export interface StackHost {
  /** Unique among the hosts of a run; the slice's name. */
  readonly key: string
  readonly docker: DockerHost
  /** For `${…}` in the Compose file. */
  readonly variables: Readonly<Record<string, string>>
  /** The proxy's files as they shall be, by absolute path on the host; undefined: as they are there. */
  readonly nginxFiles?: readonly FileText[]
}

export interface HostView extends Seen {
  readonly facts: HostFacts
  readonly manifests: readonly Manifest[]
  /** The recorded release that is wanted again. */
  readonly target?: string
  /** Images that could not be fetched, and why. */
  readonly unfetched: readonly { readonly image: string; readonly why: string }[]
}

export type StackWorld = Record<string, HostView>

export interface StackReading {
  readonly project: string
  readonly hosts: readonly StackHost[]
  readonly roles: Roles
  readonly wish: Wish
  readonly signal: AbortSignal
  readonly rollbackTarget: (view: Pick<Seen, 'state'>, named: string | undefined) => string
}

export function stackReaders(reading: StackReading): Readers<StackWorld> {
  // "The release before" is another one once the rollback is done: it is chosen at the first look and kept.
  const targets = new Map<string, string>()
  const wanted = new Map<string, Wanted>()
  return Object.fromEntries(
    reading.hosts.map(host => [
      host.key,
      async () => {
        if (reading.wish.kind === 'rollback') return readRollback(reading, host, targets)
        const found = wanted.get(host.key) ?? (await readWanted(reading, reading.wish, host))
        wanted.set(host.key, found)
        return readHost(reading, reading.wish, host, found)
      },
    ]),
  )
}

/** What a run wants is decided once: an edit of the Compose file, or a tag that moves meanwhile, is for the next run. */
interface Wanted {
  readonly first: Resolved
  readonly unfetched: HostView['unfetched']
}

async function readWanted({ project, roles, signal }: StackReading, wish: Deploy, host: StackHost): Promise<Wanted> {
  const own = parseResolved(await host.docker.resolve(host.variables, signal), project)
  const first = withImages(own, project, wish.images)
  return { first, unfetched: wish.pull ? await fetchImages(host.docker, first, roles, signal) : [] }
}

async function readHost(reading: StackReading, wish: Deploy, host: StackHost, { first, unfetched }: Wanted): Promise<HostView> {
  const { project, signal } = reading
  const { docker } = host
  let view = await look(reading, host, first, unfetched)
  const previous = view.state.history.at(-1)?.id
  if (wish.leave.length > 0 && previous !== undefined) {
    // A release is a whole stack: what is not deployed now stays in it as it was recorded.
    const recorded = parseResolved(await docker.readRelease(previous, signal), project)
    view = await look(reading, host, keeping(first, recorded, wish.leave, project), unfetched)
  }
  return view
}

async function readRollback(reading: StackReading, host: StackHost, targets: Map<string, string>): Promise<HostView> {
  const { project, signal, wish } = reading
  const { docker } = host
  let target = targets.get(host.key)
  if (target === undefined) {
    const own = parseResolved(await docker.resolve(host.variables, signal), project)
    target = reading.rollbackTarget(await look(reading, host, own, []), wish.kind === 'rollback' ? wish.release : undefined)
    targets.set(host.key, target)
  }
  const recorded = parseResolved(await docker.readRelease(target, signal), project)
  const view = await look(reading, host, recorded, [])
  const manifest = view.manifests.find(({ id }) => id === target)
  if (!manifest) throw new LandfallError('not_found', `Release ${target} is not recorded any more.`, { hint: STATUS })
  // The tag may have moved on since.
  const moved = Object.entries(manifest.services).filter(([, { image, imageId }]) => view.images[image]?.id !== imageId)
  if (moved.length === 0) return { ...view, target }
  const ids = moved.map(([, { imageId }]) => imageId)
  const { images } = await lookWith(docker, recorded, ids, signal)
  const pinned = Object.fromEntries(
    moved.map(([service, { image, imageId, digests }]) => {
      const source = images[imageId] ? imageId : digests[0]
      if (source !== undefined) return [service, source]
      throw new LandfallError('not_found', `The image ${image} of release ${target} is gone, and no registry has it by digest.`, {
        hint: `Build or load it again, or go back to another release: ${STATUS}`,
      })
    }),
  )
  const absent = Object.values(pinned).filter(source => !images[source])
  const unfetched = absent.length > 0 ? await docker.pull(absent, signal) : []
  return { ...(await look(reading, host, withImages(recorded, project, pinned), unfetched)), target }
}

const STATUS = 'bun scripts/stack.ts status'

async function look(
  { roles, signal }: StackReading,
  { docker, nginxFiles }: StackHost,
  resolved: Resolved,
  unfetched: HostView['unfetched'],
): Promise<HostView> {
  const refs = [...new Set(Object.values(resolved.services).map(({ image }) => image))]
  const paths = (nginxFiles ?? []).map(({ path }) => path)
  const facts = await lookWith(docker, resolved, refs, signal, paths)
  const state = parseState(facts.state)
  const present = facts.nginxFiles
  // Files that a rollout had rewritten count as what they are at rest.
  const atRest = state.rollout
    ? present.map(file => state.rollout?.restBefore.find(({ path }) => path === file.path) ?? file)
    : present
  return {
    facts,
    resolved,
    hashes: facts.hashes,
    looseHashes: facts.looseHashes,
    images: facts.images,
    containers: facts.containers.filter(
      ({ service }) => service !== '' && (roles.nginx === service || service in resolved.services),
    ),
    state,
    nginxFiles: atRest,
    wantedNginxFiles: nginxFiles ?? atRest,
    nginxFrom: nginxFiles ? 'project' : 'host',
    manifests: facts.manifests.map(parseManifest),
    unfetched,
  }
}

/** Fetches what may be in a registry: not what is pinned by digest and here, nor what Compose is told never to pull. */
async function fetchImages(
  docker: DockerHost,
  resolved: Resolved,
  { rolled }: Roles,
  signal: AbortSignal,
): Promise<HostView['unfetched']> {
  const images = Object.values(resolved.services).flatMap(({ name, image, pullPolicy }) =>
    rolled.includes(name) && pullPolicy !== 'never' && pullPolicy !== 'build' ? [image] : [],
  )
  return images.length === 0 ? [] : docker.pull([...new Set(images)], signal)
}

function keeping(wanted: Resolved, recorded: Resolved, services: readonly string[], project: string): Resolved {
  const group = (value: unknown): Record<string, unknown> => (typeof value === 'object' && value !== null ? { ...value } : {})
  const merged = group(wanted.value.services)
  const before = group(recorded.value.services)
  for (const name of services) if (name in before) merged[name] = before[name]
  return parseResolved(JSON.stringify({ ...wanted.value, services: merged }), project)
}

/** One look at a host, with the hashes of `resolved`. */
export const lookWith = (
  docker: DockerHost,
  resolved: Resolved,
  images: readonly string[],
  signal: AbortSignal,
  paths: readonly string[] = [],
): Promise<HostFacts> =>
  docker.look(JSON.stringify(resolved.value), JSON.stringify(withoutDependencies(resolved)), images, paths, signal)
