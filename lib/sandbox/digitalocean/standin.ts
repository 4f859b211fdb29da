/**
 * A stand-in for DigitalOcean's API v2, as far as servers need it: the same paths, rules, limits and delays, over a store. Requests come
 * with the path below `/v2`. Written against the vendor's public API reference; where that is silent the stricter reading is taken.
 */

import { createHash, randomUUID } from 'node:crypto'
import type { Exposure } from '../exposure.ts'
import type { StandIn, StandInRequest, StandInResponse } from '../kit.ts'
import type { MachineServer } from '../machines/state.ts'
import { belongingRoutes } from './belongings.ts'
import { catalogueRoutes, SYSTEM_IMAGES } from './catalogue.ts'
import { dropletRoutes, failing, statusOf } from './droplets.ts'
import { exposureOf, firewallRoutes } from './firewalls.ts'
import {
  type Account,
  type Call,
  type DigitalOceanDeps,
  type DropletRow,
  droplets,
  type FirewallRow,
  type KeyRow,
  NEVER_MS,
  openAccount,
  Refusal,
  type Route,
  type TokenRow,
  type VpcRow,
} from './state.ts'
import { tagRoutes } from './tags.ts'

export interface DigitalOceanControl {
  addToken(token: string, row: TokenRow): void
  /** How many droplets the account may have. */
  setDropletLimit(droplets: number): void
  /** The next action of this type ("create", "resize") ends in error and without an effect. */
  failNext(type: string): void
  /** Switches a droplet off behind the API's back. */
  powerOff(name: string): void
  settle(): boolean
  /** When something next becomes true by itself. */
  nextEventAtMs(): number | undefined
  dump(): {
    readonly droplets: readonly (DropletRow & { readonly status: string })[]
    readonly firewalls: readonly FirewallRow[]
    readonly keys: readonly KeyRow[]
    readonly vpcs: readonly VpcRow[]
    readonly tags: readonly string[]
  }
  /** What the cloud lets in to the droplet of this machine. */
  exposure(machineId: string): readonly Exposure[]
  /** Ids begin with `MACHINE_PREFIX`, so that no two clouds have a machine of the same id. */
  serversForMachines(): readonly MachineServer[]
}

export const MACHINE_PREFIX = 'do-'

const ACCOUNT = {
  droplet_limit: 25,
  floating_ip_limit: 3,
  email: 'operator@example.com',
  email_verified: true,
  uuid: 'd0000000-0000-4000-8000-0000000000ff',
  status: 'active',
  status_message: '',
} as const

const ROUTES: readonly Route[] = [
  {
    method: 'GET',
    path: '/account',
    handle: () => ({ status: 200, json: { account: ACCOUNT } }),
  },
  ...catalogueRoutes,
  ...belongingRoutes,
  ...tagRoutes,
  ...firewallRoutes,
  ...dropletRoutes,
]

const MATCHERS = ROUTES.map(route => ({ route, pattern: new RegExp(`^${route.path.replaceAll('{}', '([A-Za-z0-9:_.-]+)')}$`) }))

const digest = (token: string): string => createHash('sha256').update(token).digest('hex')

const HOUR = { limit: 5000, ms: 3_600_000 } as const
const MINUTE = { limit: 250, ms: 60_000 } as const
const KEYS = { limit: 10, ms: 60_000 } as const

/** Takes one request from a sliding window; the moments that count. */
const spend = (account: Account, key: string, nowMs: number, window: { limit: number; ms: number }) => {
  const at = (account.windows.get(key)?.at ?? []).filter(ms => ms > nowMs - window.ms)
  const enforced = account.deps.settings().rateLimits
  const exhausted = enforced && at.length >= window.limit
  const kept = exhausted ? at : [...at, nowMs]
  account.windows.put(key, { at: kept })
  const oldest = kept[0] ?? nowMs
  return { exhausted, left: Math.max(0, window.limit - kept.length), freeAtMs: oldest + window.ms }
}

const tooMany = (headers: Readonly<Record<string, string>>): StandInResponse => ({
  status: 429,
  headers,
  json: { id: 'too_many_requests', message: 'API rate limit exceeded.' },
})

const answer = (account: Account, request: StandInRequest, nowMs: number): StandInResponse => {
  const token = /^Bearer\s+(\S+)\s*$/i.exec(request.headers.get('authorization') ?? '')?.[1]
  const row = token === undefined ? undefined : account.tokens.get(digest(token))
  if (token === undefined || !row) throw new Refusal(401, 'unauthorized', 'Unable to authenticate you')
  const hour = spend(account, `hour ${digest(token)}`, nowMs, HOUR)
  const headers = {
    'ratelimit-limit': String(HOUR.limit),
    'ratelimit-remaining': String(hour.left),
    'ratelimit-reset': String(Math.ceil(hour.freeAtMs / 1000)),
  }
  if (hour.exhausted) return tooMany(headers)
  const minute = spend(account, `minute ${digest(token)}`, nowMs, MINUTE)
  // Nothing is left of the hour either, as the vendor says it then.
  const retryAfter = (freeAtMs: number) => ({
    ...headers,
    'ratelimit-remaining': '0',
    'retry-after': String(Math.max(1, Math.ceil((freeAtMs - nowMs) / 1000))),
  })
  if (minute.exhausted) return tooMany(retryAfter(minute.freeAtMs))
  if (request.path === '/account/keys' && request.method === 'GET') {
    const keys = spend(account, `keys ${digest(token)}`, nowMs, KEYS)
    if (keys.exhausted) return tooMany(retryAfter(keys.freeAtMs))
  }
  return { ...refusable(() => handle(account, request, row, nowMs)), headers }
}

const handle = (account: Account, request: StandInRequest, token: TokenRow, nowMs: number): StandInResponse => {
  const matches = MATCHERS.flatMap(({ route, pattern }) => {
    const match = pattern.exec(decodeURIComponent(request.path))
    return match ? [{ route, names: match.slice(1) }] : []
  })
  if (matches.length === 0) throw new Refusal(404, 'not_found', 'The resource you were accessing could not be found.')
  const match = matches.find(({ route }) => route.method === request.method)
  if (!match) throw new Refusal(405, 'method_not_allowed', 'The method is not allowed for this resource.')
  if (token.access === 'read_only' && request.method !== 'GET')
    throw new Refusal(403, 'forbidden', 'You are not authorized to perform this operation')
  const call: Call = {
    account,
    nowMs,
    names: match.names,
    query: request.query,
    path: request.path,
    body: () => bodyOf(request.bodyText),
  }
  return match.route.handle(call)
}

const bodyOf = (text: string): Readonly<Record<string, unknown>> => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Refusal(400, 'bad_request', 'error parsing request body')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Refusal(400, 'bad_request', 'error parsing request body')
  return Object.fromEntries(Object.entries(value))
}

const refusable = (work: () => StandInResponse): StandInResponse => {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { status: error.status, json: { id: error.id, message: error.message, request_id: randomUUID() } }
  }
}

export const createDigitalOceanStandIn = (deps: DigitalOceanDeps): StandIn & { readonly control: DigitalOceanControl } => {
  const account = openAccount(deps)
  return {
    vendor: 'digitalocean',
    control: controlOf(account),
    handle(request) {
      const nowMs = deps.clock.nowMs()
      const response = deps.store.transaction(() => refusable(() => answer(account, request, nowMs)))
      if (request.method !== 'GET' && response.status < 400) deps.onChange?.()
      return { ...response, headers: { ...response.headers, 'x-request-id': randomUUID() } }
    },
  }
}

const controlOf = (account: Account): DigitalOceanControl => {
  const now = () => ({ account, nowMs: account.deps.clock.nowMs() })
  let settledAtMs = account.deps.clock.nowMs()
  const moments = (): number[] => [
    ...account.droplets.all().flatMap(row => [row.activeAtMs, row.onSinceMs, row.offFromMs ?? 0, row.goneAtMs ?? 0]),
    ...account.firewalls.all().map(row => row.appliedAtMs),
  ]
  return {
    addToken: (token, row) => account.tokens.put(digest(token), row),
    setDropletLimit: value => account.rules.put('dropletLimit', { value }),
    failNext: type => account.rules.put(failing(type), { value: 1 }),
    powerOff(name) {
      for (const row of droplets(now()))
        if (row.name === name) account.droplets.put(String(row.id), { ...row, offFromMs: now().nowMs })
      account.deps.onChange?.()
    },
    settle() {
      const { nowMs } = now()
      const changed = moments().some(ms => ms > settledAtMs && ms <= nowMs)
      settledAtMs = nowMs
      if (changed) account.deps.onChange?.()
      return changed
    },
    nextEventAtMs() {
      const { nowMs } = now()
      const ahead = moments().filter(ms => ms > nowMs && ms < NEVER_MS)
      return ahead.length === 0 ? undefined : Math.min(...ahead)
    },
    dump: () => ({
      droplets: droplets(now()).map(row => ({ ...row, status: statusOf(row, now().nowMs) })),
      firewalls: account.firewalls.all(),
      keys: account.keys.all(),
      vpcs: account.vpcs.all().filter(vpc => !vpc.isDefault),
      tags: account.tags.all().map(tag => tag.name),
    }),
    exposure(machineId) {
      const row = account.droplets.get(machineId.slice(MACHINE_PREFIX.length))
      return row ? exposureOf(account, row, now().nowMs) : []
    },
    serversForMachines: () => droplets(now()).map(row => toMachineServer(row, now().nowMs)),
  }
}

const WORDS = { new: 'initializing', active: 'running', off: 'off' } as const

const toMachineServer = (row: DropletRow, nowMs: number): MachineServer => {
  const stock = SYSTEM_IMAGES.find(image => image.id === row.image)?.slug
  const status = row.goneAtMs === null ? WORDS[statusOf(row, nowMs)] : 'deleting'
  return {
    id: `${MACHINE_PREFIX}${row.id}`,
    name: row.name,
    status,
    ...(nowMs >= row.activeAtMs ? { ipv4: row.ipv4, ...(row.ipv6 === null ? {} : { ipv6: row.ipv6 }) } : {}),
    privateIps: [row.privateIp],
    userData: row.userData,
    sshKeys: row.publicKeys,
    // "debian-12-x64" is what the machines know as "debian-12".
    image: { ...(stock === undefined ? {} : { name: stock.replace(/-x64$/, '') }), labels: {} },
    ...(status === 'running' ? { runningSinceMs: row.onSinceMs } : {}),
  }
}
