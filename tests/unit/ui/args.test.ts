import { describe, expect, test } from 'bun:test'
import { exitCodeOf, LandfallError } from '../../../lib/errors.ts'
import { parseArgs, renderHelp } from '../../../lib/ui/args.ts'
import type { Manual } from '../../../lib/ui/types.ts'

const server: Manual = {
  name: 'server',
  about: 'Creates, shows and destroys the servers of an estate, one after another or side by side, and waits until they run.',
  actions: [
    { name: 'up', about: 'create what is missing' },
    { name: 'destroy', about: 'delete servers, after their names were typed, together with the addresses that die with them' },
  ],
  names: 'server',
  flags: [
    { name: 'take-over', value: 'NAME', many: true, about: 'a foreign DNS record that may be replaced' },
    { name: 'size', value: 'TYPE', about: 'another server type' },
    { name: 'force', about: 'do not wait' },
  ],
  examples: [
    {
      command: 'bun scripts/server.ts destroy dev-dokploy --confirm dev-dokploy --yes --config examples/two-servers.json',
      about: 'deletes one',
    },
  ],
}
const rolled: Manual = {
  name: 'stack',
  about: 'Rolls services.',
  actions: [
    { name: 'audit', about: 'look at the whole', names: 'none' },
    { name: 'deploy', about: 'roll some' },
    { name: 'rollback', about: 'back', names: 'none' },
  ],
  names: 'service',
  examples: [],
}
const plain: Manual = { name: 'status', about: 'Shows what there is.', examples: [] }

const failure = (argv: string[], manual: Manual = server): LandfallError => {
  try {
    parseArgs(argv, manual)
  } catch (error) {
    if (error instanceof LandfallError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('the command line', () => {
  test('without anything means the defaults', () =>
    expect(parseArgs([], server)).toEqual({
      action: 'up',
      names: [],
      config: 'config.json',
      plan: false,
      yes: false,
      confirm: [],
      json: false,
      help: false,
      flags: {},
    }))

  test('takes action, names and flags in any order', () =>
    expect(
      parseArgs(
        [
          '--json',
          'destroy',
          '--config=a=b.json',
          'dev',
          '--take-over',
          'x',
          'prod',
          '--confirm',
          'dev',
          '--take-over=y',
          '--confirm',
          'prod',
          '--force',
          '--yes',
          '--plan',
        ],
        server,
      ),
    ).toEqual({
      action: 'destroy',
      names: ['dev', 'prod'],
      config: 'a=b.json',
      plan: true,
      yes: true,
      confirm: ['dev', 'prod'],
      json: true,
      help: false,
      flags: { 'take-over': ['x', 'y'], force: true },
    }))

  test('takes a name alone for the default action', () =>
    expect(parseArgs(['dev-dokploy'], server)).toMatchObject({ action: 'up', names: ['dev-dokploy'] }))

  test('does not take a short name for a mistyped action', () =>
    expect(parseArgs(['xy'], server)).toMatchObject({ action: 'up', names: ['xy'] }))

  test('takes everything behind two dashes for names', () =>
    expect(parseArgs(['up', '--', '--odd', '--help'], server)).toMatchObject({ names: ['--odd', '--help'], help: false }))

  const sandboxes: [string[], unknown][] = [
    [[], undefined],
    [['--sandbox'], 'kept'],
    [['--sandbox=fresh'], 'fresh'],
    [['--sandbox=http://127.0.0.1:4000'], { url: 'http://127.0.0.1:4000' }],
    [['--sandbox', 'dev'], 'kept'],
  ]
  for (const [argv, sandbox] of sandboxes)
    test(`"${argv.join(' ')}" is sandbox ${JSON.stringify(sandbox) ?? 'none'}`, () =>
      expect(parseArgs(argv, server).sandbox).toEqual(sandbox as never))

  test('asks for help and judges nothing else', () => {
    expect(parseArgs(['--nonsense', '--help', '--json'], server)).toMatchObject({ help: true, json: true })
    expect(parseArgs(['-h'], plain).help).toBe(true)
  })
})

describe('mistakes on the command line', () => {
  const cases: [string[], string, Manual?][] = [
    [['--confg', 'x'], 'There is no flag --confg. Did you mean --config?'],
    [['--takeover', 'x'], 'There is no flag --takeover. Did you mean --take-over?'],
    [['--banana'], 'There is no flag --banana.'],
    [['--yse'], 'There is no flag --yse. Did you mean --yes?'],
    [['--take'], 'There is no flag --take. Did you mean --take-over?'],
    [['-yes'], 'There is no flag -yes: flags have two dashes. Did you mean --yes?'],
    [['destory', 'dev'], 'There is no action "destory". Did you mean destroy? It is one of: up, destroy.'],
    [['depoly'], 'There is no action "depoly". Did you mean deploy? It is one of: audit, deploy, rollback.', rolled],
    [['web'], 'There is no action "web". It is one of: audit, deploy, rollback.', rolled],
    [['rolback', '--yes'], 'There is no action "rolback". Did you mean rollback? It is one of: audit, deploy, rollback.', rolled],
    [['rollback', 'web'], '"web" is more than rollback takes.', rolled],
    [['--config'], '--config needs a value: --config PATH.'],
    [['--config='], '--config needs a value: --config PATH.'],
    [['--config', '--plan'], '--config needs a value: --config PATH.'],
    [['--plan=true'], '--plan takes no value.'],
    [['--size', 'a', '--size', 'b'], '--size was given twice.'],
    [['--sandbox=ftp://x'], '--sandbox takes "fresh" or an http:// address, not "ftp://x".'],
    [['--sandbox=frsh'], '--sandbox takes "fresh" or an http:// address, not "frsh".'],
    [['dev'], '"dev" is more than it takes.', plain],
    [['a', 'b'], '"a" "b" are more than it takes.', plain],
    [['stop'], 'There is no action "stop". It is one of: start.', { ...plain, actions: [{ name: 'start', about: 'x' }] }],
    [['--\u001b[31m'], 'There is no flag --\\x1b[31m.'],
  ]
  for (const [argv, message, manual] of cases)
    test(`${JSON.stringify(argv.join(' '))}: ${message}`, () => {
      const error = failure(argv, manual)
      expect(error.message).toBe(message)
      expect(error.hint).toBe(`All it takes: bun scripts/${(manual ?? server).name}.ts --help`)
      expect(exitCodeOf(error)).toBe(64)
    })
})

describe('the manual', () => {
  test('shows actions, flags and examples, and fits eighty columns but for what is pasted', () => {
    const text = renderHelp(server)
    const wide = text.split('\n').filter(line => line.length > 80)
    expect(wide).toEqual([`  ${server.examples[0]?.command}`])
    for (const words of [
      'bun scripts/server.ts [action] [server …] [flags]',
      'up       ',
      '(default)',
      '--take-over NAME',
      '--sandbox[=URL|fresh]',
      '--confirm NAME',
      '# deletes one',
    ])
      expect(text).toContain(words)
    expect(text).toEndWith('\n')
    expect(text).not.toMatch(/[^\S\n]\n/)
  })

  test('of a script without actions has no empty parts', () => {
    const text = renderHelp(plain)
    expect(text).toContain('  bun scripts/status.ts [flags]\n')
    expect(text).not.toMatch(/Actions|of its own|Examples/)
  })

  test('names every flag that the command line takes', () => {
    const text = renderHelp(server)
    for (const flag of ['config', 'plan', 'yes', 'confirm', 'json', 'sandbox', 'help', 'take-over', 'size', 'force'])
      expect(text).toContain(`--${flag}`)
  })
})
