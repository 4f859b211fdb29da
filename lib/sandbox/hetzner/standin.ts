/**
 * A stand-in for the Hetzner Cloud API: the same paths, rules, limits and delays, over a store. Requests come with the path below
 * `/v1`. Order of judgement, as seen at the real thing: route, token, rate limit, method, read-only, body.
 */
import { randomBytes } from 'node:crypto'
import type { StandIn, StandInRequest, StandInResponse } from '../kit.ts'
import { actionRoutes } from './actions.ts'
import { addressRoutes } from './addresses.ts'
import { errorAnswer, goneEndpoint, listAnswer, notFound, Refusal, SORT_ID_NAME, visible } from './answers.ts'
import { balancerRoutes } from './balancers.ts'
import { LOCATIONS, renderLocation, renderPricing, renderType, SERVER_TYPES } from './catalogue.ts'
import { type Call, type Cloud, type HetznerDeps, openCloud, type Route } from './cloud.ts'
import { controlOf, type HetznerControl } from './control.ts'
import { firewallRoutes } from './firewalls.ts'
import { authenticate, rateLimitExceeded, refuseReadOnly, spend } from './gate.ts'
import { imageRoutes } from './images.ts'
import { readBody } from './input.ts'
import { keyRoutes } from './keys.ts'
import { networkRoutes } from './networks.ts'
import { placementRoutes } from './placement.ts'
import { serverActionRoutes } from './server-actions.ts'
import { serverCreateRoutes } from './server-create.ts'
import { serverRoutes } from './servers.ts'
import { settle } from './settle.ts'

export type { HetznerDeps } from './cloud.ts'
export type { HetznerControl } from './control.ts'

const DATACENTERS_GONE = 'https://docs.hetzner.cloud/changelog#2026-10-01-datacenters-removed'

const gone: Route['handle'] = () => {
  throw goneEndpoint(DATACENTERS_GONE)
}

const findById = <T extends { readonly id: number }>(call: Call, what: string, rows: readonly T[]): T => {
  const row = rows.find(entry => entry.id === call.ids[0])
  if (!row) throw notFound(what, call.ids[0] ?? 0)
  return row
}

const catalogueRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/locations',
    handle: call => listAnswer(call, 'locations', visible(call, LOCATIONS), SORT_ID_NAME, renderLocation),
  },
  {
    method: 'GET',
    path: '/locations/{id}',
    handle: call => ({ status: 200, json: { location: renderLocation(findById(call, 'location', LOCATIONS)) } }),
  },
  {
    method: 'GET',
    path: '/server_types',
    handle: call =>
      listAnswer(call, 'server_types', visible(call, SERVER_TYPES), SORT_ID_NAME, entry => renderType(call.cloud, entry)),
  },
  {
    method: 'GET',
    path: '/server_types/{id}',
    handle: call => ({ status: 200, json: { server_type: renderType(call.cloud, findById(call, 'server_type', SERVER_TYPES)) } }),
  },
  { method: 'GET', path: '/pricing', handle: () => ({ status: 200, json: { pricing: renderPricing() } }) },
  { method: 'GET', path: '/datacenters', handle: gone },
  { method: 'GET', path: '/datacenters/{id}', handle: gone },
]

const ROUTES: readonly Route[] = [
  ...catalogueRoutes,
  ...actionRoutes,
  ...imageRoutes,
  ...keyRoutes,
  ...networkRoutes,
  ...firewallRoutes,
  ...addressRoutes,
  ...placementRoutes,
  ...balancerRoutes,
  ...serverRoutes,
  ...serverCreateRoutes,
  ...serverActionRoutes,
]

/** Every endpoint that the stand-in answers, as method and path template of the vendor's document. */
export const HETZNER_ENDPOINTS: readonly Pick<Route, 'method' | 'path'>[] = ROUTES.map(({ method, path }) => ({ method, path }))

const MATCHERS = ROUTES.map(route => ({
  route,
  pattern: new RegExp(`^${route.path.replace(/\{[a-z_]+\}/g, '([0-9]{1,16})')}$`),
}))

const answer = (cloud: Cloud, request: StandInRequest, nowMs: number): StandInResponse => {
  const matches = MATCHERS.flatMap(({ route, pattern }) => {
    const match = pattern.exec(request.path)
    return match ? [{ route, ids: match.slice(1).map(Number) }] : []
  })
  if (matches.length === 0) throw new Refusal(404, 'not_found', 'API endpoint not found')
  const token = authenticate(cloud, request.headers)
  const budget = spend(cloud, token.project, nowMs)
  const handle = (): StandInResponse => {
    if (budget.exhausted) throw rateLimitExceeded()
    const match = matches.find(({ route }) => route.method === request.method)
    if (!match) throw new Refusal(405, 'method_not_allowed', `method ${request.method} is not allowed`)
    refuseReadOnly(cloud, token, request.method)
    return match.route.handle({
      cloud,
      project: token.project,
      ids: match.ids,
      path: request.path,
      query: request.query,
      host: request.headers.get('host'),
      nowMs,
      body: () => readBody(request.bodyText),
    })
  }
  const response = refusable(handle)
  return { ...response, headers: { ...response.headers, ...budget.headers } }
}

const refusable = (work: () => StandInResponse): StandInResponse => {
  try {
    return work()
  } catch (error) {
    if (error instanceof Refusal) return errorAnswer(error)
    throw error
  }
}

/** The stand-in over `deps.store`. Synchronous; two of them over one store in one process see the same cloud. */
export const createHetznerStandIn = (deps: HetznerDeps): StandIn & { readonly control: HetznerControl } => {
  const cloud = openCloud(deps)
  // Told only when the writes are on disk, since whoever listens reads them.
  const settleNow = (): boolean => {
    const changed = deps.store.transaction(() => settle(cloud, deps.clock.nowMs()))
    if (changed) deps.onChange?.()
    return changed
  }
  return {
    vendor: 'hetzner',
    control: controlOf(cloud, settleNow),
    handle: (request): StandInResponse => {
      settleNow()
      const nowMs = deps.clock.nowMs()
      const response = deps.store.transaction(() => refusable(() => answer(cloud, request, nowMs)))
      if (request.method !== 'GET' && response.status < 400) deps.onChange?.()
      return { ...response, headers: { ...response.headers, 'X-Correlation-Id': randomBytes(8).toString('hex') } }
    },
  }
}
