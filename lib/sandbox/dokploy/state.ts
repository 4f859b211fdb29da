/** What one simulated Dokploy remembers: its rows, under `dokploy.<server id>.…` in the sandbox's store. */

import type { Collection, Store } from '../kit.ts'

export interface UserRow {
  readonly id: string
  readonly email: string
  readonly name: string
  readonly lastName: string
  readonly passwordHash: string
  readonly createdAt: string
}

export interface SessionRow {
  readonly token: string
  readonly userId: string
  readonly expiresAtMs: number
}

export interface ApiKeyRow {
  readonly id: string
  readonly name: string
  readonly start: string
  readonly prefix: string | null
  readonly keyHash: string
  readonly userId: string
  readonly organizationId: string
  readonly enabled: boolean
  readonly rateLimitEnabled: boolean
  readonly rateLimitTimeWindow: number
  readonly rateLimitMax: number
  readonly requestCount: number
  readonly remaining: number | null
  readonly lastRequestMs: number | null
  readonly expiresAt: string | null
  readonly createdAt: string
}

export interface OrganizationRow {
  readonly id: string
  readonly name: string
  readonly ownerId: string
  readonly createdAt: string
}

export type CertificateType = 'letsencrypt' | 'none' | 'custom'

/** The `webServerSettings` row, with the vendor's field names. */
export interface SettingsRow {
  readonly id: string
  readonly serverIp: string | null
  readonly certificateType: CertificateType
  readonly https: boolean
  readonly host: string | null
  readonly letsEncryptEmail: string | null
  readonly sshPrivateKey: string | null
  readonly enableDockerCleanup: boolean
  readonly logCleanupCron: string | null
  readonly metricsConfig: unknown
  readonly createdAt: string
  readonly updatedAt: string
}

/** Traefik's files on this machine. Dynamic files count at once; `main` counts from the moment Traefik is (re)started. */
export interface TraefikRow {
  readonly main: string
  /** What the running Traefik was started with. */
  readonly loadedMain: string
  /** File name → YAML, below `/etc/dokploy/traefik/dynamic/`. */
  readonly dynamic: Readonly<Record<string, string>>
  /** Rises with every change that makes Traefik look at its routes again. */
  readonly generation: number
  readonly reloads: number
}

/** A certificate given to the panel, with the vendor's field names. */
export interface GivenCertificateRow {
  readonly certificateId: string
  readonly name: string
  readonly certificateData: string
  readonly privateKey: string
  readonly certificatePath: string
  readonly autoRenew: boolean | null
  readonly organizationId: string
  readonly serverId: string | null
  readonly createdAt: string
}

export interface LimitRow {
  /** Path and client. */
  readonly id: string
  readonly count: number
  readonly lastRequestMs: number
}

/** What is wrong with the panel just now. */
export interface ConditionRow {
  readonly database: 'up' | 'down'
}

export interface DokployState {
  readonly users: Collection<UserRow>
  readonly sessions: Collection<SessionRow>
  readonly apiKeys: Collection<ApiKeyRow>
  readonly organizations: Collection<OrganizationRow>
  readonly settings: Collection<SettingsRow>
  readonly traefik: Collection<TraefikRow>
  readonly certificates: Collection<GivenCertificateRow>
  readonly limits: Collection<LimitRow>
  readonly conditions: Collection<ConditionRow>
}

export const openState = (store: Store, serverId: string): DokployState => {
  const open = <T>(name: string) => store.collection<T>(`dokploy.${serverId}.${name}`)
  return {
    users: open('users'),
    sessions: open('sessions'),
    apiKeys: open('apiKeys'),
    organizations: open('organizations'),
    settings: open('settings'),
    traefik: open('traefik'),
    certificates: open('certificates'),
    limits: open('limits'),
    conditions: open('conditions'),
  }
}

/** Empties everything, as a rebuilt server does. */
export const clearState = (state: DokployState): void => {
  clear(state.users, row => row.id)
  clear(state.sessions, row => row.token)
  clear(state.apiKeys, row => row.id)
  clear(state.organizations, row => row.id)
  clear(state.settings, () => ONLY)
  clear(state.traefik, () => ONLY)
  clear(state.certificates, row => row.certificateId)
  clear(state.limits, row => row.id)
  clear(state.conditions, () => ONLY)
}

/** Id of the one row in a collection that holds one. */
export const ONLY = 'only'

const clear = <T>(collection: Collection<T>, idOf: (row: T) => string) => {
  for (const row of collection.all()) collection.delete(idOf(row))
}

/** Random letters and digits, as the vendor's ids and keys are. */
export const randomText = (length: number): string => {
  const alphabet = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), byte => alphabet[byte % alphabet.length] ?? '').join('')
}

export const hashOf = (value: string): string => new Bun.CryptoHasher('sha256').update(value).digest('base64url')

export const isoOf = (atMs: number): string => new Date(atMs).toISOString()
