/** The documentation of config.json, read off its schema, so that the two cannot differ. */

import { configSchema, type KeyDoc } from './schema.ts'

export interface ConfigKey extends KeyDoc {
  /** Dotted; `<name>` stands for a name of the user's choice, `[]` for a list's elements. */
  readonly path: string
}

interface Walkable {
  readonly type: string
  readonly entries?: Readonly<Record<string, Walkable>>
  readonly value?: Walkable
  readonly item?: Walkable
  readonly wrapped?: Walkable
  readonly pipe?: readonly unknown[]
}

const docOf = (schema: Walkable): KeyDoc | undefined => {
  for (const part of [schema, ...(schema.pipe ?? [])]) {
    if (typeof part !== 'object' || part === null || !('type' in part) || part.type !== 'metadata' || !('metadata' in part))
      continue
    return part.metadata as KeyDoc
  }
  return undefined
}

const documented = (schema: Walkable, path: string): ConfigKey[] => {
  if (schema.wrapped) return documented(schema.wrapped, path)
  const doc = docOf(schema)
  const own = doc ? [{ path, ...doc }] : []
  const below = (name: string) => (path === '' ? name : `${path}.${name}`)
  if (schema.entries)
    return [...own, ...Object.entries(schema.entries).flatMap(([name, inner]) => documented(inner, below(name)))]
  if (schema.value) return [...own, ...documented(schema.value, below('<name>'))]
  if (schema.item) return [...own, ...documented(schema.item, `${path}[]`)]
  return own
}

/** Every key of config.json with its meaning, in the order of the schema. */
export const CONFIG_KEYS: readonly ConfigKey[] = documented(configSchema, '')
