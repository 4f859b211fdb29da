/** What every adapter is given by the composition root. */

import type { Clock } from '../engine/clock.ts'
import type { Meter } from '../engine/meter.ts'

export interface ProviderContext {
  readonly clock: Clock
  readonly meter: Meter
  /** Aborts all waits when the operator interrupts. */
  readonly signal: AbortSignal
  readonly random: () => number
  /** One line for the run's log: a repeated request, a wait. Already free of secrets. */
  readonly log: (line: string) => void
  /**
   * Called before each mutating request; rejects when the run may not go on (the lock was lost, an interrupt).
   * Adapters await it directly before sending.
   */
  readonly beforeWrite: (request: { provider: string; method: string; path: string }) => Promise<void>
}

/** How to open a TCP connection to an address of the estate. The sandbox's addresses are reached through its CONNECT proxy. */
export type Route = { readonly kind: 'direct' } | { readonly kind: 'proxy'; readonly host: string; readonly port: number }
