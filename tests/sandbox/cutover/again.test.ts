/** Names that have moved and move again: to a server that was made anew, to another one, after a second look at the TTL, beside others. */

import { afterAll, beforeEach, describe, expect, test } from 'bun:test'
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openMoveStore, readMoves } from '../../../lib/cutover/store.ts'
import { callAs, closePlaces, mutationsIn, type Place } from '../scripts/run.ts'
import { APEX, API, CUTOVER, type MovingPlace, movedIn, NAMES, OLD, openMovingPlace, serveNames, WWW } from './place.ts'

type Asked = { readonly vendor: string; readonly method: string; readonly path: string }

/** What happens in the world right before or after a request's effect. */
const tell: { before?: (request: Asked) => Promise<void>; after?: (request: Asked) => void } = {}

const open: MovingPlace[] = []
const openHere = async (): Promise<MovingPlace> => {
  const place = await openMovingPlace({
    hooks: {
      beforeEffect: request => tell.before?.(request),
      afterEffect: request => tell.after?.(request),
    },
  })
  open.push(place)
  return place
}

beforeEach(() => {
  delete tell.before
  delete tell.after
})

afterAll(async () => {
  for (const place of open) place.old.close()
  await closePlaces()
})

const done = async (place: Place, command: string) => {
  const run = await place.run(command, { timeoutMs: 60_000 })
  expect(`${command}: ${run.code} ${run.code === 0 ? '' : run.output}`).toBe(`${command}: 0 `)
  return run
}

const serversOf = ({ sandbox }: Place) => sandbox.controls.hetzner.dump().servers
const addressOf = ({ sandbox }: Place, server: string) =>
  sandbox.controls.hetzner.serversForMachines().find(({ name }) => name === server)?.ipv4 ?? ''
const directoryOf = ({ cwd }: Place) => join(cwd, '.landfall', 'example')
const kept = async (place: Place) => Object.values(await readMoves(openMoveStore(directoryOf(place))))

/** "A 203.0.113.1" of the names, each once. */
const leading = ({ sandbox }: Place, names: readonly string[] = NAMES) =>
  names.map(name => {
    const records = sandbox.controls.cloudflare.records(APEX).filter(each => each.name === name && each.type === 'A')
    return `${name} ${records.map(({ content }) => content).join()}`
  })

const wanted = (place: Place) => [
  `${APEX} ${addressOf(place, 'frontend-dokploy')}`,
  `${WWW} ${addressOf(place, 'frontend-dokploy')}`,
  `${API} ${addressOf(place, 'backend-dokploy')}`,
]

const serveAll = ({ sandbox }: Place) => {
  serveNames(sandbox, 'frontend-dokploy', [APEX, WWW])
  serveNames(sandbox, 'backend-dokploy', [API])
}

describe('servers that were made anew after a move', () => {
  test('deleted by hand: the next cutover leads the names to the new ones, and never to an address that is gone', async () => {
    const place = await openHere()
    await done(place, CUTOVER)
    const gone = ['frontend-dokploy', 'backend-dokploy'].map(name => addressOf(place, name))
    for (const { id } of serversOf(place)) await callAs(place.sandbox, 'hetzner', 'DELETE', `/servers/${id}`)
    while (serversOf(place).length > 0) {
      await Bun.sleep(5)
      place.sandbox.controls.hetzner.settle()
    }
    // That they are gone on purpose nothing here can know.
    const foreign = await place.run(CUTOVER)
    expect([foreign.code, foreign.stdout]).toEqual([3, expect.stringContaining('--confirm no-servers')])
    const refused = await place.run(`${CUTOVER} --confirm no-servers`)
    expect([refused.code, refused.stdout]).toEqual([
      3,
      expect.stringContaining('frontend-dokploy, where example.com shall go, is not there'),
    ])
    await done(place, 'setup --yes --json --confirm no-servers')
    serveAll(place)
    await done(place, CUTOVER)
    expect(leading(place)).toEqual(wanted(place))
    expect(wanted(place).filter(line => gone.some(address => line.endsWith(` ${address}`)))).toEqual([])
    const again = await done(place, CUTOVER)
    expect(mutationsIn(again.requests)).toEqual([])
  }, 120_000)

  test('destroyed: the moves are over, rollback still puts the old host’s records back, and a new move goes to the new servers', async () => {
    const place = await openHere()
    const before = movedIn(place.sandbox)
    await done(place, CUTOVER)
    await done(place, 'destroy --yes --json --confirm example')
    const closed = (await kept(place)).map(({ name, marks }) => [name, typeof marks.deletedAtMs])
    expect(closed).toEqual([API, APEX, WWW].map(name => [name, 'number']))
    expect(leading(place)).toEqual(NAMES.map(name => `${name} `))
    await done(place, 'dns rollback --yes --json')
    expect(movedIn(place.sandbox)).toEqual(before)
    await done(place, 'setup --yes --json')
    serveAll(place)
    await done(place, CUTOVER)
    expect(leading(place)).toEqual(wanted(place))
  }, 120_000)

  test('with the same addresses: nothing moves, and the way back stays', async () => {
    const place = await openHere()
    const before = movedIn(place.sandbox)
    await done(place, CUTOVER)
    // As if the servers had been others when the names moved, and were rebuilt since.
    const ids = (await kept(place)).map(({ name, to }) => [name, to.serverId])
    const store = openMoveStore(directoryOf(place))
    for (const move of await kept(place)) {
      await store.writeMove({ ...move, to: { ...move.to, serverId: '1' } })
      for (const { id, name, comment } of place.sandbox.controls.cloudflare.records(APEX))
        if (name === move.name && comment?.startsWith('landfall '))
          await callAs(place.sandbox, 'cloudflare', 'PATCH', `/zones/${move.zoneId}/dns_records/${id}`, {
            comment: comment.replace(/id=.*/, 'id=1'),
          })
    }
    const run = await done(place, CUTOVER)
    expect(run.stdout).toContain('note that frontend-dokploy, backend-dokploy were made anew with the same addresses')
    expect((await kept(place)).map(({ name, to }) => [name, to.serverId])).toEqual(ids)
    expect(leading(place)).toEqual(wanted(place))
    expect(mutationsIn((await done(place, CUTOVER)).requests)).toEqual([])
    await done(place, 'dns rollback --yes --json')
    expect(movedIn(place.sandbox)).toEqual(before)
  }, 120_000)
})

describe('names that config.json does not move', () => {
  const SHOP = 'shop.example.com'
  const BLOG = 'blog.example.com'
  const move = (name: string, server: string) => `dns cutover ${name} --to ${server} --yes --json --confirm example.com`

  test('a second one at the same server joins the first one’s certificate', async () => {
    const place = await openHere()
    for (const name of [SHOP, BLOG])
      place.sandbox.controls.cloudflare.addRecord(APEX, { type: 'A', name, content: OLD.ipv4, ttl: 60 })
    serveNames(place.sandbox, 'frontend-dokploy', [APEX, WWW, SHOP, BLOG])
    await done(place, move(SHOP, 'frontend-dokploy'))
    await done(place, move(BLOG, 'frontend-dokploy'))
    const panel = place.sandbox.controls.machines.dokploy('frontend-dokploy')
    for (const name of [SHOP, BLOG]) {
      const given = new X509Certificate(panel.givenCertificate(name)?.cert ?? '')
      expect([SHOP, BLOG].map(each => given.checkHost(each))).toEqual([SHOP, BLOG])
    }
    const kept = readFileSync(join(directoryOf(place), 'certificates', 'frontend-dokploy.json'), 'utf8')
    expect(JSON.parse(kept).names).toEqual([BLOG, APEX, SHOP, WWW])
  }, 120_000)

  test('one that has moved moves on to another server, with the way back to the one before', async () => {
    const place = await openHere()
    await done(place, CUTOVER)
    const first = leading(place, [WWW])
    expect(first).toEqual([`${WWW} ${addressOf(place, 'frontend-dokploy')}`])
    serveNames(place.sandbox, 'backend-dokploy', [API, WWW])
    const plan = await place.run(`dns cutover ${WWW} --to backend-dokploy --plan`)
    expect([plan.code, plan.stdout]).toEqual([2, expect.stringContaining('the move of www.example.com to frontend-dokploy')])
    const run = await done(place, move(WWW, 'backend-dokploy'))
    expect(leading(place, [WWW])).toEqual([`${WWW} ${addressOf(place, 'backend-dokploy')}`])
    expect(run.summary().outputs).toEqual({ [WWW]: addressOf(place, 'backend-dokploy') })
    expect(JSON.stringify(run.summary().notes)).toContain('config.json sends www.example.com to frontend-dokploy')
    await done(place, `dns rollback ${WWW} --yes --json`)
    expect(leading(place, [WWW])).toEqual(first)
  }, 120_000)
})

test('a TTL that was raised by hand after the wait is lowered and waited out again before the switch', async () => {
  const place = await openHere()
  const { sandbox } = place
  const isBatch = ({ vendor, path }: Asked) => vendor === 'cloudflare' && path.endsWith('/batch')
  const ttls = () =>
    new Set(
      sandbox.controls.cloudflare
        .records(APEX)
        .filter(({ name, type }) => NAMES.some(each => each === name) && /^(A|AAAA|CNAME)$/.test(type))
        .map(({ ttl }) => ttl),
    )
  const isLow = () => [...ttls()].join() === '60'
  // Ends the run at its first look at the zone after the wait, before the switch.
  let looks = 0
  tell.after = request => {
    if (request.method !== 'GET' || !request.path.endsWith('/dns_records') || !isLow()) return
    looks += 1
    if (looks === 2) running.kill('SIGKILL')
  }
  const running = place.start(CUTOVER)
  expect((await running.ended).code).toBeNull()
  delete tell.after
  const drained = (await kept(place)).map(({ marks }) => [typeof marks.drainedAtMs, marks.switchedAtMs])
  expect(drained).toEqual(NAMES.map(() => ['number', undefined]))

  for (const { id, name, type } of sandbox.controls.cloudflare.records(APEX))
    if (name === APEX && type === 'A') {
      const [{ zoneId: zone } = { zoneId: '' }] = await kept(place)
      await callAs(sandbox, 'cloudflare', 'PATCH', `/zones/${zone}/dns_records/${id}`, { ttl: 3600 })
    }
  const aheadMs = () => sandbox.controls.dns.aheadMs()
  let loweredAtMs: number | undefined
  let switchedAtMs: number | undefined
  tell.after = request => {
    if (!isBatch(request)) return
    if (leading(place, [APEX]).join() === `${APEX} ${addressOf(place, 'frontend-dokploy')}`) switchedAtMs ??= aheadMs()
    else if (isLow()) loweredAtMs = aheadMs()
  }
  await done(place, CUTOVER)
  expect(leading(place)).toEqual(wanted(place))
  // The waits pass in the sandbox's time; a part of each passes on this machine.
  expect((switchedAtMs ?? 0) - (loweredAtMs ?? Number.POSITIVE_INFINITY)).toBeGreaterThan(3_500_000)
}, 120_000)

test('a rollback during a decommission stands: the proof ends, and does not write over it', async () => {
  const place = await openHere()
  const before = movedIn(place.sandbox)
  await done(place, CUTOVER)
  tell.before = async ({ vendor, method, path }) => {
    if (vendor !== 'cloudflare' || method !== 'GET' || !path.endsWith('/dns_records')) return
    delete tell.before
    await done(place, 'dns rollback --yes --json')
  }
  const left = await place.run('dns decommission --for 10')
  expect([left.code, left.output]).toEqual([1, expect.stringContaining('did not move from here')])
  const marks = (await kept(place)).map(each => [each.name, typeof each.marks.rolledBackAtMs])
  expect(marks).toEqual([API, APEX, WWW].map(name => [name, 'number']))
  expect(movedIn(place.sandbox)).toEqual(before)
}, 120_000)
