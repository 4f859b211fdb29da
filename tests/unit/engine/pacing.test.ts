import { describe, expect, test } from 'bun:test'
import { createPacer } from '../../../lib/engine/pacing.ts'
import { fakeClock } from '../fake-clock.ts'

describe('the pacer', () => {
  test('lets a burst through at once, then one request per refill', async () => {
    const clock = fakeClock()
    const pacer = createPacer({ burst: 3, refillPerS: 1 }, clock)
    const atMs: number[] = []
    await Promise.all(Array.from({ length: 6 }, () => pacer.take().then(() => atMs.push(clock.monotonicMs()))))
    expect(atMs).toEqual([0, 0, 0, 1_000, 2_000, 3_000])
  })

  test('never spends the reserve, and says so when the reserve is everything', async () => {
    const clock = fakeClock()
    const pacer = createPacer({ burst: 3, refillPerS: 1, reserve: 2 }, clock)
    await pacer.take()
    await pacer.take()
    expect(clock.monotonicMs()).toBe(1_000)
    expect(() => createPacer({ burst: 2, refillPerS: 1, reserve: 2 }, clock)).toThrow('bug')
  })

  test('believes the vendor when it says less is left, never when it says more', async () => {
    const clock = fakeClock()
    const pacer = createPacer({ burst: 100, refillPerS: 1 }, clock)
    pacer.observe({ remaining: 1 })
    pacer.observe({ remaining: 90 })
    await pacer.take()
    expect(clock.monotonicMs()).toBe(0)
    await pacer.take()
    expect(clock.monotonicMs()).toBe(1_000)
  })

  test('believes it when it says more after a request that had no other beside it', async () => {
    const clock = fakeClock()
    const pacer = createPacer({ burst: 100, refillPerS: 1 }, clock)
    pacer.observe({ remaining: 1 })
    pacer.observe({ remaining: 3, alone: true })
    await Promise.all([pacer.take(), pacer.take(), pacer.take()])
    expect(clock.monotonicMs()).toBe(0)
  })

  test('lets ranks go before each other, the first one into the reserve, and says when the rest is through', async () => {
    const clock = fakeClock()
    const pacer = createPacer({ burst: 12, refillPerS: 1, reserve: 10 }, clock)
    const order: string[] = []
    const note = (name: string) => () => order.push(`${name} at ${clock.monotonicMs()}`)
    await Promise.all([
      ...(['last', 'normal', 'normal', 'normal', 'normal', 'first'] as const).map(rank =>
        pacer.take(undefined, rank).then(note(rank)),
      ),
      pacer.idle('normal').then(note('idle')),
      pacer.idle('last').then(note('all idle')),
    ])
    expect(order).toEqual([
      'last at 0',
      'normal at 0',
      'first at 0',
      'normal at 2000',
      'normal at 3000',
      'normal at 4000',
      'idle at 4000',
      'all idle at 4000',
    ])
  })

  test('a pause holds everybody, and a shorter one does not end a longer', async () => {
    const clock = fakeClock()
    const pacer = createPacer({ burst: 10, refillPerS: 1 }, clock)
    pacer.pause(5_000)
    pacer.pause(1_000)
    await Promise.all([pacer.take(), pacer.take()])
    expect(clock.monotonicMs()).toBe(5_000)
  })

  test('one who gives up waiting neither spends nor blocks', async () => {
    const clock = fakeClock({ auto: false })
    const pacer = createPacer({ burst: 1, refillPerS: 1 }, clock)
    await pacer.take()
    const impatient = new AbortController()
    const first = pacer.take(impatient.signal)
    const second = pacer.take()
    await Bun.sleep(0)
    impatient.abort()
    await expect(first).rejects.toMatchObject({ code: 'cancelled' })
    await Bun.sleep(0)
    clock.advance(1_000)
    await second
    expect(clock.monotonicMs()).toBe(1_000)
  })
})
