/** The adapter for applications, joined to a stand-in panel in memory, with a clock that a test moves. */

import type { Clock } from '../../../lib/engine/clock.ts'
import { createMeter } from '../../../lib/engine/meter.ts'
import { createDokployApps } from '../../../lib/providers/dokploy/apps.ts'
import type { DokployContext } from '../../../lib/providers/dokploy/client.ts'
import type { DokployApps } from '../../../lib/providers/ports/dokploy-apps.ts'
import { createDokployStandIn, type DokployControl } from '../../../lib/sandbox/dokploy/standin.ts'
import type { StandInResponse } from '../../../lib/sandbox/kit.ts'
import { openStore } from '../../../lib/sandbox/store.ts'
import { Secret } from '../../../lib/secret.ts'

export interface Call {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly body: unknown
}

export interface Rig {
  readonly api: DokployApps
  readonly control: DokployControl
  readonly clock: Clock
  readonly calls: Call[]
  /** Loses the answer to the next call whose path contains this; the call takes effect. */
  loseAnswer(path: string): void
  /** Asks the stand-in as it is, past the adapter. */
  raw(method: 'GET' | 'POST', path: string, body?: unknown): Promise<{ status: number; json: unknown }>
  /** A push from outside, without a key. */
  push(path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<number>
  sleep(ms: number): void
}

export interface RigOptions {
  /** One that moves by itself; else the test moves it. */
  readonly clock?: Clock
  /** Sees each call of the adapter, and may answer in the stand-in's place. */
  readonly intercept?: (call: Call, ask: () => Promise<StandInResponse>, raw: Rig['raw']) => Promise<StandInResponse>
}

export async function openRig(options: RigOptions = {}): Promise<Rig> {
  let nowMs = Date.parse('2026-11-20T12:00:00Z')
  const clock: Clock = options.clock ?? {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    async sleep(ms: number) {
      nowMs += ms
    },
  }
  const standIn = createDokployStandIn({ store: openStore(':memory:'), clock, serverId: '1', version: 'v0.30.2' })
  const json = { 'content-type': 'application/json' }
  const ask = async (method: string, path: string, body: unknown, headers: Readonly<Record<string, string>>) => {
    const url = new URL(path, 'http://panel.invalid')
    const bodyText = body === undefined ? '' : JSON.stringify(body)
    return standIn.handle({
      method,
      path: url.pathname,
      query: url.searchParams,
      headers: new Headers(headers),
      bodyText,
      atMs: clock.nowMs(),
    })
  }
  const signedUp = await ask(
    'POST',
    '/api/auth/sign-up/email',
    { email: 'a@example.com', password: 'correct horse', name: 'A' },
    json,
  )
  const cookie = (signedUp.headers?.['set-cookie'] ?? '').split(';')[0] ?? ''
  const me = (await ask('GET', '/api/user.get', undefined, { cookie })).json as { organizationId: string }
  const made = await ask(
    'POST',
    '/api/user.createApiKey',
    { name: 'k', rateLimitEnabled: false, metadata: me },
    { ...json, cookie },
  )
  const key = (made.json as { key: string }).key

  const raw: Rig['raw'] = async (method, path, body) => {
    const answer = await ask(method, path, body, { ...json, 'x-api-key': key })
    return { status: answer.status, json: answer.json }
  }
  const calls: Call[] = []
  let lost: string | undefined
  const context: DokployContext = {
    clock,
    meter: createMeter(),
    signal: new AbortController().signal,
    random: () => 0,
    log: () => undefined,
    beforeWrite: async () => undefined,
  }
  const api = createDokployApps({
    baseUrl: 'http://127.0.0.1:3000',
    apiKey: new Secret('key', key),
    context,
    pollMs: 50,
    fetch: async (address, init) => {
      const url = new URL(address)
      const bodyText = typeof init.body === 'string' ? init.body : ''
      const body: unknown = bodyText === '' ? undefined : JSON.parse(bodyText)
      const call = { method: init.method ?? 'GET', path: url.pathname, query: url.searchParams, body }
      calls.push(call)
      const request = {
        method: call.method,
        path: call.path,
        query: call.query,
        headers: new Headers(init.headers),
        bodyText,
        atMs: clock.nowMs(),
      }
      const pass = async () => standIn.handle(request)
      const answer = await (options.intercept?.(call, pass, raw) ?? pass())
      if (lost !== undefined && url.pathname.includes(lost)) {
        lost = undefined
        throw Object.assign(new Error('closed'), { code: 'ECONNRESET' })
      }
      const text = answer.json === undefined ? (answer.text ?? '') : JSON.stringify(answer.json)
      return new Response(text === '' ? null : text, { status: answer.status, headers: { ...answer.headers } })
    },
  })
  return {
    api,
    control: standIn.control,
    clock,
    calls,
    loseAnswer: path => {
      lost = path
    },
    raw,
    push: async (path, body, headers = {}) => (await ask('POST', path, body, { ...json, ...headers })).status,
    sleep: ms => {
      nowMs += ms
    },
  }
}

/** A project with one application from an image. */
export async function withApplication(rig: Rig, image = 'ghcr.io/acme/web:1') {
  const { projectId, environmentId } = await rig.api.createProject({ name: 'shop', description: 'landfall estate=e run=1' })
  const ref = await rig.api.createService({
    kind: 'application',
    environmentId,
    name: 'web',
    description: 'landfall estate=e app=web run=1',
  })
  await rig.api.setSource(ref.id, { kind: 'image', image })
  return { projectId, environmentId, ref }
}
