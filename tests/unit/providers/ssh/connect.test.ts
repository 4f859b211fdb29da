import { afterEach, describe, expect, test } from 'bun:test'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { LandfallError } from '../../../../lib/errors.ts'
import { openThroughProxy } from '../../../../lib/providers/ssh/connect.ts'

const servers: Server[] = []
const sockets: Socket[] = []

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) server.close()
})

/** A proxy whose behaviour after the request's head is `answer`. */
async function proxy(answer: (socket: Socket, head: string) => void): Promise<{ host: string; port: number }> {
  const server = createServer(socket => {
    sockets.push(socket)
    socket.on('error', () => socket.destroy())
    socket.once('data', (head: Buffer) => answer(socket, head.toString()))
  })
  servers.push(server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return { host: '127.0.0.1', port: typeof address === 'object' && address !== null ? address.port : 0 }
}

async function failureOf(work: Promise<unknown>): Promise<LandfallError> {
  const error = await work.then(
    () => undefined,
    (failure: unknown) => failure,
  )
  if (!(error instanceof LandfallError)) throw new Error(`expected a LandfallError, got ${String(error)}`)
  return error
}

const echo = (socket: Socket) => {
  socket.write('HTTP/1.1 200 Connection established\r\nX-Any: thing\r\n\r\nhello')
  socket.pipe(socket)
}

describe('a connection through a proxy', () => {
  test('names the address and begins with the far side’s first byte', async () => {
    let asked = ''
    const address = await proxy((socket, head) => {
      asked = head
      echo(socket)
    })
    const socket = await openThroughProxy('2001:db8::7', 22, address)
    expect(asked).toBe('CONNECT [2001:db8::7]:22 HTTP/1.1\r\nHost: [2001:db8::7]:22\r\n\r\n')
    const first = await new Promise(resolve => socket.once('data', (chunk: Buffer) => resolve(chunk.toString())).resume())
    expect(first).toBe('hello')
    socket.destroy()
  })

  test('fails in words when the proxy refuses, hangs up, talks nonsense, or is silent', async () => {
    const refusing = await proxy(socket => socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'))
    expect((await failureOf(openThroughProxy('203.0.113.7', 22, refusing))).message).toContain('the proxy answered 502')
    const closing = await proxy(socket => socket.end())
    expect((await failureOf(openThroughProxy('203.0.113.7', 22, closing))).message).toContain('hung up')
    const babbling = await proxy(socket => socket.write('SSH-2.0-x\r\n\r\n'))
    expect((await failureOf(openThroughProxy('203.0.113.7', 22, babbling))).message).toContain('not HTTP')
    const endless = await proxy(socket => socket.write('x'.repeat(20_000)))
    expect((await failureOf(openThroughProxy('203.0.113.7', 22, endless))).message).toContain('does not speak HTTP')
    const silent = await proxy(() => undefined)
    const error = await failureOf(openThroughProxy('203.0.113.7', 22, silent, 50))
    expect([error.code, error.message]).toEqual([
      'timeout',
      'No connection to 203.0.113.7:22 through the proxy: no answer within 50 ms.',
    ])
  })

  test('is refused for what is not an address and a port', async () => {
    for (const [address, port] of [
      ['example.com', 22],
      ['203.0.113.7\r\nX: y', 22],
      ['', 22],
      ['203.0.113.7', 0],
      ['203.0.113.7', Number('nonsense')],
    ] as const)
      expect((await failureOf(openThroughProxy(address, port, { host: '127.0.0.1', port: 1 }))).code).toBe('usage')
  })

  test('as a program joins stdin and stdout to it, and ends when stdin does', async () => {
    const { host, port } = await proxy(echo)
    const program = Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, '../../../../lib/providers/ssh/connect.ts'),
        '203.0.113.7',
        '22',
        host,
        String(port),
      ],
      {
        stdin: new Blob(['-ping']),
        stdout: 'pipe',
        stderr: 'pipe',
      },
    )
    expect(await new Response(program.stdout).text()).toBe('hello-ping')
    expect(await program.exited).toBe(0)
  })

  test('as a program says why there is none', async () => {
    const program = Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, '../../../../lib/providers/ssh/connect.ts'),
        'example.com',
        '22',
        '127.0.0.1',
        '1',
      ],
      {
        stdin: 'ignore',
        stdout: 'pipe',
        stderr: 'pipe',
      },
    )
    expect(await program.exited).toBe(1)
    expect(await new Response(program.stderr).text()).toContain('needs an IP address')
  })
})
