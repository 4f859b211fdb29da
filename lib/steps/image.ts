/** The image that servers are made from: found by label, never by its description. */

import { type ApplyContext, done, refused, type Step, todo } from '../engine/step.ts'
import type { ImageSpec } from '../estate/estate.ts'
import { LABEL_KEYS } from '../estate/labels.ts'
import type { Cloud, Image } from '../providers/ports/cloud.ts'
import type { Deps } from './deps.ts'
import type { EstateWorld } from './world.ts'

/** Value of the image label on a finished Dokploy build. */
export const GOLDEN = 'nixos-dokploy'

export type ImageChoice =
  | { readonly state: 'ready'; readonly image: Image }
  | { readonly state: 'creating'; readonly image: Image }
  | { readonly state: 'missing'; readonly why: string; readonly hint: string }

export const isGolden = (image: Image): boolean => image.kind === 'snapshot' && image.labels[LABEL_KEYS.image] === GOLDEN

export const newestFirst = (a: Image, b: Image): number => b.createdAt.localeCompare(a.createdAt)

/** The image for `spec` on `architecture`. Pure. */
export function chooseImage(spec: ImageSpec, architecture: Image['architecture'], images: readonly Image[]): ImageChoice {
  if (spec.kind === 'system') {
    const image = images.find(each => each.kind === 'system' && each.name === spec.name && each.architecture === architecture)
    if (image) return { state: 'ready', image }
    const names = [...new Set(images.flatMap(each => (each.kind === 'system' && each.name ? [each.name] : [])))].sort()
    return {
      state: 'missing',
      why: `The vendor has no image "${spec.name}" for ${architecture}.`,
      hint: `Name another as image in config.json: ${names.join(', ')}.`,
    }
  }
  const golden = images.filter(each => isGolden(each) && each.architecture === architecture).sort(newestFirst)
  const ready = golden.find(each => each.status === 'available')
  if (ready) return { state: 'ready', image: ready }
  const creating = golden.find(each => each.status === 'creating')
  if (creating) return { state: 'creating', image: creating }
  return {
    state: 'missing',
    why: `There is no golden image in this project: no ${architecture} snapshot carries the label ${LABEL_KEYS.image}=${GOLDEN}.`,
    hint:
      'Build one: bun scripts/image.ts  — or set hetzner.image to "debian-12" in config.json: ' +
      'then Dokploy is installed over SSH on a stock server.',
  }
}

/** How often a building snapshot is looked at. */
const IMAGE_POLL_MS = 5_000
const IMAGE_TIMEOUT_MS = 30 * 60_000

/** Looks at a snapshot that is being made until it is finished, failed or gone, or the deadline has come. */
export async function waitForImage(
  deps: Pick<Deps, 'clock'> & { readonly cloud: Pick<Cloud, 'listImages'> },
  id: string,
  { world: live, signal }: Pick<ApplyContext<EstateWorld>, 'world' | 'signal'>,
): Promise<void> {
  const deadlineMs = deps.clock.monotonicMs() + IMAGE_TIMEOUT_MS
  for (;;) {
    const images = await deps.cloud.listImages()
    live.update('images', () => images)
    const now = images.find(each => each.id === id)
    if (now?.status !== 'creating' || deps.clock.monotonicMs() > deadlineMs) return
    await deps.clock.sleep(IMAGE_POLL_MS, signal)
  }
}

/** A finished golden image exists, wherever a server that does not exist yet needs one. */
export function imageStep(
  deps: Pick<Deps, 'estate' | 'clock'> & { readonly cloud: Pick<Cloud, 'listImages'> },
): Step<EstateWorld> {
  const { estate } = deps
  return {
    id: 'image',
    noun: 'image',
    title: 'golden image is ready',
    needs: [],
    reads: ['images', 'servers'],
    look(world) {
      const servers = world.get('servers')
      const waiting = estate.servers.filter(
        spec => spec.image.kind === 'golden' && !servers.some(server => server.name === spec.name),
      )
      if (waiting.length === 0) return done('no new server needs it')
      const choice = chooseImage({ kind: 'golden' }, 'x86', world.get('images'))
      if (choice.state === 'missing') return refused(choice.why, choice.hint)
      if (choice.state === 'ready') return done(`${choice.image.description} (${choice.image.createdAt.slice(0, 10)})`)
      return todo({
        kind: 'wait',
        summary: `wait until the snapshot "${choice.image.description}" is finished`,
        apply: context => waitForImage(deps, choice.image.id, context),
      })
    },
  }
}
