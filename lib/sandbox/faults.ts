/**
 * Faults as data: rules that hit chosen requests, and a seed that draws them. A draw depends on the seed and on what is asked for the
 * how-manieth time, not on the order in which parallel requests arrive, so that one number replays a schedule.
 */

import type { FaultEffect, FaultRule, SandboxSettings, Vendor } from './kit.ts'

export interface FaultSubject {
  readonly vendor: Vendor
  readonly method: string
  readonly path: string
}

export interface FaultSource {
  /** What happens to this request. Counts it, so ask once for each. */
  next(request: FaultSubject, settings: Pick<SandboxSettings, 'faults' | 'chaos'>): FaultEffect | undefined
  /** Forgets how often anything was asked, so that a seed draws as in a new world. */
  clear(): void
}

/** Counts belong to the rule objects: a rule that is set anew counts from one. */
export function createFaultSource(): FaultSource {
  const hits = new WeakMap<FaultRule, number>()
  const seen = new Map<string, number>()
  let counting: SandboxSettings['chaos']
  return {
    next(request, settings) {
      let effect: FaultEffect | undefined
      for (const rule of settings.faults) {
        if (!matches(rule, request)) continue
        const count = (hits.get(rule) ?? 0) + 1
        hits.set(rule, count)
        if (!rule.nth || rule.nth.includes(count)) effect ??= rule.effect
      }
      const { chaos } = settings
      // Another schedule counts from one: what was asked before it began is not part of it.
      if (chaos !== counting) seen.clear()
      counting = chaos
      if (!chaos) return effect
      const key = `${request.vendor} ${request.method} ${request.path}`
      const count = (seen.get(key) ?? 0) + 1
      seen.set(key, count)
      return effect ?? drawFault(chaos, request, count)
    },
    clear: () => seen.clear(),
  }
}

const patterns = new WeakMap<FaultRule, RegExp>()

const matches = (rule: FaultRule, request: FaultSubject): boolean => {
  if (rule.vendor && rule.vendor !== request.vendor) return false
  if (rule.method && rule.method.toUpperCase() !== request.method) return false
  if (rule.path === undefined) return true
  const pattern = patterns.get(rule) ?? new RegExp(rule.path)
  patterns.set(rule, pattern)
  return pattern.test(request.path)
}

/** What the `count`th request of its kind gets under a seed, or nothing. Pure. */
export const drawFault = (
  chaos: { readonly seed: number; readonly probability: number },
  request: FaultSubject,
  count: number,
): FaultEffect | undefined => {
  const random = mulberry32(hash(`${request.vendor} ${request.method} ${request.path} ${count}`, chaos.seed))
  if (random() >= chaos.probability) return undefined
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  const table = CHAOS[request.vendor].filter(fault => !(isRead && fault.only === 'writes'))
  return table[Math.floor(random() * table.length)]?.effect
}

/** A small generator of numbers in [0, 1) with 32 bits of state; good enough for choices, and the same everywhere. */
export const mulberry32 = (seed: number): (() => number) => {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** FNV-1a over the text, begun with the seed. */
const hash = (text: string, seed: number): number => {
  let value = (0x811c9dc5 ^ seed) >>> 0
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0
  return value
}

export interface ChaosFault {
  readonly effect: FaultEffect
  /** Some failures only ever meet what changes something. */
  readonly only?: 'writes'
}

type StatusFault = Extract<FaultEffect, { kind: 'status' }>

const HTML = { 'content-type': 'text/html; charset=utf-8' }
const gatewayPage = (status: number, reason: string, server: string): string =>
  `<html>\r\n<head><title>${status} ${reason}</title></head>\r\n<body>\r\n<center><h1>${status} ${reason}</h1></center>\r\n<hr><center>${server}</center>\r\n</body>\r\n</html>\r\n`

const gateway = (status: number, reason: string, server: string): StatusFault => ({
  kind: 'status',
  status,
  text: gatewayPage(status, reason, server),
  headers: HTML,
})

const json = (status: number, body: unknown, headers?: Readonly<Record<string, string>>): StatusFault =>
  headers ? { kind: 'status', status, json: body, headers } : { kind: 'status', status, json: body }

/** What a network does, whoever is at its end; the 502 and 504 here come from a gateway after the request took effect. */
const network = (server: string): readonly ChaosFault[] => [
  { effect: { kind: 'reset_before' } },
  { effect: { kind: 'lost_answer' } },
  { effect: { kind: 'truncate' } },
  { effect: { kind: 'slow', ms: 40 } },
  { effect: { ...gateway(502, 'Bad Gateway', server), after: true } },
  { effect: { ...gateway(504, 'Gateway Time-out', server), after: true } },
]

const hetznerError = (status: number, code: string, message: string): StatusFault =>
  json(status, { error: { code, message, details: null } })

const HETZNER_LIMITED = {
  error: { code: 'rate_limit_exceeded', message: 'limit of 3600 requests per hour reached', details: null },
}

const cloudflareError = (
  status: number,
  code: number,
  message: string,
  headers?: Readonly<Record<string, string>>,
): StatusFault => json(status, { success: false, errors: [{ code, message }], messages: [], result: null }, headers)

const THROTTLED = 'Please wait and consider throttling your request speed'

/**
 * What a seed draws from, with bodies as the vendors shape them (`facts`: Hetzner's error table; Cloudflare's envelope; DigitalOcean's
 * `{id, message}`). Waiting times are a second, not the vendors' minutes: a schedule shall be survived, not slept through.
 */
export const CHAOS = {
  hetzner: [
    { effect: json(429, HETZNER_LIMITED) },
    { effect: json(429, HETZNER_LIMITED, { 'Retry-After': '1' }) },
    { effect: hetznerError(409, 'conflict', 'resource was changed while it was being processed'), only: 'writes' },
    { effect: hetznerError(423, 'locked', 'item is locked'), only: 'writes' },
    { effect: hetznerError(500, 'server_error', 'internal server error') },
    { effect: hetznerError(503, 'unavailable', 'service unavailable') },
    { effect: hetznerError(504, 'timeout', 'request timed out') },
    { effect: gateway(502, 'Bad Gateway', 'nginx') },
    ...network('nginx'),
  ],
  cloudflare: [
    { effect: cloudflareError(429, 971, THROTTLED) },
    { effect: cloudflareError(429, 971, THROTTLED, { 'Retry-After': '1' }) },
    { effect: cloudflareError(500, 10001, 'Internal server error') },
    { effect: cloudflareError(503, 10013, 'Service unavailable') },
    { effect: gateway(502, 'Bad Gateway', 'cloudflare') },
    { effect: gateway(504, 'Gateway Time-out', 'cloudflare') },
    ...network('cloudflare'),
  ],
  digitalocean: [
    { effect: json(429, { id: 'too_many_requests', message: 'API Rate limit exceeded.' }) },
    { effect: json(429, { id: 'too_many_requests', message: 'API Rate limit exceeded.' }, { 'Retry-After': '1' }) },
    {
      effect: json(422, { id: 'unprocessable_entity', message: 'Droplet already has a pending event.' }),
      only: 'writes',
    },
    { effect: json(500, { id: 'server_error', message: 'Server was unable to give you a response.' }) },
    { effect: json(503, { id: 'service_unavailable', message: 'Service unavailable.' }) },
    { effect: gateway(502, 'Bad Gateway', 'nginx') },
    ...network('nginx'),
  ],
  dokploy: [
    { effect: json(500, { message: 'Internal server error', code: 'INTERNAL_SERVER_ERROR' }) },
    { effect: gateway(502, 'Bad Gateway', 'traefik') },
    ...network('traefik'),
  ],
  github: [
    { effect: json(403, { message: 'You have exceeded a secondary rate limit.' }, { 'Retry-After': '1' }) },
    { effect: json(500, { message: 'Server Error' }) },
    { effect: gateway(502, 'Bad Gateway', 'GitHub.com') },
    ...network('GitHub.com'),
  ],
  vercel: [
    { effect: json(429, { error: { code: 'rate_limited', message: 'Too many requests' } }, { 'Retry-After': '1' }) },
    { effect: json(500, { error: { code: 'internal_server_error', message: 'An unexpected error occurred.' } }) },
    { effect: gateway(502, 'Bad Gateway', 'Vercel') },
    ...network('Vercel'),
  ],
  acme: [
    { effect: json(500, { type: 'urn:ietf:params:acme:error:serverInternal', detail: 'Internal error', status: 500 }) },
    { effect: gateway(503, 'Service Unavailable', 'cdn') },
    ...network('cdn'),
  ],
} satisfies Record<Vendor, readonly ChaosFault[]> as Record<Vendor, readonly ChaosFault[]>
