/** A move from an old host that serves, in a zone of five thousand records, through kills and strangers, there and back. In order. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { X509Certificate } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Hooks, Vendor } from '../../../lib/sandbox/kit.ts'
import { closePlaces, type Ended, filesBelow, mutationsIn, type Running } from '../scripts/run.ts'
import {
  APEX,
  API,
  CUTOVER,
  type MovingPlace,
  movedIn,
  NAMES,
  OLD,
  openMovingPlace,
  othersIn,
  recordsIn,
  serveNames,
  WWW,
} from './place.ts'

/** Kills the run that is under way once a request that `at` describes has had its effect, before its answer. */
const killer: { at?: (request: { vendor: Vendor; method: string; path: string }) => boolean; running?: Running } = {}
const hooks: Hooks = {
  afterEffect(request) {
    if (!killer.at?.(request)) return
    delete killer.at
    killer.running?.kill('SIGKILL')
  },
}

const ALL_TYPES = (i: number): Readonly<Record<string, unknown>> => {
  const name = `n${i}.example.com`
  const common = {
    name,
    ttl: i % 5 === 0 ? 1 : 300 + (i % 7) * 60,
    comment: i % 3 === 0 ? `kept ${i}` : undefined,
    tags: i % 11 === 0 ? ['team:a'] : [],
  }
  const kinds = [
    { type: 'A', content: `192.0.2.${i % 250}`, proxied: i % 2 === 0 },
    { type: 'AAAA', content: `2001:db8::${i}` },
    { type: 'CNAME', content: `target${i}.example.net` },
    { type: 'TXT', content: `"text ${i}"` },
    { type: 'MX', content: 'mail.example.net', priority: i % 50 },
    { type: 'CAA', data: { flags: 0, tag: 'issue', value: 'ca.example.net' } },
    {
      type: 'SRV',
      data: { service: '_sip', proto: '_tcp', name, priority: 1, weight: 1, port: 5060, target: 'sip.example.net' },
    },
  ]
  return { ...common, ...kinds[i % kinds.length] }
}

let place: MovingPlace
let before: string[]
let others: string

const directory = () => join(place.cwd, '.landfall', 'example')
const cloudflare = (run: Ended) => run.summary().requests.cloudflare ?? { reads: 0, writes: 0 }
const startOver = () => {
  for (const folder of ['moves', 'certificates', 'acme']) rmSync(join(directory(), folder), { recursive: true, force: true })
}

beforeAll(async () => {
  place = await openMovingPlace({ records: Array.from({ length: 5_000 }, (_, i) => ALL_TYPES(i)), hooks })
  before = movedIn(place.sandbox)
  others = othersIn(place.sandbox)
}, 60_000)

afterAll(async () => {
  place.old.close()
  await closePlaces()
})

describe('looking', () => {
  test('the plan names every stage and changes nothing, here or there', async () => {
    const files = filesBelow(directory())
    const plan = await place.run('dns cutover --plan')
    expect(plan.code).toBe(2)
    for (const words of ['keep the 4 records', 'order a certificate', 'lower the TTL', 'point example.com', 'raise the TTL'])
      expect(plan.stdout).toContain(words)
    expect(mutationsIn(plan.requests)).toEqual([])
    expect(filesBelow(directory())).toEqual(files)
  })

  const refusals: readonly [title: string, make: () => void, undo: () => void, says: string][] = [
    [
      'a new place that does not serve the name',
      () => serveNames(place.sandbox, 'backend-dokploy', []),
      () => serveNames(place.sandbox, 'backend-dokploy', [API]),
      'does not serve api.example.com',
    ],
    [
      'CAA records of the alias’s target that name another authority',
      () =>
        setOld([
          {
            type: 'CAA',
            name: OLD.alias,
            content: '0 issue "pki.goog"',
            data: { flags: 0, tag: 'issue', value: 'pki.goog' },
            ttl: 300,
            proxied: false,
          },
        ]),
      () => setOld([]),
      'pki.goog',
    ],
    [
      'a zone that the registrar does not point to',
      () => place.sandbox.controls.cloudflare.setZone(APEX, { status: 'pending', originalNameservers: ['ns.registrar.example'] }),
      () => place.sandbox.controls.cloudflare.setZone(APEX, { status: 'active' }),
      'registrar',
    ],
  ]
  for (const [title, make, undo, says] of refusals)
    test(`${title}: refused before the first write`, async () => {
      make()
      place.sandbox.controls.dns.flush()
      const run = await place.run(CUTOVER)
      undo()
      place.sandbox.controls.dns.flush()
      expect(run.code).toBe(3)
      expect(run.stdout).toContain(says)
      expect(mutationsIn(run.requests)).toEqual([])
      expect(movedIn(place.sandbox)).toEqual(before)
    })

  const setOld = (more: Parameters<MovingPlace['sandbox']['controls']['dns']['setOutside']>[0]) =>
    place.sandbox.controls.dns.setOutside([
      { type: 'A', name: OLD.alias, content: OLD.ipv4, ttl: 300, proxied: false },
      { type: 'AAAA', name: OLD.alias, content: OLD.ipv6, ttl: 300, proxied: false },
      ...more,
    ])

  test('without the zone’s name in --confirm, records that others made are not replaced', async () => {
    const run = await place.run('dns cutover --yes --json')
    expect(run.code).toBe(3)
    expect(run.stdout).toContain('--confirm example.com')
    expect(movedIn(place.sandbox)).toEqual(before)
  })
})

describe('killed', () => {
  beforeAll(() => {
    // Each point begins twice with nothing kept, which the authority's week would not let pass.
    place.sandbox.settings.rateLimits = false
  })
  const isBatch = ({ vendor, path }: { vendor: Vendor; path: string }) => vendor === 'cloudflare' && path.endsWith('/batch')
  const nth = (n: number, fits: (request: { vendor: Vendor; path: string }) => boolean) => () => {
    let seen = 0
    return (request: { vendor: Vendor; path: string }) => fits(request) && ++seen === n
  }
  const nthBatch = (n: number) => nth(n + 1, isBatch)
  // The first batch is the probe of the token's rights; then proofs in and out for each of two servers, low TTL, switch, high TTL.
  const points: readonly [title: string, at: () => NonNullable<typeof killer.at>][] = [
    ['after the first proof is in the zone', nthBatch(1)],
    ['after the authority was asked to issue', nth(1, ({ vendor, path }) => vendor === 'acme' && path.startsWith('/finalize'))],
    [
      'after the certificate was given to Traefik',
      nth(1, ({ vendor, path }) => vendor === 'dokploy' && path.endsWith('certificates.create')),
    ],
    ['after the TTL was lowered', nthBatch(5)],
    ['after the switch', nthBatch(6)],
    ['after the TTL was raised', nthBatch(7)],
  ]
  for (const [title, at] of points)
    test(`${title}: the same command ends the move, and from that very point rollback restores every byte`, async () => {
      const killed = async () => {
        killer.at = at()
        killer.running = place.start(CUTOVER)
        const ended = await killer.running.ended
        expect(`${ended.code} ${ended.code === null ? '' : ended.output}`).toBe('null ')
      }
      await killed()
      const back = await place.run('dns rollback --yes --json')
      expect(back.code).toBe(0)
      expect(movedIn(place.sandbox)).toEqual(before)
      expect(othersIn(place.sandbox)).toBe(others)

      startOver()
      await killed()
      const again = await place.run(CUTOVER)
      expect(`${again.code} ${again.code === 0 ? '' : again.output}`).toBe('0 ')
      expect(othersIn(place.sandbox)).toBe(others)
      expect(movedIn(place.sandbox)).toHaveLength(6)
      const second = await place.run(CUTOVER)
      expect([second.code, ...mutationsIn(second.requests)]).toEqual([0])
      expect((await place.run('dns rollback --yes --json')).code).toBe(0)
      expect(movedIn(place.sandbox)).toEqual(before)
      startOver()
    }, 60_000)

  test('no kill cost more than one certificate for each set of names and start', () => {
    const issued = place.sandbox.controls.acme.issued().filter(({ names }) => names.includes(APEX))
    // Each of six points was begun twice, with its directory removed in between.
    expect(issued.length).toBeLessThanOrEqual(2 * points.length)
  })
})

describe('the move', () => {
  let run: Ended
  beforeAll(async () => {
    run = await place.run(CUTOVER)
  }, 30_000)

  test('ends with every name at its server, in both families', () => {
    expect(`${run.code} ${run.code === 0 ? '' : run.output}`).toBe('0 ')
    const shown = movedIn(place.sandbox).map(text => JSON.parse(text))
    expect(shown.map(({ name, type, ttl }) => `${name} ${type} ${ttl}`)).toEqual(
      [API, APEX, WWW]
        .flatMap(name => [`${name} A 300`, `${name} AAAA 300`])
        .sort((a, b) => (a.includes(' A ') === b.includes(' A ') ? 0 : a.includes(' A ') ? -1 : 1)),
    )
  })

  test('leaves every other record of the zone byte for byte as it was', () => expect(othersIn(place.sandbox)).toBe(others))

  test('costs at most 120 requests to Cloudflare', () => {
    const { reads, writes } = cloudflare(run)
    expect(reads + writes).toBeLessThanOrEqual(120)
    process.stderr.write(
      `cutover: ${reads} reads and ${writes} writes at Cloudflare in a zone of ${place.sandbox.controls.cloudflare.records(APEX).length} records\n`,
    )
  })

  test('shows a visitor a certificate from the authority, made before the switch', async () => {
    const batches = run.requests.filter(({ vendor, path }) => vendor === 'cloudflare' && path.endsWith('/batch'))
    const switched = batches.find(({ body }) => body.includes('"content":"203.0.113.') || body.includes('"content": "203.0.113.'))
    const finalized = run.requests.findLast(({ vendor, path }) => vendor === 'acme' && path.startsWith('/finalize'))
    const given = run.requests.findLast(({ vendor, path }) => vendor === 'dokploy' && path.endsWith('certificates.create'))
    const [ordered, installed, pointed] = [finalized?.n ?? 0, given?.n ?? 0, switched?.n ?? 0]
    expect(ordered).toBeGreaterThan(0)
    expect(installed).toBeGreaterThan(ordered)
    expect(pointed).toBeGreaterThan(installed)
    const pem = place.sandbox.controls.machines.dokploy('frontend-dokploy').givenCertificate(WWW)
    expect(new X509Certificate(pem?.cert ?? '').checkHost(APEX)).toBe(APEX)
  })

  test('says until when old answers may have lived', () =>
    expect(JSON.stringify(run.summary().notes)).toContain('old answers for example.com ended at'))

  test('keeps keys and snapshots for their owner alone', () => {
    const files = Object.entries(filesBelow(directory())).filter(([name]) => /^(moves|certificates|acme)/.test(name))
    expect(files.length).toBeGreaterThan(6)
    for (const [name, shape] of files) expect(`${name} ${shape.split(' ')[0]}`).toMatch(/ (600|700)$/)
    expect(run.output).not.toContain('PRIVATE KEY')
  })

  test('a second time there is nothing to do', async () => {
    const second = await place.run(CUTOVER)
    expect([second.code, second.summary().changes, ...mutationsIn(second.requests)]).toEqual([0, 0])
  })

  test('watch and decommission agree; with an hour without a sign of the old host it is proved', async () => {
    expect((await place.run('dns watch')).code).toBe(0)
    const left = await place.run('dns decommission')
    expect(`${left.code} ${left.code === 0 ? '' : left.output}`).toBe('0 ')
    expect(left.stdout).toContain('proved')
    expect(left.stdout).toContain('What can go now')
  }, 60_000)

  test('while the page still fetches from the old host, decommission says so', async () => {
    place.sandbox.controls.cloudflare.addRecord(APEX, { type: 'A', name: WWW, content: OLD.ipv4, ttl: 60 })
    place.sandbox.controls.dns.flush()
    const left = await place.run('dns decommission --plan')
    expect(left.code).toBe(1)
    expect(left.stdout).toContain(`leads www.example.com to ${OLD.ipv4}`)
  })

  test('what somebody else has put at a name ends a rollback, unless it is named', async () => {
    const run = await place.run('dns rollback --yes --json')
    expect(run.code).toBe(3)
    expect(mutationsIn(run.requests)).toEqual([])
    expect(run.stdout).toContain('--take-over www.example.com')
  })

  test('rollback with Hetzner and Dokploy down: every byte as before, everything else untouched', async () => {
    const servers = place.sandbox.controls.hetzner.dump().servers.map(server => server.name)
    const before0 = place.sandbox.requests().length
    const back = await place.run('dns rollback --yes --json --take-over www.example.com', {
      env: { HCLOUD_ENDPOINT: 'http://127.0.0.1:9/v1', LANDFALL_SSH_KEY: undefined },
    })
    expect(`${back.code} ${back.code === 0 ? '' : back.output}`).toBe('0 ')
    expect(servers.length).toBe(2)
    expect(movedIn(place.sandbox)).toEqual(before)
    expect(othersIn(place.sandbox)).toBe(others)
    const vendors = new Set(
      place.sandbox
        .requests()
        .slice(before0)
        .map(({ vendor }) => vendor),
    )
    expect([...vendors]).toEqual(['cloudflare'])
    const { reads, writes } = cloudflare(back)
    expect(reads + writes).toBeLessThanOrEqual(120)
    process.stderr.write(
      `rollback: ${reads} reads and ${writes} writes at Cloudflare, ${Math.round(back.elapsedMs)} ms with Hetzner down\n`,
    )
  }, 40_000)

  test('a second rollback has nothing to do', async () => {
    const back = await place.run('dns rollback --yes --json')
    expect([back.code, ...mutationsIn(back.requests)]).toEqual([0])
  })

  test('a record that a stranger edits while the old TTL is waited out ends the move with nothing switched', async () => {
    killer.at = ({ vendor, path }) => {
      if (vendor !== 'cloudflare' || !path.endsWith('/batch')) return false
      // Right after the lowering, before the wait is over.
      const lowered = place.sandbox.controls.cloudflare.records(APEX).find(({ name, type }) => name === APEX && type === 'A')
      if (lowered?.ttl !== 60) return false
      place.sandbox.controls.cloudflare.addRecord(APEX, { type: 'A', name: API, content: '192.0.2.200', ttl: 60 })
      delete killer.at
      return false
    }
    const run = await place.run(CUTOVER)
    expect(run.code).not.toBe(0)
    expect(run.stdout).toContain('192.0.2.200')
    expect(recordsIn(place.sandbox, name => NAMES.some(each => each === name)).join()).not.toContain('203.0.113.')
  }, 30_000)
})
