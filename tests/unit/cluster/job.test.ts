/** An app as a Nomad job: what makes a rollout safe stands in it, and what changes changes its hash. */

import { describe, expect, test } from 'bun:test'
import { chooseJobImage, META, renderJob } from '../../../lib/cluster/job.ts'
import type { AppSpec } from '../../../lib/estate/apps.ts'
import { parseConfig, resolveEstate } from '../../../lib/estate/load.ts'
import { Secret } from '../../../lib/secret.ts'

const appOf = (change: Readonly<Record<string, unknown>> = {}): AppSpec => {
  const config = {
    project: 'acme',
    hetzner: { location: 'nbg1', image: 'debian-12' },
    network: {},
    servers: { node: { type: 'cx33' } },
    cluster: { servers: 'node' },
    apps: { web: { source: { image: 'ghcr.io/acme/web:1' }, replicas: 3, port: 8080, health: { path: '/up' }, ...change } },
  }
  const estate = resolveEstate(parseConfig(JSON.stringify(config), 'config.json'), { adminAddresses: [], publicKeys: [] })
  const [app] = estate.cluster?.apps ?? []
  if (!app) throw new Error('the test config has no app in the cluster')
  return app
}

const job = (app: AppSpec, variables: readonly (readonly [string, Secret])[] = [], image = 'ghcr.io/acme/web:1') =>
  renderJob(app, {
    estate: 'acme',
    cluster: { datacenter: 'acme' },
    image,
    variables,
    variablesIn: 'web',
    hashKey: new Secret('key', 'k'.repeat(36)),
  })

describe('renderJob', () => {
  test('rolls out beside the old version, waits for health, goes back by itself, and leaves Consul before it stops', () => {
    const { body } = job(appOf())
    expect(body).toMatchObject({
      ID: 'web',
      Type: 'service',
      Datacenters: ['acme'],
      Update: { Canary: 3, AutoPromote: true, AutoRevert: true, HealthCheck: 'checks' },
      TaskGroups: [
        {
          Count: 3,
          ShutdownDelay: 10_000_000_000,
          Networks: [{ DynamicPorts: [{ Label: 'http', To: 8080 }] }],
          Services: [{ Name: 'web', Provider: 'consul', Checks: [{ Type: 'http', Path: '/up' }] }],
        },
      ],
    })
  })

  test('is the same for the same, and another for each thing that changes', () => {
    const secret = (value: string) => [['KEY', new Secret('KEY', value)] as const]
    const hashes = [
      job(appOf()),
      job(appOf({ replicas: 2 })),
      job(appOf({ memory_mb: 512 })),
      job(appOf(), [], 'ghcr.io/acme/web:2'),
      job(appOf(), secret('one')),
      job(appOf(), secret('two')),
    ].map(each => each.hash)
    expect(new Set(hashes).size).toBe(hashes.length)
    expect(job(appOf(), secret('one')).hash).toBe(hashes[4] ?? '')
  })

  test('holds no value of a variable, and nothing that it could be guessed from without the key', () => {
    const rendered = JSON.stringify(job(appOf(), [['KEY', new Secret('KEY', 'a-canary-value')]]).body)
    expect(rendered).not.toContain('a-canary-value')
    expect(rendered).not.toContain(new Bun.CryptoHasher('sha256').update('a-canary-value').digest('hex').slice(0, 16))
    expect(rendered).toContain('nomad/jobs/web')
  })

  test('carries its hash and its estate', () => {
    const { body, hash } = job(appOf())
    expect(body.Meta).toEqual({ [META.hash]: hash, [META.estate]: 'acme' })
  })
})

describe('chooseJobImage', () => {
  const named = appOf()
  const open = appOf({ source: { image: 'ghcr.io/acme/web' } })
  const cases: readonly [string, AppSpec, string | undefined, string | undefined, string][] = [
    ["the file's version counts", named, undefined, 'ghcr.io/acme/web:0', 'ghcr.io/acme/web:1'],
    ['one that was asked for counts more', named, 'ghcr.io/acme/web:9', 'ghcr.io/acme/web:0', 'ghcr.io/acme/web:9'],
    ['without a version, what runs stays', open, undefined, 'ghcr.io/acme/web:7', 'ghcr.io/acme/web:7'],
    ['also by digest', open, undefined, 'ghcr.io/acme/web@sha256:ab', 'ghcr.io/acme/web@sha256:ab'],
    ['another image that runs does not stay', open, undefined, 'ghcr.io/acme/other:7', 'ghcr.io/acme/web'],
    ['and nothing runs yet', open, undefined, undefined, 'ghcr.io/acme/web'],
  ]
  for (const [title, app, asked, running, wanted] of cases)
    test(title, () => expect(chooseJobImage(app, asked, running)).toBe(wanted))
})
