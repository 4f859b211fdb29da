/** Images of the cluster's apps that are built from Dockerfiles: the registry has what this very state of the files gives. */

import type { BuildContext } from '../cluster/context.ts'
import { imageOf } from '../cluster/job.ts'
import { done, todo } from '../engine/step.ts'
import { LandfallError } from '../errors.ts'
import type { AppSpec } from '../estate/apps.ts'
import type { Images } from '../providers/ports/registry.ts'
import type { ClusterDeps } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'

/** An image that an app is built as. */
export interface BuiltImage {
  /** With its tag, which stands for what it is built from. */
  readonly reference: string
  /** Absent while the registry does not have it. */
  readonly digest?: string
}

export interface ImageDeps {
  /** Loads what builds and asks the registry, with the password that the config names. @throws LandfallError config without it */
  readonly imagesIn: () => Promise<Images>
  /** What an app is built from, as its files are now. @throws LandfallError config */
  readonly contextOf: (app: Pick<AppSpec, 'name'>) => BuildContext
}

export const imageStepId = (app: Pick<AppSpec, 'name'>): string => `image ${app.name}`

const referenceOf = (deps: ImageDeps, app: AppSpec): string => `${imageOf(app)}:${deps.contextOf(app).tag}`

/** What the registry has of these apps' images, one request each. */
export async function readImages(deps: ImageDeps, apps: readonly AppSpec[]): Promise<Readonly<Record<string, BuiltImage>>> {
  if (apps.length === 0) return {}
  const images = await deps.imagesIn()
  const entries = apps.map(async app => {
    const reference = referenceOf(deps, app)
    const digest = await images.findDigest(reference)
    return [app.name, { reference, ...(digest === undefined ? {} : { digest }) }] as const
  })
  return Object.fromEntries(await Promise.all(entries))
}

/** The reference that a job runs: by digest, so that it is the same everywhere and for good. */
export const pinned = (app: AppSpec, { digest }: BuiltImage): string | undefined =>
  digest === undefined ? undefined : `${imageOf(app)}@${digest}`

export function imageStep(deps: ClusterDeps & ImageDeps, app: AppSpec): EstateStep {
  return {
    id: imageStepId(app),
    noun: 'app',
    title: `the registry has ${app.name} as its files are`,
    needs: [],
    reads: ['clusterImages'],
    typicalMs: 60_000,
    look(world) {
      const have = world.get('clusterImages')[app.name]
      if (have?.digest !== undefined) return done(have.digest.slice(0, 19))
      const wish = deps.cluster.builds[app.name]
      return todo({
        kind: 'create',
        summary: `build ${app.name} from ${wish?.context === '.' ? 'its folder' : wish?.context} and push it to ${imageOf(app)}`,
        async apply({ world: live, signal, log }) {
          const { directory, dockerfile, tag } = deps.contextOf(app)
          const reference = `${imageOf(app)}:${tag}`
          const images = await deps.imagesIn()
          const stage = wish?.stage === undefined ? {} : { stage: wish.stage }
          await images.createImage({ directory, dockerfile, ...stage, reference }, log, signal)
          const digest = await images.findDigest(reference)
          if (digest === undefined)
            throw new LandfallError('unverified', `${reference} was pushed, yet the registry does not have it.`, {
              hint: 'See whether the registry keeps what is pushed, then run the same command again.',
            })
          log(digest)
          live.update('clusterImages', all => ({ ...all, [app.name]: { reference, digest } }))
        },
      })
    },
  }
}
