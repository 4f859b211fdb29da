import { describe, expect, test } from 'bun:test'
import { PassThrough, Writable } from 'node:stream'
import { LandfallError } from '../../../lib/errors.ts'
import { createRefusingAsk, createTerminalAsk } from '../../../lib/ui/ask.ts'
import { scriptedAsk } from '../scripted-ask.ts'

/** A terminal whose person types `keys`, each when the screen has shown what it waits for. */
const terminal = (...keys: [string, string][]) => {
  const input = new PassThrough()
  let shown = ''
  let next = keys.shift()
  const output = new Writable({
    write(chunk, _, done) {
      shown += String(chunk)
      const now = next
      if (now !== undefined && Bun.stripANSI(shown).includes(now[0])) {
        next = keys.shift()
        shown = ''
        // The prompt reads its keys only once its first screen is drawn.
        setTimeout(() => input.write(now[1]), 5)
      }
      all += String(chunk)
      done()
    },
  })
  let all = ''
  return { input, output, seen: () => all }
}

const failure = async (work: Promise<unknown>): Promise<LandfallError> => {
  const error = await work.then(
    () => undefined,
    reason => reason,
  )
  if (error instanceof LandfallError) return error
  throw new Error(`expected a LandfallError, got ${error}`)
}

describe('at a terminal', () => {
  test('a text is what was typed, or what was proposed', async () => {
    const typed = terminal(['Domain', 'example.com\r'])
    expect(await createTerminalAsk(undefined, typed).text({ flag: '--domain', message: 'Domain' })).toBe('example.com')
    const proposed = terminal(['Domain', '\r'])
    expect(
      await createTerminalAsk(undefined, proposed).text({ flag: '--domain', message: 'Domain', default: 'example.org' }),
    ).toBe('example.org')
  })

  test('a wrong text is said to be wrong, and asked again', async () => {
    const screen = terminal(['Domain', 'x\r'], ['needs a dot', '.y\r'])
    const validate = (value: string) => (value.includes('.') ? undefined : 'needs a dot')
    expect(await createTerminalAsk(undefined, screen).text({ flag: '--domain', message: 'Domain', validate })).toBe('x.y')
  })

  test('a secret is never shown', async () => {
    const screen = terminal(['Token', 'hunter2hunter2\r'])
    const secret = await createTerminalAsk(undefined, screen).secret({
      flag: 'HCLOUD_TOKEN',
      message: 'Token',
      label: 'HCLOUD_TOKEN',
    })
    expect(secret.reveal()).toBe('hunter2hunter2')
    expect(String(secret)).toBe('<HCLOUD_TOKEN>')
    expect(screen.seen()).not.toContain('hunter2')
  })

  test('yes is yes, Enter is what was proposed', async () => {
    expect(
      await createTerminalAsk(undefined, terminal(['Go on', 'y\r'])).confirm({ flag: '--yes', message: 'Go on', default: false }),
    ).toBe(true)
    expect(
      await createTerminalAsk(undefined, terminal(['Go on', '\r'])).confirm({ flag: '--yes', message: 'Go on', default: false }),
    ).toBe(false)
  })

  test('a choice is moved to and taken', async () => {
    const choices = [
      { value: 'nbg1', name: 'Nuremberg' },
      { value: 'fsn1', name: 'Falkenstein', about: 'cheap' },
    ] as const
    const screen = terminal(['Where', '\u001b[B'], ['cheap', '\r'])
    expect(await createTerminalAsk(undefined, screen).select({ flag: '--location', message: 'Where', choices })).toBe('fsn1')
    expect(
      await createTerminalAsk(undefined, terminal(['Where', '\r'])).select({
        flag: '--location',
        message: 'Where',
        choices,
        default: 'fsn1',
      }),
    ).toBe('fsn1')
  })

  test('Ctrl-C ends the question as cancelled', async () => {
    const error = await failure(
      createTerminalAsk(undefined, terminal(['Go on', '\u0003'])).confirm({ flag: '--yes', message: 'Go on', default: true }),
    )
    expect(error.code).toBe('cancelled')
    expect(error.message).toContain('"Go on"')
  })

  test('an interrupt from elsewhere ends it too', async () => {
    const controller = new AbortController()
    const asking = failure(createTerminalAsk(controller.signal, terminal()).text({ flag: '--domain', message: 'Domain' }))
    setTimeout(() => controller.abort(), 20)
    expect((await asking).code).toBe('cancelled')
  })

  test("what others named cannot steer the terminal: a choice's name is written out", async () => {
    const screen = terminal(['Which', '\r'])
    await createTerminalAsk(undefined, screen).select({
      flag: '--server',
      message: 'Which',
      choices: [{ value: 'a', name: 'evil\u001b]0;x\u0007' }],
    })
    expect(screen.seen()).toContain('evil\\x1b]0;x\\x07')
  })
})

describe('without a terminal', () => {
  const ask = createRefusingAsk(flag => `bun scripts/setup.ts ${flag}`)
  const questions: [string, () => Promise<unknown>][] = [
    ['--domain', () => ask.text({ flag: '--domain', message: 'Domain' })],
    ['HCLOUD_TOKEN', () => ask.secret({ flag: 'HCLOUD_TOKEN', message: 'Token', label: 'x' })],
    ['--yes', () => ask.confirm({ flag: '--yes', message: 'Go on', default: true })],
    ['--location', () => ask.select({ flag: '--location', message: 'Where', choices: [{ value: 'a', name: 'A' }] })],
  ]
  for (const [flag, question] of questions)
    test(`the question that ${flag} answers is refused by that name`, async () => {
      const error = await failure(question())
      expect(error.code).toBe('usage')
      expect(error.message).toContain(`; ${flag} answers it.`)
      expect(error.hint).toBe(`bun scripts/setup.ts ${flag}`)
    })

  test('there is a hint without being told one', async () =>
    expect((await failure(createRefusingAsk().confirm({ flag: '--yes', message: 'm', default: true }))).hint).toBe(
      'Add --yes to the command.',
    ))
})

describe('scripted answers', () => {
  test('are given by flag, again and again for a list', async () => {
    const ask = scriptedAsk({ '--domain': ['a.b', 'c.d'], '--yes': true, '--location': 'x' })
    expect([await ask.text({ flag: '--domain', message: '' }), await ask.text({ flag: '--domain', message: '' })]).toEqual([
      'a.b',
      'c.d',
    ])
    expect(await ask.confirm({ flag: '--yes', message: '', default: false })).toBe(true)
    expect(() => ask.allAsked()).toThrow('never asked: --location')
    expect(await ask.select({ flag: '--location', message: '', choices: [{ value: 'x', name: 'X' }] })).toBe('x')
    ask.allAsked()
    expect(ask.asked).toEqual(['--domain', '--domain', '--yes', '--location'])
  })

  test('fail on a question that nobody expected, and on an answer of the wrong kind', async () => {
    const ask = scriptedAsk({ '--yes': 'text', '--domain': 'x', '--location': 'z' })
    expect(ask.secret({ flag: '--token', message: 'Token', label: '' })).rejects.toThrow(
      'nobody expected the question "Token" (--token)',
    )
    expect(ask.confirm({ flag: '--yes', message: 'm', default: true })).rejects.toThrow('wants yes or no')
    expect(ask.text({ flag: '--domain', message: '', validate: () => 'no' })).rejects.toThrow('not valid: no')
    expect(ask.select({ flag: '--location', message: '', choices: [{ value: 'x', name: 'X' }] })).rejects.toThrow(
      'z is none of x',
    )
  })
})
