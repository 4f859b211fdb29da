import { describe, expect, test } from 'bun:test'
import { coming, isCoveredBy, isEmpty, makePlan, slicesOf, wishOf } from '../../../lib/engine/plan.ts'
import { blocked, type Change, done, type Finding, refused, type Step, todo } from '../../../lib/engine/step.ts'
import type { WorldView } from '../../../lib/engine/world.ts'

interface Small {
  servers: string[]
  records: string[]
}

const world: WorldView<Small> = { get: slice => ({ servers: ['prod'], records: [] })[slice] }

const change = (kind: Change<Small>['kind'], summary: string, monthlyNet?: number): Change<Small> => ({
  kind,
  summary,
  ...(monthlyNet === undefined ? {} : { monthlyNet }),
  apply: () => Promise.reject(new Error('a plan applies nothing')),
})

const step = (id: string, finding: Finding<Small>, ...needs: string[]): Step<Small> => ({
  id,
  noun: 'server',
  title: `${id} is right`,
  needs,
  reads: ['servers'],
  look: () => finding,
})

describe('a plan', () => {
  const plan = makePlan(
    [
      step(
        'dns',
        blocked(
          'server prod',
          { kind: 'create', summary: 'create A', monthlyNet: 1 },
          { kind: 'destroy', summary: 'delete AAAA' },
        ),
        'server',
      ),
      step('key', done('is there')),
      step('server', todo(change('create', 'create server prod', 5.5), change('wait', 'wait for it')), 'key'),
      step('old', todo({ ...change('destroy', 'delete server old', -3), confirm: 'old' })),
    ],
    world,
  )

  test('lists the steps in dependency order, each with its finding', () => {
    expect(plan.entries.map(({ step, finding }) => [step.id, finding.state])).toEqual([
      ['key', 'done'],
      ['server', 'todo'],
      ['dns', 'blocked'],
      ['old', 'todo'],
    ])
  })

  test('counts mutations and waits apart', () => {
    expect([plan.changes, plan.waits]).toEqual([2, 1])
  })

  test('shows what comes later, and on what it waits', () => {
    expect(plan.later.map(({ step, on, changes }) => [step.id, on, changes.map(({ summary }) => summary)])).toEqual([
      ['dns', 'server prod', ['create A', 'delete AAAA']],
    ])
  })

  test('adds up the money', () => {
    expect(plan.monthlyNet).toBeCloseTo(3.5)
  })

  test('names every destruction, also the announced ones, and what has to be said for it', () => {
    expect(plan.destructive).toEqual([
      { stepId: 'old', summary: 'delete server old', confirm: 'old' },
      { stepId: 'dns', summary: 'delete AAAA' },
    ])
  })

  test('takes a step at its word although its need is not done', () => {
    const eager = makePlan([step('a', todo(change('create', 'create a'))), step('b', done('is there'), 'a')], world)
    expect(eager.entries.map(({ finding }) => finding.state)).toEqual(['todo', 'done'])
  })

  test('collects every refusal with its hint', () => {
    const { refusals } = makePlan([step('a', refused('a is foreign', 'rename it')), step('b', refused('b too', 'ask'))], world)
    expect(refusals.map(({ step, why, hint }) => [step.id, why, hint])).toEqual([
      ['a', 'a is foreign', 'rename it'],
      ['b', 'b too', 'ask'],
    ])
  })

  test('is empty only when every step is done', () => {
    expect(isEmpty(makePlan([], world))).toBe(true)
    expect(isEmpty(makePlan([step('a', done('ok'))], world))).toBe(true)
    for (const finding of [todo(change('wait', 'wait')), blocked('b'), refused('no', 'ask')]) {
      expect(isEmpty(makePlan([step('a', done('ok')), step('b', finding)], world))).toBe(false)
    }
  })

  test('of a selection drops needs outside of it', () => {
    expect(() => makePlan([step('a', done('ok'), 'gone')], world)).toThrow('needs "gone"')
    expect(makePlan([step('a', done('ok'), 'gone')], world, { partial: true }).entries).toHaveLength(1)
  })
})

describe('the digest of a plan', () => {
  const digest = (id: string, finding: Finding<Small>) => makePlan([step(id, finding)], world).digest

  test('is the same for the same plan, whatever the details of what is done', () => {
    expect(digest('a', done('since Monday'))).toBe(digest('a', done('since Tuesday')))
    expect(digest('a', todo(change('create', 'x', 1)))).toBe(digest('a', todo(change('create', 'x', 2))))
  })

  test('differs in id, state, kind, summary, reason, and in how changes are divided', () => {
    const all = [
      digest('a', done('')),
      digest('b', done('')),
      digest('a', todo(change('create', 'x'))),
      digest('a', todo(change('change', 'x'))),
      digest('a', todo(change('create', 'y'))),
      digest('a', todo(change('create', 'x'), change('create', 'y'))),
      digest('a', blocked('x')),
      digest('a', blocked('y')),
      digest('a', blocked('x', { kind: 'create', summary: 'x' })),
      digest('a', refused('x', 'hint')),
      digest('a', refused('y', 'hint')),
    ]
    expect(new Set(all).size).toBe(all.length)
    for (const each of all) expect(each).toMatch(/^[0-9a-f]{64}$/)
  })
})

test('the slices of several steps are asked for once', () => {
  const dns = { reads: ['records', 'servers'] as const }
  expect([...slicesOf<Small>([step('a', done('')), dns, dns])]).toEqual(['servers', 'records'])
})

test('what a finding wants is said in words', () => {
  expect(wishOf(done('fine'))).toBe('nothing')
  expect(wishOf(todo(change('create', 'create a'), change('wait', 'wait for b')))).toBe('create a; wait for b')
  expect(wishOf(blocked('server prod'))).toBe('waits for server prod')
  expect(wishOf(refused('It is foreign.', 'ask'))).toBe('It is foreign.')
  expect(coming(done(''))).toEqual([])
})

describe('a plan that was looked at again', () => {
  const planOf = (...steps: Step<Small>[]) => makePlan(steps, world)
  const agreed = planOf(
    step('server', todo(change('create', 'create server prod'), change('wait', 'wait until it runs'))),
    step('panel', blocked('server', { kind: 'change', summary: 'serve it' })),
  )

  test('is covered by what was agreed to when it is the same, less, further on, or only waits for something else', () => {
    expect(isCoveredBy(agreed, agreed)).toBe(true)
    expect(isCoveredBy(planOf(step('server', done('')), step('panel', done(''))), agreed)).toBe(true)
    expect(isCoveredBy(planOf(step('server', done('')), step('panel', todo(change('change', 'serve it')))), agreed)).toBe(true)
    expect(isCoveredBy(planOf(step('server', todo(change('wait', 'wait for SSH')))), agreed)).toBe(true)
  })

  test('is not covered by a change that was not shown: another one, of another kind, of another step, or announced', () => {
    for (const finding of [
      todo(change('create', 'create server dev')),
      todo(change('destroy', 'create server prod')),
      todo(change('change', 'serve it')),
      blocked('key', { kind: 'create', summary: 'create server dev' }),
    ])
      expect(isCoveredBy(planOf(step('server', finding)), agreed)).toBe(false)
  })

  test('is not covered when something is refused now', () => {
    expect(isCoveredBy(planOf(step('server', refused('It is foreign.', 'ask'))), agreed)).toBe(false)
  })
})
