/** Docker's command line as the one that builds and pushes: whatever builder its user has set up is the one that builds. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { LandfallError } from '../../errors.ts'
import type { ProviderContext } from '../context.ts'
import type { Images, ImageWish, RegistryLogin } from '../ports/registry.ts'
import { createRegistry } from './registry.ts'

export interface ImagesOptions {
  readonly login: RegistryLogin
  readonly context: ProviderContext
  /** What Docker may see of our environment. */
  readonly variables: Readonly<Record<string, string>>
}

const BUILD_TIMEOUT_MS = 30 * 60_000
const PUSH_TIMEOUT_MS = 15 * 60_000
const LOGIN_TIMEOUT_MS = 60_000
const LINES_KEPT = 3

interface Run {
  readonly words: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
  readonly timeoutMs: number
  readonly signal: AbortSignal
  readonly say?: (line: string) => void
}

export function createImages({ login, context, variables }: ImagesOptions): Images {
  const redact = (text: string): string => text.replaceAll(login.password.reveal(), login.password.toString())

  const docker = async ({ words, env = {}, input, timeoutMs, signal, say }: Run): Promise<void> => {
    const deadline = AbortSignal.timeout(timeoutMs)
    const what = `docker ${words[0]}`
    let child: Bun.Subprocess<'ignore' | Blob, 'pipe', 'pipe'>
    try {
      child = Bun.spawn(['docker', ...words], {
        env: { ...variables, ...env },
        stdin: input === undefined ? 'ignore' : new Blob([input]),
        stdout: 'pipe',
        stderr: 'pipe',
        signal: AbortSignal.any([deadline, signal]),
      })
    } catch {
      throw new LandfallError('not_found', 'docker is not installed here, and images are built with it.', {
        hint: 'Install it (https://docs.docker.com/engine/install/), or let CI deploy; then run the same command again.',
      })
    }
    const last: string[] = []
    const read = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
      for await (const text of createInterface({ input: Readable.fromWeb(stream) })) {
        const line = redact(text).trim()
        if (line === '') continue
        say?.(line)
        last.push(line)
      }
    }
    const [code] = await Promise.all([child.exited, read(child.stdout), read(child.stderr)])
    if (signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
    if (deadline.aborted) throw new LandfallError('timeout', `"${what}" took longer than ${timeoutMs / 60_000} minutes.`)
    if (code !== 0)
      throw new LandfallError(
        'vendor',
        `"${what}" ended with exit code ${code}: ${last.slice(-LINES_KEPT).join(' / ') || 'it said nothing'}.`,
        {
          hint:
            words[0] === 'build'
              ? 'Build it by hand to see all it says: docker build .'
              : `See whether ${login.username} may push to ${login.url}.`,
        },
      )
  }

  const push = async (reference: string, signal: AbortSignal): Promise<void> => {
    // A folder of its own: what Docker keeps of a login ends with the push.
    const folder = mkdtempSync(join(tmpdir(), 'landfall-docker-'))
    const env = { DOCKER_CONFIG: folder }
    try {
      const words = ['login', '--username', login.username, '--password-stdin', login.url]
      await docker({ words, env, input: login.password.reveal(), timeoutMs: LOGIN_TIMEOUT_MS, signal })
      await context.beforeWrite({ provider: 'registry', method: 'PUSH', path: `/${reference}` })
      context.meter.count('registry', 'write')
      await docker({ words: ['push', reference], env, timeoutMs: PUSH_TIMEOUT_MS, signal })
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  return {
    ...createRegistry(login, context),
    async createImage({ directory, dockerfile, stage, reference }: ImageWish, say, signal) {
      const target = stage === undefined ? [] : ['--target', stage]
      const words = ['build', '--file', dockerfile, ...target, '--tag', reference, directory]
      await docker({ words, timeoutMs: BUILD_TIMEOUT_MS, signal, say })
      say('pushing it')
      await push(reference, signal)
    },
  }
}
