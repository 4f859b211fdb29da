/** The running list as text: one line per step, cut to the terminal. Pure, so that any terminal size is a table test. */

import type { StepEnd } from './execute.ts'

export interface Row {
  readonly title: string
  readonly state: 'pending' | 'running' | StepEnd
  /** It was done before the run; only such rows are ever summed up while there is room for others. */
  readonly unchanged: boolean
  readonly elapsedMs: number
  readonly typicalMs?: number
  /** The last log line while it runs; the reason once it has ended badly. */
  readonly note?: string
}

export interface Screen {
  readonly columns: number
  /** Rows the list may take; Infinity for the final, permanent print. */
  readonly rows: number
  /** Icons by state, coloured or not; one cell wide. */
  readonly icons: Readonly<Record<Row['state'], string>>
  /** Paints what matters less. */
  readonly dim: (text: string) => string
}

/** "0.4 s", "12 s", "3 min 05 s". */
export function durationWords(ms: number): string {
  if (ms < 950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`
}

/** A title is not cut below this many cells to make room for the time. */
const SHORTEST_TITLE = 12

let segmenter: Intl.Segmenter | undefined
const graphemesOf = (text: string): Iterable<Intl.SegmentData> => {
  segmenter ??= new Intl.Segmenter()
  return segmenter.segment(text)
}

/** One line of at most `columns` terminal cells, with an ellipsis when something is missing. Control characters become spaces. */
export function fitWidth(raw: string, columns: number): string {
  const text = raw.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
  if (Bun.stringWidth(text) <= columns) return text
  let kept = ''
  let width = 0
  for (const { segment } of graphemesOf(text)) {
    width += Bun.stringWidth(segment)
    if (width > columns - 1) break
    kept += segment
  }
  return columns > 0 ? `${kept}…` : ''
}

/** Lines for the whole list; at most `screen.rows`, keeping what runs and what failed. */
export function renderRows(rows: readonly Row[], screen: Screen): string[] {
  const full = inFull(rows, screen)
  if (full.length <= screen.rows) return full

  const blocks = summarise(rows, screen)
  return blocks.length <= screen.rows ? blocks : cut(blocks, screen)
}

/** A row each; those that were skipped for one and the same reason are told together. */
function inFull(rows: readonly Row[], screen: Screen): string[] {
  const reasons = Map.groupBy(
    rows.filter(row => row.state === 'skipped'),
    row => row.note ?? '',
  )
  const together = [...reasons].filter(([note, skipped]) => note !== '' && skipped.length > 1)
  const told = new Set(together.flatMap(([, skipped]) => skipped))
  return [
    ...rows.filter(row => !told.has(row)).flatMap(row => [rowLine(row, screen), ...noteLines(row, screen)]),
    ...together.flatMap(([note, skipped]) => [
      count(screen, 'skipped', `${skipped.length} steps did not begin`),
      ...noteLines({ state: 'skipped', note }, screen),
    ]),
  ]
}

/** What is running or went wrong in full, the rest as counts, and as many of the latest done rows as fit. */
function summarise(rows: readonly Row[], screen: Screen): string[] {
  const of = (...states: Row['state'][]) => rows.filter(row => states.includes(row.state))
  const urgent = of('failed', 'interrupted', 'running')
  const done = of('done')
  const waiting = of('pending')
  const skipped = of('skipped')
  const tail = [
    ...(skipped.length > 0 ? [count(screen, 'skipped', `${skipped.length} skipped`)] : []),
    ...(waiting.length > 0 ? [count(screen, 'pending', `${waiting.length} to come`)] : []),
  ]
  const withNotes = urgent.flatMap(row => [rowLine(row, screen), ...noteLines(row, screen)])
  const head = done.length > 0 ? 1 : 0
  const middle = withNotes.length + head + tail.length <= screen.rows ? withNotes : urgent.map(row => rowLine(row, screen))
  const free = Math.max(0, screen.rows - head - middle.length - tail.length)
  const latest = done.filter(row => !row.unchanged)
  const shown = free > 0 ? latest.slice(-free) : []
  const hidden = done.length - shown.length
  return [
    ...(hidden > 0 ? [count(screen, 'done', `${hidden} done`)] : []),
    ...shown.map(row => rowLine(row, screen)),
    ...middle,
    ...tail,
  ]
}

function cut(lines: readonly string[], screen: Screen): string[] {
  const room = Math.max(0, screen.rows - 1)
  const rest = screen.dim(fitWidth(`  and ${lines.length - room} lines more`, screen.columns))
  return [...lines.slice(0, room), rest].slice(0, screen.rows)
}

const count = (screen: Screen, state: Row['state'], words: string): string =>
  `${screen.icons[state]} ${screen.dim(fitWidth(words, screen.columns - 2))}`

function rowLine(row: Row, { columns, icons, dim }: Screen): string {
  const room = Math.max(0, columns - 2)
  const time = timeWords(row)
  const left = room - Bun.stringWidth(time) - 2
  // In a terminal too narrow for both, what it is matters more than how long it takes.
  if (time === '' || left < SHORTEST_TITLE) return `${icons[row.state]} ${fitWidth(row.title, room)}`
  return `${icons[row.state]} ${fitWidth(row.title, left)}  ${dim(time)}`
}

function timeWords({ state, unchanged, elapsedMs, typicalMs }: Row): string {
  const usually = typicalMs === undefined ? '' : `usually ${durationWords(typicalMs)}`
  if (state === 'pending') return usually
  if (state === 'running') return usually === '' ? durationWords(elapsedMs) : `${durationWords(elapsedMs)}, ${usually}`
  return unchanged || state === 'skipped' ? '' : durationWords(elapsedMs)
}

const noteLines = ({ note, state }: Pick<Row, 'note' | 'state'>, { columns, dim }: Screen): string[] =>
  note === undefined || note === '' || state === 'done' || state === 'pending'
    ? []
    : [dim(fitWidth(`  › ${note}`, Math.max(0, columns)))]
