/** Back to a version that ran: with its own variables, and for a compose stack with its own file and images. */

import { LandfallError } from '../errors.ts'
import type { AppSpec } from '../estate/apps.ts'
import type {
  Application,
  Compose,
  ContainerReport,
  DokployApps,
  ListedDeployment,
  Service,
} from '../providers/ports/dokploy-apps.ts'
import type { Target } from '../providers/ports/machine.ts'
import { Secret } from '../secret.ts'
import { type ProgramDeps, parseFactLines, runProgram } from '../steps/machine.ts'
import { commandBack, filesBeside, OWN_PATH, pinImages } from './compose-back.ts'
import type { Release } from './history.ts'
import { type WatchContext, waitBuilt } from './watch.ts'

export type Way =
  /** Dokploy's registry keeps the image, under this name and tag. */
  | { readonly kind: 'registry'; readonly rollbackId: string; readonly image: string }
  /** Any registry has it under its digest. */
  | { readonly kind: 'digest'; readonly image: string }
  /** It lies on the machine still. */
  | { readonly kind: 'machine'; readonly imageId: string }
  | { readonly kind: 'compose'; readonly file: Secret; readonly command: string }
  | { readonly kind: 'none'; readonly why: string }

const repositoryOf = (reference: string): string =>
  (reference.split('@')[0] ?? '').replace(/:[^:/]*$/, '').replace(/^(?:index\.)?docker\.io\/(?:library\/)?/, '')

/** An image with the digest that its own registry has it under, of those that a machine knows; as it is when none is. Pure. */
export function withDigest(image: string, digests: readonly string[]): string {
  const [, digest] = digests.find(each => repositoryOf(each) === repositoryOf(image))?.split('@') ?? []
  return digest === undefined || image.includes('@') ? image : `${image}@${digest}`
}

/** Dokploy starts an app from an image, and one that is built for a whole swarm, by a registry's name; only the rest by one of the machine's. */
const isNamedHere = (service: Application): boolean =>
  service.source.kind !== 'image' && service.settings.registryId === undefined

/** Whether a release is had again by giving its image back the name that it had on the machine. */
export const isKeptHere = (service: Service, { image, imageId }: Release): boolean =>
  service.kind === 'application' && isNamedHere(service) && !image.includes('@sha256:') && imageId !== ''

/** Deployments with what Dokploy's registry keeps of them; none are asked for where it keeps nothing. */
export const listKept = async (api: DokployApps, service: Service): Promise<readonly ListedDeployment[]> =>
  service.kind === 'application' && service.settings.rollbackRegistryId !== undefined
    ? api.listDeployments({ kind: service.kind, id: service.id })
    : []

function composeBack(stack: Compose, { file, services }: Release): Way {
  if (!file) return { kind: 'none', why: 'its compose file was not kept' }
  if (Object.keys(services).length === 0) return { kind: 'none', why: 'its images were not kept' }
  const pinned = pinImages(file.reveal(), services, stack.type)
  // Dokploy empties the folder before it writes a text of its own.
  const [beside] = stack.source.kind === 'raw' ? [] : filesBeside(pinned, stack.path)
  if (beside !== undefined) return { kind: 'none', why: `its compose file needs ${beside}, which only its repository has` }
  const command = commandBack(stack)
  if (command === undefined) return { kind: 'none', why: 'its deploys run a command that is made for files of its repository' }
  return { kind: 'compose', file: new Secret('pinned compose file', pinned, 'unlisted'), command }
}

/** How a release can be had again. Pure. */
export function wayBack(service: Service, release: Release, deployments: readonly ListedDeployment[]): Way {
  if (service.kind === 'compose') return composeBack(service, release)
  const kept = deployments.find(each => each.id === release.deploymentId)?.rollback
  if (kept && service.settings.rollbackRegistryId !== undefined)
    return { kind: 'registry', rollbackId: kept.id, image: kept.image }
  if (release.image.includes('@sha256:')) return { kind: 'digest', image: release.image }
  if (isKeptHere(service, release)) return { kind: 'machine', imageId: release.imageId }
  return { kind: 'none', why: isNamedHere(service) ? 'its image was not kept' : "its image's digest is not known" }
}

export interface BackContext extends WatchContext {
  readonly deps: ProgramDeps
  readonly target: Target
  readonly title: string
}

/** Keeps an image that only this machine has from being pruned, or gives it its name back. */
export async function setImage(
  context: Pick<BackContext, 'deps' | 'target' | 'signal'>,
  action: 'keep' | 'restore',
  appName: string,
  imageId: string,
): Promise<'present' | 'absent'> {
  const text = await runProgram(
    context.deps,
    context.target,
    'app-image',
    { ACTION: action, APP_NAME: appName, IMAGE: imageId },
    context.signal,
  )
  return parseFactLines(text).image === 'present' ? 'present' : 'absent'
}

/** @param image by name or id */
export async function readDigests(
  context: Pick<BackContext, 'deps' | 'target' | 'signal'>,
  image: string,
): Promise<readonly string[]> {
  const text = await runProgram(context.deps, context.target, 'read-app-image', { IMAGE: image }, context.signal)
  return (parseFactLines(text).digests ?? '').split(' ').filter(each => each !== '')
}

/** Goes the way back until Dokploy has handed it over; whether it arrives is watched by the caller. @throws LandfallError refused when there is none */
export async function goBack(context: BackContext, app: AppSpec, service: Service, release: Release): Promise<Way> {
  const { api } = context
  const way = wayBack(service, release, await listKept(api, service))
  const none = (why: string) =>
    new LandfallError('refused', `${app.name} cannot go back to ${release.version}: ${why}.`, {
      hint:
        service.kind === 'compose'
          ? `Bring the former commit or file back, then: bun scripts/app.ts ${app.name}, bun scripts/deploy.ts ${app.name}`
          : 'Give the app a registry in config.json: then every version is kept. What runs now goes on running.',
    })
  if (way.kind === 'none') throw none(way.why)
  const ref = { kind: service.kind, id: service.id }
  const deployAgain = async () => {
    const started = await api.startDeploy(ref, { title: context.title, description: `back to ${release.version}` })
    // What ran until now is well all the while.
    await waitBuilt(context, ref, started)
  }
  await api.setEnv(ref, release.env)
  switch (way.kind) {
    case 'registry':
      await api.rollBack(way.rollbackId)
      break
    case 'digest':
      await api.setSource(service.id, { kind: 'image', image: way.image })
      // A deploy would push a copy under this name, and Docker tags nothing with a digest. A reload keeps the login that the service has.
      if (service.kind === 'application' && service.settings.registryId !== undefined)
        await api.reload({ id: service.id, appName: service.appName })
      else await deployAgain()
      break
    case 'machine':
      if ((await setImage(context, 'restore', service.appName, way.imageId)) === 'absent')
        throw none('its image lies neither in a registry nor on the machine any more')
      await api.reload({ id: service.id, appName: service.appName })
      break
    case 'compose':
      // The variables lie beside the path, and are read beside the file.
      await api.setCompose(service.id, { source: { kind: 'raw' }, file: way.file, path: OWN_PATH, command: way.command })
      await deployAgain()
  }
  return way
}

/** Whether these tasks or containers run what was to come back, and not whatever else a panel started. */
export async function runsAgain(api: DokployApps, ids: readonly string[], way: Way, release: Release): Promise<boolean> {
  const reports = (await Promise.all(ids.map(id => api.inspectContainer(id)))).flatMap(each => (each?.running ? [each] : []))
  return reports.length > 0 && reports.every(report => isOf(report, way, release))
}

const isOf = ({ image, imageId, service }: ContainerReport, way: Way, release: Release): boolean => {
  if (way.kind === 'compose') {
    // Of another node's container only the image is told.
    if (service === undefined) return Object.values(release.services).includes(image)
    const wanted = release.services[service]
    return wanted === undefined || wanted === image || wanted === imageId
  }
  if (way.kind === 'digest' && image === way.image) return true
  if (way.kind === 'registry' && image.endsWith(`/${way.image}`)) return true
  return imageId !== '' && imageId === release.imageId
}

/** A compose stack's file as it runs, for its release. */
export const fileOf = async (api: DokployApps, stack: Compose): Promise<Secret> =>
  stack.source.kind === 'raw' ? stack.file : new Secret('compose file', await api.readComposeFile(stack.id), 'unlisted')
