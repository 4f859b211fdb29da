/** Where everything that a person or a program reads comes out: through the redactor, without a control character, one way each. */

import { LandfallError } from '../errors.ts'
import { disarm, renderAnnotation } from './github.ts'
import { printable, printableJson } from './printable.ts'
import { errorLines, type Look, painted, planLines, stepLines, summaryLines } from './render.ts'
import { countPlan, type PlanView, type StepView, type SummaryView } from './views.ts'
import { wrap } from './wrap.ts'

export interface ReporterOptions {
  /** `json`: one object per line through `write`, nothing else there. */
  readonly mode: 'human' | 'json'
  readonly color: boolean
  /** Columns of the terminal; 80 where there is none. */
  readonly width: number
  /** Standard output; gets whole lines. */
  readonly write: (text: string) => void
  /** Standard error: warnings and errors for people. */
  readonly writeError: (text: string) => void
  /** Takes secrets out. */
  readonly clean: (text: string) => string
  /** The output is a job's log at GitHub Actions. */
  readonly github?: boolean
}

export interface Reporter {
  plan(view: PlanView): void
  step(event: StepView): void
  log(line: string): void
  warning(text: string, hint?: string): void
  error(error: unknown): void
  summary(view: SummaryView): void
}

/** NO_COLOR (https://no-color.org) wins over everything; a log that is no terminal has no colour. */
export const wantsColor = ({ noColor, isTerminal }: { readonly noColor: boolean; readonly isTerminal: boolean }): boolean =>
  isTerminal && !noColor

const cleaned = (value: unknown, clean: (text: string) => string): unknown => {
  if (typeof value === 'string') return clean(value)
  if (Array.isArray(value)) return value.map(item => cleaned(item, clean))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [clean(key), cleaned(inner, clean)]))
}

const errorFields = (error: unknown): Record<string, unknown> => {
  if (!(error instanceof LandfallError)) {
    const message = error instanceof Error ? error.message : String(error)
    return { code: 'bug', message, bug: true, ...(error instanceof Error ? { stack: error.stack } : {}) }
  }
  const { code, message, hint, correlationId, status, vendorCode } = error
  return { code, message, hint, correlationId, status, vendorCode, bug: false }
}

const createJsonReporter = ({ write, clean }: ReporterOptions): Reporter => {
  const emit = (type: string, fields: object) => write(`${printableJson(cleaned({ type, ...fields }, clean))}\n`)
  return {
    plan: view => emit('plan', { ...view, counts: countPlan(view) }),
    step: ({ error, ...event }) => emit('step', { ...event, ...(error === undefined ? {} : { error: errorFields(error) }) }),
    log: line => emit('log', { message: line }),
    warning: (text, hint) => emit('warning', { message: text, hint }),
    error: error => emit('error', errorFields(error)),
    summary: view => emit('summary', view),
  }
}

const createHumanReporter = ({ color, width, write, writeError, clean, github = false }: ReporterOptions): Reporter => {
  // Redaction comes first: a secret may hold characters that would be written out.
  const look: Look = { width, color, say: text => printable(clean(text), { lines: true }) }
  const lines = (out: (text: string) => void, texts: readonly string[]) =>
    out(texts.map(text => `${github ? disarm(text) : text}\n`).join(''))
  const annotate = (kind: 'error' | 'warning', text: string) => {
    if (github) writeError(`${renderAnnotation(kind, look.say(text), 'Landfall')}\n`)
  }
  return {
    plan: view => lines(write, planLines(view, look)),
    step: event => lines(write, stepLines(event, look)),
    log: line =>
      lines(
        write,
        wrap(look.say(line), width, '  ').map(text => painted(text, look, 'dim')),
      ),
    warning: (text, hint) => {
      const [first = '', ...rest] = wrap(look.say(text), width, '! ')
      lines(writeError, [
        painted(first.slice(0, 1), look, 'yellow', 'bold') + first.slice(1),
        ...rest,
        ...(hint === undefined ? [] : wrap(look.say(hint), width, '  → ')),
      ])
      annotate('warning', text)
    },
    error: error => {
      lines(writeError, errorLines(error, look))
      annotate('error', error instanceof Error ? error.message : String(error))
    },
    summary: view => lines(write, ['', ...summaryLines(view, look)]),
  }
}

export const createReporter = (options: ReporterOptions): Reporter =>
  options.mode === 'json' ? createJsonReporter(options) : createHumanReporter(options)
