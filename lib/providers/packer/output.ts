/** What `packer -machine-readable` prints: `timestamp,target,type,data…`, one event a line (Packer's documentation, "Machine-Readable Output"). */

export type PackerEvent =
  | { readonly kind: 'progress'; readonly text: string }
  | { readonly kind: 'error'; readonly text: string }
  | { readonly kind: 'artifact'; readonly id: string }
  | { readonly kind: 'version'; readonly version: string }

const unescaped = (text: string): string => text.replaceAll('%!(PACKER_COMMA)', ',').replaceAll('\\n', '\n').replaceAll('\\r', '')

/** Undefined for what Landfall has no use for. Pure. */
export function parseLine(line: string): PackerEvent | undefined {
  const [, , type, ...data] = line.split(',')
  if (type === 'ui' && (data[0] === 'say' || data[0] === 'message')) return progressOf(data.slice(1).join(','))
  if (type === 'ui' && data[0] === 'error') return { kind: 'error', text: unescaped(data.slice(1).join(',')).trim() }
  if (type === 'error') return { kind: 'error', text: unescaped(data.join(',')).trim() }
  if (type === 'artifact' && data[1] === 'id' && data[2]) return { kind: 'artifact', id: unescaped(data[2]) }
  if (type === 'version' && data[0]) return { kind: 'version', version: data[0] }
  return undefined
}

/** "==> hcloud.golden: Creating server..." as "Creating server..."; Packer indents and prefixes what it says. */
function progressOf(escaped: string): PackerEvent | undefined {
  const text = unescaped(escaped)
    .replace(/^\s*(?:==>\s*)?(?:[\w.-]+:\s*)?/, '')
    .trim()
  return text === '' ? undefined : { kind: 'progress', text }
}

/** Names of the variables that a template declares. Pure. */
export const declaredVariables = (template: string): ReadonlySet<string> =>
  new Set([...template.matchAll(/^\s*variable\s+"([A-Za-z_][\w-]*)"/gm)].flatMap(match => match[1] ?? []))

/** Whether `version` is at least `major.minor`. Pure. */
export function isAtLeast(version: string, major: number, minor: number): boolean {
  const [have = 0, haveMinor = 0] = version.split('.').map(Number)
  return have > major || (have === major && haveMinor >= minor)
}
