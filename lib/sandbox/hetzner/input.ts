/**
 * Reading a request body the way the vendor does: every wrong field is named, not just the first; unknown fields are ignored;
 * ids may come as numbers or as digits in a string, because official clients send both.
 */
import { type FieldProblem, invalidInput, Refusal } from './answers.ts'
import { type Labels, labelProblems } from './labels.ts'

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export interface TextRules {
  readonly min?: number
  readonly max?: number
  readonly pattern?: RegExp
  /** What to say when the pattern does not fit. */
  readonly message?: string
}

/** Fields of one JSON object. Readers note problems and give a harmless value; `check` throws `invalid_input` with all of them. */
export interface Body {
  has(field: string): boolean
  text(field: string, rules?: TextRules): string | undefined
  requiredText(field: string, rules?: TextRules): string
  word<W extends string>(field: string, words: readonly W[]): W | undefined
  requiredWord<W extends string>(field: string, words: readonly [W, ...W[]]): W
  flag(field: string): boolean | undefined
  id(field: string): number | undefined
  requiredId(field: string): number
  /** An id or a name, as text. */
  idOrName(field: string): string | undefined
  ids(field: string): number[]
  idsOrNames(field: string): string[]
  texts(field: string): string[]
  objects(field: string): Body[] | undefined
  object(field: string): Body | undefined
  labels(): Labels | undefined
  problem(field: string, message: string): void
  check(): void
}

const toId = (value: unknown): number | undefined => {
  const number = typeof value === 'string' && /^[0-9]{1,16}$/.test(value) ? Number(value) : value
  return typeof number === 'number' && Number.isSafeInteger(number) && number > 0 ? number : undefined
}

const bodyOf = (raw: Readonly<Record<string, unknown>>, path: string, problems: Map<string, string[]>): Body => {
  const fieldOf = (field: string): unknown => (Object.hasOwn(raw, field) ? (raw[field] ?? undefined) : undefined)
  const problem = (field: string, message: string): void => {
    const name = `${path}${field}`
    problems.set(name, [...(problems.get(name) ?? []), message])
  }
  const wrong = (field: string, message: string): undefined => {
    problem(field, message)
    return undefined
  }
  const text = (field: string, rules: TextRules = {}): string | undefined => {
    const value = fieldOf(field)
    if (value === undefined) return undefined
    if (typeof value !== 'string') return wrong(field, 'must be a string')
    if (value.length < (rules.min ?? 0)) return wrong(field, 'is too short')
    if (value.length > (rules.max ?? Number.POSITIVE_INFINITY)) return wrong(field, 'is too long')
    if (rules.pattern && !rules.pattern.test(value)) return wrong(field, rules.message ?? 'has an invalid format')
    return value
  }
  const word = <W extends string>(field: string, words: readonly W[]): W | undefined => {
    const value = fieldOf(field)
    return value === undefined ? undefined : (words.find(w => w === value) ?? wrong(field, `must be one of ${words.join(', ')}`))
  }
  const id = (field: string): number | undefined => {
    const value = fieldOf(field)
    return value === undefined ? undefined : (toId(value) ?? wrong(field, 'must be an ID'))
  }
  const list = (field: string): unknown[] => {
    const value = fieldOf(field) ?? []
    return Array.isArray(value) ? value : (wrong(field, 'must be a list') ?? [])
  }
  const each = <T>(field: string, read: (value: unknown) => T | undefined, message: string): T[] =>
    list(field).flatMap(value => read(value) ?? wrong(field, message) ?? [])
  const name = (value: unknown): string | undefined =>
    typeof value === 'number' ? toId(value)?.toString() : typeof value === 'string' && value !== '' ? value : undefined
  const required = <T>(field: string, value: T | undefined, harmless: T): T => {
    if (fieldOf(field) === undefined) problem(field, 'missing data for required field')
    return value ?? harmless
  }
  return {
    has: field => fieldOf(field) !== undefined,
    text,
    requiredText: (field, rules = {}) => required(field, text(field, { min: 1, ...rules }), ''),
    word,
    requiredWord: (field, words) => required(field, word(field, words), words[0]),
    flag: field => {
      const value = fieldOf(field)
      return value === undefined || typeof value === 'boolean' ? value : wrong(field, 'must be a boolean')
    },
    id,
    requiredId: field => required(field, id(field), 0),
    idOrName: field => {
      const value = fieldOf(field)
      return value === undefined ? undefined : (name(value) ?? wrong(field, 'must be an ID or a name'))
    },
    ids: field => each(field, toId, 'must be a list of IDs'),
    idsOrNames: field => each(field, name, 'must be a list of IDs or names'),
    texts: field => each(field, value => (typeof value === 'string' ? value : undefined), 'must be a list of strings'),
    objects: field =>
      fieldOf(field) === undefined
        ? undefined
        : list(field).flatMap((value, i) =>
            isObject(value)
              ? bodyOf(value, `${path}${field}[${i}].`, problems)
              : (wrong(field, 'must be a list of objects') ?? []),
          ),
    object: field => {
      const value = fieldOf(field)
      if (value === undefined) return undefined
      return isObject(value) ? bodyOf(value, `${path}${field}.`, problems) : wrong(field, 'must be an object')
    },
    labels: () => {
      const value = fieldOf('labels')
      if (value === undefined) return undefined
      if (!isObject(value)) return wrong('labels', 'must be an object')
      for (const message of labelProblems(value)) problem('labels', message)
      return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, String(v)]))
    },
    problem,
    check: () => {
      const fields: FieldProblem[] = [...problems].map(([field, messages]) => ({ name: field, messages }))
      if (fields.length > 0) throw invalidInput(...fields)
    },
  }
}

/** The body as fields; an empty one has none. 400 `json_error` when it is not a JSON object. */
export const readBody = (bodyText: string): Body => {
  const parse = (): unknown => {
    try {
      return bodyText.trim() === '' ? {} : JSON.parse(bodyText)
    } catch (cause) {
      throw new Refusal(400, 'json_error', `invalid JSON: ${cause instanceof Error ? cause.message : 'unreadable'}`)
    }
  }
  const raw = parse()
  if (!isObject(raw)) throw new Refusal(400, 'json_error', 'invalid JSON: an object is expected')
  return bodyOf(raw, '', new Map())
}
