/** Tags: made by name, kept in the case they were first written in, and there until somebody deletes them. */

import { type Account, type Call, droplets, listOf, notFound, pageOf, type Route, tagOf, unprocessable } from './state.ts'

const keyOf = (name: string): string => name.toLowerCase()

/** The tag in its own spelling, made where it does not exist. */
export const addTag = (account: Account, name: string): string => {
  const have = account.tags.get(keyOf(name))
  if (have) return have.name
  account.tags.put(keyOf(name), { name })
  return name
}

export const findTag = (account: Account, name: string): string | undefined => account.tags.get(keyOf(name))?.name

const countOf = (call: Call, name: string): number =>
  droplets(call).filter(row => row.tags.includes(name)).length +
  call.account.images.all().filter(row => row.tags.includes(name)).length

const render = (call: Call, name: string) => ({
  name,
  resources: { count: countOf(call, name), droplets: { count: droplets(call).filter(row => row.tags.includes(name)).length } },
})

const theTag = (call: Call): string => {
  const name = findTag(call.account, call.names[0] ?? '')
  if (name === undefined) throw notFound()
  return name
}

const create = (call: Call) => {
  const name = tagOf(call.body().name)
  if (findTag(call.account, name) !== undefined) throw unprocessable('Tag name has already been taken')
  return { status: 201, json: { tag: render(call, addTag(call.account, name)) } }
}

const remove = (call: Call) => {
  const name = theTag(call)
  call.account.tags.delete(keyOf(name))
  const without = (tags: readonly string[]) => tags.filter(tag => tag !== name)
  for (const row of call.account.droplets.all())
    if (row.tags.includes(name)) call.account.droplets.put(String(row.id), { ...row, tags: without(row.tags) })
  for (const row of call.account.images.all())
    if (row.tags.includes(name)) call.account.images.put(String(row.id), { ...row, tags: without(row.tags) })
  for (const row of call.account.firewalls.all())
    if (row.tags.includes(name)) call.account.firewalls.put(row.id, { ...row, tags: without(row.tags) })
  return { status: 204 }
}

const tagResources = (call: Call, change: (tags: readonly string[], name: string) => readonly string[]) => {
  const name = theTag(call)
  for (const entry of listOf(call.body().resources, 'resources')) {
    const { resource_id, resource_type } = Object.fromEntries(Object.entries(entry ?? {}))
    const { account } = call
    const droplet = resource_type === 'droplet' && droplets(call).find(each => String(each.id) === resource_id)
    const image = resource_type === 'image' && account.images.get(String(resource_id))
    if (resource_type !== 'droplet' && resource_type !== 'image') throw unprocessable('resource_type must be droplet or image')
    if (droplet) account.droplets.put(String(droplet.id), { ...droplet, tags: change(droplet.tags, name) })
    else if (image) account.images.put(String(image.id), { ...image, tags: change(image.tags, name) })
    else throw notFound()
  }
  return { status: 204 }
}

export const tagRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/tags',
    handle: call => pageOf(call, 'tags', call.account.tags.all(), ({ name }) => render(call, name)),
  },
  { method: 'POST', path: '/tags', handle: create },
  { method: 'GET', path: '/tags/{}', handle: call => ({ status: 200, json: { tag: render(call, theTag(call)) } }) },
  { method: 'DELETE', path: '/tags/{}', handle: remove },
  {
    method: 'POST',
    path: '/tags/{}/resources',
    handle: call => tagResources(call, (tags, name) => (tags.includes(name) ? tags : [...tags, name])),
  },
  {
    method: 'DELETE',
    path: '/tags/{}/resources',
    handle: call => tagResources(call, (tags, name) => tags.filter(tag => tag !== name)),
  },
]
