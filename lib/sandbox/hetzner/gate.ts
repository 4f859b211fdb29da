/** Who may come in, and how often: tokens, read-only access, and the hourly budget of a project. */
import { createHash } from 'node:crypto'
import { Refusal } from './answers.ts'
import type { Cloud } from './cloud.ts'
import type { TokenRow } from './rows.ts'

const LIMIT = 3600
const PER_SECOND = 1

// The store keeps digests, so that no file of the sandbox holds a token, be it a real one used by mistake.
const digest = (token: string): string => createHash('sha256').update(token).digest('hex')

export const addToken = (cloud: Cloud, token: string, row: TokenRow): void => cloud.tokens.put(digest(token), row)

/** The token's project and access; 401 when there is no token, or not this one. */
export const authenticate = (cloud: Cloud, headers: Headers): TokenRow => {
  const token = /^Bearer\s+(\S+)\s*$/i.exec(headers.get('authorization') ?? '')?.[1]
  if (token === undefined) throw new Refusal(401, 'unauthorized', 'token is required')
  const row = cloud.tokens.get(digest(token))
  if (!row) throw new Refusal(401, 'unauthorized', 'the token you have provided is invalid')
  return row
}

/** 403 `forbidden` (or what was set) for anything but reading with a read-only token. */
export const refuseReadOnly = (cloud: Cloud, token: TokenRow, method: string): void => {
  if (token.access === 'read_write' || method === 'GET') return
  const { status, code } = cloud.rules().readOnlyAnswer
  throw new Refusal(status, code, 'the token is only allowed to perform GET requests')
}

export interface Budget {
  readonly exhausted: boolean
  readonly headers: Readonly<Record<string, string>>
}

/** Takes one request from the project's budget, which refills by one a second. `RateLimit-Reset` is when it is full again. */
export const spend = (cloud: Cloud, project: string, nowMs: number): Budget => {
  const bucket = cloud.buckets.get(project) ?? { left: LIMIT, atMs: nowMs }
  const refilled = Math.min(LIMIT, bucket.left + (Math.max(0, nowMs - bucket.atMs) / 1000) * PER_SECOND)
  const exhausted = refilled < 1
  const left = exhausted ? refilled : refilled - 1
  cloud.buckets.put(project, { left, atMs: nowMs })
  return {
    exhausted: exhausted && cloud.deps.settings().rateLimits,
    headers: {
      'RateLimit-Limit': String(LIMIT),
      'RateLimit-Remaining': String(Math.floor(left)),
      'RateLimit-Reset': String(Math.ceil(nowMs / 1000 + (LIMIT - left) / PER_SECOND)),
    },
  }
}

export const rateLimitExceeded = (): Refusal =>
  new Refusal(429, 'rate_limit_exceeded', `limit of ${LIMIT} requests per hour reached`)
