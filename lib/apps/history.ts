/** Releases of an app, kept on its server, readable by root alone: what ran, with which variables and which compose file. */

import { LandfallError } from '../errors.ts'
import { envValue } from '../providers/dokploy/dotenv.ts'
import type { EnvSet } from '../providers/ports/dokploy-apps.ts'
import type { Target } from '../providers/ports/machine.ts'
import { Secret } from '../secret.ts'
import { type ProgramDeps, runProgram } from '../steps/machine.ts'

export interface Release {
  readonly version: string
  /** ISO 8601, by the clock of who deployed. */
  readonly at: string
  readonly by: string
  readonly event: 'deploy' | 'rollback' | 'env'
  /** Of the container: "web:1@sha256:…" where a registry said the digest. Empty for a compose stack. */
  readonly image: string
  /** "sha256:…" of the image on the machine. */
  readonly imageId: string
  /** Of each service of a compose stack: what can be run again, a reference by digest or an image id. */
  readonly services: Readonly<Record<string, string>>
  readonly env: EnvSet
  /** Of everything else that the deploy was set up with: two that are alike have the same. */
  readonly setUp: string
  readonly file?: Secret
  /** At Dokploy's registry of former versions. */
  readonly deploymentId: string
}

const NO_HISTORY = 4

/** The release to go back to: the one before the present version was deployed. Going back twice goes two back, never forward again. Pure. */
export function releaseBefore(history: readonly Release[]): Release | undefined {
  const current = history.at(-1)
  const deployed = history.findLastIndex(each => each.event === 'deploy' && each.version === current?.version)
  return history.slice(0, Math.max(0, deployed)).findLast(each => each.version !== current?.version)
}

/** Whether both run the same images. Pure. */
export const sameImages = (one: Release, other: Release): boolean =>
  one.imageId === other.imageId &&
  JSON.stringify(Object.entries(one.services).sort()) === JSON.stringify(Object.entries(other.services).sort())

/** Newest last. A line that is damaged is left out. */
export async function readHistory(deps: ProgramDeps, target: Target, app: string): Promise<readonly Release[]> {
  const result = await deps.machines.run(target, deps.programs['read-app-history'], { APP: app })
  if (result.exitCode === NO_HISTORY) return []
  if (result.exitCode !== 0)
    throw new LandfallError(
      'vendor',
      `The releases of ${app} kept on ${target.name} can't be read (exit code ${result.exitCode}).`,
    )
  return result.stdout.split('\n').flatMap(line => (line === '' ? [] : fromLine(line)))
}

export async function appendHistory(deps: ProgramDeps, target: Target, app: string, release: Release): Promise<void> {
  const entry = new Secret(`release of ${app}`, JSON.stringify(toJson(release)), 'unlisted')
  await runProgram(deps, target, 'append-app-history', { APP: app, ENTRY: entry })
}

const toJson = ({ env, file, ...rest }: Release) => ({
  ...rest,
  env: env.map(([name, value]) => [name, value.reveal()]),
  ...(file ? { file: file.reveal() } : {}),
})

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const pairs = (value: unknown): [string, string][] =>
  Array.isArray(value)
    ? value.flatMap((pair: unknown): [string, string][] =>
        Array.isArray(pair) && typeof pair[0] === 'string' && typeof pair[1] === 'string' ? [[pair[0], pair[1]]] : [],
      )
    : []

function fromLine(line: string): Release[] {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(line, 'base64').toString('utf8'))
  } catch (error) {
    if (error instanceof SyntaxError) return []
    throw error
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return []
  const row: Readonly<Record<string, unknown>> = { ...value }
  const services = typeof row.services === 'object' && row.services !== null ? Object.entries(row.services) : []
  return [
    {
      version: text(row.version),
      at: text(row.at),
      by: text(row.by),
      event: row.event === 'rollback' || row.event === 'env' ? row.event : 'deploy',
      image: text(row.image),
      imageId: text(row.imageId),
      services: Object.fromEntries(services.map(([name, image]) => [name, text(image)])),
      setUp: text(row.setUp),
      env: pairs(row.env).map(([name, inner]) => envValue(name, inner)),
      ...(typeof row.file === 'string' ? { file: new Secret('kept compose file', row.file, 'unlisted') } : {}),
      deploymentId: text(row.deploymentId),
    },
  ]
}
