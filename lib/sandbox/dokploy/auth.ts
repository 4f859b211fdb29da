/**
 * `/api/auth/*`: better-auth as Dokploy configures it in production. The first sign-up becomes the owner and is the last one allowed;
 * whoever sends a cookie must name a trusted Origin; sign-in and sign-up are limited to 3 in 10 seconds.
 */

import type { StandInRequest, StandInResponse } from '../kit.ts'
import { isEmail, object, optional, parseInput, text } from './input.ts'
import type { Caller, Context } from './router.ts'
import { readSettings, updateSettings } from './settings-routes.ts'
import { hashOf, isoOf, randomText, type UserRow } from './state.ts'
import { authError, type InputIssue } from './wire.ts'

const COOKIE = 'better-auth.session_token'
const SESSION_S = 259_200
const LIMIT = { max: 3, windowMs: 10_000 }
const PASSWORD = { min: 8, max: 128 }

const signUpBody = object({ email: text(), password: text(), name: text(), lastName: optional(text()) })
const signInBody = object({ email: text(), password: text() })

/** @param path below `/api/auth` */
export const answerAuth = (context: Context, path: string, request: StandInRequest, limits: boolean): StandInResponse => {
  const action = request.method === 'POST' ? ACTIONS[path] : undefined
  if (!action) return { status: 404 }
  const limited = limits ? takeFromLimit(context, path, request) : undefined
  if (limited) return limited
  if (request.headers.has('cookie')) {
    const refused = checkOrigin(context, request)
    if (refused) return refused
  }
  if (!isJson(request.headers)) return authError(415, 'Content-Type must be application/json', 'UNSUPPORTED_MEDIA_TYPE')
  const body = parseJson(request.bodyText)
  return body === undefined ? authError(400, 'Invalid JSON in request body', 'BAD_REQUEST') : action(context, body)
}

/** The signed-in user behind a Cookie header. */
export const callerOfCookie = ({ state, clock }: Context, header: string | null): Caller | undefined => {
  const pair = header?.split(/;\s*/).find(part => part.startsWith(`${COOKIE}=`))
  const session = pair && state.sessions.get(decodeURIComponent(pair.slice(COOKIE.length + 1)))
  if (!session || session.expiresAtMs <= clock.nowMs()) return undefined
  const user = state.users.get(session.userId)
  const organization = state.organizations.all().find(row => row.ownerId === session.userId)
  return user && organization && { user, organizationId: organization.id }
}

export const isJson = (headers: Headers): boolean =>
  headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() === 'application/json'

/** undefined when `text` is not JSON. */
export const parseJson = (text: string): { readonly value: unknown } | undefined => {
  try {
    return { value: JSON.parse(text) as unknown }
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

type Action = (context: Context, body: { readonly value: unknown }) => StandInResponse

export const signUp: Action = (context, body) => {
  const input = parseInput(signUpBody, body.value)
  if (!input.ok) return invalid(input.issues)
  const { email, password, name, lastName = '' } = input.value
  if (!isEmail(email)) return authError(400, 'Invalid email', 'INVALID_EMAIL')
  if (password.length < PASSWORD.min) return authError(400, 'Password too short', 'PASSWORD_TOO_SHORT')
  if (password.length > PASSWORD.max) return authError(400, 'Password too long', 'PASSWORD_TOO_LONG')
  if (userOf(context, email))
    return authError(422, 'User already exists. Use another email.', 'USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL')
  if (context.state.users.size > 0) return authError(400, 'Admin is already created')

  const createdAt = isoOf(context.clock.nowMs())
  const user: UserRow = {
    id: randomText(32),
    email: email.toLowerCase(),
    name,
    lastName,
    passwordHash: hashOf(password),
    createdAt,
  }
  context.state.users.put(user.id, user)
  const organizationId = randomText(21)
  context.state.organizations.put(organizationId, {
    id: organizationId,
    name: 'My Organization',
    ownerId: user.id,
    createdAt,
  })
  const ip = context.publicIp()
  if (ip !== undefined && readSettings(context).serverIp === null) updateSettings(context, { serverIp: ip })
  return signedIn(context, user, {})
}

const signIn: Action = (context, body) => {
  const input = parseInput(signInBody, body.value)
  if (!input.ok) return invalid(input.issues)
  if (!isEmail(input.value.email)) return authError(400, 'Invalid email', 'INVALID_EMAIL')
  const user = userOf(context, input.value.email)
  if (!user || user.passwordHash !== hashOf(input.value.password))
    return authError(401, 'Invalid email or password', 'INVALID_EMAIL_OR_PASSWORD')
  return signedIn(context, user, { redirect: false })
}

const ACTIONS: Readonly<Record<string, Action>> = { '/sign-up/email': signUp, '/sign-in/email': signIn }

const signedIn = ({ state, clock }: Context, user: UserRow, extra: { redirect?: false }): StandInResponse => {
  const token = randomText(32)
  const signed = `${token}.${hashOf(randomText(32))}=`
  state.sessions.put(signed, { token: signed, userId: user.id, expiresAtMs: clock.nowMs() + SESSION_S * 1000 })
  return {
    status: 200,
    headers: {
      'set-cookie': `${COOKIE}=${encodeURIComponent(signed)}; Max-Age=${SESSION_S}; Path=/; HttpOnly; SameSite=Lax`,
    },
    json: { ...extra, token, user: toWireUser(user) },
  }
}

const userOf = ({ state }: Context, email: string) => state.users.all().find(user => user.email === email.toLowerCase())

const checkOrigin = (context: Context, request: StandInRequest): StandInResponse | undefined => {
  const origin = request.headers.get('origin')
  if (!origin || origin === 'null') return authError(403, 'Missing or null Origin', 'MISSING_OR_NULL_ORIGIN')
  const { serverIp, host } = readSettings(context)
  const trusted = [...(serverIp ? [`http://${serverIp}:3000`] : []), ...(host ? [`https://${host}`, `http://${host}`] : [])]
  return trusted.includes(origin) ? undefined : authError(403, 'Invalid origin', 'INVALID_ORIGIN')
}

/** Counts the request; answers for it when it is one too many. The window starts anew with every accepted request. */
const takeFromLimit = ({ state, clock }: Context, path: string, request: StandInRequest): StandInResponse | undefined => {
  const id = `${path} ${request.headers.get('x-forwarded-for') ?? 'direct'}`
  const nowMs = clock.nowMs()
  const row = state.limits.get(id)
  const inWindow = row !== undefined && nowMs - row.lastRequestMs <= LIMIT.windowMs
  if (inWindow && row.count >= LIMIT.max) {
    const retryS = Math.ceil((row.lastRequestMs + LIMIT.windowMs - nowMs) / 1000)
    return {
      ...authError(429, 'Too many requests. Please try again later.'),
      headers: { 'x-retry-after': String(retryS) },
    }
  }
  state.limits.put(id, { id, count: inWindow ? row.count + 1 : 1, lastRequestMs: nowMs })
  return undefined
}

const invalid = (issues: readonly InputIssue[]): StandInResponse => {
  const issue = issues[0]
  const where = ['body', ...(issue?.path ?? [])].join('.')
  return authError(400, `[${where}] ${issue?.message ?? 'Invalid input'}`, 'VALIDATION_ERROR')
}

const toWireUser = (user: UserRow) => ({
  id: user.id,
  email: user.email,
  name: user.name,
  lastName: user.lastName,
  image: null,
  emailVerified: false,
  createdAt: user.createdAt,
  updatedAt: user.createdAt,
})
