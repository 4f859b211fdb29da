/** What an audit says: where, what is wrong, and how to make it right. */

export interface Edit {
  readonly file: string
  /** From 1. */
  readonly line: number
  /** How many lines go, beginning with `line`. */
  readonly remove: number
  readonly insert: readonly string[]
}

export interface Finding {
  /** A word that stays the same between versions. */
  readonly rule: string
  /** `error`: a deploy would interrupt or not do what it says. `warning`: it works today. */
  readonly level: 'error' | 'warning'
  readonly file: string
  readonly line: number
  /** A whole sentence. */
  readonly says: string
  /** A whole sentence: what to change. */
  readonly fix: string
  /** The change itself, where it follows from the text alone. */
  readonly edits?: readonly Edit[]
}
