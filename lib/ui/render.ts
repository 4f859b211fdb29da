/** Views → lines for people. Pure, so that what is seen at any width is a table test. Every text from outside passes `say` first. */

import { LandfallError } from '../errors.ts'
import {
  type ChangeKind,
  countPlan,
  type MoneyView,
  type PlanEntry,
  type PlanView,
  type StepView,
  type SummaryView,
} from './views.ts'
import { durationWords, wrap } from './wrap.ts'

export interface Look {
  /** Columns. */
  readonly width: number
  readonly color: boolean
  /** Removes secrets and control characters; line breaks stay. */
  readonly say: (text: string) => string
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const
type Paint = keyof typeof CODES

/** Colour is added last, to whole lines or marks, so that it never counts as width. */
export const painted = (text: string, look: Look, ...paints: readonly Paint[]): string =>
  look.color && paints.length > 0 ? `\x1b[${paints.map(paint => CODES[paint]).join(';')}m${text}\x1b[0m` : text

const MARKS = {
  create: { mark: '+', paints: ['green'], word: 'create' },
  change: { mark: '~', paints: ['yellow'], word: 'change' },
  destroy: { mark: '-', paints: ['red', 'bold'], word: 'DESTROY' },
  wait: { mark: '…', paints: ['dim'], word: 'wait' },
} as const satisfies Record<ChangeKind, { mark: string; paints: readonly Paint[]; word: string }>

const paintedMark = (lines: readonly string[], head: string, look: Look, ...paints: readonly Paint[]): readonly string[] =>
  lines.map((line, index) =>
    index === 0 && line.startsWith(head) ? painted(head, look, ...paints) + line.slice(head.length) : line,
  )

const changeLines = (
  change: { readonly kind: ChangeKind; readonly summary: string },
  look: Look,
  mark?: string,
): readonly string[] => {
  const { paints, word, mark: usual } = MARKS[change.kind]
  const summary = look.say(change.summary)
  // The verb usually stands in the summary; a destruction is said aloud.
  const words = change.kind === 'destroy' ? `${word}: ${summary}` : summary
  const head = `  ${mark ?? usual} ${change.kind === 'destroy' ? word : ''}`
  return paintedMark(wrap(words, look.width, `  ${mark ?? usual} `), head, look, ...(mark ? (['dim'] as const) : paints))
}

const entryLines = (entry: PlanEntry, look: Look): readonly string[] => {
  switch (entry.state) {
    case 'done':
      return []
    case 'todo':
      return entry.changes.flatMap(change => [
        ...changeLines(change, look),
        ...(change.details ?? [])
          .flatMap(detail => wrap(look.say(detail), look.width, '      '))
          .map(line => painted(line, look, 'dim')),
      ])
    case 'blocked': {
      const later = entry.later.length > 0 ? entry.later : [{ kind: 'change' as const, summary: entry.title }]
      const after = look.say(entry.on ?? 'what comes before')
      return later.flatMap(change => changeLines({ ...change, summary: `later, after ${after}: ${change.summary}` }, look, '…'))
    }
    case 'refused':
      return [
        ...paintedMark(wrap(look.say(entry.why ?? entry.title), look.width, '  ! '), '  !', look, 'red', 'bold'),
        ...(entry.hint === undefined ? [] : wrap(look.say(entry.hint), look.width, '      → ')),
      ]
  }
}

const amount = (value: number, currency: string): string => `${value.toFixed(2)} ${currency}`

const moneyLines = (money: MoneyView, look: Look): readonly string[] => {
  const { currency, addedMonthly: added, totalMonthly, totalHourly } = money
  const sign = added.net > 0 ? '+' : ''
  const hourly = totalHourly === undefined ? '' : `, ${totalHourly.net.toFixed(4)} an hour`
  return [
    ...wrap(
      `This adds ${sign}${amount(added.net, currency)} a month net, ${sign}${amount(added.gross, currency)} with VAT.`,
      look.width,
      '  ',
    ),
    ...(totalMonthly === undefined
      ? []
      : wrap(
          `The estate then costs ${amount(totalMonthly.net, currency)} a month net (${amount(totalMonthly.gross, currency)} with VAT${hourly}).`,
          look.width,
          '  ',
        )),
  ]
}

const heading = (text: string, look: Look): string => painted(text, look, 'bold')

const section = (title: string, lines: readonly string[], look: Look): readonly string[] =>
  lines.length === 0 ? [] : ['', heading(title, look), ...lines]

const bullets = (texts: readonly string[], look: Look): readonly string[] =>
  texts.flatMap(text => wrap(look.say(text), look.width, '  '))

const plural = (count: number, word: string): string => `${count} ${word}`

/** The preview: changes by noun, then money, then who reaches what, then how long. */
export const planLines = (view: PlanView, look: Look): readonly string[] => {
  const counts = countPlan(view)
  const nouns = [...new Set(view.entries.map(entry => entry.noun))]
  const groups = nouns.flatMap(noun =>
    section(
      noun,
      view.entries.filter(entry => entry.noun === noun).flatMap(entry => entryLines(entry, look)),
      look,
    ),
  )
  const totals = [
    counts.create > 0 ? plural(counts.create, 'to create') : '',
    counts.change > 0 ? plural(counts.change, 'to change') : '',
    counts.destroy > 0 ? painted(plural(counts.destroy, 'to DESTROY'), look, 'red', 'bold') : '',
    counts.later > 0 ? plural(counts.later, 'later') : '',
    counts.refused > 0 ? painted(plural(counts.refused, 'refused'), look, 'red', 'bold') : '',
    counts.done > 0 ? `${counts.done} done` : '',
  ].filter(text => text !== '')
  const isQuiet = view.entries.every(entry => entry.state === 'done')
  const title = isQuiet ? `${look.say(view.estate)}: nothing to do, all is as wanted` : `Plan for ${look.say(view.estate)}`
  return [
    heading(title, look),
    ...groups,
    ...section('money', view.money === undefined ? [] : moneyLines(view.money, look), look),
    ...section('reachable from outside', bullets(view.reachable ?? [], look), look),
    ...section('note', bullets(view.notes ?? [], look), look),
    ...section('rehearsal: simulated are', bullets(view.simulated ?? [], look), look),
    '',
    `= ${totals.join(', ')}${view.typicalMs === undefined || isQuiet ? '' : `; usually takes ${durationWords(view.typicalMs)}`}`,
  ]
}

const STEP_WORDS = {
  started: { mark: '>', paints: ['cyan'] },
  waiting: { mark: '…', paints: ['cyan'] },
  changed: { mark: '·', paints: ['dim'] },
  done: { mark: '✓', paints: ['green'] },
  failed: { mark: '✗', paints: ['red', 'bold'] },
  skipped: { mark: '-', paints: ['dim'] },
  interrupted: { mark: '!', paints: ['yellow'] },
} as const satisfies Record<StepView['state'], { mark: string; paints: readonly Paint[] }>

/** One event of a run, for logs that are not a terminal. */
export const stepLines = (step: StepView, look: Look): readonly string[] => {
  const { mark, paints } = STEP_WORDS[step.state]
  const took = durationWords(step.elapsedMs)
  const usually = step.typicalMs === undefined ? '' : `usually ${durationWords(step.typicalMs)}`
  const time = {
    started: usually,
    waiting: usually,
    changed: took,
    done: step.applied === 0 ? '' : [took, usually].filter(text => text !== '').join(', '),
    failed: took,
    skipped: '',
    interrupted: took,
  }[step.state]
  const what =
    step.state === 'started' || step.state === 'waiting' || step.state === 'changed' ? (step.change ?? step.title) : step.title
  const words = [
    step.state === 'failed' || step.state === 'skipped' || step.state === 'interrupted' ? `${step.state}: ${what}` : what,
    time === '' ? '' : `(${time})`,
    step.detail === undefined || step.detail === '' ? '' : `- ${step.detail}`,
  ].filter(text => text !== '')
  return paintedMark(wrap(look.say(words.join(' ')), look.width, `${mark} `), mark, look, ...paints)
}

/** The end of a run: what there is now, and what to do with it. */
export const summaryLines = (view: SummaryView, look: Look): readonly string[] => {
  const outcome = view.ok ? (view.applied === 0 ? 'Nothing had to be changed' : 'Done') : 'Not finished'
  const requests = Object.entries(view.requests).map(
    ([provider, { reads, writes }]) => `${provider} ${reads} reads, ${writes} writes`,
  )
  const facts = [
    `${view.applied} of ${view.changes} changes applied`,
    durationWords(view.durationMs),
    ...(requests.length > 0 ? [`requests: ${requests.join('; ')}`] : []),
  ]
  const names = Object.keys(view.outputs)
  const widest = Math.max(0, ...names.map(name => name.length))
  return [
    ...wrap(look.say(view.title ?? `${outcome}.`), look.width).map(line =>
      painted(line, look, 'bold', view.ok ? 'green' : 'red'),
    ),
    ...wrap(look.say(facts.join(', ')), look.width).map(line => painted(line, look, 'dim')),
    ...section(
      'result',
      Object.entries(view.outputs).flatMap(([name, value]) =>
        wrap(look.say(value), look.width, `  ${look.say(name).padEnd(widest)}  `),
      ),
      look,
    ),
    ...section('how to log in', bullets(view.login ?? [], look), look),
    ...section('where secrets lie', bullets(view.secrets ?? [], look), look),
    ...section('what it costs', bullets(view.cost ?? [], look), look),
    ...section('rehearsal: simulated were', bullets(view.simulated ?? [], look), look),
    ...section('how to undo it', bullets(view.undo ?? [], look), look),
    ...section('next', bullets(view.next ?? [], look), look),
  ]
}

/** A failure in up to four parts: what, why, what to do, and the vendor's id for it. Anything that is not ours is a bug with its stack. */
export const errorLines = (error: unknown, look: Look): readonly string[] => {
  const head = (lines: readonly string[]) => paintedMark(lines, '✗', look, 'red', 'bold')
  if (error instanceof LandfallError)
    return [
      ...head(
        error.message
          .split('\n')
          .flatMap((line, index) => wrap(look.say(line.trimStart()), look.width, index === 0 ? '✗ ' : '    ')),
      ),
      ...(error.hint === undefined ? [] : wrap(look.say(error.hint), look.width, '  → ')),
      ...(error.correlationId === undefined
        ? []
        : wrap(look.say(`The vendor's id for it: ${error.correlationId}`), look.width, '  ')),
    ]
  const stack = error instanceof Error ? (error.stack ?? `${error.name}: ${error.message}`) : String(error)
  return [
    ...head(wrap('This is a bug in Landfall, not in what you did.', look.width, '✗ ')),
    ...wrap(
      '→ Please report it with the lines below and the command that you ran. Running the command again is safe: it looks first.',
      look.width,
      '  ',
    ),
    ...look
      .say(stack)
      .split('\n')
      .map(line => `    ${line}`),
  ]
}
