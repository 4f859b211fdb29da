/** What doctor says of a swarm's nodes, and which command mends it. */

import { expect, test } from 'bun:test'
import type { SwarmNode, SwarmState } from '../../lib/steps/swarm-world.ts'
import { judgeSwarms } from '../../lib/swarm-check.ts'
import { load } from './estate/configs.ts'

const estate = load({
  project: 'acme',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  dokploy: { admin_email: 'admin@example.com' },
  servers: { prod: { type: 'cx33', dokploy: true }, worker: { type: 'cx23', joins: 'prod' } },
})
const node = (name: string, change: Partial<SwarmNode> = {}): SwarmNode => ({
  id: `id-${name}`,
  name,
  state: 'ready',
  availability: 'active',
  role: 'worker',
  isLeaving: false,
  tasks: 0,
  ...change,
})
const judge = (swarm: SwarmState) => judgeSwarms(estate, { prod: swarm })
const up = (...nodes: SwarmNode[]): SwarmState => ({ state: 'up', address: '172.16.0.2', nodes })

test('a swarm of ready nodes is well, and so is an estate without workers', () => {
  expect(judge(up(node('prod'), node('worker')))).toEqual({ state: 'ok', detail: 'prod: 2 nodes are ready' })
  expect(judgeSwarms(estate, {}).state).toBe('ok')
})

test('one that does not answer, a node that is down, and one that nobody owns are failures', () => {
  expect(judge({ state: 'away', why: 'the server is off' })).toMatchObject({
    state: 'fail',
    detail: 'the swarm of prod does not answer: the server is off',
  })
  expect(judge(up(node('worker', { state: 'down' })))).toEqual({
    state: 'fail',
    detail: 'worker in the swarm of prod is down',
    fix: 'bun scripts/status.ts --machine worker',
  })
  expect(judge(up(node('old-1', { state: 'down' }))).fix).toBe(
    'No server of the estate is behind it: docker node rm id-old-1, on prod',
  )
})

test('one that was drained by hand is a warning, and the worst is told first', () => {
  const drained = node('worker', { availability: 'drain' })
  expect(judge(up(drained)).state).toBe('warn')
  expect(judge(up(drained, node('worker-2', { isLeaving: true })))).toEqual({
    state: 'fail',
    detail:
      'worker in the swarm of prod gets no containers: its availability was set to drain by hand; worker-2 in the swarm of prod is half taken out',
    fix: 'bun scripts/setup.ts',
  })
})
