/**
 * Variables as Dokploy keeps them: one dotenv text per service, parsed with the dotenv package and handed on as `NAME=value`
 * (Dokploy v0.30.2, docker/utils). dotenv has no escape for its quotes, so a writing is chosen for each value and read back with the
 * same parser before anything is sent: a value that would not come out byte for byte is refused by name.
 */

import { parse } from 'dotenv'
import { LandfallError } from '../../errors.ts'
import { Secret } from '../../secret.ts'
import type { EnvSet } from '../ports/dokploy-apps.ts'

/** What every shell, compose and Swarm take as a variable's name. */
const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,255}$/
const FORBIDDEN = new Set(['__proto__', 'constructor', 'prototype'])

const SECRET_NAME = /KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|AUTH|PRIVATE|SALT|DSN|COOKIE|SIGN/i
const WITH_LOGIN = /:\/\/[^/\s]*:[^/\s]*@/

/** One variable. What is a secret by its name or form is told to the redactor; "production" is not. */
export const envValue = (name: string, value: string): readonly [string, Secret] => [
  name,
  new Secret(name, value, SECRET_NAME.test(name) || WITH_LOGIN.test(value) ? 'listed' : 'unlisted'),
]

/** Reads a `.env` text. The last of two equal names counts, as in dotenv. */
export const parseEnv = (text: string): EnvSet => Object.entries(parse(text)).map(([name, value]) => envValue(name, value))

/** Ways to write a value; the first that comes back byte for byte is taken. */
const WRITINGS: readonly ((value: string) => string)[] = [
  value => value,
  value => `'${value}'`,
  value => `"${value}"`,
  value => `"${value.replaceAll('\r', '\\r').replaceAll('\n', '\\n')}"`,
  value => `\`${value}\``,
]

/** What may stand in the next line: a quote that stays open would swallow everything up to one of its kind at a line's end. */
const NEIGHBOURS = ['"', "'", '`'].flatMap(quote => [
  { written: `${quote}1${quote}`, value: '1' },
  { written: `x${quote}`, value: `x${quote}` },
])

const comesBack = (line: string, name: string, value: string): boolean => {
  const other = `${name}_`
  return NEIGHBOURS.every(next => {
    const read = parse(`${line}\n${other}=${next.written}\n`)
    return read[name] === value && read[other] === next.value && Object.keys(read).length === 2
  })
}

const lineOf = (name: string, value: string): string | undefined =>
  WRITINGS.map(write => `${name}=${write(value)}`).find(line => comesBack(line, name, value))

/** What stands in the double braces after a dollar: "project.X" and its kin. */
const REFERENCE = /(?<=\$\{\{).*?(?=\}\})/g
const isReference = (target: string, names: ReadonlySet<string>): boolean =>
  /^(?:project|environment)\.[A-Za-z_][A-Za-z0-9_]*$/.test(target) || /^vault\.[\w.\-/]+$/.test(target) || names.has(target)

/** Why a variable can't be kept by Dokploy; undefined when it can. Never holds the value. */
export function envProblem(name: string, value: string, names: ReadonlySet<string>): string | undefined {
  if (!NAME.test(name) || FORBIDDEN.has(name)) return 'its name is no name of a variable'
  if (value.includes('\0')) return 'its value holds a NUL'
  if (!value.isWellFormed()) return 'its value is no valid text'
  for (const target of value.match(REFERENCE) ?? [])
    if (!isReference(target, names))
      return 'its value holds a reference in double braces that leads nowhere, which would fail each deploy'
  return lineOf(name, value) === undefined
    ? 'its value mixes quotes and line breaks in a way that dotenv cannot write'
    : undefined
}

/**
 * The text for Dokploy; `parseEnv` gives the same set back.
 * @throws LandfallError config, naming every variable that cannot be kept byte for byte
 */
export function renderEnv(env: EnvSet): string {
  const names = new Set(env.map(([name]) => name))
  const lines = env.map(([name, value]) => lineOf(name, value.reveal()))
  const problems = env.flatMap(([name, value]) => {
    const problem = envProblem(name, value.reveal(), names)
    return problem === undefined ? [] : [`${JSON.stringify(name)}: ${problem}`]
  })
  if (problems.length > 0)
    throw new LandfallError('config', `Dokploy cannot keep these variables byte for byte: ${problems.join('; ')}.`, {
      hint: 'Encode such a value (base64, for example) and decode it in the application.',
    })
  return lines.map(line => `${line}\n`).join('')
}
