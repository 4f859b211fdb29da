import { expect, test } from 'bun:test'
import { LandfallError } from '../../../../lib/errors.ts'
import type { Reachability } from '../../../../lib/providers/ports/machine.ts'
import { askPatiently, waitUntilReady } from '../../../../lib/providers/ssh/wait.ts'
import { fakeClock } from '../../fake-clock.ts'

const READY: Reachability = { state: 'ready' }
const AWAY: Reachability = { state: 'unreachable', why: 'nobody answers' }
const REFUSED: Reachability = { state: 'key_refused', why: 'prod refused the key' }
const IMPOSTOR: Reachability = { state: 'impostor', why: 'somebody else answers' }

/** Waits for a machine that shows `states` one after the other, the last one for ever. */
async function wait(states: readonly Reachability[], timeoutMs = 120_000, random = () => 0.5) {
  const clock = fakeClock()
  const atMs: number[] = []
  const look = async (limitMs: number) => {
    expect(limitMs).toBeLessThanOrEqual(6_000)
    atMs.push(clock.monotonicMs())
    return states[Math.min(atMs.length, states.length) - 1] ?? AWAY
  }
  const failure = await waitUntilReady({
    name: 'prod',
    look,
    lookTimeoutMs: 6_000,
    timeoutMs,
    signal: new AbortController().signal,
    context: { clock, random },
  }).then(
    () => undefined,
    (error: unknown) => {
      if (error instanceof LandfallError) return error
      throw error
    },
  )
  return { atMs, failure, endedMs: clock.monotonicMs(), sleeps: clock.sleeps }
}

test('a machine that answers at once is not waited for', async () => {
  expect(await wait([READY])).toMatchObject({ atMs: [0], failure: undefined, endedMs: 0 })
})

test('looks come from half a second apart, growing to five seconds', async () => {
  const { sleeps, failure } = await wait([...Array<Reachability>(10).fill(AWAY), READY])
  expect(failure).toBeUndefined()
  expect(sleeps[0]).toBe(500)
  expect(sleeps.slice(-2)).toEqual([5_000, 5_000])
  expect([...sleeps].sort((a, b) => a - b)).toEqual([...sleeps])
})

test('several waiters are spread by chance', async () => {
  const [early, late] = [await wait([AWAY, READY], 60_000, () => 0), await wait([AWAY, READY], 60_000, () => 0.999)]
  expect(early.endedMs).toBe(375)
  expect(late.endedMs).toBeGreaterThan(600)
})

test('it ends at its deadline and says what was seen last', async () => {
  const { failure, endedMs } = await wait([AWAY], 60_000)
  expect([failure?.code, failure?.message]).toEqual(['timeout', 'prod was not ready for SSH within 60 s: nobody answers'])
  expect(endedMs).toBe(60_000)
})

test('somebody with another key ends it at once', async () => {
  const { failure, atMs } = await wait([AWAY, IMPOSTOR, READY])
  expect([failure?.code, failure?.message, atMs.length]).toEqual(['host_key', 'somebody else answers', 2])
})

test('a refused key is given half a minute, seldom asked, and then believed', async () => {
  const { failure, endedMs, sleeps } = await wait([REFUSED])
  expect([failure?.code, failure?.message]).toEqual(['forbidden', 'prod refused the key'])
  expect(endedMs).toBeGreaterThanOrEqual(30_000)
  expect(endedMs).toBeLessThan(36_000)
  expect(Math.min(...sleeps)).toBeGreaterThanOrEqual(3_000)
})

test('a key that is accepted after the machine has fetched it is no failure', async () => {
  expect((await wait([AWAY, REFUSED, REFUSED, READY])).failure).toBeUndefined()
})

test('a key that is still refused at the deadline is called refused', async () => {
  expect((await wait([REFUSED], 5_000)).failure?.code).toBe('forbidden')
})

/** Asks what fails as `failures` say, one after the other, and then answers. */
async function askThrough(failures: readonly LandfallError[], patienceMs: number) {
  const clock = fakeClock()
  const left = [...failures]
  let asked = 0
  const ending = await askPatiently(
    async () => {
      asked += 1
      clock.advance(1_000)
      const failure = left.shift()
      if (failure) throw failure
      return 'an answer'
    },
    { patienceMs, clock },
  ).catch((error: unknown) => error)
  return { ending, asked, endedMs: clock.monotonicMs() }
}
const silence = (code: 'network' | 'timeout') => new LandfallError(code, 'nobody answers')

test('what has no answer is asked again, whether it was refused or waited for in vain', async () => {
  expect(await askThrough([silence('network'), silence('timeout')], 60_000)).toMatchObject({ ending: 'an answer', asked: 3 })
})

test('without patience it is asked once', async () => {
  const last = silence('timeout')
  expect(await askThrough([last], 0)).toEqual({ ending: last, asked: 1, endedMs: 1_000 })
})

test('the patience ends', async () => {
  const { ending, endedMs } = await askThrough(Array<LandfallError>(100).fill(silence('network')), 60_000)
  expect(ending).toMatchObject({ code: 'network' })
  expect(endedMs).toBeWithin(50_000, 61_001)
})

test.each(['host_key', 'forbidden', 'cancelled'] as const)('%s is an answer', async code => {
  const answer = new LandfallError(code, 'no')
  expect(await askThrough([answer], 60_000)).toMatchObject({ ending: answer, asked: 1 })
})
