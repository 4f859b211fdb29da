import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { StepEvent } from '../../../lib/engine/execute.ts'
import { type Journal, openJournal } from '../../../lib/engine/journal.ts'
import { makePlan } from '../../../lib/engine/plan.ts'
import { type RunOptions, runSteps, typicalStepMs } from '../../../lib/engine/runner.ts'
import { blocked, type Change, done, refused, type Step, todo } from '../../../lib/engine/step.ts'
import { World, type WorldView } from '../../../lib/engine/world.ts'
import { LandfallError } from '../../../lib/errors.ts'
import { fakeClock } from '../fake-clock.ts'

interface Small {
  things: readonly string[]
  others: readonly string[]
}

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-runner-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

/** A world of named things, whose list may lag behind, and whose every write is seen. */
function sandbox({ present = [] as string[], lagReads = 0 } = {}) {
  const clock = fakeClock()
  const interrupt = new AbortController()
  const real = new Set(present)
  const writes: { name: string; fromMs: number; toMs: number }[] = []
  const events: StepEvent[] = []
  const lines: string[] = []
  const verifications: string[] = []
  let lag = lagReads
  let reads = 0
  const world = new World<Small>({
    things: async () => {
      reads += 1
      if (writes.length > 0 && lag > 0) {
        lag -= 1
        return present
      }
      return [...real]
    },
    others: async () => [],
  })
  /** Takes `ms`, then it is there. */
  const write = async (name: string, ms: number) => {
    const fromMs = clock.monotonicMs()
    await clock.sleep(ms)
    real.add(name)
    writes.push({ name, fromMs, toMs: clock.monotonicMs() })
  }
  const create = (name: string, { ms = 1_000, after = () => {}, more = {} as Partial<Change<Small>> } = {}): Change<Small> => ({
    kind: 'create',
    summary: `create ${name}`,
    async apply({ world: seen }) {
      await write(name, ms)
      after()
      seen.update('things', all => [...all, name])
    },
    ...more,
  })
  const step = (
    name: string,
    needs: string[] = [],
    look?: Step<Small>['look'],
    more: Partial<Step<Small>> = {},
  ): Step<Small> => ({
    id: name,
    noun: 'server',
    title: `${name} is there`,
    needs,
    reads: ['things'],
    look: look ?? (seen => (has(seen, name) ? done('it is') : todo(create(name)))),
    ...more,
  })
  const run = async (steps: Step<Small>[], more: Partial<RunOptions<Small>> = {}) => {
    return runSteps({
      steps,
      world,
      clock,
      signal: interrupt.signal,
      journal: instantJournal(),
      display: 'silent',
      events: {
        onStep: event => events.push(event),
        onLog: ({ line }) => lines.push(line),
        onVerify: ({ state }) => verifications.push(state),
      },
      ...more,
    })
  }
  const open = (runId: string): Promise<Journal> =>
    openJournal(join(directory, 'demo'), { clock, runId, command: 'c', who: 'w', version: '0', clean: text => text })
  return {
    clock,
    interrupt,
    real,
    writes,
    events,
    lines,
    verifications,
    world,
    write,
    create,
    step,
    run,
    open,
    reads: () => reads,
  }
}

/** Takes no real time, so that virtual time shows the run's own. */
function instantJournal(): RunOptions<Small>['journal'] {
  let intents = 0
  const nothing = async () => {}
  return { start: nothing, outcome: nothing, settle: nothing, end: nothing, intent: async () => ++intents }
}

const has = (world: WorldView<Small>, name: string) => world.get('things').includes(name)
const names = (writes: { name: string }[]) => writes.map(({ name }) => name)
const states = (result: { steps: readonly { id: string; state: string }[] }) =>
  Object.fromEntries(result.steps.map(({ id, state }) => [id, state]))

describe('a run', () => {
  test('makes everything true, and a second run writes nothing, not even a line', async () => {
    const box = sandbox()
    const steps = [box.step('app', ['server']), box.step('server', ['key']), box.step('key')]
    const journal = await box.open('first')
    const first = await box.run(steps, { journal })
    expect(first).toMatchObject({ outcome: 'done', applied: 3, others: [] })
    expect(names(box.writes)).toEqual(['key', 'server', 'app'])
    expect(box.verifications).toEqual(['started', 'done'])

    await rm(directory, { recursive: true })
    box.world.forget(['things'])
    const second = await box.run(steps, { journal: await box.open('second') })
    expect(second).toMatchObject({ outcome: 'nothing', applied: 0 })
    expect(box.writes).toHaveLength(3)
    await expect(readdir(directory)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('starts each step the moment its needs are done: the whole takes as long as the longest path', async () => {
    const box = sandbox()
    const slow = (name: string, ms: number, ...needs: string[]) =>
      box.step(name, needs, seen => (has(seen, name) ? done('') : todo(box.create(name, { ms }))))
    const steps = [
      slow('a', 10_000),
      slow('b', 1_000),
      slow('b2', 5_000, 'b'),
      slow('b3', 5_000, 'b2'),
      slow('end', 1_000, 'a', 'b3'),
    ]
    const { durationMs } = await box.run(steps)
    expect(durationMs).toBe(12_000)
    const from = Object.fromEntries(box.writes.map(({ name, fromMs }) => [name, fromMs]))
    expect(from).toEqual({ a: 0, b: 0, b2: 1_000, b3: 6_000, end: 11_000 })
  })

  test.each([
    ['sequence', 3_000],
    ['parallel', 1_000],
  ] as const)("applies one step's changes in %s", async (order, durationMs) => {
    const box = sandbox()
    const look = (seen: WorldView<Small>) => {
      const missing = ['x', 'y', 'z'].filter(name => !has(seen, name))
      return missing.length === 0 ? done('') : todo(...missing.map(name => box.create(name)))
    }
    expect(await box.run([box.step('all', [], look, { order })])).toMatchObject({ outcome: 'done', applied: 3, durationMs })
    expect(names(box.writes)).toEqual(['x', 'y', 'z'])
  })

  test('goes on with what came later: a step judged only when its need is done, and one that finds more in a second round', async () => {
    const box = sandbox()
    const record = box.step('dns', ['server'], seen => {
      if (!has(seen, 'server')) return blocked('server', { kind: 'create', summary: 'create dns' })
      if (!has(seen, 'dns')) return todo(box.create('dns'))
      return has(seen, 'proof') ? done('') : todo(box.create('proof'))
    })
    expect(await box.run([box.step('server'), record])).toMatchObject({ outcome: 'done', applied: 3 })
    expect(names(box.writes)).toEqual(['server', 'dns', 'proof'])
  })

  test('reads a slice again that a change only touched, and not the others', async () => {
    const box = sandbox()
    const apply = async () => {
      await box.write('x', 1)
      box.world.touch('things')
    }
    const look = (seen: WorldView<Small>) => {
      const change = box.create('x', { more: { apply } })
      return has(seen, 'x') ? done('') : todo(change)
    }
    expect((await box.run([box.step('x', [], look)])).outcome).toBe('done')
    // The first look, and the one after the touch: nothing changed after that, so it is the proof as well.
    expect(box.reads()).toBe(2)
  })

  test('a wait is no change, and a selection may lack its needs', async () => {
    const box = sandbox()
    const waiting = box.create('ready', { more: { kind: 'wait', summary: 'wait until it is ready' } })
    const step = box.step('x', ['gone'], seen => (has(seen, 'ready') ? done('') : todo(waiting)))
    await expect(box.run([step])).rejects.toThrow('bug: step "x" needs "gone"')
    expect(await box.run([step], { partial: true })).toMatchObject({ outcome: 'done', applied: 0 })
    expect(box.events.map(({ state, change }) => [state, change])).toEqual([
      ['waiting', 'wait until it is ready'],
      ['changed', 'wait until it is ready'],
      ['done', undefined],
    ])
  })

  test('tells what happens, with times', async () => {
    const box = sandbox({ present: ['key'] })
    const apply: Change<Small>['apply'] = async context => {
      context.log('asking')
      await box.create('server').apply(context)
    }
    const server = box.step('server', ['key'], seen =>
      has(seen, 'server') ? done('runs') : todo(box.create('server', { more: { apply } })),
    )
    await box.run([box.step('key'), server])
    expect(box.events.map(({ id, state, elapsedMs, applied, detail }) => [id, state, elapsedMs, applied, detail])).toEqual([
      ['key', 'done', 0, 0, 'it is'],
      ['server', 'started', 0, 0, undefined],
      ['server', 'changed', 1_000, 1, undefined],
      ['server', 'done', 1_000, 1, 'runs'],
    ])
    expect(box.lines).toEqual(['asking'])
  })
})

describe('before the first write', () => {
  test('one refusal refuses everything, and every reason is said', async () => {
    const box = sandbox()
    const no = (name: string) => box.step(name, [], () => refused(`It belongs to ${name}.`, `ask ${name}`))
    const failure = await box.run([box.step('a'), no('bob'), no('eve')]).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'refused', hint: 'ask bob' })
    expect(String(failure)).toContain('Nothing was changed. bob is there: It belongs to bob. eve is there: It belongs to eve.')
    expect([box.writes, await readdir(directory)]).toEqual([[], []])
  })

  test('a world that changed since the plan was shown is not touched', async () => {
    const box = sandbox()
    const steps = [box.step('a'), box.step('b')]
    await box.world.look(['things'])
    const plan = makePlan(steps, box.world)
    box.real.add('a')
    box.world.forget(['things'])
    await expect(box.run(steps, { plan })).rejects.toMatchObject({ code: 'refused' })
    expect(box.writes).toEqual([])
    expect((await box.run(steps, { plan: makePlan(steps, box.world) })).outcome).toBe('done')
  })

  test('a journal that cannot be written stops the run', async () => {
    const box = sandbox()
    const journal = await box.open('r')
    const full = () => Promise.reject(new LandfallError('refused', 'the disk is full'))
    await expect(box.run([box.step('a')], { journal: { ...journal, start: full } })).rejects.toThrow('the disk is full')
    expect(await box.run([box.step('a')], { journal: { ...journal, intent: full } })).toMatchObject({
      outcome: 'failed',
      applied: 0,
    })
    expect(box.writes).toEqual([])
  })
})

describe('the journal of a run', () => {
  test('has each intent before its change, and each outcome', async () => {
    const box = sandbox()
    const said: string[] = []
    const spy = async () => {
      const real = await box.open('r')
      const journal: RunOptions<Small>['journal'] = {
        ...real,
        async intent(intent) {
          said.push(`intent ${intent.summary}`)
          return real.intent(intent)
        },
        async outcome(id, { state }) {
          said.push(`${state} ${id}`)
        },
        async end({ outcome, applied }) {
          said.push(`end ${outcome} ${applied}`)
        },
      }
      return journal
    }
    const boom = box.step('boom', ['a'], () =>
      todo(box.create('boom', { more: { apply: () => Promise.reject(new Error('boom')) } })),
    )
    const a = box.step('a', [], seen =>
      has(seen, 'a') ? done('') : todo(box.create('a', { after: () => said.push('written') })),
    )
    await box.run([a, boom], { journal: await spy() })
    expect(said).toEqual(['intent create a', 'written', 'done 1', 'intent create boom', 'failed 2', 'end failed 1'])
  })

  test('a run that finds done what an earlier run left open says so, once', async () => {
    const box = sandbox({ present: ['a'] })
    const killed = await box.open('killed')
    await killed.intent({ step: 'a', noun: 'server', kind: 'create', summary: 'create a' })
    await killed.intent({ step: 'b', noun: 'server', kind: 'create', summary: 'create b' })
    const again = async (...steps: Step<Small>[]) => (await box.run(steps, { journal: await box.open('again') })).outcome
    expect(await again(box.step('a'))).toBe('nothing')
    expect((await box.open('next')).unfinished().map(({ step }) => step)).toEqual(['b'])
    expect(await again(box.step('a'), box.step('b'))).toBe('done')
    expect((await box.open('next')).unfinished()).toEqual([])
  })

  test('trouble with it after a change is a failure, and never hides a worse one', async () => {
    const box = sandbox()
    const journal = await box.open('r')
    const full = () => Promise.reject(new LandfallError('refused', 'the disk is full'))
    const late = await box.run([box.step('a')], { journal: { ...journal, end: full } })
    expect(late).toMatchObject({ outcome: 'failed', applied: 1, error: { message: 'the disk is full' } })

    const boom = box.step('boom', [], () =>
      todo(box.create('boom', { more: { apply: () => Promise.reject(new Error('boom')) } })),
    )
    const both = await box.run([boom], { journal: { ...journal, outcome: full } })
    expect(both).toMatchObject({ outcome: 'failed', error: { message: 'boom' } })
    expect(box.lines).toEqual(['the disk is full'])
    await box.run([boom], { journal: { ...journal, outcome: () => Promise.reject('a word') } })
    expect(box.lines).toEqual(['the disk is full', 'a word'])
  })
})

describe('when a step fails', () => {
  const failing = (box: ReturnType<typeof sandbox>, name: string, ms: number, ...needs: string[]) =>
    box.step(name, needs, () =>
      todo(
        box.create(name, {
          more: {
            apply: async () => {
              await box.clock.sleep(ms)
              throw new LandfallError('limit', `no more ${name}`)
            },
          },
        }),
      ),
    )

  test('what needs it is skipped with the reason, everything else goes on, and all errors are kept', async () => {
    const box = sandbox()
    const steps = [
      failing(box, 'server', 1_000),
      box.step('app', ['server']),
      box.step('dns', ['app']),
      box.step('key'),
      box.step('network', ['key']),
      failing(box, 'stack', 1_500, 'network'),
    ]
    const result = await box.run(steps)
    expect(states(result)).toEqual({
      server: 'failed',
      app: 'skipped',
      dns: 'skipped',
      key: 'done',
      network: 'done',
      stack: 'failed',
    })
    expect(result.steps.filter(({ state }) => state === 'skipped').map(({ detail }) => detail)).toEqual([
      'needs "server is there", which failed',
      'needs "app is there", which was skipped',
    ])
    expect(result).toMatchObject({
      outcome: 'failed',
      applied: 2,
      error: { message: 'no more server' },
      others: [{ message: 'no more stack' }],
    })
    expect(names(box.writes)).toEqual(['key', 'network'])
    expect(box.verifications).toEqual([])
    expect(box.events.find(({ state }) => state === 'failed')?.error).toMatchObject({ code: 'limit' })
  })

  test('changes side by side all end, and each failure is told', async () => {
    const box = sandbox()
    const broken = (name: string) => box.create(name, { more: { apply: () => Promise.reject(new Error(`no ${name}`)) } })
    const result = await box.run([
      box.step('all', [], () => todo(broken('x'), box.create('y'), broken('z')), { order: 'parallel' }),
    ])
    expect(result).toMatchObject({ outcome: 'failed', applied: 1, error: { message: 'no x' }, others: [{ message: 'no z' }] })
    expect(names(box.writes)).toEqual(['y'])
  })

  test.each([
    ['refuses once it can be judged', () => refused('It is foreign.', 'rename it'), 'refused', 'It is foreign.'],
    [
      'still waits',
      () => blocked('the moon'),
      'unverified',
      'b is there: waits for the moon, although everything it needs is done.',
    ],
  ] as const)('a later step that %s fails in its own words', async (_, finding, code, message) => {
    const box = sandbox()
    const b = box.step('b', ['a'], seen => (has(seen, 'a') ? finding() : blocked('a')))
    const result = await box.run([box.step('a'), b])
    expect(result).toMatchObject({ outcome: 'failed', applied: 1, error: { code, message } })
  })

  test('a change that does not take is named, and not tried again', async () => {
    const box = sandbox()
    const change = box.create('x', { more: { apply: () => box.write('x', 1) } })
    const result = await box.run([box.step('x', [], () => todo(change))])
    expect(result).toMatchObject({
      error: { code: 'unverified', message: 'x is there: its changes were applied, yet it still wants: create x.' },
    })
    expect(box.writes).toHaveLength(1)
  })

  test('a step that never comes to an end is stopped after ten rounds; one without changes is a bug', async () => {
    const box = sandbox()
    const greedy = box.step('x', [], seen => todo(box.create(`x${seen.get('things').length}`)))
    expect(await box.run([greedy])).toMatchObject({ outcome: 'failed', applied: 10, error: { code: 'unverified' } })
    const lazy = await box.run([box.step('y', [], () => todo())])
    expect(String(lazy.error)).toContain('bug: step "y" has something to do, but names no change')
  })

  test('nothing is destroyed that the plan did not show', async () => {
    const box = sandbox()
    const gone = { kind: 'destroy', summary: 'delete the old server' } as const
    const destroy: Change<Small> = { ...gone, apply: context => box.create('gone').apply(context) }
    const later = (...announced: (typeof gone)[]) =>
      box.step('old', ['a'], seen => (has(seen, 'gone') ? done('') : has(seen, 'a') ? todo(destroy) : blocked('a', ...announced)))
    const surprise = await box.run([box.step('a'), later()])
    expect(surprise).toMatchObject({ error: { code: 'refused' } })
    expect(String(surprise.error)).toContain('now wants to delete the old server, which the plan did not show')
    expect(names(box.writes)).toEqual(['a'])

    const other = sandbox()
    const shown = other.step('old', ['a'], seen =>
      has(seen, 'gone') ? done('') : has(seen, 'a') ? todo({ ...gone, apply: other.create('gone').apply }) : blocked('a', gone),
    )
    expect((await other.run([other.step('a'), shown])).outcome).toBe('done')
    expect((await box.run([box.step('old', [], seen => (has(seen, 'gone') ? done('') : todo(destroy)))])).outcome).toBe('done')
  })

  test('an observer that throws stops neither the run nor the others, and is reported', async () => {
    const box = sandbox()
    const events = {
      onStep() {
        throw new Error('the pipe is closed')
      },
    }
    expect(await box.run([box.step('a'), box.step('b', ['a'])], { events })).toMatchObject({
      outcome: 'failed',
      applied: 2,
      error: { message: 'the pipe is closed' },
    })
  })
})

describe('an interrupt', () => {
  test('ends waits at once, lets a mutation end, and starts nothing new', async () => {
    const box = sandbox()
    const waiting = box.step('waiting', [], () =>
      todo(box.create('w', { more: { kind: 'wait', apply: ({ signal }) => box.clock.sleep(3_600_000, signal) } })),
    )
    const two = box.step('two', [], seen =>
      has(seen, 'y')
        ? done('')
        : todo(...['x', 'y'].filter(name => !has(seen, name)).map(name => box.create(name, { ms: 5_000 }))),
    )
    box.clock.sleep(2_000).then(() => box.interrupt.abort())
    const slow = box.step('slow', [], seen => (has(seen, 'slow') ? done('') : todo(box.create('slow', { ms: 4_000 }))))
    const intents: string[] = []
    const intent: Journal['intent'] = async ({ summary }) => intents.push(summary)
    const steps = [waiting, two, slow, box.step('next', ['slow']), box.step('after', ['two']), box.step('last', ['after'])]
    const result = await box.run(steps, { journal: { ...instantJournal(), intent } })
    expect(intents).toEqual(['create w', 'create x', 'create slow'])
    expect(states(result)).toEqual({
      waiting: 'interrupted',
      two: 'interrupted',
      slow: 'done',
      next: 'skipped',
      after: 'skipped',
      last: 'skipped',
    })
    expect(names(box.writes)).toEqual(['slow', 'x'])
    expect(result).toMatchObject({ outcome: 'interrupted', applied: 2, durationMs: 5_000 })
    expect(result.error).toBeUndefined()
    for (const { state, detail } of result.steps) if (state === 'skipped') expect(detail).toBe('the run was interrupted before')
  })

  test('before the run writes nothing', async () => {
    const box = sandbox()
    box.interrupt.abort()
    expect(await box.run([box.step('a')], { journal: await box.open('r') })).toMatchObject({ outcome: 'interrupted', applied: 0 })
    expect((await box.open('next')).lastRun()).toMatchObject({ outcome: 'interrupted', applied: 0 })
    expect(box.writes).toEqual([])
  })

  test('while the intent is being written sends nothing', async () => {
    const box = sandbox()
    const journal = await box.open('r')
    const intent: Journal['intent'] = async written => {
      box.interrupt.abort()
      return journal.intent(written)
    }
    expect(await box.run([box.step('a')], { journal: { ...journal, intent } })).toMatchObject({
      outcome: 'interrupted',
      applied: 0,
    })
    expect(box.writes).toEqual([])
  })

  test('does not hide a failure', async () => {
    const box = sandbox()
    const apply = async () => {
      box.interrupt.abort()
      throw new Error('the roll-back failed')
    }
    const result = await box.run([box.step('a', [], () => todo(box.create('a', { more: { apply } }))), box.step('b', ['a'])])
    expect(result).toMatchObject({ outcome: 'interrupted', error: { message: 'the roll-back failed' } })
    expect(states(result)).toEqual({ a: 'failed', b: 'skipped' })
  })

  test('during the second look says interrupted, not wrong', async () => {
    const box = sandbox({ lagReads: 99 })
    box.clock.sleep(3_000).then(() => box.interrupt.abort())
    expect(await box.run([box.step('a')])).toMatchObject({ outcome: 'interrupted', applied: 1 })
  })

  test('after everything was applied and proved changes nothing', async () => {
    const box = sandbox()
    const look = (seen: WorldView<Small>) =>
      has(seen, 'a') ? done('') : todo(box.create('a', { after: () => box.interrupt.abort() }))
    expect(await box.run([box.step('a', [], look)])).toMatchObject({ outcome: 'done', applied: 1 })
  })
})

describe('the second look', () => {
  test('waits for a list that lags', async () => {
    const box = sandbox({ lagReads: 3 })
    expect(await box.run([box.step('a')])).toMatchObject({ outcome: 'done', durationMs: 1_000 + 250 + 500 + 1_000 })
  })

  test('names the step and what is still wanted when the world does not agree', async () => {
    const box = sandbox()
    const a = box.step('a', [], seen =>
      has(seen, 'a') ? done('') : todo(box.create('a', { after: () => box.real.delete('a') })),
    )
    const result = await box.run([a, box.step('b')])
    expect(result).toMatchObject({ outcome: 'failed', applied: 2, durationMs: 11_000, error: { code: 'unverified' } })
    expect(String(result.error)).toContain('a second look disagrees: a is there (still wanted: create a).')
    expect(box.verifications).toEqual(['started', 'failed'])
    const quick = await box.run([a], { settleMs: 0 })
    expect(quick).toMatchObject({ outcome: 'failed', durationMs: 1_000 })
  })

  test('reads again only what was touched', async () => {
    const box = sandbox()
    await box.run([box.step('a', [], undefined, { reads: ['things', 'others'] })])
    expect(box.reads()).toBe(2)
  })
})

describe('the usual time of a step', () => {
  const box = sandbox()
  const entry = (step: Step<Small>) => ({ step, finding: todo(box.create('x'), box.create('y', { more: { kind: 'wait' } })) })
  const learned = ({ kind }: { kind: string }) => ({ create: 1_000, wait: 9_000 })[kind]

  test('is learned change by change, adds up in sequence, and is the longest side by side', () => {
    expect(typicalStepMs(entry(box.step('a')), learned)).toBe(10_000)
    expect(typicalStepMs(entry(box.step('a', [], undefined, { order: 'parallel' })), learned)).toBe(9_000)
  })

  test('is what its author says while anything is unknown, or nothing', () => {
    expect(
      typicalStepMs(entry(box.step('a', [], undefined, { typicalMs: 7 })), ({ kind }) => (kind === 'wait' ? 1 : undefined)),
    ).toBe(7)
    expect(typicalStepMs(entry(box.step('a')))).toBeUndefined()
    expect(typicalStepMs({ step: box.step('a'), finding: done('') }, learned)).toBeUndefined()
  })

  test('is learned of the noun only where its author says nothing', () => {
    const ofNoun = ({ step }: { step?: string }) => (step === undefined ? 50 : undefined)
    expect(typicalStepMs(entry(box.step('a', [], undefined, { typicalMs: 7_000 })), ofNoun)).toBe(7_000)
    expect(typicalStepMs(entry(box.step('a')), ofNoun)).toBe(100)
  })
})
