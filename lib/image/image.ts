/** What `scripts/image.ts` does with golden images: build, list, prune, sweep. */

import { resolve } from 'node:path'
import { converge } from '../converge.ts'
import { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import { renderAmount } from '../estate/cost.ts'
import { LABEL_KEYS } from '../estate/labels.ts'
import type { Image, Pricing, Server } from '../providers/ports/cloud.ts'
import type { Packer, PackerBuild } from '../providers/ports/packer.ts'
import { flagValues, type Opened, type Session } from '../script.ts'
import { isGolden, newestFirst } from '../steps/image.ts'
import { type ImageBuildDeps, imageBuildStep } from '../steps/image-build.ts'
import { imagePruneStep, imageSweepStep, usersOf } from '../steps/image-keep.ts'
import { ROOT, readImageSource } from './source.ts'

const DEFAULT_KEEP = 3
const DEFAULT_HOURS = 6
/** A snapshot that is being made keeps its server from being deleted for minutes. */
const CLEANUP_TIMEOUT_MS = 15 * 60_000
const POLL_MS = 2_000

/** What a build acts through: Packer with this run's token, and the sources. @throws LandfallError token_missing | config */
export async function imageBuildDeps(session: Session, { composition, directory }: Opened): Promise<ImageBuildDeps> {
  const { environment } = session
  const source = readImageSource(flagValues(session, 'source')[0] ?? ROOT)
  const { createPacker } = await import('../providers/packer/packer.ts')
  const token = environment.hcloudToken
  if (!token) throw new LandfallError('token_missing', 'HCLOUD_TOKEN is not set.', { hint: 'export HCLOUD_TOKEN=…' })
  const endpoint = environment.hcloudEndpoint ? { endpoint: environment.hcloudEndpoint } : {}
  const made = createPacker({ token, variables: environment.programs, ...endpoint })
  // A drawn list shows a step's last line beside it; a log shows them all.
  const relay = (given: PackerBuild): PackerBuild => ({
    ...given,
    onLine: line => {
      if (session.interactive) given.onLine(line)
      else session.reporter.log(line)
    },
  })
  const packer: Packer = { build: given => made.build(relay(given)) }
  const removeServer: ImageBuildDeps['removeServer'] = async (name, log) => {
    const { createHetzner } = await import('../providers/hetzner/hetzner.ts')
    const { context } = composition.parts
    const signal = AbortSignal.timeout(CLEANUP_TIMEOUT_MS)
    // The name is this run's alone, so whoever holds the estate by now does not matter.
    const cloud = createHetzner({ token, ...endpoint, context: { ...context, signal, beforeWrite: async () => undefined } })
    try {
      for (let told = false; ; told = true) {
        const left = (await cloud.listServers()).find(server => server.name === name)
        if (!left) return
        if (!left.locked) return await cloud.deleteServer(left.id)
        if (!told) log(`waiting until ${name} can be deleted: an action is still running on it`)
        await context.clock.sleep(POLL_MS, signal)
      }
    } catch (error) {
      throw new LandfallError('ambiguous', `The build has ended, and its server ${name} may still be there.`, {
        hint: 'See what is left, then delete it: bun scripts/image.ts sweep --hours 0',
        cause: error,
      })
    }
  }
  return {
    ...composition.deps,
    packer,
    removeServer,
    source,
    manifest: resolve(directory, 'packer-manifest.json'),
    variables: parseVariables(flagValues(session, 'var')),
  }
}

/** Builds the golden image of the present sources, where there is none. */
export async function buildImage(session: Session, opened: Opened): Promise<number> {
  const { args } = session
  const { estate } = opened
  if (estate.cloud !== 'hetzner')
    throw new LandfallError('usage', `Golden images are built at Hetzner, and this estate is at ${estate.cloud}.`, {
      hint: 'Use a stock image of the vendor (digitalocean.image), or install NixOS over it.',
    })
  if (opened.simulated.length > 0 && !args.plan)
    throw new LandfallError(
      'usage',
      'An image cannot be built in a rehearsal: Packer runs programs, and simulated machines run none.',
      {
        hint: 'See what it would do: add --plan. The sandbox holds a finished golden image.',
      },
    )
  const deps = await imageBuildDeps(session, opened)
  const { source } = deps
  return converge(session, opened, {
    steps: () => [imageBuildStep(deps)],
    report: world => {
      const image = world.get('images').find(each => isGolden(each) && each.labels[LABEL_KEYS.content] === source.content)
      return image
        ? {
            outputs: { image_id: image.id, image: image.description, content: source.content },
            notes: [{ label: 'image', text: `${image.description}, ${image.sizeGb.toFixed(1)} GB, id ${image.id}` }],
            next: 'bun scripts/provision.ts plan',
          }
        : {}
    },
  })
}

/** `name=value` pairs of `--var`. Pure. @throws LandfallError usage */
export function parseVariables(given: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    given.map(pair => {
      const at = pair.indexOf('=')
      if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)] as const
      throw new LandfallError('usage', `--var ${pair} is not of the form NAME=VALUE.`, { hint: 'bun scripts/image.ts --help' })
    }),
  )
}

const wholeNumber = (session: Session, flag: string, fallback: number, least: number): number => {
  const text = flagValues(session, flag)[0]
  const value = text === undefined ? fallback : Number(text)
  if (Number.isInteger(value) && value >= least && value <= 10_000) return value
  throw new LandfallError('usage', `--${flag} wants a whole number of at least ${least}, not "${text}".`, {
    hint: 'bun scripts/image.ts --help',
  })
}

/** Deletes all but the newest `--keep` golden images and those in use. */
export const pruneImages = (session: Session, opened: Opened): Promise<number> => {
  const keep = wholeNumber(session, 'keep', DEFAULT_KEEP, 1)
  return converge(session, opened, {
    steps: deps => [imagePruneStep(deps, keep)],
    confirmName: opened.estate.name,
  })
}

/** Shows what killed builds have left; deletes it with `--yes`. */
export const sweepBuilds = (session: Session, opened: Opened): Promise<number> => {
  const hours = wholeNumber(session, 'hours', DEFAULT_HOURS, 0)
  const { args } = session
  // What looks like a leftover may be a colleague's build that is still running, so nothing goes without a word.
  const shown = args.yes ? session : { ...session, args: { ...args, plan: true } }
  return converge(shown, opened, { steps: deps => [imageSweepStep(deps, hours)] })
}

export interface ListedImage {
  readonly id: string
  readonly name: string
  readonly status: Image['status']
  readonly createdAt: string
  readonly revision: string
  readonly nixos: string
  readonly dokploy: string
  readonly content: string
  readonly sizeGb: number
  readonly monthlyNet: number
  readonly usedBy: readonly string[]
}

/** Golden images with what they were made of, the newest first. Pure. */
export const listedImages = (
  images: readonly Image[],
  servers: readonly Server[],
  pricing: Pick<Pricing, 'snapshotGbMonth'>,
): ListedImage[] =>
  images
    .filter(isGolden)
    .sort(newestFirst)
    .map(image => ({
      id: image.id,
      name: image.description,
      status: image.status,
      createdAt: image.createdAt,
      revision: image.labels[LABEL_KEYS.revision] ?? 'unknown',
      nixos: image.labels[LABEL_KEYS.nixos] ?? 'unknown',
      dokploy: image.labels[LABEL_KEYS.dokploy] ?? 'unknown',
      content: image.labels[LABEL_KEYS.content] ?? '',
      sizeGb: image.sizeGb,
      monthlyNet: image.sizeGb * pricing.snapshotGbMonth.net,
      usedBy: usersOf(image, servers),
    }))

/** Lists the golden images of the project, and says whether one is of the present sources. */
export async function listImages(session: Session, { composition }: Opened): Promise<number> {
  const world = new World(composition.readers)
  await world.look(['images', 'servers', 'pricing'])
  const { currency } = world.get('pricing')
  const images = listedImages(world.get('images'), world.get('servers'), world.get('pricing'))
  const { content } = readImageSource(flagValues(session, 'source')[0] ?? ROOT)
  session.reporter.page(renderImages(images, currency, content), { images, currency, present: content })
  return 0
}

/** One image in three lines, so that nothing is cut at 80 columns. Pure. */
export function renderImages(images: readonly ListedImage[], currency: string, present: string): string {
  if (images.length === 0) return 'There is no golden image in this project. Build one: bun scripts/image.ts'
  const blocks = images.map(image =>
    [
      `${image.name}${image.status === 'available' ? '' : ` (${image.status})`}${image.content === present ? ', of the present sources' : ''}`,
      `  ${image.createdAt.slice(0, 16).replace('T', ' ')}, NixOS ${image.nixos}, Dokploy ${image.dokploy}, sources ${image.revision}`,
      `  ${image.sizeGb.toFixed(1)} GB, ${renderAmount(image.monthlyNet)} ${currency} a month net, ${
        image.usedBy.length === 0 ? 'not in use' : `used by ${image.usedBy.join(', ')}`
      }, id ${image.id}`,
    ].join('\n'),
  )
  const fresh = images.some(image => image.content === present && image.status === 'available')
  return [...blocks, ...(fresh ? [] : ['None is of the present sources: bun scripts/image.ts builds one.'])].join('\n')
}
