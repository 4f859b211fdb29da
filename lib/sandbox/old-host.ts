/**
 * The former host of names that move: records that lead to it, and pages over HTTP and TLS at its addresses, so that a move has somebody to
 * leave. Its records are planted once; from then on they are the zone's own, and a rehearsal may change them.
 */

import type { Certificate, CertificateAuthority } from './ca.ts'
import type { CloudflareControl } from './cloudflare/standin.ts'
import type { DnsRecordRow } from './dns-zone.ts'
import type { Store } from './kit.ts'
import type { DnsControl } from './names.ts'

export interface OldHostSpec {
  readonly names: readonly { readonly name: string; readonly kind: 'frontend' | 'backend' }[]
  /** Its own domains; the first holds the alias's target. */
  readonly domains: readonly string[]
  /** Response headers that only it sends. */
  readonly headers: readonly string[]
}

export interface OldHostDeps {
  readonly store: Store
  readonly ca: CertificateAuthority
  readonly cloudflare: Pick<CloudflareControl, 'zones' | 'records' | 'addRecord'>
  readonly dns: Pick<DnsControl, 'setOutside'>
  readonly site: (address: string, port: number, loopbackPort: number) => void
}

/** Documentation addresses: a host with pages, and a server that somebody set up by hand. */
const HOSTED = { ipv4: '192.0.2.80', ipv6: '2001:db8:80::80' } as const
const SELF_MADE = '192.0.2.81'

interface PlantedRow extends Certificate {
  readonly names: string
}

/** Serves from now on. */
export async function openOldHost(deps: OldHostDeps, spec: OldHostSpec): Promise<{ close(): Promise<void> }> {
  const { store, ca } = deps
  const rows = store.collection<PlantedRow>('sandbox.oldhost')
  const names = spec.names
    .map(each => each.name)
    .sort()
    .join(' ')
  const known = rows.get('certificate')
  const certificate = known?.names === names ? known : { names, ...(await ca.issue(names.split(' '))) }
  if (known?.names !== names) {
    plant(deps, spec)
    rows.put('certificate', certificate)
  }
  const headers = Object.fromEntries(spec.headers.map(name => [name, 'old-host']))
  const fetch = () => new Response('<!doctype html><title>The old host</title>\n', { headers })
  const { cert, key } = certificate
  const servers = [
    [80, Bun.serve({ hostname: '127.0.0.1', port: 0, fetch })],
    [443, Bun.serve({ hostname: '127.0.0.1', port: 0, tls: { cert, key }, fetch })],
  ] as const
  for (const [port, server] of servers)
    for (const address of [HOSTED.ipv4, HOSTED.ipv6, SELF_MADE]) deps.site(address, port, server.port ?? 0)
  return {
    async close() {
      for (const [, server] of servers) await server.stop(true)
    },
  }
}

/** An apex has both families, another page is an alias, a backend has an address of its own. What is there already stays. */
function plant({ cloudflare, dns }: OldHostDeps, { names, domains }: OldHostSpec): void {
  const alias = `cname.${domains[0] ?? 'old-host.example'}`
  for (const { name, kind } of names) {
    const zone = cloudflare.zones().find(each => name === each.name || name.endsWith(`.${each.name}`))?.name
    if (zone === undefined || cloudflare.records(zone).some(record => record.name === name && ADDRESS.has(record.type))) continue
    const records =
      kind === 'backend'
        ? [{ type: 'A', content: SELF_MADE, ttl: 600 }]
        : name === zone
          ? [
              { type: 'A', content: HOSTED.ipv4, ttl: 3600 },
              { type: 'AAAA', content: HOSTED.ipv6, ttl: 3600 },
            ]
          : [{ type: 'CNAME', content: alias, ttl: 1 }]
    for (const record of records) cloudflare.addRecord(zone, { name, ...record })
  }
  const target = { name: alias, ttl: 300, proxied: false }
  const outside: readonly DnsRecordRow[] = [
    { ...target, type: 'A', content: HOSTED.ipv4 },
    { ...target, type: 'AAAA', content: HOSTED.ipv6 },
  ]
  dns.setOutside(outside)
}

const ADDRESS = new Set(['A', 'AAAA', 'CNAME'])
