/** Local programs (ip, nft, docker …) as the container machines run them: words in, text out, never through a shell. */

import { spawn } from 'node:child_process'
import { LandfallError } from '../../errors.ts'

export interface Ran {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly input?: string
  /** A minute when absent. */
  readonly timeoutMs?: number
}

/** Runs a program to its end; any exit code is a result, and 127 means that it is not installed. @throws timeout */
export const tryRun = (words: readonly string[], options: RunOptions = {}): Promise<Ran> =>
  new Promise((resolve, reject) => {
    const [program = '', ...rest] = words
    const timeoutMs = options.timeoutMs ?? 60_000
    const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'] })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new LandfallError('timeout', `"${describe(words)}" did not end within ${timeoutMs / 1000} s.`))
    }, timeoutMs)
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
    // A program that ends without reading its input breaks the pipe; its exit code says why it ended.
    child.stdin.on('error', () => child.stdin.destroy())
    child.once('error', error => {
      clearTimeout(timer)
      resolve({ exitCode: 127, stdout: '', stderr: error.message })
    })
    child.once('close', code => {
      clearTimeout(timer)
      resolve({ exitCode: code ?? 128, stdout: textOf(stdout), stderr: textOf(stderr) })
    })
    child.stdin.end(options.input ?? '')
  })

/** What a program printed. @throws config when it is not installed, vendor when it failed */
export const run = async (words: readonly string[], options: RunOptions = {}): Promise<string> => {
  const { exitCode, stdout, stderr } = await tryRun(words, options)
  if (exitCode === 0) return stdout.trim()
  if (exitCode === 127)
    throw new LandfallError('config', `Container machines need the program ${words[0]}: ${stderr.trim()}.`, {
      hint: 'Install docker.io, debootstrap, nftables and iproute2, and run as root on Linux.',
    })
  throw new LandfallError('vendor', `"${describe(words)}" failed: ${lastLines(stderr || stdout)}`)
}

const textOf = (chunks: readonly Buffer[]): string => Buffer.concat(chunks).toString('utf8')

const describe = (words: readonly string[]): string => words.slice(0, 6).join(' ')

const lastLines = (text: string): string => text.trim().split('\n').slice(-3).join(' / ')
