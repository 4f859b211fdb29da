/** Text in columns: words are wrapped by what they take on a terminal, not by how many code units they have. */

let segmenter: Intl.Segmenter | undefined
/** Made for the first text that does not fit: it takes 5 ms to make, which is much for `--help`. */
const graphemesOf = (text: string): Iterable<Intl.SegmentData> => {
  segmenter ??= new Intl.Segmenter()
  return segmenter.segment(text)
}

/** Pieces of `word` that are at most `width` cells wide. */
const broken = (word: string, width: number): string[] => {
  const pieces: string[] = []
  let piece = ''
  for (const { segment } of graphemesOf(word)) {
    if (piece !== '' && Bun.stringWidth(piece + segment) > width) {
      pieces.push(piece)
      piece = ''
    }
    piece += segment
  }
  return [...pieces, piece]
}

const LEAST_ROOM = 20

/** A command of ours in a sentence: its words up to a comma, a full stop, a bracket, a dash or a wider gap. */
export const COMMAND = /bun scripts\/[a-z-]+\.ts(?:(?<![,.;:?!)]) (?![(—])(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+)*/
const WORD = new RegExp(`\\S*?${COMMAND.source}\\S*|\\S+`, 'g')

/**
 * Lines of at most `width` cells. `first` stands before the first line, `rest` before the others. A word that is too long for a
 * line is broken, except an address or a path, which nobody could copy then. A command counts as one word: pasted in parts it
 * would be another. Line breaks in `text` are kept.
 */
export const wrap = (text: string, width: number, first = '', rest = ' '.repeat(Bun.stringWidth(first))): readonly string[] => {
  const lines: string[] = []
  for (const paragraph of text.split('\n')) {
    let line = lines.length === 0 ? first : rest
    let isEmpty = true
    for (const word of paragraph.match(WORD) ?? []) {
      const room = Math.max(LEAST_ROOM, width - Bun.stringWidth(rest))
      for (const piece of word.includes('/') ? [word] : broken(word, room)) {
        if (!isEmpty && Bun.stringWidth(line) + 1 + Bun.stringWidth(piece) > width) {
          lines.push(line)
          line = rest
          isEmpty = true
        }
        line += isEmpty ? piece : ` ${piece}`
        isEmpty = false
      }
    }
    lines.push(isEmpty ? line.trimEnd() : line)
  }
  return lines
}

/** Two columns: names on the left, as wide as the widest that fits, explanations wrapped on the right. */
export const columns = (rows: readonly (readonly [string, string])[], width: number, indent = '  '): readonly string[] => {
  const widest = Math.min(30, Math.max(0, ...rows.map(([name]) => Bun.stringWidth(name))))
  const left = indent.length + widest + 2
  return rows.flatMap(([name, text]) => {
    const head = `${indent}${name}`
    if (Bun.stringWidth(name) > widest) return [...wrap(name, width, indent), ...wrap(text, width, ' '.repeat(left))]
    return wrap(text, width, head + ' '.repeat(left - Bun.stringWidth(head)), ' '.repeat(left)).map(line => line.trimEnd())
  })
}

/** "0.4 s", "12 s", "3 min 05 s". */
export const durationWords = (ms: number): string => {
  if (ms < 950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`
}
