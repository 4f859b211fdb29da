/** Where everything that a person or a program reads comes out: without a secret, without a control character, one way each. */

import { LandfallError } from '../errors.ts'
import { disarm, renderAnnotation, renderPlacedAnnotation } from './github.ts'
import { printable, printableJson } from './printable.ts'
import { countPlan, errorLines, type Look, painted, planLines, stepLines, summaryLines } from './render.ts'
import type { Reporter } from './types.ts'
import { wrap } from './wrap.ts'

export interface ReporterOptions {
  /** `json`: one object per line through `write`, and nothing else there. */
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
  readonly githubActions?: boolean
}

/** NO_COLOR (https://no-color.org) wins over everything; a log that is no terminal has no colour. */
export const wantsColor = ({ noColor, isTerminal }: { readonly noColor: boolean; readonly isTerminal: boolean }): boolean =>
  isTerminal && !noColor

const cleaned = (value: unknown, clean: (text: string) => string): unknown => {
  if (typeof value === 'string') return clean(value)
  if (Array.isArray(value)) return value.map(item => cleaned(item, clean))
  if (typeof value !== 'object' || value === null) return value
  // A secret prints as its name, also inside of data.
  if ('toJSON' in value && typeof value.toJSON === 'function') return cleaned(value.toJSON(), clean)
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
  const emit = (type: string, fields: object) => write(`${printableJson(cleaned({ ...fields, type }, clean))}\n`)
  return {
    mode: 'json',
    plan: view => emit('plan', { ...view, counts: countPlan(view) }),
    step: ({ error, ...line }) => emit('step', { ...line, ...(error === undefined ? {} : { error: errorFields(error) }) }),
    log: text => emit('log', { message: text }),
    warning: text => emit('warning', { message: text }),
    error: error => emit('error', errorFields(error)),
    summary: summary => emit('summary', summary),
    page: (_, data) => emit('log', data),
  }
}

const createHumanReporter = (options: ReporterOptions): Reporter => {
  const { color, width, write, writeError, clean, githubActions = false } = options
  const look: Look = {
    width,
    color,
    // Redaction comes first: a secret may hold characters that would be written out.
    say: text => printable(clean(text)),
    block: text => printable(clean(text), { lines: true }),
  }
  const put = (out: (text: string) => void, lines: readonly string[]) =>
    out(lines.map(line => `${githubActions ? disarm(line) : line}\n`).join(''))
  const annotate = (kind: 'error' | 'warning', text: string) => {
    if (githubActions) writeError(`${renderAnnotation(kind, disarm(look.block(text)), 'Landfall')}\n`)
  }
  return {
    mode: 'human',
    plan: view => put(write, planLines(view, look)),
    step: line => put(write, stepLines(line, look)),
    log: text =>
      put(
        write,
        wrap(look.block(text), width, '  ').map(line => painted(line, look, 'dim')),
      ),
    warning: text => {
      const [first = '', ...rest] = wrap(look.block(text), width, '! ')
      put(writeError, [painted(first.slice(0, 1), look, 'yellow', 'bold') + first.slice(1), ...rest])
      annotate('warning', text)
    },
    error: error => {
      put(writeError, errorLines(error, look))
      annotate('error', error instanceof Error ? error.message : String(error))
    },
    summary: summary => put(write, ['', ...summaryLines(summary, look)]),
    annotate: (kind, text, place) => {
      if (githubActions) writeError(`${renderPlacedAnnotation(kind, disarm(look.say(text)), place)}\n`)
    },
    page: text => put(write, look.block(text.replace(/\n$/, '')).split('\n')),
  }
}

export const createReporter = (options: ReporterOptions): Reporter =>
  options.mode === 'json' ? createJsonReporter(options) : createHumanReporter(options)
