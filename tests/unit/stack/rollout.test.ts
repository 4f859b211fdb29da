import { describe, expect, test } from 'bun:test'
import { KEPT_RELEASES, parseState, rollbackTarget, type StackState, withRelease } from '../../../lib/stack/model.ts'
import { byDependency, parseResolved, parseSeconds, withImages } from '../../../lib/stack/resolved.ts'
import {
  addressesFor,
  dependencies,
  dependents,
  freshOf,
  judge,
  oldOf,
  recovery,
  releaseId,
  type Seen,
  type SeenContainer,
} from '../../../lib/stack/rollout.ts'

const RESOLVED = {
  name: 'shop',
  networks: { front: { name: 'shop_front' } },
  services: {
    api: {
      image: 'app:2',
      networks: { front: { aliases: ['backend'] } },
      healthcheck: { test: ['CMD', 'true'] },
      depends_on: { postgres: {} },
      stop_grace_period: '1m30s',
      deploy: { replicas: 2 },
    },
    web: {
      image: 'web:1',
      networks: { front: null },
      depends_on: { api: { condition: 'service_healthy' } },
      container_name: 'web',
      ports: [{ target: 80, published: '8080' }],
      network_mode: '',
    },
    postgres: { image: 'postgres:17' },
  },
}

const resolved = parseResolved(JSON.stringify(RESOLVED), 'shop')
const container = (change: Partial<SeenContainer> = {}): SeenContainer => ({
  id: 'a1',
  service: 'web',
  state: 'running',
  health: 'healthy',
  imageId: 'sha256:web1',
  image: 'web:1',
  configHash: 'h-web',
  networks: [{ network: 'shop_front', address: '172.20.0.5', aliases: [] }],
  ...change,
})
const seen = (containers: readonly SeenContainer[], change: Partial<Seen> = {}): Seen => ({
  resolved,
  hashes: { web: 'h-web', api: 'h-api' },
  looseHashes: { web: 'l-web', api: 'l-api' },
  images: { 'web:1': { id: 'sha256:web1', digests: [] }, 'app:2': { id: 'sha256:app2', digests: [] } },
  containers,
  state: { version: 1, history: [] },
  nginxFiles: [],
  wantedNginxFiles: [],
  ...change,
})

describe('reading Compose’s own view', () => {
  test('names, numbers and aliases are those that Docker will use', () => {
    expect(resolved.services.api).toMatchObject({
      replicas: 2,
      aliases: { shop_front: ['api', 'backend'] },
      hasHealthCheck: true,
      stopGraceS: 90,
      dependsOn: ['postgres'],
      awaits: [],
      obstacles: [],
    })
    expect(resolved.services.web?.awaits).toEqual(['api'])
    expect(resolved.services.postgres).toMatchObject({
      replicas: 1,
      aliases: { shop_default: ['postgres'] },
      hasHealthCheck: false,
    })
  })

  test('what keeps a second container from running is named', () => {
    expect(resolved.services.web?.obstacles).toEqual(['has the fixed container_name web', 'publishes port 8080 of the host'])
  })

  test.each([
    ['15s', 15],
    ['1m30s', 90],
    ['500ms', 0.5],
    [2_000_000_000, 2],
    ['soon', undefined],
  ])('%p lasts %p seconds', (text, value) => expect(parseSeconds(text)).toBe(value))

  test('another image changes nothing else', () => {
    const other = withImages(resolved, 'shop', { web: 'web:9' })
    expect(other.services.web?.image).toBe('web:9')
    expect(other.services.api).toEqual(resolved.services.api)
  })

  test('services come after what they depend on, and a circle ends', () => {
    expect(byDependency(['web', 'api', 'postgres'], resolved.services)).toEqual(['postgres', 'api', 'web'])
    expect(byDependency(['a', 'b'], { a: { dependsOn: ['b'] }, b: { dependsOn: ['a'] } }).sort()).toEqual(['a', 'b'])
    expect(dependencies('web', resolved.services)).toEqual(['api', 'postgres'])
    expect(dependents('postgres', resolved.services)).toEqual(['api', 'web'])
  })
})

describe('judging a service', () => {
  const web = resolved.services.web
  if (!web) throw new Error('no web')
  const cases = [
    ['as wanted', [container()], 'current', 'runs as wanted'],
    ['made without its dependencies', [container({ configHash: 'l-web' })], 'current', 'runs as wanted'],
    ['absent', [], 'missing', 'there is no container'],
    ['of another tag', [container({ image: 'web:0', imageId: 'sha256:web0' })], 'outdated', 'image web:0 → web:1'],
    ['of the same tag that has moved', [container({ imageId: 'sha256:web0' })], 'outdated', 'a newer image web:1'],
    ['configured otherwise', [container({ configHash: 'h-old' })], 'outdated', 'its configuration differs'],
    ['too many', [container(), container({ id: 'a2' })], 'outdated', '2 → 1 containers'],
    ['stopped', [container({ state: 'exited', health: 'none' })], 'stopped', 'its container does not run'],
    ['unhealthy', [container({ health: 'unhealthy' })], 'unwell', 'it is not healthy'],
    ['without a health check but running', [container({ health: 'none' })], 'current', 'runs as wanted'],
  ] as const
  test('one that is switched off and has no container is as wanted', () => {
    const off = { ...web, replicas: 0 }
    expect(judge(off, seen([]))).toMatchObject({ state: 'current', why: 'is switched off' })
    expect(judge(off, seen([container()]))).toMatchObject({ state: 'outdated', why: '1 → 0 containers' })
  })
  for (const [name, containers, state, why] of cases)
    test(`one that is ${name} is ${state}`, () => expect(judge(web, seen(containers))).toMatchObject({ state, why }))
})

describe('a rollout that was left', () => {
  const old = { web: ['old1'] }
  const containers = [container({ id: 'old1' }), container({ id: 'new1' }), container({ id: 'other', service: 'api' })]

  test('is finished only when the proxy was proven to serve the new ones', () => {
    expect((['starting', 'switching', 'draining', 'reverting'] as const).map(phase => recovery({ phase }))).toEqual([
      'revert',
      'revert',
      'finish',
      'revert',
    ])
  })

  test('knows its own containers from those before, and touches no other service', () => {
    expect(freshOf({ old }, containers).map(({ id }) => id)).toEqual(['new1'])
    expect(oldOf({ old }, containers).map(({ id }) => id)).toEqual(['old1'])
  })

  test('addresses are those in a network that the proxy shares, of containers that run', () => {
    const two = container({
      id: 'b',
      networks: [
        { network: 'shop_back', address: '172.21.0.9', aliases: [] },
        { network: 'shop_front', address: '172.20.0.9', aliases: [] },
      ],
    })
    expect(addressesFor(['web', 'api'], [container(), two, container({ id: 'c', state: 'exited' })], ['shop_front'])).toEqual({
      web: ['172.20.0.5', '172.20.0.9'],
      api: [],
    })
  })
})

describe('what is remembered', () => {
  const entry = (id: string) => ({ id, atMs: 1, kind: 'deploy' as const, nginx: 'n' })
  const history = (...ids: string[]): StackState => ({ version: 1, history: ids.map(entry) })

  test('the newest releases, each once', () => {
    const state = ['a', 'b', 'c', 'd', 'e', 'f', 'b'].reduce((before, id) => withRelease(before, entry(id)), history())
    expect(state.history.map(({ id }) => id)).toEqual(['c', 'd', 'e', 'f', 'b'])
    expect(state.history.length).toBe(KEPT_RELEASES)
  })

  test('a rollback goes to the one before, or to the one that is named', () => {
    expect(rollbackTarget(history('a', 'b', 'c'), undefined)).toBe('b')
    expect(rollbackTarget(history('a', 'b', 'c'), 'a')).toBe('a')
    expect(() => rollbackTarget(history('a'), undefined)).toThrow('recorded are a, the last of which runs')
    expect(() => rollbackTarget(history(), 'x')).toThrow('nothing is recorded yet')
  })

  test('a file that is not ours is refused, an absent one is empty', () => {
    expect(parseState(undefined).history).toEqual([])
    for (const text of [
      '{',
      '[]',
      '{"version":2,"history":[]}',
      '{"version":1,"history":[{}]}',
      '{"version":1,"history":[],"rollout":{"phase":"flying"}}',
    ])
      expect(() => parseState(text)).toThrow('not readable')
  })

  test('a release is named by its content', () => {
    const images = seen([]).images
    expect(releaseId(resolved, images)).toBe(releaseId(parseResolved(JSON.stringify(RESOLVED), 'shop'), images))
    expect(releaseId(resolved, images)).not.toBe(releaseId(resolved, { ...images, 'web:1': { id: 'sha256:other', digests: [] } }))
    expect(releaseId(resolved, images)).not.toBe(releaseId(withImages(resolved, 'shop', { web: 'web:2' }), images))
  })
})
