/** Loopback listeners whose connections end with them: a machine that goes down takes its connections along. */

import net from 'node:net'

export interface Listener {
  readonly port: number
  /** Stops listening and cuts every connection. */
  close(): Promise<void>
}

export const LOOPBACK = '127.0.0.1'

/** Calls `onSocket` for each connection to a new loopback port. */
export const listenTcp = (onSocket: (socket: net.Socket) => void): Promise<Listener> =>
  new Promise((resolve, reject) => {
    const open = new Set<net.Socket>()
    const server = net.createServer(socket => {
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      endOnError(socket)
      onSocket(socket)
    })
    server.once('error', reject)
    server.listen(0, LOOPBACK, () => {
      const address = server.address()
      if (address === null || typeof address === 'string') return reject(new Error('A TCP listener has no port.'))
      resolve({
        port: address.port,
        close: () =>
          new Promise(closed => {
            server.close(() => closed())
            for (const socket of open) socket.destroy()
          }),
      })
    })
  })

/** Joins a connection to another loopback port; either end's close ends both. */
export const relay = (from: NodeJS.ReadWriteStream, to: { readonly port: number }, first?: Buffer): Promise<boolean> =>
  new Promise(resolve => {
    const socket = net.connect({ host: LOOPBACK, port: to.port }, () => {
      if (first) socket.write(first)
      from.pipe(socket)
      socket.pipe(from)
      resolve(true)
    })
    socket.once('error', () => resolve(false))
    endOnError(socket)
    socket.once('close', () => from.end())
    from.once('close', () => socket.destroy())
  })

/** @param tls the one certificate that this listener shows; plain HTTP without it */
export const listenHttp = (
  answer: (request: Request) => Promise<Response>,
  tls?: { readonly cert: string; readonly key: string },
): Listener => {
  const server = Bun.serve({ hostname: LOOPBACK, port: 0, idleTimeout: 255, fetch: answer, ...(tls && { tls }) })
  if (server.port === undefined) throw new Error('An HTTP listener has no port.')
  return { port: server.port, close: () => server.stop(true) }
}

// A peer that resets its connection is ordinary here; 'close' follows and does the rest. Without a listener it would end the process.
const endOnError = (socket: net.Socket) => socket.on('error', () => socket.destroy())
