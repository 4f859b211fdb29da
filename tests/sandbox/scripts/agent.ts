/** An SSH agent in this process, for machines without one: it holds ed25519 keys, tells them and signs. */

import { createServer } from 'node:net'
import ssh2 from 'ssh2'

export interface TestAgent {
  /** For SSH_AUTH_SOCK. */
  readonly socket: string
  /** Private keys as OpenSSH texts, in place of those before. */
  hold(...privateKeys: readonly string[]): void
  close(): void
}

const MESSAGES = { failure: 5, list: 11, listed: 12, sign: 13, signed: 14 } as const

export const openAgent = async (socket: string): Promise<TestAgent> => {
  let held: readonly ssh2.ParsedKey[] = []
  const answer = (message: Buffer): Buffer => {
    if (message[0] === MESSAGES.list) {
      const keys = held.flatMap(key => [sized(key.getPublicSSH()), sized('held')])
      return Buffer.concat([Buffer.from([MESSAGES.listed, 0, 0, 0, held.length]), ...keys])
    }
    const [blob, data] = stringsOf(message.subarray(1))
    const key = held.find(each => blob?.equals(each.getPublicSSH()))
    if (message[0] !== MESSAGES.sign || !key || !data) return Buffer.from([MESSAGES.failure])
    return Buffer.concat([Buffer.from([MESSAGES.signed]), sized(Buffer.concat([sized(key.type), sized(key.sign(data))]))])
  }
  const server = createServer(near => {
    let rest = Buffer.alloc(0)
    near
      .on('error', () => near.destroy())
      .on('data', chunk => {
        rest = Buffer.concat([rest, chunk])
        while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
          const end = 4 + rest.readUInt32BE(0)
          near.write(sized(answer(rest.subarray(4, end))))
          rest = rest.subarray(end)
        }
      })
  })
  await new Promise<void>(resolve => server.listen(socket, resolve))
  return {
    socket,
    hold(...privateKeys) {
      held = privateKeys.map(parse)
    },
    close: () => void server.close(),
  }
}

const parse = (text: string): ssh2.ParsedKey => {
  const key = ssh2.utils.parseKey(text)
  if (key instanceof Error) throw key
  return key
}

const sized = (bytes: Buffer | string): Buffer => {
  const content = Buffer.from(bytes)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(content.length)
  return Buffer.concat([length, content])
}

/** The two strings that a sign request begins with. */
const stringsOf = (bytes: Buffer): readonly Buffer[] => {
  if (bytes.length < 4) return []
  const end = 4 + bytes.readUInt32BE(0)
  return [bytes.subarray(4, end), bytes.subarray(end + 4, end + 4 + bytes.readUInt32BE(end))]
}
