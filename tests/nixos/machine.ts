/** A machine for the programs of a first boot: a root directory of its own, and stand-ins for the commands that would reach the host's. */

import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT } from './evaluate.ts'

const PROGRAMS = join(ROOT, 'nixos', 'programs')

/** What is left to undo; each test file calls `cleanUp` after each test. */
export const cleanUps: (() => void)[] = []
export const cleanUp = (): void => {
  for (const undo of cleanUps.splice(0).reverse()) undo()
}

export interface Machine {
  readonly root: string
  path(name: string): string
  read(name: string): string
  mode(name: string): string
  put(name: string, text: string): void
  /** What the stand-in commands were called with, one line each. */
  calls(): string
  run(program: string, environment: Readonly<Record<string, string>>): Promise<{ code: number; said: string }>
}

/** A root directory, and commands in PATH that write down their arguments. `commands` are shell texts by name. */
export const createMachine = (commands: Readonly<Record<string, string>> = {}): Machine => {
  const root = mkdtempSync(join(tmpdir(), 'landfall-machine-'))
  cleanUps.push(() => rmSync(root, { recursive: true, force: true }))
  const path = (name: string) => join(root, name)
  const put = (name: string, text: string) => {
    mkdirSync(join(path(name), '..'), { recursive: true })
    writeFileSync(path(name), text)
  }
  put('proc/sys/kernel/hostname', '(none)\n')
  for (const [name, text] of Object.entries({ systemctl: 'exit 0', networkctl: 'exit 0', ...commands })) {
    put(`stand-ins/${name}`, `#!/bin/sh\nprintf '%s %s\\n' ${name} "$*" >>'${path('calls')}'\n${text}\n`)
    chmodSync(path(`stand-ins/${name}`), 0o755)
  }
  return {
    root,
    path,
    put,
    read: name => readFileSync(path(name), 'utf8'),
    mode: name => (statSync(path(name)).mode & 0o777).toString(8),
    calls: () => (existsSync(path('calls')) ? readFileSync(path('calls'), 'utf8') : ''),
    async run(program, environment) {
      const child = Bun.spawn(['bash', '-e', join(PROGRAMS, `${program}.sh`)], {
        env: {
          PATH: `${path('stand-ins')}:${process.env.PATH}`,
          ROOT: root,
          HOME: root,
          PAUSE_S: '0',
          TRIES: '1',
          ...environment,
        },
        stdout: 'pipe',
        stderr: 'pipe',
      })
      const [said, code] = await Promise.all([child.stderr.text(), child.exited])
      return { code, said }
    },
  }
}
