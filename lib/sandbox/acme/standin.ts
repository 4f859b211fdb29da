/**
 * A certificate authority that speaks ACME (RFC 8555) as Let's Encrypt does, over the sandbox's DNS and its own root: signed requests with
 * nonces, orders, proof by DNS, CAA, and the limits that are reachable by accident. Only what a DNS-01 client uses.
 */

import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto'
import type { CertificateAuthority } from '../ca.ts'
import type { Collection, SandboxClock, StandIn, StandInRequest, StandInResponse, Store } from '../kit.ts'

export interface AcmeDeps {
  readonly store: Store
  readonly clock: SandboxClock
  readonly ca: Pick<CertificateAuthority, 'sign'>
  /** TXT and CAA as the authorities of the world answer, past every cache. */
  readonly ask: (name: string, type: 'TXT' | 'CAA') => readonly string[] | 'broken'
  readonly rateLimits: () => boolean
}

export interface AcmeControl {
  /** Certificates that were made, oldest first, by their names. */
  issued(): readonly { readonly atMs: number; readonly names: readonly string[] }[]
}

interface AccountRow {
  readonly id: string
  readonly jwk: Readonly<Record<string, unknown>>
}

interface OrderRow {
  readonly id: string
  readonly accountId: string
  readonly names: readonly string[]
  readonly tokens: readonly string[]
  readonly states: readonly ('pending' | 'valid' | 'invalid')[]
  readonly whys: readonly string[]
  readonly createdAtMs: number
  readonly certificate?: string
}

interface EventRow {
  readonly kind: 'issued' | 'failed'
  readonly names: readonly string[]
  readonly atMs: number
}

const IDENTITY = 'letsencrypt.org'
const DAY_MS = 86_400_000
const ORDER_LIFE_MS = 7 * DAY_MS

class Problem extends Error {
  readonly kind: string
  readonly status: number
  constructor(kind: string, detail: string, status = 400) {
    super(detail)
    this.kind = kind
    this.status = status
  }
}

const baseOf = (name: string): string => name.replace(/^\*\./, '')

export function createAcmeStandIn(deps: AcmeDeps): StandIn & { readonly control: AcmeControl } {
  const { store, clock } = deps
  const accounts: Collection<AccountRow> = store.collection('acme.accounts')
  const orders: Collection<OrderRow> = store.collection('acme.orders')
  const events: Collection<EventRow> = store.collection('acme.events')
  const nonces = new Set<string>()

  const note = (kind: EventRow['kind'], names: readonly string[]) =>
    events.put(String(store.nextId('acme.events')), { kind, names, atMs: clock.nowMs() })

  const count = (kind: EventRow['kind'], withinMs: number, fits: (row: EventRow) => boolean): number =>
    events.all().filter(row => row.kind === kind && row.atMs > clock.nowMs() - withinMs && fits(row)).length

  const checkLimits = (names: readonly string[]): void => {
    if (!deps.rateLimits()) return
    const limited = (what: string) => new Problem('rateLimited', `too many ${what}`, 429)
    if (count('issued', 7 * DAY_MS, row => row.names.join() === names.join()) >= 5)
      throw limited('certificates (5) already issued for this exact set of identifiers in the last 168h0m0s')
    const domain = (name: string) => name.split('.').slice(-2).join('.')
    if (names.some(name => count('issued', 7 * DAY_MS, row => row.names.some(each => domain(each) === domain(name))) >= 50))
      throw limited('certificates (50) already issued for this domain in the last 168h0m0s')
    if (names.some(name => count('failed', DAY_MS / 24, row => row.names.includes(name)) >= 5))
      throw limited('failed authorizations (5) for this identifier in the last 1h0m0s')
  }

  const renderOrder = (base: string, order: OrderRow) => {
    const state = order.certificate
      ? 'valid'
      : order.states.includes('invalid')
        ? 'invalid'
        : order.states.every(each => each === 'valid')
          ? 'ready'
          : 'pending'
    return {
      status: state,
      expires: new Date(order.createdAtMs + ORDER_LIFE_MS).toISOString(),
      identifiers: order.names.map(value => ({ type: 'dns', value })),
      authorizations: order.names.map((_, i) => `${base}/authz/${order.id}/${i}`),
      finalize: `${base}/finalize/${order.id}`,
      ...(order.certificate ? { certificate: `${base}/cert/${order.id}` } : {}),
    }
  }

  const renderChallenge = (base: string, order: OrderRow, i: number) => ({
    type: 'dns-01',
    url: `${base}/chall/${order.id}/${i}`,
    token: order.tokens[i],
    status: order.states[i],
    ...(order.whys[i] ? { error: { type: 'urn:ietf:params:acme:error:unauthorized', detail: order.whys[i], status: 403 } } : {}),
  })

  const validate = (order: OrderRow, i: number): OrderRow => {
    const account = accounts.get(order.accountId)
    const name = order.names[i] ?? ''
    const thumbprint = digest(JSON.stringify(members(account?.jwk ?? {})))
    const wanted = digest(`${order.tokens[i]}.${thumbprint}`)
    const found = deps.ask(`_acme-challenge.${baseOf(name)}`, 'TXT')
    const why =
      found === 'broken'
        ? `DNS problem: SERVFAIL looking up TXT for _acme-challenge.${name}`
        : !found.includes(wanted)
          ? `Incorrect TXT record found at _acme-challenge.${name}`
          : refusedByCaa(name)
    if (why) note('failed', [name])
    const set = <T>(list: readonly T[], value: T) => list.map((each, at) => (at === i ? value : each))
    const next = {
      ...order,
      states: set(order.states, why ? ('invalid' as const) : ('valid' as const)),
      whys: set(order.whys, why ?? ''),
    }
    orders.put(order.id, next)
    return next
  }

  const refusedByCaa = (name: string): string | undefined => {
    const labels = baseOf(name).split('.')
    for (const at of labels.map((_, i) => labels.slice(i).join('.'))) {
      const found = deps.ask(at, 'CAA')
      if (found === 'broken') return `DNS problem: SERVFAIL looking up CAA for ${at}`
      if (found.length === 0) continue
      const issuers = found.flatMap(text => /^\d+ issue "([^";]*)/.exec(text)?.[1]?.trim() ?? [])
      return issuers.length === 0 || issuers.includes(IDENTITY) ? undefined : `CAA record for ${at} prevents issuance`
    }
    return undefined
  }

  const route = async (request: StandInRequest, base: string): Promise<StandInResponse> => {
    const [resource = '', id = '', index = ''] = request.path.split('/').slice(1)
    if (resource === 'directory')
      return {
        status: 200,
        json: {
          newNonce: `${base}/new-nonce`,
          newAccount: `${base}/new-acct`,
          newOrder: `${base}/new-order`,
          meta: { caaIdentities: [IDENTITY], termsOfService: `${base}/terms` },
        },
      }
    if (resource === 'new-nonce') return { status: request.method === 'HEAD' ? 200 : 204 }
    const { payload, accountId, jwk } = open(request, base)
    if (resource === 'new-acct') {
      const key = JSON.stringify(members(jwk ?? {}))
      const known = accounts.all().find(each => JSON.stringify(members(each.jwk)) === key)
      const account = known ?? { id: String(store.nextId('acme.accounts')), jwk: jwk ?? {} }
      accounts.put(account.id, account)
      return { status: known ? 200 : 201, headers: { location: `${base}/acct/${account.id}` }, json: { status: 'valid' } }
    }
    if (resource === 'new-order') return newOrder(base, accountId, payload)
    const order = orders.get(id)
    if (!order || order.accountId !== accountId) throw new Problem('malformed', 'No such order', 404)
    const i = Number(index)
    switch (resource) {
      case 'order':
        return { status: 200, json: renderOrder(base, order) }
      case 'authz':
        return {
          status: 200,
          json: {
            status: order.states[i],
            identifier: { type: 'dns', value: baseOf(order.names[i] ?? '') },
            // RFC 8555, 7.1.4: a wildcard is proved for the name that it is below.
            ...(order.names[i]?.startsWith('*.') ? { wildcard: true } : {}),
            challenges: [renderChallenge(base, order, i)],
          },
        }
      case 'chall':
        return { status: 200, json: renderChallenge(base, order.states[i] === 'pending' ? validate(order, i) : order, i) }
      case 'finalize':
        return finalize(base, order, payload)
      case 'cert':
        return { status: 200, text: order.certificate ?? '', headers: { 'content-type': 'application/pem-certificate-chain' } }
      default:
        throw new Problem('malformed', 'Page not found', 404)
    }
  }

  const newOrder = (base: string, accountId: string, payload: Readonly<Record<string, unknown>>): StandInResponse => {
    const identifiers = Array.isArray(payload.identifiers) ? payload.identifiers : []
    const names = identifiers.map(each => String((each as Record<string, unknown>).value)).sort()
    if (names.length === 0) throw new Problem('malformed', 'NewOrder request did not specify any identifiers')
    checkLimits(names)
    const open = orders
      .all()
      .find(
        each =>
          each.accountId === accountId &&
          each.names.join() === names.join() &&
          each.certificate === undefined &&
          !each.states.includes('invalid') &&
          each.createdAtMs + ORDER_LIFE_MS > clock.nowMs(),
      )
    const order = open ?? {
      id: String(store.nextId('acme.orders')),
      accountId,
      names,
      tokens: names.map(() => randomBytes(32).toString('base64url')),
      states: names.map(() => 'pending' as const),
      whys: names.map(() => ''),
      createdAtMs: clock.nowMs(),
    }
    orders.put(order.id, order)
    return { status: 201, headers: { location: `${base}/order/${order.id}` }, json: renderOrder(base, order) }
  }

  const finalize = async (
    base: string,
    order: OrderRow,
    payload: Readonly<Record<string, unknown>>,
  ): Promise<StandInResponse> => {
    if (order.certificate) return { status: 200, json: renderOrder(base, order) }
    if (!order.states.every(each => each === 'valid')) throw new Problem('orderNotReady', "Order's status is not ready", 403)
    const made = await deps.ca.sign(Buffer.from(String(payload.csr), 'base64url'))
    if (made.names.join() !== order.names.join()) throw new Problem('badCSR', 'CSR names do not match the order')
    const done = { ...order, certificate: made.cert }
    orders.put(order.id, done)
    note('issued', order.names)
    return { status: 200, headers: { location: `${base}/order/${order.id}` }, json: renderOrder(base, done) }
  }

  const open = (request: StandInRequest, base: string) => {
    const body = objectIn(request.bodyText)
    const text = (value: unknown) => (typeof value === 'string' ? value : '')
    const header = objectIn(Buffer.from(text(body.protected), 'base64url').toString())
    if (!nonces.delete(text(header.nonce))) throw new Problem('badNonce', 'JWS has an invalid anti-replay nonce')
    if (header.url !== `${base}${request.path}`)
      throw new Problem('unauthorized', 'JWS header parameter "url" does not match', 401)
    const accountId = text(header.kid).split('/').at(-1) ?? ''
    const jwk = header.jwk === undefined ? accounts.get(accountId)?.jwk : (header.jwk as Record<string, unknown>)
    if (!jwk) throw new Problem('accountDoesNotExist', 'Account is not registered')
    const signed = Buffer.from(`${text(body.protected)}.${text(body.payload)}`)
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    if (!verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(text(body.signature), 'base64url')))
      throw new Problem('malformed', 'JWS verification error')
    return { payload: objectIn(Buffer.from(text(body.payload), 'base64url').toString()), accountId, jwk }
  }

  return {
    vendor: 'acme',
    async handle(request) {
      const base = `http://${request.headers.get('host')}/acme`
      const nonce = randomBytes(16).toString('base64url')
      nonces.add(nonce)
      const headers = { 'replay-nonce': nonce, 'cache-control': 'no-store' }
      try {
        const response = await route(request, base)
        return { ...response, headers: { ...headers, ...response.headers } }
      } catch (error) {
        if (!(error instanceof Problem)) throw error
        const problem = { type: `urn:ietf:params:acme:error:${error.kind}`, detail: error.message, status: error.status }
        return {
          status: error.status,
          headers: {
            ...headers,
            'content-type': 'application/problem+json',
            ...(error.status === 429 ? { 'retry-after': '3600' } : {}),
          },
          text: JSON.stringify(problem),
        }
      }
    },
    control: {
      issued: () => events.all().flatMap(({ kind, atMs, names }) => (kind === 'issued' ? [{ atMs, names }] : [])),
    },
  }
}

/** RFC 7638's order. */
const members = ({ crv, kty, x, y }: Readonly<Record<string, unknown>>) => ({ crv, kty, x, y })

const digest = (text: string): string => createHash('sha256').update(text).digest('base64url')

const objectIn = (text: string): Readonly<Record<string, unknown>> => {
  try {
    const value: unknown = JSON.parse(text === '' ? '{}' : text)
    return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : {}
  } catch {
    throw new Problem('malformed', 'Unable to parse the request body')
  }
}
