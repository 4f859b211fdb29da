/** A repository with pull requests, an estate with previews, and visitors from outside. */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { FAST, openPlace, type Place } from '../scripts/run.ts'

export const REPOSITORY = 'example/web'

export const estateOf = (substrate: 'shared' | 'servers', more: Readonly<Record<string, unknown>> = {}) => ({
  project: 'acme',
  hetzner: { location: 'nbg1', image: 'ubuntu-24.04' },
  dns: { domain: 'example.com' },
  network: {},
  servers: { previews: { type: 'cx33', firewalls: ['edge'] } },
  firewalls: { edge: [22, 80, 443].map(port => ({ port, from: ['anywhere'], why: 'visitors' })) },
  previews: {
    repository: REPOSITORY,
    substrate,
    host: 'previews',
    ...(substrate === 'servers' ? { type: 'cx23' } : {}),
    ...more,
  },
})

export interface Scene extends Place {
  readonly github: Place['sandbox']['controls']['github']
  /** As a visitor: over the sandbox's internet and DNS, with TLS checked against its authority. */
  visit(host: string): Promise<{ readonly status: number; readonly body: string; readonly names: string }>
  /** The number of the certificate that a visitor is shown. */
  serialAt(host: string): Promise<string>
  /** Servers that exist, by name. */
  servers(): readonly string[]
  /** What GitHub holds of ours in a pull request. */
  comment(number: number): string
  /** Requests to vendors that change something, the lock's and those of the acme stand-in apart. */
  writes(from: number): readonly string[]
}

export const openScene = async (
  substrate: 'shared' | 'servers',
  more: Readonly<Record<string, unknown>> = {},
): Promise<Scene> => {
  const place = await openPlace(estateOf(substrate, more), {
    settings: { ...FAST, actionMs: { create_server: 5, start_server: 5, other: 5 }, bootMs: 5 },
  })
  const { sandbox } = place
  const { github } = sandbox.controls
  github.addRepository(REPOSITORY)
  github.setPermission(REPOSITORY, 'octocat', 'write')
  return {
    ...place,
    github,
    async visit(host) {
      const { status, body, names } = await visit(place, host)
      return { status, body, names }
    },
    serialAt: async host => (await visit(place, host)).serial,
    servers: () => (sandbox.world().hetzner as { servers: { name: string }[] }).servers.map(each => each.name).sort(),
    comment: number => github.comments(REPOSITORY, number).find(each => each.author === 'github-actions[bot]')?.body ?? '',
    writes: from =>
      sandbox
        .requests()
        .slice(from)
        .filter(each => each.method !== 'GET' && each.method !== 'HEAD')
        .map(each => `${each.vendor} ${each.method} ${each.path}`),
  }
}

export const sha = (text: string): string => createHash('sha1').update(text).digest('hex')

interface Visit {
  readonly status: number
  readonly body: string
  readonly names: string
  readonly serial: string
}

const visit = (place: Place, host: string): Promise<Visit> =>
  new Promise((resolve, reject) => {
    const { ports, environment } = place.sandbox
    const socket = connect(ports.internet, '127.0.0.1')
    const timer = setTimeout(() => reject(new Error(`${host} did not answer`)), 10_000)
    socket.once('error', reject)
    socket.write(`CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n\r\n`)
    socket.once('data', first => {
      if (!/^HTTP\/1\.[01] 200/.test(first.toString('latin1'))) {
        clearTimeout(timer)
        socket.destroy()
        return reject(new Error(first.toString('latin1').split('\r\n')[0]))
      }
      let names = ''
      let serial = ''
      const tls = connectTls({ socket, servername: host, ca: readFileSync(environment.LANDFALL_CA_FILE ?? '') }, () => {
        const shown = tls.getPeerCertificate()
        names = String(shown.subjectaltname ?? '')
        serial = shown.serialNumber
        tls.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
      })
      let text = ''
      tls.on('data', (chunk: Buffer) => {
        text += chunk.toString('utf8')
      })
      tls.once('error', reject)
      tls.once('close', () => {
        clearTimeout(timer)
        const [head = '', ...body] = text.split('\r\n\r\n')
        resolve({ status: Number(head.split(' ')[1]), body: body.join('\r\n\r\n'), names, serial })
      })
    })
  })
