/** Servers with NixOS and the backend service in config.json: what follows from it, and what is wrong with it. */

import { describe, expect, test } from 'bun:test'
import { renderServiceSettings } from '../../../lib/estate/service-settings.ts'
import { errorOf, load, mistakesIn } from './configs.ts'

const backend = {
  project: 'solo',
  hetzner: { location: 'nbg1' },
  dns: { domain: 'example.com' },
  servers: { backend: { type: 'cx23', os: 'nixos' } },
  service: { repository: 'https://github.com/example/backend.git' },
}
const server = (change: object) => ({ ...backend, servers: { backend: { ...backend.servers.backend, ...change } } })

test('a service brings its firewall, its name and its system along', () => {
  const estate = load(backend)
  expect(estate.servers[0]).toMatchObject({
    image: { kind: 'system', name: 'ubuntu-24.04' },
    nixos: { system: 'backend-hetzner' },
    firewalls: ['solo-service'],
    service: { host: 'backend.example.com', branch: 'main', profile: 'prod', port: 3000, health: '/' },
  })
  expect(estate.firewalls[0]?.rules.map(rule => rule.port ?? rule.protocol)).toEqual(['22', '80', '443', '443', 'icmp'])
  expect(estate.dns?.records.map(record => record.name)).toEqual(['backend.example.com'])
})

test.each([
  ['an image of Landfall', server({ image: 'golden' }), 'servers.backend.image: is "golden"'],
  ['an image that the installer cannot start from', server({ image: 'ubuntu-26.04' }), 'cannot be started from'],
  ['several servers', server({ count: 2 }), 'servers.backend.count: is more than 1'],
  [
    'a server without NixOS',
    { ...server({ os: 'image', image: 'debian-12' }), service: { ...backend.service, server: 'backend' } },
    'servers.backend.os: must be "nixos"',
  ],
  ['no domain', { ...backend, dns: undefined }, 'dns.domain: is missing'],
  ['no repository', { ...backend, service: {} }, 'service.repository: is missing'],
  [
    'a password in the repository',
    { ...backend, service: { repository: 'https://a:b@example.com/x.git' } },
    'service.repository: must be an address',
  ],
  [
    'a branch that is an option',
    { ...backend, service: { ...backend.service, branch: '--upload-pack=x' } },
    'service.branch: must be the name of a branch',
  ],
  [
    'a firewall that keeps visitors out',
    { ...backend, firewalls: { ssh: [{ port: 22, from: ['anywhere'] }] } },
    'lets nobody reach port 443',
  ],
  [
    'a system without NixOS',
    { ...backend, service: undefined, servers: { web: { type: 'cx23', image: 'debian-12', system: 'base-hetzner' } } },
    'servers.web.system: counts only with os "nixos"',
  ],
])('%s is a mistake', (_, config, says) => {
  expect(mistakesIn(config).join('\n')).toContain(says)
})

describe('settings', () => {
  const spec = load(backend).servers[0]?.service
  if (!spec) throw new Error('there is no service')

  test('are quoted so that systemd gives back what was meant', () => {
    const { variables } = renderServiceSettings(spec, [['KEY', 'a"b\\c$d`e']])
    expect(variables).toBe('KEY="a\\"b\\\\c\\$d\\`e"\n')
  })

  test('have a hash of everything in them', () => {
    const hash = (value: string) => renderServiceSettings(spec, [['KEY', value]]).hash
    expect(hash('a')).toBe(hash('a'))
    expect(hash('a')).not.toBe(hash('b'))
  })

  test('refuse what cannot be given', () => {
    expect(errorOf(() => renderServiceSettings(spec, [['KEY', 'two\nlines']])).message).toContain('KEY')
    expect(errorOf(() => renderServiceSettings(spec, [['LANDFALL_PORT', '1']])).message).toContain("Landfall's own")
  })
})
