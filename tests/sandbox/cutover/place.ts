/** An estate whose names still lead to an old host that serves them, with the new place ready behind them. */

import { type Certificate, createAuthority } from '../../../lib/sandbox/ca.ts'
import type { Sandbox, SandboxOptions } from '../../../lib/sandbox/sandbox.ts'
import { openPlace, type Place } from '../scripts/run.ts'

export const APEX = 'example.com'
export const WWW = 'www.example.com'
export const API = 'api.example.com'
export const NAMES = [APEX, WWW, API] as const
export const OLD = { ipv4: '192.0.2.80', ipv6: '2001:db8:80::80', alias: 'cname.old-host.example' } as const

export const MOVING = {
  hetzner: { location: 'nbg1', server_types: { frontend: 'cx23', backend: 'cx33' } },
  dns: { domain: 'example.com' },
  migration: {
    names: {
      [APEX]: { server: 'frontend-dokploy', path: '/api/health' },
      [WWW]: { server: 'frontend-dokploy', path: '/api/health' },
      [API]: { server: 'backend-dokploy', path: '/api/health' },
    },
    old_host: { name: 'the old host', domains: ['old-host.example'], headers: ['x-old-id'] },
    ttl: 300,
    switch_ttl: 60,
    quiet_minutes: 60,
  },
}

/** An apex with both families, an alias, an address of its own, and what else a zone holds. */
export const OLD_RECORDS = [
  { type: 'A', name: APEX, content: OLD.ipv4, ttl: 3600 },
  { type: 'AAAA', name: APEX, content: OLD.ipv6, ttl: 3600, comment: 'made by hand' },
  { type: 'CNAME', name: WWW, content: OLD.alias, ttl: 1, settings: { flatten_cname: false } },
  { type: 'A', name: API, content: '192.0.2.81', ttl: 600 },
  { type: 'MX', name: APEX, content: 'mail.example.net', ttl: 300, priority: 10 },
  { type: 'TXT', name: APEX, content: '"v=spf1 -all"', ttl: 300 },
  { type: 'TXT', name: '_acme-challenge.example.com', content: '"somebody else’s proof"', ttl: 120 },
  { type: 'CAA', name: APEX, data: { flags: 0, tag: 'issue', value: 'letsencrypt.org' }, ttl: 300 },
] as const

export interface OldSite {
  readonly certificate: Certificate
  /** Its root, PEM. */
  readonly ca: string
  readonly requests: () => number
  readonly securePort: number
  close(): void
}

/** What the old host serves: its own pages for these names, over HTTP and TLS, from real sockets. */
export const openOldSite = async (sandbox: Sandbox): Promise<OldSite> => {
  const authority = await createAuthority()
  const certificate = await authority.issue([...NAMES])
  let requests = 0
  const fetch = () => {
    requests += 1
    return new Response('old', { headers: { 'x-old-id': 'fra1' } })
  }
  const secure = Bun.serve({ hostname: '127.0.0.1', port: 0, tls: certificate, fetch })
  const plain = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch })
  for (const address of [OLD.ipv4, OLD.ipv6, '192.0.2.81']) {
    sandbox.controls.sites.set(address, 443, secure.port)
    sandbox.controls.sites.set(address, 80, plain.port)
  }
  sandbox.controls.dns.setOutside([
    { type: 'A', name: OLD.alias, content: OLD.ipv4, ttl: 300, proxied: false },
    { type: 'AAAA', name: OLD.alias, content: OLD.ipv6, ttl: 300, proxied: false },
  ])
  return {
    certificate,
    ca: authority.pem,
    requests: () => requests,
    securePort: secure.port ?? 0,
    close() {
      secure.stop(true)
      plain.stop(true)
    },
  }
}

/** A route in the server's Traefik to something that answers, for each name; over TLS without a certificate of its own. */
export const serveNames = (sandbox: Sandbox, server: string, names: readonly string[]): void =>
  sandbox.controls.machines.dokploy(server).writeTraefikFile(
    'moving.yml',
    Bun.YAML.stringify(
      {
        http: {
          routers: Object.fromEntries(
            names.map((name, i) => [
              `moving-${i}`,
              { rule: `Host(\`${name}\`)`, service: 'moving', entryPoints: ['web', 'websecure'], middlewares: [] },
            ]),
          ),
          services: { moving: { loadBalancer: { servers: [{ url: 'http://dokploy:3000' }] } } },
        },
      },
      null,
      2,
    ),
  )

export interface MovingPlace extends Place {
  readonly old: OldSite
}

/** Set up, with the old host serving and the new place ready to. */
export const openMovingPlace = async (
  options: SandboxOptions & { readonly records?: readonly Readonly<Record<string, unknown>>[] } = {},
): Promise<MovingPlace> => {
  const { records = [], ...rest } = options
  const place = await openPlace(MOVING, { ...rest, seed: { zones: [], goldenImage: true } })
  const { sandbox } = place
  sandbox.controls.cloudflare.addZone({ name: APEX, plan: 'enterprise', records: [...records] })
  const setup = await place.run('setup --yes --json', { timeoutMs: 120_000 })
  if (setup.code !== 0) throw new Error(`setup: ${setup.output}`)
  // After the setup: the panels' own records come first in the zone, as somebody's would who began with them.
  for (const record of OLD_RECORDS) sandbox.controls.cloudflare.addRecord(APEX, record)
  serveNames(sandbox, 'frontend-dokploy', [APEX, WWW])
  serveNames(sandbox, 'backend-dokploy', [API])
  return { ...place, old: await openOldSite(sandbox) }
}

export const CUTOVER = 'dns cutover --yes --json --confirm example.com'

/** The records of the zone as the vendor shows them, without what is the vendor's own. */
export const recordsIn = (sandbox: Sandbox, keep: (name: string, type: string) => boolean = () => true): string[] =>
  sandbox.controls.cloudflare
    .records(APEX)
    .filter(({ name, type }) => keep(name, type))
    .map(({ type, name, content, data, priority, ttl, proxied, comment, tags, settings }) =>
      JSON.stringify({ type, name, content, data, priority, ttl, proxied, comment, tags, settings }),
    )
    .sort()

const isMoved = (name: string, type: string) => NAMES.some(each => each === name) && ['A', 'AAAA', 'CNAME'].includes(type)

export const movedIn = (sandbox: Sandbox): string[] => recordsIn(sandbox, isMoved)

/** Every other record, byte for byte, ids and dates included. */
export const othersIn = (sandbox: Sandbox): string =>
  JSON.stringify(sandbox.controls.cloudflare.records(APEX).filter(({ name, type }) => !isMoved(name, type)))
