/** What stands before servers that are there already: what is missing comes on, what config.json has forgotten comes off and goes. */

import { describe, expect, test } from 'bun:test'
import { LABEL_KEYS, labelsFor } from '../../../lib/estate/labels.ts'
import type { Firewall, Server } from '../../../lib/providers/ports/cloud.ts'
import { ALL_STAGES, estateSteps, type Stage } from '../../../lib/steps/estate.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load, twoServers } from '../estate/configs.ts'
import { deps, firewall, golden, lookAt, say, server } from './worlds.ts'

const OPEN = { web: [{ port: 22, from: ['anywhere'] }], other: [{ port: 443, from: ['anywhere'] }] }
const config = (more: Record<string, unknown> = {}, app: Record<string, unknown> = {}) => ({
  project: 'solo',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  firewalls: OPEN,
  servers: { app: { type: 'cx23', firewalls: ['web'], ...app } },
  ...more,
})
const ours = labelsFor('solo', 'shared', 'run-0')
const rule = { protocol: 'tcp', port: '8080', from: ['0.0.0.0/0'], why: '' } as const
const wall = (name: string, labels: Firewall['labels'] = ours) => firewall(name, name, [rule], labels)
const app = (change: Partial<Server> = {}): Server =>
  server('app', { type: 'cx23', labels: labelsFor('solo', 'app', 'run-0'), firewallIds: ['web'], ...change })
const named = (name: string, change: Partial<Server> = {}): Server => ({ ...app(change), id: name, name })

const sayOf = (id: string, given: unknown, world: Partial<EstateWorld>, stages: readonly Stage[] = ALL_STAGES): string => {
  const step = estateSteps({ ...deps, estate: load(given) }, stages).find(each => each.id === id)
  if (!step) throw new Error(`there is no step "${id}"`)
  return say(lookAt(step, world))
}

describe('a server', () => {
  const says = (firewallIds: readonly string[], firewalls: readonly Firewall[], change: Partial<Server> = {}, given = config()) =>
    sayOf('server app guarded', given, { servers: [app({ firewallIds, ...change })], firewalls })

  test('that is still to come is created with its firewalls', () => {
    expect(sayOf('server app guarded', config(), {})).toBe('done it is created with them')
  })

  test('behind what config.json names is as wanted', () => {
    expect(says(['web'], [wall('web'), wall('other')])).toBe('done web')
  })

  test('gets what was taken off it by hand', () => {
    expect(says([], [wall('web')])).toBe('todo change attach firewall web to app')
  })

  test('gives up what config.json no longer gives it, once what it keeps is there', () => {
    expect(says(['web', 'legacy'], [wall('web'), wall('legacy')])).toBe('todo change take firewall legacy off app')
    expect(says(['other', 'legacy'], [wall('web'), wall('other'), wall('legacy')])).toBe(
      'todo change attach firewall web to app; change take firewall other off app; change take firewall legacy off app',
    )
  })

  test('gives nothing up before what it keeps exists', () => {
    expect(says(['solo-base'], [wall('solo-base')])).toBe(
      'blocked firewall web | change attach firewall web to app; change take firewall solo-base off app',
    )
  })

  test('gives nothing up before what it keeps is in force', () => {
    expect(says(['web', 'legacy'], [wall('web'), wall('legacy')], { pendingFirewallIds: ['web'] })).toBe(
      'todo change attach firewall web to app; change take firewall legacy off app',
    )
  })

  test('keeps what others put before it', () => {
    expect(says(['web', 'theirs'], [wall('web'), wall('theirs', {})])).toBe('done web')
    expect(says(['web', 'theirs'], [wall('web'), wall('theirs', labelsFor('solo2', 'shared', 'r'))])).toBe('done web')
  })

  test('that has public addresses although the file wants none keeps what guards it', () => {
    const given = config({ network: {} }, { ipv4: false, ipv6: false, firewalls: [] })
    expect(says(['legacy'], [wall('legacy')], {}, given)).toBe('done no public address')
  })

  test('without a public address needs none', () => {
    const { ipv4: _, ipv6: __, ...inner } = app({ firewallIds: [] })
    expect(sayOf('server app guarded', config(), { servers: [inner], firewalls: [wall('web')] })).toBe('done web')
  })

  test('of another estate is left alone', () => {
    expect(says(['web', 'legacy'], [wall('web'), wall('legacy')], { labels: {} })).toBe('done it is created with them')
  })

  test('with Dokploy keeps its administrators’ way in', () => {
    const firewalls = [firewall('nextnode-dokploy', 'f1', [rule]), firewall('nextnode-admin', 'f2', [rule])]
    expect(sayOf('server prod-dokploy guarded', twoServers, { servers: [server('prod-dokploy')], firewalls })).toBe(
      'done nextnode-dokploy',
    )
  })
})

describe('a firewall that config.json no longer names', () => {
  const says = (
    servers: readonly Server[],
    firewalls: readonly Firewall[],
    given: unknown = config(),
    stages: readonly Stage[] = ALL_STAGES,
  ) => sayOf('surplus firewalls', given, { servers, firewalls }, stages)
  const remove = 'change delete firewall legacy, which config.json no longer names'

  test('is deleted when no server has it', () => {
    expect(says([app()], [wall('web'), wall('other'), wall('legacy')])).toBe(`todo ${remove}`)
  })

  test('is deleted after the server that gives it up', () => {
    expect(says([app({ firewallIds: ['web', 'legacy'] })], [wall('web'), wall('legacy')])).toBe(`blocked app | ${remove}`)
  })

  test('stays as long as it guards what is not config.json’s to judge', () => {
    const forgotten = named('forgotten', { labels: labelsFor('solo', 'other', 'run-0'), firewallIds: ['legacy'] })
    expect(says([app(), forgotten], [wall('web'), wall('legacy')])).toBe('done legacy stays: it guards forgotten')
    expect(says([app(), named('theirs', { labels: {}, firewallIds: ['legacy'] })], [wall('web'), wall('legacy')])).toBe(
      'done legacy stays: it guards theirs',
    )
  })

  test('goes with a server that is too many, where the command deletes that', () => {
    const extra = named('app-2', { firewallIds: ['legacy'] })
    const world = [
      [app(), extra],
      [wall('web'), wall('legacy')],
    ] as const
    expect(says(...world)).toBe(`blocked app-2 | ${remove}`)
    expect(says(...world, config(), ['firewall', 'access'])).toBe('done legacy stays: it guards app-2')
  })

  test('is left alone when it is not ours', () => {
    expect(says([app()], [wall('web'), wall('legacy', {})])).toBe('done none')
  })

  test('is none of those that pull requests’ servers have', () => {
    const given = config({
      dns: { domain: 'example.com' },
      hetzner: { location: 'nbg1', image: 'ubuntu-24.04' },
      network: {},
      previews: { repository: 'acme/web', substrate: 'servers', host: 'app', type: 'cx23' },
    })
    expect(says([app()], [wall('web'), wall('solo-previews')], given)).toBe('done none')
    expect(says([app()], [wall('web'), wall('solo-previews')])).toBe(
      'todo change delete firewall solo-previews, which config.json no longer names',
    )
  })
})

describe('an existing server in a file that has got', () => {
  const network = {
    id: 'n1',
    name: 'solo',
    range: '172.16.0.0/16',
    subnets: [{ range: '172.16.0.0/24', zone: 'eu-central' }],
    labels: ours,
  }
  const says = (given: unknown, change: Partial<Server> = {}, more: Partial<EstateWorld> = {}) =>
    sayOf('server app', given, { servers: [app(change)], firewalls: [wall('web')], networks: [network], ...more })

  test('a network is put into it', () => {
    const given = config({ network: {} })
    expect(says(given)).toBe('todo change put app into network solo')
    expect(says(given, {}, { networks: [] })).toBe('blocked network solo | change put app into network solo')
    expect(says(given, { privateIps: [{ networkId: 'n1', ip: '172.16.0.2' }] })).toBe('done cx23 in nbg1, 203.0.113.1')
    expect(says(given, { privateIps: [{ networkId: 'another', ip: '10.0.0.2' }] })).toBe('todo change put app into network solo')
  })

  test('a network, and is just being made, gets there by itself', () => {
    const given = config({ network: {} })
    expect(says(given, { status: 'starting' })).toBe('done cx23 in nbg1, 203.0.113.1')
    expect(says(given, { labels: { ...labelsFor('solo', 'app', deps.runId), [LABEL_KEYS.trust]: 'pinned' } })).toBe(
      'done cx23 in nbg1, 203.0.113.1',
    )
  })

  test('a network, a placement group or no IPv6 where only a new one can have that, is told so', () => {
    const droplet = {
      project: 'solo',
      digitalocean: { region: 'fra1', size: 's-1vcpu-2gb' },
      network: { range: '172.16.0.0/20', subnet: '172.16.0.0/20' },
      firewalls: OPEN,
      servers: { app: { firewalls: ['web'] } },
    }
    expect(says(droplet, { type: 's-1vcpu-2gb', location: 'fra1' })).toBe(
      'done s-1vcpu-2gb in fra1, 203.0.113.1; config.json wants it in network solo: bun scripts/provision.ts rebuild',
    )
    const spread = config({ placement_groups: ['spread'] }, { placement_group: 'spread', ipv6: false })
    const group = { id: 'g1', name: 'spread', labels: ours, serverIds: [] }
    const anew = 'bun scripts/provision.ts rebuild'
    expect(says(spread, {}, { placementGroups: [group] })).toBe(
      `done cx23 in nbg1, 203.0.113.1; config.json wants it in placement group spread, without IPv6: ${anew}`,
    )
    expect(says(spread, { placementGroupId: 'g1' }, { placementGroups: [group] })).toBe(
      `done cx23 in nbg1, 203.0.113.1; config.json wants it without IPv6: ${anew}`,
    )
  })

  test('another location or system image is told so, since only a new one can have that', () => {
    const moved = (location: unknown, image = 'debian-12', more: Record<string, unknown> = {}) =>
      config({ hetzner: { location, image } }, more)
    const images = [
      { ...golden(), id: 'i1', kind: 'system', name: 'debian-12' } as const,
      { ...golden(), id: 'i2', kind: 'system', name: 'ubuntu-24.04' } as const,
    ]
    const stands = 'done cx23 in nbg1, 203.0.113.1'
    const sees = (given: unknown, imageId = 'i1') => says(given, { imageId }, { images })
    expect(sees(moved('nbg1'))).toBe(stands)
    expect(sees(moved(['fsn1', 'nbg1']))).toBe(stands)
    expect(sees(moved(['fsn1', 'hel1'], 'ubuntu-24.04'))).toBe(
      `${stands}; config.json wants it in fsn1 or hel1, made from ubuntu-24.04: bun scripts/provision.ts rebuild`,
    )
    expect(sees(moved('nbg1'), 'i2')).toBe(
      `${stands}; config.json wants it made from debian-12: bun scripts/provision.ts rebuild`,
    )
    expect(sees(moved('nbg1'), 'an image that the vendor lists no more')).toBe(stands)
    expect(sees(moved('nbg1', 'debian-12', { os: 'nixos' }), 'i2')).toBe(stands)
  })
})
