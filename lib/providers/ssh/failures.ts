/** Turns what ssh says about a failed connection into our words. */

import { LandfallError } from '../../errors.ts'
import type { Target } from '../ports/machine.ts'

export type ConnectionFailure = 'host_key' | 'forbidden' | 'timeout' | 'network'

/**
 * ssh ends every failure of its own with exit code 255 and has no other code, so its words are the only place to learn which one
 * it was (OpenSSH's sshconnect.c, sshconnect2.c, packet.c). It speaks English whatever the locale is. First match wins; what is not
 * listed counts as `network`, which is what a caller may try again.
 */
const SSH_WORDS = [
  [
    'host_key',
    /host key verification failed|host identification has changed|no \S+ host key is known|no matching host key type/i,
  ],
  ['forbidden', /permission denied \(|too many authentication failures/i],
  ['timeout', /timed out|not responding/i],
] as const satisfies readonly (readonly [ConnectionFailure, RegExp])[]

export const classifyStderr = (stderr: string): ConnectionFailure =>
  SSH_WORDS.find(([, words]) => words.test(stderr))?.[0] ?? 'network'

/** The error for a connection that was not made, or was lost. `offered` says in words which keys we log in with. */
export function connectionError(kind: ConnectionFailure, target: Target, offered: string, said: string): LandfallError {
  const where = `${target.name} (${target.address})`
  const cause = said === '' ? undefined : plain(said)
  switch (kind) {
    case 'host_key':
      return new LandfallError(
        'host_key',
        `Whoever answers as ${where} does not have the host key that was pinned; nothing was sent.`,
        {
          hint: 'If you rebuilt this server by hand, rebuild it with Landfall, which pins the new key: bun scripts/provision.ts rebuild --plan; if not, somebody is in between.',
          cause,
        },
      )
    case 'forbidden':
      return new LandfallError('forbidden', `${where} refused to log in ${target.user} with ${offered}.`, {
        hint: 'Check with ssh-add -l, or name the private key whose public half is in the estate.',
        cause,
      })
    case 'timeout':
      return new LandfallError('timeout', `${where} does not answer on port ${target.port}.`, { cause })
    case 'network':
      return new LandfallError('network', `The SSH connection to ${where} on port ${target.port} failed: ${lastLine(said)}.`, {
        cause,
      })
  }
}

/** The last line, which is where ssh says why, without anything that a terminal would act on. */
function lastLine(said: string): string {
  const line = said.split('\n').findLast(text => text.trim() !== '')
  return line === undefined ? 'it was closed without a reason' : plain(line).trim().replace(/\.$/, '').slice(0, 200)
}

const plain = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]/gu, ' ')
