/** GitHub Actions reads commands from a job's output. What we mean as one is escaped right; what others say never becomes one. */

// https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts
const escapeData = (text: string): string => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A')
const escapeProperty = (text: string): string => escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C')

/** A line that GitHub shows at the top of the run. */
export const renderAnnotation = (kind: 'error' | 'warning' | 'notice', message: string, title?: string): string =>
  `::${kind}${title === undefined ? '' : ` title=${escapeProperty(title)}`}::${escapeData(message)}`

/** The same at a line of a file, shown beside it in a pull request. */
export const renderPlacedAnnotation = (
  kind: 'error' | 'warning' | 'notice',
  message: string,
  { file, line, title }: { readonly file: string; readonly line: number; readonly title: string },
): string => `::${kind} file=${escapeProperty(file)},line=${line},title=${escapeProperty(title)}::${escapeData(message)}`

/** Lines that make GitHub hide `secrets` in the log: each as a whole, and each line of it, since logs are masked by line. */
export const renderMasks = (secrets: readonly string[]): readonly string[] => {
  const texts = secrets.flatMap(secret => [secret, ...secret.split(/\r?\n/)]).filter(text => text.trim() !== '')
  return [...new Set(texts)].map(text => `::add-mask::${escapeData(text)}`)
}

/** `line`, unable to be taken for a command: those begin with `::` after blanks, or hold `##[` anywhere. */
export const disarm = (line: string): string => line.replace(/^(\s*)::/, '$1\\x3a:').replaceAll('##[', '#\\x23[')
