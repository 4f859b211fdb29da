/** What an audit rule is and what it may look at. */

import type { ComposeFile, WrittenService } from './compose-file.ts'
import type { EnvironmentName, StackConfig } from './config.ts'
import type { Edit, Finding } from './finding.ts'
import type { Directive, ParsedNginx } from './nginx.ts'

export interface NginxSource {
  /** As the operator would name it. */
  readonly file: string
  readonly text: string
  readonly parsed: ParsedNginx
}

export interface AuditInput {
  readonly stack: StackConfig
  readonly environment: EnvironmentName
  readonly compose: ComposeFile
  /** Names of variables that have a value for this environment. */
  readonly variables: ReadonlySet<string>
  /** Whether a path, relative to the Compose file's folder or absolute, exists. */
  readonly exists: (path: string) => boolean
  readonly nginx: readonly NginxSource[]
  readonly workflow?: { readonly file: string; readonly text: string }
  /** What Compose itself says about the file, when it was asked: its error, or the names of the services it resolves. */
  readonly asked?: { readonly services: readonly string[] } | { readonly refused: string }
}

/** A finding without its rule. */
export type Found = Omit<Finding, 'rule' | 'level'> & { readonly level?: Finding['level'] }

export interface Rule {
  readonly about: string
  check(input: AuditInput): Iterable<Found>
}

/** The services that a deploy rolls: the list without the proxy and what cannot be rolled anyway. */
export const rolledServices = ({ stack, compose }: AuditInput): readonly WrittenService[] =>
  [...new Set(stack.services)].flatMap(name => {
    const service = name === stack.nginx.service || stack.stateful.includes(name) ? undefined : compose.services[name]
    return service ? [service] : []
  })

export const lineIn = ({ compose }: AuditInput, service: string, ...path: (string | number)[]): number =>
  compose.yaml.lineOf(['services', service, ...path])

/** Where the service list stands. */
export const listPlace = ({ stack, compose }: AuditInput, index?: number): { file: string; line: number } =>
  stack.source === undefined
    ? { file: compose.file, line: compose.yaml.lineOf(['services']) }
    : { file: stack.source, line: stack.lineOf(index === undefined ? ['services'] : ['services', index]) }

/** Lines of a key below a service with everything that belongs to it: what a patch takes out. */
export function linesOfKey(compose: ComposeFile, service: string, key: string): Edit | undefined {
  const line = compose.yaml.lineOf(['services', service, key])
  const lines = compose.text.split('\n')
  const first = lines[line - 1] ?? ''
  if (!first.trimStart().replace(/^["']/, '').startsWith(key)) return undefined
  const indent = first.length - first.trimStart().length
  let end = line
  while (end < lines.length) {
    const next = lines[end] ?? ''
    const body = next.trimStart()
    const depth = next.length - body.length
    // A list may stand at its key's own depth.
    const belongs = body !== '' && (depth > indent || (depth === indent && body.startsWith('- ')))
    if (!belongs) break
    end++
  }
  return { file: compose.file, line, remove: end - line + 1, insert: [] }
}

/** A patch that adds lines below the service's name. */
export function addBelowService(compose: ComposeFile, service: string, lines: readonly string[]): Edit | undefined {
  const line = compose.yaml.lineOf(['services', service])
  const source = compose.text.split('\n')
  const name = source[line - 1] ?? ''
  // Flow style has no place for lines.
  if (!/:\s*(?:#.*)?$/.test(name)) return undefined
  const next = source.slice(line).find(each => each.trim() !== '' && !each.trimStart().startsWith('#')) ?? ''
  const depth = next.length - next.trimStart().length
  const own = name.length - name.trimStart().length
  const indent = ' '.repeat(depth > own ? depth : own + 2)
  return { file: compose.file, line: line + 1, remove: 0, insert: lines.map(each => indent + each) }
}

export const upstreamsOf = (
  sources: readonly NginxSource[],
  walkAll: (directives: readonly Directive[]) => Iterable<{ directive: Directive; path: readonly Directive[] }>,
) =>
  sources.flatMap(source =>
    [...walkAll(source.parsed.directives)].flatMap(({ directive }) =>
      directive.name === 'upstream' && directive.block
        ? [
            {
              source,
              name: directive.args[0]?.text ?? '',
              directive,
              servers: directive.block.filter(each => each.name === 'server'),
            },
          ]
        : [],
    ),
  )

/** `found` with those of the edits that could be made. */
export const withEdit = (found: Found, ...edits: (Edit | undefined)[]): Found => {
  const known = edits.flatMap(edit => edit ?? [])
  return known.length > 0 ? { ...found, edits: known } : found
}
