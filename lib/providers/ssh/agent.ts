/** What the SSH agent holds, asked in its own protocol (draft-ietf-sshm-ssh-agent), so that no program has to be started for it. */

import { connect } from 'node:net'

/** SSH_AGENTC_REQUEST_IDENTITIES with its length. */
const REQUEST = Buffer.from([0, 0, 0, 1, 11])
const IDENTITIES_ANSWER = 12
/** OpenSSH's agent sends no longer message. */
const LIMIT_BYTES = 256 * 1024
const TIMEOUT_MS = 2_000

/** Public lines (type and blob), in the agent's order. An agent that is gone, silent or locked holds none. */
export async function listAgentKeys(socketPath: string, timeoutMs = TIMEOUT_MS): Promise<readonly string[]> {
  const answer = await ask(socketPath, timeoutMs)
  return answer === undefined ? [] : parseIdentities(answer)
}

/** The answer's message without its length; undefined when none came. */
const ask = (socketPath: string, timeoutMs: number): Promise<Buffer | undefined> =>
  new Promise(resolve => {
    const socket = connect(socketPath)
    let bytes = Buffer.alloc(0)
    const end = (answer?: Buffer) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(answer)
    }
    const timer = setTimeout(end, timeoutMs)
    socket
      .on('connect', () => socket.write(REQUEST))
      .on('error', () => end())
      .on('close', () => end())
      .on('data', chunk => {
        bytes = Buffer.concat([bytes, chunk])
        const length = bytes.length < 4 ? undefined : bytes.readUInt32BE(0)
        if (length === undefined) return
        if (length > LIMIT_BYTES) end()
        else if (bytes.length >= 4 + length) end(bytes.subarray(4, 4 + length))
      })
  })

/** The keys of a message; none when it is another message, or damaged. Pure. */
export function parseIdentities(message: Buffer): readonly string[] {
  let at = 0
  const take = (count: number): Buffer => {
    if (at + count > message.length) throw new RangeError('cut off')
    at += count
    return message.subarray(at - count, at)
  }
  const takeString = () => take(take(4).readUInt32BE(0))
  try {
    if (take(1)[0] !== IDENTITIES_ANSWER) return []
    const count = take(4).readUInt32BE(0)
    const keys: string[] = []
    while (keys.length < count) {
      const blob = takeString()
      takeString()
      keys.push(`${blob.toString('latin1', 4, 4 + blob.readUInt32BE(0))} ${blob.toString('base64')}`)
    }
    return keys
  } catch (error) {
    if (error instanceof RangeError) return []
    throw error
  }
}
