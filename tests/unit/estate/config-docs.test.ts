/** docs/config.md is made from the schema's own table; a key that is not in it would be a key that nobody finds. */

import { expect, test } from 'bun:test'
import { readFileSync, writeFileSync } from 'node:fs'
import { CONFIG_KEYS } from '../../../lib/estate/keys.ts'

const FILE = new URL('../../../docs/config.md', import.meta.url).pathname

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

const rendered = [
  '# config.json',
  '',
  'Everything but the servers has a default. Secrets never stand here: they come from the environment. Every mistake is reported at once, by',
  'path, with the nearest right word. Made from the schema; to make it anew: `UPDATE_DOCS=1 bun test tests/unit/estate/config-docs.test.ts`.',
  '',
  '| key | type | default | meaning |',
  '|---|---|---|---|',
  ...CONFIG_KEYS.map(key => `| \`${key.path}\` | ${cell(key.type)} | ${cell(key.default ?? '')} | ${cell(key.meaning)} |`),
  '',
].join('\n')

test('docs/config.md lists every key of the schema as the schema has it', () => {
  if (process.env.UPDATE_DOCS) writeFileSync(FILE, rendered)
  expect(readFileSync(FILE, 'utf8')).toBe(rendered)
})
