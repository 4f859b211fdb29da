/** Dokploy's API, in our words. One instance speaks to one panel, at a base URL that is a tunnel's loopback end or verified HTTPS. */

import type { Secret } from '../../secret.ts'

export interface PanelSettings {
  /** Host the panel is served under, if one is assigned. */
  readonly host?: string
  readonly https: boolean
  readonly letsEncryptEmail?: string
  readonly serverIp?: string
}

export interface GivenCertificate {
  readonly id: string
  readonly name: string
  /** PEM, with its chain. */
  readonly certificate: string
}

export interface Dokploy {
  /** `up` only when the process answers and its database does too. Never throws. */
  health(): Promise<'up' | 'starting' | 'down'>
  hasAdmin(): Promise<boolean>
  /** Makes the first admin, or signs in when it is already ours; answers with a fresh API key that never expires. */
  claim(admin: { email: string; password: Secret; keyName: string }): Promise<{ readonly apiKey: Secret }>
  /** Whether the key is accepted. */
  checkKey(apiKey: Secret): Promise<'valid' | 'invalid'>
  version(apiKey: Secret): Promise<string>
  readPanel(apiKey: Secret): Promise<PanelSettings>
  assignPanelHost(apiKey: Secret, input: { host: string; letsEncryptEmail: string }): Promise<void>
  setServerIp(apiKey: Secret, ip: string): Promise<void>
  /** The certificates that were given to Traefik, without their keys. */
  listCertificates(apiKey: Secret): Promise<readonly GivenCertificate[]>
  /** Gives Traefik a certificate to choose by server name; older ones of the same `name` go. The same one twice is one. */
  installCertificate(apiKey: Secret, input: { name: string; certificate: string; privateKey: Secret }): Promise<void>
}
