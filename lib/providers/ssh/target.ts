/** What may be written into ssh's command line and known_hosts, and how a connection is called on disk. */

import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { LandfallError } from '../../errors.ts'
import type { Target } from '../ports/machine.ts'

const ALIAS = /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/
const USER = /^[a-z_][a-z0-9_-]{0,31}$/
/** An ed25519 blob is 51 bytes: two length-prefixed strings, "ssh-ed25519" and the 32 bytes of the key. */
const HOST_KEY = /^ssh-ed25519 [A-Za-z0-9+/]{68}$/

/** Refuses anything that could be read as an option, another host, or a second line. @throws config */
export function checkTarget(target: Target): void {
  const wrong = wrongPart(target)
  if (wrong !== undefined) throw new LandfallError('config', `A server cannot be reached over SSH: its ${wrong} is not usable.`)
}

function wrongPart(target: Target): string | undefined {
  if (isIP(target.address) === 0 || target.address.includes('%')) return 'address'
  if (!isPort(target.port)) return 'port'
  if (!USER.test(target.user)) return 'user'
  if (!ALIAS.test(target.hostKeyAlias)) return 'host key alias'
  if (!HOST_KEY.test(target.hostKey)) return 'host key'
  return undefined
}

export const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535

/** Short enough for a socket's name, different whenever the address, the user or the pin is. */
export const connectionId = (target: Target): string =>
  createHash('sha256')
    .update([target.user, target.address, target.port, target.hostKeyAlias, target.hostKey].join('\n'))
    .digest('hex')
    .slice(0, 16)
