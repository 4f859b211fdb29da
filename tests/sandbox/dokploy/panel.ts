/** One stand-in panel with a clock that is set by hand, and a client that sends exactly what it is told. */

import { createDokployStandIn } from '../../../lib/sandbox/dokploy/standin.ts'
import type { StandInResponse, Store } from '../../../lib/sandbox/kit.ts'
import { openStore } from '../../../lib/sandbox/store.ts'

export const ADMIN = { email: 'admin@example.com', password: 'correct horse', name: 'Admin' }
export const JSON_TYPE = { 'content-type': 'application/json' }

export interface Sent {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export const createPanel = (store: Store = openStore(':memory:')) => {
  let nowMs = Date.parse('2026-11-20T12:00:00Z')
  const sent: Sent[] = []
  const standIn = createDokployStandIn({
    store,
    clock: { nowMs: () => nowMs },
    serverId: '42',
    version: 'v0.30.2',
    publicIp: () => '203.0.113.10',
  })

  const call = async (method: string, path: string, extra: Omit<Sent, 'method' | 'path'> = {}): Promise<StandInResponse> => {
    sent.push({ method, path, ...extra })
    const url = new URL(path, 'http://panel.example.com')
    return standIn.handle({
      method,
      path: url.pathname,
      query: url.searchParams,
      headers: new Headers(extra.headers ?? {}),
      bodyText: extra.body === undefined ? '' : typeof extra.body === 'string' ? extra.body : JSON.stringify(extra.body),
      atMs: nowMs,
    })
  }
  const post = (path: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
    call('POST', path, { body, headers: { ...JSON_TYPE, ...headers } })

  /** The Cookie header of a fresh first admin. */
  const signUp = async (): Promise<string> => {
    const answer = await post('/api/auth/sign-up/email', ADMIN)
    return (answer.headers?.['set-cookie'] ?? '').split(';')[0] ?? ''
  }

  /** A first admin and a key of theirs; `limit` is what the call says about limits. */
  const claim = async (limit: { rateLimitEnabled?: boolean } = { rateLimitEnabled: false }): Promise<{ 'x-api-key': string }> => {
    const cookie = await signUp()
    const me = (await call('GET', '/api/user.get', { headers: { cookie } })).json as { organizationId: string }
    const made = await post(
      '/api/user.createApiKey',
      { name: 'landfall', ...limit, metadata: { organizationId: me.organizationId } },
      { cookie },
    )
    return { 'x-api-key': (made.json as { key: string }).key }
  }

  return {
    call,
    post,
    signUp,
    claim,
    sent,
    control: standIn.control,
    advance: (ms: number) => {
      nowMs += ms
    },
  }
}
