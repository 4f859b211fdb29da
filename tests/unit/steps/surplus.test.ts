/** A group that config.json has made smaller: what goes is priced, and a cluster's voters do not go. */

import { expect, test } from 'bun:test'
import { LABEL_KEYS, labelsFor } from '../../../lib/estate/labels.ts'
import { forgottenServers, surplusStep } from '../../../lib/steps/surplus.ts'
import { load } from '../estate/configs.ts'
import { deps, lookAt, pricing, say, server, serverType } from './worlds.ts'

const estateOf = (nodes: number, workers: number) =>
  load({
    project: 'acme',
    hetzner: { location: 'nbg1', image: 'debian-12' },
    network: {},
    placement_groups: ['nodes'],
    servers: { node: { type: 'cx33', count: nodes, placement_group: 'nodes' }, extra: { type: 'cx33', count: workers } },
    cluster: { servers: 'node', workers: 'extra' },
  })
const member = (name: string) =>
  server(name, { id: name, type: 'cx33', labels: labelsFor('acme', name.replace(/-\d+$/, ''), 'run-0') })
const world = (...names: string[]) => ({ servers: names.map(member), serverTypes: [serverType('cx33')], pricing })
const look = (estate: ReturnType<typeof estateOf>, ...names: string[]) =>
  lookAt(surplusStep({ ...deps, estate }), world(...names))

test('a server too many goes, with the price of its address', () => {
  const estate = load({
    project: 'acme',
    hetzner: { location: 'nbg1', image: 'debian-12' },
    servers: { extra: { type: 'cx33', count: 2 } },
  })
  const finding = look(estate, 'extra', 'extra-2', 'extra-3')
  expect(say(finding)).toBe('todo destroy delete server extra-3, which config.json no longer wants')
  if (finding.state !== 'todo') throw new Error('nothing to do')
  expect(finding.changes[0]?.monthlyNet).toBeCloseTo(-6.99)
})

test('a group that gets its second server keeps its first, and the first stays when the second goes', () => {
  const grown = (count: number) =>
    load({
      project: 'acme',
      hetzner: { location: 'nbg1', image: 'debian-12' },
      servers: { extra: { type: 'cx33', count } },
    })
  expect(say(look(grown(2), 'extra'))).toBe('done none')
  expect(say(look(grown(1), 'extra', 'extra-2'))).toBe('todo destroy delete server extra-2, which config.json no longer wants')
})

test('a worker of the cluster goes with the cluster’s own command, which moves its jobs', () => {
  const finding = look(estateOf(3, 2), 'node', 'node-2', 'node-3', 'extra', 'extra-2', 'extra-3')
  expect(finding).toEqual({
    state: 'refused',
    why: 'extra-3 has jobs of the cluster, which have to move before it is deleted.',
    hint: 'bun scripts/cluster.ts apply',
  })
})

test('voters of the cluster do not', () => {
  const finding = look(estateOf(3, 2), 'node', 'node-2', 'node-3', 'node-4', 'node-5', 'extra', 'extra-2')
  expect(say(finding)).toBe(
    'refused node-4, node-5 vote in the cluster: deleted just so, it may lose its majority and what it knows.',
  )
})

test('a server whose whole group config.json does not name is told from one too many, a preview and a stranger’s', () => {
  const estate = load({
    project: 'acme',
    hetzner: { location: 'nbg1', image: 'debian-12' },
    servers: { site: { type: 'cx33' } },
  })
  const others = [
    server('theirs', { labels: {} }),
    server('acme-pr-7', { labels: { ...labelsFor('acme', 'preview', 'run-0'), [LABEL_KEYS.pullRequest]: '7' } }),
  ]
  const servers = [...['site', 'site-2', 'web', 'web-2'].map(member), ...others]
  expect(forgottenServers(estate, servers).map(each => each.name)).toEqual(['web', 'web-2'])
})
