/** What is wrong with a configuration's file is the operator's to mend, and is said so. */

import { afterAll, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkConfigFolder, readConfigFile } from '../../lib/config-file.ts'
import { exitCodeOf, LandfallError } from '../../lib/errors.ts'

const folder = mkdtempSync(join(tmpdir(), 'landfall-config-file-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const failure = (act: () => unknown): LandfallError => {
  try {
    act()
  } catch (error) {
    if (error instanceof LandfallError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('a configuration', () => {
  test('is read as it is', () => {
    writeFileSync(join(folder, 'c.json'), '{ }\n')
    expect(readConfigFile(join(folder, 'c.json'))).toBe('{ }\n')
  })

  const wrong: [string, () => unknown, string, string][] = [
    ['that is a folder', () => readConfigFile(folder), `${folder} is a folder, not a configuration.`, '--config'],
    ['that is not there', () => readConfigFile('nowhere.json'), 'There is no nowhere.json here.', 'bun scripts/setup.ts'],
    [
      'whose folder is not there',
      () => checkConfigFolder(join(folder, 'no/c.json')),
      `There is no folder ${folder}/no to write the configuration into.`,
      `mkdir -p ${folder}/no`,
    ],
  ]
  for (const [name, act, message, hint] of wrong)
    test(`${name} is wrong usage`, () => {
      const error = failure(act)
      expect([error.message, exitCodeOf(error)]).toEqual([message, 64])
      expect(error.hint).toContain(hint)
    })

  test('may lie in the folder of the command', () => expect(checkConfigFolder('config.json')).toBeUndefined())
})
