import { describe, expect, test } from 'bun:test'
import {
  KEPT_RELEASES,
  parseState,
  type Rollout,
  rollbackTarget,
  type StackState,
  withRelease,
} from '../../../lib/stack/model.ts'
import { byDependency, parseResolved, parseSeconds, withImages } from '../../../lib/stack/resolved.ts'
import {
  addedFiles,
  addressesFor,
  dependencies,
  dependents,
  filesInPlace,
  goneFiles,
  isDark,
  judge,
  ownPaths,
  partsOf,
  type Recovery,
  recovery,
  releaseId,
  type Seen,
  type SeenContainer,
  undecided,
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
  exitCode: 0,
  imageId: 'sha256:web1',
  image: 'web:1',
  configHash: 'h-web',
  release: '',
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
  nginxFrom: 'host',
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

type How = 'up' | 'down' | 'absent'
const FILE = { path: '/srv/nginx/web.conf', text: 'upstream web { server web:80; }\nupstream api { server api:80; }\n' }
const left = (phase: Rollout['phase'], change: Partial<Rollout> = {}): Rollout => ({
  release: 'r2',
  run: 'run',
  phase,
  old: { web: ['old-web'] },
  rest: [FILE],
  restBefore: [FILE],
  ...change,
})
const made = (service: string, side: 'old' | 'fresh' | 'foreign', how: How): readonly SeenContainer[] =>
  how === 'absent'
    ? []
    : [
        container({
          id: `${side}-${service}`,
          service,
          release: { old: 'r1', fresh: 'r2', foreign: '' }[side],
          ...(how === 'up' ? {} : { state: 'exited', health: 'unhealthy' }),
        }),
      ]
const proxy = (how: How) =>
  how === 'absent' ? [] : [container({ id: 'nginx', service: 'nginx', state: how === 'up' ? 'running' : 'exited' })]

describe('a rollout that was left', () => {
  // By the phase, how the old and the new one are, and what becomes of it.
  const cases = [
    ['switching', 'up', 'up', 'revert'],
    ['switching', 'up', 'down', 'revert'],
    ['switching', 'up', 'absent', 'revert'],
    ['switching', 'down', 'up', 'finish'],
    ['switching', 'down', 'down', 'forget'],
    ['switching', 'down', 'absent', 'forget'],
    ['switching', 'absent', 'up', 'finish'],
    ['switching', 'absent', 'down', 'forget'],
    ['switching', 'absent', 'absent', 'forget'],
    ['draining', 'up', 'up', 'finish'],
    ['draining', 'down', 'up', 'finish'],
    ['draining', 'absent', 'up', 'finish'],
    ['draining', 'up', 'down', 'revert'],
    ['draining', 'up', 'absent', 'revert'],
    ['draining', 'down', 'down', 'forget'],
    ['draining', 'absent', 'down', 'forget'],
    ['draining', 'down', 'absent', 'forget'],
    ['draining', 'absent', 'absent', 'forget'],
  ] as const satisfies readonly (readonly [Rollout['phase'], How, How, Recovery['word']])[]

  for (const [phase, old, fresh, word] of cases)
    for (const how of ['up', 'down', 'absent'] as const)
      test(`${phase}, the old ${old}, the new ${fresh}, the proxy ${how}: ${word}`, () => {
        const containers = [...made('web', 'old', old), ...made('web', 'fresh', fresh), ...proxy(how)]
        const found = recovery(left(phase), containers, 'nginx')
        expect(found).toMatchObject({ word, proxy: how === 'up' ? 'turned' : 'left' })
        const { kept, leaving } = partsOf(left(phase), found, containers)
        const ids = (list: readonly SeenContainer[]) => list.map(({ id }) => id)
        const goes = { finish: ['old-web'], revert: ['fresh-web'] }
        const stays = { finish: ['fresh-web'], revert: ['old-web'] }
        expect(ids(kept)).toEqual(word === 'forget' ? [] : stays[word])
        expect(ids(leaving)).toEqual(word === 'forget' ? [] : goes[word].filter(id => containers.some(each => each.id === id)))
      })

  test('while the new ones start nobody refers to them: they go, whatever else runs', () => {
    for (const old of ['up', 'down', 'absent'] as const) {
      const containers = [...made('web', 'old', old), ...made('web', 'fresh', 'up')]
      const found = recovery(left('starting'), containers, 'nginx')
      expect(found).toMatchObject({ word: 'revert', proxy: 'untouched' })
      expect(partsOf(left('starting'), found, containers).leaving.map(({ id }) => id)).toEqual(['fresh-web'])
    }
  })

  test('what an earlier version called reverting goes back too', () =>
    expect(recovery(left('reverting'), [...made('web', 'old', 'up'), ...made('web', 'fresh', 'up')], 'nginx').word).toBe(
      'revert',
    ))

  test('containers that somebody made by hand go on, and are never among those that go', () => {
    for (const phase of ['starting', 'switching', 'draining'] as const) {
      const containers = [...made('web', 'foreign', 'up'), ...made('web', 'fresh', 'down'), ...proxy('up')]
      const found = recovery(left(phase), containers, 'nginx')
      expect(partsOf(left(phase), found, containers).leaving.map(({ id }) => id)).toEqual(['fresh-web'])
      if (phase !== 'starting') expect(found).toMatchObject({ word: 'keep', sides: { web: 'foreign' } })
    }
  })

  const two = { old: { web: ['old-web'], api: ['old-api'] } }
  test('one release goes on for all services where it can', () => {
    const containers = [
      ...made('web', 'old', 'down'),
      ...made('web', 'fresh', 'up'),
      ...made('api', 'old', 'up'),
      ...made('api', 'fresh', 'up'),
    ]
    expect(recovery(left('switching', two), containers, 'nginx')).toMatchObject({ word: 'finish' })
    expect(
      recovery(
        left('draining', two),
        [...made('web', 'old', 'up'), ...made('web', 'fresh', 'up'), ...made('api', 'old', 'up')],
        'nginx',
      ),
    ).toMatchObject({ word: 'revert' })
  })

  test('where neither can do it all, each service keeps what works', () => {
    const containers = [
      ...made('web', 'old', 'up'),
      ...made('web', 'fresh', 'down'),
      ...made('api', 'old', 'down'),
      ...made('api', 'fresh', 'up'),
    ]
    for (const phase of ['switching', 'draining'] as const) {
      const found = recovery(left(phase, two), containers, 'nginx')
      expect(found).toMatchObject({ word: 'keep', sides: { web: 'old', api: 'fresh' } })
      const { kept, leaving } = partsOf(left(phase, two), found, containers)
      expect([kept, leaving].map(list => list.map(({ id }) => id))).toEqual([
        ['old-web', 'fresh-api'],
        ['fresh-web', 'old-api'],
      ])
    }
  })

  test('nothing goes while a service has nobody', () => {
    const containers = [...made('web', 'old', 'up'), ...made('web', 'fresh', 'up'), ...made('api', 'old', 'down')]
    for (const phase of ['switching', 'draining'] as const) {
      const found = recovery(left(phase, two), containers, 'nginx')
      expect(found.word).toBe('forget')
      expect(partsOf(left(phase, two), found, containers).leaving).toEqual([])
    }
  })

  test('one that only runs may go on, but nothing goes for it', () => {
    const ill = { ...made('web', 'old', 'up')[0], health: 'unhealthy' } as SeenContainer
    const containers = [ill, ...made('web', 'fresh', 'down')]
    const found = recovery(left('switching'), containers, 'nginx')
    expect(found.word).toBe('revert')
    expect(partsOf(left('switching'), found, containers)).toEqual({ kept: [ill], leaving: [] })
  })

  test('a service that the proxy knew nothing of goes back to nothing', () => {
    const added = { old: { web: ['old-web'], jobs: [] } }
    const containers = [...made('web', 'old', 'up'), ...made('web', 'fresh', 'up'), ...made('jobs', 'fresh', 'up')]
    const found = recovery(left('switching', added), containers, 'nginx')
    expect(found.word).toBe('revert')
    expect(partsOf(left('switching', added), found, containers).leaving.map(({ id }) => id)).toEqual(['fresh-web', 'fresh-jobs'])
  })

  test('health that has not shown yet is waited for where it decides', () => {
    const starting = (side: 'old' | 'fresh') => made('web', side, 'up').map(each => ({ ...each, health: 'starting' }))
    expect(undecided(left('switching'), [...starting('old'), ...starting('fresh')])).toEqual(['old-web', 'fresh-web'])
    expect(undecided(left('switching'), [...made('web', 'old', 'up'), ...starting('fresh')])).toEqual([])
    expect(undecided(left('draining'), [...made('web', 'old', 'up'), ...starting('fresh')])).toEqual(['fresh-web'])
    expect(undecided(left('starting'), starting('fresh'))).toEqual([])
  })

  test('one without its name in a network is not seen yet', () => {
    const at = (aliases: readonly string[]) => ({ network: 'shop_front', address: '172.20.0.5', aliases })
    expect(isDark({ service: 'web', networks: [at(['web', 'shop-web-1'])] })).toBe(false)
    expect(isDark({ service: 'web', networks: [at(['web']), at(['shop-web-1'])] })).toBe(true)
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

describe('the proxy’s files', () => {
  const at = (name: string, text = '') => ({ path: `/srv/nginx/${name}`, text })
  const proxied = (change: Partial<Seen>) => seen([], { nginxFrom: 'project', ...change })

  test('only what Landfall put there is removed when the project has it no longer', () => {
    const view = proxied({
      state: { version: 1, history: [], nginxPaths: ['/srv/nginx/a.conf', '/srv/nginx/b.conf'] },
      nginxFiles: [at('a.conf'), at('b.conf'), at('foreign.conf')],
      wantedNginxFiles: [at('b.conf'), at('c.conf')],
    })
    expect(goneFiles(view, view.wantedNginxFiles)).toEqual(['/srv/nginx/a.conf'])
    expect(ownPaths(view, view.wantedNginxFiles)).toEqual(['/srv/nginx/b.conf', '/srv/nginx/c.conf'])
    expect(filesInPlace(view)).toBe(false)
  })

  test('the host’s own are nobody’s to remove', () => {
    const view = proxied({ nginxFrom: 'host', nginxFiles: [at('a.conf')], wantedNginxFiles: [at('a.conf')] })
    expect(ownPaths(view, view.wantedNginxFiles)).toEqual([])
    expect(filesInPlace(view)).toBe(true)
  })

  test('they are in place when each has its text', () => {
    expect(filesInPlace(proxied({ nginxFiles: [at('a.conf', 'x')], wantedNginxFiles: [at('a.conf', 'y')] }))).toBe(false)
    expect(filesInPlace(proxied({ nginxFiles: [at('a.conf', 'x'), at('other')], wantedNginxFiles: [at('a.conf', 'x')] }))).toBe(
      true,
    )
  })

  test('what a rollout added goes when it is taken back', () =>
    expect(addedFiles({ rest: [at('a.conf'), at('b.conf')], restBefore: [at('a.conf'), at('foreign.conf')] })).toEqual([
      '/srv/nginx/b.conf',
    ]))
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
