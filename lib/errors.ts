/**
 * The one kind of failure that Landfall raises on purpose. Anything else that reaches `main` is a bug and is printed as one.
 */

/** What went wrong, as a word to branch on. Message texts are for people and are never compared. */
export type ErrorCode =
  | 'usage' // a flag or argument is wrong
  | 'config' // config.json, or another input file, is wrong
  | 'refused' // possible, but unsafe: needs another word from the operator
  | 'over_cap' // it would cost more than config.json allows
  | 'locked' // another run holds the estate
  | 'token_missing'
  | 'token_invalid'
  | 'token_readonly'
  | 'forbidden' // the token is good, but lacks this right
  | 'not_found'
  | 'name_taken' // somebody else's object holds our name
  | 'out_of_stock' // the vendor has no such server at that place now
  | 'limit' // an account limit or quota
  | 'rate_limited'
  | 'timeout' // a wait ended at its deadline
  | 'network' // no answer, or an unusable one, on a read
  | 'ambiguous' // a mutation was sent, its effect is unknown even after reading back
  | 'vendor' // the vendor refused or failed, and none of the above says it better
  | 'unhealthy' // it exists, but does not do what it should
  | 'host_key' // an SSH host key is not the pinned one
  | 'unverified' // applied, yet the second look still wants something
  | 'cancelled'

export interface ErrorDetails {
  /** The exact next command, or where to look. One sentence. */
  readonly hint?: string
  /** The vendor's id for the request (`X-Correlation-Id`, `cf-ray` …). */
  readonly correlationId?: string
  /** HTTP status, where there was one. */
  readonly status?: number
  /** The vendor's own error code, for branching inside its adapter. */
  readonly vendorCode?: string
  readonly cause?: unknown
}

export class LandfallError extends Error {
  override readonly name = 'LandfallError'
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly correlationId: string | undefined
  readonly status: number | undefined
  readonly vendorCode: string | undefined

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.hint = details.hint
    this.correlationId = details.correlationId
    this.status = details.status
    this.vendorCode = details.vendorCode
  }
}

/** Whether `error` is ours and carries one of `codes`. */
export const hasCode = (error: unknown, ...codes: ErrorCode[]): error is LandfallError =>
  error instanceof LandfallError && codes.includes(error.code)

/** Whether a vendor's server failed, which may pass by itself. */
export const isServerFault = (error: unknown): boolean => error instanceof LandfallError && (error.status ?? 0) >= 500

const EXIT_CODES: Partial<Record<ErrorCode, number>> = {
  usage: 64,
  config: 64,
  refused: 3,
  over_cap: 3,
  locked: 3,
  name_taken: 3,
  host_key: 3,
  cancelled: 130,
}

/** The process exit code for a failure (DESIGN: 1 failed, 3 refused for safety, 64 wrong usage, 130 interrupted). */
export const exitCodeOf = (error: unknown): number => (error instanceof LandfallError ? (EXIT_CODES[error.code] ?? 1) : 1)

/** The same for a run in which several things failed: 3 when one of them was a refusal, which the same command would only meet again. */
export const exitCodeOfRun = (failures: readonly unknown[]): number => (failures.some(each => exitCodeOf(each) === 3) ? 3 : 1)
