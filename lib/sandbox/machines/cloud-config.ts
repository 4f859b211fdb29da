/** What a simulated machine takes out of its user data: the SSH host key and further login keys of a `#cloud-config`. */

import type { HostKey } from './state.ts'

export interface CloudConfig {
  readonly hostKey?: HostKey
  readonly authorizedKeys: readonly string[]
  /** What cloud-init complains about; the machine boots all the same. */
  readonly error?: string
}

export const parseCloudConfig = (userData: string | undefined): CloudConfig => {
  if (userData === undefined || userData.split('\n', 1)[0]?.trim() !== '#cloud-config') return { authorizedKeys: [] }
  const document = parseYaml(userData)
  if (document instanceof Error) return { authorizedKeys: [], error: `Failed loading yaml blob. ${document.message}` }
  if (!isObject(document)) return { authorizedKeys: [], error: 'Failed loading yaml blob. It is not a mapping.' }
  const { ssh_keys: keys = {}, ssh_authorized_keys: authorizedKeys = [] } = document
  const privateKey = isObject(keys) ? keys.ed25519_private : undefined
  const publicKey = isObject(keys) ? keys.ed25519_public : undefined
  const isList = Array.isArray(authorizedKeys) && authorizedKeys.every(key => typeof key === 'string')
  return {
    authorizedKeys: isList ? authorizedKeys : [],
    ...(typeof privateKey === 'string' &&
      typeof publicKey === 'string' && { hostKey: { privateKey, publicKey: withoutComment(publicKey) } }),
    ...(!(isObject(keys) && isList) && { error: 'Invalid cloud-config provided: ssh_keys or ssh_authorized_keys' }),
  }
}

/** `ssh-ed25519 AAAA…` of a public key line. */
export const withoutComment = (line: string): string => line.trim().split(/\s+/).slice(0, 2).join(' ')

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const parseYaml = (text: string): unknown => {
  try {
    return Bun.YAML.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return error
    throw error
  }
}
