/** The cluster's part of config.json: what it becomes, and what is said about mistakes. */

import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import type { Estate } from '../../../lib/estate/estate.ts'
import { parseConfig, resolveEstate } from '../../../lib/estate/load.ts'

type Config = Readonly<Record<string, unknown>>

const GOOD = {
  project: 'acme',
  dns: { domain: 'example.com' },
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  placement_groups: ['nodes'],
  servers: { node: { type: 'cx33', count: 3, placement_group: 'nodes' }, extra: { type: 'cx33', count: 2 } },
  cluster: { servers: 'node', workers: 'extra' },
  apps: { web: { source: { image: 'web:1' }, domains: [{ host: 'www.example.com' }] } },
}

const resolve = (config: Config): Estate =>
  resolveEstate(parseConfig(JSON.stringify(config), 'config.json'), { adminAddresses: [], publicKeys: [] })

const mistakesOf = (config: Config): string => {
  try {
    parseConfig(JSON.stringify(config), 'config.json')
    return ''
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

test('three servers stand behind a load balancer, closed to the internet but for SSH', () => {
  const { cluster, servers, firewalls, dns, platform } = resolve(GOOD)
  expect(cluster).toMatchObject({
    servers: ['node', 'node-2', 'node-3'],
    workers: ['extra', 'extra-2'],
    front: 'load_balancer',
    datacenter: 'acme',
  })
  expect(cluster?.apps.map(app => app.name)).toEqual(['web'])
  expect(cluster?.certificateNames).toEqual(['www.example.com'])
  expect(platform?.apps).toEqual([])
  expect(servers.find(spec => spec.name === 'node')).toMatchObject({ firewalls: ['acme-cluster'], placementGroup: 'nodes' })
  expect(firewalls.find(each => each.name === 'acme-cluster')?.rules.flatMap(rule => rule.port ?? [])).toEqual(['22'])
  expect(dns?.records).toEqual([{ name: 'www.example.com', server: 'acme-cluster', kind: 'balancer', ttl: 300, proxied: false }])
})

test('one server is its own front', () => {
  const { cluster, firewalls, dns } = resolve({
    ...GOOD,
    servers: { node: { type: 'cx33' } },
    placement_groups: [],
    cluster: { servers: 'node' },
  })
  expect(cluster?.front).toBe('caddy')
  expect(firewalls.find(each => each.name === 'acme-cluster')?.rules.flatMap(rule => rule.port ?? [])).toEqual([
    '22',
    '80',
    '443',
    '443',
  ])
  expect(dns?.records).toMatchObject([{ name: 'www.example.com', server: 'node' }])
})

test('apps live beside those of a Dokploy when they name the cluster', () => {
  const both = {
    ...GOOD,
    servers: { ...GOOD.servers, panel: { type: 'cx33', dokploy: true, image: 'golden' } },
    apps: { web: { ...GOOD.apps.web, server: 'node' }, blog: { source: { image: 'blog:1' }, server: 'panel' } },
  }
  const { cluster, platform } = resolve(both)
  expect(cluster?.apps.map(app => app.name)).toEqual(['web'])
  expect(platform?.apps.map(app => app.name)).toEqual(['blog'])
})

describe('a mistake is said', () => {
  const node = (change: Config): Config => ({ ...GOOD, servers: { ...GOOD.servers, node: { ...GOOD.servers.node, ...change } } })
  const cases: readonly [string, Config, string][] = [
    ['an even number', node({ count: 2 }), 'has 2 members; a majority needs 1, 3 or 5'],
    ['one host for all', node({ placement_group: undefined }), 'all members may stand on one host'],
    ['the panel’s image', node({ image: 'golden' }), 'whose image is the one for Dokploy'],
    ['no such servers', { ...GOOD, cluster: { servers: 'nod' } }, 'did you mean "node"?'],
    ['no network', { ...GOOD, network: undefined }, 'in no private network'],
    ['a network of Docker’s', { ...GOOD, network: { range: '172.17.0.0/16' } }, 'which Docker gives to containers'],
    [
      'nothing to check',
      { ...GOOD, cluster: { servers: 'node', nomad: { version: '1.9.2', url: 'https://example.com/n.zip' } } },
      'is checked before it runs',
    ],
    ['an app to be built', { ...GOOD, apps: { web: { source: { github: 'acme/web' } } } }, 'the cluster runs finished images'],
    [
      'a name whose certificate nobody can prove',
      { ...GOOD, apps: { web: { source: { image: 'web:1' }, domains: [{ host: 'www.example.org' }] } } },
      'lies outside of example.com',
    ],
    ['both at once', { ...GOOD, cluster: { servers: 'node', workers: 'node' } }, 'is cluster.servers already'],
  ]
  for (const [title, config, says] of cases) test(title, () => expect(mistakesOf(config)).toContain(says))
})

test('the example is an estate', () => {
  const text = readFileSync(new URL('../../../examples/nomad-previews.json', import.meta.url), 'utf8')
  const { cluster } = resolveEstate(parseConfig(text, 'nomad-previews.json'), { adminAddresses: [], publicKeys: [] })
  expect(cluster?.servers).toHaveLength(3)
})
