/**
 * A vendor's OpenAPI document as a judge: does this request, does this response, fit what is published? The documents are not part
 * of the project (their licence is not stated); they lie in the folder named by LANDFALL_SPECS, else in `../shared/specs` beside
 * the checkout.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { ValidateFunction } from 'ajv'
import Ajv2020 from 'ajv/dist/2020.js'

type Json = Record<string, unknown>

export interface SpecOperation {
  readonly method: string
  /** The template of the document: "/servers/{id}". */
  readonly path: string
  readonly deprecated: boolean
  readonly required: { readonly query: readonly string[]; readonly body: boolean }
}

export interface Spec {
  /** All operations of the document. */
  operations(): readonly SpecOperation[]
  /** The operation behind a path template or a concrete path; undefined when the document has none. */
  operation(method: string, path: string): SpecOperation | undefined
  /**
   * Everything that is wrong with a response, in sentences; empty when it fits. A status that is documented only as a range
   * (`4xx`, `4XX`) or as `default` is judged by that. `body` is parsed JSON, undefined when nothing was sent.
   */
  validateResponse(method: string, path: string, status: number, body: unknown): string[]
  /** Everything that is wrong with a request. Query parameters the document does not know are reported too. */
  validateRequest(method: string, path: string, query: URLSearchParams, body: unknown): string[]
}

const isJson = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

const child = (value: unknown, ...keys: string[]): unknown =>
  keys.reduce<unknown>((at, key) => (isJson(at) && Object.hasOwn(at, key) ? at[key] : undefined), value)

/** Where the documents lie. */
export const specsFolder = (): string => process.env.LANDFALL_SPECS ?? resolve(import.meta.dir, '../../..', 'shared', 'specs')

/** The document called `file` in the folder of documents; undefined when it is not there. */
export const loadSpec = (file: string): Spec | undefined => {
  const path = join(specsFolder(), file)
  return existsSync(path) ? specOf(JSON.parse(readFileSync(path, 'utf8'))) : undefined
}

// Defects of the published documents, each with what the vendor really takes or sends. Ends when the documents are corrected.
// Hetzner: ids are documented as strings where its own clients send numbers (`"image": 5`).
const ID_OR_NAME = new Set(['image', 'server_type', 'location', 'ssh_keys'])

const acceptIds = (schema: unknown, name = ''): unknown => {
  if (Array.isArray(schema)) return schema.map(entry => acceptIds(entry, name))
  if (!isJson(schema)) return schema
  if (ID_OR_NAME.has(name) && schema.type === 'string' && !schema.enum) return { ...schema, type: ['string', 'integer'] }
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => {
      if (key === 'properties' && isJson(value))
        return [key, Object.fromEntries(Object.entries(value).map(([property, inner]) => [property, acceptIds(inner, property)]))]
      return [key, acceptIds(value, key === 'items' ? name : '')]
    }),
  )
}

const DATE_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/

const newJudge = (): Ajv2020 =>
  new Ajv2020({
    strict: false,
    allErrors: true,
    logger: false,
    validateSchema: false,
    formats: {
      'date-time': text => DATE_TIME.test(text) && !Number.isNaN(Date.parse(text)),
      date: /^\d{4}-\d{2}-\d{2}$/,
      decimal: /^-?\d+(\.\d+)?$/,
      email: /^[^@\s]+@[^@\s]+\.[^@\s]+$/,
      uri: text => URL.canParse(text),
      url: text => URL.canParse(text),
      uuid: /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i,
      int32: { type: 'number', validate: number => Number.isInteger(number) && Math.abs(number) <= 2 ** 31 },
      int64: { type: 'number', validate: number => Number.isSafeInteger(number) },
    },
  })

interface Entry extends SpecOperation {
  readonly raw: Json
  readonly pattern: RegExp
  readonly parameters: readonly Json[]
}

const METHODS = ['get', 'put', 'post', 'delete', 'patch', 'head', 'options']

const specOf = (document: unknown): Spec => {
  const judge = newJudge()
  const compiled = new Map<string, ValidateFunction>()
  const components = child(document, 'components')

  const deref = (value: unknown): unknown => {
    const ref = child(value, '$ref')
    return typeof ref === 'string' ? deref(child(document, ...ref.replace(/^#\//, '').split('/').map(unescapePointer))) : value
  }
  const problems = (key: string, schema: unknown, value: unknown): string[] => {
    const validate = compiled.get(key) ?? judge.compile(isJson(schema) ? { ...schema, components } : {})
    compiled.set(key, validate)
    if (validate(value)) return []
    return (validate.errors ?? []).map(
      error => `${key}: ${error.instancePath || '/'} ${error.message} ${JSON.stringify(error.params)}`,
    )
  }

  const entries = Object.entries(isJson(child(document, 'paths')) ? (child(document, 'paths') as Json) : {}).flatMap(
    ([path, item]) =>
      METHODS.flatMap((method): Entry[] => {
        const raw = child(item, method)
        if (!isJson(raw)) return []
        const parameters = [child(item, 'parameters'), raw.parameters].flat().map(deref).filter(isJson)
        const query = parameters.filter(parameter => parameter.in === 'query')
        return [
          {
            method: method.toUpperCase(),
            path,
            deprecated: raw.deprecated === true,
            required: {
              query: query.filter(parameter => parameter.required === true).map(parameter => String(parameter.name)),
              body: child(deref(raw.requestBody), 'required') === true,
            },
            raw,
            parameters: query,
            pattern: new RegExp(`^${path.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{[^}]+\}/g, '([^/]+)')}$`),
          },
        ]
      }),
  )
  // A literal segment wins over a parameter: /servers/actions is not a server called "actions".
  const bySpecificity = [...entries].sort((a, b) => a.path.split('{').length - b.path.split('{').length)

  const find = (method: string, path: string): Entry | undefined => {
    const candidates = bySpecificity.filter(entry => entry.method === method.toUpperCase())
    return candidates.find(entry => entry.path === path) ?? candidates.find(entry => entry.pattern.test(path))
  }
  const jsonSchema = (holder: unknown): unknown => {
    const content = child(holder, 'content')
    const type = Object.keys(isJson(content) ? content : {}).find(name => /^application\/(.+\+)?json/.test(name))
    return type === undefined ? undefined : child(content, type, 'schema')
  }

  const queryProblems = (entry: Entry, query: URLSearchParams): string[] => {
    const key = `${entry.method} ${entry.path}`
    const unknown = [...new Set(query.keys())].filter(name => !entry.parameters.some(parameter => parameter.name === name))
    return [
      ...entry.required.query.filter(name => !query.has(name)).map(name => `${key}: query parameter ${name} is required`),
      ...unknown.map(name => `${key}: query parameter ${name} is unknown`),
      ...entry.parameters.flatMap(parameter => {
        const name = String(parameter.name)
        const schema = deref(parameter.schema)
        if (!query.has(name) || !isJson(schema)) return []
        const isList = schema.type === 'array'
        const element = isList ? deref(schema.items) : schema
        const values = query.getAll(name).map(text => fromQuery(element, text))
        return problems(`${key} ?${name}`, schema, isList ? values : values[0])
      }),
    ]
  }

  return {
    operations: () => entries,
    operation: find,
    validateResponse(method, path, status, body) {
      const entry = find(method, path)
      if (!entry) return [`${method} ${path}: no such operation in the document`]
      const key = `${entry.method} ${entry.path} ${status}`
      const responses = isJson(entry.raw.responses) ? entry.raw.responses : {}
      const range = `${Math.floor(status / 100)}xx`
      const name = [String(status), range, range.toUpperCase(), 'default'].find(word => Object.hasOwn(responses, word))
      if (name === undefined) return [`${key}: no such status in the document`]
      const schema = jsonSchema(deref(responses[name]))
      if (schema === undefined) return body === undefined ? [] : [`${key}: a body was sent where none is documented`]
      if (body === undefined) return [`${key}: no body was sent where one is documented`]
      return problems(`${entry.method} ${entry.path} ${name}`, schema, body)
    },
    validateRequest(method, path, query, body) {
      const entry = find(method, path)
      if (!entry) return [`${method} ${path}: no such operation in the document`]
      const key = `${entry.method} ${entry.path}`
      const schema = jsonSchema(deref(entry.raw.requestBody))
      const ofQuery = queryProblems(entry, query)
      if (body === undefined) return entry.required.body ? [...ofQuery, `${key}: a body is required`] : ofQuery
      if (schema === undefined) return [...ofQuery, `${key}: a body was sent where none is documented`]
      return [...ofQuery, ...problems(`${key} body`, acceptIds(deref(schema)), body)]
    },
  }
}

const unescapePointer = (segment: string): string => decodeURIComponent(segment).replaceAll('~1', '/').replaceAll('~0', '~')

const fromQuery = (schema: unknown, text: string): unknown => {
  const type = child(schema, 'type')
  if ((type === 'integer' || type === 'number') && /^-?\d+(\.\d+)?$/.test(text)) return Number(text)
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  return text
}
