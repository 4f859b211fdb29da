/** How long the vendor's actions take, as a first guess and then as seen in this run. */

/** Milliseconds from the answer that announced the action to its end, as far as it is known before the first one was seen. */
const FIRST_GUESS_MS: Readonly<Record<string, number>> = {
  create_server: 5_000,
  start_server: 1_000,
  // Follows in the moment of creation; a poll too early is cheaper than a second's wait for every server.
  attach_to_network: 0,
}
const OTHERWISE_MS = 1_000

/** Older observations count less from here on, so that a slow afternoon is noticed. */
const MEMORY = 8

export interface Estimates {
  expectedMs(command: string): number
  /** One action of this command took `ms`. */
  observe(command: string, ms: number): void
}

export function createEstimates(): Estimates {
  const seen = new Map<string, { meanMs: number; shortestMs: number; count: number }>()
  return {
    expectedMs(command) {
      const known = seen.get(command)
      // Asking too late costs everybody time, asking too early costs one request: one slow action must not delay the rest.
      if (known) return Math.min(known.meanMs, known.shortestMs * 2)
      return FIRST_GUESS_MS[command] ?? OTHERWISE_MS
    },
    observe(command, ms) {
      const known = seen.get(command)
      const count = Math.min(MEMORY, (known?.count ?? 0) + 1)
      const meanMs = known === undefined ? ms : known.meanMs + (ms - known.meanMs) / count
      seen.set(command, { meanMs, shortestMs: Math.min(ms, known?.shortestMs ?? ms), count })
    },
  }
}
