/** Strings that a name, a label, a comment or a server's answer could hold, and what must not be left of them in any output. */

import fc from 'fast-check'
import { type Row, renderRows } from '../../../lib/engine/list.ts'
import { LandfallError } from '../../../lib/errors.ts'
import { createRedactor } from '../../../lib/ui/redact.ts'
import { createReporter } from '../../../lib/ui/report.ts'
import type { Reporter } from '../../../lib/ui/types.ts'

const PIECES = [
  '\u001b[31m',
  '\u001b[2J\u001b[H',
  '\u001b]8;;http://x\u0007click\u001b]8;;\u0007',
  '\u001b]52;c;eA==\u0007',
  '\u001b]0;title\u001b\\',
  '\u001bP1$r\u001b\\',
  '\u009b31m',
  '\u009d52;c;eA==\u009c',
  '\u0090',
  '\r',
  '\r\n',
  '\n',
  '\n::set-output name=x::y',
  '\n::add-mask::x',
  '::error file=a::b',
  '##[command]x',
  '\b\b\b',
  '\u0007',
  '\u0000',
  '\u007f',
  '\u0085',
  '\u2028',
  '\u202e',
  '\u2066',
  '\u2069',
  '\u200b',
  '\u200f',
  '\u2060',
  '\ufeff',
  '\u{e0041}',
  '\ud800',
  '\udc00',
  '\u00ad',
  '\u034f',
  '\u3164',
  'prod-dokploy',
  ' ',
  'é',
  '漢字',
  '👩‍💻',
] as const

export const hostileText = fc
  .array(fc.oneof(fc.constantFrom<string>(...PIECES), fc.string({ unit: 'binary', maxLength: 8 })), {
    minLength: 1,
    maxLength: 6,
  })
  .map(pieces => pieces.join(''))

// Built from its parts: as one literal, a linter takes neighbours for one combined character.
const RANGES = [
  '\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f',
  '\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e\\u3164\\ufeff\\uffa0',
  '\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufe00-\\ufe0f\\ufff9-\\ufffb',
  '\\u{e0000}-\\u{e0fff}\\p{Cs}',
]

/** What a terminal or a log obeys, hides or reorders; the ones that our own layout is made of are left out. */
const RAW = new RegExp(`[${RANGES.join('')}]`, 'u')

export const rawIn = (text: string): string | undefined => {
  const found = RAW.exec(text)?.[0]
  return found === undefined ? undefined : `U+${found.codePointAt(0)?.toString(16)}`
}

/** Every way in which a string from outside comes out, by name. */
export const PATHS = {
  plan: (reporter: Reporter, text: string) =>
    reporter.plan({
      subject: text,
      entries: [
        { noun: text, title: text, state: 'todo', changes: [{ kind: 'create', summary: text, details: [text, text] }] },
        { noun: 'dns', title: text, state: 'refused', detail: text, hint: text, changes: [] },
        { noun: 'server', title: text, state: 'done', detail: text, changes: [] },
      ],
      changes: 1,
      reachable: [text],
      money: { currency: text, net: 1, gross: 2 },
    }),
  step: (reporter: Reporter, text: string) =>
    reporter.step({
      id: text,
      noun: text,
      title: text,
      state: 'failed',
      change: text,
      elapsedMs: 1,
      detail: text,
      error: new LandfallError('vendor', text, { hint: text }),
    }),
  log: (reporter: Reporter, text: string) => reporter.log(text),
  warning: (reporter: Reporter, text: string) => reporter.warning(text),
  error: (reporter: Reporter, text: string) =>
    reporter.error(
      new LandfallError('vendor', text, { hint: text, correlationId: text, vendorCode: text, cause: new Error(text) }),
    ),
  bug: (reporter: Reporter, text: string) => reporter.error(new Error(text)),
  summary: (reporter: Reporter, text: string) =>
    reporter.summary({
      ok: true,
      changes: 0,
      applied: 0,
      durationMs: 1,
      requests: { hetzner: { reads: 1, writes: 0 } },
      outputs: { dev_ip: text, [text]: text },
      notes: [{ label: text, text }],
      next: text,
      simulated: [text],
    }),
  page: (reporter: Reporter, text: string) => reporter.page(text, { [text]: text, list: [text] }),
} as const satisfies Record<string, (reporter: Reporter, text: string) => void>

const clean = createRedactor(() => []).clean

/** What comes out of one path, in one of the reporter's ways. */
export function outputOf(path: keyof typeof PATHS, way: 'human' | 'github' | 'json', text: string): string {
  let out = ''
  const write = (more: string) => {
    out += more
  }
  const reporter = createReporter({
    mode: way === 'json' ? 'json' : 'human',
    color: false,
    width: 72,
    write,
    writeError: write,
    clean,
    githubActions: way === 'github',
  })
  PATHS[path](reporter, text)
  return out
}

const ICONS = { pending: '.', running: '>', done: '+', failed: 'x', skipped: '-', interrupted: '!' } as const

/** The running list, as the runner hands it its texts. */
export const listOf = (text: string): string => {
  const row = (state: Row['state']): Row => ({ title: clean(text), state, unchanged: false, elapsedMs: 1, note: clean(text) })
  return renderRows([row('running'), row('failed'), row('done')], {
    columns: 60,
    rows: 20,
    icons: ICONS,
    dim: each => each,
  }).join('\n')
}

/** Complaints about what one string left in every output; empty when all is well. */
export function complaintsOf(text: string): string[] {
  const complaints: string[] = []
  for (const path of Object.keys(PATHS) as (keyof typeof PATHS)[])
    for (const way of ['human', 'github', 'json'] as const) {
      const out = outputOf(path, way, text)
      const raw = rawIn(out)
      if (raw) complaints.push(`${path} (${way}) lets ${raw} through`)
      if (way === 'json') {
        const lines = out.trimEnd().split('\n')
        if (lines.length !== 1) complaints.push(`${path} (json) makes ${lines.length} lines`)
        for (const line of lines) JSON.parse(line)
      }
      // Our own annotations are the lines that begin with "::error" or "::warning" and our title.
      const commands = out.split('\n').filter(line => /^\s*::/.test(line) && !/^::(error|warning) title=Landfall::/.test(line))
      if (way === 'github' && (commands.length > 0 || out.includes('##[')))
        complaints.push(`${path} (github) obeys ${commands[0] ?? '##['}`)
    }
  const raw = rawIn(listOf(text))
  if (raw) complaints.push(`the list lets ${raw} through`)
  return complaints
}

/** @returns how many strings went through how many output paths, or throws fast-check's report with its seed */
export function checkStrings(count: number, seed: number): { readonly strings: number; readonly paths: number } {
  fc.assert(
    fc.property(hostileText, text => {
      const complaints = complaintsOf(text)
      if (complaints.length > 0) throw new Error(`${JSON.stringify(text)}: ${complaints.join('; ')}`)
    }),
    { numRuns: count, seed },
  )
  return { strings: count, paths: Object.keys(PATHS).length * 3 + 1 }
}
