/**
 * Cloudflare's limit: 1200 requests in five minutes for each user; whoever passes it is blocked for the next five minutes
 * (developers.cloudflare.com/fundamentals/api/reference/limits).
 */

const QUOTA = 1200
const WINDOW_MS = 300_000

interface Window {
  readonly startedAtMs: number
  used: number
  blockedUntilMs: number
}

export interface Limit {
  readonly blocked: boolean
  readonly headers: Readonly<Record<string, string>>
}

/** Not kept in the store: a restart of the sandbox is a pause that forgives. */
export const createLimiter = () => {
  const windows = new Map<string, Window>()
  return {
    /** Counts one request of `user`. */
    count(user: string, nowMs: number): Limit {
      const known = windows.get(user)
      const isOver = !known || (nowMs >= known.blockedUntilMs && nowMs >= known.startedAtMs + WINDOW_MS)
      const window = isOver ? { startedAtMs: nowMs, used: 0, blockedUntilMs: 0 } : known
      windows.set(user, window)
      window.used += 1
      if (window.used > QUOTA && window.blockedUntilMs === 0) window.blockedUntilMs = nowMs + WINDOW_MS
      const blocked = nowMs < window.blockedUntilMs
      const endsAtMs = blocked ? window.blockedUntilMs : window.startedAtMs + WINDOW_MS
      const seconds = Math.max(1, Math.ceil((endsAtMs - nowMs) / 1000))
      return {
        blocked,
        headers: {
          ratelimit: `"default";r=${Math.max(0, QUOTA - window.used)};t=${seconds}`,
          'ratelimit-policy': `"default";q=${QUOTA};w=${WINDOW_MS / 1000}`,
          ...(blocked ? { 'retry-after': String(seconds) } : {}),
        },
      }
    },
  }
}
