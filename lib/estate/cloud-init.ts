/**
 * The user data of a new server. It carries the SSH host key that the first connection is pinned to; that connection replaces the
 * key, because user data stays readable on the server for its whole life. Nothing else in it is secret.
 */

import { LABEL_PATTERN } from './naming.ts'

export interface UserData {
  /** OpenSSH private key text. */
  readonly hostKeyPrivate: string
  /** `ssh-ed25519 AAAA…` */
  readonly hostKeyPublic: string
  readonly hostname: string
  /** A vendor's system image, which cloud-init prepares; else Landfall's own image, which only takes name and key from here. */
  readonly stock: boolean
}

/** Hetzner's limit (API reference, "Create a server"). */
const LIMIT_BYTES = 32 * 1024

const PRIVATE_KEY = /^-----BEGIN OPENSSH PRIVATE KEY-----\n(?:[A-Za-z0-9+/=]{1,76}\n)+-----END OPENSSH PRIVATE KEY-----\n?$/
const PUBLIC_KEY = /^ssh-ed25519 [A-Za-z0-9+/]{68}$/

// A literal block: its lines are taken as they are, so that nothing in a key can end the text or begin another value.
const block = (text: string): string =>
  `|\n${text
    .trimEnd()
    .split('\n')
    .map(line => `    ${line}`)
    .join('\n')}`

/** cloud-config text. Values that could not be written safely are a bug and throw. */
export const renderUserData = ({ hostKeyPrivate, hostKeyPublic, hostname, stock }: UserData): string => {
  if (!PRIVATE_KEY.test(hostKeyPrivate)) throw new Error('bug: the host key for user data is not an OpenSSH private key')
  if (!PUBLIC_KEY.test(hostKeyPublic)) throw new Error('bug: the host key for user data is not an ed25519 public key')
  if (!LABEL_PATTERN.test(hostname)) throw new Error(`bug: ${JSON.stringify(hostname)} is no host name`)
  const text = `#cloud-config
hostname: "${hostname}"
ssh_deletekeys: true
ssh_keys:
  ed25519_private: ${block(hostKeyPrivate)}
  ed25519_public: "${hostKeyPublic}"
${
  stock
    ? `disable_root: false
ssh_pwauth: false
package_update: false
package_upgrade: false
package_reboot_if_required: false
no_ssh_fingerprints: true
`
    : ''
}`
  const bytes = Buffer.byteLength(text)
  if (bytes > LIMIT_BYTES) throw new Error(`bug: user data has ${bytes} bytes; ${LIMIT_BYTES} fit`)
  return text
}
