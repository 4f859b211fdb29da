/** Each step's look as a table: nothing there, as wanted, changed by hand, somebody else's, not to be judged yet, not to be touched. */

import { describe, expect, test } from 'bun:test'
import { encodeHostKey, LABEL_KEYS } from '../../../lib/estate/labels.ts'
import { renderRecordMark } from '../../../lib/estate/naming.ts'
import type { Deps, EstateStep } from '../../../lib/steps/deps.ts'
import { destroySteps } from '../../../lib/steps/destroy.ts'
import { ALL_STAGES, estateSteps } from '../../../lib/steps/estate.ts'
import { desiredAdminRules } from '../../../lib/steps/firewall.ts'
import { networkStep, placementGroupStep } from '../../../lib/steps/network.ts'
import { dokployStep, hasDokploy } from '../../../lib/steps/panel.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { fleet, KEY, load, OTHER_KEY, twoServers } from '../estate/configs.ts'
import {
  deps,
  estate,
  facts,
  firewall,
  golden,
  lookAt,
  ours,
  panel,
  ready,
  record,
  say,
  seen,
  server,
  serverType,
  store,
  theirs,
  zone,
} from './worlds.ts'

const ADMIN = { who: 'alice@laptop', addresses: ['198.51.100.7'] }

const stepOf = (id: string, change: Partial<Deps> = {}): EstateStep => {
  const all = estateSteps({ ...deps, ...change }, ALL_STAGES)
  const step = all.find(each => each.id === id)
  if (!step) throw new Error(`there is no step "${id}", only ${all.map(each => each.id).join(', ')}`)
  return step
}

const destroyOf = (id: string): EstateStep => {
  const step = destroySteps({ ...deps, store }).find(each => each.id === id)
  if (!step) throw new Error(`there is no step "${id}"`)
  return step
}

type Row = readonly [what: string, world: Partial<EstateWorld>, says: string | RegExp]

const table = (step: () => EstateStep, rows: readonly Row[]): void => {
  test.each(rows.map(row => [...row]))('%s', (_, world, says) => {
    const said = say(lookAt(step(), world))
    if (typeof says === 'string') expect(said).toBe(says)
    else expect(said).toMatch(says)
  })
}

const base = estate.firewalls.find(each => each.attach === 'at_create')
const admin = estate.firewalls.find(each => each.attach === 'when_owned')
const baseRules = (base?.rules ?? []).map(rule => ({ ...rule, from: rule.from }))
const walls = [firewall('nextnode-dokploy', 'f1', baseRules), firewall('nextnode-admin', 'f2', [])]
const prod = server('prod-dokploy')
const dev = server('dev-dokploy')
const both = { servers: [dev, prod], firewalls: walls }
const keyName = estate.keys[0]?.name ?? ''

test('the estate’s steps need only steps that exist', () => {
  const steps = estateSteps(deps, ALL_STAGES)
  const ids = steps.map(step => step.id)
  expect(new Set(ids).size).toBe(ids.length)
  for (const step of steps) expect([step.id, step.needs.filter(need => !ids.includes(need))]).toEqual([step.id, []])
})

describe('image', () => {
  table(
    () => stepOf('image'),
    [
      ['none, and a server needs it', { images: [] }, /^refused There is no golden image in this project/],
      ['none, but no new server needs it', { images: [], servers: [dev, prod] }, 'done no new server needs it'],
      ['ready', {}, 'done built (2026-01-01)'],
      [
        'the newest of several',
        { images: [golden(), golden({ id: '10', description: 'newer', createdAt: '2026-02-01T00:00:00Z' })] },
        'done newer (2026-02-01)',
      ],
      [
        'under construction',
        { images: [golden({ status: 'creating' })] },
        'todo wait wait until the snapshot "built" is finished',
      ],
      ['only for another architecture', { images: [golden({ architecture: 'arm' })] }, /^refused There is no golden image/],
      ['a namesake without the label', { images: [golden({ labels: {} })] }, /^refused There is no golden image/],
      ['a system image that carries the label', { images: [golden({ kind: 'system' })] }, /^refused There is no golden image/],
    ],
  )
})

describe('SSH key', () => {
  const key = { id: '5', name: keyName, publicKey: KEY, labels: ours }
  table(
    () => stepOf(`key ${keyName}`),
    [
      ['not registered', {}, `todo create register SSH key ${keyName}`],
      ['registered by us', { keys: [key] }, `done ${keyName}`],
      ['registered with another comment', { keys: [{ ...key, publicKey: `${KEY} alice@home` }] }, `done ${keyName}`],
      [
        'registered by somebody else under another name',
        { keys: [{ ...key, name: 'laptop', labels: {} }] },
        'done registered as laptop',
      ],
      [
        'another key with our name',
        { keys: [{ ...key, publicKey: OTHER_KEY }] },
        `refused Another SSH key is called ${keyName} in this project.`,
      ],
    ],
  )
})

describe('firewall', () => {
  const opened = [...baseRules, { protocol: 'tcp', port: '5432', from: ['0.0.0.0/0'], why: 'by hand' } as const]
  table(
    () => stepOf('firewall nextnode-dokploy'),
    [
      ['not there', {}, 'todo create create firewall nextnode-dokploy'],
      ['as wanted', { firewalls: walls }, /^done 22\/tcp/],
      [
        'as wanted, in another order',
        { firewalls: [firewall('nextnode-dokploy', 'f1', baseRules.toReversed())] },
        /^done 22\/tcp/,
      ],
      [
        'opened by hand',
        { firewalls: [firewall('nextnode-dokploy', 'f1', opened)] },
        'todo change change the rules of firewall nextnode-dokploy',
      ],
      [
        'closed by hand',
        { firewalls: [firewall('nextnode-dokploy', 'f1', [])] },
        'todo change change the rules of firewall nextnode-dokploy',
      ],
      [
        'somebody else’s',
        { firewalls: [firewall('nextnode-dokploy', 'f1', baseRules, theirs)] },
        /^refused A firewall called nextnode-dokploy exists .* does not belong to this estate/,
      ],
    ],
  )

  describe('for administrators', () => {
    const mine = desiredAdminRules(admin ?? { name: '', attach: 'when_owned', rules: [] }, [], ADMIN)
    table(
      () => stepOf('firewall nextnode-admin', { admin: ADMIN }),
      [
        ['not there', {}, 'todo create create firewall nextnode-admin'],
        ['mine', { firewalls: [firewall('nextnode-admin', 'f2', mine)] }, 'done 3000/tcp from 198.51.100.7/32'],
        [
          'of my last address',
          {
            firewalls: [
              firewall(
                'nextnode-admin',
                'f2',
                mine.map(rule => ({ ...rule, from: ['192.0.2.9/32'] })),
              ),
            ],
          },
          'todo change change the rules of firewall nextnode-admin',
        ],
      ],
    )
    test('is not needed without anybody to let in', () => {
      expect(say(lookAt(stepOf('firewall nextnode-admin')))).toBe(
        'done no admin address is set: the panel is reached by its name',
      )
    })
    test('letting me in leaves a colleague’s rule, and replaces mine', () => {
      const spec = admin ?? { name: '', attach: 'when_owned', rules: [] }
      const bob = desiredAdminRules(spec, mine, { who: 'bob@home', addresses: ['2001:db8::b'] })
      expect(bob.map(rule => [rule.why, rule.from])).toEqual([
        ['allow-me alice@laptop', ['198.51.100.7/32']],
        ['allow-me bob@home', ['2001:db8::b/128']],
      ])
      const moved = desiredAdminRules(spec, bob, { ...ADMIN, addresses: ['192.0.2.1'] })
      expect(moved.map(rule => rule.from)).toEqual([['2001:db8::b/128'], ['192.0.2.1/32']])
      expect(desiredAdminRules(spec, bob)).toEqual(expect.arrayContaining([...bob]))
      const widened = bob.map(rule => ({ ...rule, others: ['tag staff'] }))
      expect(desiredAdminRules(spec, widened)).toEqual(desiredAdminRules(spec, bob))
    })
  })

  describe('for administrators, on a server', () => {
    const wall = firewall(
      'nextnode-admin',
      'f2',
      desiredAdminRules(admin ?? { name: '', attach: 'when_owned', rules: [] }, [], ADMIN),
    )
    const bare = { firewalls: [wall], servers: [{ ...prod, firewallIds: ['f1'] }] }
    table(
      () => stepOf('admin access prod-dokploy', { admin: ADMIN }),
      [
        ['no server yet', {}, 'blocked prod-dokploy and its first admin | change attach firewall nextnode-admin to prod-dokploy'],
        [
          'no Dokploy yet',
          bare,
          'blocked the first admin of Dokploy on prod-dokploy | change attach firewall nextnode-admin to prod-dokploy',
        ],
        [
          'Dokploy without an owner',
          { ...bare, panels: { 'prod-dokploy': { state: 'up', admin: 'none' } } },
          /^blocked the first admin/,
        ],
        [
          'Dokploy that is a stranger’s',
          { ...bare, panels: { 'prod-dokploy': { state: 'up', admin: 'foreign' } } },
          /^blocked the first admin/,
        ],
        ['owned', { ...bare, panels: { 'prod-dokploy': panel } }, 'todo change attach firewall nextnode-admin to prod-dokploy'],
        ['attached', { ...bare, servers: [prod] }, 'done 3000/tcp from 198.51.100.7/32'],
      ],
    )
  })
})

describe('server', () => {
  const soldOut = {
    ...serverType('cx33'),
    offers: serverType('cx33').offers.map(each => ({ ...each, stock: 'sold_out' as const })),
  }
  const { ipv6: _, ...unnumbered } = prod
  table(
    () => stepOf('server prod-dokploy'),
    [
      ['not there', {}, 'todo create create server prod-dokploy (cx33, nbg1)'],
      ['as wanted', both, 'done cx33 in nbg1, 203.0.113.2'],
      [
        'of another type',
        { ...both, servers: [{ ...prod, type: 'cx43' }] },
        'done cx43 in nbg1, 203.0.113.2; config.json wants cx33: bun scripts/provision.ts scale',
      ],
      [
        'without the IPv6 address that the file wants',
        { ...both, servers: [unnumbered] },
        'done cx33 in nbg1, 203.0.113.2; config.json wants it with IPv6: bun scripts/provision.ts rebuild',
      ],
      [
        'somebody else’s',
        { servers: [{ ...prod, labels: {} }] },
        /^refused A server called prod-dokploy exists .* does not belong to this estate/,
      ],
      ['another estate’s', { servers: [{ ...prod, labels: theirs }] }, /^refused A server called prod-dokploy exists/],
      ['a look-alike of another name', { servers: [server('prod-dokploy-2')] }, /^todo create create server prod-dokploy /],
      ['sold out', { serverTypes: [serverType('cx23'), soldOut] }, /^refused cx33 is sold out in nbg1 now\.$/],
      [
        'an image that does not fit the disk',
        { images: [golden({ diskGb: 80 })] },
        /^refused The image "built" needs a disk of 80 GB; cx33 has 40 GB/,
      ],
      [
        'an image under construction',
        { images: [golden({ status: 'creating' })] },
        /^blocked the golden image \| create create server prod-dokploy/,
      ],
      ['no image', { images: [] }, /^refused There is no golden image/],
    ],
  )

  test('names what can be had instead, with prices', () => {
    const finding = lookAt(stepOf('server prod-dokploy'), { serverTypes: [soldOut, serverType('cx43')] })
    expect(finding).toMatchObject({
      hint: 'Can be had now (monthly, net): cx43 in nbg1 at 6.49. Add one to the list in config.json.',
    })
  })

  test('says what it will cost, the address included', () => {
    const finding = lookAt(stepOf('server prod-dokploy'))
    if (finding.state !== 'todo') throw new Error(say(finding))
    expect(finding.changes[0]?.monthlyNet).toBeCloseTo(6.99)
  })

  describe('running', () => {
    table(
      () => stepOf('server prod-dokploy running'),
      [
        ['no server yet', {}, 'blocked server prod-dokploy | wait wait until prod-dokploy runs'],
        ['running', { servers: [prod] }, 'done 203.0.113.2'],
        ['starting', { servers: [{ ...prod, status: 'starting' }] }, 'todo wait wait until prod-dokploy runs'],
        ['switched off by hand', { servers: [{ ...prod, status: 'off' }] }, 'todo change power on prod-dokploy'],
        ['being deleted', { servers: [{ ...prod, status: 'deleting' }] }, 'refused Server prod-dokploy is being deleted.'],
        ['a stranger’s', { servers: [{ ...prod, labels: {} }] }, /^blocked server prod-dokploy/],
      ],
    )
  })
})

describe('network and placement group', () => {
  const withNetwork = load(fleet, [], [{ name: 'alice', publicKey: KEY }])
  const spec = withNetwork.network ?? { name: '', range: '', subnet: '' }
  const network = {
    id: 'n',
    name: 'fleet',
    range: '10.0.0.0/16',
    subnets: [{ range: '10.0.1.0/24', zone: 'eu-central' }],
    labels: { [LABEL_KEYS.estate]: 'fleet' },
  }
  table(
    () => networkStep({ ...deps, estate: withNetwork }, spec),
    [
      ['not there', {}, 'todo create create network fleet (10.0.0.0/16, subnet 10.0.1.0/24 in eu-central)'],
      ['as wanted', { networks: [network] }, 'done 10.0.0.0/16'],
      ['of another range', { networks: [{ ...network, range: '10.1.0.0/16' }] }, /^refused Network fleet is 10\.1\.0\.0\/16/],
      [
        'without its subnet',
        { networks: [{ ...network, subnets: [] }] },
        /^refused Network fleet is 10\.0\.0\.0\/16 with no subnet/,
      ],
      ['somebody else’s', { networks: [{ ...network, labels: {} }] }, /^refused A network called fleet exists/],
      ['in a location that does not exist', { locations: [] }, 'refused The vendor has no location "nbg1".'],
    ],
  )
  describe('group', () => {
    const group = { id: 'g', name: 'spread', labels: ours, serverIds: ['1', '2'] }
    table(
      () => placementGroupStep(deps, { name: 'spread' }),
      [
        ['not there', {}, 'todo create create placement group spread'],
        ['as wanted', { placementGroups: [group] }, 'done 2 servers'],
        [
          'somebody else’s',
          { placementGroups: [{ ...group, labels: theirs }] },
          /^refused A placement group called spread exists/,
        ],
      ],
    )
  })
})

describe('machine', () => {
  const on = (machine: EstateWorld['machines'][string]) => ({ servers: [prod], machines: { 'prod-dokploy': machine } })
  const trust = 'change replace the bootstrap SSH host key of prod-dokploy and pin the new one'
  const silent = { state: 'unreachable', why: 'no answer' } as const
  const { [LABEL_KEYS.trust]: _, ...untrusted } = prod.labels
  const labelled = (nextKey: string | undefined) => ({
    ...prod,
    labels: nextKey === undefined ? untrusted : { ...prod.labels, [LABEL_KEYS.nextHostKey]: nextKey },
  })
  table(
    () => stepOf('machine prod-dokploy'),
    [
      ['no server yet', {}, `blocked server prod-dokploy | ${trust}`],
      ['a server that is off', { servers: [{ ...prod, status: 'off' }] }, `blocked server prod-dokploy | ${trust}`],
      ['not answering yet', { ...on(silent), servers: [labelled(undefined)] }, `todo ${trust}`],
      ['not answering, long pinned', on(silent), 'todo wait reach prod-dokploy over SSH'],
      [
        'not answering, its key about to be replaced',
        { ...on(silent), servers: [labelled(encodeHostKey(OTHER_KEY))] },
        `todo ${trust}`,
      ],
      ['with the key that travelled in cloud-init', on({ state: 'ready', trust: 'bootstrap', facts }), `todo ${trust}`],
      ['pinned', on(ready), 'done nixos-26.05'],
      [
        'pinned, still in its first boot',
        on({ ...ready, facts: { ...facts, cloudInit: 'running' } }),
        'todo wait reach prod-dokploy over SSH',
      ],
      [
        'pinned, its first boot not clean',
        on({ ...ready, facts: { ...facts, cloudInit: 'error' } }),
        'done nixos-26.05; its cloud-init failed: it does not say why',
      ],
      [
        'an impostor',
        on({ state: 'impostor', why: 'other key' }),
        /^refused prod-dokploy answers with an SSH host key that is not the pinned one \(other key\)\.$/,
      ],
      ['without a recorded key', on({ state: 'unpinned' }), /^refused prod-dokploy carries no recorded SSH host key/],
      ['refusing our key', on({ state: 'key_refused', why: 'publickey' }), /^refused prod-dokploy does not accept this SSH key/],
    ],
  )
})

test('what is announced for a server that does not answer is, word for word, what is done to it when it does', () => {
  const stock = load(
    { ...twoServers, hetzner: { ...twoServers.hetzner, image: 'debian-12' } },
    [],
    [{ name: 'alice', publicKey: KEY }],
  )
  const spec = stock.servers.find(each => each.name === 'prod-dokploy')
  if (!spec || !hasDokploy(spec)) throw new Error('the estate has no such server')
  const step = dokployStep({ ...deps, estate: stock }, spec)
  const look = (machine: EstateWorld['machines'][string]) =>
    say(lookAt(step, { servers: [prod], machines: { 'prod-dokploy': machine }, panels: {} }))
  const install = 'create install Dokploy 0.30.2 on prod-dokploy over SSH (usually 3 to 6 minutes)'
  expect(look({ state: 'unreachable', why: 'no answer' })).toBe(`blocked machine prod-dokploy | ${install}`)
  expect(look({ ...ready, facts: { ...facts, dokploy: 'absent' } })).toBe(`todo ${install}`)
})

describe('dokploy', () => {
  const with_ = (
    state?: EstateWorld['panels'][string],
    machine: EstateWorld['machines'][string] = ready,
  ): Partial<EstateWorld> => ({
    servers: [prod],
    machines: { 'prod-dokploy': machine },
    panels: state ? { 'prod-dokploy': state } : {},
  })
  const absent = { ...ready, facts: { ...facts, dokploy: 'absent' as const } }
  const bootstrap = { state: 'ready', trust: 'bootstrap', facts } as const
  table(
    () => stepOf('dokploy prod-dokploy'),
    [
      ['no machine yet', {}, 'blocked machine prod-dokploy | wait wait until Dokploy on prod-dokploy is healthy'],
      ['a machine that is not trusted', with_(undefined, bootstrap), /^blocked machine prod-dokploy/],
      [
        'not installed',
        with_(undefined, absent),
        'todo create install Dokploy 0.30.2 on prod-dokploy over SSH (usually 3 to 6 minutes)',
      ],
      ['starting', with_({ state: 'down', why: 'starting' }), 'todo wait wait until Dokploy on prod-dokploy is healthy'],
      ['healthy', with_(panel), 'done version v0.30.2'],
    ],
  )

  describe('owner', () => {
    const claim = 'create make admin@nextnode.fr the first admin of Dokploy on prod-dokploy, with an API key'
    table(
      () => stepOf('dokploy prod-dokploy owner'),
      [
        ['not up', with_({ state: 'down', why: 'x' }), `blocked Dokploy on prod-dokploy | ${claim}`],
        ['nobody’s', with_({ state: 'up', admin: 'none' }), `todo ${claim}`],
        ['ours', with_(panel), 'done admin@nextnode.fr'],
        ['a stranger’s', with_({ state: 'up', admin: 'foreign' }), /^refused Dokploy on prod-dokploy already has an admin/],
      ],
    )
  })

  describe('name', () => {
    const serve = 'change serve the panel of prod-dokploy at https://admin.nextnode.fr'
    table(
      () => stepOf('panel admin.nextnode.fr'),
      [
        ['without an owner', with_({ state: 'up', admin: 'none' }), `blocked the first admin of prod-dokploy | ${serve}`],
        ['none yet', with_({ state: 'up', admin: 'ours', settings: { https: false } }), `todo ${serve}`],
        [
          'another one, by hand',
          with_({ state: 'up', admin: 'ours', settings: { host: 'old.nextnode.fr', https: true } }),
          `todo ${serve}`,
        ],
        [
          'without HTTPS',
          with_({ state: 'up', admin: 'ours', settings: { host: 'admin.nextnode.fr', https: false } }),
          `todo ${serve}`,
        ],
        ['served', with_(panel), 'done https://admin.nextnode.fr'],
      ],
    )
  })

  describe('from outside', () => {
    const world = (outside?: EstateWorld['outside'][string]) => ({
      ...with_(panel),
      outside: outside ? { 'prod-dokploy': outside } : {},
    })
    const look = 'wait look at https://admin.nextnode.fr from outside'
    table(
      () => stepOf('outside prod-dokploy'),
      [
        ['no server yet', {}, `blocked server prod-dokploy | ${look}`],
        ['no panel yet', with_(), `blocked panel admin.nextnode.fr | ${look}`],
        ['never seen', world(), `todo ${look}`],
        ['as wanted', world(seen), 'done certificate by Test CA'],
        ['a database that the internet reaches', world({ ...seen, ports: { ...seen.ports, 5432: 'open' } }), `todo ${look}`],
        ['SSH that does not answer', world({ ...seen, ports: { ...seen.ports, 22: 'filtered' } }), `todo ${look}`],
        [
          'a certificate that nobody trusts',
          world({ ...seen, name: { ...seen.name, tls: { state: 'untrusted', names: [] } } }),
          `todo ${look}`,
        ],
        ['a name that nobody knows', world({ ...seen, name: { ...seen.name, answers: [] } }), `todo ${look}`],
      ],
    )
  })
})

describe('dns', () => {
  table(
    () => stepOf('zone'),
    [
      ['none', { zone: undefined }, 'refused The Cloudflare token sees no zone for nextnode.fr.'],
      ['active', {}, 'done ns1.example.net, ns2.example.net'],
      [
        'pending',
        { zone: { ...zone, status: 'pending' } },
        /^refused Zone nextnode\.fr is not authoritative: the registrar does not point to Cloudflare yet\.$/,
      ],
      [
        'moved away',
        { zone: { ...zone, status: 'moved' } },
        /^refused Zone nextnode\.fr is not authoritative: Cloudflare reports it as moved\.$/,
      ],
    ],
  )

  const name = 'admin.nextnode.fr'
  const right = [record(name, '203.0.113.2'), record(name, '2001:db8:2::1')]
  const foreign = record(name, '192.0.2.1', { comment: '' })
  const rows: readonly Row[] = [
    ['no zone', { zone: undefined }, `blocked the zone | create create records for ${name}`],
    ['no server yet', {}, `blocked server prod-dokploy | create point ${name} at prod-dokploy`],
    [
      'no server yet, but our old record',
      { records: right },
      `blocked server prod-dokploy | change point ${name} at prod-dokploy`,
    ],
    ['none', { servers: [prod] }, `todo create point ${name} at prod-dokploy`],
    ['as wanted', { servers: [prod], records: right }, 'done 203.0.113.2, 2001:db8:2::1'],
    [
      'ours, of a server that is gone',
      { servers: [prod], records: [record(name, '203.0.113.99')] },
      `todo change point ${name} at prod-dokploy instead of 203.0.113.99`,
    ],
    ['another TTL by hand', { servers: [prod], records: right.map(each => ({ ...each, ttl: 60 })) }, /^todo change/],
    ['proxied by hand', { servers: [prod], records: right.map(each => ({ ...each, proxied: true, ttl: 1 })) }, /^todo change/],
    ['half of it', { servers: [prod], records: right.slice(0, 1) }, /^todo change/],
    [
      'with a TXT record of somebody else',
      { servers: [prod], records: [...right, record(name, 'text', { type: 'TXT', comment: '' })] },
      /^done/,
    ],
    [
      'somebody else’s',
      { servers: [prod], records: [foreign] },
      /^refused admin\.nextnode\.fr already has A 192\.0\.2\.1, TTL 300 s, which Landfall did not make\.$/,
    ],
    ['somebody else’s, before there is a server', { records: [foreign] }, /^refused admin\.nextnode\.fr already has/],
    [
      'another estate’s',
      {
        servers: [prod],
        records: [record(name, '192.0.2.1', { comment: renderRecordMark({ estate: 'other', server: 'x', serverId: '1' }) })],
      },
      /^refused admin\.nextnode\.fr already has/,
    ],
  ]
  describe('name', () => table(() => stepOf(`dns ${name}`), rows))

  describe('name that may be taken over', () => {
    table(
      () => stepOf(`dns ${name}`, { takeOver: [name] }),
      [
        [
          'is a destruction',
          { servers: [prod], records: [foreign] },
          `todo destroy point ${name} at prod-dokploy instead of 192.0.2.1`,
        ],
        ['is announced as one', { records: [foreign] }, `blocked server prod-dokploy | destroy point ${name} at prod-dokploy`],
        ['is none when nobody else is there', { servers: [prod] }, `todo create point ${name} at prod-dokploy`],
      ],
    )
  })
})

describe('destroy', () => {
  const gone = (id: string) => () => destroyOf(id)
  describe('servers', () =>
    table(gone('servers gone'), [
      ['nothing there', {}, 'done none'],
      [
        'ours, in config.json or not',
        { servers: [dev, prod, server('forgotten')] },
        'todo destroy delete server dev-dokploy; destroy delete server prod-dokploy; destroy delete server forgotten',
      ],
      [
        'strangers, with our prefix or another estate’s label',
        {
          servers: [
            { ...prod, labels: {} },
            { ...dev, labels: theirs },
          ],
        },
        'done none',
      ],
      [
        'protected at the vendor',
        { servers: [dev, { ...prod, deleteProtected: true }] },
        'refused prod-dokploy is protected against deletion at the vendor.',
      ],
      ['a stranger’s that is protected', { servers: [{ ...prod, labels: {}, deleteProtected: true }] }, 'done none'],
    ]))
  describe('firewalls', () =>
    table(gone('firewalls gone'), [
      ['nothing there', {}, 'done none'],
      [
        'ours and theirs',
        { firewalls: [...walls, firewall('nextnode-dokploy-2', 'f3', [], theirs)] },
        'todo destroy delete firewall nextnode-dokploy; destroy delete firewall nextnode-admin',
      ],
    ]))
  describe('keys', () =>
    table(gone('keys gone'), [
      ['a key that somebody else registered', { keys: [{ id: '5', name: 'laptop', publicKey: KEY, labels: {} }] }, 'done none'],
      ['ours', { keys: [{ id: '5', name: keyName, publicKey: KEY, labels: ours }] }, `todo destroy delete SSH key ${keyName}`],
    ]))
  describe('primary IPs', () =>
    table(gone('primaryIps gone'), [
      [
        'theirs',
        {
          primaryIps: [
            { id: '1', name: 'ip', type: 'ipv4', ip: '192.0.2.1', location: 'nbg1', deletedWithServer: false, labels: theirs },
          ],
        },
        'done none',
      ],
      [
        'ours',
        {
          primaryIps: [
            { id: '1', name: 'ip', type: 'ipv4', ip: '192.0.2.1', location: 'nbg1', deletedWithServer: false, labels: ours },
          ],
        },
        'todo destroy delete primary IP ip',
      ],
    ]))
  describe('records', () =>
    table(gone('records gone'), [
      ['no zone', { zone: undefined }, 'done no zone'],
      ['none', {}, 'done none'],
      [
        'ours',
        { servers: [prod], records: [record('admin.nextnode.fr', '203.0.113.2')] },
        'todo destroy delete 1 DNS record of nextnode.fr',
      ],
      [
        'theirs, pointing elsewhere',
        { servers: [prod], records: [record('www.nextnode.fr', '192.0.2.1', { comment: '' })] },
        'done none',
      ],
      [
        'theirs, pointing at us',
        { servers: [prod], records: [record('www.nextnode.fr', '203.0.113.2', { comment: '' })] },
        /^refused www\.nextnode\.fr \(A 203\.0\.113\.2\) would be left pointing at an address/,
      ],
      [
        'theirs, pointing at our load balancer',
        {
          loadBalancers: [
            {
              id: '1',
              name: 'lb',
              type: 'lb11',
              location: 'nbg1',
              ipv4: '203.0.113.9',
              selectors: [],
              services: [],
              targets: [],
              networkIds: [],
              createdAt: '2026-01-01T00:00:00Z',
              labels: ours,
            },
          ],
          records: [record('shop.nextnode.fr', '203.0.113.9', { comment: '' })],
        },
        /^refused shop\.nextnode\.fr \(A 203\.0\.113\.9\) would be left pointing at an address/,
      ],
      [
        'theirs, pointing at an address that is kept without a server',
        {
          primaryIps: [
            { id: '1', name: 'ip', type: 'ipv4', ip: '203.0.113.8', location: 'nbg1', deletedWithServer: false, labels: ours },
          ],
          records: [record('shop.nextnode.fr', '203.0.113.8', { comment: '' })],
        },
        /^refused shop\.nextnode\.fr \(A 203\.0\.113\.8\)/,
      ],
      [
        'theirs, pointing at a stranger’s server',
        { servers: [{ ...prod, labels: {} }], records: [record('www.nextnode.fr', '203.0.113.2', { comment: '' })] },
        'done none',
      ],
    ]))
})
