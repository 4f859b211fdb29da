/** The shapes that the terminal layer and the scripts share. `args.ts`, `ask.ts` and `report.ts` implement them. */

import type { Secret } from '../secret.ts'

export interface FlagSpec {
  /** Without the dashes: "take-over". */
  readonly name: string
  /** Name of the value in the help; absent for a switch. */
  readonly value?: string
  /** May be given more than once. */
  readonly many?: boolean
  readonly about: string
}

/** A script's manual, as data: `--help` is rendered from it and the arguments are checked against it. */
export interface Manual {
  /** File name without ".ts". */
  readonly name: string
  /** One sentence. */
  readonly about: string
  /** The first is the default when none is given. */
  readonly actions?: readonly {
    readonly name: string
    readonly about: string
    /** This one takes no free words, though the script does. */
    readonly names?: 'none'
  }[]
  /** What free words after the action name, for example "server"; absent when none are taken. */
  readonly names?: string
  /** What a name looks like. A first word that is neither an action nor of this form is a mistyped action. */
  readonly nameForm?: RegExp
  readonly flags?: readonly FlagSpec[]
  /** Command lines that work when pasted, with what they do. */
  readonly examples: readonly { readonly command: string; readonly about: string }[]
}

export interface ParsedArgs {
  readonly action?: string
  readonly names: readonly string[]
  readonly config: string
  readonly plan: boolean
  readonly yes: boolean
  /** Values of `--confirm`. */
  readonly confirm: readonly string[]
  readonly json: boolean
  readonly help: boolean
  /** Absent: the real world. */
  readonly sandbox?: 'kept' | 'fresh' | { readonly url: string }
  /** The script's own flags: switches as true, values as lists in the order given. */
  readonly flags: Readonly<Record<string, true | readonly string[]>>
}

interface Question {
  /** The flag that answers it without a terminal, with dashes: "--yes". */
  readonly flag: string
  readonly message: string
}

/** Questions. Without a terminal each rejects with LandfallError `usage` naming the flag; Ctrl-C rejects with `cancelled`. */
export interface Ask {
  text(
    question: Question & { readonly default?: string; readonly validate?: (value: string) => string | undefined },
  ): Promise<string>
  secret(question: Question & { readonly label: string }): Promise<Secret>
  confirm(question: Question & { readonly default: boolean }): Promise<boolean>
  select<T extends string>(
    question: Question & {
      readonly choices: readonly { readonly value: T; readonly name: string; readonly about?: string }[]
      readonly default?: T
    },
  ): Promise<T>
}

export type Mark = 'create' | 'change' | 'destroy' | 'wait'

export interface PlanView {
  /** "estate nextnode at Hetzner, rehearsed in the sandbox". */
  readonly subject: string
  readonly entries: readonly {
    readonly noun: string
    readonly title: string
    readonly state: 'done' | 'todo' | 'blocked' | 'refused'
    /** For `done`: how it is. For `refused`: why, and `hint`. */
    readonly detail?: string
    readonly hint?: string
    /** For `blocked`: what will follow. */
    readonly changes: readonly { readonly kind: Mark; readonly summary: string; readonly details?: readonly string[] }[]
  }[]
  readonly changes: number
  /** Who will reach what from outside: "prod-dokploy: 22/tcp from anywhere". */
  readonly reachable?: readonly string[]
  /** How long all of it usually takes. */
  readonly typicalMs?: number
  /** Monthly difference, when the plan changes the bill. */
  readonly money?: { readonly currency: string; readonly net: number; readonly gross: number }
}

export interface StepLine {
  readonly id: string
  readonly noun: string
  readonly title: string
  readonly state: string
  readonly change?: string
  readonly elapsedMs: number
  /** Changes applied; 0 for a step that was done before. */
  readonly applied?: number
  readonly typicalMs?: number
  readonly detail?: string
  readonly error?: unknown
}

export interface Summary {
  readonly ok: boolean
  /** A sentence in place of the usual words on how it ended, for what only looks. */
  readonly title?: string
  /** Changes that the plan had. */
  readonly changes: number
  readonly applied: number
  readonly durationMs: number
  readonly requests: Readonly<Record<string, { readonly reads: number; readonly writes: number }>>
  readonly outputs: Readonly<Record<string, string>>
  /** Further lines for people: where secrets lie, how to log in, what it costs, how to undo. */
  readonly notes: readonly { readonly label: string; readonly text: string }[]
  /** A command, or several, one a line. */
  readonly next?: string
  /** What was simulated; empty in the real world. */
  readonly simulated: readonly string[]
}

/** All output of a script. In JSON mode: one object per line on stdout, of the types plan, step, log, warning, error, summary. */
export interface Reporter {
  readonly mode: 'human' | 'json'
  plan(view: PlanView): void
  step(line: StepLine): void
  log(text: string): void
  warning(text: string): void
  /** Prints any thrown thing: our own errors as sentence, hint and id; a bug with its stack and as a bug. */
  error(error: unknown): void
  summary(summary: Summary): void
  /** Marks a line of a file, where the log's reader can (GitHub Actions); nothing elsewhere. */
  annotate?(
    kind: 'error' | 'warning',
    text: string,
    place: { readonly file: string; readonly line: number; readonly title: string },
  ): void
  /** A block of prose or a table for people; in JSON mode `data` is printed as `{type: "log", ...data}` instead. */
  page(text: string, data: Readonly<Record<string, unknown>>): void
}
