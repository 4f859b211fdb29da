import { describe, expect, test } from 'bun:test'
import { durationWords, fitWidth, type Row, renderRows, type Screen } from '../../../lib/engine/list.ts'

const icons: Screen['icons'] = { pending: '.', running: '*', done: 'v', failed: 'x', skipped: '-', interrupted: 'o' }
const screen = (columns: number, rows: number): Screen => ({ columns, rows, icons, dim: text => text })
const row = (title: string, state: Row['state'], more: Partial<Row> = {}): Row => ({
  title,
  state,
  unchanged: false,
  elapsedMs: 12_000,
  ...more,
})
const many = (count: number, state: Row['state'], more: Partial<Row> = {}) =>
  Array.from({ length: count }, (_, at) => row(`${state} ${at}`, state, more))

test.each([
  [0, '0.0 s'],
  [420, '0.4 s'],
  [999, '1 s'],
  [12_400, '12 s'],
  [59_600, '1 min 00 s'],
  [185_000, '3 min 05 s'],
])('%d ms reads %s', (ms, words) => {
  expect(durationWords(ms)).toBe(words)
})

test.each([
  ['server', 6, 'server'],
  ['server', 5, 'serv…'],
  ['サーバー', 6, 'サー…'],
  ['👩‍👩‍👧 family', 4, '👩‍👩‍👧 …'],
  ['two\nlines\tand \u001b[31mred', 40, 'two lines and  [31mred'],
  ['x', 0, ''],
])('%j in %d cells is %j', (text, columns, fitted) => {
  expect(fitWidth(text, columns)).toBe(fitted)
  expect(Bun.stringWidth(fitted)).toBeLessThanOrEqual(columns)
})

describe('the list', () => {
  test('shows one line per step, with elapsed and usual time, and the last log line of what runs', () => {
    const lines = renderRows(
      [
        row('key is there', 'done', { unchanged: true }),
        row('server prod runs', 'done', { note: 'not shown' }),
        row('machine prod is ready', 'running', { typicalMs: 15_000, note: 'waiting for SSH' }),
        row('firewall is attached', 'running', { note: '' }),
        row('dokploy answers', 'pending', { typicalMs: 90_000 }),
        row('dns', 'failed', { note: 'the zone is not there' }),
        row('app', 'skipped', { note: 'needs "dns", which failed' }),
        row('preview', 'interrupted'),
        row('other', 'pending'),
      ],
      screen(80, 24),
    )
    expect(lines).toEqual([
      'v key is there',
      'v server prod runs  12 s',
      '* machine prod is ready  12 s, usually 15 s',
      '  › waiting for SSH',
      '* firewall is attached  12 s',
      '. dokploy answers  usually 1 min 30 s',
      'x dns  12 s',
      '  › the zone is not there',
      '- app',
      '  › needs "dns", which failed',
      'o preview  12 s',
      '. other',
    ])
  })

  test('tells together what was skipped for one and the same reason', () => {
    const rows = [
      row('server', 'failed', { note: 'no room' }),
      ...many(3, 'skipped', { note: 'needs "server", which failed' }),
      row('app', 'skipped', { note: 'needs "dns", which failed' }),
    ]
    expect(renderRows(rows, screen(80, 24))).toEqual([
      'x server  12 s',
      '  › no room',
      '- app',
      '  › needs "dns", which failed',
      '- 3 steps did not begin',
      '  › needs "server", which failed',
    ])
  })

  test('in 80 by 24 sums up what is done and what is to come, and keeps what runs and what failed', () => {
    const rows = [
      ...many(20, 'done', { unchanged: true }),
      ...many(20, 'done'),
      ...many(3, 'running', { note: 'at work' }),
      ...many(1, 'failed'),
      ...many(9, 'skipped'),
      ...many(30, 'pending'),
    ]
    const lines = renderRows(rows, screen(80, 24))
    expect(lines).toHaveLength(24)
    expect(lines[0]).toBe('v 26 done')
    expect(lines[1]).toBe('v done 6  12 s')
    expect(lines.slice(-9)).toEqual([
      '* running 0  12 s',
      '  › at work',
      '* running 1  12 s',
      '  › at work',
      '* running 2  12 s',
      '  › at work',
      'x failed 0  12 s',
      '- 9 skipped',
      '. 30 to come',
    ])
  })

  test('drops log lines before rows, and then says how many rows are missing', () => {
    const rows = [...many(1, 'done'), ...many(8, 'running', { note: 'at work' })]
    expect(renderRows(rows, screen(80, 10))).toEqual([
      'v done 0  12 s',
      ...many(8, 'running').map(({ title }) => `* ${title}  12 s`),
    ])
    expect(renderRows(rows, screen(80, 4))).toEqual(['v 1 done', '* running 0  12 s', '* running 1  12 s', '  and 6 lines more'])
  })

  test('fits any terminal', () => {
    const rows = [...many(9, 'done'), ...many(9, 'running', { note: 'n'.repeat(200), typicalMs: 9e5 }), ...many(9, 'pending')]
    for (const columns of [0, 1, 2, 10, 40, 80, 200]) {
      for (const height of [0, 1, 2, 5, 24, 100]) {
        const lines = renderRows(rows, screen(columns, height))
        expect(lines.length).toBeLessThanOrEqual(height)
        for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(Math.max(columns, 4))
      }
    }
  })

  test('the final print shows everything', () => {
    expect(renderRows(many(100, 'done'), screen(80, Number.POSITIVE_INFINITY))).toHaveLength(100)
  })
})
