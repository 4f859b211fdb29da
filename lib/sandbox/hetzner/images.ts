/** Images: the vendor's, and the project's snapshots, which survive their servers and become available when their action ends. */

import { beginAction, refuseLocked, refuseProtected, renderAction } from './actions.ts'
import { invalidField, listAnswer, notFound, queryWords, Refusal, SORT_ID_NAME_CREATED, visible, wireTime } from './answers.ts'
import { anyImage, imagesOf } from './catalogue.ts'
import { type Call, type Cloud, nextId, patch, type Route } from './cloud.ts'
import type { Labels } from './labels.ts'
import type { Architecture, ImageRow, ServerRow } from './rows.ts'

const theImage = (call: Call): ImageRow => {
  const [id = 0] = call.ids
  const image = imagesOf(call.cloud, call.project).find(row => row.id === id)
  if (!image) throw notFound('image', id)
  return image
}

/** An image named in a request's body: by id, or by name for the wanted architecture. */
export const namedImage = (call: Call, text: string, architecture: Architecture): ImageRow => {
  const images = imagesOf(call.cloud, call.project)
  const image =
    images.find(row => String(row.id) === text) ?? images.find(row => row.name === text && row.architecture === architecture)
  if (!image) throw invalidField('image', `image '${text}' not found`)
  if (image.status !== 'available') throw invalidField('image', `image is ${image.status}`)
  if (image.architecture !== architecture) throw invalidField('image', `image architecture ${image.architecture} does not fit`)
  return image
}

/** Throws unless the image fits on a disk of `diskGb`. */
export const refuseBigImage = (image: ImageRow, diskGb: number): void => {
  if (image.diskGb > diskGb) throw invalidField('image', `image needs a disk of ${image.diskGb} GB, the server has ${diskGb} GB`)
}

export interface NewSnapshot {
  readonly project: string
  readonly type: 'snapshot' | 'backup'
  readonly description: string
  readonly labels: Labels
  readonly diskGb: number
  readonly architecture: Architecture
  readonly from: Pick<ServerRow, 'id' | 'name'> | null
  /** Present for an image that is finished; else it is being created. */
  readonly sizeGb?: number
  readonly source?: ImageRow | undefined
}

export const createSnapshot = (cloud: Cloud, atMs: number, wanted: NewSnapshot): ImageRow => {
  const image: ImageRow = {
    id: nextId(cloud, 'images'),
    project: wanted.project,
    createdAtMs: atMs,
    labels: wanted.labels,
    type: wanted.type,
    status: wanted.sizeGb === undefined ? 'creating' : 'available',
    name: null,
    description: wanted.description,
    sizeGb: wanted.sizeGb ?? null,
    diskGb: wanted.diskGb,
    createdFrom: wanted.from && { id: wanted.from.id, name: wanted.from.name },
    boundTo: wanted.type === 'backup' && wanted.from ? wanted.from.id : null,
    flavor: wanted.source?.flavor ?? 'unknown',
    version: wanted.source?.version ?? null,
    architecture: wanted.architecture,
    deprecated: null,
    deletedAtMs: null,
    protection: { delete: false },
  }
  cloud.images.put(String(image.id), image)
  return image
}

/** A snapshot takes what is used of the disk; the stand-in has no disks, so it takes a third. */
export const finishSnapshot = (cloud: Cloud, id: number, status: 'available' | 'unavailable'): void => {
  const image = cloud.images.get(String(id))
  if (image) patch(cloud.images, id, { status, sizeGb: status === 'available' ? Math.max(1, image.diskGb / 3) : null })
}

const refuseVendorImage = (image: ImageRow): void => {
  if (image.type !== 'snapshot' && image.type !== 'backup')
    throw new Refusal(422, 'unsupported_error', `images of type ${image.type} cannot be changed`)
}

const update = (call: Call) => {
  const image = theImage(call)
  const body = call.body()
  const description = body.text('description') ?? image.description
  const type = body.word('type', ['snapshot']) ?? image.type
  const labels = body.labels() ?? image.labels
  body.check()
  refuseVendorImage(image)
  patch(call.cloud.images, image.id, { description, type, labels, ...(type === 'snapshot' ? { boundTo: null } : {}) })
  return { status: 200, json: { image: renderImage(theImage(call)) } }
}

const remove = (call: Call) => {
  const image = theImage(call)
  refuseVendorImage(image)
  refuseProtected(image, 'image')
  refuseLocked(call.cloud, 'image', image.id)
  // Servers made from it still show it, so the row stays.
  patch(call.cloud.images, image.id, { deletedAtMs: call.nowMs })
  return { status: 204 }
}

const protect = (call: Call) => {
  const image = theImage(call)
  const body = call.body()
  const wanted = body.flag('delete') ?? image.protection.delete
  body.check()
  refuseVendorImage(image)
  refuseLocked(call.cloud, 'image', image.id)
  const action = beginAction(call.cloud, call.nowMs, {
    project: call.project,
    command: 'change_protection',
    resources: [{ type: 'image', id: image.id }],
    effect: { kind: 'image_protection', image: image.id, delete: wanted },
  })
  return { status: 201, json: { action: renderAction(action, call.nowMs) } }
}

const list = (call: Call) => {
  const types = queryWords(call.query, 'type', ['system', 'app', 'snapshot', 'backup'])
  const statuses = queryWords(call.query, 'status', ['available', 'creating', 'unavailable'])
  const architectures = queryWords(call.query, 'architecture', ['x86', 'arm'])
  const boundTo = call.query.getAll('bound_to')
  const withDeprecated = call.query.get('include_deprecated') === 'true'
  const rows = visible(call, imagesOf(call.cloud, call.project)).filter(
    image =>
      (!types || types.includes(image.type)) &&
      (!statuses || statuses.includes(image.status)) &&
      (!architectures || architectures.includes(image.architecture)) &&
      (boundTo.length === 0 || boundTo.includes(String(image.boundTo))) &&
      (withDeprecated || image.deprecated === null),
  )
  return listAnswer(call, 'images', rows, SORT_ID_NAME_CREATED, renderImage)
}

export const imageRoutes: readonly Route[] = [
  { method: 'GET', path: '/images', handle: list },
  { method: 'GET', path: '/images/{id}', handle: call => ({ status: 200, json: { image: renderImage(theImage(call)) } }) },
  { method: 'PUT', path: '/images/{id}', handle: update },
  { method: 'DELETE', path: '/images/{id}', handle: remove },
  { method: 'POST', path: '/images/{id}/actions/change_protection', handle: protect },
]

/** The image that a server shows, even when it has been deleted since. */
export const renderServerImage = (cloud: Cloud, id: number) => {
  const image = anyImage(cloud, id)
  return image ? renderImage(image) : null
}

export const renderImage = (image: ImageRow) => ({
  id: image.id,
  type: image.type,
  status: image.status,
  name: image.name,
  description: image.description,
  image_size: image.sizeGb,
  disk_size: image.diskGb,
  created: wireTime(image.createdAtMs),
  created_from: image.createdFrom,
  bound_to: image.boundTo,
  os_flavor: image.flavor,
  os_version: image.version,
  rapid_deploy: image.type === 'system',
  protection: image.protection,
  deprecated: image.deprecated,
  deleted: image.deletedAtMs === null ? null : wireTime(image.deletedAtMs),
  labels: image.labels,
  architecture: image.architecture,
})
