import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { LandfallError } from '../../../lib/errors.ts'
import { Secret } from '../../../lib/secret.ts'
import { disarm, renderAnnotation, renderMasks } from '../../../lib/ui/github.ts'
import { createRedactor } from '../../../lib/ui/redact.ts'
import { createReporter, type ReporterOptions, wantsColor } from '../../../lib/ui/report.ts'
import type { PlanView, Reporter, Summary } from '../../../lib/ui/types.ts'
import { columns, durationWords, wrap } from '../../../lib/ui/wrap.ts'

const record = (options: Partial<ReporterOptions> = {}) => {
  let out = ''
  let err = ''
  const reporter = createReporter({
    mode: 'human',
    color: false,
    width: 80,
    write: text => {
      out += text
    },
    writeError: text => {
      err += text
    },
    clean: createRedactor(() => ['hunter2-hunter2']).clean,
    ...options,
  })
  return {
    reporter,
    out: () => out,
    err: () => err,
    lines: () => out.trimEnd().split('\n'),
    errLines: () => err.trimEnd().split('\n'),
  }
}

const plan: PlanView = {
  subject: 'estate nextnode (config.json)',
  changes: 4,
  money: { currency: 'EUR', net: 6.99, gross: 8.3181 },
  reachable: ['prod-dokploy: 22/tcp, 80/tcp and 443/tcp from anywhere'],
  typicalMs: 200_000,
  entries: [
    {
      noun: 'firewall',
      title: 'firewall nextnode-dokploy',
      state: 'todo',
      changes: [
        {
          kind: 'change',
          summary: 'change the rules of firewall nextnode-dokploy',
          details: ["+ 3000/tcp from 198.51.100.7/32 (Dokploy's panel, until it has a name)"],
        },
      ],
    },
    { noun: 'server', title: 'server dev', state: 'done', detail: 'cx23 in nbg1', changes: [] },
    {
      noun: 'server',
      title: 'server prod',
      state: 'todo',
      changes: [
        { kind: 'create', summary: 'create server prod-dokploy (cx33, nbg1)', details: ['image debian-12'] },
        { kind: 'wait', summary: 'wait until prod-dokploy runs' },
      ],
    },
    { noun: 'server', title: 'server old', state: 'todo', changes: [{ kind: 'destroy', summary: 'delete server old' }] },
    {
      noun: 'dns',
      title: 'admin.nextnode.fr',
      state: 'blocked',
      detail: 'after server prod-dokploy',
      changes: [{ kind: 'create', summary: 'point admin.nextnode.fr at prod-dokploy' }],
    },
  ],
}
const summary: Summary = {
  ok: true,
  changes: 3,
  applied: 3,
  durationMs: 187_000,
  requests: { hetzner: { reads: 9, writes: 3 } },
  outputs: { prod_ip: '192.0.2.7', prod_url: 'https://admin.example.com' },
  notes: [{ label: 'where secrets lie', text: '.landfall/nextnode/login (only you can read it)' }],
  next: 'bun scripts/deploy.ts my-app',
  simulated: [],
}

describe('the preview', () => {
  test('groups by noun, marks what happens, and says destruction aloud', () => {
    const { reporter, out } = record()
    reporter.plan(plan)
    expect(out()).toBe(`Plan for estate nextnode (config.json)

firewall
  ~ change the rules of firewall nextnode-dokploy
      + 3000/tcp from 198.51.100.7/32 (Dokploy's panel, until it has a name)

server
  + create server prod-dokploy (cx33, nbg1)
      image debian-12
  … wait until prod-dokploy runs
  - DESTROY: delete server old

dns
  … point admin.nextnode.fr at prod-dokploy

money
  adds 6.99 EUR a month net, 8.32 with VAT, at today's prices

reachable from outside
  prod-dokploy: 22/tcp, 80/tcp and 443/tcp from anywhere

= 1 to create, 1 to change, 1 to DESTROY, 1 to follow (…), 1 done already;
  usually takes 3 min 20 s
`)
  })

  test('of nothing is one sentence', () => {
    const { reporter, out } = record()
    reporter.plan({ subject: 'estate x', changes: 0, entries: [{ noun: 'server', title: 's', state: 'done', changes: [] }] })
    expect(out()).toBe('Nothing to do: 1 facts about estate x are as wanted.\n')
    reporter.plan({
      subject: 'estate x, rehearsed in the sandbox',
      changes: 0,
      entries: [{ noun: 'server', title: 's', state: 'done', changes: [] }],
    })
    expect(out()).toContain('1 facts about estate x, rehearsed in the sandbox, are as')
  })

  test('shows a refusal with its way out, and a destruction that is only announced', () => {
    const { reporter, out } = record()
    reporter.plan({
      subject: 'x',
      changes: 0,
      money: { currency: 'EUR', net: -3.5, gross: -4.17 },
      entries: [
        { noun: 'server', title: 's', state: 'refused', detail: 'A server called s exists.', hint: 'Rename it.', changes: [] },
        { noun: 'app', title: 'app a is gone', state: 'blocked', changes: [{ kind: 'destroy', summary: 'delete app a' }] },
        { noun: 'app', title: 'app b answers', state: 'blocked', detail: 'after a', changes: [] },
      ],
    })
    expect(out()).toContain('  ! A server called s exists.\n    → Rename it.\n')
    expect(out()).toContain('  … DESTROY later: delete app a\n  … app b answers\n')
    expect(out()).toContain('frees 3.50 EUR a month net')
    expect(out()).toContain('= 2 to follow (…), 1 refused')
  })

  test('is painted only where colour is wanted, and reads the same without', () => {
    const [plain, painted] = [record(), record({ color: true })]
    plain.reporter.plan(plan)
    painted.reporter.plan(plan)
    expect(painted.out()).toContain('\u001b[31;1m  - DESTROY:\u001b[0m delete server old')
    expect(painted.out()).toContain('\u001b[31;1m= 1 to create')
    expect(Bun.stripANSI(painted.out())).toBe(plain.out())
    expect(plain.out()).not.toContain('\u001b')
  })
})

describe('steps', () => {
  const cases: [string, Parameters<Reporter['step']>[0], string][] = [
    [
      'a start names the change and how long it usually takes',
      {
        id: 'a',
        noun: 'server',
        title: 'server s exists',
        state: 'started',
        change: 'create server s',
        elapsedMs: 0,
        typicalMs: 8_000,
      },
      '> create server s (usually 8 s)',
    ],
    [
      'an end names the fact, what it took and how it is',
      {
        id: 'a',
        noun: 'server',
        title: 'server s exists',
        state: 'done',
        elapsedMs: 7_400,
        typicalMs: 8_000,
        applied: 1,
        detail: 'cx23 in nbg1',
      },
      '✓ server s exists (7 s, usually 8 s) — cx23 in nbg1',
    ],
    [
      'what was done before took no time',
      { id: 'a', noun: 'server', title: 'server s exists', state: 'done', elapsedMs: 0, applied: 0 },
      '✓ server s exists',
    ],
    [
      'a failure says so in words, not by colour',
      { id: 'a', noun: 'server', title: 'server s exists', state: 'failed', elapsedMs: 65_000 },
      '✗ failed: server s exists (1 min 05 s)',
    ],
    [
      'a skipped one says why',
      {
        id: 'a',
        noun: 'dns',
        title: 'name n points',
        state: 'skipped',
        elapsedMs: 0,
        detail: 'needs "server s exists", which failed',
      },
      '- skipped: name n points — needs "server s exists", which failed',
    ],
    ['an unknown state is shown all the same', { id: 'a', noun: 'x', title: 't', state: 'odd', elapsedMs: 100 }, '· t (0.1 s)'],
  ]
  for (const [name, step, line] of cases)
    test(name, () => {
      const { reporter, out } = record()
      reporter.step(step)
      expect(out()).toBe(`${line}\n`)
    })
})

describe('the end', () => {
  test('says what there is, where secrets lie, and the next command', () => {
    const { reporter, out } = record()
    reporter.summary({ ...summary, simulated: ['all servers'] })
    expect(out()).toBe(`
Done.
  3 changes applied in 3 min 07 s; hetzner 9 read, 3 write

result
  prod_ip   192.0.2.7
  prod_url  https://admin.example.com

where secrets lie
  .landfall/nextnode/login (only you can read it)

this was a rehearsal; simulated were
  all servers

next
  bun scripts/deploy.ts my-app
`)
  })

  test('gives each of two next commands a line of its own, to be pasted', () => {
    const { reporter, out } = record()
    reporter.summary({ ...summary, next: 'bun scripts/dns.ts certificate\nbun scripts/deploy.ts my-app' })
    expect(out()).toEndWith('\nnext\n  bun scripts/dns.ts certificate\n  bun scripts/deploy.ts my-app\n')
  })

  test('does not call a failure done, nor nothing something', () => {
    const titles = [{ ok: false }, { changes: 0, applied: 0 }, { applied: 0 }].map(change => {
      const { reporter, lines } = record()
      reporter.summary({ ...summary, ...change })
      return lines()[1]
    })
    expect(titles).toEqual(['Not finished.', 'Nothing had to be done.', 'Nothing was changed.'])
  })
})

describe('failures', () => {
  test('ours are a sentence, the next command and the id, without a stack', () => {
    const { reporter, out, err } = record()
    reporter.error(
      new LandfallError('out_of_stock', 'cx33 is sold out in nbg1 now.', {
        hint: 'bun scripts/setup.ts --plan',
        correlationId: 'abc123',
      }),
    )
    expect(err()).toBe("✗ cx33 is sold out in nbg1 now.\n  → bun scripts/setup.ts --plan\n  The vendor's id for it: abc123\n")
    expect(out()).toBe('')
  })

  test('mistakes of a config stay one per line', () => {
    const { reporter, errLines } = record()
    reporter.error(
      new LandfallError(
        'config',
        `config.json has 2 mistakes:\n  line 1:2  a: unknown key\n  line 2:3  b: ${'long '.repeat(20)}`,
        { hint: 'Correct it.' },
      ),
    )
    expect(errLines()[0]).toBe('✗ config.json has 2 mistakes:')
    expect(errLines()[1]).toBe('  line 1:2 a: unknown key')
    expect(errLines()[3]).toStartWith('      long')
  })

  test('others are called bugs and carry their stack', () => {
    const { reporter, err } = record()
    reporter.error(new TypeError('x is not a function'))
    expect(err()).toStartWith('✗ This is a bug in Landfall, not in what you did.\n')
    expect(err()).toContain('TypeError: x is not a function')
    expect(err()).toContain('report.test.ts')
    const { reporter: other, err: otherErr } = record()
    other.error('thrown text')
    expect(otherErr()).toContain('    thrown text')
  })

  test('a warning is marked', () => {
    const { reporter, err } = record()
    reporter.warning('Took over.')
    expect(err()).toBe('! Took over.\n')
  })
})

describe('for programs', () => {
  const json = (tell: (reporter: Reporter) => void) => {
    const { reporter, out, err } = record({ mode: 'json' })
    tell(reporter)
    expect(err()).toBe('')
    return out()
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
  }

  test('everything is one object per line with its type', () => {
    const lines = json(reporter => {
      reporter.plan(plan)
      reporter.step({
        id: 'a',
        noun: 'server',
        title: 't',
        state: 'failed',
        elapsedMs: 1,
        error: new LandfallError('timeout', 'Late.'),
      })
      reporter.log('a\nb')
      reporter.warning('careful')
      reporter.error(new LandfallError('locked', 'Held.', { hint: 'Wait.' }))
      reporter.summary(summary)
      reporter.page('a table', { rows: [1, 2], type: 'forged' })
    })
    expect(lines.map(line => line.type)).toEqual(['plan', 'step', 'log', 'warning', 'error', 'summary', 'log'])
    expect(lines[0]).toMatchObject({ changes: 4, counts: { create: 1, change: 1, destroy: 1, later: 1, done: 1, refused: 0 } })
    expect(lines[1].error).toEqual({ code: 'timeout', message: 'Late.', bug: false })
    expect(lines[2].message).toBe('a\nb')
    expect(lines[4]).toEqual({ type: 'error', code: 'locked', message: 'Held.', hint: 'Wait.', bug: false })
    expect(lines[5]).toMatchObject({
      ok: true,
      applied: 3,
      requests: { hetzner: { reads: 9, writes: 3 } },
      outputs: { prod_ip: '192.0.2.7' },
    })
    expect(lines[6]).toEqual({ type: 'log', rows: [1, 2] })
  })

  test('a bug is told apart and keeps its stack', () => {
    const [line] = json(reporter => reporter.error(new Error('boom')))
    expect(line).toMatchObject({ type: 'error', code: 'bug', bug: true, message: 'boom' })
    expect(line.stack).toContain('report.test.ts')
    expect(json(reporter => reporter.error('text'))[0]).toEqual({ type: 'error', code: 'bug', bug: true, message: 'text' })
  })

  test('a secret prints as its name, also inside of data', () => {
    const [line] = json(reporter =>
      reporter.page('', { token: new Secret('HCLOUD_TOKEN', 'hunter2-hunter2'), login: 'hunter2-hunter2' }),
    )
    expect(line).toMatchObject({ token: '<HCLOUD_TOKEN>', login: '***' })
  })
})

const outputs: [string, (reporter: Reporter, text: string) => void][] = [
  [
    'plan',
    (reporter, text) =>
      reporter.plan({
        ...plan,
        subject: text,
        reachable: [text],
        entries: (['todo', 'blocked', 'refused'] as const).map(state => ({
          noun: text,
          title: text,
          state,
          detail: text,
          hint: text,
          changes: [{ kind: 'create', summary: text, details: [text] }],
        })),
      }),
  ],
  [
    'step',
    (reporter, text) =>
      reporter.step({ id: text, noun: text, title: text, state: 'done', change: text, elapsedMs: 1, detail: text }),
  ],
  ['log', (reporter, text) => reporter.log(text)],
  ['warning', (reporter, text) => reporter.warning(text)],
  ['error', (reporter, text) => reporter.error(new LandfallError('vendor', text, { hint: text, correlationId: text }))],
  ['bug', (reporter, text) => reporter.error(new Error(text))],
  [
    'summary',
    (reporter, text) =>
      reporter.summary({
        ...summary,
        outputs: { [`k${text}`]: text },
        notes: [{ label: text, text }],
        next: text,
        simulated: [text],
      }),
  ],
  ['page', (reporter, text) => reporter.page(text, { text })],
]

describe('no way out for what is dangerous', () => {
  const hostile = fc
    .array(
      fc.constantFrom(
        '\u001b[2J',
        '\u0007',
        '\u009b',
        '\r',
        '\n',
        '::set-output name=x::y',
        '##[set-env]',
        '\u202e',
        'hunter2-hunter2',
        'word ',
        '\u200b',
        '\ud800',
      ),
      { minLength: 1, maxLength: 8 },
    )
    .map(parts => parts.join(''))

  for (const [name, tell] of outputs)
    test(`${name}: neither control characters nor secrets nor commands, for people, programs and GitHub`, () =>
      fc.assert(
        fc.property(
          hostile,
          fc.constantFrom<Partial<ReporterOptions>>({}, { color: true }, { mode: 'json' }, { githubActions: true }),
          (text, options) => {
            const { reporter, out, err } = record(options)
            tell(reporter, text)
            const all = Bun.stripANSI(out() + err())
            if (/[\p{Cf}\p{Cs}\p{Zl}]|[^\P{Cc}\n]/u.test(all)) throw new Error(JSON.stringify(all))
            if (all.includes('hunter2')) throw new Error(all)
            if (options.githubActions) {
              const commands = all
                .split('\n')
                .filter(
                  line => line.includes('##[') || (/^\s*::/.test(line) && !/^::(error|warning) title=Landfall::/.test(line)),
                )
              if (commands.length > 0) throw new Error(commands.join('\n'))
            }
            if (options.mode === 'json') for (const line of out().trimEnd().split('\n')) JSON.parse(line)
          },
        ),
        { numRuns: 150 },
      ))

  test('a name with a line break cannot pass for a line of ours', () => {
    const { reporter, lines } = record()
    reporter.step({ id: 'a', noun: 'x', title: 'evil\n✓ all is well', state: 'failed', elapsedMs: 0 })
    expect(lines()).toEqual(['✗ failed: evil\\n✓ all is well (0.0 s)'])
  })
})

describe('width', () => {
  test('every view fits eighty columns, and sixty', () => {
    const words = 'several words of usual length that have to be wrapped somewhere in the middle of the line '.repeat(3)
    for (const width of [80, 60])
      for (const [name, tell] of outputs.filter(([each]) => each !== 'page' && each !== 'bug')) {
        const { reporter, out, err } = record({ width })
        tell(reporter, words)
        const widest = Math.max(...(out() + err()).split('\n').map(line => Bun.stringWidth(line)))
        expect({ name, fits: widest <= width }).toEqual({ name, fits: true })
      }
  })

  test('wrapped text keeps its words, in order, and counts cells', () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom(
            'a',
            'word',
            '漢字',
            '🙂',
            'x'.repeat(30),
            'https://example.com/a/very/long/path/that/nobody/may/break',
          ),
          { minLength: 1, maxLength: 20 },
        ),
        fc.integer({ min: 30, max: 90 }),
        (words, width) => {
          const lines = wrap(words.join(' '), width, '- ')
          expect(
            lines
              .map(line => line.slice(2))
              .join('')
              .replaceAll(' ', ''),
          ).toBe(words.join(''))
          for (const line of lines) if (!line.includes('/')) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(width)
        },
      ),
    ))

  test('a name too long for its column stands alone', () =>
    expect(
      columns(
        [
          ['a', 'first'],
          ['x'.repeat(40), 'second'],
        ],
        60,
      ),
    ).toEqual([`  a${' '.repeat(31)}first`, `  ${'x'.repeat(40)}`, `${' '.repeat(34)}second`]))

  test('durations are words', () =>
    expect([40, 949, 950, 59_400, 59_500, 125_000].map(durationWords)).toEqual([
      '0.0 s',
      '0.9 s',
      '1 s',
      '59 s',
      '1 min 00 s',
      '2 min 05 s',
    ]))
})

describe('GitHub Actions', () => {
  test('annotations are escaped as the runner unescapes them', () =>
    expect(renderAnnotation('error', '50% of\r\nit', 'a: b, c')).toBe('::error title=a%3A b%2C c::50%25 of%0D%0Ait'))

  test('a title is optional', () => expect(renderAnnotation('notice', 'x')).toBe('::notice::x'))

  test('a secret is masked as a whole and by its lines', () =>
    expect(renderMasks(['one%', 'first\r\n\nsecond', 'first'])).toEqual([
      '::add-mask::one%25',
      '::add-mask::first%0D%0A%0Asecond',
      '::add-mask::first',
      '::add-mask::second',
    ]))

  test("other people's commands are none", () => {
    expect(disarm('  ::set-output name=a::b')).toBe('  \\x3a:set-output name=a::b')
    expect(disarm('x ##[command]rm')).toBe('x #\\x23[command]rm')
    expect(disarm('a::b')).toBe('a::b')
  })

  test('a failure is annotated, besides the text', () => {
    const { reporter, err } = record({ githubActions: true })
    reporter.error(new LandfallError('vendor', 'It broke.'))
    expect(err()).toBe('✗ It broke.\n::error title=Landfall::It broke.\n')
  })
})

test('colour needs a terminal and nobody who minds', () =>
  expect([
    wantsColor({ noColor: false, isTerminal: true }),
    wantsColor({ noColor: true, isTerminal: true }),
    wantsColor({ noColor: false, isTerminal: false }),
  ]).toEqual([true, false, false]))
