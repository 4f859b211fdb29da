/** A pretended server for the shell programs: a directory that stands for /, and commands on the PATH that keep their state in files. */

import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Program, ProgramInput } from '../../../../lib/providers/ports/machine.ts'
import { REMOTE_COMMAND, renderRequest } from '../../../../lib/providers/ssh/protocol.ts'

export interface Stage {
  readonly root: string
  /** Puts a command on the PATH; `$STATE` is its folder for state, and each call is noted. */
  command(name: string, text: string): void
  write(path: string, text: string, mode?: number): void
  read(path: string): string
  has(path: string): boolean
  list(path: string): string[]
  /** The calls of `name` so far, one line each. */
  calls(name: string): string[]
  run(program: Program, input?: ProgramInput): { exitCode: number; stdout: string; stderr: string }
  /** Runs a script as a file, as the unit does. */
  runFile(path: string): { exitCode: number; output: string }
  remove(): void
}

/** All that a pretended server has of this machine's commands, so that a Docker or an apt that is here is not there. */
const TOOLS = [
  ...[
    'sh',
    'cat',
    'head',
    'tail',
    'tr',
    'sed',
    'grep',
    'awk',
    'od',
    'base64',
    'mkdir',
    'chmod',
    'mv',
    'rm',
    'cp',
    'touch',
    'mktemp',
  ],
  ...['sync', 'date', 'df', 'wc', 'ls', 'flock', 'timeout', 'cmp', 'env', 'test', 'tar'],
]

/** Folders that are moved below the stage's own. */
const MOVED = /(?<![\w.$}/])\/(?=etc\/|var\/lib\/|var\/log\/|usr\/local\/lib\/|run\/|swapfile|root\/|proc\/meminfo)/g

export const moved = (text: string, root: string): string => text.replace(MOVED, `${root}/`)

export function createStage(): Stage {
  const root = mkdtempSync(join(tmpdir(), 'landfall-stage-'))
  const bin = join(root, 'bin')
  const state = join(root, 'state')
  mkdirSync(bin)
  mkdirSync(state)
  const tools = join(root, 'tools')
  mkdirSync(tools)
  for (const tool of TOOLS) {
    const path = Bun.which(tool)
    if (path === null) throw new Error(`These tests need the command ${tool}.`)
    symlinkSync(path, join(tools, tool))
  }
  const environment = { PATH: `${bin}:${tools}`, STATE: state, ROOT: root, HOME: root }
  const at = (path: string) => join(root, path)
  const stage: Stage = {
    root,
    command(name, text) {
      const file = join(bin, name)
      writeFileSync(file, `#!/bin/sh\nprintf '%s\\n' "$*" >>"$STATE/${name}.calls"\n${text}\n`)
      chmodSync(file, 0o755)
    },
    write(path, text, mode = 0o600) {
      mkdirSync(dirname(at(path)), { recursive: true })
      writeFileSync(at(path), text, { mode })
    },
    read: path => readFileSync(at(path), 'utf8'),
    has: path => existsSync(at(path)),
    list: path => (existsSync(at(path)) ? readdirSync(at(path)).sort() : []),
    calls: name =>
      existsSync(join(state, `${name}.calls`))
        ? readFileSync(join(state, `${name}.calls`), 'utf8')
            .split('\n')
            .slice(0, -1)
        : [],
    run(program, input) {
      const stdin = renderRequest({ ...program, text: moved(program.text, root) }, input)
      const { exitCode, stdout, stderr } = Bun.spawnSync([join(tools, 'sh'), '-c', REMOTE_COMMAND], { stdin, env: environment })
      return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() }
    },
    runFile(path) {
      const { exitCode, stdout, stderr } = Bun.spawnSync([at(path)], { env: environment })
      return { exitCode, output: stdout.toString() + stderr.toString() }
    },
    remove: () => rmSync(root, { recursive: true, force: true }),
  }
  return stage
}
