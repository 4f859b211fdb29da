/** Which way leads back, and what a compose file looks like once its images are pinned. */

import { describe, expect, test } from 'bun:test'
import { wayBack, withDigest } from '../../../lib/apps/back.ts'
import { commandBack, filesBeside, pinImages } from '../../../lib/apps/compose-back.ts'
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

describe('a compose file that comes out of its repository', () => {
  const web = (text: string) => `services:\n  web:\n    image: web:1\n    ${text}\n`
  test.each([
    ['a bind', web('volumes: ["./conf:/etc/conf", "data:/data", "/srv:/srv"]'), ['./conf']],
    ['the folder itself', web('volumes: [".:/app"]'), ['.']],
    ['a long bind', web('volumes: [{type: bind, source: conf, target: /c}, {type: volume, source: data, target: /d}]'), ['conf']],
    ['variables', web('env_file: [.env, ./.env, {path: web.env, required: false}]'), ['web.env']],
    ['variables by one name', web('env_file: web.env'), ['web.env']],
    ['another file', web('extends: {file: base.yml, service: web}'), ['base.yml']],
    ['files to include', `include: [a.yml, {path: [b.yml]}]\n${web('tty: true')}`, ['a.yml', 'b.yml']],
    ['a secret', `${web('tty: true')}secrets: {key: {file: ./key}, other: {external: true}}\n`, ['./key']],
    ['a config', `${web('tty: true')}configs: {conf: {file: nginx.conf}}\n`, ['nginx.conf']],
    ['a build', web('build: {target: x}'), ['.']],
    ['a build from elsewhere', web('build: https://git.example.com/a.git'), []],
    ['Dokploy’s own files', web('volumes: ["../files/a:/a"]'), []],
    ['variables of the machine', web('volumes: ["$DIR:/a", "~/b:/b"]'), []],
    ['nothing', web('tty: true'), []],
  ])('needs of it: %s', (_name, text, beside) => {
    expect(filesBeside(text, './compose.yml')).toEqual(beside)
  })
  test('has another way to Dokploy’s files than one in a folder had', () => {
    expect(filesBeside(web('volumes: ["../files/a:/a"]'), 'infra/compose.yml')).toEqual(['../files/a'])
  })
  const at = (command: string, source: Compose['source'] = { kind: 'git', url: '', branch: '', path: '/', watch: [] }) =>
    commandBack({ appName: 'web-abc123', path: './infra/c.yml', command, source })
  test.each([
    ['', ''],
    ['compose -p web-abc123 -f ./infra/c.yml up -d', 'compose -p web-abc123 -f docker-compose.yml up -d'],
    [
      'compose -p web-abc123 -f infra/c.yml up -d && docker compose -p web-abc123 -f infra/c.yml exec -T a tail -f infra/c.yml',
      'compose -p web-abc123 -f docker-compose.yml up -d && docker compose -p web-abc123 -f docker-compose.yml exec -T a tail -f infra/c.yml',
    ],
    ['compose -p web-abc123 -f infra/c.yml -f infra/d.yml up -d', undefined],
    ['compose up -d', undefined],
  ])('is started by %p as by %p', (command, wanted) => {
    expect(at(command)).toBe(wanted)
  })
  test('keeps a command of somebody’s own when there is no repository', () => {
    expect(at('compose up -d', { kind: 'raw' })).toBe('compose up -d')
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
