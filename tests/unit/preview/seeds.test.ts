/** A thousand stories of pull requests whose events are lost, doubled and out of order; each ends in the previews that there should be. */

import { expect, test } from 'bun:test'
import { deliveries, Model, seeded, WRITERS } from './model.ts'

const SEEDS = 1_000
const EVENTS = 36
const DAY_MS = 86_400_000

const story = (seed: number, max: number, ttlMs: number) => {
  const model = new Model(seed, { max, ttlMs })
  const arriving = new Map<number, number>()
  for (const index of deliveries(EVENTS, model.random)) {
    // A delivery comes when it comes: at its own time, or up to ten events later.
    const at = Math.min(EVENTS - 1, index + Math.floor(model.random() * 10))
    arriving.set(at, (arriving.get(at) ?? 0) + 1)
  }
  for (let event = 0; event < EVENTS; event++) {
    model.happen()
    for (let i = 0; i < (arriving.get(event) ?? 0); i++) model.look()
  }
  return model
}

test('the previews equal the eligible pull requests, never more than the cap, and nothing is left over', () => {
  let full = 0
  let looks = 0
  for (let seed = 1; seed <= SEEDS; seed++) {
    const max = 3 + (seed % 13)
    const model = story(seed, max, 365 * DAY_MS)
    // The sweep; it takes the labels off that came before a fork's last commit.
    model.look()
    const eligible = model.eligible()
    const runs = [...model.runs.keys()].sort((a, b) => a - b)
    const about = `seed ${seed}`
    expect(model.peak, about).toBeLessThanOrEqual(max)
    expect(runs.length, about).toBe(Math.min(max, eligible.length))
    expect(
      runs.filter(number => !eligible.includes(number)),
      about,
    ).toEqual([])
    if (eligible.length <= max) expect(runs, about).toEqual(eligible)
    else full++
    for (const [number, run] of model.runs) expect(run.head, about).toBe(model.headOf(number))
    const before = model.writes
    model.look()
    expect(model.writes, about).toBe(before)
    looks++
  }
  // The cap and the room below it were both met, or the test would say less than it seems to.
  expect(full).toBeGreaterThan(100)
  expect(looks - full).toBeGreaterThan(100)
}, 60_000)

test('after the time to live everything is gone, and stays gone', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const model = story(seed, 15, 30 * DAY_MS)
    model.look()
    model.nowMs += 31 * DAY_MS
    model.look()
    // A place that an expired one gave back may have gone to one that waited.
    model.nowMs += 31 * DAY_MS
    model.look()
    expect([...model.runs.keys()], `seed ${seed}`).toEqual([])
    model.look()
    expect([...model.runs.keys()], `seed ${seed}`).toEqual([])
  }
}, 30_000)

test('who waits in the queue is told, and gets the next place', () => {
  const model = story(7, 3, 365 * DAY_MS)
  while (model.eligible().length <= 4) {
    model.happen()
    model.look()
  }
  model.look()
  const waiting = model.eligible().filter(number => !model.runs.has(number))
  expect(model.saidOn(waiting[0] ?? 0).join()).toContain('Queued at place 1: all 3 previews are taken')
  const [first = 0] = model.runs.keys()
  const pull = model.pulls.get(first)
  if (pull) pull.state = 'closed'
  model.look()
  expect([...model.runs.keys()].sort((a, b) => a - b)).toContain(waiting[0] ?? 0)
})

test('who runs it changes nothing, and neither does what a stranger writes that looks like ours', () => {
  let forged = 0
  let handedOver = 0
  for (let seed = 1; seed <= 300; seed++) {
    const alone = new Model(seed, { max: 5, ttlMs: 365 * DAY_MS })
    const beset = new Model(seed, { max: 5, ttlMs: 365 * DAY_MS })
    const random = seeded(seed + 7_919)
    let last = ''
    for (let event = 0; event < EVENTS; event++) {
      for (const model of [alone, beset]) model.happen()
      beset.forge(random)
      const self = WRITERS[random() < 0.5 ? 0 : 1] ?? ''
      if (random() < 0.5) continue
      alone.look()
      beset.look(self)
      const about = `seed ${seed}, event ${event}`
      expect([...beset.runs], about).toEqual([...alone.runs])
      for (const number of alone.pulls.keys()) expect(beset.saidOn(number), about).toEqual(alone.saidOn(number))
      if (last !== '' && last !== self) handedOver++
      last = self
    }
    forged += [...beset.pulls.values()].filter(pull => pull.told.some(each => each.author === 'stranger')).length
  }
  expect(forged).toBeGreaterThan(1_000)
  expect(handedOver).toBeGreaterThan(1_000)
}, 60_000)
