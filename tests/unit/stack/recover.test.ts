/** What a recovery does to a host, action by action, and what is there when it is killed between two of them. */

import { describe, expect, test } from 'bun:test'
import { systemClock } from '../../../lib/engine/clock.ts'
import type { DockerHost, StackContainer } from '../../../lib/providers/ports/docker.ts'
import { parseState, type Rollout, type StackState } from '../../../lib/stack/model.ts'
import { parseResolved } from '../../../lib/stack/resolved.ts'
import { recover } from '../../../lib/steps/stack-rollout.ts'
import type { HostView } from '../../../lib/steps/stack-world.ts'

const FILE = '/srv/nginx/web.conf'
const byName = 'upstream web { server web:80; }\nupstream api { server api:80; }\n'
const resolved = parseResolved(
  JSON.stringify({
    name: 'shop',
    networks: { front: { name: 'shop_front' } },
    services: {
      web: { image: 'web:2', networks: { front: null } },
      api: { image: 'api:2', networks: { front: null } },
    },
  }),
  'shop',
)

const container = (
  service: string,
  side: 'old' | 'fresh' | 'foreign' | 'proxy',
  change: Partial<StackContainer> = {},
): StackContainer => ({
  id: `${side}-${service}`,
  name: `shop-${service}-1`,
  service,
  state: 'running',
  health: 'healthy',
  exitCode: 0,
  imageId: '',
  image: '',
  configHash: '',
  release: { old: 'r1', fresh: 'r2', foreign: '', proxy: '' }[side],
  networks: [{ network: 'shop_front', address: `${side}.${service}`, aliases: [service] }],
  ...change,
})
const dead = { state: 'exited', health: 'unhealthy', networks: [{ network: 'shop_front', address: '', aliases: [] }] } as const
const left = (phase: Rollout['phase'], change: Partial<Rollout> = {}): Rollout => ({
  release: 'r2',
  run: 'earlier',
  phase,
  old: { web: ['old-web'], api: ['old-api'] },
  rest: [{ path: FILE, text: byName }],
  restBefore: [{ path: FILE, text: byName }],
  ...change,
})

/** A host in memory, which answers as the programs do. */
function hostOf(
  containers: readonly StackContainer[],
  rollout: Rollout,
  {
    accepts = true,
    diesAfter = Number.POSITIVE_INFINITY,
    nginxPaths,
  }: { accepts?: boolean; diesAfter?: number; nginxPaths?: readonly string[] } = {},
) {
  const before: StackState = {
    version: 1,
    history: [{ id: 'r1', atMs: 1, kind: 'deploy', nginx: 'n' }],
    ...(nginxPaths ? { nginxPaths } : {}),
    rollout,
  }
  const host = {
    containers: [...containers],
    state: JSON.stringify(before),
    files: new Map(rollout.rest.map(({ path, text }) => [path, text])),
  }
  const actions: string[] = []
  const act = (what: string) => {
    if (actions.length >= diesAfter) throw new Error('killed')
    actions.push(what)
  }
  const goes = (ids: readonly string[]) => {
    host.containers = host.containers.filter(({ id }) => !ids.includes(id))
  }
  const put: DockerHost['setNginxFiles'] = async ({ files, gone }) => {
    for (const { path, text } of files) host.files.set(path, text)
    for (const path of gone) host.files.delete(path)
  }
  const docker: Partial<DockerHost> = {
    look: async () => ({ hashes: {}, looseHashes: {}, containers: host.containers, images: {}, nginxFiles: [], manifests: [] }),
    setState: async ({ text }) => {
      act('state')
      host.state = text
    },
    remove: async ids => {
      act(`remove ${ids.join(' ')}`)
      goes(ids)
    },
    stop: async (ids, _, relief) => {
      act(`stop ${ids.join(' ')}`)
      return relief.filter(id => !host.containers.some(each => each.id === id && each.state === 'running'))
    },
    drain: async () => true,
    waitHealthy: async () => [],
    readRelease: async () => JSON.stringify(resolved.value),
    publish: async (dark, { text }) => {
      act(`publish ${dark.map(({ id }) => id).join(' ')}`)
      host.state = text
      host.containers = host.containers.map(each =>
        dark.some(({ id }) => id === each.id)
          ? { ...each, networks: [{ network: 'shop_front', address: `named.${each.service}`, aliases: [each.service] }] }
          : each,
      )
      return { healths: [], containers: host.containers }
    },
    switchNginx: async ({ files, gone, ended = [], state }) => {
      act(
        `switch to ${[...new Set(files.flatMap(({ text }) => [...text.matchAll(/server (\S+):80;/g)].map(match => match[1])))].join(' ')}`,
      )
      if (!accepts) return { state: 'refused', workers: [], proof: 'unasked', said: 'host not found in upstream' }
      await put({ files, gone })
      goes(ended)
      if (state) host.state = state.text
      return { state: 'switched', workers: [], proof: 'seen', said: '' }
    },
    setNginxFiles: async files => {
      act('files')
      await put(files)
    },
  }
  const view = (): HostView => ({
    facts: { hashes: {}, looseHashes: {}, containers: host.containers, images: {}, nginxFiles: [], manifests: [] },
    resolved,
    hashes: {},
    looseHashes: {},
    images: {},
    containers: host.containers,
    state: parseState(host.state),
    nginxFiles: [],
    wantedNginxFiles: [],
    nginxFrom: 'project',
    manifests: [{ id: 'r2', atMs: 1, by: '', fixtures: '', services: {} }],
    unfetched: [],
  })
  const run = async () => {
    const now = view()
    if (now.state.rollout)
      await recover(now.state.rollout, now, {
        docker: docker as DockerHost,
        roles: { rolled: ['web', 'api'], nginx: 'nginx', fixed: [] },
        clock: systemClock,
        runId: 'run',
        who: 'me@here',
        startMs: 1000,
        drainMs: 1000,
        signal: new AbortController().signal,
        log: () => {},
      })
  }
  return { host, actions, run, ids: () => host.containers.map(({ id }) => id).sort(), state: () => parseState(host.state) }
}

const nginx = container('nginx', 'proxy')
const all = (side: 'old' | 'fresh' | 'foreign', change: Partial<StackContainer> = {}) =>
  ['web', 'api'].map(service => container(service, side, change))

describe('a recovery', () => {
  test('finishes with the new ones when the old ones do not run any more', async () => {
    const { run, actions, ids, state } = hostOf(
      [nginx, ...all('old', { ...dead, state: 'restarting' }), ...all('fresh')],
      left('switching'),
    )
    await run()
    expect(actions).toEqual(['switch to fresh.web fresh.api', 'stop old-web old-api', 'switch to web api'])
    expect(ids()).toEqual(['fresh-api', 'fresh-web', 'proxy-nginx'])
    expect(state()).toMatchObject({ history: [{ id: 'r1' }, { id: 'r2' }] })
    expect(state().rollout).toBeUndefined()
  })

  test('gives new ones the names that a killed run had not given them', async () => {
    const unseen = { networks: [{ network: 'shop_front', address: 'unseen', aliases: [] }] }
    const { run, actions } = hostOf([nginx, ...all('old', dead), ...all('fresh', unseen)], left('switching'))
    await run()
    expect(actions.slice(0, 2)).toEqual(['publish fresh-web fresh-api', 'switch to named.web named.api'])
  })

  test('leaves alone what was started by hand', async () => {
    for (const phase of ['starting', 'switching', 'draining'] as const) {
      const { run, ids, state } = hostOf([nginx, ...all('foreign')], left(phase))
      await run()
      expect(ids()).toEqual(['foreign-api', 'foreign-web', 'proxy-nginx'])
      expect(state().rollout).toBeUndefined()
    }
  })

  test('goes back to the old ones when the new ones are gone behind the switch', async () => {
    const { run, actions, ids } = hostOf([nginx, ...all('old')], left('draining'))
    await run()
    expect(actions).toEqual(['switch to old.web old.api', 'switch to web api'])
    expect(ids()).toEqual(['old-api', 'old-web', 'proxy-nginx'])
  })

  test('needs no proxy', async () => {
    for (const phase of ['switching', 'draining'] as const) {
      const { run, actions, ids, state, host } = hostOf(
        [...all('old'), ...all('fresh')],
        left(phase, { rest: [{ path: FILE, text: 'addresses' }] }),
      )
      await run()
      const goes = phase === 'switching' ? 'fresh' : 'old'
      expect(actions).toEqual(['files', `remove ${goes}-web ${goes}-api`, 'state'])
      expect(ids().some(id => id.startsWith(goes))).toBe(false)
      expect(state().proxy).toBe('behind')
      expect(host.files.get(FILE)).toBe(phase === 'switching' ? byName : 'addresses')
    }
  })

  test('that finds nobody for a service forgets the rollout and removes nothing', async () => {
    const { run, actions, ids, state } = hostOf(
      [nginx, container('web', 'old'), container('web', 'fresh'), container('api', 'old', dead)],
      left('switching'),
    )
    await run()
    expect(actions).toEqual(['files', 'state'])
    expect(ids()).toEqual(['fresh-web', 'old-api', 'old-web', 'proxy-nginx'])
    expect(state()).toMatchObject({ proxy: 'behind', history: [{ id: 'r1' }] })
  })

  test('whose files the proxy refuses removes nothing and ends all the same', async () => {
    const { run, ids, state } = hostOf([nginx, ...all('old'), ...all('fresh')], left('switching'), { accepts: false })
    await run()
    expect(ids()).toEqual(['fresh-api', 'fresh-web', 'old-api', 'old-web', 'proxy-nginx'])
    expect(state()).toMatchObject({ proxy: 'behind' })
    expect(state().rollout).toBeUndefined()
  })

  test('removes the files that the rollout added when it goes back, and those that it no longer has when it finishes', async () => {
    const added = { path: '/srv/nginx/new.conf', text: byName }
    const change = { rest: [added], restBefore: [{ path: FILE, text: byName }] }
    const back = hostOf([nginx, ...all('old'), ...all('fresh')], left('switching', change), { nginxPaths: [FILE] })
    await back.run()
    expect([...back.host.files.keys()]).toEqual([FILE])
    expect(back.state().nginxPaths).toEqual([FILE])
    const on = hostOf([nginx, ...all('old'), ...all('fresh')], left('draining', change), { nginxPaths: [FILE] })
    on.host.files.set(FILE, byName)
    on.host.files.set('/srv/nginx/foreign.conf', '')
    await on.run()
    expect([...on.host.files.keys()].sort()).toEqual(['/srv/nginx/foreign.conf', added.path])
    expect(on.state().nginxPaths).toEqual([added.path])
  })

  test('that is killed after any action is ended by the next one, and never without somebody who serves', async () => {
    const worlds = {
      'old dead': [
        nginx,
        ...all('old', dead),
        ...all('fresh', { networks: [{ network: 'shop_front', address: 'unseen', aliases: [] }] }),
      ],
      both: [nginx, ...all('old'), ...all('fresh')],
      'no proxy': [...all('old'), ...all('fresh')],
      mixed: [
        nginx,
        container('web', 'old'),
        container('web', 'fresh', dead),
        container('api', 'old', dead),
        container('api', 'fresh'),
      ],
      'by hand': [nginx, ...all('foreign'), container('web', 'fresh', dead)],
    }
    for (const [name, containers] of Object.entries(worlds))
      for (const phase of ['starting', 'switching', 'draining'] as const)
        for (const after of [0, 1, 2, 3, 4]) {
          const first = hostOf(containers, left(phase), { diesAfter: after })
          await first.run().catch((error: Error) => expect(error.message).toBe('killed'))
          const { rollout } = first.state()
          const next = hostOf(first.host.containers, rollout ?? left(phase))
          if (rollout) await next.run()
          const serving = next.host.containers.filter(({ state, health }) => state === 'running' && health === 'healthy')
          // Only what was never seen goes although nobody else works.
          if (!(phase === 'starting' && (name === 'old dead' || name === 'mixed')))
            expect({ name, phase, after, services: [...new Set(serving.map(({ service }) => service))].sort() }).toMatchObject({
              services: ['api', ...(name === 'no proxy' ? [] : ['nginx']), 'web'],
            })
          expect((rollout ? next : first).state().rollout).toBeUndefined()
        }
  })
})
