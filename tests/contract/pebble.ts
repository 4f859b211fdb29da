/** Let's Encrypt's own test server, as a process: a real ACME authority that resolves names where it is told to. */

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuthority } from '../../lib/sandbox/ca.ts'

export interface Pebble {
  readonly directory: string
  /** Trusted for the server's own TLS, PEM. */
  readonly caPem: string
  /** The root under which certificates are issued, PEM. */
  readRoot(): Promise<string>
  stop(): Promise<void>
}

const MODULE = 'github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1'

/**
 * The program: PEBBLE, the PATH, or built once through the Go module proxy.
 * @throws when none of them is there: a contract that is not held against the real server is no contract
 */
const findPebble = async (): Promise<string> => {
  const built = join(homedir(), '.cache', 'landfall-tools', 'pebble')
  const found = [process.env.PEBBLE, Bun.which('pebble'), built].find(path => path && existsSync(path))
  if (found) return found
  const go = Bun.which('go') ?? '/usr/local/go/bin/go'
  mkdirSync(join(homedir(), '.cache', 'landfall-tools'), { recursive: true })
  const install = Bun.spawn([go, 'install', MODULE], {
    env: { ...process.env, GOBIN: join(homedir(), '.cache', 'landfall-tools') },
    stdout: 'ignore',
    stderr: 'pipe',
  })
  if ((await install.exited) !== 0)
    throw new Error(
      `pebble is not here and can't be built (apt-get install pebble): ${await new Response(install.stderr).text()}`,
    )
  return built
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => (address !== null && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port'))))
    })
  })

/** @param dnsPort of the resolver on loopback that the authority asks */
export const startPebble = async (dnsPort: number, options: { readonly rejectNonces?: number } = {}): Promise<Pebble> => {
  const program = await findPebble()
  const authority = await createAuthority()
  const own = await authority.issue(['localhost', '127.0.0.1'])
  const [port, management, http, tls] = [await freePort(), await freePort(), await freePort(), await freePort()]
  const directory = mkdtempSync(join(tmpdir(), 'landfall-pebble-'))
  const file = (name: string, text: string) => {
    writeFileSync(join(directory, name), text)
    return join(directory, name)
  }
  const config = file(
    'config.json',
    JSON.stringify({
      pebble: {
        listenAddress: `127.0.0.1:${port}`,
        managementListenAddress: `127.0.0.1:${management}`,
        certificate: file('cert.pem', own.cert),
        privateKey: file('key.pem', own.key),
        httpPort: http,
        tlsPort: tls,
        ocspResponderURL: '',
        externalAccountBindingRequired: false,
        retryAfter: { authz: 1, order: 1 },
      },
    }),
  )
  const child = Bun.spawn([program, '-config', config, '-dnsserver', `127.0.0.1:${dnsPort}`], {
    env: { PATH: process.env.PATH ?? '', PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: String(options.rejectNonces ?? 30) },
    stdout: 'ignore',
    stderr: 'ignore',
  })
  const ask = (url: string) => fetch(url, { tls: { ca: authority.pem } })
  const endsAtMs = performance.now() + 10_000
  for (;;) {
    const up = await ask(`https://127.0.0.1:${port}/dir`).then(
      response => response.ok,
      () => false,
    )
    if (up) break
    if (performance.now() > endsAtMs || child.exitCode !== null) throw new Error('pebble did not start')
    await Bun.sleep(20)
  }
  return {
    directory: `https://127.0.0.1:${port}/dir`,
    caPem: authority.pem,
    readRoot: async () => (await ask(`https://127.0.0.1:${management}/roots/0`)).text(),
    async stop() {
      child.kill()
      await child.exited
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
