/** `user.*`: who am I, and API keys. */

import { flag, nothing, number, object, optional, text } from './input.ts'
import { type Caller, type Context, mutation, query, type Routes } from './router.ts'
import { type ApiKeyRow, hashOf, isoOf, randomText } from './state.ts'
import { refuse } from './wire.ts'

const KEY_LENGTH = 64
/** What a key gets when its maker says nothing about limits: 10 verifications a day, and each REST call verifies twice. */
const DEFAULT_LIMIT = { rateLimitEnabled: true, rateLimitTimeWindow: 86_400_000, rateLimitMax: 10 }

export const userRoutes = {
  'user.get': query(nothing, (context, _input, caller) => ({
    id: `member-${caller.user.id}`,
    organizationId: caller.organizationId,
    userId: caller.user.id,
    role: 'owner',
    createdAt: caller.user.createdAt,
    teamId: null,
    user: {
      id: caller.user.id,
      firstName: caller.user.name,
      lastName: caller.user.lastName,
      email: caller.user.email,
      emailVerified: false,
      twoFactorEnabled: null,
      image: null,
      createdAt: caller.user.createdAt,
      apiKeys: context.state.apiKeys
        .all()
        .filter(key => key.userId === caller.user.id)
        .map(toWireApiKey),
    },
  })),

  'user.createApiKey': mutation(
    object({
      name: text({ min: 1, max: 32 }),
      prefix: optional(text()),
      expiresIn: optional(number),
      metadata: object({ organizationId: text() }),
      rateLimitEnabled: optional(flag),
      rateLimitTimeWindow: optional(number),
      rateLimitMax: optional(number),
      remaining: optional(number),
      refillAmount: optional(number),
      refillInterval: optional(number),
    }),
    (context, input, caller) => {
      if (input.metadata.organizationId !== caller.organizationId)
        return refuse('FORBIDDEN', 'You are not a member of this organization')
      const nowMs = context.clock.nowMs()
      const key = `${input.prefix ?? ''}${randomText(KEY_LENGTH)}`
      const row: ApiKeyRow = {
        id: randomText(32),
        name: input.name,
        start: key.slice(0, 6),
        prefix: input.prefix ?? null,
        keyHash: hashOf(key),
        userId: caller.user.id,
        organizationId: input.metadata.organizationId,
        enabled: true,
        rateLimitEnabled: input.rateLimitEnabled ?? DEFAULT_LIMIT.rateLimitEnabled,
        rateLimitTimeWindow: input.rateLimitTimeWindow ?? DEFAULT_LIMIT.rateLimitTimeWindow,
        rateLimitMax: input.rateLimitMax ?? DEFAULT_LIMIT.rateLimitMax,
        requestCount: 0,
        remaining: input.remaining ?? null,
        lastRequestMs: null,
        expiresAt: input.expiresIn === undefined ? null : isoOf(nowMs + input.expiresIn * 1000),
        createdAt: isoOf(nowMs),
      }
      context.state.apiKeys.put(row.id, row)
      // The only time that the key itself is shown.
      return { ...toWireApiKey(row), key }
    },
  ),

  'user.deleteApiKey': mutation(object({ apiKeyId: text() }), (context, { apiKeyId }, caller) => {
    const row = context.state.apiKeys.get(apiKeyId)
    if (!row) return refuse('NOT_FOUND', 'API key not found')
    if (row.userId !== caller.user.id) return refuse('UNAUTHORIZED', 'You are not authorized to delete this API key')
    context.state.apiKeys.delete(apiKeyId)
    return true
  }),
} satisfies Routes

/**
 * Whether `key` is accepted now; counts as one verification. A key over its limit is refused exactly as a wrong one is: there is no 429.
 */
export const verifyApiKey = ({ state, clock }: Context, key: string): Caller | undefined => {
  const keyHash = hashOf(key)
  const row = state.apiKeys.all().find(candidate => candidate.keyHash === keyHash)
  const user = row && state.users.get(row.userId)
  if (!row || !user || !row.enabled) return undefined
  const nowMs = clock.nowMs()
  if (row.expiresAt !== null && Date.parse(row.expiresAt) <= nowMs) return undefined
  if (row.remaining === 0) return undefined
  const fresh = row.lastRequestMs === null || nowMs - row.lastRequestMs > row.rateLimitTimeWindow
  const requestCount = fresh ? 0 : row.requestCount
  if (row.rateLimitEnabled && requestCount >= row.rateLimitMax) return undefined
  state.apiKeys.put(row.id, {
    ...row,
    requestCount: requestCount + 1,
    lastRequestMs: nowMs,
    remaining: row.remaining === null ? null : row.remaining - 1,
  })
  return { user, organizationId: row.organizationId }
}

const toWireApiKey = (row: ApiKeyRow) => ({
  id: row.id,
  name: row.name,
  start: row.start,
  prefix: row.prefix,
  key: row.keyHash,
  userId: row.userId,
  enabled: row.enabled,
  rateLimitEnabled: row.rateLimitEnabled,
  rateLimitTimeWindow: row.rateLimitTimeWindow,
  rateLimitMax: row.rateLimitMax,
  requestCount: row.requestCount,
  remaining: row.remaining,
  lastRequest: row.lastRequestMs === null ? null : isoOf(row.lastRequestMs),
  expiresAt: row.expiresAt,
  createdAt: row.createdAt,
  updatedAt: row.createdAt,
  metadata: JSON.stringify({ organizationId: row.organizationId }),
})
