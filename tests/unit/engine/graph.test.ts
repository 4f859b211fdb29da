import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { orderSteps } from '../../../lib/engine/graph.ts'

const step = (id: string, ...needs: string[]) => ({ id, needs })
const order = (...steps: { id: string; needs: string[] }[]) => orderSteps(steps).map(({ id }) => id)

describe('the order of steps', () => {
  test.each([
    ['nothing', [], []],
    ['independent steps keep their order', [step('b'), step('a'), step('c')], ['b', 'a', 'c']],
    ['a need comes first', [step('a', 'b'), step('b')], ['b', 'a']],
    ['what was listed first goes first among the free', [step('a', 'c'), step('b'), step('c')], ['b', 'c', 'a']],
    [
      'a freed step takes its listed place',
      [step('a'), step('d', 'a'), step('c', 'e'), step('b'), step('e')],
      ['a', 'd', 'b', 'e', 'c'],
    ],
    ['a need named twice counts once', [step('a', 'b', 'b'), step('b')], ['b', 'a']],
  ])('%s', (_, steps, expected) => {
    expect(order(...steps)).toEqual(expected)
  })

  test('a cycle is a bug that names its members, and only those', () => {
    expect(() => order(step('x', 'a'), step('a', 'b'), step('b', 'c'), step('c', 'a'), step('free'))).toThrow('a → b → c → a')
    expect(() => order(step('a', 'a'))).toThrow('bug: steps need each other: a → a')
  })

  test('two steps of one name are a bug', () => {
    expect(() => order(step('a'), step('a'))).toThrow('bug: two steps are called "a"')
  })

  test('an unknown need is a bug, except in a selection', () => {
    expect(() => order(step('a', 'gone'))).toThrow('bug: step "a" needs "gone", which is no step')
    expect(orderSteps([step('b', 'a', 'gone'), step('a', 'gone')], { partial: true }).map(({ id }) => id)).toEqual(['a', 'b'])
  })

  test('of 2,000 random graphs, every order keeps all steps and puts needs first', () => {
    const graph = fc.array(fc.array(fc.nat(40), { maxLength: 4 }), { maxLength: 40 }).chain(needs => {
      const steps = needs.map((wanted, at) => step(`${at}`, ...wanted.filter(need => need < at).map(String)))
      return fc.shuffledSubarray(steps, { minLength: steps.length })
    })
    fc.assert(
      fc.property(graph, steps => {
        const ids = orderSteps(steps).map(({ id }) => id)
        expect([...ids].sort()).toEqual(steps.map(({ id }) => id).sort())
        for (const { id, needs } of steps) for (const need of needs) expect(ids.indexOf(need)).toBeLessThan(ids.indexOf(id))
        expect(orderSteps(orderSteps(steps))).toEqual(orderSteps(steps))
      }),
      { numRuns: 2_000 },
    )
  })
})
