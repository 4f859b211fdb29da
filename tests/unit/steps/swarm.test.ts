/** Looks of the steps about a swarm: in every state that a killed run, a person or a power cut may leave. */

import { describe, expect, test } from 'bun:test'
import { LABEL_KEYS, labelsFor } from '../../../lib/estate/labels.ts'
import type { Server } from '../../../lib/providers/ports/cloud.ts'
import { estateSteps } from '../../../lib/steps/estate.ts'
import type { Facts } from '../../../lib/steps/machine.ts'
import type { SwarmNode, SwarmState } from '../../../lib/steps/swarm-world.ts'
import { KEY, load } from '../estate/configs.ts'
import { deps, facts, lookAt, ready, say, server } from './worlds.ts'

const estateOf = (count: number) =>
  load(
    {
      project: 'acme',
      hetzner: { location: 'nbg1', image: 'debian-12' },
      network: {},
      dokploy: { admin_email: 'admin@example.com' },
      servers: { prod: { type: 'cx33', dokploy: true }, worker: { type: 'cx23', count, joins: 'prod' } },
    },
    [],
    [{ name: 'alice', publicKey: KEY }],
  )
const stepOf = (id: string, count = 1) => {
  const step = estateSteps({ ...deps, estate: estateOf(count) }, ['servers', 'machines', 'dokploy', 'workers']).find(
    each => each.id === id,
  )
  if (!step) throw new Error(`there is no step ${id}`)
  return step
}

const ADDRESSES: Readonly<Record<string, string>> = { prod: '172.16.0.2', worker: '172.16.0.3', 'worker-2': '172.16.0.4' }
const member = (name: string, change: Partial<Server> = {}): Server => {
  const { labels: base } = server(name)
  const own = labelsFor('acme', name === 'prod' ? 'prod' : 'worker', 'run-0')
  const mark = name === 'prod' ? {} : { [LABEL_KEYS.joins]: 'prod' }
  return server(name, {
    id: name,
    labels: { ...base, ...own, ...mark },
    privateIps: [{ networkId: 'n', ip: ADDRESSES[name] ?? '' }],
    ...change,
  })
}
const node = (name: string, change: Partial<SwarmNode> = {}): SwarmNode => ({
  id: `id-${name}`,
  name,
  state: 'ready',
  availability: 'active',
  role: name === 'prod' ? 'manager' : 'worker',
  isLeaving: false,
  tasks: 2,
  ...change,
})
const swarm = (...nodes: SwarmNode[]): SwarmState => ({ state: 'up', address: '172.16.0.2', nodes: [node('prod'), ...nodes] })
const machine = (change: Partial<Facts>) => ({ ...ready, facts: { ...facts, ...change } })
const WORKER = { worker: 'installed', dokploy: 'absent', swarmNode: 'id-worker', swarmPeers: ['172.16.0.2'] } as const
const joined = {
  servers: [member('prod'), member('worker')],
  machines: { prod: machine({ swarmPeers: ['172.16.0.3'] }), worker: machine(WORKER) },
  swarms: { prod: swarm(node('worker')) },
}

describe('a worker', () => {
  const look = (change: Partial<typeof joined> & { swarms?: Record<string, SwarmState> } = {}) =>
    say(lookAt(stepOf('worker worker'), { ...joined, ...change }))
  const again = (state: string) => `todo change make worker a worker of prod again (now ${state})`
  const join = 'todo create join worker to the swarm of prod as a worker'

  test('that is ready is done, and one that was drained by hand stays so', () => {
    expect(look()).toBe('done 2 containers')
    expect(look({ swarms: { prod: swarm(node('worker', { availability: 'drain', tasks: 1 })) } })).toBe(
      'done 1 container; its availability was set to drain by hand',
    )
  })

  test('that a run had begun to take out is put in again, and one that is down is waited for', () => {
    expect(look({ swarms: { prod: swarm(node('worker', { availability: 'drain', isLeaving: true })) } })).toBe(again('ready'))
    expect(look({ swarms: { prod: swarm(node('worker', { state: 'down' })) } })).toBe(again('down'))
  })

  test('that the swarm does not know joins, and so does one whose name an earlier life has', () => {
    expect(look({ swarms: { prod: swarm() } })).toBe(join)
    expect(look({ swarms: { prod: swarm(node('worker', { id: 'old', state: 'down' })) } })).toBe(join)
    expect(look({ swarms: { prod: { state: 'away', why: 'Docker starts' } } })).toBe(join)
  })

  test('waits for its own Docker and for the other’s Dokploy', () => {
    const later = 'create join worker to the swarm of prod as a worker'
    expect(look({ machines: { ...joined.machines, worker: machine({ ...WORKER, worker: 'installing' }) } })).toBe(
      `blocked worker worker ready | ${later}`,
    )
    expect(look({ machines: { ...joined.machines, prod: machine({ dokploy: 'installing' }) } })).toBe(
      `blocked Dokploy on prod | ${later}`,
    )
  })

  test('never joins over the internet, nor another swarm without leaving the first', () => {
    expect(look({ swarms: { prod: { state: 'up', address: '203.0.113.1', nodes: [] } } })).toStartWith(
      'refused The swarm of prod is reached at 203.0.113.1, which is not its private address',
    )
    const labels = { ...member('worker').labels, [LABEL_KEYS.joins]: 'dev' }
    expect(look({ servers: [member('prod'), member('worker', { labels })] })).toBe(
      'refused worker works for dev, and config.json wants it to work for prod.',
    )
  })
})

describe('the ports', () => {
  test('are opened to each member, also to one that is leaving, and shut when it has left', () => {
    const three = { ...joined, servers: [...joined.servers, member('worker-2')] }
    expect(say(lookAt(stepOf('swarm ports prod'), joined))).toBe('done by worker')
    expect(say(lookAt(stepOf('swarm ports prod', 2), three))).toStartWith('todo change open 2377, 7946 and 4789 of prod')
    const known = { ...joined.machines, prod: machine({ swarmPeers: ['172.16.0.3', '172.16.0.4'] }) }
    expect(say(lookAt(stepOf('swarm ports prod'), { ...three, machines: known }))).toBe('done by worker, worker-2')
    expect(say(lookAt(stepOf('swarm ports shut'), { ...three, machines: known }))).toStartWith('blocked the workers that leave')
    expect(say(lookAt(stepOf('swarm ports shut'), { ...joined, machines: known }))).toBe(
      'todo change shut the swarm’s ports of prod to those who left',
    )
    expect(say(lookAt(stepOf('swarm ports shut'), joined))).toBe('done as wanted')
  })

  test('wait for a server that is still to be made', () => {
    expect(say(lookAt(stepOf('swarm ports worker', 2), joined))).toStartWith('blocked server worker-2')
  })
})

describe('a worker that is not wanted', () => {
  const world = { ...joined, servers: [...joined.servers, member('worker-2')] }
  const look = (state: SwarmState) => say(lookAt(stepOf('leaving workers'), { ...world, swarms: { prod: state } }))

  test('is drained before it goes', () => {
    expect(look(swarm(node('worker'), node('worker-2')))).toBe('todo change drain worker-2 and take it out of the swarm of prod')
    expect(look(swarm(node('worker')))).toBe('done none')
  })

  test('stays while nobody can say what runs on it', () => {
    expect(look({ state: 'away', why: 'the server is off' })).toBe(
      'refused worker-2 is to leave the swarm of prod, which does not answer: the server is off.',
    )
  })

  test('is a surplus server by its mark, when its group is gone from the file', () => {
    const other = member('helper')
    expect(say(lookAt(stepOf('surplus servers'), { ...world, servers: [...joined.servers, other] }))).toBe(
      'todo destroy delete server helper, which config.json no longer wants',
    )
  })
})
