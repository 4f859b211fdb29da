/** What visitors have met: counted in a process of their own, read in the test's. */

export interface Counts {
  readonly sent: number
  readonly ok: number
  readonly atOld: number
  readonly atNew: number
  readonly failed: number
  readonly tlsErrors: number
  readonly nxdomain: number
  readonly lookups: number
  /** Requests on a connection that stood already. */
  readonly reused: number
  /** Sent once more, because a connection that stood was ended meanwhile: as browsers do. */
  readonly again: number
  readonly elapsedMs: number
  readonly samples: readonly string[]
}

/** Before the first request. */
export const NOTHING: Counts = {
  sent: 0,
  ok: 0,
  atOld: 0,
  atNew: 0,
  failed: 0,
  tlsErrors: 0,
  nxdomain: 0,
  lookups: 0,
  reused: 0,
  again: 0,
  elapsedMs: 0,
  samples: [],
}
