/** Starts the local programs that reach machines. The only place that knows zx. */

import { env } from 'node:process'
import { LandfallError } from '../../errors.ts'
import { OUTPUT_LIMIT_BYTES, parseOutput } from './protocol.ts'
import { quoteForSh } from './quote.ts'

/** All that a child sees of our environment: no token can leak into it, and nothing of it can change what ssh does. */
const ENVIRONMENT = ['PATH', 'HOME', 'SSH_AUTH_SOCK', 'LANG'] as const

export interface LocalRun {
  readonly words: readonly string[]
  readonly directory: string
  /** Written to stdin, which is then closed. */
  readonly input?: Uint8Array
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

export interface LocalOutcome {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export interface HeldProgram {
  /** Resolves when the program has written to its output; never for one that does not. */
  readonly spoken: Promise<void>
  /** Settles when the program has ended, by itself or by `close`. */
  readonly ended: Promise<LocalOutcome>
  close(): Promise<void>
}

/**
 * Ends the program in its arguments when its own stdin closes. A pipe to us closes however we end, so what is held this way
 * can't outlive us, not even a kill -9.
 */
const HOLDER = `exec 3<&0
"$@" </dev/null 3<&- & held=$!
{ read -r _; kill "$held" 2>/dev/null; } <&3 & watcher=$!
exec 3<&-
wait "$held"; code=$?
kill "$watcher" 2>/dev/null
exit "$code"`

/** Runs a program to its end; any exit code is an outcome. @throws timeout | cancelled | network (endless output) | config (not installed) */
export async function runLocal(run: LocalRun): Promise<LocalOutcome> {
  if (run.signal?.aborted) throw new LandfallError('cancelled', 'Interrupted.')
  const program = await start(run.words, run.directory)
  const { promise: broken, reject: breakOff } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => breakOff(new LandfallError('timeout', `It did not end within ${Math.round(run.timeoutMs / 100) / 10} s.`)),
    run.timeoutMs,
  )
  const onAbort = () => breakOff(new LandfallError('cancelled', 'Interrupted.'))
  run.signal?.addEventListener('abort', onAbort, { once: true })
  program.onOverflow(() => breakOff(new LandfallError('network', 'It sent more than 1 MiB.')))
  program.stdin.end(run.input ?? '')
  try {
    return await Promise.race([program.ended, broken])
  } catch (error) {
    program.kill()
    throw error
  } finally {
    clearTimeout(timer)
    run.signal?.removeEventListener('abort', onAbort)
  }
}

/** Starts a program that lasts until it is closed, or until this process ends. */
export async function holdLocal(words: readonly string[], directory: string): Promise<HeldProgram> {
  const program = await start(['sh', '-c', HOLDER, 'hold', ...words], directory, words[0])
  return {
    spoken: program.spoken,
    ended: program.ended,
    async close() {
      program.stdin.end()
      await program.ended
    },
  }
}

async function start(words: readonly string[], directory: string, program = words[0]) {
  const { $, which } = await import('zx/core')
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  // zx also takes these from ZX_… variables, so all of them are said here.
  const shell = $({
    shell: '/bin/sh',
    prefix: 'exec ',
    postfix: '',
    quote: quoteForSh,
    cwd: directory,
    env: Object.fromEntries(ENVIRONMENT.map(name => [name, env[name]])),
    store: { stdout, stderr, stdall: [] },
    nothrow: true,
    quiet: true,
    verbose: false,
    detached: false,
    preferLocal: false,
    timeout: 0,
  })
  const running = shell`${words}`
  const { child } = running
  if (child?.stdin == null) throw new LandfallError('config', 'No local shell could be started.', { cause: running.output })
  const { stdin } = child
  // A program that ends without reading its input breaks the pipe; its exit code says why it ended.
  stdin.on('error', () => child.stdout?.resume())
  const outcome = async (): Promise<LocalOutcome> => {
    const output = await running
    // A shell says 127 for what it cannot find, on either side of the connection.
    if (output.exitCode === 127 && (await which(program ?? '', { nothrow: true })) === null)
      throw notInstalled(parseOutput(stderr))
    // Ended by a signal: nobody's exit code, so the shells' convention for it.
    return { exitCode: output.exitCode ?? 128, stdout: parseOutput(stdout), stderr: parseOutput(stderr) }
  }
  const ended = outcome()
  return {
    stdin,
    spoken: new Promise<void>(resolve => child.stdout?.once('data', () => resolve())),
    ended,
    /** The pipes are closed here too: a shared connection's own process holds their other ends until the far side is done. */
    kill() {
      child.kill('SIGKILL')
      child.stdout?.destroy()
      child.stderr?.destroy()
    },
    onOverflow(report: () => void) {
      let bytes = 0
      const count = (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > OUTPUT_LIMIT_BYTES) report()
      }
      child.stdout?.on('data', count)
      child.stderr?.on('data', count)
    },
  }
}

const notInstalled = (why: string) =>
  new LandfallError('config', 'The program ssh could not be started here.', {
    hint: 'Install OpenSSH (package openssh-client) and run the same command again.',
    cause: why,
  })
