/** A real registry with a password, on loopback: as Docker has it, the one place that needs no TLS. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { openEngine } from '../../../lib/sandbox/containers/engine.ts'
import { machinesDirectory } from '../base/build.ts'
import { findTools } from './tools.ts'

export const LOGIN = { username: 'ci', password: 'canary-of-the-registry' } as const

export interface Registry {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  /** Holds its configuration, passwords and images; the program takes the first file's path as its argument. */
  readonly folder: string
  readonly configFile: string
  /** Requests that it has answered, as `METHOD PATH`. */
  requests(): readonly string[]
  close(): Promise<void>
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })

/** For a `docker` that is to use the same engine as the machines. */
export const dockerVariables = async (): Promise<Readonly<Record<string, string>>> => {
  const { command } = await openEngine(machinesDirectory())
  const host = command.at(-1) ?? ''
  return host.startsWith('unix:') ? { DOCKER_HOST: host } : {}
}

/** @param folder for what it keeps; named the same wherever the registry is run again from a copy */
export async function startRegistry(folder: string): Promise<Registry> {
  mkdirSync(folder, { recursive: true })
  const host = `127.0.0.1:${await freePort()}`
  const configFile = join(folder, 'config.json')
  const hash = await Bun.password.hash(LOGIN.password, { algorithm: 'bcrypt', cost: 4 })
  writeFileSync(join(folder, 'htpasswd'), `${LOGIN.username}:${hash}\n`)
  // JSON is YAML.
  writeFileSync(
    configFile,
    JSON.stringify({
      version: '0.1',
      log: { level: 'info', formatter: 'json', accesslog: { disabled: false } },
      storage: { filesystem: { rootdirectory: join(folder, 'images') } },
      http: { addr: host },
      auth: { htpasswd: { realm: 'test', path: join(folder, 'htpasswd') } },
    }),
  )
  const { registry } = await findTools()
  const child = Bun.spawn([registry, 'serve', configFile], {
    env: { OTEL_TRACES_EXPORTER: 'none' },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const said: string[] = []
  const decoder = new TextDecoder()
  for (const stream of [child.stdout, child.stderr])
    void (async () => {
      for await (const chunk of stream) said.push(decoder.decode(chunk, { stream: true }))
    })()
  const deadlineMs = performance.now() + 20_000
  while (
    !(await fetch(`http://${host}/v2/`).then(
      answer => answer.status === 401,
      () => false,
    ))
  ) {
    if (performance.now() > deadlineMs) throw new Error(`The registry did not start: ${said.join('').slice(-1_000)}`)
    await Bun.sleep(50)
  }
  return {
    host,
    folder,
    configFile,
    requests: () =>
      [...said.join('').matchAll(/"(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP/g)].map(([, method, path]) => `${method} ${path}`),
    async close() {
      child.kill()
      await child.exited
    },
  }
}
