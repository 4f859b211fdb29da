/**
 * How a program and its values travel: as bytes on stdin, behind a remote command that is one constant. So no value can become
 * command text, whatever the login shell is, and nothing of it shows in a process list.
 */

import { LandfallError } from '../../errors.ts'
import { Secret } from '../../secret.ts'
import type { Program, ProgramInput } from '../ports/machine.ts'

/** Reads a length line, then that many bytes of program, and becomes that program; the rest of stdin is the program's. */
export const REMOTE_COMMAND = `sh -c 'read -r n; p=$(head -c "$n"); exec sh -c "$p" landfall'`

/** Answers without doing anything: whoever can run it can run everything else. */
export const PROBE: Program = { name: 'probe', text: '# landfall:probe\nexit 0\n', timeoutMs: 6_000 }

/** Output beyond this is not an answer of any of our programs. */
export const OUTPUT_LIMIT_BYTES = 1024 * 1024

/** Linux takes no single argument longer than this, and the program becomes one on the far side. */
const PROGRAM_LIMIT_BYTES = 128 * 1024 - 1

const NAME = /^[A-Z][A-Z0-9_]{0,63}$/

/**
 * The bytes for the far side's stdin: `<length>\n`, the program, `NAME <base64>` lines, `.`.
 * @throws usage for a NUL in a value, a name that is no variable, a program without its header
 */
export function renderRequest(program: Program, input: ProgramInput = {}): Buffer {
  if (!program.text.startsWith(`# landfall:${program.name}\n`) || program.text.includes('\0')) {
    throw new LandfallError('usage', 'A program must begin with the line that names it, and hold no NUL.')
  }
  const text = Buffer.from(program.text, 'utf8')
  if (text.length > PROGRAM_LIMIT_BYTES) throw new LandfallError('usage', `The program ${program.name} is too long to be sent.`)
  const lines = Object.entries(input).map(([name, value]) => renderValue(name, value))
  return Buffer.concat([Buffer.from(`${text.length}\n`), text, Buffer.from(`${lines.join('')}.\n`)])
}

function renderValue(name: string, value: string | Secret): string {
  if (!NAME.test(name))
    throw new LandfallError('usage', 'The name of a value for a program must be upper-case letters, digits and _.')
  const text = value instanceof Secret ? value.reveal() : value
  // A shell variable cannot hold a NUL: it would be cut off without a word.
  if (text.includes('\0')) throw new LandfallError('usage', `The value of ${name} holds a NUL, which no program can be given.`)
  if (!text.isWellFormed()) throw new LandfallError('usage', `The value of ${name} is not valid text (a lone surrogate).`)
  return `${name} ${Buffer.from(text, 'utf8').toString('base64')}\n`
}

/** UTF-8 text of what a program wrote; bytes that are not UTF-8 become U+FFFD. */
export const parseOutput = (chunks: readonly Uint8Array[]): string => new TextDecoder().decode(Buffer.concat(chunks))
