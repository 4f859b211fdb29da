/** Views → lines for people. Pure, so that what is seen at any width is a table test. */

import { LandfallError } from '../errors.ts'
import type { Mark, PlanView, StepLine, Summary } from './types.ts'
import { columns, durationWords, wrap } from './wrap.ts'

export interface Look {
  /** Columns. */
  readonly width: number
  readonly color: boolean
  /** Makes a text from outside one safe line: no secrets, no control characters, no line breaks. */
  readonly say: (text: string) => string
  /** The same for a text that may have lines; they are always indented, so that none can pass for one of ours. */
  readonly block: (text: string) => string
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const
type Paint = keyof typeof CODES

/** Colour is added last, to whole lines or marks, so that it never counts as width. */
export const painted = (text: string, look: Pick<Look, 'color'>, ...paints: readonly Paint[]): string =>
  look.color && paints.length > 0 ? `\x1b[${paints.map(paint => CODES[paint]).join(';')}m${text}\x1b[0m` : text

/** Wrapped lines that begin with `head`, which alone is painted. */
const marked = (head: string, text: string, look: Look, ...paints: readonly Paint[]): readonly string[] => {
  const [first = '', ...rest] = wrap(text, look.width, `${head} `)
  return [painted(head, look, ...paints) + first.slice(head.length), ...rest]
}

const MARKS = {
  create: { head: '  +', paints: ['green'] },
  change: { head: '  ~', paints: ['yellow'] },
  // A destruction is said aloud; its summary follows.
  destroy: { head: '  - DESTROY:', paints: ['red', 'bold'] },
  wait: { head: '  …', paints: ['dim'] },
} as const satisfies Record<Mark, { readonly head: string; readonly paints: readonly Paint[] }>

type PlanEntry = PlanView['entries'][number]

const changeLines = (change: PlanEntry['changes'][number], look: Look): readonly string[] => {
  const { head, paints } = MARKS[change.kind]
  const details = (change.details ?? []).flatMap(detail => wrap(look.say(detail), look.width, '      ', '        '))
  return [...marked(head, look.say(change.summary), look, ...paints), ...details.map(line => painted(line, look, 'dim'))]
}

const laterLines = (entry: PlanEntry, look: Look): readonly string[] => {
  const coming = entry.changes.length > 0 ? entry.changes : [{ kind: 'change' as const, summary: entry.title }]
  return coming.flatMap(({ kind, summary }) =>
    kind === 'destroy'
      ? marked('  … DESTROY', `later: ${look.say(summary)}`, look, 'red', 'bold')
      : marked('  …', look.say(summary), look, 'dim'),
  )
}

const entryLines = (entry: PlanEntry, look: Look): readonly string[] => {
  switch (entry.state) {
    case 'done':
      return []
    case 'todo':
      return entry.changes.flatMap(change => changeLines(change, look))
    case 'blocked':
      return laterLines(entry, look)
    case 'refused':
      return [
        ...marked('  !', look.say(entry.detail ?? entry.title), look, 'red', 'bold'),
        ...(entry.hint === undefined ? [] : wrap(look.say(entry.hint), look.width, '    → ')),
      ]
  }
}

const section = (title: string, lines: readonly string[], look: Look): readonly string[] =>
  lines.length === 0 ? [] : ['', ...wrap(title, look.width).map(line => painted(line, look, 'bold')), ...lines]

const listLines = (texts: readonly string[], look: Look): readonly string[] =>
  texts.flatMap(text => wrap(look.say(text), look.width, '  ', '    '))

const moneyLines = ({ currency, net, gross }: NonNullable<PlanView['money']>, look: Look): readonly string[] => {
  const verb = net < 0 ? 'frees' : 'adds'
  const [netText, grossText] = [net, gross].map(value => Math.abs(value).toFixed(2))
  return wrap(`${verb} ${netText} ${look.say(currency)} a month net, ${grossText} with VAT, at today's prices`, look.width, '  ')
}

export interface PlanCounts {
  readonly create: number
  readonly change: number
  readonly destroy: number
  /** Announced, because they can be judged only after others. */
  readonly later: number
  readonly done: number
  readonly refused: number
}

export const countPlan = ({ entries }: Pick<PlanView, 'entries'>): PlanCounts => {
  const inState = (state: PlanEntry['state']) => entries.filter(entry => entry.state === state)
  const kinds = inState('todo').flatMap(entry => entry.changes.map(change => change.kind))
  const of = (kind: Mark) => kinds.filter(each => each === kind).length
  return {
    create: of('create'),
    change: of('change'),
    destroy: of('destroy'),
    later: inState('blocked').reduce((sum, entry) => sum + Math.max(1, entry.changes.length), 0),
    done: inState('done').length,
    refused: inState('refused').length,
  }
}

const totalLines = (view: PlanView, look: Look): readonly string[] => {
  const counts = countPlan(view)
  const totals = [
    [counts.create, 'to create'],
    [counts.change, 'to change'],
    [counts.destroy, 'to DESTROY'],
    [counts.later, 'to follow (…)'],
    [counts.refused, 'refused'],
    [counts.done, 'done already'],
  ] as const
  const words = totals.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`)
  const time = view.typicalMs === undefined ? '' : `; usually takes ${durationWords(view.typicalMs)}`
  const paints = counts.destroy + counts.refused > 0 ? (['red', 'bold'] as const) : (['bold'] as const)
  return wrap(`${words.join(', ')}${time}`, look.width, '= ').map(line => painted(line, look, ...paints))
}

/** The preview: changes by noun, then money, then who reaches what, then the totals. */
export const planLines = (view: PlanView, look: Look): readonly string[] => {
  const subject = look.say(view.subject)
  if (view.entries.every(entry => entry.state === 'done'))
    return wrap(
      `Nothing to do: ${view.entries.length} facts about ${subject}${subject.includes(', ') ? ',' : ''} are as wanted.`,
      look.width,
    )
  const nouns = [...new Set(view.entries.map(entry => entry.noun))]
  const linesOf = (noun: string) => view.entries.filter(entry => entry.noun === noun).flatMap(entry => entryLines(entry, look))
  return [
    ...wrap(`Plan for ${subject}`, look.width).map(line => painted(line, look, 'bold')),
    ...nouns.flatMap(noun => section(look.say(noun), linesOf(noun), look)),
    ...section('money', view.money === undefined ? [] : moneyLines(view.money, look), look),
    ...section('reachable from outside', listLines(view.reachable ?? [], look), look),
    '',
    ...totalLines(view, look),
  ]
}

const STEP_MARKS: Readonly<Record<string, { readonly mark: string; readonly paints: readonly Paint[] }>> = {
  started: { mark: '>', paints: ['cyan'] },
  waiting: { mark: '>', paints: ['cyan'] },
  changed: { mark: '·', paints: ['dim'] },
  done: { mark: '✓', paints: ['green'] },
  failed: { mark: '✗', paints: ['red', 'bold'] },
  skipped: { mark: '-', paints: ['dim'] },
  interrupted: { mark: '!', paints: ['yellow'] },
}
const UNDER_WAY = ['started', 'waiting', 'changed']
const ENDED_BADLY = ['failed', 'skipped', 'interrupted']

const timeWords = ({ state, elapsedMs, typicalMs, applied }: StepLine): string => {
  const usually = typicalMs === undefined ? '' : `usually ${durationWords(typicalMs)}`
  if (state === 'started' || state === 'waiting') return usually
  // What was done before the run, or never began, took no time.
  if (state === 'skipped' || (state === 'done' && applied === 0)) return ''
  return [durationWords(elapsedMs), state === 'changed' ? '' : usually].filter(word => word !== '').join(', ')
}

/** One event of a run, for logs that are not a terminal. */
export const stepLines = (step: StepLine, look: Look): readonly string[] => {
  const { mark, paints } = STEP_MARKS[step.state] ?? { mark: '·', paints: [] }
  const what = UNDER_WAY.includes(step.state) ? (step.change ?? step.title) : step.title
  const time = timeWords(step)
  const words = [
    ENDED_BADLY.includes(step.state) ? `${step.state}: ${what}` : what,
    time === '' ? '' : `(${time})`,
    step.detail === undefined || step.detail === '' ? '' : `— ${step.detail}`,
  ].filter(text => text !== '')
  return marked(mark, look.say(words.join(' ')), look, ...paints)
}

/** The end of a run: what there is now, and what to do with it. */
export const summaryLines = (summary: Summary, look: Look): readonly string[] => {
  const { ok, applied, changes, durationMs } = summary
  const ended = !ok
    ? 'Not finished.'
    : changes === 0
      ? 'Nothing had to be done.'
      : applied === 0
        ? 'Nothing was changed.'
        : 'Done.'
  const title = look.say(summary.title ?? ended)
  const requests = Object.entries(summary.requests).map(
    ([provider, { reads, writes }]) => `${provider} ${reads} read, ${writes} write`,
  )
  const facts = [`${applied} ${applied === 1 ? 'change' : 'changes'} applied in ${durationWords(durationMs)}`, ...requests]
  const rows = Object.entries(summary.outputs).map(([name, value]) => [look.say(name), look.say(value)] as const)
  return [
    painted(title, look, 'bold', ok ? 'green' : 'red'),
    ...wrap(look.say(facts.join('; ')), look.width, '  ').map(line => painted(line, look, 'dim')),
    ...section('result', columns(rows, look.width), look),
    ...summary.notes.flatMap(note =>
      section(
        look.say(note.label),
        note.text.split('\n').flatMap(line => listLines([line], look)),
        look,
      ),
    ),
    ...section('this was a rehearsal; simulated were', listLines(summary.simulated, look), look),
    ...section('next', listLines(summary.next?.split('\n') ?? [], look), look),
  ]
}

/** A failure: what, what to do, and the vendor's id for it. Anything that is not ours is a bug, with its stack. */
export const errorLines = (error: unknown, look: Look): readonly string[] => {
  if (error instanceof LandfallError) {
    const [first = '', ...rest] = look.block(error.message).split('\n')
    return [
      ...marked('✗', first, look, 'red', 'bold'),
      ...rest.flatMap(line => wrap(line, look.width, '  ', '      ')),
      ...(error.hint === undefined ? [] : wrap(look.say(error.hint), look.width, '  → ')),
      ...(error.correlationId === undefined
        ? []
        : wrap(`The vendor's id for it: ${look.say(error.correlationId)}`, look.width, '  ')),
    ]
  }
  const stack = error instanceof Error ? (error.stack ?? `${error.name}: ${error.message}`) : String(error)
  return [
    ...marked('✗', 'This is a bug in Landfall, not in what you did.', look, 'red', 'bold'),
    ...wrap('Please report it with the lines below. Running the same command again is safe: it looks first.', look.width, '  → '),
    ...look
      .block(stack)
      .split('\n')
      .map(line => `    ${line.trimStart()}`),
  ]
}
