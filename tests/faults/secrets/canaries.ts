/** Secrets that occur nowhere else, and every spelling of them, looked for wherever a byte may come to rest. */

import { lstatSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

export interface Canary {
  readonly name: string
  readonly value: string
}

/** Bytes as base64 spells them behind 0, 1 and 2 others; the parts that no neighbour decides. */
const base64Cores = (value: string): string[] =>
  [0, 1, 2].flatMap(before => {
    const text = Buffer.concat([Buffer.alloc(before), Buffer.from(value)])
      .toString('base64')
      .replace(/=+$/, '')
    const core = text.slice(before === 0 ? 0 : before + 1, -2)
    return [core, core.replaceAll('+', '-').replaceAll('/', '_')]
  })

/** What would give the secret away: itself, encoded, or a half of it that is long enough to be recognised. */
export const formsOf = (value: string): readonly string[] => {
  const half = value.length >> 1
  const quoted = JSON.stringify(value).slice(1, -1)
  return [
    ...new Set([
      value,
      quoted,
      quoted.replaceAll('/', '\\/'),
      encodeURIComponent(value),
      encodeURIComponent(value).replaceAll('%20', '+'),
      Buffer.from(value).toString('hex'),
      ...base64Cores(value),
      // Cut in two by a buffer, a line break or an error message that shows "a part" of it.
      ...(value.length >= 32 ? [value.slice(0, half), value.slice(half)] : []),
    ]),
  ]
}

/** Names of the canaries that `bytes` holds in any form. */
export const canariesIn = (bytes: Buffer | string, canaries: readonly Canary[]): string[] => {
  const text = typeof bytes === 'string' ? bytes : bytes.toString('latin1')
  return canaries.filter(({ value }) => formsOf(value).some(form => text.includes(form))).map(({ name }) => name)
}

/** Every file below `folder`, sockets and links left out. */
export const filesBelow = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map(name => join(folder, name))
    .filter(path => lstatSync(path).isFile())

export const findInFiles = (folder: string, canaries: readonly Canary[]): string[] =>
  filesBelow(folder).flatMap(path =>
    canariesIn(readFileSync(path), canaries).map(name => `${name} in ${path.slice(folder.length + 1)}`),
  )

/** Everything below `folder` that is open to others than its owner. */
export const openToOthers = (folder: string): string[] =>
  [folder, ...readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(name => join(folder, name))]
    .filter(path => !lstatSync(path).isSymbolicLink())
    .flatMap(path => {
      const { mode } = statSync(path)
      return (mode & 0o077) === 0 ? [] : [`${path.slice(folder.length + 1) || '.'} has mode ${(mode & 0o777).toString(8)}`]
    })

const read = (path: string): string => {
  try {
    return readFileSync(path, 'latin1')
  } catch (error) {
    // A process that has ended meanwhile, or belongs to somebody else.
    if (error instanceof Error && 'code' in error) return ''
    throw error
  }
}

/** Looks at the arguments of every process, and at the environment of those that `pid` has started, until it is stopped. */
export function watchProcesses(
  pid: number,
  canaries: readonly Canary[],
): { stop(): readonly string[]; readonly samples: () => number } {
  const found = new Set<string>()
  let samples = 0
  const descendants = new Set<string>()
  const look = (): void => {
    samples += 1
    for (const entry of readdirSync('/proc')) {
      if (!/^\d+$/.test(entry) || entry === String(process.pid)) continue
      for (const name of canariesIn(read(`/proc/${entry}/cmdline`), canaries)) found.add(`${name} in the arguments of a process`)
      if (entry === String(pid)) continue
      const parent = /\) \S (\d+)/.exec(read(`/proc/${entry}/stat`))?.[1]
      if (parent !== String(pid) && !(parent && descendants.has(parent))) continue
      descendants.add(entry)
      const before = read(`/proc/${entry}/cmdline`)
      const environment = read(`/proc/${entry}/environ`)
      // Between fork and exec it is still its parent, arguments, environment and all.
      if (before === read(`/proc/${parent}/cmdline`)) continue
      for (const name of canariesIn(environment, canaries)) found.add(`${name} in the environment of a child`)
    }
  }
  const timer = setInterval(look, 8)
  return {
    stop() {
      clearInterval(timer)
      return [...found]
    },
    samples: () => samples,
  }
}
