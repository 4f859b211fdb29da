/** What config.json says about moving names, resolved: plain data with every default filled in. */

import { serverGroupsOf } from './derive.ts'
import type { Config } from './schema.ts'

export interface MigrationSpec {
  readonly names: readonly MovingName[]
  readonly oldHost: { readonly name: string; readonly domains: readonly string[]; readonly headers: readonly string[] }
  readonly ttlS: number
  readonly switchTtlS: number
  readonly quietForMs: number
  readonly corsPath: string
  readonly secretPatterns: readonly string[]
}

export interface MovingName {
  readonly name: string
  readonly server: string
  readonly kind: 'frontend' | 'backend'
  readonly path: string
  /** Paths that must answer before the cutover; holds `path`. */
  readonly routes: readonly string[]
}

const DEFAULT_TTL_S = 300
const DEFAULT_SWITCH_TTL_S = 60
const DEFAULT_QUIET_MINUTES = 1_440
/** What a page that is built from a server's environment by mistake shows. */
const SECRET_PATTERNS = ['DATABASE_URL', 'POSTGRES_PASSWORD', 'VAULT_TOKEN', 'AWS_SECRET_ACCESS_KEY', '-----BEGIN PRIVATE KEY']

type Say = (path: readonly (string | number)[], says: string, ...because: (readonly (string | number)[])[]) => void

export const migrationOf = (config: Config): MigrationSpec | undefined => {
  const { migration } = config
  if (migration === undefined) return undefined
  const names = Object.entries(migration.names ?? {}).map(([name, spec]): MovingName => {
    const path = spec.path ?? '/'
    return {
      name,
      server: spec.server ?? '',
      kind: spec.kind ?? (name.startsWith('api') ? 'backend' : 'frontend'),
      path,
      routes: [...new Set([path, ...(spec.routes ?? [])])],
    }
  })
  return {
    names,
    oldHost: {
      name: migration.old_host?.name ?? 'the old host',
      domains: migration.old_host?.domains ?? [],
      headers: (migration.old_host?.headers ?? []).map(each => each.toLowerCase()),
    },
    ttlS: migration.ttl ?? DEFAULT_TTL_S,
    switchTtlS: migration.switch_ttl ?? DEFAULT_SWITCH_TTL_S,
    quietForMs: (migration.quiet_minutes ?? DEFAULT_QUIET_MINUTES) * 60_000,
    corsPath: migration.cors_path ?? names.find(each => each.kind === 'backend')?.path ?? '/',
    secretPatterns: migration.secret_patterns ?? SECRET_PATTERNS,
  }
}

/** Every mistake about the names that move. */
export const checkMigration = (config: Config, say: Say): void => {
  const { migration, dns } = config
  if (migration === undefined) return
  const at = ['migration', 'names']
  if (dns?.domain === undefined) say(at, 'needs dns.domain: names move inside one zone', ['dns', 'domain'])
  const servers = serverGroupsOf(config).flatMap(group => group.names)
  for (const [name, { server }] of Object.entries(migration.names ?? {})) {
    const path = [...at, name]
    if (dns?.domain !== undefined && name !== dns.domain && !name.endsWith(`.${dns.domain}`))
      say(path, `is not in the zone ${dns.domain}`, ['dns', 'domain'])
    if (server === undefined) say([...path, 'server'], 'is missing', [...path, 'server'])
    else if (!servers.includes(server))
      say([...path, 'server'], `names no server of this file (${servers.join(', ')})`, ['servers'])
  }
}
