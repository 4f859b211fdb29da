/** The house rules of ARCHITECTURE.md, held against the source text; imports of types count. */

import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { Glob } from 'bun'

const ROOT = new URL('../../', import.meta.url).pathname

/** What a folder may import besides its own files, `lib/errors.ts` and `lib/secret.ts`. The longest matching prefix counts. */
const MAY_IMPORT = {
  'lib/errors.ts': [],
  'lib/secret.ts': [],
  'lib/environment.ts': [],
  'lib/engine/': ['lib/providers/ports/', 'lib/providers/context.ts'],
  'lib/estate/': ['lib/providers/ports/'],
  'lib/cutover/': ['lib/estate/', 'lib/engine/files.ts', 'lib/providers/ports/'],
  'lib/preview/': [],
  'lib/stack/': ['lib/estate/near.ts', 'lib/estate/words.ts', 'lib/estate/json.ts'],
  'lib/stack/actions/': ['lib/', '!lib/sandbox/'],
  'lib/cluster/': ['lib/estate/', 'lib/providers/ports/'],
  'lib/cluster/actions/': ['lib/', '!lib/sandbox/'],
  'lib/steps/': [
    'lib/cluster/',
    'lib/cutover/',
    'lib/preview/',
    'lib/stack/',
    '!lib/stack/actions/',
    '!lib/cluster/actions/',
    'lib/estate/',
    'lib/engine/step.ts',
    'lib/engine/world.ts',
    'lib/engine/clock.ts',
    'lib/providers/ports/',
  ],
  'lib/providers/ports/': [],
  'lib/providers/context.ts': ['lib/engine/clock.ts', 'lib/engine/meter.ts'],
  'lib/providers/hetzner/': [
    'lib/providers/ports/',
    'lib/providers/context.ts',
    'lib/engine/',
    'lib/estate/labels.ts',
    'lib/ui/redact.ts',
  ],
  'lib/providers/acme/': ['lib/providers/ports/', 'lib/providers/context.ts', 'lib/engine/'],
  'lib/providers/cloudflare/': ['lib/providers/ports/', 'lib/providers/context.ts', 'lib/engine/', 'lib/ui/redact.ts'],
  'lib/providers/dokploy/': ['lib/providers/ports/', 'lib/providers/context.ts', 'lib/engine/', 'lib/ui/redact.ts'],
  'lib/providers/cluster/': ['lib/providers/ports/', 'lib/providers/context.ts', 'lib/engine/'],
  'lib/providers/registry/': ['lib/providers/ports/', 'lib/providers/context.ts', 'lib/engine/'],
  'lib/providers/rest.ts': ['lib/providers/context.ts', 'lib/engine/'],
  'lib/providers/github/': ['lib/providers/ports/', 'lib/providers/context.ts', 'lib/providers/rest.ts', 'lib/engine/'],
  'lib/providers/vercel/': ['lib/providers/ports/', 'lib/providers/context.ts', 'lib/providers/rest.ts', 'lib/engine/'],
  'lib/providers/outside/': ['lib/providers/ports/', 'lib/providers/context.ts', 'lib/engine/'],
  'lib/providers/digitalocean/': ['lib/providers/ports/', 'lib/providers/context.ts', 'lib/engine/', 'lib/ui/redact.ts'],
  'lib/providers/packer/': ['lib/providers/ports/'],
  'lib/providers/ssh/': ['lib/providers/ports/', 'lib/providers/context.ts', 'lib/engine/', 'lib/estate/programs.ts'],
  'lib/ui/': ['lib/estate/near.ts'],
  'lib/sandbox/': ['lib/sandbox/', 'lib/estate/labels.ts', 'lib/estate/programs.ts'],
  'lib/': ['lib/', '!lib/sandbox/'],
  'lib/rehearsal.ts': ['lib/'],
  'scripts/': ['lib/', '!lib/providers/', '!lib/sandbox/'],
  'scripts/sandbox.ts': ['lib/'],
} satisfies Record<string, readonly string[]>

/** The one file or folder that may import a library. */
const OWNERS = {
  listr2: ['lib/engine/runner.ts', 'lib/engine/display.ts'],
  '@inquirer/prompts': ['lib/ui/ask.ts'],
  zx: ['lib/providers/ssh/shell.ts'],
  'dots-wrapper': ['lib/providers/digitalocean/'],
  'hcloud-js': ['lib/providers/hetzner/'],
  cloudflare: ['lib/providers/cloudflare/'],
  'cloudflare/tree-shakable': ['lib/providers/cloudflare/'],
  valibot: ['lib/estate/schema'],
  // The stand-in parses as the real one does: with the same package.
  dotenv: ['lib/providers/dokploy/dotenv.ts', 'lib/sandbox/dokploy/apps/', 'lib/stack/actions/open.ts'],
  ssh2: ['lib/providers/ssh/', 'lib/sandbox/'],
  'dns-packet': ['lib/providers/outside/', 'lib/sandbox/'],
  '@peculiar/x509': ['lib/sandbox/ca.ts', 'lib/providers/acme/keys.ts', 'lib/cluster/pki.ts'],
  'reflect-metadata': ['lib/sandbox/ca.ts', 'lib/providers/acme/keys.ts', 'lib/cluster/pki.ts'],
} satisfies Record<string, readonly string[]>

const sources = [...new Glob('{lib,scripts}/**/*.ts').scanSync(ROOT)].sort().map(path => {
  const text = readFileSync(`${ROOT}${path}`, 'utf8')
  const specifiers = [
    ...text.matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^'"\n;]*?(?:\n[^'";]*?)*?from\s*'([^']+)'|import\(\s*'([^']+)'|(?:^|\n)import '([^']+)'/g,
    ),
  ].map(match => match[1] ?? match[2] ?? match[3] ?? '')
  return { path, text, specifiers }
})

const resolve = (from: string, specifier: string): string => new URL(specifier, `file:///${from}`).pathname.slice(1)

const ruleFor = (path: string): readonly string[] => {
  const key = Object.keys(MAY_IMPORT)
    .filter(prefix => path.startsWith(prefix))
    .sort((a, b) => b.length - a.length)[0]
  return key ? MAY_IMPORT[key as keyof typeof MAY_IMPORT] : []
}

const ownFolder = (path: string): string => {
  const parts = path.split('/')
  return `${parts.slice(0, parts[1] === 'providers' || parts[1] === 'sandbox' ? Math.min(3, parts.length - 1) : parts.length - 1).join('/')}/`
}

function forbidden(path: string, target: string): boolean {
  if (target === 'lib/errors.ts' || target === 'lib/secret.ts') return false
  if (target.startsWith(ownFolder(path)) && path.startsWith('lib/') && path.split('/').length > 2) return false
  const rules = ruleFor(path)
  if (rules.some(rule => rule.startsWith('!') && target.startsWith(rule.slice(1)))) return true
  return !rules.some(rule => target.startsWith(rule))
}

describe('the import rule', () => {
  test('there are sources to check, and their imports are seen', () => {
    expect(sources.length).toBeGreaterThan(30)
    expect(sources.flatMap(source => source.specifiers).length).toBeGreaterThan(100)
  })

  test('a planted violation is found', () => {
    expect(forbidden('lib/steps/dns.ts', 'lib/providers/cloudflare/cloudflare.ts')).toBe(true)
    expect(forbidden('lib/estate/labels.ts', 'lib/engine/plan.ts')).toBe(true)
    expect(forbidden('lib/main.ts', 'lib/sandbox/sandbox.ts')).toBe(true)
    expect(forbidden('lib/steps/dns.ts', 'lib/estate/naming.ts')).toBe(false)
  })

  for (const { path, specifiers } of sources)
    test(`${path} imports only what its folder may`, () => {
      const wrong = specifiers
        .filter(each => each.startsWith('.'))
        .map(each => resolve(path, each))
        .filter(target => forbidden(path, target))
      expect(wrong).toEqual([])
    })
})

test('a library is imported by its owner alone', () => {
  const wrong = sources.flatMap(({ path, specifiers }) =>
    specifiers
      .filter(each => each in OWNERS && !OWNERS[each as keyof typeof OWNERS].some(owner => path.startsWith(owner)))
      .map(each => `${path} imports ${each}`),
  )
  expect(wrong).toEqual([])
})

test('only main touches the process, and nothing below it ends it', () => {
  const wrong = sources
    .filter(({ path, text }) => path !== 'lib/main.ts' && /\bprocess\.(exit|exitCode|argv|env|on)\b/.test(text))
    .map(({ path }) => path)
  // The CONNECT client is a program of its own, started by ssh.
  expect(wrong.filter(path => path !== 'lib/providers/ssh/connect.ts')).toEqual([])
})

test('scripts are short and run only when they are the program', () => {
  for (const { path, text } of sources.filter(source => source.path.startsWith('scripts/'))) {
    expect({ path, lines: text.split('\n').length }).toEqual({ path, lines: Math.min(text.split('\n').length, 80) })
    expect(text).toContain('if (import.meta.main)')
    expect(text.startsWith('/**')).toBe(true)
  }
})

test('every file of the library says why it exists', () => {
  expect(
    sources
      .filter(({ path, text }) => path.startsWith('lib/') && !path.endsWith('.d.ts') && !text.startsWith('/**'))
      .map(({ path }) => path),
  ).toEqual([])
})
