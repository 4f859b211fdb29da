/**
 * A program that runs in a network namespace and joins it to this computer's file system: whoever connects to its socket file
 * reaches addresses as somebody inside would, and ports inside lead to socket files outside. Orders come on stdin, one per line
 * (`listen PORT FILE`, `close PORT`), each answered by a line; when stdin ends, so does it.
 *
 * A client of the socket file first writes `ADDRESS PORT SOURCE TIMEOUT-MS\n` and gets `open\n`, `closed\n` or `silent\n`.
 */

import { existsSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { argv, exit, stdin, stdout } from 'node:process'
import { createInterface } from 'node:readline'

const HEAD_LIMIT_BYTES = 256

/** Both directions, half-closed as the ends close; a broken end breaks the other. */
const join = (a: Socket, b: Socket): void => {
  a.pipe(b)
  b.pipe(a)
  a.once('close', () => b.destroy())
  b.once('close', () => a.destroy())
}

const serveOutgoing = (file: string): void => {
  if (existsSync(file)) rmSync(file)
  createServer({ allowHalfOpen: true }, client => {
    client.on('error', () => client.destroy())
    let head = Buffer.alloc(0)
    const onData = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk])
      const end = head.indexOf(0x0a)
      if (end < 0) return void (head.length > HEAD_LIMIT_BYTES && client.destroy())
      client.off('data', onData)
      client.pause()
      const [host = '', port = '', localAddress = '', timeout = ''] = head.toString('utf8', 0, end).split(' ')
      dial(client, { host, port: Number(port), localAddress }, Number(timeout), head.subarray(end + 1))
    }
    client.on('data', onData)
  }).listen(file)
}

const dial = (
  client: Socket,
  to: { host: string; port: number; localAddress: string },
  timeoutMs: number,
  first: Buffer,
): void => {
  const upstream = connect({ ...to, allowHalfOpen: true })
  const timer = setTimeout(() => refuse('silent'), timeoutMs)
  let isOpen = false
  const refuse = (word: string): void => {
    clearTimeout(timer)
    upstream.destroy()
    client.end(`${word}\n`)
  }
  upstream.once('connect', () => {
    isOpen = true
    clearTimeout(timer)
    client.write('open\n')
    if (first.length > 0) upstream.write(first)
    join(client, upstream)
    client.resume()
  })
  upstream.on('error', (error: Error & { code?: string }) => {
    if (isOpen) client.destroy()
    else refuse(error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET' ? 'closed' : 'silent')
  })
  client.once('close', () => {
    clearTimeout(timer)
    upstream.destroy()
  })
}

const listeners = new Map<number, Server>()

const listen = (port: number, file: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true }, client => {
      client.on('error', () => client.destroy())
      const inner = connect({ path: file, allowHalfOpen: true })
      inner.on('error', () => client.destroy())
      join(client, inner)
    })
    server.once('error', reject)
    server.listen(port, '0.0.0.0', resolve)
    listeners.set(port, server)
  })

const obey = async (line: string): Promise<string> => {
  const [order, port = '', file = ''] = line.split(' ')
  if (order === 'listen') await listen(Number(port), file)
  else if (order === 'close') listeners.get(Number(port))?.close()
  else return `unknown order ${order}`
  return 'ok'
}

if (import.meta.main) {
  const [file] = argv.slice(2)
  if (file !== undefined) serveOutgoing(file)
  stdout.write('ready\n')
  for await (const line of createInterface({ input: stdin })) {
    const answer = await obey(line).catch((error: Error) => error.message)
    stdout.write(`${answer}\n`)
  }
  exit(0)
}
