/**
 * Becoming the owner of a fresh panel without a browser, and getting an API key that never expires (facts/dokploy 3). Until this is
 * done anyone who reaches the panel can become its owner.
 */

import { createOnce, type RetryPolicy } from '../../engine/retry.ts'
import { hasCode, LandfallError } from '../../errors.ts'
import { Secret } from '../../secret.ts'
import { type Client, type DokployContext, errorOf, isObject, isUnknownOutcome } from './client.ts'

export interface Admin {
  readonly email: string
  readonly password: Secret
  readonly keyName: string
}

/** On the first sign-up the panel looks up its own public address before it answers; without egress this took 60 s (facts/dokploy 3). */
const SIGN_UP_TIMEOUT_MS = 90_000
/** 3 sign-ins per 10 s are allowed. */
const SIGN_IN_WINDOW_MS = 10_000
const SIGN_IN_TRIES = 4
const KEY_TRIES = 3
const POLICY: RetryPolicy = { maxRetries: 3, baseMs: 2_000, capMs: 15_000 }

/** @throws LandfallError refused, when the panel has an admin whose password is another */
export async function claimPanel(
  client: Client,
  context: DokployContext,
  admin: Admin,
  hasAdmin: () => Promise<boolean>,
): Promise<{ readonly apiKey: Secret }> {
  if (admin.keyName.length < 1 || admin.keyName.length > 32)
    throw new LandfallError(
      'config',
      `A Dokploy key's name has 1 to 32 characters; "${admin.keyName}" has ${admin.keyName.length}.`,
    )
  const session = (await hasAdmin()) ? undefined : await signUp(client, context, admin, hasAdmin)
  return createKey(client, context, session ?? (await signIn(client, context, admin)), admin.keyName)
}

/** The session of the new admin; undefined when the answer was lost or somebody was faster, and an admin exists. */
async function signUp(
  client: Client,
  context: DokployContext,
  { email, password }: Admin,
  hasAdmin: () => Promise<boolean>,
): Promise<Secret | undefined> {
  const request = {
    method: 'POST',
    path: '/api/auth/sign-up/email',
    // No cookie and no Origin on these two routes: a cookie would be refused without an Origin.
    body: { email, password: password.reveal(), name: 'Landfall', lastName: 'Admin' },
    timeoutMs: SIGN_UP_TIMEOUT_MS,
  } as const
  const made = await createOnce<{ readonly session: Secret | undefined }>({
    clock: context.clock,
    signal: context.signal,
    random: context.random,
    policy: POLICY,
    what: "Dokploy's first admin",
    onWait: ({ waitMs, error }) => context.log(`${messageOf(error)} Signing up again in ${Math.ceil(waitMs / 1000)} s.`),
    send: async () => {
      const answer = await client.exchange(request)
      if (answer.status < 200 || answer.status >= 300) throw errorOf(request, answer)
      return { session: sessionIn(answer.headers) }
    },
    find: async () => ((await hasAdmin()) ? { session: undefined } : undefined),
    judge: error => {
      if (hasCode(error, 'rate_limited')) return 'refused'
      if (isUnknownOutcome(error)) return 'unknown'
      // 400 and 422 say "an admin exists" as well as "this password is too short": the panel itself tells which.
      return error instanceof LandfallError && (error.status === 400 || error.status === 422) ? 'exists' : 'fatal'
    },
    askedWaitMs: error => (hasCode(error, 'rate_limited') ? SIGN_IN_WINDOW_MS : undefined),
  })
  return made.session
}

async function signIn(client: Client, context: DokployContext, { email, password }: Admin): Promise<Secret> {
  const request = { method: 'POST', path: '/api/auth/sign-in/email', body: { email, password: password.reveal() } } as const
  for (let attempt = 1; ; attempt++) {
    let waitMs: number
    let failure: LandfallError
    try {
      const answer = await client.exchange(request)
      if (answer.status >= 200 && answer.status < 300) {
        const session = sessionIn(answer.headers)
        if (session !== undefined) return session
        throw new LandfallError('vendor', 'Dokploy accepted the sign-in, but sent no session.', { status: answer.status })
      }
      if (answer.status === 401) throw notOurs(email)
      failure = errorOf(request, answer)
      waitMs = retryAfterMs(answer.headers) ?? SIGN_IN_WINDOW_MS
    } catch (error) {
      // A session more or less harms nobody, so a lost answer is simply asked for again.
      if (!(error instanceof LandfallError) || !isUnknownOutcome(error)) throw error
      failure = error
      waitMs = POLICY.baseMs
    }
    if (attempt >= SIGN_IN_TRIES || !(failure.code === 'rate_limited' || isUnknownOutcome(failure))) throw failure
    context.log(`${failure.message} Signing in again in ${Math.ceil(waitMs / 1000)} s.`)
    await context.clock.sleep(waitMs, context.signal)
  }
}

/** A key's value is shown once. After a lost answer the key of that name is deleted and made anew. */
async function createKey(
  client: Client,
  context: DokployContext,
  session: Secret,
  name: string,
): Promise<{ readonly apiKey: Secret }> {
  const as = { cookie: session }
  for (let attempt = 1; ; attempt++) {
    try {
      const user = fromWireUser(await client.call({ method: 'GET', path: '/api/user.get', as }))
      for (const key of user.keys.filter(each => each.name === name)) await deleteKey(client, as, key.id)
      const made = await client.call({
        method: 'POST',
        path: '/api/user.createApiKey',
        as,
        // Left out, `rateLimitEnabled` is true: ten verifications a day, two for each call (facts/dokploy 3).
        body: { name, rateLimitEnabled: false, metadata: { organizationId: user.organizationId } },
      })
      if (isObject(made) && typeof made.key === 'string' && made.key !== '')
        return { apiKey: new Secret('DOKPLOY_API_KEY', made.key) }
      throw new LandfallError('network', 'Dokploy made an API key, but its answer does not hold it.')
    } catch (error) {
      if (attempt >= KEY_TRIES || !isUnknownOutcome(error)) throw error
      context.log(`${messageOf(error)} Making the API key anew in ${POLICY.baseMs / 1000} s.`)
      await context.clock.sleep(POLICY.baseMs, context.signal)
    }
  }
}

async function deleteKey(client: Client, as: { cookie: Secret }, apiKeyId: string): Promise<void> {
  try {
    await client.call({ method: 'POST', path: '/api/user.deleteApiKey', as, body: { apiKeyId } })
  } catch (error) {
    // Gone is what was wanted.
    if (!hasCode(error, 'not_found')) throw error
  }
}

const notOurs = (email: string): LandfallError =>
  new LandfallError(
    'refused',
    `This Dokploy already has an admin that is not ours: it does not let ${email} in with our password.`,
    {
      hint: 'Put the admin’s e-mail and password where the setup asks for them, or rebuild the server if nobody should have claimed it.',
      status: 401,
    },
  )

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : 'Dokploy failed.')

/** better-auth sends `X-Retry-After`, in seconds. */
function retryAfterMs(headers: Headers): number | undefined {
  const text = headers.get('x-retry-after') ?? headers.get('retry-after')
  const seconds = text === null ? Number.NaN : Number(text)
  return Number.isFinite(seconds) ? Math.min(60_000, Math.max(1_000, seconds * 1000)) : undefined
}

/** The Cookie header for what was set; undefined when nothing was. */
function sessionIn(headers: Headers): Secret | undefined {
  const pairs = headers.getSetCookie().flatMap(line => line.split(';', 1))
  return pairs.length === 0 ? undefined : new Secret('DOKPLOY_SESSION', pairs.join('; '))
}

function fromWireUser(wire: unknown): { organizationId: string; keys: { id: string; name: string }[] } {
  if (!isObject(wire) || typeof wire.organizationId !== 'string')
    throw new LandfallError('network', "Dokploy's answer to /api/user.get is unusable: it names no organization.")
  const keys = isObject(wire.user) && Array.isArray(wire.user.apiKeys) ? wire.user.apiKeys : []
  return {
    organizationId: wire.organizationId,
    keys: keys.flatMap(key =>
      isObject(key) && typeof key.id === 'string' && typeof key.name === 'string' ? [{ id: key.id, name: key.name }] : [],
    ),
  }
}
