/** What Landfall remembers about a stack on its host: the releases it recorded, and a rollout that has not ended. Pure. */

import { LandfallError } from '../errors.ts'

export interface FileText {
  /** Absolute path on the host. */
  readonly path: string
  readonly text: string
}

/**
 * How far a rollout has come. `starting`: new containers are made beside the old, unseen. `switching`: they get their names and
 * the proxy is turned to them. `draining`: the proxy serves from them alone, the old ones finish. `reverting` is read like
 * `switching`; no run writes it any more.
 */
export type RolloutPhase = 'starting' | 'switching' | 'draining' | 'reverting'

export interface Rollout {
  readonly release: string
  readonly run: string
  readonly phase: RolloutPhase
  /** Containers that served before, by service. */
  readonly old: Readonly<Record<string, readonly string[]>>
  /** The proxy's files as they are at rest, with names instead of addresses: after a success, and after a failure. */
  readonly rest: readonly FileText[]
  readonly restBefore: readonly FileText[]
}

export interface HistoryEntry {
  readonly id: string
  readonly atMs: number
  readonly kind: 'deploy' | 'rollback'
  /** Digest of the proxy's files that were loaded with it. */
  readonly nginx: string
}

export interface StackState {
  readonly version: 1
  /** Newest last; the last one is what runs. */
  readonly history: readonly HistoryEntry[]
  readonly rollout?: Rollout
  /** Paths of the proxy's files that Landfall put there, and may therefore remove. */
  readonly nginxPaths?: readonly string[]
  /** `behind`: the proxy has not taken up the files that lie there. */
  readonly proxy?: 'behind'
}

/** What a release was made of. */
export interface Manifest {
  readonly id: string
  readonly atMs: number
  readonly by: string
  /** Digest of the networks and volumes. */
  readonly fixtures: string
  readonly services: Readonly<
    Record<
      string,
      { readonly image: string; readonly imageId: string; readonly hash: string; readonly digests: readonly string[] }
    >
  >
}

/** How many releases are kept for rollback, and so their images. */
export const KEPT_RELEASES = 5

export const EMPTY_STATE: StackState = { version: 1, history: [] }

/** @throws config when the file is not ours */
export function parseState(text: string | undefined): StackState {
  if (text === undefined || text.trim() === '') return EMPTY_STATE
  const value = parseJson(text)
  if (!isState(value)) throw unusable('state')
  return value
}

export function parseManifest(text: string): Manifest {
  const value = parseJson(text)
  if (!isManifest(value)) throw unusable('manifest')
  return value
}

/** The release becomes the newest; what is older than the kept number goes, a second mention goes to the front. */
export function withRelease(state: StackState, entry: HistoryEntry): StackState {
  const history = [...state.history.filter(({ id }) => id !== entry.id), entry].slice(-KEPT_RELEASES)
  return { ...withoutRollout(state), history }
}

/** The rollout is over, and the proxy runs by its files unless it is said to be behind. */
export function withoutRollout(state: StackState, proxy?: StackState['proxy']): StackState {
  const { rollout: _, proxy: __, ...rest } = state
  return proxy === undefined ? rest : { ...rest, proxy }
}

export function withNginxPaths(state: StackState, nginxPaths: readonly string[]): StackState {
  const { nginxPaths: _, ...rest } = state
  return nginxPaths.length === 0 ? rest : { ...rest, nginxPaths }
}

/** What a rollback goes back to: the one named, else the newest before the current. @throws not_found */
export function rollbackTarget(state: StackState, named: string | undefined): string {
  const ids = state.history.map(({ id }) => id)
  const target = named ?? ids.at(-2)
  if (target !== undefined && ids.includes(target)) return target
  const known = ids.length === 0 ? 'nothing is recorded yet' : `recorded are ${ids.join(', ')}, the last of which runs`
  throw new LandfallError('not_found', `There is no release ${named ?? ''} to go back to: ${known}.`.replace('  ', ' '), {
    hint: 'bun scripts/stack.ts status',
  })
}

const isGroup = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every(each => typeof each === 'string')
const isFiles = (value: unknown): boolean =>
  Array.isArray(value) && value.every(each => isGroup(each) && typeof each.path === 'string' && typeof each.text === 'string')
const PHASES: readonly unknown[] = ['starting', 'switching', 'draining', 'reverting'] satisfies readonly RolloutPhase[]

const isRollout = (value: unknown): value is Rollout =>
  isGroup(value) &&
  typeof value.release === 'string' &&
  PHASES.includes(value.phase) &&
  isGroup(value.old) &&
  Object.values(value.old).every(isTexts) &&
  isFiles(value.rest) &&
  isFiles(value.restBefore)

const isState = (value: unknown): value is StackState =>
  isGroup(value) &&
  value.version === 1 &&
  Array.isArray(value.history) &&
  value.history.every(entry => isGroup(entry) && typeof entry.id === 'string') &&
  (value.rollout === undefined || isRollout(value.rollout)) &&
  (value.nginxPaths === undefined || isTexts(value.nginxPaths)) &&
  (value.proxy === undefined || value.proxy === 'behind')

const isManifest = (value: unknown): value is Manifest =>
  isGroup(value) && typeof value.id === 'string' && isGroup(value.services) && Object.values(value.services).every(isGroup)

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return undefined
  }
}

const unusable = (what: string): LandfallError =>
  new LandfallError('config', `The ${what} that is recorded on the host is not readable.`, {
    hint: 'Look at state.json below /var/lib/landfall/stacks on the host; without that file the stack counts as never deployed by Landfall.',
  })
