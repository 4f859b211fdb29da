/** What runs in a simulated machine's containers: Dokploy behind port 3000, and the Traefik that serves its routes on 80 and 443. */

import type { CertificateAuthority } from '../ca.ts'
import { createDokployStandIn, type DokployControl } from '../dokploy/standin.ts'
import { acmeEmailOf } from '../dokploy/traefik-files.ts'
import { serveStandIn } from '../front.ts'
import type { SandboxClock, StandIn, Store } from '../kit.ts'
import { type CertificateRow, createAcme } from './acme.ts'
import { type Listener, listenHttp } from './listen.ts'
import { firstHost, hasAddress, type MachineServer } from './state.ts'
import { openWeb, openWebSecure, parseRoutes, type TraefikDeps } from './traefik.ts'

export interface PlatformDeps {
  readonly store: Store
  readonly clock: SandboxClock
  readonly ca: CertificateAuthority
  readonly resolve: (name: string) => string | undefined
  readonly openToWorld: (serverId: string, port: number) => boolean
  readonly serve: ((standIn: StandIn) => Promise<Listener>) | undefined
  readonly acme: { readonly issueMs: number; readonly retryMs: number }
  readonly rateLimits: () => boolean
  /** The backend service behind Caddy, where one runs instead of Dokploy. */
  readonly serviceOf: (server: MachineServer) => { readonly host: string; readonly healthy: boolean } | undefined
  /** With "v". */
  readonly versionOf: (server: MachineServer) => string
  /** A listener of the same machine. */
  readonly reach: (server: MachineServer, port: number) => Promise<Listener | 'closed'>
}

export interface Platform {
  panelOf(server: MachineServer): DokployControl
  openDokploy(server: MachineServer): Promise<Listener>
  openWeb(server: MachineServer): Promise<Listener>
  openWebSecure(server: MachineServer): Promise<Listener>
  openService(server: MachineServer): Promise<Listener>
  certificatesOf(serverId: string): CertificateRow[]
  restoreCertificates(serverId: string, rows: readonly CertificateRow[]): void
  /** Everything that was on the machine's disk. */
  forget(serverId: string): void
}

/** Of the service's own, beside what Caddy leads to it. */
export const SERVICE_PORT = 4444

const DOKPLOY_UPSTREAM = 'dokploy:3000'

export const createPlatform = (deps: PlatformDeps): Platform => {
  const { store, clock } = deps
  const acme = createAcme({ rows: store.collection('machine.certificates'), ca: deps.ca, clock, ...deps.acme })

  const standInOf = (server: MachineServer) =>
    createDokployStandIn({
      store,
      clock,
      serverId: server.id,
      version: deps.versionOf(server),
      publicIp: () => server.ipv4 ?? firstHost(server.ipv6),
      rateLimits: deps.rateLimits,
    })

  /** Asks the authority for what is due, and gives the certificate for a name that Traefik serves over TLS. */
  const certificateOf = async (server: MachineServer, panel: DokployControl, host: string) => {
    // A certificate that was given goes before one that would have to be ordered.
    const given = panel.givenCertificate(host)
    if (given) return given
    const traefik = panel.traefik()
    const isServed = parseRoutes(traefik.dynamic).some(route => route.entryPoint === 'websecure' && route.host === host)
    const email = acmeEmailOf(traefik.loadedMain)
    if (!isServed || email === undefined) return undefined
    const address = deps.resolve(host)
    const reachable = address !== undefined && hasAddress(server, address) && deps.openToWorld(server.id, 80)
    return acme.obtain({ serverId: server.id, host, email, generation: traefik.generation, reachable })
  }

  const orderCertificates = async (server: MachineServer, panel: DokployControl): Promise<void> => {
    const secure = parseRoutes(panel.traefik().dynamic).filter(route => route.entryPoint === 'websecure')
    for (const host of new Set(secure.map(route => route.host))) await certificateOf(server, panel, host)
  }

  /** Caddy as the service's module sets it up: one name, HTTP sent on to HTTPS, an upstream that may be down. */
  const caddyDeps = (server: MachineServer): TraefikDeps => {
    const route = (host: string): string =>
      JSON.stringify({
        http: {
          routers: {
            web: { rule: `Host(\`${host}\`)`, service: 'backend', entryPoints: ['web'], middlewares: ['redirect-to-https'] },
            websecure: { rule: `Host(\`${host}\`)`, service: 'backend', entryPoints: ['websecure'] },
          },
          services: { backend: { loadBalancer: { servers: [{ url: 'http://backend:3000' }] } } },
        },
      })
    return {
      files() {
        const service = deps.serviceOf(server)
        return service ? { caddy: route(service.host) } : {}
      },
      app: () => (deps.serviceOf(server)?.healthy ? new Response('ok\n') : 'closed'),
      upstream: async () => 'closed',
      async certificateOf(host) {
        if (deps.serviceOf(server)?.host !== host) return undefined
        const address = deps.resolve(host)
        const reachable = address !== undefined && hasAddress(server, address) && deps.openToWorld(server.id, 80)
        return acme.obtain({ serverId: server.id, host, email: '', generation: 0, reachable })
      },
    }
  }

  const frontDeps = (server: MachineServer): TraefikDeps => (deps.serviceOf(server) ? caddyDeps(server) : traefikDeps(server))

  const traefikDeps = (server: MachineServer): TraefikDeps => {
    const panel = standInOf(server).control
    return {
      files() {
        // Labels of containers become routes with the deploy that made them.
        panel.apps.settle()
        return panel.traefik().dynamic
      },
      app: (upstream, path) => panel.apps.answer(upstream, path),
      upstream: async name => (name === DOKPLOY_UPSTREAM ? deps.reach(server, 3000) : 'closed'),
      certificateOf: host => certificateOf(server, panel, host),
    }
  }

  return {
    panelOf: server => standInOf(server).control,
    openDokploy(server) {
      const dokploy = standInOf(server)
      const observed: StandIn = {
        vendor: dokploy.vendor,
        async handle(request) {
          const before = dokploy.control.traefik().generation
          const answer = await dokploy.handle(request)
          // Traefik orders a certificate as soon as it sees a new route, not when the first visitor comes.
          if (dokploy.control.traefik().generation !== before) await orderCertificates(server, dokploy.control)
          return answer
        },
      }
      return deps.serve?.(observed) ?? serveStandIn(observed, { base: '', clock, settings: () => ({ latencyMs: 0, faults: [] }) })
    },
    openWeb: async server => openWeb(frontDeps(server)),
    openWebSecure: server => openWebSecure(frontDeps(server)),
    openService: async () => listenHttp(async () => new Response('ok\n')),
    certificatesOf: acme.rowsOf,
    restoreCertificates: acme.restore,
    forget(serverId) {
      acme.forget(serverId)
      createDokployStandIn({ store, clock, serverId, version: '' }).control.reset()
    },
  }
}
