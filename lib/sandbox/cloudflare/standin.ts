/**
 * A stand-in for Cloudflare's API as far as DNS goes: tokens with rights, zones, records, batches, and the limit on requests. It is as
 * strict as the real one where that is known; where only the existence of a refusal is known, its code is marked as ours.
 */

import { createHash } from 'node:crypto'
import type { StandIn, StandInRequest, StandInResponse } from '../kit.ts'
import { fail, ok, pageAnswer, REFUSALS, Refusal, renderRecord, renderZone } from './answers.ts'
import { parsePaging } from './filters.ts'
import { createLimiter } from './limiter.ts'
import { changeBatch, createRecord, deleteRecord, listRecords, patchRecord, putRecord, readRecord } from './records.ts'
import {
  type Account,
  type CloudflareDeps,
  newId,
  openAccount,
  type Plan,
  type RecordRow,
  type Right,
  recordsOf,
  type TokenRow,
  type TokenStatus,
  type ZoneRow,
  type ZoneStatus,
} from './rows.ts'
import { type Input, limitsOf, parseRecord } from './validate.ts'

export type { CloudflareDeps, Plan, RecordRow, Right, TokenRow, TokenStatus, ZoneRow, ZoneStatus } from './rows.ts'

export interface NewToken {
  readonly value: string
  readonly status?: TokenStatus
  /** By zone name. */
  readonly rights?: Readonly<Record<string, Right>>
  /** For every zone that `rights` does not name; `edit` when absent, `none` when `rights` is given. */
  readonly rest?: Right
  /** Tokens of one user share one rate limit. */
  readonly user?: string
}

export interface NewZone {
  readonly name: string
  readonly status?: ZoneStatus
  readonly plan?: Plan
  readonly nameservers?: readonly string[]
  /** Where a zone that is not active is delegated instead; empty: nowhere. */
  readonly originalNameservers?: readonly string[]
  /** As in a create request; not counted against the plan's quota, as with a zone that is older than it. */
  readonly records?: readonly Readonly<Record<string, unknown>>[]
}

export interface CloudflareControl {
  addToken(token: NewToken): TokenRow
  setToken(value: string, change: Partial<Pick<TokenRow, 'status' | 'rights' | 'rest'>>): void
  addZone(zone: NewZone): ZoneRow
  setZone(name: string, change: Partial<Pick<ZoneRow, 'status' | 'plan' | 'nameservers' | 'originalNameservers'>>): void
  zones(): readonly ZoneRow[]
  /** The records of a zone by its name; empty for one that does not exist. */
  records(zoneName: string): readonly RecordRow[]
  /** A change by somebody else, past tokens, limits and log. @throws when the rules forbid it */
  addRecord(zoneName: string, input: Readonly<Record<string, unknown>>): void
  /** Zones with their records as the API shows them; no tokens. */
  dump(): unknown
}

export const NAMESERVERS = ['ns1.ns.example-dns.net', 'ns2.ns.example-dns.net'] as const
/** Where zones are delegated that have not arrived yet. */
export const OTHER_NAMESERVERS = ['a.registrar-dns.example', 'b.registrar-dns.example'] as const

const HEX_ID = /^[0-9a-f]{32}$/

export function createCloudflareStandIn(deps: CloudflareDeps): StandIn & { readonly control: CloudflareControl } {
  const account = openAccount(deps)
  const limiter = createLimiter()
  let rays = 0

  return {
    vendor: 'cloudflare',
    handle(request) {
      rays += 1
      const common = { 'cf-ray': `${(0x8000_0000_0000 + rays).toString(16).padStart(16, '0')}-FRA`, server: 'cloudflare' }
      try {
        const bearer = bearerOf(request)
        const token = account.tokens.get(digest(bearer))
        // Whoever is not known is counted too, by what they send.
        const user = token?.user ?? `unknown ${bearer}`
        const limit = deps.settings().rateLimits ? limiter.count(user, deps.clock.nowMs()) : undefined
        const headers = { ...common, ...limit?.headers }
        if (limit?.blocked) return { ...fail(REFUSALS.throttled()), headers }
        return { ...guarded(() => route(account, token, request)), headers }
      } catch (error) {
        if (error instanceof Refusal) return { ...fail(error), headers: common }
        throw error
      }
    },
    control: createControl(account),
  }
}

const guarded = (work: () => StandInResponse): StandInResponse => {
  try {
    return work()
  } catch (error) {
    if (error instanceof Refusal) return fail(error)
    throw error
  }
}

// The store keeps digests, so that no file of the sandbox holds a token, be it a real one used by mistake.
const digest = (token: string): string => createHash('sha256').update(token).digest('hex')

const bearerOf = (request: StandInRequest): string => {
  const header = request.headers.get('authorization')
  if (header === null) throw REFUSALS.noCredentials()
  const match = /^Bearer ([\x21-\x7e]{20,})$/.exec(header)
  if (!match?.[1]) throw REFUSALS.malformedToken()
  return match[1]
}

const route = (account: Account, token: TokenRow | undefined, request: StandInRequest): StandInResponse => {
  const [first, zoneId, ...rest] = request.path.split('/').slice(1)
  if (first === 'user' && request.path === '/user/tokens/verify') return verify(token, request)
  if (token?.status !== 'active') throw REFUSALS.invalidToken()
  if (first !== 'zones') throw REFUSALS.noRoute(request.path)
  if (zoneId === undefined || zoneId === '') return listZones(account, token, request)
  if (!HEX_ID.test(zoneId)) throw REFUSALS.noRoute(request.path)
  const zone = account.zones.get(zoneId)
  const right = zone ? rightOn(token, zone) : 'none'
  if (rest.length === 0) {
    if (request.method !== 'GET') throw REFUSALS.methodNotAllowed(request.method)
    if (!zone || right === 'none') throw REFUSALS.zoneForbidden()
    return ok(renderZone(zone, right))
  }
  if (rest[0] !== 'dns_records' || rest.length > 2) throw REFUSALS.noRoute(request.path)
  if (!zone || right === 'none') throw REFUSALS.forbidden()
  // Rights come before everything else: a request that could have no effect still tells them.
  if (request.method !== 'GET' && right !== 'edit') throw REFUSALS.forbidden()
  return routeRecords(account, zone, request, rest[1])
}

const routeRecords = (account: Account, zone: ZoneRow, request: StandInRequest, id: string | undefined): StandInResponse => {
  const { method } = request
  if (id === undefined || id === '') {
    if (method === 'GET') return listRecords(account, zone, request.query)
    if (method === 'POST') return createRecord(account, zone, bodyOf(request))
    throw REFUSALS.methodNotAllowed(method)
  }
  if (id === 'batch') {
    if (method === 'POST') return changeBatch(account, zone, bodyOf(request))
    throw REFUSALS.methodNotAllowed(method)
  }
  if (!HEX_ID.test(id)) throw REFUSALS.noRoute(request.path)
  switch (method) {
    case 'GET':
      return readRecord(account, zone, id)
    case 'PATCH':
      return patchRecord(account, zone, id, bodyOf(request))
    case 'PUT':
      return putRecord(account, zone, id, bodyOf(request))
    case 'DELETE':
      return deleteRecord(account, zone, id)
    default:
      throw REFUSALS.methodNotAllowed(method)
  }
}

const verify = (token: TokenRow | undefined, request: StandInRequest): StandInResponse => {
  if (request.method !== 'GET') throw REFUSALS.methodNotAllowed(request.method)
  if (!token) throw REFUSALS.unknownToken()
  return {
    status: 200,
    json: {
      result: { id: token.id, status: token.status },
      success: true,
      errors: [],
      messages: [{ code: 10000, message: `This API Token is valid and ${token.status}`, type: null }],
    },
  }
}

const ZONE_COMPARE = {
  equal: (name, wanted) => name === wanted,
  not_equal: (name, wanted) => name !== wanted,
  starts_with: (name, wanted) => name.startsWith(wanted),
  ends_with: (name, wanted) => name.endsWith(wanted),
  contains: (name, wanted) => name.includes(wanted),
} satisfies Record<string, (name: string, wanted: string) => boolean>

const listZones = (account: Account, token: TokenRow, request: StandInRequest): StandInResponse => {
  if (request.method !== 'GET') throw REFUSALS.methodNotAllowed(request.method)
  const wanted = request.query.get('name')?.toLowerCase()
  const status = request.query.get('status')
  const [how, value] = wanted?.includes(':')
    ? [wanted.slice(0, wanted.indexOf(':')), wanted.slice(wanted.indexOf(':') + 1)]
    : ['equal', wanted]
  const compare: (name: string, wanted: string) => boolean =
    how in ZONE_COMPARE ? ZONE_COMPARE[how as keyof typeof ZONE_COMPARE] : ZONE_COMPARE.equal
  const zones = account.zones
    .all()
    .filter(zone => rightOn(token, zone) !== 'none')
    .filter(zone => value === undefined || compare(zone.name, value))
    .filter(zone => status === null || renderZone(zone, 'read').status === status)
  return pageAnswer(zones, parsePaging(request.query, 20, 50), zone => renderZone(zone, rightOn(token, zone)))
}

const rightOn = (token: TokenRow, zone: ZoneRow): Right => token.rights[zone.name] ?? token.rest

const bodyOf = (request: StandInRequest): Input => {
  let body: unknown
  try {
    body = JSON.parse(request.bodyText)
  } catch {
    throw REFUSALS.badJson()
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw REFUSALS.badJson()
  return body as Input
}

const createControl = (account: Account): CloudflareControl => {
  const { store, clock } = account.deps
  const zoneNamed = (name: string): ZoneRow | undefined => account.zones.all().find(zone => zone.name === name)
  const theZone = (name: string): ZoneRow => {
    const zone = zoneNamed(name)
    if (!zone) throw new Error(`The sandbox has no zone ${name}.`)
    return zone
  }
  const control: CloudflareControl = {
    addToken({ value, status = 'active', rights = {}, rest, user = 'operator' }) {
      const row: TokenRow = {
        id: newId(account, 'token'),
        user,
        status,
        rights,
        rest: rest ?? (Object.keys(rights).length > 0 ? 'none' : 'edit'),
      }
      account.tokens.put(digest(value), row)
      return row
    },
    setToken(value, change) {
      const token = account.tokens.get(digest(value))
      if (!token) throw new Error('The sandbox has no such Cloudflare token.')
      account.tokens.put(digest(value), { ...token, ...change })
    },
    addZone(zone) {
      const { name, status = 'active', plan = 'free', records = [] } = zone
      if (zoneNamed(name)) throw new Error(`The sandbox has a zone ${name} already.`)
      const nowMs = clock.nowMs()
      const row: ZoneRow = {
        id: newId(account, 'zone'),
        name,
        status,
        plan,
        nameservers: zone.nameservers ?? NAMESERVERS,
        originalNameservers: zone.originalNameservers ?? (status === 'active' ? [] : OTHER_NAMESERVERS),
        recordQuota: Math.max(limitsOf(plan).records, records.length * 2),
        createdAtMs: nowMs,
        modifiedAtMs: nowMs,
        serial: 2_400_000_000,
      }
      store.transaction(() => {
        account.zones.put(row.id, row)
        for (const input of records) putUnchecked(account, row, input)
      })
      account.deps.onChange?.()
      return row
    },
    setZone(name, change) {
      const zone = theZone(name)
      account.zones.put(zone.id, { ...zone, ...change, modifiedAtMs: clock.nowMs(), serial: zone.serial + 1 })
      account.deps.onChange?.()
    },
    zones: () => account.zones.all(),
    records: name => {
      const zone = zoneNamed(name)
      return zone ? recordsOf(account, zone.id) : []
    },
    addRecord(name, input) {
      createRecord(account, theZone(name), input)
    },
    dump: () =>
      account.zones.all().map(zone => ({
        ...renderZone(zone, 'edit'),
        records: recordsOf(account, zone.id).map(renderRecord),
      })),
  }
  return control
}

/** A record that is simply there: its fields are read as the API reads them, what stands beside it is not asked. */
const putUnchecked = (account: Account, zone: ZoneRow, input: Input): void => {
  const nowMs = account.deps.clock.nowMs()
  const fields = parseRecord(zone, input)
  const id = newId(account, 'record')
  const commentModifiedAtMs = fields.comment === null ? null : nowMs
  account.records.put(id, { ...fields, id, zoneId: zone.id, createdAtMs: nowMs, modifiedAtMs: nowMs, commentModifiedAtMs })
}
