/** The estate's lock, against firewalls whose names are unique and whose vendor has a clock of its own. */

import { describe, expect, test } from 'bun:test'
import { LandfallError } from '../../../../lib/errors.ts'
import { labelsFromText, textFromLabels } from '../../../../lib/providers/hetzner/label-text.ts'
import { failureOf, page, type Reply, refusal, rig } from './rig.ts'

interface Row {
  readonly id: number
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly created: string
}

const VENDOR_EPOCH_MS = Date.UTC(2026, 10, 20, 12)
const LABEL_VALUE = /^[a-z0-9A-Z]([a-z0-9A-Z_.-]{0,61}[a-z0-9A-Z])?$/
const LABEL_KEY = /^landfall\/[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/

/** A project with firewalls; its clock is hours away from ours. */
function project(
  options: { readonly lose?: string; readonly latencyMs?: number; readonly beforeWrite?: () => Promise<void> } = {},
) {
  const rows = new Map<number, Row>()
  let ids = 100
  let lost = false
  const vendorNowMs = () => VENDOR_EPOCH_MS + on.clock.monotonicMs()
  const on = rig(({ method, path, body, query = [] }): Reply => {
    const headers = { date: new Date(vendorNowMs()).toUTCString() }
    const given = (body ?? {}) as { name?: string; labels?: Row['labels'] }
    const id = Number(path.split('/')[2])
    const row = rows.get(id)
    const answer = (): Reply => {
      if (method === 'POST') {
        if ([...rows.values()].some(({ name }) => name === given.name)) return refusal(409, 'uniqueness_error')
        const created = new Date(Math.floor(vendorNowMs() / 1000) * 1000).toISOString()
        const firewall = { id: ++ids, name: given.name ?? '', labels: given.labels ?? {}, created }
        rows.set(firewall.id, firewall)
        return { status: 201, json: { firewall, actions: [] }, headers }
      }
      if (path === '/firewalls') {
        const wanted = query.find(([name]) => name === 'name')?.[1]
        return {
          json: { firewalls: [...rows.values()].filter(({ name }) => wanted === undefined || name === wanted) },
          headers,
        }
      }
      if (row === undefined) return refusal(404, 'not_found')
      if (method === 'DELETE') rows.delete(id)
      if (method === 'PUT') rows.set(id, { ...row, labels: given.labels ?? row.labels })
      return method === 'DELETE' ? { status: 204, text: '' } : { json: { firewall: rows.get(id) }, headers }
    }
    const answered = answer()
    if (options.lose === method && !lost) {
      lost = true
      return { fails: 'no_answer' }
    }
    return answered
  }, options)
  return { on, rows, locks: on.hetzner.locks, vendorNowMs }
}

const holder = (runId: string) => ({
  estate: 'shop',
  runId,
  who: 'ana@büro:2',
  hostId: 'h1',
  pid: 4711,
  command: 'bun scripts/setup.ts --yes',
})

describe('an estate lock', () => {
  test('is taken with one request, and found again as it was written', async () => {
    const { on, locks, rows } = project()
    const { id } = await locks.create(holder('r1'))
    expect(on.sent).toEqual(['POST /firewalls'])
    expect([...rows.values()].map(({ name }) => name)).toEqual(['landfall-lock-shop'])
    const found = await locks.find('shop')
    expect(found).toMatchObject({
      id,
      holder: { ...holder('r1'), beatAtMs: VENDOR_EPOCH_MS },
      nowMs: VENDOR_EPOCH_MS,
      sinceMs: VENDOR_EPOCH_MS,
    })
  })

  test('is told to the second taker by the name of the first', async () => {
    const { on, locks } = project()
    await locks.create(holder('r1'))
    const error = await failureOf(locks.create(holder('r2')))
    expect(error.code).toBe('locked')
    expect(error.message).toBe(
      'ana@büro:2 holds the estate shop since 2026-11-20T12:00:00.000Z (bun scripts/setup.ts --yes, pid 4711).',
    )
    expect(error.hint).toBeString()
    expect(on.clock.monotonicMs()).toBeLessThan(2_000)
  })

  test('goes to exactly one of many who try at once', async () => {
    const { locks, rows } = project()
    const tries = await Promise.allSettled(Array.from({ length: 50 }, (_, n) => locks.create(holder(`r${n}`))))
    expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(rows.size).toBe(1)
  })

  test('whose create was not answered is found to be ours', async () => {
    const { locks, rows } = project({ lose: 'POST' })
    const { id } = await locks.create(holder('r1'))
    expect([...rows.keys()].map(String)).toEqual([id])
  })

  test("beats by the vendor's clock", async () => {
    const { on, locks } = project()
    const { id } = await locks.create(holder('r1'))
    await on.clock.sleep(60_000)
    await locks.beat(id, 'r1')
    await on.clock.sleep(30_000)
    expect(await locks.find('shop')).toMatchObject({
      holder: { ...holder('r1'), beatAtMs: VENDOR_EPOCH_MS + 60_000 },
      nowMs: VENDOR_EPOCH_MS + 90_000,
      sinceMs: VENDOR_EPOCH_MS,
    })
  })

  test.each([
    [80, 0, 'PUT'],
    [80, 4_900, 'PUT'],
    [80, 5_000, 'GET PUT'],
    [3_000, 0, 'PUT'],
    // Its date is from before a long way back, and tells the time of now to nobody.
    [8_000, 0, 'GET PUT'],
    [60_000, 0, 'GET PUT'],
  ])(
    'beats no earlier than its call by more than a second, with %i ms per request and %i ms after the last',
    async (latencyMs, pauseMs, methods) => {
      const { on, locks, rows, vendorNowMs } = project({ latencyMs })
      const { id } = await locks.create(holder('r1'))
      await on.clock.sleep(pauseMs)
      const calledAtMs = vendorNowMs()
      await locks.beat(id, 'r1')
      const beatAtMs = Number(rows.get(Number(id))?.labels['landfall/lock-beat'])
      expect(beatAtMs).toBeGreaterThan(calledAtMs - 1_000)
      expect(beatAtMs).toBeLessThanOrEqual(vendorNowMs() + latencyMs)
      expect(
        on.requests
          .slice(1)
          .map(({ method }) => method)
          .join(' '),
      ).toBe(methods)
    },
  )

  test('whose beat is written blind still says who holds it, and is not written over another run', async () => {
    const { on, locks, rows } = project()
    const { id } = await locks.create(holder('r1'))
    await locks.beat(id, 'r1')
    expect(on.sent).toEqual(['POST /firewalls', `PUT /firewalls/${id}`])
    expect((await locks.find('shop'))?.holder).toMatchObject(holder('r1'))
    rows.delete(Number(id))
    const other = await locks.create(holder('r2'))
    expect((await failureOf(locks.beat(id, 'r1'))).code).toBe('locked')
    expect((await locks.find('shop'))?.holder.runId).toBe('r2')
    expect(other.id).not.toBe(id)
  })

  test('does not beat for a run that has lost it', async () => {
    const { locks } = project()
    const { id } = await locks.create(holder('r1'))
    expect((await failureOf(locks.beat(id, 'r2'))).code).toBe('locked')
    await locks.delete(id)
    const error = await failureOf(locks.beat(id, 'r1'))
    expect(error.code).toBe('locked')
    expect(error.message).toContain('gone')
  })

  test('is released once, and again without an error', async () => {
    const { locks, rows } = project()
    const { id } = await locks.create(holder('r1'))
    await locks.delete(id)
    await locks.delete(id)
    expect(rows.size).toBe(0)
    expect(await locks.find('shop')).toBeUndefined()
  })

  test('is released after an interrupt, although no write may start any more', async () => {
    const { on, locks, rows } = project({ beforeWrite: () => Promise.reject(new LandfallError('cancelled', 'Interrupted.')) })
    const { id } = await locks.create(holder('r1'))
    on.interrupt()
    await locks.delete(id)
    expect(rows.size).toBe(0)
  })

  test('is no firewall in the list of firewalls', async () => {
    const { on, locks } = project()
    await locks.create(holder('r1'))
    await on.hetzner.createFirewall({ name: 'web', rules: [], labels: {} })
    expect((await on.hetzner.listFirewalls()).map(({ name }) => name)).toEqual(['web'])
  })

  test("a stranger's firewall with the lock's name is not taken for a lock", async () => {
    const { on, locks } = project()
    await on.hetzner.createFirewall({ name: 'landfall-lock-shop', rules: [], labels: {} })
    expect(await locks.find('shop')).toBeUndefined()
    const error = await failureOf(locks.create(holder('r1')))
    expect(error.code).toBe('name_taken')
    expect(error.message).toContain('landfall-lock-shop is not a lock')
  })

  test('has labels that the vendor takes', async () => {
    const { on, locks, rows } = project()
    const long = { ...holder('r1'), who: 'x'.repeat(500), command: `rm -rf "${'ü/ '.repeat(300)}"` }
    const { id } = await locks.create(long)
    await on.clock.sleep(1)
    await locks.beat(id, 'r1')
    for (const { labels } of rows.values()) {
      for (const [key, value] of Object.entries(labels)) {
        expect(key).toMatch(LABEL_KEY)
        expect(value).toMatch(LABEL_VALUE)
      }
      expect(Object.keys(labels).length).toBeLessThan(32)
    }
    expect((await locks.find('shop'))?.holder.who).toBe('x'.repeat(120))
  })
})

describe('text in labels', () => {
  for (const text of ['a', 'a b', 'ana@büro: „ja“', '\u0000\u001b[31m', '🚀'.repeat(100), 'x'.repeat(63)])
    test(`${JSON.stringify(text).slice(0, 40)} comes back as it was`, () => {
      const labels = labelsFromText('k/t', text)
      for (const value of Object.values(labels)) expect(value).toMatch(LABEL_VALUE)
      expect(textFromLabels('k/t', labels)).toBe(text)
    })

  test('what was not written by us is nothing', () => {
    expect(textFromLabels('k/t', {})).toBeUndefined()
    expect(textFromLabels('k/t', { 'k/t-0': 'NOT-BASE-32!' })).toBeUndefined()
  })

  test('a list of one holds the page as sent', async () => {
    const on = rig(() => page('firewalls', [{ id: 1, name: 'web', labels: null }]))
    expect((await on.hetzner.listFirewalls())[0]?.labels).toEqual({})
  })
})
