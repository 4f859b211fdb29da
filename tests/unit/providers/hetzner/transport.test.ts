/** The transport over real sockets on loopback. */

import { afterEach, describe, expect, test } from 'bun:test'
import { createServer, type Socket } from 'node:net'
import { inspect } from 'node:util'
import { LandfallError } from '../../../../lib/errors.ts'
import { hcloudTransport, type TransportRequest } from '../../../../lib/providers/hetzner/transport.ts'
import { Secret } from '../../../../lib/secret.ts'
import { failureOf, TOKEN } from './rig.ts'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

/** A server that hands every request, as bytes, to `onRequest`; answers with its endpoint and what it got. */
async function listen(onRequest: (socket: Socket, n: number) => void): Promise<{ endpoint: string; got: string[] }> {
  const got: string[] = []
  const server = createServer(socket => {
    closing.push(() => socket.destroy())
    socket.on('error', () => socket.destroy())
    socket.on('data', bytes => onRequest(socket, got.push(bytes.toString())))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => server.close())
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { endpoint: `http://127.0.0.1:${address.port}/v1/`, got }
}

const answer = (status: string, body: string, headers = '') =>
  `HTTP/1.1 ${status}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`

const send = (endpoint: string, request: TransportRequest, timeoutMs = 5_000) =>
  hcloudTransport({ token: new Secret('HCLOUD_TOKEN', TOKEN), endpoint, timeoutMs }).send(request)

const GET = { method: 'GET', path: '/servers' } as const
const POST = { method: 'POST', path: '/servers', body: { name: 'ü', labels: { a: 'b' }, list: [1, { c: null }] } } as const

describe('a request', () => {
  test('carries the token, the query with repeated keys, and the body as it was given', async () => {
    const { endpoint, got } = await listen(socket => socket.write(answer('200 OK', '{}')))
    await send(endpoint, {
      ...GET,
      query: [
        ['id', '1'],
        ['id', '2'],
        ['name', 'a b&c'],
      ],
    })
    await send(endpoint, POST)
    await send(endpoint, { method: 'POST', path: '/servers/1/actions/poweron' })
    expect(got[0]).toStartWith('GET /v1/servers?id=1&id=2&name=a+b%26c HTTP/1.1')
    expect(got[0]).toContain(`Authorization: Bearer ${TOKEN}`)
    expect(got[1]).toMatch(/content-type: application\/json/i)
    expect(JSON.parse(got[1]?.split('\r\n\r\n')[1] ?? '')).toEqual(POST.body)
    expect(got[2]).not.toMatch(/content-type/i)
  })

  test('comes back with status, headers in lower case, and the text, whatever the status', async () => {
    const { endpoint } = await listen(socket => socket.write(answer('502 Bad Gateway', '<html>', 'X-Correlation-Id: c1\r\n')))
    expect(await send(endpoint, GET)).toMatchObject({ status: 502, headers: { 'x-correlation-id': 'c1' }, text: '<html>' })
  })

  test('does not follow a redirect with our token', async () => {
    const thief = await listen(socket => socket.write(answer('200 OK', '{}')))
    const { endpoint } = await listen(socket =>
      socket.write(answer('307 Temporary Redirect', '', `Location: ${thief.endpoint}\r\n`)),
    )
    expect((await send(endpoint, GET)).status).toBe(307)
    expect(thief.got).toEqual([])
  })

  test('to another host than the endpoint is impossible', async () => {
    const thief = await listen(socket => socket.write(answer('200 OK', '{}')))
    const { endpoint } = await listen(socket => socket.write(answer('200 OK', '{}')))
    for (const path of [thief.endpoint, thief.endpoint.replace('http:', ''), 'servers'])
      await expect(send(endpoint, { ...GET, path })).rejects.toThrow('not a path')
    expect(thief.got).toEqual([])
  })

  for (const endpoint of ['api.hetzner.cloud/v1', 'file:///etc/passwd', '', 'https://x y/'])
    test(`to the endpoint "${endpoint}" is refused before anything is loaded`, () => {
      expect(() => send(endpoint, GET)).toThrow('not an http(s) URL')
    })
})

describe('what is asked before sending', () => {
  test('withholds the request, and is what the caller hears', async () => {
    const { endpoint, got } = await listen(() => undefined)
    const lost = new LandfallError('locked', 'The lock is lost.')
    expect(await failureOf(send(endpoint, { ...POST, beforeSend: () => Promise.reject(lost) }))).toBe(lost)
    expect(got).toEqual([])
  })
})

describe('a failure', () => {
  test('whose connection never came about is unreachable', async () => {
    const { endpoint } = await listen(() => undefined)
    for (const close of closing.splice(0)) close()
    expect((await failureOf(send(endpoint, POST))).vendorCode).toBe('unreachable')
  })

  test('after sending is no answer, and the request was sent once', async () => {
    const { endpoint, got } = await listen((socket, n) => (n === 1 ? socket.write(answer('200 OK', '{}')) : socket.destroy()))
    const transport = hcloudTransport({ token: new Secret('HCLOUD_TOKEN', TOKEN), endpoint, timeoutMs: 5_000 })
    await transport.send(GET)
    // On a reused connection, where some clients send again by themselves.
    expect((await failureOf(transport.send(POST))).vendorCode).toBe('no_answer')
    expect(got).toHaveLength(2)
  })

  test('in the middle of the body is no answer', async () => {
    const { endpoint } = await listen(socket => socket.end('HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"server":'))
    expect((await failureOf(send(endpoint, POST))).vendorCode).toBe('no_answer')
  })

  for (const [name, start] of [
    ['never begins to answer', ''],
    ['stops in the middle of its answer', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{'],
  ] as const)
    test(`a server that ${name} is given up at the deadline`, async () => {
      const { endpoint } = await listen(socket => socket.write(start))
      const error = await failureOf(send(endpoint, GET, 60))
      expect(error.vendorCode).toBe('no_answer')
      expect(error.message).toBe('there was no answer within 0.06 s')
    })

  test('by an interrupt is cancelled', async () => {
    const { endpoint } = await listen(() => undefined)
    const stop = new AbortController()
    const sending = failureOf(send(endpoint, { ...GET, signal: stop.signal }))
    setTimeout(() => stop.abort(), 20)
    expect((await sending).code).toBe('cancelled')
    expect((await failureOf(send(endpoint, { ...GET, signal: stop.signal }))).code).toBe('cancelled')
  })

  test('of any kind shows no token, printed or as JSON', async () => {
    const { endpoint } = await listen(socket => socket.destroy())
    const stop = new AbortController()
    stop.abort()
    for (const error of [
      await failureOf(send(endpoint, POST)),
      await failureOf(send('http://127.0.0.1:1/v1', GET)),
      await failureOf(send(endpoint, { ...GET, signal: stop.signal })),
    ]) {
      expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(TOKEN)
      expect(JSON.stringify({ ...error, message: error.message, stack: error.stack, cause: error.cause })).not.toContain(TOKEN)
      expect(error.cause).toBeUndefined()
    }
  })
})
