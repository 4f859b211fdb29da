/** The golden image of exactly the present sources, built where it is missing. What it was made of is a label, so a second build has nothing to do. */

import { done, refused, type Step, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import { chooseOffer } from '../estate/choose.ts'
import { LABEL_KEYS } from '../estate/labels.ts'
import type { Image, ServerType } from '../providers/ports/cloud.ts'
import type { Packer } from '../providers/ports/packer.ts'
import type { Deps } from './deps.ts'
import { GOLDEN, isGolden, waitForImage } from './image.ts'
import { refusedUntracked } from './nixos.ts'
import type { EstateWorld } from './world.ts'

export interface ImageSource {
  /** Holds nixos/, packer/, flake.nix and flake.lock. */
  readonly directory: string
  /** Hash of all that decides the image, as a label's value. */
  readonly content: string
  /** Commit, or "unknown". */
  readonly revision: string
  readonly nixos: string
  readonly dokploy: string
  /** Files that belong to the system and that Git does not know: Nix leaves them out of what it builds. */
  readonly untracked: readonly string[]
}

export interface ImageBuildDeps extends Pick<Deps, 'estate' | 'cloud' | 'clock' | 'runId'> {
  readonly packer: Packer
  /** Deletes the temporary server of this name, if there is one; an interrupt does not keep it from doing so. */
  readonly removeServer: (name: string, log: (line: string) => void) => Promise<void>
  readonly source: ImageSource
  /** Where Packer writes down what it made. */
  readonly manifest: string
  /** The operator's own values for variables of the template. */
  readonly variables: Readonly<Record<string, string>>
}

/** How a temporary server's name begins; what a sweep looks for. */
export const BUILD_PREFIX = 'landfall-image-build'

const TYPICAL_MS = 20 * 60_000

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10).replaceAll('-', '')

/** `nixos-dokploy-YYYYMMDD`, with `-2`, `-3` … where the day has one already. Pure. */
export function imageName(nowMs: number, images: readonly Pick<Image, 'description'>[]): string {
  const taken = new Set(images.map(image => image.description))
  const first = `${GOLDEN}-${day(nowMs)}`
  for (let n = 2, name = first; ; n += 1) {
    if (!taken.has(name)) return name
    name = `${first}-${n}`
  }
}

/** The type that the image is built on: the config's word, else the wanted type with the smallest disk, since an image never shrinks. */
function buildTypeOf({ estate }: Pick<Deps, 'estate'>, types: readonly ServerType[]): string | undefined {
  if (estate.imageBuildType) return estate.imageBuildType
  const wanted = new Set(estate.servers.flatMap(spec => spec.types))
  return types
    .filter(type => wanted.has(type.name) && type.architecture === 'x86')
    .sort((a, b) => a.diskGb - b.diskGb || a.name.localeCompare(b.name))[0]?.name
}

/** Servers that shall run the image on a smaller disk than it is built on. */
function tooSmall({ estate }: Pick<Deps, 'estate'>, types: readonly ServerType[], diskGb: number): string[] {
  const diskOf = (name: string) => types.find(type => type.name === name)?.diskGb ?? Number.POSITIVE_INFINITY
  return estate.servers
    .filter(spec => spec.image.kind === 'golden' && spec.types.some(type => diskOf(type) < diskGb))
    .map(spec => spec.name)
}

/** A finished golden image carries the hash of the present sources. */
export function imageBuildStep(deps: ImageBuildDeps): Step<EstateWorld> {
  const { estate, source } = deps
  const mine = (world: WorldView<EstateWorld>): Image[] =>
    world.get('images').filter(image => isGolden(image) && image.labels[LABEL_KEYS.content] === source.content)
  return {
    id: 'golden image',
    noun: 'image',
    title: 'the golden image is made of the present sources',
    needs: [],
    reads: ['images', 'serverTypes', 'pricing'],
    typicalMs: TYPICAL_MS,
    look(world) {
      const ready = mine(world).find(image => image.status === 'available')
      if (ready) return done(`${ready.description} (${ready.createdAt.slice(0, 10)})`)
      const creating = mine(world).find(image => image.status === 'creating')
      if (creating)
        return todo({
          kind: 'wait',
          summary: `wait until the snapshot "${creating.description}" is finished`,
          apply: context => waitForImage(deps, creating.id, context),
        })
      if (source.untracked.length > 0) return refusedUntracked(source.untracked)
      const types = world.get('serverTypes')
      const type = buildTypeOf(deps, types)
      if (type === undefined)
        return refused(
          'There is no server type to build the image on.',
          'Name one in config.json: "hetzner": {"server_types": {"packer_build": "cx23"}}.',
        )
      const locations = [...new Set(estate.servers.flatMap(spec => spec.locations))]
      const offer = chooseOffer({ types: [type], locations }, types)
      if ('problem' in offer)
        return refused(offer.problem, 'Name another type to build on: hetzner.server_types.packer_build in config.json.')
      const small = tooSmall(deps, types, offer.diskGb)
      if (small.length > 0)
        return refused(
          `An image built on ${offer.type} needs a disk of ${offer.diskGb} GB, which ${small.join(', ')} would not have.`,
          'Build on the smallest type that is ever used: hetzner.server_types.packer_build in config.json.',
        )
      const name = imageName(deps.clock.nowMs(), world.get('images'))
      const { currency, snapshotGbMonth } = world.get('pricing')
      return todo({
        kind: 'create',
        summary: `build image ${name} on a temporary ${offer.type} in ${offer.location}`,
        details: [
          `NixOS ${source.nixos}, Dokploy ${source.dokploy}, sources ${source.revision}`,
          `the server costs ${offer.hourly.net.toFixed(4)} ${currency} an hour net; the snapshot ${snapshotGbMonth.net.toFixed(4)} per GB and month`,
        ],
        async apply({ world: live, signal, log }) {
          const server = `${BUILD_PREFIX}-${deps.runId}`
          const build = deps.packer.build({
            directory: `${source.directory}/packer`,
            workingDirectory: source.directory,
            variables: {
              location: offer.location,
              server_type: offer.type,
              server_name: server,
              snapshot_name: name,
              content: source.content,
              ...deps.variables,
            },
            optionalVariables: {
              built: day(deps.clock.nowMs()),
              revision: source.revision,
              nixos_version: source.nixos,
              dokploy_version: source.dokploy,
              manifest: deps.manifest,
              labels: JSON.stringify({ [LABEL_KEYS.run]: deps.runId }),
            },
            onLine: log,
            signal,
          })
          try {
            await build
          } catch (error) {
            // Packer gives up deleting it when an action is still running on it.
            await deps.removeServer(server, log)
            throw error
          }
          const images = await deps.cloud.listImages()
          live.update('images', () => images)
        },
      })
    },
  }
}
