import { describe, expect, test } from 'bun:test'
import { chooseOffer } from '../../../lib/estate/choose.ts'
import type { ServerType } from '../../../lib/providers/ports/cloud.ts'

const money = (net: number) => ({ net, gross: Math.round(net * 119) / 100 })
const type = (
  name: string,
  cores: number,
  memoryGb: number,
  architecture: 'x86' | 'arm',
  price: number,
  offers: Record<string, 'available' | 'sold_out' | 'withdrawn'>,
): ServerType => ({
  id: name,
  name,
  cores,
  memoryGb,
  diskGb: cores * 20,
  architecture,
  offers: Object.entries(offers).map(([location, stock]) => ({
    location,
    stock,
    ...(stock === 'withdrawn' ? { withdrawnAfter: '2026-09-30' } : {}),
    hourly: money(price / 700),
    monthly: money(price),
  })),
})
const TYPES = [
  type('cx23', 2, 4, 'x86', 3.49, { nbg1: 'sold_out', fsn1: 'available', hel1: 'withdrawn' }),
  type('cx33', 4, 8, 'x86', 6.49, { nbg1: 'available', fsn1: 'sold_out', hel1: 'available' }),
  type('cpx22', 2, 4, 'x86', 5.99, { nbg1: 'available', fsn1: 'available' }),
  type('cax11', 2, 4, 'arm', 3.29, { nbg1: 'available' }),
  type('big1', 1, 64, 'x86', 1.99, { nbg1: 'available' }),
  type('cpx11', 2, 2, 'x86', 2.99, { nbg1: 'available' }),
]

describe('what is bought', () => {
  test('the first choice when it can be had', () =>
    expect(chooseOffer({ types: ['cx33'], locations: ['nbg1', 'hel1'] }, TYPES)).toEqual({
      type: 'cx33',
      location: 'nbg1',
      architecture: 'x86',
      diskGb: 80,
      hourly: money(6.49 / 700),
      monthly: money(6.49),
    }))

  test('the same type elsewhere before another type, with the reason', () =>
    expect(chooseOffer({ types: ['cx23', 'cpx22'], locations: ['nbg1', 'fsn1'] }, TYPES)).toMatchObject({
      type: 'cx23',
      location: 'fsn1',
      fallback: 'cx23 is sold out in nbg1 now: cx23 in fsn1 instead',
    }))

  test('the next type when no wanted place has the first', () =>
    expect(chooseOffer({ types: ['cx23', 'cpx22'], locations: ['nbg1'] }, TYPES)).toMatchObject({
      type: 'cpx22',
      location: 'nbg1',
    }))

  test('a type that does not exist is passed over, not hidden', () =>
    expect(chooseOffer({ types: ['cx22', 'cx33'], locations: ['nbg1'] }, TYPES)).toMatchObject({
      type: 'cx33',
      fallback: 'there is no server type "cx22" (did you mean "cx23"?): cx33 in nbg1 instead',
    }))
})

describe('what cannot be bought', () => {
  test('is offered instead with as many cores and as much memory, on the same architecture, cheapest first', () =>
    expect(chooseOffer({ types: ['cx23'], locations: ['nbg1'] }, TYPES)).toEqual({
      problem: 'cx23 is sold out in nbg1 now.',
      alternatives: [
        { type: 'cx23', location: 'fsn1', monthly: money(3.49) },
        { type: 'cpx22', location: 'nbg1', monthly: money(5.99) },
        { type: 'cpx22', location: 'fsn1', monthly: money(5.99) },
        { type: 'cx33', location: 'nbg1', monthly: money(6.49) },
        { type: 'cx33', location: 'hel1', monthly: money(6.49) },
      ],
    }))

  const problems: [string, string[], string[], string][] = [
    [
      'sold out and withdrawn are told apart',
      ['cx23'],
      ['nbg1', 'hel1'],
      'cx23 is sold out in nbg1 now and cx23 was withdrawn in hel1 after 2026-09-30.',
    ],
    ['a place without the type names the places with it', ['cax11'], ['hel1'], 'cax11 is not sold in hel1 (it is in nbg1).'],
    ['a type of the past is corrected', ['cx22'], ['nbg1'], 'There is no server type "cx22" (did you mean "cx23"?).'],
    ['a type of fantasy is not', ['huge-9000'], ['nbg1'], 'There is no server type "huge-9000".'],
  ]
  for (const [name, types, locations, problem] of problems)
    test(name, () => {
      const choice = chooseOffer({ types, locations }, TYPES)
      expect('problem' in choice && choice.problem).toBe(problem)
    })

  test('a type of the past is compared by its successor, one of fantasy by nothing', () => {
    const past = chooseOffer({ types: ['cx22'], locations: ['nbg1'] }, TYPES)
    expect('alternatives' in past && past.alternatives[0]).toEqual({ type: 'cx23', location: 'fsn1', monthly: money(3.49) })
    const fantasy = chooseOffer({ types: ['huge-9000'], locations: ['nbg1'] }, TYPES)
    expect('alternatives' in fantasy && fantasy.alternatives).toEqual([])
  })
})
