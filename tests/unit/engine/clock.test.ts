import { describe, expect, test } from 'bun:test'
import { systemClock } from '../../../lib/engine/clock.ts'
import { createMeter } from '../../../lib/engine/meter.ts'
import { fakeClock } from '../fake-clock.ts'

describe.each([
  ['the system clock', () => systemClock],
  ['the fake clock', () => fakeClock()],
])('%s', (_, make) => {
  test('sleeps at least as long as asked', async () => {
    const clock = make()
    const beforeMs = clock.monotonicMs()
    await clock.sleep(20)
    expect(clock.monotonicMs() - beforeMs).toBeGreaterThanOrEqual(19)
  })

  test('stops sleeping at an interrupt, and does not begin after one', async () => {
    const interrupt = new AbortController()
    const sleeping = make().sleep(60_000, interrupt.signal)
    interrupt.abort()
    await expect(sleeping).rejects.toMatchObject({ code: 'cancelled' })
    await expect(make().sleep(60_000, interrupt.signal)).rejects.toMatchObject({ code: 'cancelled' })
  })

  test('an interrupt after the sleep changes nothing', async () => {
    const interrupt = new AbortController()
    await make().sleep(1, interrupt.signal)
    interrupt.abort()
  })
})

test('the fake clock wakes sleepers in the order of their times, and can stop or jump', async () => {
  const clock = fakeClock()
  const woken: number[] = []
  await Promise.all([300, 100, 200].map(ms => clock.sleep(ms).then(() => woken.push(ms))))
  expect([woken, clock.monotonicMs(), clock.sleeps]).toEqual([[100, 200, 300], 300, [300, 100, 200]])
  const wallMs = clock.nowMs()
  clock.jumpWall(5_000)
  expect([clock.nowMs() - wallMs, clock.monotonicMs()]).toEqual([5_000, 300])
})

test('the wall clock of the system is the time of day', () => {
  expect(Math.abs(systemClock.nowMs() - Date.now())).toBeLessThan(1_000)
})

test('the meter counts reads and writes per provider, and its snapshot does not move', () => {
  const meter = createMeter()
  meter.count('hetzner', 'read')
  const before = meter.snapshot()
  meter.count('hetzner', 'read')
  meter.count('hetzner', 'write')
  meter.count('cloudflare', 'write')
  expect(before).toEqual({ hetzner: { reads: 1, writes: 0 } })
  expect(meter.snapshot()).toEqual({ hetzner: { reads: 2, writes: 1 }, cloudflare: { reads: 0, writes: 1 } })
})
