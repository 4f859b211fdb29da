/** Which way leads back, and what a compose file looks like once its images are pinned. */

import { describe, expect, test } from 'bun:test'
import { pinImages, wayBack, withDigest } from '../../../lib/apps/back.ts'
import { renderEnvFile, unfilledIn } from '../../../lib/apps/env-file.ts'
import { type Release, releaseBefore } from '../../../lib/apps/history.ts'
import { findUnfilled } from '../../../lib/apps/unfilled.ts'
import type { Application, Compose } from '../../../lib/providers/ports/dokploy-apps.ts'
import { Secret } from '../../../lib/secret.ts'

const ID = `sha256:${'a'.repeat(64)}`
const base = {
  id: 'x',
  name: 'web',
  appName: 'web-abc123',
  description: '',
  env: [],
  domains: [],
  mounts: [],
  deployments: [],
  refreshToken: new Secret('t', 'token'),
  status: 'done',
} as const
const application: Application = {
  ...base,
  kind: 'application',
  source: { kind: 'image', image: 'web:2' },
  build: { type: 'nixpacks', spa: false },
  settings: { replicas: 1, memoryBytes: 0, update: 'default', autoDeploy: false },
}
const compose: Compose = {
  ...base,
  kind: 'compose',
  source: { kind: 'raw' },
  type: 'docker-compose',
  file: new Secret('f', ''),
  path: '',
  command: '',
  autoDeploy: false,
}
const release: Release = {
  version: '1',
  at: '',
  by: '',
  event: 'deploy',
  image: '',
  imageId: '',
  services: {},
  env: [],
  setUp: '',
  deploymentId: 'd1',
}

describe('the way back', () => {
  test('Dokploy’s registry when it keeps that deployment', () => {
    const kept: Application = {
      ...application,
      settings: { ...application.settings, rollbackRegistryId: 'r' },
    }
    const rollback = { id: 'rb', version: 1, image: 'x' }
    const deployment = { id: 'd1', title: '', description: '', status: 'done', createdAt: '', rollback } as const
    expect(wayBack(kept, { ...release, imageId: ID }, [deployment])).toEqual({
      kind: 'registry',
      rollbackId: 'rb',
      image: 'x',
    })
  })
  test('the digest, which never moves on', () => {
    expect(wayBack(application, { ...release, image: `web:1@${ID}`, imageId: ID }, [])).toEqual({
      kind: 'digest',
      image: `web:1@${ID}`,
    })
  })
  test('the machine, for an image that was built there', () => {
    const built: Application = { ...application, source: { kind: 'git', url: '', branch: '', path: '/', watch: [] } }
    const had = { ...release, image: 'web-abc123:latest', imageId: ID }
    expect(wayBack(built, had, [])).toEqual({ kind: 'machine', imageId: ID })
    // Dokploy starts these by a registry's name: a tag of the machine would change nothing.
    const shared: Application = { ...built, settings: { ...built.settings, registryId: 'r' } }
    expect([wayBack(application, had, []).kind, wayBack(shared, had, []).kind]).toEqual(['none', 'none'])
  })
  test.each([
    ['web:1', ['web@sha256:1'], 'web:1@sha256:1'],
    ['docker.io/library/nginx:1', ['nginx@sha256:1'], 'docker.io/library/nginx:1@sha256:1'],
    ['ghcr.io:443/acme/web', ['acme/web@sha256:2', 'ghcr.io:443/acme/web@sha256:1'], 'ghcr.io:443/acme/web@sha256:1'],
    ['web-abc123:latest', ['ghcr.io/acme/web@sha256:1'], 'web-abc123:latest'],
    ['web:1@sha256:1', ['web@sha256:2'], 'web:1@sha256:1'],
    ['web:1', [], 'web:1'],
  ])('%s, known as %p, lasts as %s', (image, digests, lasting) => {
    expect(withDigest(image, digests)).toBe(lasting)
  })
  test('none without an image, and none for a stack whose file was not kept', () => {
    expect(wayBack(application, release, []).kind).toBe('none')
    expect(wayBack(compose, { ...release, services: { web: ID } }, []).kind).toBe('none')
    expect(wayBack(compose, { ...release, file: new Secret('f', 'services: {}') }, []).kind).toBe('none')
  })
})

describe('the release to go back to', () => {
  const history = (...events: string[]): Release[] =>
    events.map(each => {
      const [event = '', version = ''] = each.split(' ')
      return { ...release, version, event: event === 'rollback' ? 'rollback' : 'deploy' }
    })
  test.each([
    ['the one before', ['deploy 1', 'deploy 2'], '1'],
    ['two back, not forward again', ['deploy 1', 'deploy 2', 'deploy 3', 'rollback 2'], '1'],
    ['none when the first runs', ['deploy 1', 'deploy 2', 'rollback 1'], undefined],
    ['past the same version deployed twice', ['deploy 1', 'deploy 2', 'deploy 2'], '1'],
    ['the one that ran before a newer deploy', ['deploy 1', 'deploy 2', 'rollback 1', 'deploy 3'], '1'],
    ['none at all', [], undefined],
  ])('%s', (_name, events, version) => {
    expect(releaseBefore(history(...events))?.version).toBe(version)
  })
})

describe('a pinned compose file', () => {
  const file =
    'services:\n  web:\n    build: .\n    environment:\n      A: $$x\n  cache:\n    image: redis:8\nvolumes:\n  data: {}\n'
  test('names what ran, builds nothing, pulls only what a registry has, and keeps the rest', () => {
    const pinned = Bun.YAML.parse(pinImages(file, { web: ID, cache: `redis:8@${ID}` }, 'docker-compose'))
    expect(pinned).toEqual({
      services: {
        web: { environment: { A: '$$x' }, image: ID, pull_policy: 'never' },
        cache: { image: `redis:8@${ID}` },
      },
      volumes: { data: {} },
    })
  })
  test('of a stack says nothing of pulling, which its format does not know', () => {
    const { services } = Bun.YAML.parse(pinImages(file, { web: ID }, 'stack')) as { services: { web: object } }
    expect(services.web).toEqual({ environment: { A: '$$x' }, image: ID })
  })
})

describe('variables without values', () => {
  test('are no variables in the file, are found by name, and stop what needs them', () => {
    const text = renderEnvFile([['A', new Secret('A', 'x')]], ['STRIPE_KEY', 'SALT'])
    expect(text).not.toMatch(/^STRIPE_KEY=/m)
    expect(unfilledIn(text)).toEqual(['STRIPE_KEY', 'SALT'])
    expect(unfilledIn('A=1\n# a comment\n')).toEqual([])
  })
  test('of an app without a file there are none', () => {
    expect(findUnfilled({}, 'config.json')).toEqual([])
  })
})
