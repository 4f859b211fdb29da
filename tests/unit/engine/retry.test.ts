import { describe, expect, test } from 'bun:test'
import { backoffMs, type CreateOnceOptions, createOnce, retry, VENDOR_POLICY } from '../../../lib/engine/retry.ts'
import { LandfallError } from '../../../lib/errors.ts'
import { fakeClock } from '../fake-clock.ts'

const policy = { maxRetries: 2, baseMs: 1_000, capMs: 8_000 }

describe('the wait before another try', () => {
  test.each([
    [1, 0, 0, 1_000],
    [1, 0.99, 0, 1_000],
    [2, 0, 0, 1_000],
    [3, 0.5, 0, 2_500],
    [4, 1, 0, 8_000],
    [50, 1, 0, 8_000],
    [1, 0, 3_000, 3_000],
    [1, 0, 3_600_000, 8_000],
  ])('before try %d at dice %d, asked for %d ms: %d ms', (attempt, dice, askedMs, expected) => {
    expect(backoffMs(policy, attempt, () => dice, askedMs)).toBe(expected)
  })

  test('the vendor policy gives up within two minutes of waiting', () => {
    let totalMs = 0
    for (let attempt = 1; attempt <= VENDOR_POLICY.maxRetries; attempt++) totalMs += backoffMs(VENDOR_POLICY, attempt, () => 1)
    expect(totalMs).toBe(31_000)
  })
})

describe('retry', () => {
  const failing = (failures: number) => {
    let calls = 0
    return {
      call: async (attempt: number) => {
        calls += 1
        if (calls <= failures) throw new LandfallError('network', `try ${attempt} failed`)
        return `answer to try ${attempt}`
      },
      calls: () => calls,
    }
  }

  test('repeats until there is an answer, and tells of each wait first', async () => {
    const clock = fakeClock()
    const { call } = failing(2)
    const waits: [number, number][] = []
    const answer = await retry(call, {
      policy,
      clock,
      random: () => 0,
      mayRetry: () => true,
      onWait: ({ attempt, waitMs }) => waits.push([attempt, waitMs]),
    })
    expect(answer).toBe('answer to try 3')
    expect(waits).toEqual([
      [1, 1_000],
      [2, 1_000],
    ])
    expect(clock.monotonicMs()).toBe(2_000)
  })

  test('throws the last failure when the policy is used up', async () => {
    const { call, calls } = failing(9)
    const running = retry(call, { policy, clock: fakeClock(), random: () => 0, mayRetry: () => true })
    await expect(running).rejects.toThrow('try 3 failed')
    expect(calls()).toBe(3)
  })

  test('does not repeat what may not be repeated', async () => {
    const { call, calls } = failing(1)
    await expect(retry(call, { policy, clock: fakeClock(), random: () => 0, mayRetry: () => false })).rejects.toThrow('try 1')
    expect(calls()).toBe(1)
  })

  test('waits as long as the vendor asks, and stops waiting at an interrupt', async () => {
    const clock = fakeClock()
    const options = { policy, clock, random: () => 0, mayRetry: () => true, askedWaitMs: () => 4_000 }
    await retry(failing(1).call, options)
    expect(clock.sleeps).toEqual([4_000])
    const interrupted = retry(failing(1).call, { ...options, signal: AbortSignal.abort() })
    await expect(interrupted).rejects.toMatchObject({ code: 'cancelled' })
  })
})

describe('creating exactly once', () => {
  type Failure = 'refused' | 'unknown' | 'exists' | 'fatal'

  /** Each send follows the script: what it answers, and whether the thing is made. Reads show it `lagReads` reads later. */
  function vendor(
    script: { answer: 'ok' | Failure; made?: boolean }[],
    { lagReads = 0, reads = [] as (Error | undefined)[] } = {},
  ) {
    const state = { made: 0, sends: 0, finds: 0 }
    let lag = lagReads
    const clock = fakeClock()
    const options: CreateOnceOptions<string> = {
      policy,
      clock,
      random: () => 0,
      what: 'server prod',
      async send() {
        const { answer, made = answer === 'ok' } = script[state.sends] ?? { answer: 'fatal' }
        state.sends += 1
        if (made) state.made += 1
        if (answer !== 'ok') throw new LandfallError('vendor', `send ${state.sends}: ${answer}`, { vendorCode: answer })
        return 'the server'
      },
      async find() {
        const failure = reads[state.finds]
        state.finds += 1
        if (failure) throw failure
        if (state.made === 0) return undefined
        lag -= 1
        return lag < 0 ? 'the server' : undefined
      },
      judge: error => {
        const code = error instanceof LandfallError ? error.vendorCode : undefined
        return code === 'refused' || code === 'unknown' || code === 'exists' ? code : 'fatal'
      },
    }
    return { state, clock, options }
  }

  test('an answer needs no read', async () => {
    const { state, options } = vendor([{ answer: 'ok' }])
    expect(await createOnce(options)).toBe('the server')
    expect(state).toEqual({ made: 1, sends: 1, finds: 0 })
  })

  test('a lost answer is read back, also from a list that lags, and never sent again', async () => {
    for (const lagReads of [0, 1, 2]) {
      const { state, options } = vendor([{ answer: 'unknown', made: true }], { lagReads })
      expect(await createOnce(options)).toBe('the server')
      expect(state).toEqual({ made: 1, sends: 1, finds: lagReads + 1 })
    }
  })

  test('what certainly had no effect is sent again without reading, as often as the policy allows', async () => {
    const lucky = vendor([{ answer: 'refused' }, { answer: 'refused' }, { answer: 'ok' }])
    expect(await createOnce(lucky.options)).toBe('the server')
    expect(lucky.state).toEqual({ made: 1, sends: 3, finds: 0 })

    const unlucky = vendor([{ answer: 'refused' }, { answer: 'refused' }, { answer: 'refused' }])
    await expect(createOnce(unlucky.options)).rejects.toThrow('send 3')
  })

  test('a request that got lost is sent again only after three reads found nothing', async () => {
    const { state, options } = vendor([{ answer: 'unknown' }, { answer: 'ok' }])
    expect(await createOnce({ ...options, onWait: ({ attempt }) => expect([attempt, state.finds]).toEqual([1, 3]) })).toBe(
      'the server',
    )
    expect(state).toEqual({ made: 1, sends: 2, finds: 3 })
  })

  test('gives up when everything gets lost', async () => {
    const { state, options } = vendor([{ answer: 'unknown' }, { answer: 'unknown' }, { answer: 'unknown' }])
    await expect(createOnce(options)).rejects.toThrow('send 3: unknown')
    expect(state.finds).toBe(9)
  })

  test('"it exists already" is adopted when it is found, and thrown when it is not', async () => {
    const ours = vendor([{ answer: 'exists', made: true }])
    expect(await createOnce(ours.options)).toBe('the server')
    const ghost = vendor([{ answer: 'exists' }])
    await expect(createOnce(ghost.options)).rejects.toThrow('send 1: exists')
    expect(ghost.state.sends).toBe(1)
  })

  test('a fatal refusal is thrown at once', async () => {
    const { state, options } = vendor([{ answer: 'fatal' }])
    await expect(createOnce(options)).rejects.toThrow('send 1: fatal')
    expect(state.finds).toBe(0)
  })

  test("a stranger's namesake is never adopted", async () => {
    const stranger = new LandfallError('name_taken', 'server prod belongs to somebody else')
    const { state, options } = vendor([{ answer: 'exists' }], { reads: [stranger] })
    await expect(createOnce(options)).rejects.toBe(stranger)
    expect(state.sends).toBe(1)
  })

  test('when reading back fails too, it is said that the outcome is not known, and nothing is sent again', async () => {
    for (const answer of ['unknown', 'exists'] as const) {
      const { state, options } = vendor([{ answer }], { reads: [undefined, new Error('no route')] })
      const failure = await createOnce(options).catch((error: unknown) => error)
      expect(failure).toMatchObject({ code: 'ambiguous', hint: expect.stringContaining('again') })
      expect(String(failure)).toContain('It is not known whether server prod was created')
      expect(state.sends).toBe(1)
    }
  })

  test('an interrupt ends reading back and waiting as an interrupt', async () => {
    const during = vendor([{ answer: 'unknown' }])
    await expect(createOnce({ ...during.options, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' })
    const reading = vendor([{ answer: 'unknown' }], { reads: [new LandfallError('cancelled', 'Interrupted.')] })
    await expect(createOnce(reading.options)).rejects.toMatchObject({ code: 'cancelled' })
    const waiting = vendor([{ answer: 'refused' }])
    await expect(createOnce({ ...waiting.options, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' })
    expect([during.state.sends, reading.state.sends, waiting.state.sends]).toEqual([1, 1, 1])
  })

  test('waits at least as long as the vendor asks', async () => {
    const { clock, options } = vendor([{ answer: 'refused' }, { answer: 'ok' }])
    await createOnce({ ...options, askedWaitMs: () => 5_000 })
    expect(clock.monotonicMs()).toBe(5_000)
  })
})
