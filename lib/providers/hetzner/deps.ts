/** What the files of this adapter share, and the one way in which they create things. */

import { createOnce, VENDOR_POLICY } from '../../engine/retry.ts'
import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import type { Labels } from '../ports/cloud.ts'
import type { ActionPoller, TrackOptions } from './actions.ts'
import type { Answer, Calls } from './call.ts'
import { verdictOf } from './retry-table.ts'
import { actionsIn, objectIn, type WireAction, type WireId, type WireNamed } from './wire.ts'

export interface Deps {
  readonly calls: Calls
  readonly actions: ActionPoller
  readonly context: ProviderContext
  readonly token: Secret
  /** About how many servers the project has; see `HetznerOptions`. */
  readonly likelyServers: number
}

export interface CreateNamed<T> {
  /** "server prod-dokploy". */
  readonly what: string
  /** `/servers` */
  readonly path: string
  readonly body: Readonly<Record<string, unknown>>
  /** Where the answer holds the object: `server`. */
  readonly key: string
  /** Looks for it, after an answer that leaves it open whether it was made. */
  readonly find: () => Promise<Created<T> | undefined>
  readonly guarded?: boolean
}

export interface Created<T> {
  readonly object: T
  /** What the vendor still does for it. */
  readonly actions: readonly WireAction[]
  readonly receivedAtMs: number
}

/** Creates one object exactly once: POST, and after a lost answer or a taken name whatever `find` makes of it. */
export function createNamed<T extends { readonly id: WireId }>(deps: Deps, input: CreateNamed<T>): Promise<Created<T>> {
  const { clock, random, signal, log } = deps.context
  const request = { what: `create ${input.what}`, path: input.path, body: input.body }
  return createOnce({
    policy: VENDOR_POLICY,
    clock,
    random,
    ...(input.guarded === false ? {} : { signal }),
    onWait: ({ waitMs }) => log(`hetzner: ${input.what} is not there; creating it again in ${(waitMs / 1000).toFixed(1)} s`),
    what: input.what,
    send: async () => {
      const answer = await deps.calls.call({ ...request, method: 'POST', ...guardOf(input) }, json => ({
        object: objectIn<T>(json, input.key),
        actions: actionsIn(json),
      }))
      return { ...answer.value, receivedAtMs: answer.receivedAtMs }
    },
    find: input.find,
    judge: error => {
      if (!(error instanceof LandfallError) || error.vendorCode === undefined) return 'fatal'
      const verdict = verdictOf('POST', error)
      return verdict === 'read_back' ? 'unknown' : verdict === 'look' ? 'exists' : 'fatal'
    },
  })
}

const guardOf = ({ guarded }: { readonly guarded?: boolean }) => (guarded === undefined ? {} : { guarded })

/** The one object of this name under `key` at `path`, or undefined. */
export async function findNamed<T extends WireNamed>(
  deps: Deps,
  input: {
    readonly what: string
    readonly path: string
    readonly key: string
    readonly name: string
    readonly guarded?: boolean
  },
): Promise<Answer<T | undefined>> {
  const request = { what: `find ${input.what}`, path: input.path, query: [['name', input.name] as const], ...guardOf(input) }
  const answer = await deps.calls.list<T>(request, input.key)
  return { ...answer, value: answer.value.find(object => object.name === input.name) }
}

/**
 * `find` for a create: the object of this name, if it carries all the labels that we would have given it.
 * @throws LandfallError `name_taken` when it is another's
 */
export async function findOwn<T extends WireNamed>(
  deps: Deps,
  input: { readonly what: string; readonly path: string; readonly key: string; readonly name: string; readonly labels: Labels },
): Promise<Created<T> | undefined> {
  const found = await findNamed<T>(deps, input)
  if (found.value === undefined) return undefined
  if (!carries(found.value.labels ?? {}, input.labels)) throw takenBy(input.what)
  deps.context.log(`hetzner: ${input.what} was made by an earlier try; continuing with it`)
  return { object: found.value, actions: [], receivedAtMs: found.receivedAtMs }
}

/** Whether `labels` proves that the object is the one which was to be created with `wanted`; nothing proves it without labels. */
function carries(labels: Readonly<Record<string, string>>, wanted: Labels): boolean {
  const pairs = Object.entries(wanted)
  return pairs.length > 0 && pairs.every(([key, value]) => labels[key] === value)
}

export const takenBy = (what: string): LandfallError =>
  new LandfallError('name_taken', `Could not create ${what}: the project has another object of this name, with other labels.`, {
    hint: 'Rename or delete the other object in the Hetzner Console, or choose another name in the configuration.',
  })

/** Sends an action that sets a state, so that doing it twice ends the same, and waits until the vendor is done. */
export async function act(
  deps: Deps,
  input: { readonly what: string; readonly path: string; readonly body?: unknown; readonly signal?: AbortSignal },
): Promise<void> {
  const { value, receivedAtMs } = await deps.calls.call({ ...input, method: 'POST', judgedAs: 'PUT' }, actionsIn)
  await track(deps, value, { ...input, order: 'together', receivedAtMs })
}

/** Waits for the actions of an answer; there may be none. */
export async function track(deps: Deps, actions: readonly WireAction[], options: TrackOptions): Promise<void> {
  if (actions.length > 0) await deps.actions.track(actions, options)
}
