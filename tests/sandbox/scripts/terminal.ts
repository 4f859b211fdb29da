/** A pseudo terminal with a screen: scripts as somebody at 80 columns and 24 lines meets them. */

import { join } from 'node:path'
import { environmentOf, ROOT } from './run.ts'

export const COLUMNS = 80
export const ROWS = 24
export const KEYS = { enter: '\r', down: '\x1b[B', ctrlC: '\x03' } as const

/** What a terminal makes of the bytes it gets: as much of it as our libraries use. */
export interface Screen {
  write(text: string): void
  /** The lines in view. */
  view(): readonly string[]
  /** Every line so far, those that have scrolled away first. */
  all(): readonly string[]
  /** Lines that did not fit and were broken by the terminal. */
  readonly broken: readonly string[]
  readonly cursor: 'shown' | 'hidden'
}

const WIDE = /\x1b(?:\[([?\d;]*)([A-Za-z])|[78=>]|\][^\x07]*\x07)/y

export const createScreen = (): Screen => {
  const lines: string[] = ['']
  const broken: string[] = []
  let cursor: 'shown' | 'hidden' = 'shown'
  let [row, column] = [0, 0]
  const top = () => Math.max(0, lines.length - ROWS)
  const lineAt = (at: number): string => lines[at] ?? ''
  const goTo = (to: number) => {
    row = Math.max(top(), to)
    while (lines.length <= row) lines.push('')
  }
  const put = (character: string) => {
    if (column >= COLUMNS) {
      broken.push(lineAt(row) + character)
      goTo(row + 1)
      column = 0
    }
    const line = lineAt(row).padEnd(column)
    lines[row] = line.slice(0, column) + character + line.slice(column + 1)
    column += 1
  }
  const eraseInLine = (how: number) => {
    const line = lineAt(row)
    lines[row] = how === 2 ? '' : how === 1 ? ' '.repeat(column) + line.slice(column) : line.slice(0, column)
  }
  const eraseBelow = (how: number) => {
    if (how === 2 || how === 3) lines.splice(top(), lines.length, '')
    else {
      eraseInLine(0)
      lines.splice(row + 1)
    }
  }
  const obey = (given: string, letter: string) => {
    const count = Number(given.split(';')[0]) || 0
    if (given === '?25') cursor = letter === 'l' ? 'hidden' : 'shown'
    else if (letter === 'A') goTo(row - Math.max(1, count))
    else if (letter === 'B') goTo(row + Math.max(1, count))
    else if (letter === 'C') column += Math.max(1, count)
    else if (letter === 'D') column = Math.max(0, column - Math.max(1, count))
    else if (letter === 'E' || letter === 'F') {
      goTo(row + (letter === 'E' ? 1 : -1) * Math.max(1, count))
      column = 0
    } else if (letter === 'G') column = Math.max(0, count - 1)
    else if (letter === 'H') {
      goTo(top() + Math.max(0, count - 1))
      column = Math.max(0, (Number(given.split(';')[1]) || 1) - 1)
    } else if (letter === 'J') eraseBelow(count)
    else if (letter === 'K') eraseInLine(count)
  }
  let held = ''
  return {
    write(text) {
      held += text
      for (let at = 0; ; ) {
        if (at >= held.length) {
          held = ''
          return
        }
        const character = held.charAt(at)
        if (character === '\x1b') {
          WIDE.lastIndex = at
          const match = WIDE.exec(held)
          if (!match) {
            held = held.slice(at)
            return
          }
          obey(match[1] ?? '', match[2] ?? '')
          at += match[0].length
        } else {
          if (character === '\n') goTo(row + 1)
          else if (character === '\r') column = 0
          else if (character === '\b') column = Math.max(0, column - 1)
          else if (character >= ' ') put(character)
          at += 1
        }
      }
    },
    view: () => lines.slice(top()).map(line => line.trimEnd()),
    all: () => lines.map(line => line.trimEnd()),
    broken,
    get cursor() {
      return cursor
    },
  }
}

export interface Session {
  readonly screen: Screen
  /** Every byte that came. */
  raw(): string
  /** Waits until the view shows it. @throws with the view when it does not */
  until(what: string | RegExp, timeoutMs?: number): Promise<void>
  type(text: string): void
  readonly ended: Promise<number | null>
  close(): Promise<void>
}

/** A script at a terminal, with `env` and nothing of the operator's. */
export const openTerminal = (command: string, cwd: string, env: Readonly<Record<string, string | undefined>>): Session => {
  const [script = '', ...words] = command.split(' ')
  const screen = createScreen()
  const decoder = new TextDecoder()
  let raw = ''
  const wanted = { ...environmentOf(cwd), TERM: 'xterm-256color', ...env }
  const child = Bun.spawn([process.execPath, join(ROOT, 'scripts', `${script}.ts`), ...words], {
    cwd,
    env: Object.fromEntries(Object.entries(wanted).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))),
    terminal: {
      cols: COLUMNS,
      rows: ROWS,
      data(_, data) {
        const text = decoder.decode(data, { stream: true })
        raw += text
        screen.write(text)
      },
    },
  })
  const ended = child.exited.then(async code => {
    // The last bytes may come after the process.
    await Bun.sleep(50)
    return child.signalCode === null ? code : null
  })
  return {
    screen,
    raw: () => raw,
    async until(what, timeoutMs = 15_000) {
      const endsAtMs = performance.now() + timeoutMs
      const text = () => screen.view().join('\n')
      while (!(typeof what === 'string' ? text().includes(what) : what.test(text()))) {
        if (performance.now() > endsAtMs || child.exitCode !== null)
          throw new Error(`"${command}" never showed ${String(what)}; its screen:\n${text()}`)
        await Bun.sleep(10)
      }
    },
    type: text => void child.terminal?.write(text),
    ended,
    async close() {
      if (child.exitCode === null) child.kill('SIGKILL')
      await child.exited
      child.terminal?.close()
    },
  }
}
