/** What lies on a cluster's machines: secrets, certificates, configuration. */

import { describe, expect, test } from 'bun:test'
import { X509Certificate } from 'node:crypto'
import { caddyFiles } from '../../../lib/cluster/caddy.ts'
import { createAuthority, isGoodCertificate, issue } from '../../../lib/cluster/pki.ts'
import { consulFiles, hashOf, nomadFiles } from '../../../lib/cluster/render.ts'
import { generateSecrets, parseSecrets, renderSecrets } from '../../../lib/cluster/secrets.ts'
import type { ClusterSpec } from '../../../lib/estate/cluster.ts'
import { parseConfig, resolveEstate } from '../../../lib/estate/load.ts'

const NOW_MS = Date.UTC(2026, 0, 1)
const DAY_MS = 86_400_000

const clusterOf = (count: number): ClusterSpec => {
  const config = {
    project: 'acme',
    hetzner: { location: 'nbg1', image: 'debian-12' },
    network: {},
    placement_groups: ['nodes'],
    servers: { node: { type: 'cx33', count, placement_group: 'nodes' } },
    dns: { domain: 'example.com' },
    cluster: { servers: 'node' },
    apps: {
      web: { source: { image: 'web:1' }, domains: [{ host: 'www.example.com' }, { host: 'www.example.com', path: '/api' }] },
    },
  }
  const { cluster } = resolveEstate(parseConfig(JSON.stringify(config), 'config.json'), { adminAddresses: [], publicKeys: [] })
  if (!cluster) throw new Error('the test config has no cluster')
  return cluster
}

const ca = await createAuthority('acme', NOW_MS)
const secrets = generateSecrets(ca)
const node = { name: 'node', role: 'server', privateIp: '172.16.0.3', interface: 'enp7s0' } as const
const parsed = (text: { reveal(): string }) => JSON.parse(text.reveal()) as Record<string, Record<string, unknown>>

describe('the secrets', () => {
  test('come back as they were kept, and print as their names', () => {
    const kept = renderSecrets(secrets)
    const back = parseSecrets(kept.reveal(), 'node')
    expect(renderSecrets(back).reveal()).toBe(kept.reveal())
    expect(JSON.stringify(secrets)).not.toContain(secrets.consulManagement.reveal())
    expect(Buffer.from(secrets.consulGossip.reveal(), 'base64')).toHaveLength(32)
  })

  for (const text of ['', '{', '[]', '{"id":"x"}', 'null'])
    test(`a damaged file ${JSON.stringify(text)} is said to be damaged`, () =>
      expect(() => parseSecrets(text, 'node-2')).toThrow('secrets on node-2 are damaged'))
})

describe('certificates', () => {
  test('name the role that Consul and Nomad ask for, and the address', async () => {
    const member = { name: 'node', datacenter: 'acme', role: 'server', privateIp: '172.16.0.3' } as const
    const server = new X509Certificate((await issue(secrets, member, NOW_MS)).certificate)
    expect(server.subjectAltName).toContain('DNS:server.acme.consul')
    expect(server.subjectAltName).toContain('DNS:server.global.nomad')
    expect(server.subjectAltName).toContain('IP Address:172.16.0.3')
    const worker = new X509Certificate((await issue(secrets, { ...member, role: 'worker' }, NOW_MS)).certificate)
    expect(worker.subjectAltName).not.toContain('server.')
  })

  test('are good for their authority, their address and their time alone', async () => {
    const member = { name: 'node', datacenter: 'acme', role: 'server', privateIp: '172.16.0.3' } as const
    const { certificate } = await issue(secrets, member, NOW_MS)
    const other = await createAuthority('other', NOW_MS)
    const good = (caPem: string, ip: string, atMs: number) => isGoodCertificate(certificate, caPem, ip, atMs)
    expect(good(ca.certificate, '172.16.0.3', NOW_MS)).toBe(true)
    expect(good(other.certificate, '172.16.0.3', NOW_MS)).toBe(false)
    expect(good(ca.certificate, '172.16.0.4', NOW_MS)).toBe(false)
    expect(good(ca.certificate, '172.16.0.3', NOW_MS + 800 * DAY_MS)).toBe(false)
    expect(
      isGoodCertificate('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', ca.certificate, '172.16.0.3', NOW_MS),
    ).toBe(false)
  })
})

describe('the configuration', () => {
  test('of Consul: API on loopback, gossip encrypted, both ends verified, default deny', () => {
    expect(parsed(consulFiles(clusterOf(3), node, secrets).config)).toMatchObject({
      server: true,
      bootstrap_expect: 3,
      bind_addr: '172.16.0.3',
      client_addr: '127.0.0.1',
      encrypt: secrets.consulGossip.reveal(),
      tls: { defaults: { verify_incoming: true, verify_outgoing: true }, internal_rpc: { verify_server_hostname: true } },
      acl: { enabled: true, default_policy: 'deny' },
    })
  })

  test('of Nomad: the same, and Consul as the place to find each other', () => {
    expect(parsed(nomadFiles(clusterOf(3), node, secrets).config)).toMatchObject({
      addresses: { http: '127.0.0.1' },
      server: { bootstrap_expect: 3, encrypt: secrets.nomadGossip.reveal() },
      client: { enabled: true, network_interface: 'enp7s0' },
      acl: { enabled: true },
      tls: { rpc: true, verify_server_hostname: true },
      consul: { server_auto_join: true, client_auto_join: true },
    })
  })

  test('of a worker holds no management token and no gossip key of the servers', () => {
    const worker = { ...node, role: 'worker' } as const
    const texts = [consulFiles(clusterOf(3), worker, secrets), nomadFiles(clusterOf(3), worker, secrets)].map(each =>
      each.config.reveal(),
    )
    for (const text of texts)
      for (const secret of [secrets.consulManagement, secrets.nomadManagement, secrets.nomadGossip, secrets.caKey])
        expect(text).not.toContain(secret.reveal())
  })

  test('of Caddy: a certificate of its own on one server, the shared one behind a load balancer, paths before the rest', () => {
    const alone = caddyFiles(clusterOf(1), 'admin@example.com').config.reveal()
    const behind = caddyFiles(clusterOf(3), undefined).config.reveal()
    expect(alone).toContain('\nwww.example.com {')
    expect(behind).toContain('\nwww.example.com {\n\ttls /etc/caddy/tls/cert.pem /etc/caddy/tls/key.pem\n')
    expect(alone).not.toContain('\ttls ')
    for (const text of [alone, behind]) {
      // While the file is there, the load balancer is told to send visitors elsewhere.
      expect(text).toContain('\t\t\troot /run/landfall\n\t\t\ttry_files /leaving\n')
      expect(text.indexOf('respond @leaving 503')).toBeLessThan(text.indexOf('respond /.landfall/health 200'))
      expect(text).toContain('name web.service.consul')
      expect(text).toContain('\nhttp://www.example.com {\n\tredir https://{host}{uri} 308\n}')
      expect(text).toContain('\t@path0 path /api /api/*\n\thandle @path0 {\n')
      // Names in an SRV answer are Consul's own.
      expect(text.match(/resolvers 127\.0\.0\.1:8600/g)).toHaveLength(4)
    }
  })

  test('of Caddy: the path itself is the app’s too, a longer one comes first, and what is nobody’s is said to be', () => {
    const cluster = clusterOf(3)
    const [app] = cluster.apps
    const [domain] = app?.domains ?? []
    if (!app || !domain) throw new Error('the test config has no domain')
    const at = (...paths: string[]): string =>
      caddyFiles({ ...cluster, apps: [{ ...app, domains: paths.map(path => ({ ...domain, path })) }] }, undefined)
        .config.reveal()
        .split('\nwww.example.com {')[1]
        ?.split('\n}')[0] ?? ''
    const nobodys = '\n\trespond "There is no such site here." 404'
    expect(at('/api', '/api/v2/').match(/path\d+ path .*/g)).toEqual(['path0 path /api/v2 /api/v2/*', 'path1 path /api /api/*'])
    expect(at('/api').endsWith(nobodys)).toBe(true)
    expect(at('/api', '/')).not.toContain(nobodys)
    expect(at('/')).not.toContain('handle')
  })

  test('has one hash for the same files', () => {
    const files = consulFiles(clusterOf(3), node, secrets)
    expect(hashOf(files)).toBe(hashOf(consulFiles(clusterOf(3), node, secrets)))
    expect(hashOf(files)).not.toBe(hashOf(consulFiles(clusterOf(1), node, secrets)))
  })
})
