/**
 * The far end of the launcher: the one remote command that Landfall ever sends, and the stream it reads. The first line is the length
 * of the program in bytes, the program follows, then its values as `NAME <base64>` lines up to a line `.`.
 */

/** The constant command text. Anything else is not simulated. */
export const LAUNCHER = `sh -c 'read -r n; p=$(head -c "$n"); exec sh -c "$p" landfall'`

export interface Launch {
  /** From the program's first line, `# landfall:<name>`; undefined when it has none. */
  readonly name: string | undefined
  readonly values: Readonly<Record<string, string>>
}

export type LaunchStep =
  | { readonly state: 'more' }
  | { readonly state: 'ready'; readonly launch: Launch }
  | { readonly state: 'broken'; readonly exitCode: number; readonly why: string }

/** What the programs themselves exit with when their input is not what they take. */
const BAD_INPUT = 65

/**
 * Reads what has arrived on stdin so far.
 * @param accepts the values that the program of this name takes; undefined for one that does not read its stdin
 * @param ended whether stdin was closed
 */
export const parseLaunch = (
  received: Buffer,
  accepts: (name: string) => readonly string[] | undefined,
  ended: boolean,
): LaunchStep => {
  const waiting = (exitCode: number, why: string): LaunchStep => (ended ? { state: 'broken', exitCode, why } : { state: 'more' })
  const lineEnd = received.indexOf(0x0a)
  if (lineEnd < 0) return waiting(2, 'sh: the length of the program is missing')
  const length = Number(received.toString('utf8', 0, lineEnd))
  if (!Number.isSafeInteger(length) || length <= 0) return { state: 'broken', exitCode: 2, why: 'head: invalid number of bytes' }
  const programEnd = lineEnd + 1 + length
  if (received.length < programEnd) return waiting(2, 'sh: the program is cut short')
  const firstLine = received.toString('utf8', lineEnd + 1, programEnd).split('\n', 1)[0] ?? ''
  const name = /^# landfall:([a-z][a-z-]*)$/.exec(firstLine)?.[1]
  const known = name === undefined ? undefined : accepts(name)
  if (!known) return { state: 'ready', launch: { name, values: {} } }

  // What follows the last line break is not yet a whole line.
  const lines = received.toString('utf8', programEnd).split('\n').slice(0, -1)
  const close = lines.indexOf('.')
  if (close < 0) return waiting(BAD_INPUT, 'The input ended before its closing line.')
  const values: Record<string, string> = {}
  for (const line of lines.slice(0, close)) {
    const [, key, encoded] = /^([A-Z][A-Z0-9_]*) ([A-Za-z0-9+/]*={0,2})$/.exec(line) ?? []
    if (key === undefined || encoded === undefined)
      return { state: 'broken', exitCode: BAD_INPUT, why: 'A line of the input is not a name and a value.' }
    if (!known.includes(key))
      return { state: 'broken', exitCode: BAD_INPUT, why: 'The input names a value that this program does not take.' }
    values[key] = Buffer.from(encoded, 'base64').toString('utf8')
  }
  return { state: 'ready', launch: { name, values } }
}
