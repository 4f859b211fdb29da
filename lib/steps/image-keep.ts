/** Golden images that are billed and of no use, and what builds that were killed have left behind. */

import { type Change, done, type Step, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import { LABEL_KEYS } from '../estate/labels.ts'
import type { Image, Server, SshKey } from '../providers/ports/cloud.ts'
import type { Deps } from './deps.ts'
import { isGolden, newestFirst } from './image.ts'
import { BUILD_PREFIX } from './image-build.ts'
import type { EstateWorld } from './world.ts'

/** Servers of the project, this estate's and others', that were made from the image. Pure. */
export const usersOf = (image: Pick<Image, 'id'>, servers: readonly Server[]): string[] =>
  servers.filter(server => server.imageId === image.id).map(server => server.name)

/** The golden images that `keep` does not cover: never the newest that works, never one in use or being made. Pure. */
export function spareImages(images: readonly Image[], servers: readonly Server[], keep: number): Image[] {
  const golden = images.filter(isGolden).sort(newestFirst)
  const kept = new Set(
    [
      ...Map.groupBy(
        golden.filter(image => image.status === 'available'),
        image => image.architecture,
      ).values(),
    ].flatMap(all => all.slice(0, Math.max(1, keep)).map(image => image.id)),
  )
  return golden.filter(image => !kept.has(image.id) && image.status !== 'creating' && usersOf(image, servers).length === 0)
}

/** At most `keep` golden images of each architecture, and those in use. */
export function imagePruneStep(deps: Pick<Deps, 'cloud'>, keep: number): Step<EstateWorld> {
  return {
    id: 'images pruned',
    noun: 'image',
    title: `no golden image is kept beyond the newest ${keep} and those in use`,
    needs: [],
    reads: ['images', 'servers', 'pricing'],
    look(world) {
      const spare = spareImages(world.get('images'), world.get('servers'), keep)
      const golden = world.get('images').filter(isGolden)
      if (spare.length === 0) return done(golden.length === 0 ? 'there is none' : `${golden.length} kept`)
      const { snapshotGbMonth } = world.get('pricing')
      return todo(
        ...spare.map(
          (image): Change<EstateWorld> => ({
            kind: 'destroy',
            summary: `delete image ${image.description}${image.status === 'unavailable' ? ' (it failed)' : ''}`,
            details: [`${image.sizeGb.toFixed(1)} GB, made ${image.createdAt.slice(0, 10)}, no server uses it`],
            monthlyNet: -image.sizeGb * snapshotGbMonth.net,
            async apply({ world: live }) {
              await deps.cloud.deleteImage(image.id)
              live.update('images', all => all.filter(other => other.id !== image.id))
            },
          }),
        ),
      )
    },
  }
}

/** How Packer names its temporary keys; the first eight digits of its UUIDs are the time in seconds (packer, helper/useragent uuid.TimeOrderedUUID). */
const PACKER_KEY = /^packer-([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** When a temporary key of a Packer build was made; undefined for any other key. Pure. */
export function packerKeyMadeAtMs(key: Pick<SshKey, 'name'>): number | undefined {
  const seconds = PACKER_KEY.exec(key.name)?.[1]
  return seconds === undefined ? undefined : Number.parseInt(seconds, 16) * 1000
}

const isBuildServer = (server: Server): boolean =>
  server.name.startsWith(BUILD_PREFIX) && server.labels[LABEL_KEYS.estate] === undefined

/** No temporary server or key of an image build is older than `hours`. */
export function imageSweepStep(deps: Pick<Deps, 'cloud' | 'clock'>, hours: number): Step<EstateWorld> {
  // One moment for all looks of a run: what becomes old meanwhile is for the next.
  const beforeMs = deps.clock.nowMs() - hours * 3_600_000
  const servers = (world: WorldView<EstateWorld>) =>
    world.get('servers').filter(each => isBuildServer(each) && Date.parse(each.createdAt) <= beforeMs)
  const keys = (world: WorldView<EstateWorld>) =>
    world.get('keys').filter(key => (packerKeyMadeAtMs(key) ?? Number.POSITIVE_INFINITY) <= beforeMs)
  return {
    id: 'builds swept',
    noun: 'image',
    title: 'no killed image build has left a server or a key',
    needs: [],
    reads: ['servers', 'keys'],
    look(world) {
      const changes = [
        ...servers(world).map(
          (server): Change<EstateWorld> => ({
            kind: 'destroy',
            summary: `delete server ${server.name}`,
            details: [`${server.type} in ${server.location}, left by a build since ${server.createdAt.slice(0, 16)}`],
            async apply({ world: live }) {
              await deps.cloud.deleteServer(server.id)
              live.update('servers', all => all.filter(other => other.id !== server.id))
            },
          }),
        ),
        ...keys(world).map(
          (key): Change<EstateWorld> => ({
            kind: 'destroy',
            summary: `delete SSH key ${key.name}`,
            details: ['a temporary key of a Packer build; Packer names them alike whoever runs it'],
            async apply({ world: live }) {
              await deps.cloud.deleteSshKey(key.id)
              live.update('keys', all => all.filter(other => other.id !== key.id))
            },
          }),
        ),
      ]
      return changes.length === 0 ? done(`nothing older than ${hours} h`) : todo(...changes)
    },
  }
}
