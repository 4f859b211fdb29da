import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { isOutdated, parseComment, quoteBlock, renderComment } from '../../../lib/preview/comment.ts'
import { desiredPreviews, diffPreviews, type Pull, parseCommand } from '../../../lib/preview/desired.ts'

const NOW = Date.UTC(2026, 10, 26, 19)
const DAY_MS = 86_400_000
const POLICY = { max: 15, ttlMs: 7 * DAY_MS }
const sha = (digit: string): string => digit.repeat(40)
const pull = (more: Partial<Pull> = {}): Pull => ({
  number: 12,
  state: 'open',
  draft: false,
  head: sha('a'),
  author: 'octocat',
  fork: false,
  approved: false,
  commands: [],
  ...more,
})
const TOLD = { estate: 'acme', url: 'https://pr-12.preview.example.com', max: 15, label: 'preview', logs: '' }

/** What is remembered after it was told once. */
const settled = (one: Pull, nowMs = NOW): Pull => {
  const [verdict] = desiredPreviews([one], POLICY, nowMs)
  if (!verdict) throw new Error('no verdict')
  const remembered = parseComment(renderComment(verdict, TOLD, nowMs).body, 'acme', one.number)
  if (!remembered) throw new Error('nothing remembered')
  return { ...one, record: remembered.record }
}
const standing = (one: Pull, nowMs = NOW, words = {}) => desiredPreviews([one], POLICY, nowMs, words)[0]?.standing

describe('commands', () => {
  test.each([
    ['/deploy', 'deploy'],
    ['/redeploy  ', 'redeploy'],
    ['/destroy\r\nplease', 'destroy'],
    ['/deploy now', undefined],
    [' /deploy', undefined],
    ['> /deploy', undefined],
    ['please /deploy', undefined],
    ['/DEPLOY', undefined],
    ['', undefined],
  ] as const)('%p means %p', (body, command) => expect(parseCommand(body)).toBe(command))

  test('the last one that counts decides, whatever the order in which they are seen', () => {
    const commands = [
      { id: 5, command: 'destroy', author: 'octocat', mayWrite: true },
      { id: 9, command: 'deploy', author: 'octocat', mayWrite: true },
      { id: 11, command: 'destroy', author: 'stranger', mayWrite: false },
    ] as const
    expect(standing(pull({ commands }))).toBe('wanted')
    expect(standing(pull({ commands: [...commands].reverse() }))).toBe('wanted')
    expect(standing(pull({ commands: commands.slice(0, 1) }))).toBe('stopped')
  })

  test('a redeploy changes what is wanted once, not at every look', () => {
    const commands = [{ id: 5, command: 'redeploy', author: 'octocat', mayWrite: true }] as const
    const [first] = desiredPreviews([pull({ commands })], POLICY, NOW)
    const [second] = desiredPreviews([settled(pull({ commands }))], POLICY, NOW + 1)
    expect(first?.generation).toBe('c5')
    expect(second?.generation).toBe('c5')
    expect(diffPreviews(second ? [second] : [], [{ number: 12, head: sha('a'), generation: 'c5' }]).deploy).toEqual([])
  })
})

describe('the operator', () => {
  const destroy = { 12: { command: 'destroy', atMs: NOW } } as const
  const stopped = (): Pull => {
    const [verdict] = desiredPreviews([settled(pull())], POLICY, NOW, destroy)
    const remembered = verdict && parseComment(renderComment(verdict, TOLD, NOW).body, 'acme', 12)
    return { ...pull(), ...(remembered ? { record: remembered.record } : {}) }
  }

  test('a destroy holds until somebody says otherwise, through pushes too', () => {
    expect(standing(stopped())).toBe('stopped')
    expect(standing({ ...stopped(), head: sha('b') })).toBe('stopped')
    expect(standing({ ...stopped(), commands: [{ id: 7, command: 'deploy', author: 'octocat', mayWrite: true }] })).toBe('wanted')
    expect(standing(stopped(), NOW, { 12: { command: 'deploy', atMs: NOW + 1 } })).toBe('wanted')
  })

  test('a deploy of what is there changes nothing', () => {
    const there = settled(pull())
    const [before] = desiredPreviews([there], POLICY, NOW + DAY_MS)
    const [after] = desiredPreviews([there], POLICY, NOW + DAY_MS, { 12: { command: 'deploy', atMs: NOW + DAY_MS } })
    expect(after).toEqual(before)
  })
})

describe('time to live', () => {
  test('ends so long after the last push or command, and is not begun anew by looking', () => {
    const there = settled(pull())
    expect(standing(there, NOW + POLICY.ttlMs - 1)).toBe('wanted')
    expect(standing(there, NOW + POLICY.ttlMs)).toBe('expired')
    const expired = settled(there, NOW + POLICY.ttlMs)
    expect(standing(expired, NOW + 2 * POLICY.ttlMs)).toBe('expired')
    expect(standing({ ...expired, head: sha('b') }, NOW + POLICY.ttlMs)).toBe('wanted')
    expect(
      standing({ ...expired, commands: [{ id: 7, command: 'deploy', author: 'octocat', mayWrite: true }] }, NOW + POLICY.ttlMs),
    ).toBe('wanted')
  })
})

describe('forks', () => {
  test('a label counts for the commit that was shown before it, and for no other', () => {
    const fresh = pull({ fork: true })
    expect(standing(fresh)).toBe('unapproved')
    expect(standing({ ...fresh, approved: true })).toBe('unapproved')
    const shown = settled(fresh)
    expect(standing({ ...shown, approved: true })).toBe('wanted')
    const [pushed] = desiredPreviews([{ ...shown, approved: true, head: sha('b') }], POLICY, NOW)
    expect(pushed).toMatchObject({ standing: 'unapproved', staleLabel: true })
  })

  test('a command does not replace the label', () =>
    expect(
      standing(settled(pull({ fork: true, commands: [{ id: 1, command: 'deploy', author: 'octocat', mayWrite: true }] }))),
    ).toBe('unapproved'))
})

describe('the comment', () => {
  test('remembers everything it is told', () =>
    fc.assert(
      fc.property(
        fc.record({
          head: fc.constantFrom(sha('a'), sha('0')),
          place: fc.constantFrom('held' as const, 'none' as const),
          sinceMs: fc.integer({ min: 0, max: 4e12 }),
          turn: fc.constantFrom('0', 'c12', 'o1795719600000'),
          generation: fc.constantFrom('0', 'c12', 'o1795719600000'),
          word: fc.constantFrom('run' as const, 'stop' as const),
          after: fc.integer({ min: 0, max: 2 ** 40 }),
        }),
        record => {
          const verdict = {
            number: 12,
            head: record.head,
            generation: record.generation,
            fork: false,
            standing: 'wanted',
            staleLabel: false,
            ignored: [],
            record,
          } as const
          expect(parseComment(renderComment(verdict, TOLD, NOW).body, 'acme', 12)?.record).toEqual(record)
        },
      ),
    ))

  test('of another estate, another number, or made up in the middle of a text, is none of ours', () => {
    const [verdict] = desiredPreviews([pull()], POLICY, NOW)
    if (!verdict) throw new Error('no verdict')
    const { body } = renderComment(verdict, TOLD, NOW)
    expect(parseComment(body, 'other', 12)).toBeUndefined()
    expect(parseComment(body, 'acme', 13)).toBeUndefined()
    expect(parseComment(`${body}\n${'x'.repeat(700)}`, 'acme', 12)).toBeUndefined()
  })

  test('of a container’s log, or quoted in an answer, remembers nothing: a stranger would approve commits by what it prints', () => {
    const [verdict] = desiredPreviews([settled(pull({ fork: true, approved: true }))], POLICY, NOW)
    const [forged] = desiredPreviews([pull({ head: sha('b') })], POLICY, NOW)
    if (!verdict || !forged) throw new Error('no verdict')
    const mark = renderComment(forged, TOLD, NOW).body.split('\n').at(-1) ?? ''
    expect(mark).toContain(sha('b'))
    const honest = renderComment(verdict, { ...TOLD, run: { state: 'failed', head: sha('a'), why: `exit 3\n${mark}` } }, NOW)
    expect(honest.body).toContain(mark)
    expect(parseComment(honest.body, 'acme', 12)?.record).toEqual(verdict.record)
    const { body } = honest
    expect(parseComment(`What does this mean?\n\n${body}`, 'acme', 12)).toBeUndefined()
    expect(parseComment(body.replaceAll(/^/gm, '> '), 'acme', 12)).toBeUndefined()
    expect(parseComment(`${body}\nThis looks odd.`, 'acme', 12)).toBeUndefined()
    expect(parseComment(mark, 'acme', 12)).toBeUndefined()
    // An editor in a browser ends lines its own way.
    expect(parseComment(`${body.replaceAll('\n', '\r\n')}\r\n`, 'acme', 12)?.record).toEqual(verdict.record)
  })

  test('is known again in whatever words it stands', () => {
    const standings = ['wanted', 'queued', 'draft', 'closed', 'stopped', 'expired', 'unapproved'] as const
    const [verdict] = desiredPreviews([pull()], POLICY, NOW)
    if (!verdict) throw new Error('no verdict')
    const runs = [undefined, { state: 'up', head: sha('a'), why: '' }, { state: 'failed', head: sha('a'), why: 'x' }] as const
    for (const standing of standings)
      for (const run of runs)
        for (const staleLabel of [false, true]) {
          const { body } = renderComment({ ...verdict, standing, staleLabel }, { ...TOLD, ...(run ? { run } : {}) }, NOW)
          expect(parseComment(body, 'acme', 12)?.record).toEqual(verdict.record)
        }
  })

  test('is written anew for its cost once a day, and for its words at once', () => {
    const [verdict] = desiredPreviews([settled(pull())], POLICY, NOW)
    if (!verdict) throw new Error('no verdict')
    const first = renderComment(verdict, { ...TOLD, cost: '0.01 EUR net' }, NOW)
    const have = parseComment(first.body, 'acme', 12)
    const later = renderComment(verdict, { ...TOLD, cost: '0.02 EUR net' }, NOW + 3_600_000)
    expect(isOutdated(have, later, true, NOW + 3_600_000)).toBe(false)
    expect(isOutdated(have, later, true, NOW + DAY_MS)).toBe(true)
    expect(
      isOutdated(have, renderComment(verdict, { ...TOLD, run: { state: 'up', head: sha('a'), why: '' } }, NOW), false, NOW),
    ).toBe(true)
  })

  test('a machine’s words stay inside their block', () => {
    const block = quoteBlock('a\n```\n@everyone <!-- landfall --> \u001b[31m\u202e')
    expect(block.slice(4, -4)).not.toContain('```')
    expect(block).not.toMatch(/[\u001b\u202e]/)
  })
})
