/**
 * How Hetzner says no, and how it cuts lists into pages: the error envelope, `meta.pagination`, the `Link` header, sorting.
 */
import type { StandInResponse } from '../kit.ts'
import type { Call } from './cloud.ts'
import { type Labels, matchesSelector, parseSelector } from './labels.ts'

export interface FieldProblem {
  readonly name: string
  readonly messages: readonly string[]
}

/** A refusal in the vendor's words. Thrown by a handler before its first write, turned into an answer by the router. */
export class Refusal extends Error {
  override readonly name = 'Refusal'

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: Readonly<Record<string, unknown>> | null = null,
  ) {
    super(message)
  }
}

/** 422 `invalid_input` naming every field that is wrong. */
export const invalidInput = (...fields: FieldProblem[]): Refusal => {
  const first = fields[0]
  const message = first ? `invalid input in field '${first.name}': ${first.messages.join(', ')}` : 'invalid input'
  return new Refusal(422, 'invalid_input', message, { fields })
}

export const invalidField = (name: string, ...messages: string[]): Refusal => invalidInput({ name, messages })

/** 404 `not_found` for an object of the path. */
export const notFound = (what: string, id: number | string): Refusal =>
  new Refusal(404, 'not_found', `${what} with ID '${id}' not found`)

/** 409 `uniqueness_error` naming the field that clashes. */
export const notUnique = (message: string, field: string): Refusal =>
  new Refusal(409, 'uniqueness_error', message, { fields: [{ name: field }] })

/** 403 `resource_limit_exceeded` naming the limit. */
export const limitExceeded = (message: string, limit: string): Refusal =>
  new Refusal(403, 'resource_limit_exceeded', message, { limits: [{ name: limit }] })

/** 410 `deprecated_api_endpoint` pointing at the vendor's announcement. */
export const goneEndpoint = (announcement: string): Refusal =>
  new Refusal(410, 'deprecated_api_endpoint', 'API functionality was removed', { announcement })

export const errorAnswer = (refusal: Refusal): StandInResponse => ({
  status: refusal.status,
  json: { error: { code: refusal.code, message: refusal.message, details: refusal.details } },
})

/** Seconds precision in UTC, as the vendor writes times. */
export const wireTime = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`

/** What every listed thing has, whatever else it has. */
export interface Listed {
  readonly id: number
  readonly name?: string | null
  readonly createdAtMs?: number
  readonly labels?: Labels
}

/** What a list can be sorted by: the words after `sort=`, and the value each stands for. */
export type SortFields<T> = Readonly<Record<string, (row: T) => string | number>>

export const SORT_ID_NAME: SortFields<Listed> = { id: row => row.id, name: row => row.name ?? '' }
export const SORT_ID_NAME_CREATED: SortFields<Listed> = { ...SORT_ID_NAME, created: row => row.createdAtMs ?? 0 }

const positive = (query: URLSearchParams, name: string, fallback: number): number => {
  const text = query.get(name)
  if (text === null) return fallback
  if (!/^[0-9]{1,9}$/.test(text) || Number(text) < 1) throw invalidField(name, 'must be a number greater than 0')
  return Number(text)
}

const sorted = <T>(rows: readonly T[], query: URLSearchParams, fields: SortFields<T>): T[] => {
  const orders = query.getAll('sort').map(text => {
    const [field = '', direction = 'asc', ...rest] = text.split(':')
    const value = Object.hasOwn(fields, field) ? fields[field] : undefined
    if (!value || rest.length > 0 || (direction !== 'asc' && direction !== 'desc'))
      throw invalidField('sort', `'${text}' is not a sortable field`)
    return { value, sign: direction === 'asc' ? 1 : -1 }
  })
  return [...rows].sort((a, b) => {
    for (const { value, sign } of orders) {
      const [left, right] = [value(a), value(b)]
      if (left !== right) return left < right ? -sign : sign
    }
    return 0
  })
}

const linkHeader = (call: Call, pages: Readonly<Record<string, number | null>>): string => {
  const host = call.host ? `http://${call.host}` : ''
  const links = Object.entries(pages).flatMap(([rel, page]) => {
    if (page === null) return []
    const query = new URLSearchParams(call.query)
    query.set('page', String(page))
    return [`<${host}/v1${call.path}?${query}>; rel="${rel}"`]
  })
  return links.join(', ')
}

/** One page of `rows` under `key`, sorted as asked; 25 a page, never more than 50. */
export const listAnswer = <T>(
  call: Call,
  key: string,
  rows: readonly T[],
  sortFields: SortFields<T>,
  render: (row: T) => unknown,
): StandInResponse => {
  const page = positive(call.query, 'page', 1)
  const perPage = Math.min(positive(call.query, 'per_page', 25), 50)
  const all = sorted(rows, call.query, sortFields)
  const lastPage = Math.max(1, Math.ceil(all.length / perPage))
  const previous = page > 1 ? page - 1 : null
  const next = page < lastPage ? page + 1 : null
  const known = !call.cloud.rules().hideTotals
  const link = linkHeader(call, { prev: previous, next, last: known ? lastPage : null })
  return {
    status: 200,
    ...(link === '' ? {} : { headers: { Link: link } }),
    json: {
      [key]: all.slice((page - 1) * perPage, page * perPage).map(render),
      meta: {
        pagination: {
          page,
          per_page: perPage,
          previous_page: previous,
          next_page: next,
          last_page: known ? lastPage : null,
          total_entries: known ? all.length : null,
        },
      },
    },
  }
}

/** The words given for a repeatable query parameter, or undefined when it was not given; another word is refused. */
export const queryWords = <W extends string>(query: URLSearchParams, name: string, words: readonly W[]): W[] | undefined => {
  const given = query.getAll(name)
  if (given.length === 0) return undefined
  return given.map(text => {
    const word = words.find(w => w === text)
    if (word === undefined) throw invalidField(name, `'${text}' must be one of ${words.join(', ')}`)
    return word
  })
}

/** The filters that most lists share: `name`, `label_selector`, and the lag after which a new object shows up in lists. */
export const visible = <T extends Listed>(call: Call, rows: readonly T[]): T[] => {
  const name = call.query.get('name')
  const selectorText = call.query.get('label_selector') ?? ''
  const selector = parseSelector(selectorText)
  if (selectorText !== '' && !selector) throw invalidField('label_selector', 'invalid label selector')
  const youngest = call.nowMs - call.cloud.rules().listLagMs
  return rows.filter(
    row =>
      (name === null || row.name === name) &&
      (!selector || matchesSelector(selector, row.labels ?? {})) &&
      (row.createdAtMs === undefined || row.createdAtMs <= youngest),
  )
}
