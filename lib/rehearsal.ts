/** The sandbox as the world of a script: started in this process, or found at a URL. The only importer of the sandbox here. */

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { LandfallError } from './errors.ts'

export interface Rehearsal {
  /** Variables that replace the process's own. */
  readonly variables: Readonly<Record<string, string>>
  readonly simulated: readonly string[]
  close(): Promise<void>
}

const SIMULATED = [
  'Hetzner, Cloudflare, DNS, the certificate authority and Dokploy are stand-ins on this machine; nothing was bought or published.',
  'The machines are simulated: their SSH, HTTP and TLS are real protocols, what runs behind them is not.',
] as const

/** Files of the sandbox's world, removed for a fresh one. */
const FILES = ['sandbox.sqlite', 'sandbox.sqlite-wal', 'sandbox.sqlite-shm', 'sandbox-ca.pem']

/** @throws LandfallError locked when another process runs this sandbox, network when nothing answers at the URL */
export async function startRehearsal(
  how: 'kept' | 'fresh' | { readonly url: string },
  stateDirectory: string,
  zones: readonly string[],
): Promise<Rehearsal> {
  if (typeof how === 'object') return joinSandbox(how.url)
  if (how === 'fresh') for (const file of FILES) rmSync(join(stateDirectory, file), { force: true })
  const { startSandbox } = await import('./sandbox/sandbox.ts')
  const sandbox = await startSandbox({ path: join(stateDirectory, 'sandbox.sqlite'), seed: { zones, goldenImage: true } })
  return { variables: sandbox.environment, simulated: SIMULATED, close: () => sandbox.close() }
}

async function joinSandbox(url: string): Promise<Rehearsal> {
  const hint = 'Start one in another terminal: bun scripts/sandbox.ts  (it prints its URL)'
  if (!/^http:\/\/(127\.0\.0\.1|localhost|\[::1\]):\d+\/?$/.test(url))
    throw new LandfallError('usage', `"${url}" is not a sandbox on this machine: a URL like http://127.0.0.1:4000 is wanted.`, {
      hint,
    })
  let answer: Response
  try {
    answer = await fetch(new URL('/_sandbox/environment', url), { signal: AbortSignal.timeout(5_000) })
  } catch (error) {
    throw new LandfallError('network', `No sandbox answers at ${url}.`, { hint, cause: error })
  }
  if (!answer.ok) throw new LandfallError('network', `What answers at ${url} is not a sandbox (HTTP ${answer.status}).`, { hint })
  return { variables: (await answer.json()) as Record<string, string>, simulated: SIMULATED, close: async () => {} }
}
