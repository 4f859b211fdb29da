import { describe, expect, test } from 'bun:test'
import { tmpdir } from 'node:os'
import { runLocal } from '../../../../lib/providers/ssh/shell.ts'

const run = (...words: string[]) => runLocal({ words, directory: tmpdir(), timeoutMs: 10_000 })

describe('exit code 127', () => {
  test('of a program that is here is an outcome: it is the far side that did not find something', async () => {
    expect(await run('sh', '-c', 'echo "sh: no such thing" >&2; exit 127')).toMatchObject({ exitCode: 127, stdout: '' })
  })

  test('of one that is not here names what to install', async () => {
    await expect(run('no-such-ssh-of-this-test', 'x')).rejects.toThrow('The program ssh could not be started here.')
  })
})
