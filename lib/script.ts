/** What a script is, and what it is given. */

import type { Composition } from './compose.ts'
import type { Environment } from './environment.ts'
import type { Estate } from './estate/estate.ts'
import type { Secret } from './secret.ts'
import type { Ask, Manual, ParsedArgs, Reporter } from './ui/types.ts'

export interface Session {
  readonly manual: Manual
  readonly args: ParsedArgs
  readonly ask: Ask
  readonly reporter: Reporter
  readonly environment: Environment
  /** Somebody is at the terminal and has said neither `--yes` nor `--json`. */
  readonly interactive: boolean
  /** Where a task list may be drawn. */
  readonly terminal?: NodeJS.WriteStream
  readonly signal: AbortSignal
  /** Takes secrets and control characters out of a text. */
  readonly clean: (text: string) => string
  readonly version: string
  /** Prints a secret that the operator has asked to see, past the redactor. */
  readonly reveal: (label: string, value: Secret) => void
  /** Milliseconds since the process began, without those that questions waited for an answer. */
  readonly elapsedMs: () => number
  /** Loads the config, starts the sandbox where one is asked for, and joins the adapters; once per process. */
  open(): Promise<Opened>
  /** The same session with other arguments or another environment; before `open`. */
  with(change: Partial<Pick<Session, 'args' | 'environment'>>): Session
}

export interface Opened {
  readonly estate: Estate
  readonly composition: Composition
  /** Where the estate's keys, pins and journal lie. */
  readonly directory: string
  /** What is simulated, in words; empty in the real world. */
  readonly simulated: readonly string[]
  /** What stands for the machines in a rehearsal; absent in the real world. */
  readonly machines?: 'simulated' | 'container'
  /** The config file, as the operator named it. */
  readonly configPath: string
}

export interface Script {
  readonly manual: Manual
  /** Whether these arguments can change nothing, so that nothing need be kept on disk; `--plan` never can. */
  readonly looksOnly?: (args: ParsedArgs) => boolean
  /** Answers with the exit code. */
  run(session: Session): Promise<number>
}

/** Whether a switch of the script's own was given. */
export const hasFlag = (session: Pick<Session, 'args'>, name: string): boolean => session.args.flags[name] === true

/** The values of one of the script's own flags, in the order given. */
export const flagValues = (session: Pick<Session, 'args'>, name: string): readonly string[] => {
  const value = session.args.flags[name]
  return value === undefined || value === true ? [] : value
}

/** Names the shape; the manual's data and the run stay together in the script's own file. */
export const defineScript = (script: Script): Script => script
