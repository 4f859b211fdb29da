/**
 * A stand-in for one Dokploy v0.30.2 panel in production mode, with the rules that a client trips over: who may call what with which
 * header, what an error looks like, what is limited, and what takes effect only after a Traefik reload. One instance per machine;
 * whether it is running at all is the machine's business.
 */

import type { SandboxClock, StandIn, StandInRequest, StandInResponse, Store } from '../kit.ts'
import { type AppsControl, appRoutes, createAppsControl, createPlatform } from './apps/apps.ts'
import { clearPlatform } from './apps/rows.ts'
import { answerWebhook } from './apps/webhook.ts'
import { answerAuth, callerOfCookie, isJson, parseJson, signUp } from './auth.ts'
import { certificateRoutes, givenCertificateFor } from './certificate-routes.ts'
import type { Caller, Context, Route, Routes } from './router.ts'
import { readSettings, readTraefik, settingsRoutes, writeDynamic } from './settings-routes.ts'
import { clearState, ONLY, openState, type SettingsRow, type TraefikRow } from './state.ts'
import { userRoutes, verifyApiKey } from './user-routes.ts'
import { html, redirect, refuse, restAnswer, trpcAnswer } from './wire.ts'

const BODY_LIMIT_BYTES = 1_048_576

export interface DokployControl {
  /** What lives in it: images, commits, containers. */
  readonly apps: AppsControl
  /** Traefik's files, as the proxy beside it reads them. */
  traefik(): TraefikRow
  /** One dynamic file, as somebody on the machine writes it; undefined removes it. */
  writeTraefikFile(name: string, text: string | undefined): void
  /** A certificate that somebody gave for this server name. */
  givenCertificate(host: string): { readonly cert: string; readonly key: string } | undefined
  /** Postgres gone: the process answers, everything that needs the database does not. */
  setDatabase(state: 'up' | 'down'): void
  /** Somebody becomes its owner in the browser. */
  register(email: string, password: string): void
  /** Forgets every row, as a rebuilt server does. */
  reset(): void
  /** Who and what, without any secret. */
  dump(): unknown
}

export interface DokployOptions {
  readonly store: Store
  readonly clock: SandboxClock
  /** The machine it runs on; its rows are under `dokploy.<serverId>.…`. */
  readonly serverId: string
  /** With "v", for example "v0.30.2". */
  readonly version: string
  /** The address that the machine has outside; what the first sign-up writes into the settings. */
  readonly publicIp?: () => string | undefined
  /** Whether the sign-in limits count. They do unless told otherwise. */
  readonly rateLimits?: () => boolean
}

/** Every procedure that is served, by its name. More nouns are more tables. */
export const dokployRoutes: Routes = { ...settingsRoutes, ...userRoutes, ...certificateRoutes, ...appRoutes }

export function createDokployStandIn(options: DokployOptions): StandIn & { readonly control: DokployControl } {
  const state = openState(options.store, options.serverId)
  const context: Context = {
    state,
    clock: options.clock,
    version: options.version,
    publicIp: options.publicIp ?? (() => undefined),
    ...createPlatform(options.store, options.serverId),
    writeDynamic: (name, text) => writeDynamic(context, name, text),
  }
  const apps = createAppsControl(context)
  const limits = options.rateLimits ?? (() => true)

  return {
    vendor: 'dokploy',
    handle(request) {
      if (request.path === '/api/health') return { status: 200, json: { ok: true } }
      if (state.conditions.get(ONLY)?.database === 'down') return withoutDatabase(request)
      return options.store.transaction(() => {
        apps.settle()
        return answer(context, request, limits())
      })
    },
    control: {
      apps,
      traefik: () => readTraefik(context),
      writeTraefikFile: context.writeDynamic,
      givenCertificate: host => givenCertificateFor(state, host),
      setDatabase: database => state.conditions.put(ONLY, { database }),
      register(email, password) {
        const { status } = signUp(context, { value: { email, password, name: 'Somebody' } })
        if (status !== 200) throw new Error(`the panel does not take ${email} as its owner: ${status}`)
      },
      reset() {
        clearState(state)
        clearPlatform(options.store, options.serverId)
      },
      dump: () => ({
        version: options.version,
        admins: state.users.all().map(user => user.email),
        apiKeys: state.apiKeys.all().map(key => key.name),
        certificates: state.certificates.all().map(row => row.name),
        settings: publicSettings(readSettings(context)),
        traefikReloads: readTraefik(context).reloads,
        apps: apps.dump(),
      }),
    },
  }
}

/** The row holds a private key and a token. */
const publicSettings = ({ serverIp, host, https, certificateType, letsEncryptEmail }: SettingsRow) => ({
  serverIp,
  host,
  https,
  certificateType,
  letsEncryptEmail,
})

const answer = (context: Context, request: StandInRequest, limits: boolean): StandInResponse => {
  const { path } = request
  if (path.startsWith('/api/auth/')) return answerAuth(context, path.slice('/api/auth'.length), request, limits)
  if (path.startsWith('/api/deploy/') && request.method === 'POST')
    return answerWebhook(context, path.slice('/api/deploy/'.length), request)
  if (path.startsWith('/api/trpc/')) return answerTrpc(context, path.slice('/api/trpc/'.length), request)
  if (path.startsWith('/api/')) return answerRest(context, path.slice('/api/'.length), request)
  const claimed = context.state.users.size > 0
  if (path === '/') return claimed ? html(200, 'Dokploy') : redirect('/register')
  if (path === '/register') return claimed ? redirect('/') : html(200, 'Dokploy')
  return html(404, '404: This page could not be found')
}

const answerRest = (context: Context, name: string, request: StandInRequest): StandInResponse => {
  // The handler asks who calls before it looks at the route, and so does the procedure behind it: a key is verified twice.
  if (!identify(context, request)) return { status: 401, json: { message: 'Unauthorized' } }
  const route = findRoute(name)
  if (!route || METHODS[route.kind] !== request.method) return { status: 404, json: { message: 'Not found', code: 'NOT_FOUND' } }
  if (route.kind === 'mutation') {
    if (!isJson(request.headers)) {
      const sent = request.headers.get('content-type') ?? 'undefined'
      return restAnswer(name, refuse('UNSUPPORTED_MEDIA_TYPE', `Unsupported content-type "${sent}"`))
    }
    if (Buffer.byteLength(request.bodyText) > BODY_LIMIT_BYTES)
      return restAnswer(name, refuse('PAYLOAD_TOO_LARGE', 'Request body too large'))
  }
  const caller = identify(context, request)
  if (!caller && route.access === 'member') return restAnswer(name, refuse('UNAUTHORIZED', 'UNAUTHORIZED'))
  if (route.kind === 'query') return restAnswer(name, route.answer(context, Object.fromEntries(request.query), caller))
  const body = parseJson(request.bodyText === '' ? '{}' : request.bodyText)
  if (!body) return restAnswer(name, refuse('BAD_REQUEST', 'Failed to parse request body'))
  return restAnswer(name, route.answer(context, body.value, caller))
}

const answerTrpc = (context: Context, name: string, request: StandInRequest): StandInResponse => {
  const caller = identify(context, request)
  const route = findRoute(name)
  if (!route || METHODS[route.kind] !== request.method)
    return trpcAnswer(name, refuse('NOT_FOUND', `No procedure found on path "${name}"`))
  if (route.kind === 'mutation' && !isJson(request.headers))
    return trpcAnswer(name, refuse('UNSUPPORTED_MEDIA_TYPE', 'Unsupported content-type'))
  if (!caller && route.access === 'member') return trpcAnswer(name, refuse('UNAUTHORIZED', 'UNAUTHORIZED'))
  const text = route.kind === 'query' ? (request.query.get('input') ?? '') : request.bodyText
  const body = text === '' ? { value: undefined } : parseJson(text)
  if (!body) return trpcAnswer(name, refuse('BAD_REQUEST', 'Unable to parse the input'))
  return trpcAnswer(name, route.answer(context, unwrap(body.value), caller))
}

/** An `x-api-key` decides alone when it is there; a session cookie otherwise. `Authorization` is not looked at. */
const identify = (context: Context, request: StandInRequest): Caller | undefined => {
  const key = request.headers.get('x-api-key')
  return key === null ? callerOfCookie(context, request.headers.get('cookie')) : verifyApiKey(context, key)
}

const withoutDatabase = ({ path }: StandInRequest): StandInResponse => {
  const refusal = refuse('INTERNAL_SERVER_ERROR', 'connect ECONNREFUSED dokploy-postgres:5432')
  return path.startsWith('/api/trpc/')
    ? trpcAnswer(path.slice('/api/trpc/'.length), refusal)
    : path.startsWith('/api/')
      ? restAnswer(path.slice('/api/'.length), refusal)
      : html(500, '500: Internal Server Error')
}

const METHODS = { query: 'GET', mutation: 'POST' } satisfies Record<Route['kind'], string>

const findRoute = (name: string): Route | undefined => (Object.hasOwn(dokployRoutes, name) ? dokployRoutes[name] : undefined)

/** superjson puts the input below `json`; an input without that wrapper is no input. */
const unwrap = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && 'json' in value ? value.json : undefined
