/** The configuration as it lies on this machine: every reason why it cannot be read is a sentence, not a bug. */

import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { LandfallError } from './errors.ts'

const LARGEST_BYTES = 1024 ** 2

/** @throws LandfallError config */
export function readConfigFile(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found)
    throw new LandfallError('config', `There is no ${path} here.`, {
      hint: 'Make one: bun scripts/setup.ts  — or look at examples/two-servers.json, and try it: bun scripts/setup.ts --sandbox --config examples/two-servers.json',
    })
  const hint = 'Name the right file with --config; examples/two-servers.json shows how one looks.'
  if (found.isDirectory()) throw new LandfallError('config', `${path} is a folder, not a configuration.`, { hint })
  if (found.size > LARGEST_BYTES)
    throw new LandfallError('config', `${path} is larger than ${LARGEST_BYTES / 1024 ** 2} MiB: that is no estate.`, { hint })
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new LandfallError('config', `${path} cannot be read: ${why}`, { hint, cause: error })
  }
}

/** Before questions are asked whose answers go there. @throws LandfallError config */
export function checkConfigFolder(path: string): void {
  const folder = dirname(path)
  if (existsSync(folder)) return
  throw new LandfallError('config', `There is no folder ${folder} to write the configuration into.`, {
    hint: `Make it: mkdir -p ${folder}  — or name another place with --config.`,
  })
}
