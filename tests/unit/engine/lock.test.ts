import { describe, expect, test } from 'bun:test'
import type { Clock } from '../../../lib/engine/clock.ts'
import { type HoldLockOptions, holdLock } from '../../../lib/engine/lock.ts'
import { LandfallError } from '../../../lib/errors.ts'
import type { CloudLocks, LockHolder } from '../../../lib/providers/ports/cloud.ts'
import { type FakeClock, fakeClock } from '../fake-clock.ts'

const DAY_MS = 86_400_000

/** Replays from its seed (mulberry32). */
function dice(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

interface Vendor extends CloudLocks {
  readonly objects: Map<string, { id: string; holder: LockHolder; sinceMs: number }>
  readonly calls: string[]
  /** Failures to answer with, by method, before anything happens. */
  readonly failures: Map<string, unknown[]>
}

/** Locks as the vendor keeps them: atomic by name, each request takes `tripMs` to get there and as long to come back. */
function vendor(time: Clock, { offsetMs = 0, tripMs = () => 0 }: { offsetMs?: number; tripMs?: () => number } = {}): Vendor {
  const objects: Vendor['objects'] = new Map()
  const calls: string[] = []
  const failures: Vendor['failures'] = new Map()
  let made = 0
  const nowMs = () => time.nowMs() + offsetMs
  const request = async <T>(name: string, effect: () => T): Promise<T> => {
    calls.push(name)
    await time.sleep(tripMs())
    const failure = failures.get(name)?.shift()
    if (failure) throw failure
    const answer = effect()
    await time.sleep(tripMs())
    return answer
  }
  const byId = (id: string) => [...objects.values()].find(object => object.id === id)
  return {
    objects,
    calls,
    failures,
    create: claim =>
      request('create', () => {
        if (objects.has(claim.estate)) throw new LandfallError('locked', 'the name is taken')
        made += 1
        objects.set(claim.estate, { id: `lock-${made}`, holder: { ...claim, beatAtMs: nowMs() }, sinceMs: nowMs() })
        return { id: `lock-${made}` }
      }),
    find: estate =>
      request('find', () => {
        const object = objects.get(estate)
        return object && { ...object, nowMs: nowMs() }
      }),
    seen: () => undefined,
    beat: (id, runId) =>
      request('beat', () => {
        const object = byId(id)
        if (object?.holder.runId !== runId) throw new LandfallError('locked', 'the lock is gone')
        objects.set(object.holder.estate, { ...object, holder: { ...object.holder, beatAtMs: nowMs() } })
      }),
    delete: id =>
      request('delete', () => {
        const object = byId(id)
        if (object) objects.delete(object.holder.estate)
      }),
  }
}

const host = (name: string, alivePids: readonly number[] = []): HoldLockOptions['host'] => ({
  hostId: `id of ${name}`,
  pid: 100,
  who: `ann@${name}`,
  isPidAlive: pid => alivePids.includes(pid),
})

/** A run's view of the same timeline, with a wall clock that is off. */
const skewed = (clock: FakeClock, offsetMs: number): Clock => ({
  nowMs: () => clock.nowMs() + offsetMs,
  monotonicMs: clock.monotonicMs,
  sleep: clock.sleep,
})

const settings = (locks: CloudLocks, clock: Clock, runId: string, more: Partial<HoldLockOptions> = {}): HoldLockOptions => ({
  locks,
  estate: 'demo',
  runId,
  command: 'bun scripts/setup.ts',
  host: host(`laptop-${runId}`),
  clock,
  signal: new AbortController().signal,
  every: () => () => {},
  ...more,
})

const codeOf = (error: unknown) => (error instanceof LandfallError ? error.code : error)

describe('taking the lock', () => {
  test('a free estate is held at once, and free again after release', async () => {
    const clock = fakeClock()
    const locks = vendor(clock)
    const held = await holdLock(settings(locks, clock, 'a'))
    expect(locks.objects.get('demo')?.holder).toMatchObject({
      runId: 'a',
      who: 'ann@laptop-a',
      pid: 100,
      command: 'bun scripts/setup.ts',
    })
    expect([held.lost, held.tookOverFrom]).toEqual([false, undefined])
    await held.release()
    expect(locks.objects.size).toBe(0)
  })

  test('a second run is told who holds it, since when, with what, and what to do; within 2 s', async () => {
    const clock = fakeClock()
    const locks = vendor(clock, { tripMs: () => 200 })
    await holdLock(settings(locks, clock, 'a'))
    clock.advance(85_000)
    const atMs = clock.monotonicMs()
    const failure = await holdLock(settings(locks, clock, 'b')).catch((error: unknown) => error)
    expect(codeOf(failure)).toBe('locked')
    expect(String(failure)).toMatch(
      /ann@laptop-a \(process 100\), who has held estate demo for 86 s with "bun scripts\/setup\.ts"; last sign of life 86 s ago/,
    )
    expect(failure).toMatchObject({ hint: expect.stringContaining('taken over 90 s after its last sign of life') })
    expect(clock.monotonicMs() - atMs).toBeLessThan(2_000)
    expect(locks.objects.get('demo')?.holder.runId).toBe('a')
  })

  test.each([
    [30_000, 'for 30 s'],
    [600_000, 'for 10 min'],
    [36_000_000, 'for 10 h'],
    [undefined, 'estate demo with'],
  ])('a lock of %p ms is described in words: "%s"', async (ageMs, words) => {
    const clock = fakeClock()
    const locks = vendor(clock)
    const failure = await holdLock(
      settings(
        {
          ...locks,
          create: () => Promise.reject(new LandfallError('locked', 'taken')),
          find: async () => ({
            id: '1',
            holder: { estate: 'demo', runId: 'x', who: 'bob', hostId: 'h', pid: 1, command: 'c', beatAtMs: clock.nowMs() },
            nowMs: clock.nowMs(),
            ...(ageMs === undefined ? {} : { sinceMs: clock.nowMs() - ageMs }),
          }),
        },
        clock,
        'b',
      ),
    ).catch(String)
    expect(failure).toContain(words)
  })

  test('a holder of this very host whose process is gone is replaced at once', async () => {
    const clock = fakeClock()
    const locks = vendor(clock)
    await holdLock(settings(locks, clock, 'dead', { host: { ...host('laptop'), pid: 7 } }))
    const held = await holdLock(settings(locks, clock, 'b', { host: host('laptop') }))
    expect(held.tookOverFrom).toMatchObject({ runId: 'dead', pid: 7 })
    expect(clock.monotonicMs()).toBe(0)
    expect(locks.objects.get('demo')?.holder.runId).toBe('b')
  })

  test.each([
    ['alive on this host', { ...host('laptop'), pid: 7 }, host('laptop', [7])],
    ['of our own pid on this host', host('laptop'), host('laptop')],
    ['of the same pid number on another host', { ...host('server'), pid: 7 }, host('laptop')],
  ])('a fresh holder %s is left alone', async (_, first, second) => {
    const clock = fakeClock()
    const locks = vendor(clock)
    await holdLock(settings(locks, clock, 'a', { host: first }))
    await expect(holdLock(settings(locks, clock, 'b', { host: second }))).rejects.toMatchObject({ code: 'locked' })
  })

  test.each([0, DAY_MS, -DAY_MS])('silence counts by the vendor alone: clocks off by %d ms change nothing', async offMs => {
    for (const vendorOffMs of [0, DAY_MS, -DAY_MS]) {
      const clock = fakeClock()
      const locks = vendor(clock, { offsetMs: vendorOffMs })
      const first = await holdLock(settings(locks, skewed(clock, offMs), 'a'))
      await first.confirm()
      const later = settings(locks, skewed(clock, -offMs), 'b')
      clock.advance(90_000)
      await expect(holdLock(later)).rejects.toMatchObject({ code: 'locked' })
      clock.advance(1)
      const second = await holdLock(later)
      expect(second.tookOverFrom?.runId).toBe('a')
      await second.confirm()
      await expect(first.confirm()).rejects.toMatchObject({ code: 'locked' })
    }
  })

  test('its own object, left by a lost answer, is replaced and not mourned', async () => {
    const clock = fakeClock()
    const locks = vendor(clock)
    await holdLock(settings(locks, clock, 'a'))
    const again = await holdLock(settings(locks, clock, 'a'))
    expect(again.tookOverFrom).toBeUndefined()
    expect([...locks.objects.values()].map(({ id }) => id)).toEqual(['lock-2'])
  })

  test('waits as long as it was told to, and says once for whom', async () => {
    const clock = fakeClock()
    const locks = vendor(clock)
    const first = await holdLock(settings(locks, clock, 'a'))
    const lines: string[] = []
    const waiting = holdLock(settings(locks, clock, 'b', { waitMs: 60_000, log: line => lines.push(line) }))
    clock.sleep(12_000).then(() => first.release())
    await waiting
    expect(clock.monotonicMs()).toBe(15_000)
    expect(lines).toEqual([expect.stringContaining('Waiting for ann@laptop-a')])

    await expect(holdLock(settings(locks, clock, 'c', { waitMs: 7_000 }))).rejects.toMatchObject({ code: 'locked' })
    expect(clock.monotonicMs()).toBe(22_000)
    const interrupted = settings(locks, clock, 'c', { waitMs: 7_000, signal: AbortSignal.abort() })
    await expect(holdLock(interrupted)).rejects.toMatchObject({ code: 'cancelled' })
  })

  test('a name that is taken and never found ends in an error, not in a loop', async () => {
    const clock = fakeClock()
    const locks = vendor(clock)
    const ghost = { ...locks, create: () => Promise.reject(new LandfallError('locked', 'taken')) }
    await expect(holdLock(settings(ghost, clock, 'a'))).rejects.toThrow('changes hands too often')
    expect(locks.calls.length).toBeLessThan(20)
  })

  test('a dead lock that comes back however often it is deleted is said to be held, within bounds', async () => {
    const clock = fakeClock()
    const locks = vendor(clock)
    await holdLock(settings(locks, clock, 'b'))
    clock.advance(DAY_MS)
    const stuck = { ...locks, delete: () => Promise.resolve() }
    await expect(holdLock(settings(stuck, clock, 'a'))).rejects.toThrow('Another run is at work: ann@laptop-b')
    expect(locks.calls.length).toBeLessThan(25)
  })

  test("the vendor's other failures come through", async () => {
    const clock = fakeClock()
    const locks = vendor(clock)
    locks.failures.set('create', [new LandfallError('forbidden', 'no right')])
    await expect(holdLock(settings(locks, clock, 'a'))).rejects.toMatchObject({ code: 'forbidden' })
  })
})

describe('confirming before a write', () => {
  async function holding(more: Partial<HoldLockOptions> = {}) {
    const clock = fakeClock({ auto: true })
    const locks = vendor(clock)
    const lines: string[] = []
    const held = await holdLock(settings(locks, clock, 'a', { log: line => lines.push(line), ...more }))
    locks.calls.length = 0
    return { clock, locks, held, lines }
  }

  test('costs nothing while the last beat is fresh, and one beat for all when it is not', async () => {
    const { clock, locks, held } = await holding()
    clock.advance(19_999)
    await held.confirm()
    expect(locks.calls).toEqual([])
    clock.advance(1)
    await Promise.all([held.confirm(), held.confirm(), held.confirm()])
    expect(locks.calls).toEqual(['beat'])
    await held.confirm()
    expect(locks.calls).toEqual(['beat'])
  })

  test('tolerates a failing beat up to a minute, aloud, and no longer', async () => {
    const { clock, locks, held, lines } = await holding()
    const down = () => locks.failures.set('beat', [new LandfallError('network', 'no route to the vendor')])
    clock.advance(30_000)
    down()
    await held.confirm()
    expect(lines).toEqual(["The lock's beat failed: no route to the vendor"])
    clock.advance(30_000)
    down()
    await expect(held.confirm()).rejects.toMatchObject({ code: 'network' })
    expect(held.lost).toBe(false)
    await held.confirm()
    clock.advance(19_000)
    await held.confirm()
    expect(locks.calls).toEqual(['beat', 'beat', 'beat'])
  })

  test('says for good that the lock is lost when the beat finds it gone', async () => {
    const { clock, locks, held } = await holding()
    locks.objects.clear()
    clock.advance(20_000)
    await expect(held.confirm()).rejects.toMatchObject({ code: 'locked' })
    expect(held.lost).toBe(true)
    locks.calls.length = 0
    await expect(held.confirm()).rejects.toThrow('This run no longer holds estate demo')
    await held.release()
    expect(locks.calls).toEqual([])
  })

  test.each(['suspended', 'stopped'])('a holder that was %s for 10 minutes and replaced makes no further write', async how => {
    const { clock, locks, held } = await holding()
    const pause = () => (how === 'suspended' ? clock.jumpWall(600_000) : clock.advance(600_000))
    pause()
    const next = await holdLock(settings(locks, clock, 'b'))
    let writes = 0
    for (let attempt = 0; attempt < 50; attempt++) {
      await held.confirm().then(
        () => {
          writes += 1
        },
        (error: unknown) => expect(codeOf(error)).toBe('locked'),
      )
      clock.advance(1_000)
    }
    expect(writes).toBe(0)
    await held.release()
    expect(locks.objects.get('demo')?.holder.runId).toBe('b')
    await next.confirm()
  })

  test('a holder that slept and was not replaced goes on with a new object', async () => {
    const { clock, locks, held, lines } = await holding()
    clock.jumpWall(8 * 3_600_000)
    await held.confirm()
    expect(locks.calls).toEqual(['find', 'delete', 'create'])
    expect(lines).toEqual(['The lock on estate demo was renewed after a pause.'])
    await held.release()
    expect(locks.objects.size).toBe(0)
  })

  test('an answer to a beat that comes too late is not believed', async () => {
    const { clock, locks, held } = await holding()
    clock.advance(74_000)
    const beat = locks.beat
    Object.assign(locks, {
      beat: async (id: string, runId: string) => {
        await beat(id, runId)
        clock.advance(19_000)
      },
    })
    await held.confirm()
    expect(locks.calls).toEqual(['beat', 'find', 'delete', 'create'])
  })

  test('one who cannot get an answer before falling asleep again does not write', async () => {
    const { clock, locks, held } = await holding()
    clock.advance(30_000)
    const beat = locks.beat
    Object.assign(locks, {
      beat: async (id: string, runId: string) => {
        await beat(id, runId)
        clock.advance(30_000)
      },
    })
    await expect(held.confirm()).rejects.toMatchObject({ code: 'locked' })
  })

  test('a replacement whose answer was lost is found again; one that is gone is lost', async () => {
    const { clock, locks, held } = await holding()
    const create = locks.create
    Object.assign(locks, {
      create: async (claim: Parameters<CloudLocks['create']>[0]) => {
        await create(claim)
        Object.assign(locks, { create })
        throw new LandfallError('network', 'the answer was lost')
      },
    })
    clock.advance(80_000)
    await expect(held.confirm()).rejects.toMatchObject({ code: 'network' })
    await held.confirm()
    expect(locks.objects.get('demo')?.id).toBe('lock-3')
    locks.objects.clear()
    clock.advance(80_000)
    await expect(held.confirm()).rejects.toMatchObject({ code: 'locked' })
  })

  test('its own timer keeps no process alive that ends without a release', () => {
    const root = new URL('../../../', import.meta.url).pathname
    const program = `
      import { systemClock as clock } from '${root}lib/engine/clock.ts'
      import { holdLock } from '${root}lib/engine/lock.ts'
      const nothing = async () => undefined
      const locks = { create: async () => ({ id: '1' }), find: nothing, beat: nothing, delete: nothing }
      const host = { hostId: 'here', pid: 1, who: 'ann@here', isPidAlive: () => true }
      await holdLock({ locks, estate: 'demo', runId: 'a', command: 'setup', host, clock, signal: AbortSignal.any([]) })
      console.log('held')`
    const child = Bun.spawnSync([process.execPath, '--no-env-file', '-e', program], { timeout: 15_000 })
    expect([child.stdout.toString(), child.exitCode]).toEqual(['held\n', 0])
  })

  test('with its own timer, a released lock sends nothing more', async () => {
    const { every: _, ...own } = settings(vendor(fakeClock()), fakeClock(), 'a')
    const locks = vendor(own.clock)
    const held = await holdLock({ ...own, locks })
    await held.release()
    expect(locks.calls).toEqual(['create', 'delete'])
  })

  test('beats in the background, reports a failing beat, and stops with the lock', async () => {
    const ticks: (() => void)[] = []
    let stopped = 0
    const { clock, locks, held, lines } = await holding({
      every: (ms, task) => {
        expect(ms).toBe(20_000)
        ticks.push(task)
        return () => {
          stopped += 1
        }
      },
    })
    const tick = async () => {
      clock.advance(20_000)
      for (const task of ticks) task()
      for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
    }
    for (let beat = 0; beat < 10; beat++) await tick()
    expect(locks.calls).toEqual(Array(10).fill('beat'))
    locks.failures.set('beat', ['a string, not an error'])
    await tick()
    expect(lines).toEqual(["The lock's beat failed: a string, not an error"])
    expect(held.lost).toBe(false)
    locks.objects.clear()
    await tick()
    expect(held.lost).toBe(true)
    locks.calls.length = 0
    await tick()
    expect(locks.calls).toEqual([])
    await held.release()
    expect(stopped).toBe(1)
  })

  test('the real timer does not keep the process alive', async () => {
    const script = `
      import { holdLock } from './lib/engine/lock.ts'
      import { systemClock } from './lib/engine/clock.ts'
      const none = async () => undefined
      await holdLock({ locks: { create: async () => ({ id: '1' }), find: none, beat: none, delete: none }, estate: 'e', runId: 'r', command: 'c',
        host: { hostId: 'h', pid: 1, who: 'w', isPidAlive: () => true }, clock: systemClock, signal: new AbortController().signal })`
    const child = Bun.spawn([process.execPath, '-e', script], {
      cwd: `${import.meta.dir}/../../..`,
      timeout: 4_000,
      stderr: 'pipe',
    })
    expect([await child.exited, await new Response(child.stderr).text()]).toEqual([0, ''])
  })

  test("the lock's own requests pass through an adapter that confirms before each write", async () => {
    const clock = fakeClock()
    const locks = vendor(clock)
    let confirm = async () => {}
    const guarded: CloudLocks = {
      ...locks,
      create: async claim => confirm().then(() => locks.create(claim)),
      beat: async (id, runId) => confirm().then(() => locks.beat(id, runId)),
      delete: async id => confirm().then(() => locks.delete(id)),
    }
    const held = await holdLock(settings(guarded, clock, 'a'))
    confirm = () => held.confirm()
    clock.advance(30_000)
    await held.confirm()
    clock.advance(80_000)
    await held.confirm()
    await held.release()
    expect(locks.calls).toEqual(['create', 'beat', 'find', 'delete', 'create', 'delete'])
  })
})

describe('releasing', () => {
  test('deletes our lock once, and only ours', async () => {
    const clock = fakeClock()
    const locks = vendor(clock)
    const held = await holdLock(settings(locks, clock, 'a'))
    await Promise.all([held.release(), held.release()])
    await held.release()
    expect(locks.calls).toEqual(['create', 'delete'])
    await expect(held.confirm()).rejects.toThrow('bug')

    clock.advance(200_000)
    const slow = await holdLock(settings(locks, clock, 'b'))
    clock.advance(200_000)
    await holdLock(settings(locks, clock, 'c'))
    await slow.release()
    expect(locks.objects.get('demo')?.holder.runId).toBe('c')
  })

  test('a failure is reported, and the next try may succeed', async () => {
    const clock = fakeClock()
    const locks = vendor(clock)
    const held = await holdLock(settings(locks, clock, 'a'))
    locks.failures.set('delete', [new LandfallError('network', 'no answer')])
    await expect(held.release()).rejects.toMatchObject({ code: 'network' })
    await held.release()
    expect(locks.objects.size).toBe(0)
  })

  test('waits for a beat that is under way, and says when that one failed', async () => {
    const clock = fakeClock()
    const locks = vendor(clock, { tripMs: () => 100 })
    const lines: string[] = []
    const ticks: (() => void)[] = []
    const every: NonNullable<HoldLockOptions['every']> = (_, task) => {
      ticks.push(task)
      return () => {}
    }
    const held = await holdLock(settings(locks, clock, 'a', { every, log: line => lines.push(line) }))
    locks.failures.set('beat', [new LandfallError('network', 'no answer')])
    for (const task of ticks) task()
    await held.release()
    expect(locks.calls).toEqual(['create', 'beat', 'delete'])
    expect(lines).toContain("The lock's last beat failed: no answer")
  })
})

describe('races', () => {
  test('of 1,000 races of 2 or 3 takers for a free, fenced or orphaned estate, each has exactly one winner', async () => {
    for (let seed = 1; seed <= 1_000; seed++) {
      const random = dice(seed)
      const clock = fakeClock()
      const locks = vendor(clock, { offsetMs: (random() - 0.5) * 2 * DAY_MS, tripMs: () => Math.floor(random() * 3_000) })
      const start = seed % 3
      if (start > 0) {
        await locks.create({ estate: 'demo', runId: 'old', command: 'c', who: 'bob@cellar', hostId: 'id of here', pid: 7 })
        if (start === 1) clock.advance(120_000)
      }
      const takers = ['a', 'b', 'c'].slice(0, 2 + (seed % 2))
      const ends = await Promise.allSettled(
        takers.map((runId, at) =>
          holdLock(
            settings(locks, skewed(clock, (random() - 0.5) * 2 * DAY_MS), runId, {
              host: { ...host('here', [100, 101, 102]), pid: 100 + at },
            }),
          ),
        ),
      )
      const winners = takers.filter((_, at) => ends[at]?.status === 'fulfilled')
      const holder = locks.objects.get('demo')?.holder.runId
      expect({ seed, winners, holder }).toEqual({ seed, winners: winners.slice(0, 1), holder: winners[0] })
      for (const end of ends) if (end.status === 'rejected') expect(codeOf(end.reason)).toBe('locked')
    }
  })

  test('in 300 random lives with naps, slow answers and takers, nobody writes after somebody else took over', async () => {
    let takeovers = 0
    let writes = 0
    for (let seed = 1; seed <= 300; seed++) {
      const random = dice(seed)
      const clock = fakeClock()
      const locks = vendor(clock, { tripMs: () => Math.floor(random() ** 6 * 60_000) })
      const held = await holdLock(settings(locks, skewed(clock, DAY_MS), 'old'))
      let takenAtMs = Number.POSITIVE_INFINITY
      const life = async () => {
        while (!held.lost && clock.monotonicMs() < 1_500_000) {
          await clock.sleep(Math.floor(random() ** 2 * 140_000))
          const allowed = await held.confirm().then(
            () => true,
            () => false,
          )
          if (!allowed) continue
          writes += 1
          expect({ seed, late: clock.monotonicMs() > takenAtMs }).toEqual({ seed, late: false })
        }
      }
      const taker = async () => {
        while (takenAtMs === Number.POSITIVE_INFINITY && clock.monotonicMs() < 1_500_000) {
          await clock.sleep(Math.floor(random() * 20_000))
          await holdLock(settings(locks, skewed(clock, -DAY_MS), 'new')).then(
            () => {
              takenAtMs = clock.monotonicMs()
              takeovers += 1
            },
            (error: unknown) => expect(codeOf(error)).toBe('locked'),
          )
        }
      }
      await Promise.all([life(), taker()])
    }
    expect(takeovers).toBeGreaterThan(100)
    expect(writes).toBeGreaterThan(500)
  })
})
