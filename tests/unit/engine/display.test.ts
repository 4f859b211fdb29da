import { expect, test } from 'bun:test'
import { systemClock } from '../../../lib/engine/clock.ts'
import { type RunOptions, runSteps } from '../../../lib/engine/runner.ts'
import { done, type Step, todo } from '../../../lib/engine/step.ts'
import { World } from '../../../lib/engine/world.ts'
import { LandfallError } from '../../../lib/errors.ts'

interface Small {
  things: readonly string[]
}

const CONTROL_SEQUENCE = /\u001b\[[0-9;?]*[A-Za-z]/g

/** A terminal that keeps what is drawn. listr2 wants the whole stream, of which it uses these. */
function screen(columns: number, rows: number) {
  let drawn = ''
  const write = (text: string) => {
    drawn += text
    return true
  }
  const own = (value: unknown) => ({ value, writable: true })
  const terminal: NodeJS.WriteStream = Object.create(process.stdout, {
    write: own(write),
    columns: own(columns),
    rows: own(rows),
    isTTY: own(true),
  })
  /** The drawings between two moves of the cursor back to the top. */
  const frames = () => drawn.split('\u001b[?2026h').map(frame => frame.replace(CONTROL_SEQUENCE, '').trimEnd().split('\n'))
  return { terminal, frames, drawn: () => drawn }
}

async function draw(
  steps: (real: Set<string>, drawn: () => string) => Step<Small>[],
  size: [number, number],
  more: Partial<RunOptions<Small>> = {},
) {
  const real = new Set<string>()
  const nothing = async () => {}
  const { terminal, frames, drawn } = screen(...size)
  const result = await runSteps({
    steps: steps(real, drawn),
    world: new World<Small>({ things: async () => [...real] }),
    clock: systemClock,
    signal: new AbortController().signal,
    journal: { start: nothing, outcome: nothing, settle: nothing, end: nothing, intent: async () => 1 },
    display: 'list',
    terminal,
    ...more,
  })
  return { result, frames: frames(), drawn: drawn() }
}

interface Course {
  readonly needs?: string[]
  readonly failure?: Error
  /** The change is not over before this holds; a display may be slow to begin. */
  readonly until?: () => boolean
}

const step = (real: Set<string>, name: string, { needs = [], failure, until = () => true }: Course = {}): Step<Small> => ({
  id: name,
  noun: 'server',
  title: `${name} is there`,
  needs,
  reads: ['things'],
  typicalMs: 15_000,
  look: world =>
    world.get('things').includes(name)
      ? done('it is')
      : todo({
          kind: 'create',
          summary: `create ${name}`,
          async apply({ log, world }) {
            log(`asking for ${name} \u001b[2J`)
            do await systemClock.sleep(1)
            while (!until())
            if (failure) throw failure
            real.add(name)
            world.update('things', all => [...all, name])
          },
        }),
})

test('the list shows what waits, what runs with its last line, and in the end every step and the second look', async () => {
  const { frames, drawn, result } = await draw(
    (real, drawn) => [
      step(real, 'key', { until: () => drawn().includes('asking for key') }),
      step(real, 'server', { needs: ['key'] }),
    ],
    [80, 24],
  )
  expect(result.outcome).toBe('done')
  expect(frames).toContainEqual([
    expect.stringMatching(/^. key is there {2}0\.\d s, usually 15 s$/),
    '  › asking for key  [2J',
    expect.stringMatching(/^. server is there {2}usually 15 s$/),
  ])
  expect(frames.at(-1)?.slice(-3)).toEqual([
    expect.stringMatching(/^✔ key is there {2}0\.\d s$/),
    expect.stringMatching(/^✔ server is there {2}0\.\d s$/),
    expect.stringMatching(/^✔ second look at everything that was touched {2}0\.0 s$/),
  ])
  expect(drawn).not.toContain('\u001b[2J')
  expect(drawn.lastIndexOf('\u001b[?25h')).toBeGreaterThan(drawn.lastIndexOf('\u001b[?25l'))
})

test('a failure is one line, with what was skipped for it; the cleaner sees every text', async () => {
  const { frames, result } = await draw(
    real => [
      step(real, 'server', { failure: new LandfallError('limit', 'token hunter2\nis at its limit') }),
      step(real, 'app', { needs: ['server'] }),
    ],
    [80, 24],
    { clean: text => text.replaceAll('hunter2', '***') },
  )
  expect(result.outcome).toBe('failed')
  expect(frames.at(-1)?.slice(-4)).toEqual([
    expect.stringMatching(/^✖ server is there {2}0\.0 s$/),
    '  › token *** is at its limit',
    '↓ app is there',
    '  › needs "server is there", which failed',
  ])
})

test('sixty steps stay within a terminal of 80 by 24 while they run, and are all listed in the end', async () => {
  const { frames } = await draw(
    (real, drawn) =>
      Array.from({ length: 60 }, (_, at) =>
        step(real, `s${at}`, {
          needs: at < 10 ? [] : [`s${at - 10}`],
          until: () => at % 20 !== 0 || drawn().includes(`asking for s${at}`),
        }),
      ),
    [80, 24],
  )
  const running = frames.slice(0, -1)
  expect(running.length).toBeGreaterThan(2)
  for (const lines of running) {
    expect(lines.length).toBeLessThanOrEqual(24)
    for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(80)
  }
  expect(frames.at(-1)?.filter(line => /^✔ s\d+ is there/.test(line))).toHaveLength(60)
})

test('a second look that disagrees is a failed line', async () => {
  const liar = () => [step(new Set(), 'server')]
  const { frames, result } = await draw(liar, [80, 24], { settleMs: 0 })
  expect(result.error).toMatchObject({ code: 'unverified' })
  expect(frames.at(-1)?.at(-1)).toMatch(/^✖ second look/)
})

test('a terminal that breaks stops the drawing, not the run', async () => {
  const broken: NodeJS.WriteStream = Object.create(process.stdout, {
    columns: { value: 80 },
    rows: { value: 24 },
    isTTY: { value: true },
    write: {
      writable: true,
      value: () => {
        throw new Error('the terminal is gone')
      },
    },
  })
  const { result } = await draw(real => [step(real, 'key'), step(real, 'server', { needs: ['key'] })], [80, 24], {
    terminal: broken,
  })
  expect(result).toMatchObject({ outcome: 'failed', applied: 2, error: { message: 'the terminal is gone' } })
})

test('without a terminal nothing is drawn', async () => {
  const { result, drawn } = await draw(real => [step(real, 'key')], [80, 24], { display: 'silent' })
  expect([result.outcome, drawn]).toEqual(['done', ''])
})
