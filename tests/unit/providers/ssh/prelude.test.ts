/** The common beginning of all programs, run by real shells the way a server's sshd runs it. */

import { describe, expect, test } from 'bun:test'
import { realpathSync } from 'node:fs'
import fc from 'fast-check'
import type { ProgramInput } from '../../../../lib/providers/ports/machine.ts'
import { renderProgram } from '../../../../lib/providers/ssh/programs.ts'
import { REMOTE_COMMAND, renderRequest } from '../../../../lib/providers/ssh/protocol.ts'

/** The shells that sshd may find as somebody's login shell, of those that are here, each once. `sh` always is. */
const SHELLS = [
  ...new Map(
    ['sh', 'dash', 'bash'].flatMap(shell => {
      const path = Bun.which(shell)
      return path === null ? [] : [[realpathSync(path), shell] as const]
    }),
  ).values(),
]

const send = (shell: string, stdin: Uint8Array) => {
  const run = Bun.spawnSync([shell, '-c', REMOTE_COMMAND], { stdin })
  return { exitCode: run.exitCode, stdout: run.stdout, stderr: run.stderr.toString() }
}

const request = (text: string, accepts: readonly string[], input: ProgramInput = {}) =>
  renderRequest({ name: 'trial', text: renderProgram('trial', accepts, text), timeoutMs: 1_000 }, input)

const nasty = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.string({ unit: 'grapheme', maxLength: 60 }),
  fc.string({ unit: fc.constantFrom(...`'"$()\`\\;&|<>*?[]{}!#~%=-\n\r\t .@:/aA0`), maxLength: 60 }),
  fc.constantFrom(
    '',
    '.',
    '-n',
    '-e',
    '\n',
    '\n\n\n',
    ' ',
    "'",
    '$(touch /tmp/landfall-never)',
    '%s%n',
    '\\',
    '\u0001\u001b[31m',
    'a\n',
  ),
)

for (const shell of SHELLS)
  describe(`through ${shell}`, () => {
    test('1 250 generated values arrive byte-identical', () => {
      const perRun = 250
      const names = Array.from({ length: perRun }, (_, i) => `V${i}`)
      const text = `printf '%s\\0' ${names.map(name => `"$${name}"`).join(' ')}\n`
      fc.assert(
        fc.property(fc.array(nasty, { minLength: perRun, maxLength: perRun }), raw => {
          const values = raw.map(value => value.replaceAll('\0', '').toWellFormed())
          const input = Object.fromEntries(values.map((value, i) => [`V${i}`, value]))
          const { exitCode, stdout, stderr } = send(shell, request(text, names, input))
          expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
          expect(stdout.toString().split('\0').slice(0, -1)).toEqual(values)
        }),
        { numRuns: 5, seed: 20_260_901 },
      )
    }, 60_000)

    test('a stream that is cut short runs nothing of the program', () => {
      const whole = request('echo ran\n', ['A'], { A: 'value' })
      const programEnd = whole.indexOf('echo ran\n') + 'echo ran\n'.length
      expect(send(shell, whole).stdout.toString()).toBe('ran\n')
      for (let length = whole.length - 1; length > 0; length -= length > programEnd - 20 ? 1 : 151) {
        const { exitCode, stdout } = send(shell, whole.subarray(0, length))
        expect({ length, stdout: stdout.toString() }).toEqual({ length, stdout: '' })
        // What is cut inside the prelude only defines; after it, the missing values are noticed.
        if (length >= programEnd) expect({ length, exitCode }).toEqual({ length, exitCode: 65 })
      }
    }, 20_000)

    test('a value that the program does not take ends it', () => {
      for (const input of [{ B: 'x' }, { PATH: '/tmp' }, { AA: 'x' }, { IFS: 'x' }]) {
        const { exitCode, stdout, stderr } = send(shell, request('echo ran\n', ['A'], input))
        expect({ exitCode, stdout: stdout.toString() }).toEqual({ exitCode: 65, stdout: '' })
        expect(stderr).toContain('does not take')
      }
    })

    test('lines that are not a name and base64 end it, and execute nothing', () => {
      for (const line of ['A', 'A $(id)', 'A !!!!', '$(id) YQ==', '* YQ==', 'A;id YQ==']) {
        const text = request('echo ran\n', ['A']).toString().replace(/\.\n$/, `${line}\n.\n`)
        const { exitCode, stdout } = send(shell, Buffer.from(text))
        expect({ line, exitCode, stdout: stdout.toString() }).toEqual({ line, exitCode: 65, stdout: '' })
      }
    })

    test('values are not in the environment or on a command line of what the program starts', () => {
      const text = `cat /proc/self/environ /proc/$$/cmdline 2>/dev/null || env\n`
      const { stdout } = send(shell, request(text, ['A'], { A: 'needle-in-a-haystack' }))
      expect(stdout.length).toBeGreaterThan(10)
      expect(stdout.toString()).not.toContain('needle')
    })
  })
