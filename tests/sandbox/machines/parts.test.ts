import { describe, expect, test } from 'bun:test'
import { X509Certificate } from 'node:crypto'
import { connect, createServer } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { createAuthority } from '../../../lib/sandbox/ca.ts'
import { parseCloudConfig } from '../../../lib/sandbox/machines/cloud-config.ts'
import { parseLaunch } from '../../../lib/sandbox/machines/launcher.ts'
import { readServerName } from '../../../lib/sandbox/machines/server-name.ts'
import { parseRoutes } from '../../../lib/sandbox/machines/traefik.ts'
import { requestOf } from './rig.ts'

describe('the launcher stream', () => {
  const accepts = (name: string) => (name === 'write' ? ['EMAIL', 'PASSWORD'] : undefined)
  const bytes = (text: string) => Buffer.from(text)

  test('is complete at its last byte and not before', () => {
    const whole = bytes(requestOf('write', { EMAIL: 'ü@example.com', PASSWORD: '' }))
    for (let length = 0; length < whole.length; length++)
      expect(parseLaunch(whole.subarray(0, length), accepts, false)).toEqual({ state: 'more' })
    expect(parseLaunch(whole, accepts, false)).toEqual({
      state: 'ready',
      launch: { name: 'write', values: { EMAIL: 'ü@example.com', PASSWORD: '' } },
    })
  })

  test.each([
    ['no length', 'echo hello\n', 2],
    ['a negative length', '-4\n', 2],
    ['a line that is no value', requestOf('write').replace('.\n', 'EMAIL $(id)\n.\n'), 65],
    ['a value that is not taken', requestOf('write', { TOKEN: 'x' }), 65],
  ])('with %s is broken', (_what, text, exitCode) => {
    expect(parseLaunch(bytes(text), accepts, false)).toMatchObject({ state: 'broken', exitCode })
  })

  test('that ends early is broken', () => {
    const whole = requestOf('write', { EMAIL: 'a' })
    expect(parseLaunch(bytes(whole.slice(0, -1)), accepts, true)).toMatchObject({ state: 'broken', exitCode: 65 })
    expect(parseLaunch(bytes('20\n# landfall'), accepts, true)).toMatchObject({ state: 'broken', exitCode: 2 })
  })

  test('of a program without a header has no name', () => {
    expect(parseLaunch(bytes('3\nid\n'), accepts, false)).toEqual({ state: 'ready', launch: { name: undefined, values: {} } })
  })
})

describe('user data', () => {
  test('gives the host key without its comment, and further login keys', () => {
    const text =
      '#cloud-config\nssh_keys:\n  ed25519_private: |\n    PRIVATE\n  ed25519_public: ssh-ed25519 AAAA me@here\nssh_authorized_keys: [one]\n'
    expect(parseCloudConfig(text)).toEqual({
      hostKey: { privateKey: 'PRIVATE\n', publicKey: 'ssh-ed25519 AAAA' },
      authorizedKeys: ['one'],
    })
  })

  test.each([[undefined], ['#!/bin/sh\nssh_keys: {}\n'], ['#cloud-config\npackages: [curl]\n']])(
    '%j gives none and is no error',
    text => {
      expect(parseCloudConfig(text)).toEqual({ authorizedKeys: [] })
    },
  )

  test.each([['#cloud-config\na: [\n'], ['#cloud-config\njust text\n'], ['#cloud-config\nssh_keys: yes\n']])(
    '%j is an error',
    text => {
      expect(parseCloudConfig(text).error).toBeString()
    },
  )
})

describe('the first bytes of TLS', () => {
  const helloFor = (servername: string | undefined) =>
    new Promise<Buffer>(resolve => {
      const server = createServer(socket => {
        socket.on('error', () => socket.destroy())
        socket.once('data', data => {
          resolve(data)
          socket.destroy()
          server.close()
        })
      }).listen(0, '127.0.0.1', () => {
        const address = server.address()
        const port = typeof address === 'object' && address ? address.port : 0
        const options = servername === undefined ? {} : { servername }
        connectTls({ socket: connect(port, '127.0.0.1'), rejectUnauthorized: false, ...options }).on('error', () => undefined)
      })
    })

  test('name the server once they are whole', async () => {
    const hello = await helloFor('Panel.example.com')
    for (let length = 0; length < hello.length; length += 7)
      expect(readServerName(hello.subarray(0, length))).toEqual({ state: 'more' })
    expect(readServerName(hello)).toEqual({ state: 'read', name: 'panel.example.com' })
  })

  test('of something else are told apart', () => {
    expect(readServerName(Buffer.from('GET / HTTP/1.1\r\n'))).toEqual({ state: 'not_tls' })
    expect(readServerName(Buffer.from([0x16, 3, 1, 0, 4, 1, 0, 0, 99]))).toEqual({ state: 'not_tls' })
  })
})

describe('routes', () => {
  const file = (rule: string, more = '') =>
    `http:\n  routers:\n    r:\n      rule: ${rule}\n      service: s\n      entryPoints: [websecure]\n${more}  services:\n    s:\n      loadBalancer:\n        servers: [{ url: 'http://dokploy:3000' }]\n`

  test('come from every host of a rule', () => {
    expect(parseRoutes({ 'a.yml': file('Host(`A.example.com`) || Host(`b.example.com`)') })).toMatchObject([
      { host: 'a.example.com', entryPoint: 'websecure', redirectToHttps: false, upstream: 'dokploy:3000' },
      { host: 'b.example.com' },
    ])
  })

  test('of a broken file are left out, those of the others stay', () => {
    expect(
      parseRoutes({ 'a.yml': 'http: [', 'b.yml': file('Host(`b.example.com`)', '      middlewares: [redirect-to-https]\n') }),
    ).toEqual([
      { host: 'b.example.com', pathPrefix: '/', entryPoint: 'websecure', redirectToHttps: true, upstream: 'dokploy:3000' },
    ])
  })
})

describe('the certificate authority', () => {
  test('issues for names and addresses, and is the same one after it was saved', async () => {
    const first = await createAuthority()
    const again = await createAuthority(first.saved)
    expect(again.pem).toBe(first.pem)
    const root = new X509Certificate(first.pem)
    const { cert, key } = await again.issue(['a.example.com', '203.0.113.10'])
    const leaf = new X509Certificate(cert)
    expect(leaf.verify(root.publicKey)).toBe(true)
    expect(leaf.checkHost('a.example.com')).toBe('a.example.com')
    expect(leaf.checkHost('b.example.com')).toBeUndefined()
    expect(leaf.checkIP('203.0.113.10')).toBe('203.0.113.10')
    expect(leaf.ca).toBe(false)
    expect(key).toStartWith('-----BEGIN PRIVATE KEY-----')
  })

  test('differs from another one', async () => {
    const [one, other] = await Promise.all([createAuthority(), createAuthority()])
    const { cert } = await one.issue(['a.example.com'])
    expect(new X509Certificate(cert).verify(new X509Certificate(other.pem).publicKey)).toBe(false)
  })
})
