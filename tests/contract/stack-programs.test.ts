/** The programs that act on a Docker host, held against the shells that will run them. */

import { expect, test } from 'bun:test'
import { STACK_PROGRAMS, type StackProgramName, stackProgram } from '../../lib/providers/docker/programs.ts'

/** What the programs have in common is not all used by each of them. */
const SHARED_PARTS = '--exclude=SC2034,SC2153,SC2317'

for (const name of Object.keys(STACK_PROGRAMS) as StackProgramName[])
  test(`${name} passes shellcheck and dash`, () => {
    const stdin = new TextEncoder().encode(stackProgram(name).text)
    for (const command of [
      ['shellcheck', '--shell=sh', SHARED_PARTS, '-'],
      ['dash', '-n', '/dev/stdin'],
    ]) {
      const { exitCode, stdout, stderr } = Bun.spawnSync(command, { stdin })
      expect({ command, exitCode, said: `${stdout}${stderr}` }).toEqual({ command, exitCode: 0, said: '' })
    }
  })
