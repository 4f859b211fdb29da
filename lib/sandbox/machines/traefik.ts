/**
 * The "Traefik" in front of a simulated Dokploy: it reads the dynamic files that Dokploy writes, answers ports 80 and 443 by host name,
 * and shows its own self-signed certificate for every name that it has no real one for.
 */

import type { Certificate } from '../ca.ts'
import { createSelfSigned } from '../ca.ts'
import { type Listener, LOOPBACK, listenHttp, listenTcp, relay } from './listen.ts'
import { readServerName } from './server-name.ts'

export interface WebRoute {
  readonly host: string
  readonly pathPrefix: string
  readonly entryPoint: 'web' | 'websecure'
  readonly redirectToHttps: boolean
  /** "dokploy:3000" */
  readonly upstream: string
}

export interface TraefikDeps {
  /** File name → YAML. */
  files(): Readonly<Record<string, string>>
  /** The answer of an application's container; 'closed' when nothing listens there, undefined when the upstream is none. */
  app?(upstream: string, path: string): Response | 'closed' | undefined
  /** The listener behind an upstream such as "dokploy:3000". */
  upstream(name: string): Promise<Pick<Listener, 'port'> | 'closed'>
  /** The certificate that was issued for a name, if any. */
  certificateOf(host: string): Promise<Certificate | undefined>
}

interface DynamicFile {
  readonly http?: {
    readonly routers?: Readonly<
      Record<string, { rule?: string; service?: string; entryPoints?: readonly string[]; middlewares?: readonly string[] }>
    >
    readonly services?: Readonly<Record<string, { loadBalancer?: { servers?: readonly { url?: string }[] } }>>
  }
}

/** A URL drops the port that is its scheme's own. */
const withPort = ({ hostname, port }: URL): string => `${hostname}:${port === '' ? 80 : port}`

/** Every route of the dynamic files. A file that is not YAML has none, as Traefik logs it and goes on. */
export const parseRoutes = (files: Readonly<Record<string, string>>): WebRoute[] => {
  const parsed = Object.values(files).map(parseDynamic)
  const services = Object.assign({}, ...parsed.map(file => file.http?.services ?? {})) as NonNullable<
    NonNullable<DynamicFile['http']>['services']
  >
  return parsed.flatMap(file =>
    Object.values(file.http?.routers ?? {}).flatMap(router => {
      const url = services[router.service ?? '']?.loadBalancer?.servers?.[0]?.url
      const hosts = [...(router.rule ?? '').matchAll(/Host\(`([^`]+)`\)/g)].map(match => match[1] ?? '')
      const pathPrefix = /PathPrefix\(`([^`]+)`\)/.exec(router.rule ?? '')?.[1] ?? '/'
      if (url === undefined) return []
      return hosts.flatMap(host =>
        (router.entryPoints ?? ['web', 'websecure']).flatMap(entryPoint =>
          entryPoint === 'web' || entryPoint === 'websecure'
            ? [
                {
                  host: host.toLowerCase(),
                  pathPrefix,
                  entryPoint,
                  redirectToHttps: router.middlewares?.includes('redirect-to-https') ?? false,
                  upstream: withPort(new URL(url)),
                },
              ]
            : [],
        ),
      )
    }),
  )
}

/** Port 80. */
export const openWeb = async (deps: TraefikDeps): Promise<Listener> => listenHttp(request => answer(deps, 'web', request))

/** Port 443: the server name of the handshake chooses the certificate, the Host header the route, as in the real thing. */
export const openWebSecure = async (deps: TraefikDeps): Promise<Listener> => {
  // One inner listener per certificate: Bun's TLS server has no SNICallback (bun 1.4.5 ignores the option). When it has one, this can be one listener.
  const inner = new Map<string, Listener>()
  const listenerFor = async (name: string | undefined): Promise<Listener> => {
    const certificate = (name !== undefined && (await deps.certificateOf(name))) || (await defaultCertificate())
    const found = inner.get(certificate.cert)
    if (found) return found
    const made = listenHttp(request => answer(deps, 'websecure', request), certificate)
    inner.set(certificate.cert, made)
    return made
  }
  const outer = await listenTcp(socket => {
    let received = Buffer.alloc(0)
    const onData = async (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      const hello = readServerName(received)
      if (hello.state === 'more') return
      socket.off('data', onData)
      socket.pause()
      if (hello.state === 'not_tls' || !(await relay(socket, await listenerFor(hello.name), received))) socket.destroy()
    }
    socket.on('data', onData)
  })
  return {
    port: outer.port,
    close: async () => {
      await outer.close()
      await Promise.all([...inner.values()].map(listener => listener.close()))
    },
  }
}

const answer = async (deps: TraefikDeps, entryPoint: WebRoute['entryPoint'], request: Request): Promise<Response> => {
  const url = new URL(request.url)
  const host = (request.headers.get('host') ?? '').replace(/:\d+$/, '').toLowerCase()
  const route = parseRoutes(deps.files())
    .filter(one => one.entryPoint === entryPoint && one.host === host && url.pathname.startsWith(one.pathPrefix))
    // Traefik prefers the longer rule.
    .toSorted((a, b) => b.pathPrefix.length - a.pathPrefix.length)[0]
  if (!route) return plain(404, '404 page not found\n')
  if (route.redirectToHttps) {
    const status = request.method === 'GET' || request.method === 'HEAD' ? 301 : 308
    return new Response('Moved Permanently', {
      status,
      headers: { location: `https://${host}${url.pathname}${url.search}` },
    })
  }
  const app = deps.app?.(route.upstream, url.pathname)
  if (app !== undefined) return app === 'closed' ? plain(502, 'Bad Gateway') : app
  const target = await deps.upstream(route.upstream)
  if (target === 'closed') return plain(502, 'Bad Gateway')
  return forward(request, target.port, entryPoint === 'websecure' ? 'https' : 'http')
}

const forward = async (request: Request, port: number, scheme: 'http' | 'https'): Promise<Response> => {
  const url = new URL(request.url)
  const headers = new Headers(request.headers)
  headers.set('x-forwarded-proto', scheme)
  headers.set('x-forwarded-host', request.headers.get('host') ?? '')
  if (!headers.has('x-forwarded-for')) headers.set('x-forwarded-for', LOOPBACK)
  const body = await request.arrayBuffer()
  try {
    const response = await fetch(`http://${LOOPBACK}:${port}${url.pathname}${url.search}`, {
      method: request.method,
      headers,
      redirect: 'manual',
      ...(body.byteLength > 0 && { body }),
    })
    // Read here: an answer that breaks off in the middle is a 502 too.
    return new Response(await response.arrayBuffer(), { status: response.status, headers: response.headers })
  } catch (error) {
    // The panel's process died or a fault cut the connection: to a client that is Traefik's 502.
    if (error instanceof Error) return plain(502, 'Bad Gateway')
    throw error
  }
}

const plain = (status: number, text: string): Response =>
  new Response(text, { status, headers: { 'content-type': 'text/plain; charset=utf-8' } })

const parseDynamic = (text: string): DynamicFile => {
  try {
    return (Bun.YAML.parse(text) as DynamicFile | null) ?? {}
  } catch (error) {
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

let madeDefault: Promise<Certificate> | undefined
const defaultCertificate = (): Promise<Certificate> => {
  madeDefault ??= createSelfSigned('TRAEFIK DEFAULT CERT', ['unknown.traefik.default'])
  return madeDefault
}
