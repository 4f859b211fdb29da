/** Reads nginx's configuration language: directives and blocks with their places in the text. Pure. */

export interface Word {
  /** Without quotes. */
  readonly text: string
  readonly start: number
  readonly end: number
}

export interface Directive {
  readonly name: string
  readonly args: readonly Word[]
  readonly line: number
  readonly start: number
  /** Behind the semicolon or the closing brace. */
  readonly end: number
  /** Present for `name … { … }`. */
  readonly block?: readonly Directive[]
}

export interface ParsedNginx {
  readonly directives: readonly Directive[]
  /** What does not fit the language; the rest is still read. */
  readonly mistakes: readonly { readonly line: number; readonly says: string }[]
}

interface Token {
  readonly kind: 'word' | ';' | '{' | '}'
  readonly text: string
  readonly start: number
  readonly end: number
  readonly line: number
}

const BLANK = /\s/

function readTokens(source: string, mistakes: { line: number; says: string }[]): Token[] {
  const tokens: Token[] = []
  let at = 0
  let line = 1
  while (at < source.length) {
    const char = source[at] ?? ''
    if (char === '\n') line++
    if (BLANK.test(char)) at++
    else if (char === '#') {
      const end = source.indexOf('\n', at)
      at = end < 0 ? source.length : end
    } else if (char === ';' || char === '}' || char === '{') {
      tokens.push({ kind: char, text: char, start: at, end: at + 1, line })
      at++
    } else {
      const start = at
      const startLine = line
      let text = ''
      const quote = char === '"' || char === "'" ? char : undefined
      if (quote) at++
      for (;;) {
        const next = source[at]
        if (next === undefined) {
          if (quote) mistakes.push({ line: startLine, says: 'a quoted text is never closed' })
          break
        }
        if (next === '\\' && at + 1 < source.length) {
          text += source.slice(at, at + 2)
          at += 2
          continue
        }
        if (quote ? next === quote : BLANK.test(next) || next === ';') break
        if (!quote && next === '{' && source[at - 1] !== '$') break
        if (next === '\n') line++
        // `${name}` belongs to the word.
        if (!quote && next === '{') {
          const end = source.indexOf('}', at)
          const stop = end < 0 ? source.length : end + 1
          text += source.slice(at, stop)
          at = stop
          continue
        }
        text += next
        at++
      }
      if (quote && at < source.length) at++
      tokens.push({ kind: 'word', text, start, end: at, line: startLine })
    }
  }
  return tokens
}

/** Parses one file. Never throws. */
export function parseNginx(source: string): ParsedNginx {
  const mistakes: { line: number; says: string }[] = []
  const tokens = readTokens(source, mistakes)
  interface Open {
    readonly name: Token
    readonly args: readonly Word[]
    readonly into: Directive[]
  }
  const root: Directive[] = []
  const stack: Open[] = []
  let words: Token[] = []
  const current = () => stack.at(-1)?.into ?? root
  const toWord = ({ text, start, end }: Token): Word => ({ text, start, end })
  for (const token of tokens) {
    if (token.kind === 'word') {
      words.push(token)
      continue
    }
    const [name, ...args] = words
    words = []
    if (token.kind === '}') {
      if (name) mistakes.push({ line: name.line, says: `"${name.text}" does not end with a semicolon` })
      const open = stack.pop()
      if (!open) mistakes.push({ line: token.line, says: 'a closing brace has no opening one' })
      else {
        const { text, line, start } = open.name
        current().push({ name: text, args: open.args, line, start, end: token.end, block: open.into })
      }
    } else if (!name) mistakes.push({ line: token.line, says: `"${token.text}" stands alone` })
    else if (token.kind === '{') stack.push({ name, args: args.map(toWord), into: [] })
    else current().push({ name: name.text, args: args.map(toWord), line: name.line, start: name.start, end: token.end })
  }
  if (words[0]) mistakes.push({ line: words[0].line, says: `"${words[0].text}" does not end with a semicolon` })
  for (const open of stack) mistakes.push({ line: open.name.line, says: `the brace of "${open.name.text}" is never closed` })
  return { directives: root, mistakes }
}

/** Every directive, with the names of the blocks around it. */
export function* walk(
  directives: readonly Directive[],
  path: readonly Directive[] = [],
): Generator<{ directive: Directive; path: readonly Directive[] }> {
  for (const directive of directives) {
    yield { directive, path }
    if (directive.block) yield* walk(directive.block, [...path, directive])
  }
}

/** `api:5000` → name and port; undefined for sockets, addresses in brackets and variables. */
export function parseAddress(text: string): { readonly host: string; readonly port: string } | undefined {
  const match = /^([A-Za-z0-9_.-]+)(?::(\d+))?$/.exec(text)
  return match?.[1] === undefined ? undefined : { host: match[1], port: match[2] ?? '80' }
}

export const isIpAddress = (host: string): boolean => /^\d{1,3}(?:\.\d{1,3}){3}$/.test(host)

/** The ports that servers of these files listen on, without sockets and TLS; the first one first. */
export function listenPorts(directives: readonly Directive[]): readonly number[] {
  const ports: number[] = []
  for (const { directive, path } of walk(directives)) {
    if (directive.name !== 'listen' || path.at(-1)?.name !== 'server') continue
    const port = /(?:^|:)(\d+)$/.exec(directive.args[0]?.text ?? '')?.[1]
    ports.push(Number(port ?? 80))
  }
  return ports
}
