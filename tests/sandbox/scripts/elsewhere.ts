/** The sandbox's internet as reached from another address: what changes when a person goes home, or a provider gives out a new one. */

import { connect, createServer } from 'node:net'
import type { Sandbox } from '../../../lib/sandbox/sandbox.ts'

export interface Elsewhere {
  /** Variables for a script that runs there. */
  readonly env: Readonly<Record<string, string>>
  close(): Promise<void>
}

export const from = async (address: string, sandbox: Sandbox): Promise<Elsewhere> => {
  const server = createServer(client => {
    const upstream = connect(sandbox.ports.internet, '127.0.0.1')
    let head = ''
    const onData = (chunk: Buffer) => {
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n')
      if (end < 0) return
      client.off('data', onData)
      upstream.write(Buffer.from(`${head.slice(0, end)}\r\nX-Source-Address: ${address}${head.slice(end)}`, 'latin1'))
      client.pipe(upstream)
    }
    client.on('data', onData)
    upstream.pipe(client)
    client.on('error', () => upstream.destroy())
    upstream.on('error', () => client.destroy())
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('no port')
  return {
    env: { LANDFALL_INTERNET: `http://127.0.0.1:${bound.port}` },
    close: () => new Promise(resolve => server.close(() => resolve())),
  }
}
