/** What an image is built from: the same files give the same tag, each that Docker would see makes another, and none that it would not. */

import { afterAll, describe, expect, test } from 'bun:test'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { readContext } from '../../../lib/cluster/context.ts'
import { parseIgnore } from '../../../lib/cluster/ignore.ts'

const root = mkdtempSync(join(tmpdir(), 'landfall-context-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const configPath = join(root, 'config.json')

const write = (path: string, text: string): void => {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}
const tag = (change: { readonly dockerfile?: string; readonly stage?: string } = {}): string =>
  readContext(configPath, 'web', { context: 'web', dockerfile: 'Dockerfile', ...change }).tag

write('web/Dockerfile', 'FROM scratch\nCOPY . /\n')
write('web/src/main.js', 'one')
write('web/.dockerignore', 'node_modules\n*.log\n')

describe('the tag', () => {
  test('is the same for the same, and fits into a reference', () => {
    expect(tag()).toBe(tag())
    expect(tag()).toMatch(/^landfall-[0-9a-f]{24}$/)
  })

  test('stays when something changes that the build does not see', () => {
    const before = tag()
    write('web/node_modules/x/index.js', 'x')
    write('web/build.log', 'x')
    write('web/.git/HEAD', 'x')
    write('config.json', '{}')
    expect(tag()).toBe(before)
  })

  test('is another for each thing that the build sees', () => {
    const seen = [tag(), tag({ stage: 'test' })]
    const then = (change: () => void) => {
      change()
      seen.push(tag())
    }
    then(() => write('web/src/main.js', 'two'))
    then(() => write('web/src/other.js', 'two'))
    then(() => chmodSync(join(root, 'web/src/other.js'), 0o755))
    then(() => symlinkSync('main.js', join(root, 'web/src/link.js')))
    then(() => write('web/Dockerfile', 'FROM scratch\n'))
    // A builder that reads the one file leaves in what the other leaves out.
    then(() => write('web/Dockerfile.dockerignore', '*.log\n'))
    expect(new Set(seen).size).toBe(seen.length)
  })
})

describe('a folder that cannot be built is said', () => {
  const wrong =
    (context: string, dockerfile = 'Dockerfile') =>
    () =>
      readContext(configPath, 'web', { context, dockerfile })
  test('none', () => expect(wrong('shop')).toThrow('cluster.builds.web: the folder shop is not there.'))
  test('without a Dockerfile', () => expect(wrong('web/src')).toThrow('web/src has no Dockerfile'))
  test('a link that leads out', () => {
    symlinkSync(tmpdir(), join(root, 'out'))
    expect(wrong('out')).toThrow('lies outside of the folder of the config')
  })
})

/** From the reference, "dockerignore files", and what Docker does with each. */
describe('.dockerignore', () => {
  const cases: readonly [string, readonly string[], readonly string[]][] = [
    ['*/temp*', ['a/temporary.txt', 'a/temp'], ['temp', 'a/b/temp']],
    ['*/*/temp*', ['a/b/temporary'], ['a/temp']],
    ['temp?', ['tempa', 'tempb/x'], ['temp', 'tempab']],
    ['**/*.go', ['a.go', 'a/b/c.go'], ['a.god']],
    ['docs/**', ['docs/a', 'docs/a/b'], ['doc/a', 'docs']],
    ['*.md\n!README.md', ['A.md'], ['README.md', 'a/A.md']],
    ['*.md\n!README*.md\nREADME-secret.md', ['A.md', 'README-secret.md'], ['README-a.md']],
    ['# a comment\n\n/build/\n./dist', ['build/x', 'dist'], ['a/build', '# a comment']],
    ['[ab].txt', ['a.txt', 'b.txt'], ['c.txt']],
    ['a+(b).txt', ['a+(b).txt'], ['aab.txt']],
    ['\\*.txt\n[', ['*.txt', '['], ['a.txt']],
    ['*\n!src', ['x', 'web/x'], ['src', 'src/x']],
  ]
  for (const [text, out, kept] of cases)
    test(JSON.stringify(text), () => {
      const ignores = parseIgnore(text)
      expect({ out: out.filter(ignores), kept: kept.filter(path => !ignores(path)) }).toEqual({ out: [...out], kept: [...kept] })
    })
})
