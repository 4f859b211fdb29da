/**
 * What a `.dockerignore` keeps out of a build, by Docker's own rules (reference, "dockerignore files"): the last pattern that matches a path
 * or a folder above it counts. Pure.
 */

interface Pattern {
  readonly keeps: boolean
  readonly matches: RegExp
}

/** Go's filepath.Match with `**` for any number of folders. */
const regExpOf = (pattern: string): RegExp => {
  const source = pattern.replace(/\*\*\/|\*\*|\*|\?|\[[^\]]+\]|\\?./gsu, piece => {
    if (piece === '**/') return '(?:.*/)?'
    if (piece === '**') return '.*'
    if (piece === '*') return '[^/]*'
    if (piece === '?') return '[^/]'
    if (piece.startsWith('[') && piece.length > 2) return piece
    return RegExp.escape(piece.length > 1 && piece.startsWith('\\') ? piece.slice(1) : piece)
  })
  return new RegExp(`^${source}$`, 'u')
}

const parse = (text: string): readonly Pattern[] =>
  text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .filter(line => !line.startsWith('#'))
    .flatMap(line => {
      const trimmed = line.trim()
      const keeps = trimmed.startsWith('!')
      const pattern = (keeps ? trimmed.slice(1).trim() : trimmed)
        .replace(/\/{2,}/g, '/')
        .replace(/^(?:\.?\/)+/, '')
        .replace(/\/+$/, '')
      return pattern === '' || pattern === '.' ? [] : [{ keeps, matches: regExpOf(pattern) }]
    })

/** Whether a path below the context is kept out. The Dockerfile and the file itself are sent in any case, as Docker does. */
export function parseIgnore(text: string): (path: string) => boolean {
  const patterns = parse(text)
  return path => {
    const parts = path.split('/')
    const above = parts.map((_, index) => parts.slice(0, index + 1).join('/'))
    return patterns.reduce((ignored, { keeps, matches }) => (above.some(each => matches.test(each)) ? !keeps : ignored), false)
  }
}
