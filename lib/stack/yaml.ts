/** YAML with line numbers. The parser forgets where a value stood and keeps the last of two equal keys; a finding needs both. Pure. */

export interface YamlFile {
  readonly value: unknown
  /** The line, from 1, of the key or list element at `path`, or of the nearest one around it. */
  lineOf(path: readonly (string | number)[]): number
  readonly mistakes: readonly { readonly line: number; readonly says: string }[]
}

const KEY = /^(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'|([^\s#'"&*!|>%@`{}[\],][^#]*?))\s*:(?=\s|$)/
const SEPARATOR = '\u0000'

/** Parses `text`. Never throws; a text that is no YAML has `value` undefined and one mistake. */
export function parseYaml(text: string): YamlFile {
  const { lines, twice } = findLines(text)
  const lineOf = (path: readonly (string | number)[]): number => {
    for (let length = path.length; length > 0; length--) {
      const line = lines.get(path.slice(0, length).join(SEPARATOR))
      if (line !== undefined) return line
    }
    return 1
  }
  try {
    return { value: Bun.YAML.parse(text), lineOf, mistakes: twice }
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const line = firstBrokenLine(text)
    return {
      value: undefined,
      lineOf,
      mistakes: [{ line, says: `it is not YAML: ${error.message.replace(/^YAML Parse error:?\s*/i, '').trim()}` }],
    }
  }
}

interface Level {
  readonly indent: number
  readonly path: string
  /** Of the next list element at this level. */
  index: number
  readonly isList: boolean
}

/** Reads the block structure by its indentation, once over the text. Values in flow style have the line of the key before them. */
function findLines(text: string): { lines: Map<string, number>; twice: { line: number; says: string }[] } {
  const lines = new Map<string, number>()
  const twice: { line: number; says: string }[] = []
  const stack: Level[] = []
  // The path that a deeper level hangs below: the last key or element that was read.
  let pending = ''
  let scalarIndent = -1
  let flowDepth = 0
  let number = 0
  for (const raw of text.split('\n')) {
    number++
    const body = raw.trimStart()
    let indent = raw.length - body.length
    if (body === '' || body.startsWith('#')) continue
    if (scalarIndent >= 0) {
      if (indent > scalarIndent) continue
      scalarIndent = -1
    }
    if (flowDepth > 0) {
      flowDepth = Math.max(0, flowDepth + flowChange(body))
      continue
    }
    let rest = body
    const enter = (at: number, isList: boolean): Level => {
      while (
        stack.length > 0 &&
        ((stack.at(-1)?.indent ?? 0) > at || ((stack.at(-1)?.indent ?? 0) === at && stack.at(-1)?.isList && !isList))
      )
        stack.pop()
      const top = stack.at(-1)
      if (top && top.indent === at && top.isList === isList) return top
      const level = { indent: at, path: pending, index: 0, isList }
      stack.push(level)
      return level
    }
    while (rest.startsWith('- ') || rest === '-') {
      const level = enter(indent, true)
      const path = join(level.path, String(level.index++))
      lines.set(path, number)
      pending = path
      const inner = rest.slice(1).trimStart()
      indent += rest.length - inner.length
      rest = inner
    }
    const match = KEY.exec(rest)
    if (!match) continue
    const key = match[1] ?? match[2] ?? match[3] ?? ''
    const level = enter(indent, false)
    const path = join(level.path, key)
    const first = lines.get(path)
    if (first === undefined) lines.set(path, number)
    else if (key !== '<<') twice.push({ line: number, says: `the key "${key}" stands here twice (first in line ${first})` })
    pending = path
    const value = rest.slice(match[0].length).trim()
    if (/^(?:[&!][^\s]+\s+)*[|>][-+0-9]*\s*(?:#.*)?$/.test(value)) scalarIndent = indent
    else if (/^(?:[&!][^\s]+\s+)*[[{]/.test(value)) flowDepth = Math.max(0, flowChange(value))
  }
  return { lines, twice }
}

const join = (path: string, part: string): string => (path === '' ? part : `${path}${SEPARATOR}${part}`)

/** Opened minus closed brackets, quoted texts aside. */
function flowChange(text: string): number {
  let depth = 0
  for (const char of text.replace(/"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|\s#.*$/g, '')) {
    if (char === '[' || char === '{') depth++
    else if (char === ']' || char === '}') depth--
  }
  return depth
}

/** The first line with which the text stops being YAML, by halving; so a broken file has a place. */
function firstBrokenLine(text: string): number {
  const lines = text.split('\n')
  // Parsing again and again is only worth it for a file that a person wrote.
  if (text.length > 256 * 1024) return 1
  let good = 0
  let bad = lines.length
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2)
    if (isYaml(lines.slice(0, middle).join('\n'))) good = middle
    else bad = middle
  }
  return bad
}

function isYaml(text: string): boolean {
  try {
    Bun.YAML.parse(text)
    return true
  } catch (error) {
    if (!(error instanceof Error)) throw error
    return false
  }
}
