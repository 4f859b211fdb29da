/** What applications take from files beside the config and from the environment. */

import { existsSync, lstatSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, resolve, sep } from 'node:path'
import { LandfallError } from '../errors.ts'
import type { AppSpec, Platform } from '../estate/apps.ts'
import { parseEnv } from '../providers/dokploy/dotenv.ts'
import { Secret } from '../secret.ts'
import type { AppInput } from '../steps/app-diff.ts'
import { UNFILLED, unfilledIn } from './env-file.ts'

const MAX_BYTES = 1024 * 1024

/** Whether there is anything at all for `readBeside` to read. */
export const isBeside = (configPath: string, path: string): boolean =>
  existsSync(resolve(realpathSync(resolve(dirname(configPath))), path))

/** A file below the config's folder, links included: a config from somewhere else must not reach out of its folder. */
export function readBeside(configPath: string, path: string, what: string): string {
  const folder = realpathSync(resolve(dirname(configPath)))
  const full = resolve(folder, path)
  const wrong = (why: string, hint: string) => new LandfallError('config', `${what} ${path} ${why}.`, { hint })
  if (!existsSync(full)) throw wrong('is not there', `Put it beside ${configPath}.`)
  if (!realpathSync(full).startsWith(`${folder}${sep}`))
    throw wrong('lies outside of the folder of the config', 'Copy it into that folder.')
  const { size } = lstatSync(realpathSync(full))
  if (size > MAX_BYTES) throw wrong(`has ${size} bytes; at most ${MAX_BYTES} fit`, 'Name the right file.')
  return readFileSync(full, 'utf8')
}

/** Where a file beside the config may be written. @throws LandfallError config when that is not below the config's folder, links included */
export function placeBeside(configPath: string, path: string, what: string): string {
  const folder = realpathSync(resolve(dirname(configPath)))
  const full = resolve(folder, path)
  const wrong = (why: string, hint: string) => new LandfallError('config', `${what} ${path} ${why}.`, { hint })
  if (!existsSync(dirname(full))) throw wrong('lies in a folder that is not there', `Make it beside ${configPath}.`)
  if (!`${realpathSync(dirname(full))}${sep}`.startsWith(`${folder}${sep}`))
    throw wrong('lies outside of the folder of the config', 'Name one in that folder.')
  return full
}

/** @throws LandfallError config for a file that is missing, too big or outside, or has variables that nobody filled in */
export function readInput(configPath: string, app: AppSpec): AppInput {
  const { source, envFile } = app
  const text = envFile === undefined ? undefined : readBeside(configPath, envFile, `apps.${app.name}.env_file:`)
  const open = text === undefined ? [] : unfilledIn(text)
  if (open.length > 0)
    throw new LandfallError(
      'config',
      `${envFile} lacks ${open.length} values that were not given at the import: ${open.join(', ')}.`,
      {
        hint: `Fill them in and remove the "${UNFILLED}" before each, then run the same command again.`,
      },
    )
  const env = text === undefined ? undefined : parseEnv(text)
  if (app.postDeploy.action === 'versioned' && app.deployOn === 'push' && env?.some(([name]) => name === 'DEPLOY_VERSION'))
    throw new LandfallError('config', `${envFile} sets DEPLOY_VERSION, which would stay the same from push to push.`, {
      hint: 'Remove it: each image carries the version that it was built from, or set deploy_on to "command".',
    })
  if (source.kind !== 'compose' || source.repository) return env ? { env } : {}
  const file = readBeside(configPath, source.file, `apps.${app.name}.compose.file:`)
  return { ...(env ? { env } : {}), file: new Secret(`compose file of ${app.name}`, file, 'unlisted') }
}

/** All inputs at once, so that nothing is sent when one of them is wrong. */
export function readInputs(configPath: string, { apps }: Pick<Platform, 'apps'>): (app: string) => AppInput {
  const inputs = new Map(apps.map(app => [app.name, readInput(configPath, app)] as const))
  return app => inputs.get(app) ?? {}
}

/** Values of the variables that the config names. */
export const secretsFrom =
  (lookup: (name: string) => string | undefined) =>
  (variable: string): Secret => {
    const value = lookup(variable)
    if (value === undefined)
      throw new LandfallError('config', `${variable} is not set, and config.json names it.`, { hint: `export ${variable}=…` })
    return new Secret(variable, value)
  }
