/** The command line, checked against the script's manual; and the manual as text, so that the two cannot differ. */

import { LandfallError } from '../errors.ts'
import { nearest as nearestOf } from '../estate/near.ts'
import { printable } from './printable.ts'
import type { FlagSpec, Manual, ParsedArgs } from './types.ts'
import { columns, wrap } from './wrap.ts'

const WIDTH = 80

/** What every script takes. `--sandbox` alone has a value that may be left out. */
const COMMON: readonly (FlagSpec & { readonly optional?: boolean })[] = [
  { name: 'config', value: 'PATH', about: 'the estate to work on (default: config.json)' },
  { name: 'plan', about: 'look and show the plan, change nothing; exit 0 when there is nothing to do, 2 when there is' },
  { name: 'yes', about: 'ask nothing; a destructive change also needs --confirm NAME' },
  { name: 'confirm', value: 'NAME', many: true, about: 'what may be destroyed, by its name' },
  { name: 'json', about: 'one JSON object per line on standard output, nothing else there' },
  {
    name: 'sandbox',
    value: 'URL|fresh',
    optional: true,
    about: 'rehearse against the stand-in world: the one kept here, a fresh one, or the one at URL',
  },
  { name: 'help', about: 'show this' },
]

/** A word that begins like a candidate is one that was cut short, however much is missing. */
const nearest = (word: string, candidates: readonly string[]): string | undefined =>
  candidates.find(candidate => candidate === word) ??
  nearestOf(word, candidates) ??
  candidates.find(candidate => word.length >= 3 && candidate.startsWith(word))

const wrong = (manual: Manual, what: string): LandfallError =>
  new LandfallError('usage', what, { hint: `All it takes: bun scripts/${manual.name}.ts --help` })

const didYouMean = (word: string, candidates: readonly string[], dashes = ''): string => {
  const near = nearest(word, candidates)
  return near === undefined ? '' : ` Did you mean ${dashes}${near}?`
}

interface Reading {
  readonly manual: Manual
  readonly flags: Map<string, string[]>
  readonly words: string[]
}

const takeValue = (
  spec: FlagSpec & { readonly optional?: boolean },
  given: string | undefined,
  rest: string[],
  manual: Manual,
): string => {
  const flag = `--${spec.name}`
  if (spec.value === undefined) {
    if (given !== undefined) throw wrong(manual, `${flag} takes no value.`)
    return ''
  }
  if (given === '' || (given === undefined && !spec.optional && (rest[0] === undefined || rest[0].startsWith('--'))))
    throw wrong(manual, `${flag} needs a value: ${flag} ${spec.value}.`)
  return given ?? (spec.optional ? '' : (rest.shift() ?? ''))
}

const readFlag = (word: string, rest: string[], { manual, flags }: Reading): void => {
  const specs = [...COMMON, ...(manual.flags ?? [])]
  const [name = '', ...parts] = word.slice(2).split('=')
  const given = word.includes('=') ? parts.join('=') : undefined
  const spec = specs.find(each => each.name === name)
  if (spec === undefined)
    throw wrong(
      manual,
      `There is no flag ${printable(`--${name}`)}.${didYouMean(
        name,
        specs.map(each => each.name),
        '--',
      )}`,
    )
  const before = flags.get(name)
  if (before !== undefined && spec.value !== undefined && !spec.many) throw wrong(manual, `--${name} was given twice.`)
  flags.set(name, [...(before ?? []), takeValue(spec, given, rest, manual)])
}

const sandboxOf = (value: string | undefined, manual: Manual): ParsedArgs['sandbox'] => {
  if (value === undefined) return undefined
  if (value === '') return 'kept'
  if (value === 'fresh') return 'fresh'
  const url = URL.parse(value)
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:')
    throw wrong(manual, `--sandbox takes "fresh" or an http:// address, not ${printable(JSON.stringify(value))}.`)
  return { url: value }
}

type Action = NonNullable<Manual['actions']>[number]

const takesNames = ({ names }: Manual, action: Action | undefined): boolean => names !== undefined && action?.names !== 'none'

const actionOf = (words: string[], manual: Manual): Action | undefined => {
  const actions = manual.actions ?? []
  const [word] = words
  const said = actions.find(action => action.name === word)
  if (said !== undefined) words.shift()
  if (said !== undefined || word === undefined || actions.length === 0) return said ?? actions[0]
  const known = actions.map(action => action.name)
  const mayBeName = takesNames(manual, actions[0]) && (manual.nameForm?.test(word) ?? true)
  // Alone, a word that is no action is a name for the default one, however it is spelled.
  if (!mayBeName || (words.length > 1 && nearest(word, known) !== undefined))
    throw wrong(manual, `There is no action "${printable(word)}".${didYouMean(word, known)} It is one of: ${known.join(', ')}.`)
  return actions[0]
}

/**
 * @param argv without the runtime and the script
 * @throws LandfallError usage. With `--help` anywhere, nothing else is judged.
 */
export const parseArgs = (argv: readonly string[], manual: Manual): ParsedArgs => {
  const end = argv.indexOf('--')
  const judged = end < 0 ? argv : argv.slice(0, end)
  if (judged.some(word => word === '--help' || word === '-h'))
    return {
      names: [],
      config: 'config.json',
      plan: false,
      yes: false,
      confirm: [],
      json: judged.includes('--json'),
      help: true,
      flags: {},
    }
  const reading: Reading = { manual, flags: new Map(), words: [] }
  const rest = [...judged]
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word.startsWith('--')) readFlag(word, rest, reading)
    else if (word.startsWith('-') && word !== '-')
      throw wrong(
        manual,
        `There is no flag ${printable(word)}: flags have two dashes.${didYouMean(
          word.slice(1),
          [...COMMON, ...(manual.flags ?? [])].map(each => each.name),
          '--',
        )}`,
      )
    else reading.words.push(word)
  }
  const { flags, words } = reading
  if (end >= 0) words.push(...argv.slice(end + 1))
  const action = actionOf(words, manual)
  if (words.length > 0 && !takesNames(manual, action))
    throw wrong(
      manual,
      `${words.map(word => `"${printable(word)}"`).join(' ')} ${words.length === 1 ? 'is' : 'are'} more than ${action?.name ?? 'it'} takes.`,
    )
  const sandbox = sandboxOf(flags.get('sandbox')?.[0], manual)
  const own = (manual.flags ?? []).flatMap(({ name, value }): [string, true | readonly string[]][] => {
    const values = flags.get(name)
    return values === undefined ? [] : [[name, value === undefined ? true : values]]
  })
  return {
    ...(action === undefined ? {} : { action: action.name }),
    names: words,
    config: flags.get('config')?.[0] ?? 'config.json',
    plan: flags.has('plan'),
    yes: flags.has('yes'),
    confirm: flags.get('confirm') ?? [],
    json: flags.has('json'),
    help: false,
    ...(sandbox === undefined ? {} : { sandbox }),
    flags: Object.fromEntries(own),
  }
}

const flagRow = ({ name, value, many, about, optional }: (typeof COMMON)[number]): readonly [string, string] => {
  const head = value === undefined ? `--${name}` : optional ? `--${name}[=${value}]` : `--${name} ${value}`
  return [head, many ? `${about}; may be given more than once` : about]
}

/** The manual, at most 80 columns wide, ending in a line break. Examples are never wrapped: they are there to be pasted. */
export const renderHelp = (manual: Manual): string => {
  const actions = manual.actions ?? []
  const usage = [
    `bun scripts/${manual.name}.ts`,
    ...(actions.length > 0 ? ['[action]'] : []),
    ...(manual.names === undefined ? [] : [`[${manual.names} …]`]),
    '[flags]',
  ].join(' ')
  const part = (title: string, lines: readonly string[]) => (lines.length === 0 ? [] : ['', title, ...lines])
  const actionRows = actions.map(
    ({ name, about }, index) => [name, index === 0 && actions.length > 1 ? `${about} (default)` : about] as const,
  )
  return [
    ...wrap(manual.about, WIDTH),
    '',
    `  ${usage}`,
    ...part('Actions', columns(actionRows, WIDTH)),
    ...part('Flags of its own', columns((manual.flags ?? []).map(flagRow), WIDTH)),
    ...part('Flags of every script', columns(COMMON.map(flagRow), WIDTH)),
    ...part(
      'Examples',
      manual.examples.flatMap(({ command, about }) => [...wrap(about, WIDTH, '  # ', '  # '), `  ${command}`]),
    ),
    '',
  ].join('\n')
}
