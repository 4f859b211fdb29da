/** The load balancer's look: made beside its servers with its price, left alone when it is somebody's, put back when changed by hand. */

import { expect, test } from 'bun:test'
import { labelsFor } from '../../../lib/estate/labels.ts'
import type { LoadBalancer } from '../../../lib/providers/ports/cloud.ts'
import { BALANCER_SERVICES, balancerStep } from '../../../lib/steps/balancer.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load } from '../estate/configs.ts'
import { deps, lookAt, pricing, say, serverType } from './worlds.ts'

const estate = load({
  project: 'acme',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  placement_groups: ['nodes'],
  servers: { node: { type: 'cx33', count: 3, placement_group: 'nodes' } },
  cluster: { servers: 'node' },
})
const { cluster } = estate
if (!cluster) throw new Error('the test config has no cluster')
const step = balancerStep({ ...deps, estate }, cluster)

const priced = {
  ...pricing,
  loadBalancers: [
    { type: 'lb11', location: 'nbg1', hourly: { net: 0.0084, gross: 0.01 }, monthly: { net: 5.39, gross: 6.4141 } },
  ],
}
const world = (all: readonly LoadBalancer[], change: Partial<EstateWorld> = {}): Partial<EstateWorld> => ({
  loadBalancers: all,
  networks: [],
  servers: [],
  serverTypes: [serverType('cx33')],
  pricing: priced,
  ...change,
})
const own: LoadBalancer = {
  id: '1',
  name: 'acme-cluster',
  labels: labelsFor('acme', 'node', 'run-0'),
  type: 'lb11',
  location: 'nbg1',
  createdAt: '2026-01-01T00:00:00Z',
  ipv4: '203.0.113.200',
  networkIds: ['n'],
  selectors: ['landfall/estate=acme,landfall/role=node'],
  targets: [],
  services: BALANCER_SERVICES,
}

test('from nothing it is made where its servers will be, and its price counts at once', () => {
  const finding = lookAt(step, world([]))
  expect(say(finding)).toBe('todo create create load balancer acme-cluster (lb11)')
  expect(finding).toMatchObject({ state: 'todo', changes: [{ kind: 'create', monthlyNet: 5.39 }] })
})

test('as wanted there is nothing to do', () => expect(lookAt(step, world([own]))).toMatchObject({ state: 'done' }))

test('a health check that was changed by hand is put back', () => {
  const services = BALANCER_SERVICES.map(each => ({ ...each, health: { ...each.health, intervalS: 60 } }))
  expect(say(lookAt(step, world([{ ...own, services }])))).toBe(
    'todo change put back what load balancer acme-cluster does on port 80 and 443',
  )
})

test('one that leads elsewhere is refused, and a stranger\u2019s too', () => {
  expect(lookAt(step, world([{ ...own, selectors: ['app=other'] }]))).toMatchObject({
    state: 'refused',
    why: expect.stringContaining('changed by hand'),
  })
  expect(lookAt(step, world([{ ...own, labels: {} }]))).toMatchObject({
    state: 'refused',
    why: 'A load balancer called acme-cluster exists in this project and does not belong to this estate.',
  })
})
