/**
 * Actions: the vendor's asynchronous tasks. One begins now or when another has ended well, takes its time by the clock, locks what
 * it works on, and has its effect when it ends. Nothing runs in the background: whoever looks first settles what is due.
 */
import { goneEndpoint, invalidField, listAnswer, notFound, queryWords, Refusal, type SortFields, wireTime } from './answers.ts'
import { type Call, type Cloud, type Kind, nextId, ofProject, own, type Route } from './cloud.ts'
import type { ActionRow, Effect, Resource, ResourceType } from './rows.ts'

const NOTHING: Effect = { kind: 'nothing' }

export interface NewAction {
  readonly project: string
  readonly command: string
  readonly resources: readonly Resource[]
  readonly effect?: Effect
  readonly otherwise?: Effect
  readonly after?: ActionRow
  readonly hidden?: boolean
}

const takeFailure = (cloud: Cloud, command: string): ActionRow['failure'] => {
  const { failNext } = cloud.rules()
  const failure = failNext.find(entry => entry.command === command)
  if (!failure) return null
  cloud.setRules({ failNext: failNext.filter(entry => entry !== failure) })
  return { code: failure.code, message: failure.message }
}

/** Writes a new action that begins at `atMs`, or when `after` ends. */
export const beginAction = (cloud: Cloud, atMs: number, wanted: NewAction): ActionRow => {
  const { actionMs } = cloud.deps.settings()
  const startsAtMs = wanted.after?.endsAtMs ?? atMs
  const action: ActionRow = {
    id: nextId(cloud, 'actions'),
    project: wanted.project,
    command: wanted.command,
    resources: wanted.resources,
    startsAtMs,
    endsAtMs: startsAtMs + (actionMs[wanted.command] ?? actionMs.other),
    outcome: 'running',
    failure: takeFailure(cloud, wanted.command),
    effect: wanted.effect ?? NOTHING,
    otherwise: wanted.otherwise ?? NOTHING,
    after: wanted.after?.id ?? null,
    hidden: wanted.hidden ?? false,
  }
  putAction(cloud, action)
  return action
}

const putAction = (cloud: Cloud, action: ActionRow): void => {
  const { id, endsAtMs, hidden, resources } = action
  cloud.actions.put(String(id), action)
  if (action.outcome === 'running') cloud.pending.put(String(id), { id, endsAtMs, hidden, resources })
  else cloud.pending.delete(String(action.id))
}

/** The unfinished action that ends first, if it ends by `nowMs`. */
export const nextDue = (cloud: Cloud, nowMs: number): ActionRow | undefined => {
  const [first] = cloud.pending
    .all()
    .filter(pending => pending.endsAtMs <= nowMs)
    .sort((a, b) => a.endsAtMs - b.endsAtMs || a.id - b.id)
  return first && cloud.actions.get(String(first.id))
}

/** Ends an action as it was fated; what waited for it and cannot begin any more ends with it. Returns the effect to have. */
export const endAction = (cloud: Cloud, action: ActionRow): Effect => {
  if (action.failure === null) {
    putAction(cloud, { ...action, outcome: 'success' })
    return action.effect
  }
  putAction(cloud, { ...action, outcome: 'error' })
  for (const next of unfinished(cloud).filter(other => other.after === action.id)) {
    const failure = { code: 'action_failed', message: 'Action failed because an earlier one did' }
    putAction(cloud, { ...next, startsAtMs: action.endsAtMs, endsAtMs: action.endsAtMs, failure })
  }
  return action.otherwise
}

const unfinished = (cloud: Cloud): ActionRow[] => cloud.pending.all().flatMap(({ id }) => cloud.actions.get(String(id)) ?? [])

const isOn = (resources: readonly Resource[], type: ResourceType, id: number): boolean =>
  resources.some(resource => resource.type === type && resource.id === id)

/** Whether an action is working on the object now. */
export const isBusy = (cloud: Cloud, type: ResourceType, id: number): boolean =>
  cloud.pending.all().some(pending => !pending.hidden && isOn(pending.resources, type, id))

/** Throws 423 `locked` when another action is working on the object. */
export const refuseLocked = (cloud: Cloud, type: ResourceType, id: number): void => {
  if (isBusy(cloud, type, id)) throw new Refusal(423, 'locked', `${type} is locked`)
}

/** Throws 409 `conflict` when a change of the object is in progress, as networks, firewalls and addresses answer. */
export const refuseConflict = (cloud: Cloud, type: ResourceType, id: number): void => {
  if (isBusy(cloud, type, id)) throw new Refusal(409, 'conflict', `${type} is being changed by another action, please retry`)
}

/** Throws 423 `protected` when the object must not be deleted. */
export const refuseProtected = (row: { readonly protection: { readonly delete: boolean } }, what: string): void => {
  if (row.protection.delete) throw new Refusal(423, 'protected', `${what} deletion is protected`)
}

const RESOURCES = [
  { path: '/servers', type: 'server', rows: 'servers' },
  { path: '/firewalls', type: 'firewall', rows: 'firewalls' },
  { path: '/images', type: 'image', rows: 'images' },
  { path: '/networks', type: 'network', rows: 'networks' },
  { path: '/primary_ips', type: 'primary_ip', rows: 'ips' },
  { path: '/load_balancers', type: 'load_balancer', rows: 'balancers' },
] as const satisfies readonly { path: string; type: ResourceType; rows: Kind }[]

const SORT: SortFields<ActionRow> = {
  id: action => action.id,
  command: action => action.command,
  status: action => action.outcome,
  started: action => action.startsAtMs,
  finished: action => (action.outcome === 'running' ? Number.MAX_SAFE_INTEGER : action.endsAtMs),
}

const queryIds = (call: Call): number[] =>
  call.query.getAll('id').map(text => {
    if (!/^[0-9]{1,16}$/.test(text)) throw invalidField('id', 'must be an ID')
    return Number(text)
  })

const listActions = (call: Call, keep: (action: ActionRow) => boolean) => {
  const ids = queryIds(call)
  const words = queryWords(call.query, 'status', ['running', 'success', 'error'])
  const rows = ofProject(call.cloud.actions, call.project).filter(
    action =>
      !action.hidden &&
      keep(action) &&
      (ids.length === 0 || ids.includes(action.id)) &&
      (!words || words.includes(action.outcome)),
  )
  return listAnswer(call, 'actions', rows, SORT, action => renderAction(action, call.nowMs))
}

const showAction = (call: Call, id: number | undefined, keep: (action: ActionRow) => boolean) => {
  const action = own(call.cloud.actions, call.project, id ?? 0)
  if (!action || action.hidden || !keep(action)) throw notFound('action', id ?? 0)
  return { status: 200, json: { action: renderAction(action, call.nowMs) } }
}

/** The ways to look at actions: by id, of all objects of a kind, and of one object. */
export const actionRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/actions',
    handle: call => {
      if (queryIds(call).length === 0)
        throw goneEndpoint('https://docs.hetzner.cloud/changelog#2023-07-20-actions-list-endpoint-is-deprecated')
      return listActions(call, () => true)
    },
  },
  { method: 'GET', path: '/actions/{id}', handle: call => showAction(call, call.ids[0], () => true) },
  ...RESOURCES.flatMap(({ path, type, rows }): Route[] => {
    const ofKind = (action: ActionRow): boolean => action.resources.some(resource => resource.type === type)
    const ofOne = (call: Call) => {
      const [id = 0] = call.ids
      const keep = (action: ActionRow): boolean => isOn(action.resources, type, id)
      const known =
        (call.cloud[rows].get(String(id))?.project === call.project ? id : undefined) ??
        ofProject(call.cloud.actions, call.project).find(keep)
      if (!known) throw notFound(type, id)
      return keep
    }
    return [
      { method: 'GET', path: `${path}/actions`, handle: call => listActions(call, ofKind) },
      { method: 'GET', path: `${path}/actions/{id}`, handle: call => showAction(call, call.ids[0], ofKind) },
      { method: 'GET', path: `${path}/{id}/actions`, handle: call => listActions(call, ofOne(call)) },
      { method: 'GET', path: `${path}/{id}/actions/{action_id}`, handle: call => showAction(call, call.ids[1], ofOne(call)) },
    ]
  }),
]

export const renderAction = (action: ActionRow, nowMs: number) => {
  const running = action.outcome === 'running'
  const share = (nowMs - action.startsAtMs) / Math.max(1, action.endsAtMs - action.startsAtMs)
  return {
    id: action.id,
    command: action.command,
    status: action.outcome,
    progress: running ? Math.max(0, Math.min(99, Math.floor(share * 100))) : 100,
    started: wireTime(action.startsAtMs),
    finished: running ? null : wireTime(action.endsAtMs),
    resources: action.resources.map(({ id, type }) => ({ id, type })),
    error: action.outcome === 'error' ? action.failure : null,
  }
}
