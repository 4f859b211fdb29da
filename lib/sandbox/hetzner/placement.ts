/** Placement groups: servers kept on different hosts. At most ten servers in one; joining needs the server off. */
import { listAnswer, notFound, notUnique, queryWords, Refusal, SORT_ID_NAME_CREATED, visible, wireTime } from './answers.ts'
import { type Call, type Cloud, nextId, ofProject, own, patch, type Route } from './cloud.ts'
import type { GroupRow } from './rows.ts'

const MAX_SERVERS = 10

const serversOf = (cloud: Cloud, group: GroupRow): number[] =>
  ofProject(cloud.servers, group.project).flatMap(server => (server.placementGroup === group.id ? [server.id] : []))

/** Throws 422 `placement_error` when no further server fits. */
export const refuseFullGroup = (cloud: Cloud, group: GroupRow): void => {
  if (serversOf(cloud, group).length >= MAX_SERVERS)
    throw new Refusal(422, 'placement_error', `placement group already holds ${MAX_SERVERS} servers`)
}

const theGroup = (call: Call): GroupRow => {
  const [id = 0] = call.ids
  const group = own(call.cloud.groups, call.project, id)
  if (!group) throw notFound('placement_group', id)
  return group
}

const refuseTakenName = (call: Call, name: string, self?: number): void => {
  if (ofProject(call.cloud.groups, call.project).some(group => group.name === name && group.id !== self))
    throw notUnique('placement group name is already used', 'name')
}

const create = (call: Call) => {
  const { cloud, project, nowMs } = call
  const body = call.body()
  const name = body.requiredText('name')
  body.requiredWord('type', ['spread'])
  const labels = body.labels() ?? {}
  body.check()
  refuseTakenName(call, name)
  const group: GroupRow = { id: nextId(cloud, 'groups'), project, createdAtMs: nowMs, labels, name }
  cloud.groups.put(String(group.id), group)
  return { status: 201, json: { placement_group: renderGroup(cloud, group), action: null } }
}

const update = (call: Call) => {
  const group = theGroup(call)
  const body = call.body()
  const name = body.text('name', { min: 1 }) ?? group.name
  const labels = body.labels() ?? group.labels
  body.check()
  refuseTakenName(call, name, group.id)
  patch(call.cloud.groups, group.id, { name, labels })
  return { status: 200, json: { placement_group: renderGroup(call.cloud, theGroup(call)) } }
}

const remove = (call: Call) => {
  const group = theGroup(call)
  if (serversOf(call.cloud, group).length > 0) throw new Refusal(422, 'resource_in_use', 'placement group still contains servers')
  call.cloud.groups.delete(String(group.id))
  return { status: 204 }
}

export const placementRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/placement_groups',
    handle: call => {
      queryWords(call.query, 'type', ['spread'])
      const rows = visible(call, ofProject(call.cloud.groups, call.project))
      return listAnswer(call, 'placement_groups', rows, SORT_ID_NAME_CREATED, group => renderGroup(call.cloud, group))
    },
  },
  { method: 'POST', path: '/placement_groups', handle: create },
  {
    method: 'GET',
    path: '/placement_groups/{id}',
    handle: call => ({ status: 200, json: { placement_group: renderGroup(call.cloud, theGroup(call)) } }),
  },
  { method: 'PUT', path: '/placement_groups/{id}', handle: update },
  { method: 'DELETE', path: '/placement_groups/{id}', handle: remove },
]

export const renderGroup = (cloud: Cloud, group: GroupRow) => ({
  id: group.id,
  name: group.name,
  type: 'spread',
  labels: group.labels,
  created: wireTime(group.createdAtMs),
  servers: serversOf(cloud, group),
})
