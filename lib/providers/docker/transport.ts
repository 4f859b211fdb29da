/** How a program reaches the Docker host: through a shell of this machine, or through SSH. Both take the same bytes on stdin. */

import { spawn } from 'node:child_process'
import { env } from 'node:process'
import { LandfallError } from '../../errors.ts'
import type { Machines, Program, ProgramInput, ProgramResult, Target } from '../ports/machine.ts'
import { parseOutput, REMOTE_COMMAND, renderRequest } from '../ssh/protocol.ts'

export interface Transport {
  /** For messages. */
  readonly name: string
  /** @throws timeout | cancelled | network; a non-zero exit is a result */
  run(program: Program, input: ProgramInput, signal?: AbortSignal): Promise<ProgramResult>
  close(): Promise<void>
}

/** What a local program sees of our environment: what the docker command itself reads, and no token. */
const ENVIRONMENT = [
  'PATH',
  'HOME',
  'LANG',
  'XDG_STATE_HOME',
  'XDG_CONFIG_HOME',
  'XDG_RUNTIME_DIR',
  'DOCKER_HOST',
  'DOCKER_CONTEXT',
  'DOCKER_CONFIG',
  'DOCKER_CERT_PATH',
  'DOCKER_TLS_VERIFY',
] as const

const OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024

export function createLocalTransport(): Transport {
  const environment = Object.fromEntries(ENVIRONMENT.flatMap(name => (env[name] === undefined ? [] : [[name, env[name]]])))
  return {
    name: 'this machine',
    run: (program, input, signal) => runLocal(program, input, environment, signal),
    close: async () => {},
  }
}

export function createSshTransport(machines: Pick<Machines, 'run'>, target: Target): Transport {
  return {
    name: `${target.name} (${target.address})`,
    run: (program, input, signal) => machines.run(target, program, input, signal),
    // The connection may be another run's too, whose commands would end with it; it ends by itself when nobody has used it for a minute.
    close: async () => {},
  }
}

function runLocal(
  program: Program,
  input: ProgramInput,
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<ProgramResult> {
  if (signal?.aborted) return Promise.reject(new LandfallError('cancelled', 'Interrupted.'))
  return new Promise((resolve, reject) => {
    // A process group of its own: Ctrl-C at the terminal must not tear an action apart.
    const child = spawn('sh', ['-c', REMOTE_COMMAND_TEXT], { detached: true, env: environment, stdio: ['pipe', 'pipe', 'pipe'] })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    let bytes = 0
    const end = (error: LandfallError) => {
      finish()
      if (child.pid !== undefined) killGroup(child.pid)
      reject(error)
    }
    const onAbort = () => end(new LandfallError('cancelled', 'Interrupted.'))
    const timer = setTimeout(
      () =>
        end(
          new LandfallError(
            'timeout',
            `The program ${program.name} did not end within ${Math.round(program.timeoutMs / 1000)} s.`,
          ),
        ),
      program.timeoutMs,
    )
    const finish = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    const collect = (into: Buffer[]) => (chunk: Buffer) => {
      into.push(chunk)
      bytes += chunk.length
      if (bytes > OUTPUT_LIMIT_BYTES) end(new LandfallError('network', `The program ${program.name} wrote too much.`))
    }
    child.stdout.on('data', collect(stdout))
    child.stderr.on('data', collect(stderr))
    // A program that ends without reading its input breaks the pipe; its exit code says why it ended.
    child.stdin.on('error', () => child.stdout.resume())
    child.on('error', cause => {
      finish()
      reject(new LandfallError('config', 'The shell sh could not be started here.', { cause }))
    })
    child.on('close', code => {
      finish()
      resolve({ exitCode: code ?? 128, stdout: parseOutput(stdout), stderr: parseOutput(stderr) })
    })
    child.stdin.end(renderRequest(program, input))
  })
}

/** The same words as on a machine behind SSH, without that shell's own quoting. */
const REMOTE_COMMAND_TEXT = REMOTE_COMMAND.replace(/^sh -c '/, '').replace(/'$/, '')

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // It has ended by itself.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}
