/** Firewalls that would cut their operator off are refused, and a stock server's own guard follows who is let in. */

import { describe, expect, test } from 'bun:test'
import { openToEverybody } from '../../../lib/doctor.ts'
import { estateSteps } from '../../../lib/steps/estate.ts'
import { desiredAdminRules } from '../../../lib/steps/firewall.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { fleet, load, twoServers } from '../estate/configs.ts'
import { deps, facts, firewall, lookAt, panel, say, server } from './worlds.ts'

const sayOf = (config: unknown, id: string, world: Partial<EstateWorld>): string => {
  const estate = load(config)
  const step = estateSteps({ ...deps, estate }, ['firewall', 'access']).find(each => each.id === id)
  if (!step) throw new Error(`there is no step "${id}"`)
  return say(lookAt(step, world))
}

describe('a firewall', () => {
  const narrow = (...rules: unknown[]) => ({ ...twoServers, firewalls: { 'nextnode-dokploy': rules } })
  const id = 'firewall nextnode-dokploy'
  const office = { port: 22, from: ['203.0.113.0/24', '2001:db8:7::/48'] }

  test('that is open to all on port 22 asks nobody where the operator is', () => {
    expect(sayOf(narrow({ port: '20-25', from: ['anywhere'] }), id, {})).toStartWith('todo create')
  })

  test.each([
    ['from inside the listed range', ['203.0.113.9'], 'todo create'],
    ['over the family that is not used to reach the server', ['203.0.113.9', '2001:db8:8::1'], 'todo create'],
    ['from nobody knows where', [], 'todo create'],
    ['from elsewhere', ['198.51.100.7'], 'refused Firewall nextnode-dokploy would cut you off: you come from 198.51.100.7'],
  ])('that is narrowed %s', (_, operator, says) => {
    expect(sayOf(narrow(office), id, { operator })).toStartWith(says)
  })

  test('that lets nobody in to SSH on purpose is nobody’s lock-out', () => {
    expect(sayOf(fleet, 'firewall web', { operator: ['198.51.100.7'] })).toStartWith('todo create')
  })
})

describe('the guard of a stock server', () => {
  const config = { ...twoServers, hetzner: { ...twoServers.hetzner, image: 'debian-12' } }
  const wall = load(config).firewalls.find(each => each.attach === 'when_owned')
  if (!wall) throw new Error('there is no firewall for admins')
  const letIn = desiredAdminRules(wall, [], { who: 'alice@laptop', addresses: ['198.51.100.7'] })
  const world = (panelPort: typeof facts.panelPort, rules = letIn): Partial<EstateWorld> => ({
    servers: [server('prod-dokploy')],
    firewalls: [firewall('nextnode-admin', 'f2', rules)],
    machines: { 'prod-dokploy': { state: 'ready', trust: 'pinned', facts: { ...facts, panelPort } } },
    panels: { 'prod-dokploy': panel },
  })
  const says = (state: Partial<EstateWorld>) => sayOf(config, 'panel port prod-dokploy', state)

  test('shuts the panel’s port once it has a name and nobody is let in', () => {
    expect(says(world('open', []))).toBe(
      'todo change shut port 3000 on prod-dokploy itself: its panel is at https://admin.nextnode.fr',
    )
    expect(says(world('closed', []))).toBe('done port 3000 answers the loopback alone')
  })

  test('waits for the name before it does', () => {
    const named = { 'prod-dokploy': { ...panel, settings: { https: false } } } as EstateWorld['panels']
    expect(says({ ...world('open', []), panels: named })).toStartWith('blocked panel admin.nextnode.fr | ')
  })

  test('leaves it to the cloud firewall while somebody is let in, and is put up where it is missing', () => {
    expect(says(world('open'))).toBe('done port 3000 is left to the cloud firewall')
    expect(says(world('closed'))).toStartWith('todo change leave port 3000 of prod-dokploy to the cloud firewall')
    expect(says(world('unguarded'))).toStartWith('todo change')
  })

  test('is no matter of a golden image, which brings a firewall', () => {
    expect(() => sayOf(twoServers, 'panel port prod-dokploy', world('open'))).toThrow('there is no step')
  })
})

test('doctor judges the two families on their own', () => {
  const rule = (port: string, from: string[]) => ({ protocol: 'tcp' as const, port, from, why: '' })
  expect(openToEverybody([rule('22', ['0.0.0.0/0', '::/0']), rule('3000', ['198.51.100.7/32'])])).toEqual([])
  expect(openToEverybody([rule('3000', ['::/0']), rule('2000-3000', ['0.0.0.0/0'])])).toEqual([
    'port 3000 over IPv4 and IPv6',
    'port 2377 over IPv4',
  ])
})
