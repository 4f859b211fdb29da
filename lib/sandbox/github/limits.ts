/**
 * The primary rate limit, as GitHub's guide has it ("Rate limits for the REST API", version 2022-11-28): so many requests of a token in an
 * hour that begins with the first; every answer tells how it stands; used up, it is 403 without `retry-after`. An unchanged answer to a
 * conditional request counts for nothing ("Best practices").
 */

import type { Collection, StandInResponse } from '../kit.ts'
import { refusal, type TokenRow } from './standin.ts'

export interface HourRow {
  readonly token: string
  readonly used: number
  readonly endsAtMs: number
}

const HOUR_MS = 3_600_000
const OF_A_USER = 5_000
const OF_A_WORKFLOW = 1_000

/** `answer`'s answer, or the refusal of one request too many; with the headers that both have. */
export function withinLimit(
  hours: Collection<HourRow>,
  token: TokenRow,
  nowMs: number,
  answer: () => StandInResponse,
): StandInResponse {
  const limit = token.hourly ?? (token.login === undefined ? OF_A_WORKFLOW : OF_A_USER)
  const before = hours.get(token.value)
  const hour = before && nowMs < before.endsAtMs ? before : { token: token.value, used: 0, endsAtMs: nowMs + HOUR_MS }
  const isSpent = hour.used >= limit
  const answered = isSpent ? refusal(403, `API rate limit exceeded for ${token.login ?? 'installation'}.`) : answer()
  const used = isSpent || answered.status === 304 ? hour.used : hour.used + 1
  hours.put(token.value, { ...hour, used })
  return {
    ...answered,
    headers: {
      ...answered.headers,
      'x-ratelimit-limit': String(limit),
      'x-ratelimit-remaining': String(limit - used),
      'x-ratelimit-used': String(used),
      'x-ratelimit-reset': String(Math.ceil(hour.endsAtMs / 1_000)),
      'x-ratelimit-resource': 'core',
    },
  }
}
