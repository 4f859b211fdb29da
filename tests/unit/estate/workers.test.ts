/** Workers of a swarm in config.json: what they become, and what is said about mistakes. */

import { describe, expect, test } from 'bun:test'
import { load, mistakesIn } from './configs.ts'

const config = (worker: Readonly<Record<string, unknown>> = {}, more: Readonly<Record<string, unknown>> = {}) => ({
  project: 'acme',
  hetzner: { location: 'nbg1', image: 'debian-12', server_types: { prod: 'cx33' } },
  network: {},
  dokploy: { admin_email: 'admin@example.com' },
  servers: { worker: { type: 'cx23', joins: 'prod-dokploy', ...worker } },
  ...more,
})

test('a second worker leaves the first as it is; none shows visitors anything', () => {
  const estate = load(config())
  expect(estate.servers.map(({ name, joins }) => [name, joins])).toEqual([
    ['prod-dokploy', undefined],
    ['worker', 'prod-dokploy'],
  ])
  const worker = estate.servers[1]
  expect(worker).toMatchObject({ network: true, firewalls: ['acme-base'], image: { kind: 'system', name: 'debian-12' } })
  const rules = estate.firewalls.find(each => each.name === 'acme-base')?.rules
  expect(rules?.map(rule => rule.port ?? rule.protocol)).toEqual(['22', 'icmp'])
  expect(load(config({ count: 2 })).servers.map(each => each.name)).toEqual(['prod-dokploy', 'worker', 'worker-2'])
})

test('it has the image of the server that it joins', () => {
  const servers = { prod: { type: 'cx33', dokploy: true, image: 'ubuntu-24.04' }, worker: { type: 'cx23', joins: 'prod' } }
  const estate = load(config({}, { hetzner: { location: 'nbg1' }, servers }))
  expect(estate.servers.map(each => each.image)).toEqual([
    { kind: 'system', name: 'ubuntu-24.04' },
    { kind: 'system', name: 'ubuntu-24.04' },
  ])
})

describe('mistakes', () => {
  const cases: readonly (readonly [string, unknown, readonly string[]])[] = [
    [
      'a server that is none',
      config({ joins: 'prod-dokply' }),
      ['servers.worker.joins: names "prod-dokply", which is no server with Dokploy; did you mean "prod-dokploy"?'],
    ],
    [
      'no network',
      config({}, { network: undefined }),
      [
        'servers.worker.joins: needs the private network, which worker is not in: a swarm never speaks over the internet',
        'servers.worker.joins: needs the private network, which prod-dokploy is not in: a swarm never speaks over the internet',
      ],
    ],
    [
      'the golden image',
      config({}, { hetzner: { location: 'nbg1', server_types: { prod: 'cx33' } } }),
      ['worker', 'prod-dokploy'].map(
        name =>
          `servers.worker.joins: needs a system image like "debian-12" on ${name}: a system that Landfall builds keeps its swarm to itself`,
      ),
    ],
    [
      'a Dokploy of its own',
      config({ dokploy: true }),
      ['servers.worker.joins: stands beside dokploy: a server has a Dokploy of its own, or works for that of another'],
    ],
  ]
  const registries = { hub: { url: 'ghcr.io', username: 'acme', password_env: 'HUB_PASSWORD' } }
  const built = (app: Readonly<Record<string, unknown>>) =>
    config({}, { apps: { web: { source: { github: 'acme/shop' }, ...app } }, registries })
  test('an application that is built here, whose workers could not pull it', () => {
    expect(mistakesIn(built({}))).toEqual([
      'apps.web.registry: is missing: web is built on prod-dokploy, and the workers of its swarm run only what they can pull',
    ])
    for (const app of [{ registry: 'hub' }, { source: { image: 'nginx:1.27' } }, { volumes: { data: '/data' } }])
      expect(mistakesIn(built(app))).toEqual([])
    expect(load(built({ registry: 'hub' })).platform?.apps[0]?.isShared).toBe(true)
    expect(load(built({ volumes: { data: '/data' } })).platform?.apps[0]?.isShared).toBe(false)
  })
  test.each(cases)('%s', (_name, given, said) => {
    expect(mistakesIn(given)).toEqual([...said])
  })
})
