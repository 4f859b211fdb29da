/** The looks of a move: whose move it is, where it leads now, and what has to be waited out first. */

import { describe, expect, test } from 'bun:test'
import type { Move } from '../../../lib/cutover/move.ts'
import { LABEL_KEYS } from '../../../lib/estate/labels.ts'
import { renderRecordMark } from '../../../lib/estate/naming.ts'
import { cutoverSteps } from '../../../lib/steps/cutover.ts'
import type { Arrival, CutoverDeps } from '../../../lib/steps/cutover-world.ts'
import type { EstateStep } from '../../../lib/steps/deps.ts'
import { destroySteps } from '../../../lib/steps/destroy.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { move, NOW } from '../cutover/moves.ts'
import { deps as estateDeps, lookAt, record, say, server, store, zone } from './worlds.ts'

const WWW = 'www.nextnode.fr'
const deps: CutoverDeps = {
  ...estateDeps,
  names: [{ name: WWW, kind: 'frontend', path: '/', routes: ['/'], server: 'prod-dokploy' }],
  allNames: [],
  store,
  acme: () => Promise.reject(new Error('a look asked the authority')),
  makeKey: () => {
    throw new Error('a look made a key')
  },
  email: 'admin@nextnode.fr',
  waits: { nowMs: () => NOW, monotonicMs: () => NOW, sleep: () => Promise.reject(new Error('a look waited')) },
  unfilled: [],
}

const stepOf = (id: string): EstateStep => {
  const step = [...cutoverSteps(deps), ...destroySteps({ ...estateDeps, store })].find(each => each.id === id)
  if (!step) throw new Error(`there is no step "${id}"`)
  return step
}

const old = record(WWW, '192.0.2.1', { comment: '', ttl: 60 })
const to = { server: 'prod-dokploy', serverId: '2', ipv4: '203.0.113.2', ipv6: '2001:db8:2::1' }
const kept = (over: Partial<Move> = {}): Move =>
  move(WWW, [old], { estate: 'nextnode', zone: 'nextnode.fr', zoneId: 'z', oldTtlS: 3600, to, ...over })
const drained = { loweredAtMs: NOW - 3_600_000, drainedAtMs: NOW }
const switched = { ...drained, switchedAtMs: NOW, settledAtMs: NOW }

const probes = (address: string): Arrival['probes'] => [
  { family: 'ipv4', address, http: { state: 'answers', status: 200 }, https: { state: 'answers', status: 200 } },
]
const allowed = { state: 'allowed', because: 'no CAA record stands in the way' } as const
const arrival: Arrival = {
  probes: probes('203.0.113.2'),
  caa: { now: allowed, after: allowed },
  delegation: zone.nameservers,
  negativeTtlS: 1800,
  oldAddresses: [],
}
const good = { stored: 'good', given: 'yes', budget: { state: 'enough', left: 5, of: 'sameNames' } } as const

const prod = server('prod-dokploy')
const moved = Object.entries({ A: '203.0.113.2', AAAA: '2001:db8:2::1' } as const).map(([, content]) => record(WWW, content))
const world = (one: Move, change: Partial<EstateWorld> = {}): Partial<EstateWorld> => ({
  servers: [prod],
  moves: { [WWW]: one },
  records: [old],
  arrivals: { [WWW]: arrival },
  certificates: { 'prod-dokploy': good },
  ...change,
})
const look = (id: string, one: Move, change: Partial<EstateWorld> = {}) => say(lookAt(stepOf(id), world(one, change)))

const anew = { ...prod, id: '7', ipv4: '203.0.113.9', ipv6: '2001:db8:9::1' }
const ACTS = [
  'move certificate prod-dokploy',
  'move origin',
  'move lower',
  'move drain',
  'move switch',
  'move settled',
  'move raise',
]

describe('a server that was made anew with other addresses', () => {
  const here = { servers: [anew], arrivals: { [WWW]: { ...arrival, probes: probes('203.0.113.9') } } }
  test('a move that was switched is over, and another begins', () => {
    expect(look('move preflight', kept({ marks: switched }), { ...here, records: moved })).toMatch(/^done /)
    expect(look('move snapshot', kept({ marks: switched }), { ...here, records: moved })).toMatch(
      /^todo create keep the 2 records of www/,
    )
  })
  test('one that was not switched is refused', () =>
    expect(look('move preflight', kept({ marks: drained }), here)).toMatch(
      /^refused the move of www.nextnode.fr began towards another server \(prod-dokploy, id 2, 203.0.113.2\)/,
    ))
  test.each(ACTS)('%s does not act on either', id => {
    for (const marks of [switched, drained, {}])
      for (const records of [[old], moved, []]) expect(look(id, kept({ marks }), { ...here, records })).toMatch(/^blocked /)
  })
  test('without a server nothing moves', () => {
    expect(look('move preflight', kept({ marks: switched }), { servers: [], arrivals: {} })).toMatch(
      /^refused server prod-dokploy, where www.nextnode.fr shall go, is not there/,
    )
    for (const id of ACTS) expect(look(id, kept({ marks: switched }), { servers: [] })).toMatch(/^blocked /)
  })
  test('a stranger’s namesake is no place to go', () => {
    const theirs = { ...prod, labels: { [LABEL_KEYS.estate]: 'nextnode2' } }
    for (const id of ACTS) expect(look(id, kept({ marks: switched }), { servers: [theirs] })).toMatch(/^blocked /)
  })
})

test('a server that was made anew with the same addresses: the move is kept with its new id', () => {
  const same = { servers: [{ ...prod, id: '7' }], arrivals: {}, records: moved }
  expect(look('move preflight', kept({ marks: switched }), same)).toMatch(/^done /)
  expect(look('move snapshot', kept({ marks: switched }), same)).toBe(
    'todo change note that prod-dokploy was made anew with the same addresses',
  )
  const noted = kept({ marks: switched, to: { ...to, serverId: '7' } })
  expect(look('move snapshot', noted, same)).toMatch(/^done /)
  const comment = renderRecordMark({ estate: 'nextnode', server: 'prod-dokploy', serverId: '7' })
  expect(look('move switch', noted, { ...same, records: moved.map(each => ({ ...each, comment })) })).toMatch(/^done /)
})

test('a TTL that was raised after the wait: the switch waits for another one', () => {
  const raised = { records: [{ ...old, ttl: 3600 }] }
  expect(look('move lower', kept({ marks: drained }), raised)).toBe(`todo change lower the TTL of ${WWW} to 60 s`)
  expect(look('move drain', kept({ marks: { ...drained, loweredAtMs: NOW } }))).toMatch(/^todo wait /)
  expect(look('move switch', kept({ marks: { ...drained, loweredAtMs: NOW } }))).toMatch(/^blocked the old TTL /)
  expect(look('move switch', kept({ marks: drained }))).toMatch(/^todo destroy point www.nextnode.fr at prod-dokploy /)
})

describe('destroying closes moves', () => {
  test.each([
    ['under way', {}, `todo wait note that the servers are gone to which ${WWW} moved`],
    ['over', switched, `todo wait note that the servers are gone to which ${WWW} moved`],
    ['undone', { ...switched, rolledBackAtMs: NOW }, 'done none'],
    ['closed', { ...switched, deletedAtMs: NOW }, 'done none'],
  ] as const)('%s', (_, marks, says) => expect(look('moves closed', kept({ marks }))).toBe(says))
  test('and only once the servers are gone', () => expect(stepOf('moves closed').needs).toEqual(['servers gone']))
})
