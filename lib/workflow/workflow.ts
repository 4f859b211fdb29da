/** What `scripts/workflow.ts` does: compares the workflows of this repository with what the config asks for, shows it, writes and deletes. */

import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { writeFileAtomic } from '../engine/files.ts'
import { LandfallError } from '../errors.ts'
import { quoted } from '../estate/words.ts'
import type { Opened, Session } from '../script.ts'
import { commandLine } from '../view.ts'
import {
  desiredWorkflows,
  isAsMade,
  MADE_BY,
  neededSecrets,
  SERVICE_ENV,
  serviceEnvPath,
  WORKFLOW_FILES,
  type Workflows,
} from './render.ts'

const BUN_VERSION = '1.4.5'

type State = 'missing' | 'as wanted' | 'outdated' | 'foreign' | 'no longer wanted' | 'left alone'
const NOT_DUE: readonly State[] = ['as wanted', 'left alone']

/** How each file stands that is wanted, or is there without being so. `read` gives a file's text, undefined where there is none. Pure. */
export const workflowStates = (
  wanted: Workflows,
  read: (path: string) => string | undefined,
): readonly { readonly path: string; readonly state: State }[] =>
  WORKFLOW_FILES.flatMap((path): { path: string; state: State }[] => {
    const have = read(path)
    const text = wanted[path]
    if (have === undefined) return text === undefined ? [] : [{ path, state: 'missing' }]
    if (text === undefined) return [{ path, state: isAsMade(have) ? 'no longer wanted' : 'left alone' }]
    if (have === text) return [{ path, state: 'as wanted' }]
    return [{ path, state: have.startsWith(MADE_BY) ? 'outdated' : 'foreign' }]
  })

const readHere = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, 'utf8') : undefined)

/** Answers with the exit code: 2 for a plan with something to change. */
export async function writeWorkflows(session: Session, { estate, configPath }: Opened): Promise<number> {
  const { args, ask, reporter, interactive } = session
  if (configPath.startsWith('/') || configPath.split('/').includes('..'))
    throw new LandfallError('usage', `${configPath} does not lie in this directory, so no workflow of it could read it.`, {
      hint: 'Run this in the root of the repository that holds the config.',
    })
  // It stands bare in programs, in YAML and in patterns: nothing in it may mean anything there.
  if (!/^[A-Za-z0-9._/][A-Za-z0-9._/-]*$/.test(configPath))
    throw new LandfallError('usage', `${quoted(configPath)} has characters that mean something in a workflow's programs.`, {
      hint: 'Give the config and its folders names of letters, digits, dots, hyphens and underscores.',
    })
  const wanted = desiredWorkflows({ estate, configPath, bunVersion: BUN_VERSION })
  const states = workflowStates(wanted, readHere)
  const foreign = states.filter(each => each.state === 'foreign')
  if (foreign.length > 0)
    throw new LandfallError('refused', `${foreign.map(each => each.path).join(' and ')} was not made by Landfall.`, {
      hint: 'Move it away or delete it, then run the same command again.',
    })
  const due = states.filter(each => !NOT_DUE.includes(each.state))
  const deleted = due.filter(each => each.state === 'no longer wanted').map(each => each.path)
  const written = due.map(each => each.path).filter(path => !deleted.includes(path))
  for (const { path, state } of states) reporter.page(`${path}: ${state}`, { path, state })
  for (const { path } of states.filter(each => each.state === 'left alone'))
    reporter.warning(
      `${path} is not wanted, and stays, because it is not as Landfall made it. If nobody needs it: git rm ${path}`,
    )
  if (args.plan || due.length === 0) return due.length > 0 ? 2 : 0
  if (!args.yes) {
    if (!interactive)
      throw new LandfallError('usage', 'There is no terminal to ask on whether these files may be changed.', {
        hint: `Say it with a flag: ${commandLine(session, '--yes')}`,
      })
    const question = deleted.length === 0 ? 'Write what is due?' : `Write what is due, and delete ${deleted.join(' and ')}?`
    const agreed = await ask.confirm({ flag: '--yes', message: question, default: true })
    if (!agreed) throw new LandfallError('cancelled', 'Nothing was changed.')
  }
  for (const path of deleted) rmSync(path)
  for (const path of written) {
    mkdirSync(dirname(path), { recursive: true })
    await writeFileAtomic(path, wanted[path] ?? '', 0o644)
  }
  const secrets = neededSecrets(estate)
  reporter.page(
    [
      'They need these secrets of the repository (Settings → Secrets and variables → Actions):',
      ...secrets.map(name => `  gh secret set ${name}${name === SERVICE_ENV ? ` <${serviceEnvPath(estate, configPath)}` : ''}`),
      'LANDFALL_SSH_PRIVATE_KEY is a key of its own for CI: ssh-keygen -t ed25519 -N "" -f ci_key; its public half belongs into',
      'ssh.public_keys in config.json beside yours.',
    ].join('\n'),
    { written, deleted, secrets },
  )
  return 0
}
