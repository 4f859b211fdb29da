/** A Dokploy panel in one function: the few routes that the adapter uses, with the traps that the real one has. */

import { createMeter, type Meter } from '../../../../lib/engine/meter.ts'
import type { ProviderContext } from '../../../../lib/providers/context.ts'
import type { FetchLike } from '../../../../lib/providers/dokploy/client.ts'

export interface PanelRequest {
  readonly method: string
  readonly path: string
  readonly body: string
  readonly headers: Headers
}

/** `before`: no effect and no answer. `after`: the effect, and no answer. */
export type PanelFault = 'before' | 'after' | Response | undefined

export interface FakePanel {
  readonly fetch: FetchLike
  readonly requests: PanelRequest[]
  admin: { email: string; password: string } | undefined
  readonly keys: Map<string, { id: string; name: string; key: string; rateLimited: boolean }>
  settings: {
    host: string | null
    https: boolean
    certificateType: string
    letsEncryptEmail: string | null
    serverIp: string | null
    sshPrivateKey: string
  }
  /** The e-mail that the running Traefik knows; what it had when it first saw an HTTPS route. */
  readonly traefik: { email: string; orderedWith: string[] }
  database: 'up' | 'down'
  /** False: the main file has no `letsencrypt` resolver. */
  resolver: boolean
  fault: (request: PanelRequest, n: number) => PanelFault
}

const text = (status: number, message: string, code?: string) =>
  Response.json({ message, ...(code === undefined ? {} : { code }) }, { status })

export function createFakePanel(): FakePanel {
  let sequence = 1
  let fileEmail = 'test@localhost.com'
  const session = 'better-auth.session_token'

  const signedIn = (): Response =>
    new Response(JSON.stringify({ token: 't', user: {} }), {
      headers: { 'set-cookie': `${session}=abc; Path=/; HttpOnly`, 'content-type': 'application/json' },
    })

  const answer = (request: PanelRequest): Response => {
    const { method, path } = request
    const input = request.body === '' ? {} : JSON.parse(request.body)
    if (path === '/')
      return panel.admin === undefined
        ? new Response('', { status: 307, headers: { location: '/register' } })
        : new Response('<html>')
    if (path === '/api/trpc/settings.health')
      return panel.database === 'up'
        ? Response.json({ result: { data: { json: { status: 'ok' } } } })
        : text(500, 'connection refused')
    if (method === 'POST' && request.headers.get('content-type') !== 'application/json')
      return text(415, 'Unsupported Media Type')
    if (path.startsWith('/api/auth/') && request.headers.has('cookie'))
      return text(403, 'Missing or null Origin', 'MISSING_OR_NULL_ORIGIN')
    if (path === '/api/auth/sign-up/email') {
      if (input.password.length < 8) return text(400, 'Password too short', 'PASSWORD_TOO_SHORT')
      if (panel.admin !== undefined) return text(400, 'Admin is already created')
      panel.admin = { email: input.email, password: input.password }
      return signedIn()
    }
    if (path === '/api/auth/sign-in/email')
      return panel.admin?.email === input.email && panel.admin?.password === input.password
        ? signedIn()
        : text(401, 'Invalid email or password', 'INVALID_EMAIL_OR_PASSWORD')

    const key = [...panel.keys.values()].find(each => each.key === request.headers.get('x-api-key'))
    if (key === undefined && request.headers.get('cookie') !== `${session}=abc`) return text(401, 'Unauthorized')
    switch (path) {
      case '/api/user.get': {
        const apiKeys = [...panel.keys.values()].map(({ id, name }) => ({ id, name, enabled: true }))
        return Response.json({ organizationId: 'org1', role: 'owner', user: { id: 'u1', apiKeys } })
      }
      case '/api/user.createApiKey': {
        if (input.metadata?.organizationId !== 'org1' || input.name.length > 32) return text(400, 'Input validation failed')
        const id = `key${sequence++}`
        panel.keys.set(id, { id, name: input.name, key: `${id}-secret-value`, rateLimited: input.rateLimitEnabled !== false })
        return Response.json({ id, key: `${id}-secret-value` })
      }
      case '/api/user.deleteApiKey':
        panel.keys.delete(input.apiKeyId)
        return new Response('')
      case '/api/settings.getDokployVersion':
        return Response.json('v0.30.2')
      case '/api/settings.getWebServerSettings':
        return Response.json(panel.settings)
      case '/api/settings.updateServerIp':
        panel.settings = { ...panel.settings, serverIp: input.serverIp }
        return new Response('')
      case '/api/settings.assignDomainServer':
        panel.settings = { ...panel.settings, ...input }
        if (input.https === true) panel.traefik.orderedWith.push(panel.traefik.email)
        if (!panel.resolver) return text(500, "Invalid Let's Encrypt configuration structure.")
        fileEmail = input.letsEncryptEmail ?? fileEmail
        return Response.json(panel.settings)
      case '/api/settings.reloadTraefik':
        panel.traefik.email = fileEmail
        return Response.json(true)
      case '/api/settings.checkInfrastructureHealth':
        return Response.json({ postgres: { status: 'healthy' }, traefik: { status: 'healthy' } })
      default:
        return text(404, 'Not found', 'NOT_FOUND')
    }
  }

  const panel: FakePanel = {
    async fetch(url, init) {
      const request: PanelRequest = {
        method: init.method ?? 'GET',
        path: new URL(url).pathname,
        body: typeof init.body === 'string' ? init.body : '',
        headers: new Headers(init.headers),
      }
      panel.requests.push(request)
      const fault = panel.fault(request, panel.requests.length)
      if (fault instanceof Response) return fault
      const lost = Object.assign(new Error('The socket connection was closed unexpectedly.'), { code: 'ECONNRESET' })
      if (fault === 'before') throw lost
      const made = answer(request)
      if (fault === 'after') throw lost
      return made
    },
    requests: [],
    admin: undefined,
    keys: new Map(),
    settings: {
      host: null,
      https: false,
      certificateType: 'none',
      letsEncryptEmail: null,
      serverIp: null,
      sshPrivateKey: 'PRIVATE',
    },
    traefik: { email: 'test@localhost.com', orderedWith: [] },
    database: 'up',
    resolver: true,
    fault: () => undefined,
  }
  return panel
}

export interface TestContext extends ProviderContext {
  readonly meter: Meter
  readonly lines: string[]
  readonly waitsMs: number[]
  readonly controller: AbortController
}

/** A context whose clock jumps instead of waiting. */
export function createTestContext(): TestContext {
  const lines: string[] = []
  const waitsMs: number[] = []
  const controller = new AbortController()
  let nowMs = 1_000_000
  return {
    clock: {
      nowMs: () => nowMs,
      monotonicMs: () => nowMs,
      sleep: async ms => {
        waitsMs.push(ms)
        nowMs += ms
      },
    },
    meter: createMeter(),
    signal: controller.signal,
    random: () => 0.5,
    log: line => void lines.push(line),
    beforeWrite: async () => undefined,
    lines,
    waitsMs,
    controller,
  }
}
