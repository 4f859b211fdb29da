/** Firewalls: their rules, and the requests that bring them onto servers and off them. */

import { beginAction, refuseConflict, refuseLocked, renderAction } from './actions.ts'
import { limitExceeded, listAnswer, notFound, notUnique, Refusal, SORT_ID_NAME_CREATED, visible, wireTime } from './answers.ts'
import { attach, detach, firewallsOn, followSelectors, MAX_PER_SERVER } from './attachments.ts'
import { type Call, type Cloud, nextId, ofProject, own, patch, type Route } from './cloud.ts'
import type { Body } from './input.ts'
import { parseSelector } from './labels.ts'
import type { ActionRow, FirewallRow, ServerRow } from './rows.ts'
import { readRules, renderRule } from './rules.ts'

const MAX_FIREWALLS = 50
const MAX_NAME = 128

const theFirewall = (call: Call): FirewallRow => {
  const [id = 0] = call.ids
  const firewall = own(call.cloud.firewalls, call.project, id)
  if (!firewall) throw notFound('firewall', id)
  return firewall
}

const refuseTakenName = (call: Call, name: string, self?: number): void => {
  if (ofProject(call.cloud.firewalls, call.project).some(firewall => firewall.name === name && firewall.id !== self))
    throw notUnique('firewall name is already used', 'name')
}

interface Target {
  readonly server: ServerRow | null
  readonly selector: string | null
}

const readTargets = (call: Call, entries: readonly Body[] | undefined, missing: Refusal['status']): (() => Target[]) => {
  const read = (entries ?? []).map(entry => {
    const type = entry.requiredWord('type', ['server', 'label_selector'])
    const holder = entry.object(type)
    if (!holder) entry.problem(type, 'missing data for required field')
    const selector = type === 'label_selector' ? (holder?.requiredText('selector') ?? '') : null
    if (selector && !parseSelector(selector)) entry.problem('label_selector.selector', 'invalid label selector')
    return { selector, serverId: type === 'server' ? (holder?.requiredId('id') ?? 0) : null }
  })
  // Servers are looked up only once the whole body has turned out well.
  return () =>
    read.map(({ selector, serverId }) => {
      const server = serverId === null ? null : own(call.cloud.servers, call.project, serverId)
      if (server === undefined)
        throw new Refusal(missing, 'firewall_resource_not_found', `server with ID '${serverId}' not found`)
      return { server, selector }
    })
}

const refuseTarget = (cloud: Cloud, firewall: FirewallRow | undefined, target: Target): void => {
  const { server, selector } = target
  if (selector !== null && firewall?.selectors.includes(selector))
    throw new Refusal(422, 'firewall_already_applied', 'firewall is already applied to this label selector')
  if (!server) return
  if (firewall?.attachments.some(attachment => attachment.server === server.id && attachment.selector === null))
    throw new Refusal(422, 'firewall_already_applied', 'firewall is already applied to this server')
  if (server.ipv4 === null && server.ipv6 === null)
    throw new Refusal(422, 'private_net_only_server', 'server has no public network interface')
  if (firewallsOn(cloud, server.id).length >= MAX_PER_SERVER)
    throw limitExceeded('firewalls per server limit exceeded', 'firewall_per_server_limit')
  refuseLocked(cloud, 'server', server.id)
}

const apply = (call: Call, firewall: number, targets: readonly Target[]): ActionRow[] =>
  targets.flatMap(({ server, selector }) => {
    if (server) return [attach(call.cloud, call.nowMs, firewall, server, null)]
    const selectors = call.cloud.firewalls.get(String(firewall))?.selectors ?? []
    if (selector !== null) patch(call.cloud.firewalls, firewall, { selectors: [...selectors, selector] })
    return followSelectors(call.cloud, call.project, call.nowMs, firewall)
  })

const create = (call: Call) => {
  const { cloud, project, nowMs } = call
  const body = call.body()
  const name = body.requiredText('name', { max: MAX_NAME })
  const labels = body.labels() ?? {}
  const rules = readRules(body) ?? []
  const targets = readTargets(call, body.objects('apply_to'), 422)
  body.check()
  refuseTakenName(call, name)
  if (cloud.firewalls.size >= MAX_FIREWALLS) throw limitExceeded('firewall limit exceeded', 'firewall_limit')
  const wanted = targets()
  for (const target of wanted) refuseTarget(cloud, undefined, target)
  const named = wanted.flatMap(({ server }) => (server ? [server.id] : []))
  if (new Set(named).size < named.length) throw new Refusal(422, 'server_already_added', 'server was applied more than once')
  const id = nextId(cloud, 'firewalls')
  const row = { id, project, createdAtMs: nowMs, labels, name, rules, selectors: [], attachments: [], inUseUntilMs: 0 }
  cloud.firewalls.put(String(id), row)
  const begun = beginRules(call, id)
  const actions = [...begun, ...apply(call, id, wanted)]
  const firewall = renderFirewall(cloud.firewalls.get(String(id)) ?? row)
  return { status: 201, json: { firewall, actions: actions.map(action => renderAction(action, nowMs)) } }
}

const beginRules = (call: Call, id: number): ActionRow[] => {
  const firewall = call.cloud.firewalls.get(String(id))
  const common = { project: call.project }
  const own = { type: 'firewall', id } as const
  const first = beginAction(call.cloud, call.nowMs, { ...common, command: 'set_firewall_rules', resources: [own] })
  const servers = new Set((firewall?.attachments ?? []).map(attachment => attachment.server))
  return [
    first,
    ...[...servers].map(server =>
      beginAction(call.cloud, call.nowMs, {
        ...common,
        command: 'apply_firewall',
        resources: [own, { type: 'server', id: server }],
        effect: { kind: 'firewall_rules', firewall: id, server },
      }),
    ),
  ]
}

const update = (call: Call) => {
  const firewall = theFirewall(call)
  const body = call.body()
  const name = body.text('name', { min: 1, max: MAX_NAME }) ?? firewall.name
  const labels = body.labels() ?? firewall.labels
  body.check()
  refuseTakenName(call, name, firewall.id)
  refuseConflict(call.cloud, 'firewall', firewall.id)
  patch(call.cloud.firewalls, firewall.id, { name, labels })
  return { status: 200, json: { firewall: renderFirewall(theFirewall(call)) } }
}

const remove = (call: Call) => {
  const firewall = theFirewall(call)
  const used = firewall.attachments.length > 0 || firewall.selectors.length > 0 || firewall.inUseUntilMs > call.nowMs
  if (used) throw new Refusal(422, 'resource_in_use', `firewall with ID '${firewall.id}' is still in use`)
  call.cloud.firewalls.delete(String(firewall.id))
  return { status: 204 }
}

const setRules = (call: Call) => {
  const firewall = theFirewall(call)
  const body = call.body()
  const rules = readRules(body)
  if (!rules) body.problem('rules', 'missing data for required field')
  body.check()
  refuseConflict(call.cloud, 'firewall', firewall.id)
  patch(call.cloud.firewalls, firewall.id, { rules: rules ?? [] })
  return answerActions(call, beginRules(call, firewall.id))
}

const applyTo = (call: Call) => {
  const firewall = theFirewall(call)
  const body = call.body()
  const targets = readTargets(call, body.objects('apply_to'), 404)
  if (!body.has('apply_to')) body.problem('apply_to', 'missing data for required field')
  body.check()
  const wanted = targets()
  for (const target of wanted) refuseTarget(call.cloud, firewall, target)
  return answerActions(call, apply(call, firewall.id, wanted))
}

const removeFrom = (call: Call) => {
  const { cloud } = call
  const firewall = theFirewall(call)
  const body = call.body()
  const targets = readTargets(call, body.objects('remove_from'), 404)
  if (!body.has('remove_from')) body.problem('remove_from', 'missing data for required field')
  body.check()
  const wanted = targets().map(({ server, selector }) => {
    const held = firewall.attachments.filter(at => (server ? at.server === server.id : at.selector === selector))
    const direct = held.filter(at => at.selector === selector)
    if (server && held.length > 0 && direct.length === 0)
      throw new Refusal(422, 'firewall_managed_by_label_selector', 'firewall is applied by a label selector')
    if (server ? direct.length === 0 : selector !== null && !firewall.selectors.includes(selector))
      throw new Refusal(404, 'firewall_resource_not_found', 'firewall is not applied to this resource')
    if (server) refuseLocked(cloud, 'server', server.id)
    return { selector, gone: direct.filter(at => at.state !== 'removing') }
  })
  const dropped = wanted.map(({ selector }) => selector)
  patch(cloud.firewalls, firewall.id, { selectors: firewall.selectors.filter(selector => !dropped.includes(selector)) })
  return answerActions(
    call,
    wanted.flatMap(({ gone }) => gone.map(at => detach(cloud, call.nowMs, firewall, at))),
  )
}

const answerActions = (call: Call, actions: readonly ActionRow[]) => ({
  status: 201,
  json: { actions: actions.map(action => renderAction(action, call.nowMs)) },
})

export const firewallRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/firewalls',
    handle: call =>
      listAnswer(
        call,
        'firewalls',
        visible(call, ofProject(call.cloud.firewalls, call.project)),
        SORT_ID_NAME_CREATED,
        renderFirewall,
      ),
  },
  { method: 'POST', path: '/firewalls', handle: create },
  {
    method: 'GET',
    path: '/firewalls/{id}',
    handle: call => ({ status: 200, json: { firewall: renderFirewall(theFirewall(call)) } }),
  },
  { method: 'PUT', path: '/firewalls/{id}', handle: update },
  { method: 'DELETE', path: '/firewalls/{id}', handle: remove },
  { method: 'POST', path: '/firewalls/{id}/actions/set_rules', handle: setRules },
  { method: 'POST', path: '/firewalls/{id}/actions/apply_to_resources', handle: applyTo },
  { method: 'POST', path: '/firewalls/{id}/actions/remove_from_resources', handle: removeFrom },
]

const renderFirewall = (firewall: FirewallRow) => ({
  id: firewall.id,
  name: firewall.name,
  labels: firewall.labels,
  created: wireTime(firewall.createdAtMs),
  rules: firewall.rules.map(renderRule),
  applied_to: [
    ...firewall.attachments.filter(at => at.selector === null).map(at => ({ type: 'server', server: { id: at.server } })),
    ...firewall.selectors.map(selector => ({
      type: 'label_selector',
      label_selector: { selector },
      applied_to_resources: firewall.attachments
        .filter(at => at.selector === selector)
        .map(at => ({ type: 'server', server: { id: at.server } })),
    })),
  ],
})
