import { describe, expect, test } from 'bun:test'
import { systemClock } from '../../../lib/engine/clock.ts'
import { createMeter } from '../../../lib/engine/meter.ts'
import { createDockerHost } from '../../../lib/providers/docker/docker.ts'
import type { StackContainer } from '../../../lib/providers/ports/docker.ts'
import { parseResolved } from '../../../lib/stack/resolved.ts'
import { filesDigest, releaseId } from '../../../lib/stack/rollout.ts'
import { stackSteps } from '../../../lib/steps/stack.ts'
import type { HostView } from '../../../lib/steps/stack-world.ts'

const hostOf = (key: string) => ({
  key,
  variables: {},
  docker: createDockerHost({
    place: { project: 'shop', directory: '/', files: [], nginx: 'nginx' },
    transport: {
      name: key,
      run: () => Promise.reject(new Error('nothing may be asked while steps are made')),
      close: async () => {},
    },
    context: { clock: systemClock, meter: createMeter(), beforeWrite: async () => {} },
  }),
})

const stepsOn = (...keys: string[]) => stepsWith([], keys)
const stepsWith = (fixed: readonly string[], keys: readonly string[], kind: 'deploy' | 'rollback' = 'deploy') =>
  stackSteps({
    project: 'shop',
    hosts: keys.map(hostOf),
    wish: kind === 'deploy' ? { kind, leave: [], images: {}, pull: false } : { kind, release: undefined },
    confirmed: [],
    selected: false,
    tools: {
      roles: { rolled: ['api', 'web'], nginx: 'nginx', fixed },
      clock: systemClock,
      runId: 'run',
      who: 'me@here',
      startMs: 1000,
      drainMs: 1000,
    },
  })

test('several hosts come one after the other: a host begins only when the one before serves the release', () => {
  const steps = stepsOn('one', 'two', 'three')
  const of = (host: string) => steps.filter(({ reads }) => reads.includes(host))
  expect(steps.map(({ reads }) => reads.join())).toEqual([
    ...Array(4).fill('one'),
    ...Array(4).fill('two'),
    ...Array(4).fill('three'),
  ])
  expect(of('one')[0]?.needs).toEqual([])
  expect(of('two')[0]?.needs).toEqual(
    of('one')
      .slice(-1)
      .map(({ id }) => id),
  )
  expect(of('three')[0]?.needs).toEqual(
    of('two')
      .slice(-1)
      .map(({ id }) => id),
  )
  expect(of('two').every(({ title }) => title.endsWith(' on two'))).toBe(true)
})

test('on one host nothing is said about hosts', () => {
  expect(stepsOn('this machine').map(({ title }) => title)).toEqual([
    'no rollout of shop is left half done',
    'every service of shop runs',
    'api and web run the wanted release',
    'nginx runs as wanted',
  ])
})

describe('what a host still needs', () => {
  const service = (name: string) => ({ image: `${name}:1`, healthcheck: { test: ['CMD', 'true'] } })
  const names = ['api', 'web', 'nginx']
  const resolved = parseResolved(
    JSON.stringify({ name: 'shop', services: Object.fromEntries(names.map(name => [name, service(name)])) }),
    'shop',
  )
  const container = (name: string, change: Partial<StackContainer> = {}): StackContainer => ({
    id: name,
    name,
    service: name,
    state: 'running',
    health: 'healthy',
    exitCode: 0,
    imageId: name,
    image: `${name}:1`,
    configHash: 'hash',
    release: '',
    networks: [],
    ...change,
  })
  const hashes = Object.fromEntries(names.map(name => [name, 'hash']))
  const images = Object.fromEntries(names.map(name => [`${name}:1`, { id: name, digests: [] }]))
  const id = releaseId(resolved, images)
  const files = [{ path: '/srv/nginx/site.conf', text: '' }]
  const viewOf = (change: Partial<HostView>): HostView => {
    const containers = change.containers ?? names.map(name => container(name))
    return {
      facts: {
        hashes,
        looseHashes: hashes,
        containers: containers as readonly StackContainer[],
        images,
        nginxFiles: [],
        manifests: [],
      },
      resolved,
      hashes,
      looseHashes: hashes,
      images,
      containers,
      state: { version: 1, history: [{ id, atMs: 1, kind: 'deploy', nginx: filesDigest(files) }] },
      nginxFiles: files,
      wantedNginxFiles: files,
      nginxFrom: 'project',
      manifests: [],
      unfetched: [],
      ...change,
    }
  }
  const look = (change: Partial<HostView> = {}) => {
    const view = viewOf(change)
    return stepsOn('host').map(step => {
      const finding = step.look({ get: () => view })
      return finding.state === 'todo'
        ? finding.changes.flatMap(({ summary, details = [] }) => [summary, ...details])
        : finding.state
    })
  }
  const { state } = viewOf({})

  test('nothing, when all runs by the files that are wanted', () => expect(look()).toEqual(Array(4).fill('done')))

  test('a reload, when nginx has not taken up the files that lie there', () =>
    expect(look({ state: { ...state, proxy: 'behind' } })[2]).toEqual(['reload nginx with its configuration']))

  test('a reload that removes what the project has no longer', () =>
    expect(look({ state: { ...state, nginxPaths: ['/srv/nginx/old.conf', '/srv/nginx/site.conf'] } })[2]).toEqual([
      'reload nginx with its changed configuration',
      'nginx: remove /srv/nginx/old.conf, which the project has no longer',
    ]))

  test('a reload, when somebody changed a file on the host', () =>
    expect(look({ nginxFiles: [{ path: '/srv/nginx/site.conf', text: 'other' }] })[2]).toEqual([
      'reload nginx with its changed configuration',
    ]))

  test('a start of a proxy that ended, also when it has changed, and of what it finds by name', () => {
    const ended = { state: 'exited', health: 'none', configHash: 'older' } as const
    const containers = [container('api', ended), container('web'), container('nginx', ended)]
    const [, fixed, release] = look({ containers })
    expect(fixed).toEqual(['start api', 'start nginx'])
    expect(release).toBe('blocked')
  })

  describe('a service that does its work and ends', () => {
    const all = parseResolved(
      JSON.stringify({
        name: 'shop',
        services: {
          ...Object.fromEntries(names.map(name => [name, service(name)])),
          api: { ...service('api'), depends_on: { migrate: { condition: 'service_completed_successfully' } } },
          migrate: { image: 'migrate:1' },
        },
      }),
      'shop',
    )
    const known = { ...hashes, migrate: 'hash' }
    const having = { ...images, 'migrate:1': { id: 'migrate', digests: [] } }
    const said = (migrate: Partial<StackContainer> | undefined, kind?: 'rollback') => {
      const containers = [
        ...names.map(name => container(name)),
        ...(migrate ? [container('migrate', { state: 'exited', health: 'none', ...migrate })] : []),
      ]
      const view = viewOf({
        resolved: all,
        hashes: known,
        looseHashes: known,
        images: having,
        containers,
        state: { version: 1, history: [{ id: releaseId(all, having), atMs: 1, kind: 'deploy', nginx: filesDigest(files) }] },
      })
      const finding = stepsWith(['migrate'], ['host'], kind)[1]?.look({ get: () => view })
      return finding?.state === 'todo' ? finding.changes.map(each => `${each.kind} ${each.summary}`).join() : finding?.state
    }

    test('is as wanted when it has ended well, and runs when it has not', () => {
      expect(said({})).toBe('done')
      expect(said({ exitCode: 3 })).toBe('create run migrate to its end')
      expect(said({ state: 'running' })).toBe('create run migrate to its end')
      expect(said(undefined)).toBe('create run migrate to its end')
    })

    test('runs again when it has changed, without a question, but not on the way back', () => {
      expect(said({ configHash: 'older' })).toBe('change run migrate to its end: its configuration differs')
      expect(said({ configHash: 'older' }, 'rollback')).toBe('done')
    })
  })

  test('an end of what was left, said for each service where it is not one way', () => {
    const rollout = {
      release: 'r2',
      run: 'earlier',
      phase: 'switching',
      old: { api: ['api'], web: ['gone'] },
      rest: files,
      restBefore: files,
    } as const
    const [whole] = look({ state: { ...state, rollout }, containers: [container('api'), container('web')] })
    expect(whole).toEqual([
      'end the rollout of r2 (api and web) that run earlier left',
      'api: what was there before goes on',
      'web: what was started by hand goes on',
      'nginx: does not run, and finds its files at rest when it starts',
    ])
  })
})
