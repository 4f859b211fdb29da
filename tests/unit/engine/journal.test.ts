import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { appendFile, chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseHistory } from '../../../lib/engine/history.ts'
import { type Intent, openJournal } from '../../../lib/engine/journal.ts'
import { LandfallError } from '../../../lib/errors.ts'
import { fakeClock } from '../fake-clock.ts'

let home = ''
let directory = ''
const file = () => join(directory, 'journal.ndjson')
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'landfall-journal-'))
  directory = join(home, '.landfall', 'demo')
})
afterEach(() => rm(home, { recursive: true, force: true }))

const open = (runId: string, clean = (text: string) => text) =>
  openJournal(directory, {
    clock: fakeClock(),
    runId,
    command: 'bun scripts/setup.ts',
    who: 'ann@laptop',
    version: '0.1.0',
    clean,
  })

const intent = (step: string, more: Partial<Intent> = {}): Intent => ({
  step,
  noun: 'server',
  kind: 'create',
  summary: `create ${step}`,
  ...more,
})

const lines = async () => (await readFile(file(), 'utf8')).trimEnd().split('\n')

describe('the journal', () => {
  test('leaves no trace until there is something to write, then keeps to itself', async () => {
    const journal = await open('r1')
    await journal.settle(['server prod'])
    await journal.flush()
    expect(await readdir(home)).toEqual([])

    await journal.start({ planDigest: 'abc', changes: 1 })
    const modes = await Promise.all([directory, file()].map(async path => ((await stat(path)).mode & 0o777).toString(8)))
    expect(modes).toEqual(['700', '600'])
    await journal.flush()
  })

  test('closes what was open to others', async () => {
    await mkdir(directory, { recursive: true })
    await writeFile(file(), '')
    await chmod(file(), 0o666)
    await chmod(directory, 0o777)
    await (await open('r1')).start({ planDigest: 'abc', changes: 1 })
    expect([(await stat(directory)).mode & 0o777, (await stat(file())).mode & 0o777]).toEqual([0o700, 0o600])
  })

  test('has the intent on disk before it lets the call go, and the outcome after', async () => {
    const journal = await open('r1')
    await journal.start({ planDigest: 'abc', changes: 2 })
    const id = await journal.intent(intent('server prod'))
    expect(JSON.parse((await lines()).at(-1) ?? '')).toEqual({
      at: '2026-09-01T00:00:00.000Z',
      run: 'r1',
      entry: 'intent',
      id,
      step: 'server prod',
      noun: 'server',
      kind: 'create',
      summary: 'create server prod',
    })
    const error = new LandfallError('limit', 'no more servers', { correlationId: 'c-1' })
    await journal.outcome(id, { state: 'failed', elapsedMs: 12.6, error })
    await journal.outcome(await journal.intent(intent('b')), { state: 'failed', elapsedMs: 1, error: 'a word' })
    await journal.end({ outcome: 'failed', applied: 0, durationMs: 20.2 })
    const entries = (await lines()).map(line => JSON.parse(line))
    expect(entries[0]).toMatchObject({
      entry: 'start',
      command: 'bun scripts/setup.ts',
      who: 'ann@laptop',
      version: '0.1.0',
      planDigest: 'abc',
    })
    expect(entries[2]).toMatchObject({
      entry: 'outcome',
      id,
      state: 'failed',
      elapsedMs: 13,
      error: 'no more servers',
      code: 'limit',
      correlationId: 'c-1',
    })
    expect(entries[4]).toMatchObject({ error: 'a word' })
    expect(entries[5]).toMatchObject({ entry: 'end', outcome: 'failed', durationMs: 20 })
  })

  test('keeps lines whole when many write at once', async () => {
    const journal = await open('r1')
    const ids = await Promise.all(Array.from({ length: 50 }, (_, at) => journal.intent(intent(`s${at}`))))
    expect(new Set(ids).size).toBe(50)
    expect((await lines()).map(line => JSON.parse(line).id)).toEqual(ids)
    await journal.flush()
    await journal.end({ outcome: 'done', applied: 1, durationMs: 1 })
    await journal.flush()
    expect(await lines()).toHaveLength(51)
  })

  test('writes every text through the cleaner', async () => {
    const journal = await open('r1', text => text.replaceAll('hunter2', '***'))
    const id = await journal.intent(intent('hunter2', { summary: 'set hunter2' }))
    await journal.outcome(id, { state: 'failed', elapsedMs: 1, error: new Error('bad token hunter2') })
    expect(await readFile(file(), 'utf8')).not.toContain('hunter2')
  })

  test('lets nothing be sent when it cannot be written or read, and recovers when it can', async () => {
    await mkdir(join(home, '.landfall'))
    await writeFile(directory, 'a file where the directory should be')
    await expect(open('r1')).rejects.toMatchObject({ code: 'refused' })
    await rm(directory)
    const journal = await open('r1')
    await writeFile(directory, 'in the way again')
    const failure = await journal.intent(intent('a')).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'refused', hint: expect.stringContaining(directory) })
    expect(String(failure)).toContain('Nothing more is sent.')
    await rm(directory)
    await journal.intent(intent('a'))
    expect(await lines()).toHaveLength(1)
  })

  test('does not follow a symbolic link', async () => {
    await mkdir(directory, { recursive: true })
    await writeFile(join(home, 'victim'), 'precious')
    const journal = await open('r1')
    await symlink(join(home, 'victim'), file())
    await expect(journal.intent(intent('a'))).rejects.toMatchObject({ code: 'refused' })
    expect(await readFile(join(home, 'victim'), 'utf8')).toBe('precious')
  })
})

describe('what earlier runs left', () => {
  async function killedRun() {
    const journal = await open('killed')
    await journal.start({ planDigest: 'abc', changes: 3 })
    await journal.outcome(await journal.intent(intent('key')), { state: 'done', elapsedMs: 5 })
    await journal.intent(intent('server prod'))
    await journal.intent(intent('server prod', { kind: 'wait' }))
    await journal.flush()
    return journal
  }

  test('an intent without an end is named by the next run, not by the same one; waits change nothing', async () => {
    const first = await killedRun()
    expect(first.unfinished()).toEqual([])
    const next = await open('r2')
    expect(next.unfinished()).toEqual([
      {
        runId: 'killed',
        id: 2,
        step: 'server prod',
        kind: 'create',
        summary: 'create server prod',
        at: '2026-09-01T00:00:00.000Z',
      },
    ])
    expect(next.lastRun()).toEqual({
      runId: 'killed',
      at: '2026-09-01T00:00:00.000Z',
      command: 'bun scripts/setup.ts',
      who: 'ann@laptop',
      version: '0.1.0',
      outcome: 'unknown',
      applied: 0,
    })
  })

  test('is over once a run has seen the step done, and that is written once', async () => {
    await killedRun()
    const next = await open('r2')
    await next.settle(['key', 'server prod'])
    await next.settle(['server prod'])
    expect(next.unfinished()).toEqual([])
    expect((await lines()).filter(line => line.includes('settled'))).toHaveLength(1)
    expect((await open('r3')).unfinished()).toEqual([])
  })

  test('a torn last line is ignored, and the next line is not glued to it', async () => {
    await killedRun()
    await appendFile(file(), '{"at":"2026-09-01T00:00:00.000Z","run":"killed","entry":"outc')
    const next = await open('r2')
    expect(next.unfinished()).toHaveLength(1)
    await next.intent(intent('late'))
    await next.flush()
    expect((await open('r3')).unfinished().map(({ step }) => step)).toEqual(['server prod', 'late'])
  })

  test('the last run shows how it ended', async () => {
    for (const outcome of ['done', 'failed', 'interrupted'] as const) {
      const journal = await open(`run ${outcome}`)
      await journal.start({ planDigest: 'abc', changes: 1 })
      await journal.end({ outcome, applied: 1, durationMs: 1 })
      expect((await open('next')).lastRun()).toMatchObject({ runId: `run ${outcome}`, outcome, applied: 1 })
    }
  })

  test('only the end of a long journal counts', async () => {
    await mkdir(directory, { recursive: true })
    const line = (run: string) => `${JSON.stringify({ run, entry: 'start', command: 'x'.repeat(200) })}\n`
    await writeFile(file(), line('old') + line('filler').repeat(25_000) + line('new'))
    expect((await open('r')).lastRun()?.runId).toBe('new')
  })
})

describe('reading a journal', () => {
  test('survives whatever is in the file', () => {
    const history = parseHistory(
      [
        'null',
        '[]',
        '7',
        '{"entry":"outcome","run":"a","id":1,"state":"done"}',
        '{"entry":"end","run":"a"}',
        '{"entry":"intent"}',
        '{"entry":"start","run":"a","command":5}',
        '{"entry":"end","run":"a","outcome":"splendid"}',
        '\u0000',
      ].join('\n'),
      'me',
    )
    expect(history.unfinished()).toEqual([{ runId: '', id: 0, step: '', kind: '', summary: '', at: '' }])
    expect(history.lastRun()).toMatchObject({ runId: 'a', command: '', outcome: 'unknown' })
  })

  test('knows what was done last of some steps: a destruction from its beginning, whatever else when it is done', () => {
    const begin = (id: number, step: string, kind: string) =>
      JSON.stringify({ entry: 'intent', run: 'a', id, step, kind, noun: 'server' })
    const end = (id: number, state: string) => JSON.stringify({ entry: 'outcome', run: 'a', id, state })
    const latest = (...lines: string[]) =>
      parseHistory(lines.join('\n'), 'me').latest(['old server web gone', 'server web'])?.kind
    const destroyed = [begin(1, 'server web', 'create'), end(1, 'done'), begin(2, 'old server web gone', 'destroy')]
    expect(latest()).toBeUndefined()
    expect(latest(...destroyed)).toBe('destroy')
    expect(latest(...destroyed, begin(3, 'server web', 'create'), end(3, 'failed'))).toBe('destroy')
    expect(
      latest(...destroyed, begin(3, 'server web', 'create'), end(3, 'done'), begin(4, 'old server db gone', 'destroy')),
    ).toBe('create')
  })

  test('makes control and direction characters visible', () => {
    const line = JSON.stringify({
      entry: 'intent',
      run: 'a',
      id: 1,
      kind: 'create',
      step: 's',
      summary: '\u001b[2J\u202eabc\u009b\n',
    })
    expect(parseHistory(line, 'me').unfinished()[0]?.summary).toBe('\\u{1b}[2J\\u{202e}abc\\u{9b}\\u{a}')
  })

  test('learns how long things take: the median of the latest, of the very step before its noun', async () => {
    const entries: string[] = []
    const seen = (step: string, noun: string, kind: string, ...durations: number[]) => {
      for (const elapsedMs of durations) {
        const id = entries.length
        entries.push(JSON.stringify({ entry: 'intent', run: 'a', id, step, noun, kind, summary: '' }))
        entries.push(JSON.stringify({ entry: 'outcome', run: 'a', id, state: elapsedMs < 0 ? 'failed' : 'done', elapsedMs }))
      }
    }
    seen('server prod', 'server', 'create', ...Array(30).fill(99_000), ...Array(8).fill(10), ...Array(7).fill(20), -1)
    seen('server dev', 'server', 'create', 1, 2, 3)
    const { typicalMs } = parseHistory(entries.join('\n'), 'me')
    expect(typicalMs({ step: 'server prod', noun: 'server', kind: 'create' })).toBe(10)
    expect(typicalMs({ step: 'server dev', noun: 'server', kind: 'create' })).toBe(2)
    expect(typicalMs({ step: 'server new', noun: 'server', kind: 'create' })).toBe(10)
    expect(typicalMs({ noun: 'server', kind: 'create' })).toBe(10)
    expect(typicalMs({ step: 'server new', kind: 'create' })).toBeUndefined()
    expect(typicalMs({ step: 'server dev', noun: 'server', kind: 'destroy' })).toBeUndefined()
  })
})
