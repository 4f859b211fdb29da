/** What GitHub's adapters share: where its API is, which version they speak, and how it says that an hour's requests are used up. */

import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import { createRest, type Rest } from '../rest.ts'

export interface GitHubRestOptions {
  readonly token: Secret
  readonly context: ProviderContext
  readonly endpoint: string
  /** What the token needs, after a 401 or 403. */
  readonly tokenHint: string
}

export const GITHUB_API = 'https://api.github.com'

export const createGitHubRest = (options: GitHubRestOptions): Rest =>
  createRest({
    ...options,
    vendor: 'GitHub',
    provider: 'github',
    headers: { accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28' },
    freeAgainMs,
  })

/** The hour's limit answers 403 or 429 without `retry-after`; `x-ratelimit-reset` is in seconds of UTC ("Rate limits for the REST API"). */
function freeAgainMs(status: number, headers: Headers): number | undefined {
  const resetS = Number(headers.get('x-ratelimit-reset') ?? Number.NaN)
  const isSpent = (status === 403 || status === 429) && headers.get('x-ratelimit-remaining') === '0'
  return isSpent && !headers.has('retry-after') && Number.isFinite(resetS) ? resetS * 1_000 : undefined
}
