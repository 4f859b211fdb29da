/** How calls to one panel are repeated: reads freely, settings because twice is the same, creates once and then read back. */

import { createOnce, type RetryPolicy, retry } from '../../engine/retry.ts'
import { hasCode, LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import { type Client, clean, type DokployContext, isObject, isUnknownOutcome } from './client.ts'

export const POLICY: RetryPolicy = { maxRetries: 4, baseMs: 1_000, capMs: 10_000 }
const SETTING_TRIES = 3

export interface Requests {
  /** @param procedure "project.all" */
  get(procedure: string, query?: Readonly<Record<string, string | number>>, timeoutMs?: number): Promise<unknown>
  /** For what may be sent again after a lost answer: the same value twice is the same. */
  set(procedure: string, body: Readonly<Record<string, unknown>>, timeoutMs?: number): Promise<unknown>
  /** Sent once, whatever happens. */
  once(procedure: string, body: Readonly<Record<string, unknown>>, timeoutMs?: number): Promise<unknown>
  /** Creates one thing; after a lost answer `find` decides whether it is there. */
  create<T>(
    what: string,
    procedure: string,
    body: Readonly<Record<string, unknown>>,
    answer: (json: unknown) => Promise<T> | T,
    find: () => Promise<T | undefined>,
  ): Promise<T>
}

export const createRequests = (client: Client, context: DokployContext, apiKey: Secret): Requests => {
  const as = { apiKey }
  const waiting = (waitMs: number, error: unknown) =>
    context.log(`${error instanceof Error ? error.message : 'Dokploy failed.'} Trying again in ${Math.ceil(waitMs / 1000)} s.`)
  const post = (procedure: string, body: Readonly<Record<string, unknown>>, timeoutMs?: number): Promise<unknown> =>
    client.call({ method: 'POST', path: `/api/${procedure}`, as, body, ...(timeoutMs === undefined ? {} : { timeoutMs }) })

  return {
    get(procedure, query = {}, timeoutMs) {
      const text = new URLSearchParams(
        Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)])),
      ).toString()
      const path = `/api/${procedure}${text === '' ? '' : `?${text}`}`
      return retry(() => client.call({ method: 'GET', path, as, ...(timeoutMs === undefined ? {} : { timeoutMs }) }), {
        clock: context.clock,
        signal: context.signal,
        random: context.random,
        policy: POLICY,
        // A 500 is the panel's word for many mistakes of the caller; only a gateway's is worth another try.
        mayRetry: error =>
          hasCode(error, 'network', 'timeout', 'rate_limited') ||
          (error instanceof LandfallError && error.status !== undefined && error.status > 500),
        onWait: ({ waitMs, error }) => waiting(waitMs, error),
      })
    },
    async set(procedure, body, timeoutMs) {
      for (let attempt = 1; ; attempt++) {
        try {
          return await post(procedure, body, timeoutMs)
        } catch (error) {
          if (attempt >= SETTING_TRIES || !hasCode(error, 'network', 'timeout', 'rate_limited')) throw error
          waiting(POLICY.baseMs * attempt, error)
          await context.clock.sleep(POLICY.baseMs * attempt, context.signal)
        }
      }
    },
    once: post,
    create: (what, procedure, body, answer, find) =>
      createOnce({
        clock: context.clock,
        signal: context.signal,
        random: context.random,
        policy: POLICY,
        what,
        send: async () => answer(await post(procedure, body)),
        find,
        judge: error => (hasCode(error, 'rate_limited') ? 'refused' : isUnknownOutcome(error) ? 'unknown' : 'fatal'),
        onWait: ({ waitMs, error }) => waiting(waitMs, error),
      }),
  }
}

// ── reading answers without believing them: the published document says nothing about them (facts/dokploy 1) ──

export type Row = Readonly<Record<string, unknown>>

const unusable = (where: string): LandfallError =>
  new LandfallError('network', `Dokploy's answer to ${clean(where)} is not what Landfall understands.`, {
    hint: 'Dokploy 0.30 is supported; another version may answer differently.',
  })

/** @throws LandfallError network */
export const rowOf = (value: unknown, where: string): Row => {
  if (isObject(value)) return value
  throw unusable(where)
}
export const rowsOf = (value: unknown, where: string): readonly Row[] => {
  if (Array.isArray(value)) return value.filter(isObject)
  throw unusable(where)
}
/** A list inside a row; empty when it is missing. */
export const listIn = (row: Row, name: string): readonly Row[] => (Array.isArray(row[name]) ? row[name].filter(isObject) : [])
export const textIn = (row: Row, name: string): string => (typeof row[name] === 'string' ? row[name] : '')
export const idIn = (row: Row, name: string, where: string): string => {
  const id = row[name]
  if (typeof id === 'string' && id !== '') return id
  throw unusable(where)
}
export const numberIn = (row: Row, name: string, fallback = 0): number => {
  const value = row[name]
  const number = typeof value === 'number' ? value : typeof value === 'string' && value !== '' ? Number(value) : Number.NaN
  return Number.isFinite(number) ? number : fallback
}
export const flagIn = (row: Row, name: string): boolean => row[name] === true
export const objectIn = (row: Row, name: string): Row => {
  const value = row[name]
  return isObject(value) ? value : {}
}
export const wordsIn = (row: Row, name: string): readonly string[] =>
  Array.isArray(row[name]) ? row[name].filter(each => typeof each === 'string') : []
/** `{[key]: value}` without what is absent. */
export const given = <K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } =>
  (value === undefined ? {} : { [key]: value }) as { [P in K]?: V }

/** The one of `items` with this name. @throws LandfallError name_taken when several have it */
export const exactly = <T extends { readonly name: string }>(items: readonly T[], name: string, what: string): T | undefined => {
  const found = items.filter(item => item.name === name)
  if (found.length > 1)
    throw new LandfallError(
      'name_taken',
      `Dokploy has ${found.length} ${what}s called ${clean(name)}: which one is meant is not clear.`,
      {
        hint: 'Rename or delete the others in the panel, then run the same command again.',
      },
    )
  return found[0]
}
