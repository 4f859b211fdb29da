/** Cloudflare's envelope, its errors, and how rows are shown. Codes: `facts`, Cloudflare section; public reports where named. */

import type { StandInResponse } from '../kit.ts'
import type { RecordRow, Right, ZoneRow } from './rows.ts'

export interface ApiError {
  readonly code: number
  readonly message: string
  readonly error_chain?: readonly { readonly code: number; readonly message: string }[]
}

/** A refusal on its way out of a handler. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly status: number
  readonly errors: readonly ApiError[]

  constructor(status: number, ...errors: readonly ApiError[]) {
    super(errors.map(error => `${error.code} ${error.message}`).join(', '))
    this.status = status
    this.errors = errors
  }
}

export const ok = (result: unknown, more: Readonly<Record<string, unknown>> = {}): StandInResponse => ({
  status: 200,
  json: { result, success: true, errors: [], messages: [], ...more },
})

export const fail = (refusal: Refusal): StandInResponse => ({
  status: refusal.status,
  json: { result: null, success: false, errors: refusal.errors, messages: [] },
})

export const REFUSALS = {
  noCredentials: () => new Refusal(400, { code: 9106, message: 'Missing X-Auth-Key, X-Auth-Email or Authorization headers' }),
  malformedToken: () =>
    new Refusal(400, {
      code: 6003,
      message: 'Invalid request headers',
      error_chain: [{ code: 6111, message: 'Invalid format for Authorization header' }],
    }),
  /** What `/user/tokens/verify` says of a token that does not exist. */
  unknownToken: () => new Refusal(401, { code: 1000, message: 'Invalid API Token' }),
  invalidToken: () => new Refusal(403, { code: 9109, message: 'Invalid access token' }),
  zoneForbidden: () => new Refusal(403, { code: 9109, message: 'Unauthorized to access requested resource' }),
  forbidden: () => new Refusal(403, { code: 10000, message: 'Authentication error' }),
  noRoute: (path: string) =>
    new Refusal(
      400,
      { code: 7003, message: `Could not route to ${path}, perhaps your object identifier is invalid?` },
      { code: 7000, message: 'No route for that URI' },
    ),
  methodNotAllowed: (method: string) =>
    new Refusal(405, { code: 10000, message: `${method} method not allowed for the api_token authentication scheme` }),
  badJson: () => new Refusal(400, { code: 9207, message: 'Request body is invalid.' }),
  /** Public report: 429 with this code and sentence. */
  throttled: () => new Refusal(429, { code: 971, message: 'Please wait and consider throttling your request speed' }),
  invalid: (code: number, message: string) => new Refusal(400, { code, message }),
  /** Tag refusals were seen wrapped (9300 inside 1004); clients must look into both places. */
  wrapped: (code: number, message: string) =>
    new Refusal(400, { code: 1004, message: 'DNS Validation Error', error_chain: [{ code, message }] }),
  noRecord: () => new Refusal(404, { code: 81044, message: 'Record does not exist.' }),
  cnameOverOthers: () => new Refusal(400, { code: 81053, message: 'An A, AAAA, or CNAME record with that host already exists.' }),
  /** Public report (favonia/cloudflare-ddns #990): an address beside a CNAME has its own code. */
  addressOverCname: () => new Refusal(400, { code: 81054, message: 'A CNAME record with that host already exists.' }),
  besideNs: () => new Refusal(400, { code: 81056, message: 'NS records with that host already exist.' }),
  exists: () => new Refusal(400, { code: 81057, message: 'The record already exists.' }),
  identical: () => new Refusal(400, { code: 81058, message: 'An identical record already exists.' }),
  quota: () => new Refusal(400, { code: 81045, message: 'Record quota exceeded.' }),
  /** The limits are documented, the error is not: the code is ours. */
  batchTooLong: (limit: number) =>
    new Refusal(400, { code: 81048, message: `A batch may hold at most ${limit} record changes on this plan.` }),
} satisfies Record<string, (...values: never[]) => Refusal>

/** Cloudflare's microseconds. */
const instant = (ms: number): string => new Date(ms).toISOString().replace('Z', '000Z')

const PROXIABLE = new Set(['A', 'AAAA', 'CNAME'])

export const isProxiable = (type: string): boolean => PROXIABLE.has(type)

export const renderRecord = (record: RecordRow) => ({
  id: record.id,
  name: record.name,
  type: record.type,
  content: record.content,
  ...(record.priority === undefined ? {} : { priority: record.priority }),
  proxiable: isProxiable(record.type),
  proxied: record.proxied,
  ttl: record.ttl,
  settings: record.settings,
  meta: {},
  ...(record.data ? { data: record.data } : {}),
  comment: record.comment,
  tags: record.tags,
  created_on: instant(record.createdAtMs),
  modified_on: instant(record.modifiedAtMs),
  ...(record.commentModifiedAtMs === null ? {} : { comment_modified_on: instant(record.commentModifiedAtMs) }),
})

const PLANS = {
  free: { name: 'Free Website', price: 0 },
  pro: { name: 'Pro Website', price: 20 },
  business: { name: 'Business Website', price: 200 },
  enterprise: { name: 'Enterprise Website', price: 0 },
} satisfies Record<ZoneRow['plan'], { name: string; price: number }>

export const ACCOUNT_ID = '9a7806061c88ada191ed06f989cc3dac'

export const renderZone = (zone: ZoneRow, right: Right) => ({
  id: zone.id,
  name: zone.name,
  status: zone.status === 'paused' ? 'active' : zone.status,
  paused: zone.status === 'paused',
  type: 'full',
  development_mode: 0,
  name_servers: zone.nameservers,
  original_name_servers: zone.originalNameservers,
  original_registrar: null,
  original_dnshost: null,
  created_on: instant(zone.createdAtMs),
  modified_on: instant(zone.modifiedAtMs),
  activated_on: zone.status === 'pending' ? null : instant(zone.createdAtMs),
  meta: { step: 2, custom_certificate_quota: 0, page_rule_quota: 3, phishing_detected: false },
  owner: { id: null, type: 'user', email: null },
  account: { id: ACCOUNT_ID, name: 'Sandbox account' },
  tenant: { id: null, name: null },
  tenant_unit: { id: null },
  permissions: right === 'edit' ? ['#dns_records:edit', '#dns_records:read', '#zone:read'] : ['#dns_records:read', '#zone:read'],
  plan: {
    id: '0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee',
    ...PLANS[zone.plan],
    currency: 'USD',
    frequency: '',
    is_subscribed: false,
    can_subscribe: false,
    legacy_id: zone.plan,
    legacy_discount: false,
    externally_managed: false,
  },
})

export interface Paging {
  readonly page: number
  readonly perPage: number
}

/** One page of `rows` with its `result_info`; a page behind the last is empty, and no error. */
export const pageAnswer = <T>(rows: readonly T[], { page, perPage }: Paging, render: (row: T) => unknown): StandInResponse => {
  const shown = rows.slice((page - 1) * perPage, page * perPage)
  return ok(shown.map(render), {
    result_info: {
      page,
      per_page: perPage,
      count: shown.length,
      total_count: rows.length,
      total_pages: Math.ceil(rows.length / perPage),
    },
  })
}
