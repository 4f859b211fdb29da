/** Commands in hints: what is pasted does what was meant, to the same estate and in the same world. */

import { describe, expect, test } from 'bun:test'
import type { Manual, ParsedArgs } from '../../lib/ui/types.ts'
import { wrap } from '../../lib/ui/wrap.ts'
import { commandLine, completeHint } from '../../lib/view.ts'

const manual: Manual = { name: 'stack', about: 'Rolls.', actions: [{ name: 'audit', about: 'look' }], examples: [] }
const args: ParsedArgs = {
  names: [],
  config: 'config.json',
  plan: false,
  yes: false,
  confirm: [],
  json: false,
  help: false,
  flags: {},
}

describe('the command that was given', () => {
  const cases: [Partial<ParsedArgs>, string][] = [
    [{}, 'bun scripts/stack.ts'],
    [{ action: 'audit' }, 'bun scripts/stack.ts'],
    [{ action: 'deploy', names: ['web'], plan: true, sandbox: 'fresh' }, 'bun scripts/stack.ts deploy web --sandbox --plan'],
    [{ config: '/tmp/my dir/c.json' }, "bun scripts/stack.ts --config '/tmp/my dir/c.json'"],
    [{ config: "it's.json", flags: { image: ['web=a b'] } }, "bun scripts/stack.ts --config 'it'\\''s.json' --image 'web=a b'"],
  ]
  for (const [change, line] of cases) test(line, () => expect(commandLine({ args: { ...args, ...change }, manual })).toBe(line))
})

describe('a hint of another part', () => {
  const place = { config: '/tmp/my dir/c.json', sandbox: 'kept' } as const
  const cases: [string, string][] = [
    ['Look: bun scripts/doctor.ts', "Look: bun scripts/doctor.ts --config '/tmp/my dir/c.json' --sandbox"],
    [
      'bun scripts/dns.ts rollback --sandbox; or wait',
      "bun scripts/dns.ts --config '/tmp/my dir/c.json' rollback --sandbox; or wait",
    ],
    [
      'Make one: bun scripts/setup.ts  — or bun scripts/setup.ts --config examples/a.json',
      "Make one: bun scripts/setup.ts --config '/tmp/my dir/c.json' --sandbox  — or bun scripts/setup.ts --sandbox --config examples/a.json",
    ],
    ['Rename it.', 'Rename it.'],
  ]
  for (const [hint, complete] of cases) test(hint, () => expect(completeHint(hint, place)).toBe(complete))
})

describe('a command in a wrapped text', () => {
  const long = "bun scripts/dns.ts cutover www.example.com --to prod-dokploy --config 'a folder/config.json' --sandbox --plan"
  const cases: [string, readonly string[]][] = [
    [`Look at the plan of the move: ${long}`, ['Look at the plan of the move:', long]],
    [`${long}, or wait until it has passed by itself`, [`${long},`, 'or wait until it has passed by itself']],
    ['first bun scripts/status.ts (which only looks)', ['first bun scripts/status.ts (which only', 'looks)']],
    ['first bun scripts/status.ts — it only looks at all', ['first bun scripts/status.ts — it only', 'looks at all']],
  ]
  for (const [text, lines] of cases) test(text, () => expect(wrap(text, 42)).toEqual(lines))
})
