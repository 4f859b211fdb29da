/** List filters as the API knows them and the `cloudflare` SDK sends them: `name=x`, `name.exact=x`, `comment.absent=`, `match=any`. */

import type { Paging } from './answers.ts'
import { REFUSALS } from './answers.ts'
import type { RecordRow } from './rows.ts'

type Test = (record: RecordRow) => boolean

const TEXTS = {
  name: record => record.name,
  content: record => record.content,
  comment: record => record.comment ?? '',
} satisfies Record<string, (record: RecordRow) => string>

const COMPARE = {
  exact: (value, wanted) => value === wanted,
  contains: (value, wanted) => value.includes(wanted),
  startswith: (value, wanted) => value.startsWith(wanted),
  endswith: (value, wanted) => value.endsWith(wanted),
} satisfies Record<string, (value: string, wanted: string) => boolean>

const isKey = <T extends object>(table: T, key: string): key is keyof T & string => Object.hasOwn(table, key)

const parseTest = (key: string, value: string): Test | undefined => {
  const [field = '', how = 'exact'] = key.split('.')
  const wanted = value.toLowerCase()
  if (key === 'type') return record => record.type === value.toUpperCase()
  if (key === 'proxied') return record => record.proxied === (value === 'true')
  if (key === 'search') return record => `${record.name} ${record.content} ${record.comment}`.toLowerCase().includes(wanted)
  if (key === 'comment.present') return record => record.comment !== null
  if (key === 'comment.absent') return record => record.comment === null
  if (field === 'tag') return parseTagTest(how, wanted)
  if (!isKey(TEXTS, field) || !isKey(COMPARE, how)) return undefined
  const read: (record: RecordRow) => string = TEXTS[field]
  const compare: (value: string, wanted: string) => boolean = COMPARE[how]
  return record => compare(read(record).toLowerCase(), wanted)
}

const parseTagTest = (how: string, wanted: string): Test | undefined => {
  const names = (record: RecordRow) => record.tags.map(tag => tag.toLowerCase().split(':')[0])
  if (how === 'present') return record => names(record).includes(wanted)
  if (how === 'absent') return record => !names(record).includes(wanted)
  if (!isKey(COMPARE, how)) return undefined
  const [name = '', value = ''] = wanted.split(':')
  const compare: (value: string, wanted: string) => boolean = COMPARE[how]
  return record =>
    record.tags.some(tag => {
      const [key = '', is = ''] = tag.toLowerCase().split(':')
      return key === name && compare(is, value)
    })
}

const NO_FILTERS = new Set(['page', 'per_page', 'order', 'direction', 'match', 'tag_match', 'include_shadow_metadata'])

const SORT_KEYS = {
  type: record => record.type,
  name: record => record.name,
  content: record => record.content,
  ttl: record => record.ttl,
  proxied: record => Number(record.proxied),
} satisfies Record<string, (record: RecordRow) => string | number>

/** The records that a list request asks for, in its order. Parameters that the API does not know are ignored, as there. */
export const selectRecords = (records: readonly RecordRow[], query: URLSearchParams): readonly RecordRow[] => {
  const tests = [...query].flatMap(([key, value]) => (NO_FILTERS.has(key) ? [] : (parseTest(key, value) ?? [])))
  const any = query.get('match') === 'any' && tests.length > 0
  const chosen = records.filter(record => (any ? tests.some(test => test(record)) : tests.every(test => test(record))))
  const order = query.get('order') ?? ''
  if (!isKey(SORT_KEYS, order)) return chosen
  const key: (record: RecordRow) => string | number = SORT_KEYS[order]
  const sign = query.get('direction') === 'desc' ? -1 : 1
  return chosen.sort((a, b) => sign * (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0))
}

/** @throws Refusal when a number is out of bounds */
export const parsePaging = (query: URLSearchParams, usual: number, max: number): Paging => {
  const read = (name: string, otherwise: number, most: number): number => {
    const text = query.get(name)
    if (text === null) return otherwise
    const value = Number(text)
    if (!Number.isInteger(value) || value < 1 || value > most)
      throw REFUSALS.invalid(1004, `Invalid ${name}: must be a whole number from 1 to ${most}.`)
    return value
  }
  return { page: read('page', 1, Number.MAX_SAFE_INTEGER), perPage: read('per_page', usual, max) }
}
