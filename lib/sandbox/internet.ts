/**
 * The simulated internet between the operator and the estate: an HTTP CONNECT proxy on loopback that knows who has which address, asks the
 * cloud's firewall, and leads what is let in to the machine's real listener. A filtered port is silent here as it is there.
 */

import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { isNameserver } from './dns-world.ts'
import { type ExposedServer, type Exposure, isLetIn, sameAddress } from './exposure.ts'

export const OPERATOR = { ipv4: '198.51.100.7', ipv6: '2001:db8:ffff::7' } as const

export interface InternetDeps {
  readonly servers: () => readonly ExposedServer[]
  /** What the cloud firewall lets in to a server's public addresses now. */
  readonly exposure: (serverId: string) => readonly Exposure[]
  /** `source` is who connects; machines that are real see it. */
  readonly dial: (
    address: string,
    port: number,
    source: string,
  ) => Promise<{ readonly host: string; readonly port: number } | 'closed'>
  /** Where an address of other people, or a real server in a machine's place, listens on this computer; undefined where there is none. */
  readonly site?: (address: string, port: number) => number | undefined
  /** The address that a name has for everybody. */
  readonly resolve: (name: string) => string | undefined
  /** The authority's loopback port. */
  readonly nameserverPort: () => number
  /** Answers requests below `/_sandbox/`; undefined for a path that does not exist. */
  readonly control?: (request: {
    method: string
    path: string
    query: URLSearchParams
    body: string
  }) => ControlAnswer | Promise<ControlAnswer>
}

export type ControlAnswer = { readonly status: number; readonly json: unknown }

export interface Internet {
  readonly url: string
  readonly port: number
  /** Where the connection behind a loopback port comes from in the simulated world; known as soon as its tunnel stands. */
  sourceOf(localPort: number): string | undefined
  close(): Promise<void>
}

/** Silence lasts this long when the client does not give up before. */
const FILTERED_MS = 60_000
const PLAIN = { 'content-type': 'text/plain; charset=utf-8' }
const LOOPBACK_NAMES = new Set(['127.0.0.1', 'localhost', '[::1]'])

type Verdict =
  | { readonly kind: 'open'; readonly source: string; readonly host: string; readonly port: number }
  | { readonly kind: 'closed' | 'filtered' | 'unresolved'; readonly source: string }

/** @param port 0, and by default: any free one */
export async function serveInternet(deps: InternetDeps, port = 0): Promise<Internet> {
  const sources = new Map<number, string>()
  const tunnels = new Set<Duplex>()

  const judge = async (host: string, toPort: number, source: string | undefined): Promise<Verdict> => {
    const address = /^[\d.]+$|:/.test(host) ? host : deps.resolve(host)
    const from = source ?? (address?.includes(':') ? OPERATOR.ipv6 : OPERATOR.ipv4)
    if (address === undefined) return { kind: 'unresolved', source: from }
    if (isNameserver(address))
      return toPort === 53
        ? { kind: 'open', host: '127.0.0.1', port: deps.nameserverPort(), source: from }
        : { kind: 'filtered', source: from }
    const server = deps.servers().find(one => sameAddress(one.ipv4, address) || sameAddress(one.ipv6, address))
    const site = deps.site?.(address, toPort)
    if (!server && site !== undefined) return { kind: 'open', host: '127.0.0.1', port: site, source: from }
    // Nobody there, or nobody awake: packets go into the void, as they do outside.
    if (server?.status !== 'running') return { kind: 'filtered', source: from }
    if (!isLetIn(deps.exposure(server.id), from, toPort)) return { kind: 'filtered', source: from }
    if (site !== undefined) return { kind: 'open', host: '127.0.0.1', port: site, source: from }
    const own = sameAddress(server.ipv4, address) ? server.ipv4 : server.ipv6
    const listener = await deps.dial(own ?? address, toPort, from)
    return listener === 'closed' ? { kind: 'closed', source: from } : { kind: 'open', ...listener, source: from }
  }

  const remember = (upstream: Socket, source: string): void => {
    const { localPort } = upstream
    if (localPort === undefined) return
    sources.set(localPort, source)
    upstream.once('close', () => sources.delete(localPort))
  }

  const hold = (client: Duplex): void => {
    const timer = setTimeout(() => client.destroy(), FILTERED_MS)
    const giveUp = () => {
      clearTimeout(timer)
      client.destroy()
    }
    client.once('close', giveUp)
    client.once('end', giveUp)
    client.resume()
  }

  const tunnel = async (request: IncomingMessage, client: Duplex, head: Buffer): Promise<void> => {
    tunnels.add(client)
    client.once('close', () => tunnels.delete(client))
    // A client that resets its connection is ordinary; 'close' follows.
    client.on('error', () => client.destroy())
    const target = parseTarget(request.url ?? '')
    if (!target) return refuse(client, 400, 'Bad Request', 'malformed')
    const verdict = await judge(target.host, target.port, headerOf(request, 'x-source-address'))
    if (client.destroyed) return
    if (verdict.kind === 'filtered') return hold(client)
    if (verdict.kind !== 'open') return refuse(client, 502, 'Bad Gateway', verdict.kind === 'closed' ? 'refused' : 'unresolved')
    const upstream = connect({ host: verdict.host, port: verdict.port, allowHalfOpen: true }, () => {
      remember(upstream, verdict.source)
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      if (head.length > 0) upstream.write(head)
      join(client, upstream)
    })
    tunnels.add(upstream)
    let established = false
    upstream.once('connect', () => {
      established = true
    })
    upstream.on('error', () => (established ? client.destroy() : refuse(client, 502, 'Bad Gateway', 'refused')))
    upstream.once('close', () => {
      tunnels.delete(upstream)
      if (established) client.destroy()
    })
    client.once('close', () => upstream.destroy())
  }

  /** A plain request through the proxy, as `curl --proxy` sends it for http. */
  const forward = async (incoming: IncomingMessage, outgoing: ServerResponse, url: URL): Promise<void> => {
    const verdict = await judge(
      url.hostname.replace(/^\[|\]$/g, ''),
      Number(url.port || 80),
      headerOf(incoming, 'x-source-address'),
    )
    if (verdict.kind === 'filtered') return hold(incoming.socket)
    if (verdict.kind !== 'open')
      return void outgoing.writeHead(502, { ...PLAIN, 'x-connect': verdict.kind === 'closed' ? 'refused' : 'unresolved' }).end()
    const { 'proxy-connection': _hop, 'x-source-address': _source, ...headers } = incoming.headers
    const upstream = httpRequest(
      {
        host: verdict.host,
        port: verdict.port,
        method: incoming.method ?? 'GET',
        path: `${url.pathname}${url.search}`,
        headers: { ...headers, host: url.host, connection: 'close' },
      },
      answer => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(outgoing)
      },
    )
    upstream.once('socket', socket => socket.once('connect', () => remember(socket, verdict.source)))
    upstream.on('error', () => outgoing.destroy())
    incoming.pipe(upstream)
  }

  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const target = incoming.url ?? '/'
    const url = new URL(target, 'http://127.0.0.1')
    const isProxied = !target.startsWith('/')
    const name = isProxied ? url.hostname : url.pathname.slice(1)
    if (/^whoami[46]?(\.sandbox)?$/.test(name)) return whoami(incoming, outgoing, name.startsWith('whoami6') ? 6 : 4)
    if (isProxied) return forward(incoming, outgoing, url)
    const control = url.pathname.startsWith('/_sandbox/') && isFromHere(incoming) ? deps.control : undefined
    const reply = control && (await control(await toControl(incoming, url)))
    if (!reply)
      return void outgoing.writeHead(404, PLAIN).end('Not found. This is the sandbox: its control is below /_sandbox/.\n')
    outgoing.writeHead(reply.status, { 'content-type': 'application/json' }).end(JSON.stringify(reply.json))
  }

  const server = createServer((incoming, outgoing) => {
    answer(incoming, outgoing).catch(error => {
      const why = error instanceof Error ? (error.stack ?? error.message) : String(error)
      if (outgoing.headersSent) outgoing.destroy()
      else outgoing.writeHead(500, PLAIN).end(`The sandbox failed: ${why}\n`)
    })
  })
  server.on('connect', (request: IncomingMessage, client: Duplex, head: Buffer) => {
    tunnel(request, client, head).catch(() => refuse(client, 500, 'Internal Server Error', 'failed'))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  const bound = (server.address() as AddressInfo).port
  return {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    sourceOf: localPort => sources.get(localPort),
    close: () =>
      new Promise(resolve => {
        for (const end of tunnels) end.destroy()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Both directions, each ended when its source ends: protocols may close one side first. */
const join = (a: Duplex, b: Duplex): void => {
  a.pipe(b)
  b.pipe(a)
}

const refuse = (client: Duplex, status: number, reason: string, why: string): void => {
  client.end(`HTTP/1.1 ${status} ${reason}\r\nX-Connect: ${why}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`)
}

const parseTarget = (text: string): { readonly host: string; readonly port: number } | undefined => {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port }
}

const whoami = (incoming: IncomingMessage, outgoing: ServerResponse, family: 4 | 6): void => {
  const ip = headerOf(incoming, 'x-source-address') ?? (family === 4 ? OPERATOR.ipv4 : OPERATOR.ipv6)
  const lines = [
    'fl=1f1',
    'h=whoami.sandbox',
    `ip=${ip}`,
    'visit_scheme=http',
    'colo=FRA',
    'http=http/1.1',
    'loc=DE',
    'tls=off',
    'warp=off',
  ]
  outgoing.writeHead(200, PLAIN).end(`${lines.join('\n')}\n`)
}

// A page in a browser on this machine reaches loopback too; it names its own site, or sends its origin.
const isFromHere = (incoming: IncomingMessage): boolean =>
  incoming.headers.origin === undefined && LOOPBACK_NAMES.has((incoming.headers.host ?? '').replace(/:\d+$/, ''))

const toControl = async (incoming: IncomingMessage, url: URL) => {
  let body = ''
  for await (const chunk of incoming) body += String(chunk)
  return { method: incoming.method ?? 'GET', path: url.pathname.slice('/_sandbox'.length), query: url.searchParams, body }
}

const headerOf = (incoming: IncomingMessage, name: string): string | undefined => {
  const value = incoming.headers[name]
  return Array.isArray(value) ? value[0] : value
}
