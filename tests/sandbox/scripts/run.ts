/** Whole scripts as processes of their own, against a sandbox in this one: what a person or a pipeline would start, and the world's truth. */

import { createHash } from 'node:crypto'
import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LoggedRequest } from '../../../lib/sandbox/kit.ts'
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../lib/sandbox/sandbox.ts'

export const ROOT = new URL('../../../', import.meta.url).pathname

/** Everything quick; still slow enough that actions overlap. */
export const FAST = {
  actionMs: { create_server: 30, start_server: 10, other: 10 },
  bootMs: 30,
  dokployStartMs: 30,
} as const

const LINE_TYPES = ['plan', 'step', 'log', 'warning', 'error', 'summary'] as const

export interface JsonLine {
  readonly type: (typeof LINE_TYPES)[number]
  readonly [field: string]: unknown
}

export interface SummaryLine extends JsonLine {
  readonly ok: boolean
  readonly changes: number
  readonly applied: number
  readonly durationMs: number
  readonly requests: Readonly<Record<string, { readonly reads: number; readonly writes: number }>>
  readonly outputs: Readonly<Record<string, string>>
}

export interface Ended {
  readonly command: string
  /** Null after a signal. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** Both, for looking for what must be nowhere. */
  readonly output: string
  readonly elapsedMs: number
  /** Requests that reached the sandbox between start and end, whoever sent them. */
  readonly requests: readonly LoggedRequest[]
  /** The lines of a `--json` run. @throws when one of them is no object of a known type */
  lines(): readonly JsonLine[]
  /** @throws when there is not exactly one */
  summary(): SummaryLine
  errors(): readonly JsonLine[]
}

export interface Running {
  readonly pid: number
  readonly ended: Promise<Ended>
  /** What it has said so far. */
  stdout(): string
  stderr(): string
  kill(signal: NodeJS.Signals): void
}

export interface RunOptions {
  /** On top of the sandbox's; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  readonly timeoutMs?: number
}

export interface Place {
  readonly sandbox: Sandbox
  /** Where `config.json` and `.landfall` are. */
  readonly cwd: string
  readonly run: (command: string, options?: RunOptions) => Promise<Ended>
  /** Every run that has ended, oldest first. */
  readonly history: readonly Ended[]
  readonly start: (command: string, options?: RunOptions) => Running
  writeConfig(config: unknown, name?: string): void
}

/** The estate that most tests are about; the form of examples/two-servers.json. */
export const TWO_SERVERS = {
  hetzner: { location: 'nbg1', server_types: { dev: 'cx23', prod: 'cx33', packer_build: 'cx23' } },
  cloudflare: { api_base_url: 'https://api.cloudflare.com/client/v4' },
  dns: { domain: 'example.com', admin_subdomain: 'admin', dev_admin_subdomain: 'dev.admin' },
}

/** One server without names: the smallest that a test of one script needs. */
export const ONE_SERVER = {
  project: 'solo',
  hetzner: { location: 'nbg1', server_types: { prod: 'cx33' } },
  dokploy: { admin_email: 'admin@example.com' },
}

const open: (() => Promise<void>)[] = []

/** For `afterAll`: everything that was opened, with its directories. @throws when a sandbox had a bug */
export const closePlaces = async (): Promise<void> => {
  for (const close of open.splice(0)) await close()
}

export const openPlace = async (config: unknown = TWO_SERVERS, options: SandboxOptions = {}): Promise<Place> => {
  const sandbox = await startSandbox({ seed: { zones: ['example.com'], goldenImage: true }, settings: FAST, ...options })
  const cwd = mkdtempSync(join(tmpdir(), 'landfall-scripts-'))
  open.push(async () => {
    await sandbox.close()
    rmSync(cwd, { recursive: true, force: true })
    if (sandbox.bugs.length > 0) throw new Error(`the sandbox has bugs: ${sandbox.bugs.map(String).join('; ')}`)
  })
  const history: Ended[] = []
  const place: Place = {
    sandbox,
    cwd,
    history,
    start(command, given = {}) {
      const running = start(sandbox, command, { cwd, ...given })
      running.ended.then(
        ended => history.push(ended),
        () => undefined,
      )
      return running
    },
    run: (command, given) => place.start(command, given).ended,
    writeConfig: (content, name = 'config.json') =>
      writeFileSync(join(cwd, name), typeof content === 'string' ? content : JSON.stringify(content, null, 2)),
  }
  place.writeConfig(config)
  return place
}

const TIMEOUT_MS = 30_000

/** `command` as "setup --yes --json": a script's name and its words, none of which holds a space. */
const start = (sandbox: Sandbox, command: string, { env = {}, cwd = '.', timeoutMs = TIMEOUT_MS }: RunOptions): Running => {
  const [script = '', ...words] = command.split(' ')
  const beganMs = performance.now()
  const before = sandbox.requests().length
  const wanted = { ...environmentOf(cwd), ...sandbox.environment, ...env }
  const child = Bun.spawn([process.execPath, join(ROOT, 'scripts', `${script}.ts`), ...words], {
    cwd,
    env: Object.fromEntries(Object.entries(wanted).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))),
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  const stdout = collect(child.stdout)
  const stderr = collect(child.stderr)
  const ended = Promise.all([child.exited, stdout.done, stderr.done]).then(([code]) => {
    clearTimeout(timer)
    if (child.signalCode === 'SIGKILL' && performance.now() - beganMs >= timeoutMs)
      throw new Error(`"${command}" did not end within ${timeoutMs} ms; it said:\n${stdout.text()}\n${stderr.text()}`)
    const exit = child.signalCode === null ? code : null
    return toEnded(command, exit, stdout.text(), stderr.text(), performance.now() - beganMs, sandbox.requests().slice(before))
  })
  return {
    pid: child.pid,
    ended,
    stdout: stdout.text,
    stderr: stderr.text,
    kill: signal => child.kill(signal),
  }
}

/** Nothing of the operator's own: no tokens, no keys, no CI, a home of its own. */
export const environmentOf = (cwd: string): Record<string, string> => ({
  PATH: process.env.PATH ?? '',
  HOME: cwd,
  LANG: 'C.UTF-8',
  // Bun would keep what it compiled below that home, and compile everything again for the next one.
  BUN_RUNTIME_TRANSPILER_CACHE_PATH: join(tmpdir(), 'landfall-test-compiled'),
})

const collect = (stream: ReadableStream<Uint8Array>) => {
  let text = ''
  const decoder = new TextDecoder()
  const done = (async () => {
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true })
  })()
  return { done, text: () => text }
}

const toEnded = (
  command: string,
  code: number | null,
  stdout: string,
  stderr: string,
  elapsedMs: number,
  requests: readonly LoggedRequest[],
): Ended => {
  const lines = () => stdout.split('\n').slice(0, -1).map(toLine)
  return {
    command,
    code,
    stdout,
    stderr,
    output: stdout + stderr,
    elapsedMs,
    requests,
    lines,
    summary: () => {
      const [summary, ...more] = lines().filter(isSummary)
      if (!summary || more.length > 0)
        throw new Error(`"${command}" printed ${more.length + (summary ? 1 : 0)} summaries:\n${stdout}${stderr}`)
      return summary
    },
    errors: () => lines().filter(line => line.type === 'error'),
  }
}

const toLine = (text: string): JsonLine => {
  const value: unknown = JSON.parse(text)
  if (!isLine(value)) throw new Error(`not a line of the contract: ${text}`)
  return value
}

const isLine = (value: unknown): value is JsonLine =>
  typeof value === 'object' && value !== null && 'type' in value && LINE_TYPES.some(type => type === value.type)

const isSummary = (line: JsonLine): line is SummaryLine => line.type === 'summary'

/** Probes: sent to learn about rights, with nothing in them that could have an effect. */
const isProbe = ({ vendor, path, body }: LoggedRequest): boolean =>
  (vendor === 'cloudflare' && path.endsWith('/batch') && !/"(content|id)"/.test(body)) ||
  (vendor === 'hetzner' && path === '/firewalls' && body === '{}')

/** What could have changed something: everything but reading, whatever was answered. */
export const mutationsIn = (requests: readonly LoggedRequest[]): readonly string[] =>
  requests
    .filter(request => request.method !== 'GET' && request.method !== 'HEAD' && !isProbe(request))
    .map(({ vendor, method, path, status }) => `${vendor} ${method} ${path} → ${status}`)

/** The world without what only passes: what two equal states have in common, byte for byte. */
export const truthOf = (sandbox: Sandbox): string => {
  const { hetzner, cloudflare, machines } = sandbox.world()
  // A machine's host key and listeners come into being when somebody first looks at it.
  return JSON.stringify(
    { hetzner, cloudflare, machines },
    (key, value) => (key === 'hostKey' || key === 'login' ? undefined : value),
    1,
  )
}

/** A call by somebody else: another tool, or a person in the console. @throws when it is refused */
export const callAs = async (
  sandbox: Sandbox,
  vendor: 'hetzner' | 'cloudflare',
  method: string,
  path: string,
  body?: unknown,
): Promise<Record<string, unknown>> => {
  const { environment } = sandbox
  const [base, token] =
    vendor === 'hetzner'
      ? [environment.HCLOUD_ENDPOINT, environment.HCLOUD_TOKEN]
      : [environment.CLOUDFLARE_BASE_URL, environment.CLOUDFLARE_API_TOKEN]
  const answer = await fetch(`${base}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
  return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
}

/** Every file below a directory with its mode and a hash of its content; sockets are left out, they come and go with connections. */
export const filesBelow = (directory: string): Readonly<Record<string, string>> => {
  if (!existsSync(directory)) return {}
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()
  return Object.fromEntries(
    names.flatMap(name => {
      const path = join(directory, name)
      const stat = lstatSync(path)
      if (!stat.isFile() && !stat.isDirectory()) return []
      const mode = (stat.mode & 0o777).toString(8)
      return [[name, stat.isFile() ? `${mode} ${createHash('sha256').update(readFileSync(path)).digest('hex')}` : mode]]
    }),
  )
}

/** Polls the truth. @throws when it never holds */
export const waitFor = async (what: string, holds: () => boolean, timeoutMs = 15_000): Promise<void> => {
  const endsAtMs = performance.now() + timeoutMs
  while (!holds()) {
    if (performance.now() > endsAtMs) throw new Error(`never: ${what}`)
    await Bun.sleep(3)
  }
}

/** The lock's object, as long as somebody holds the estate. */
export const lockIn = (sandbox: Sandbox) =>
  sandbox.controls.hetzner.dump().firewalls.find(firewall => firewall.name.startsWith('landfall-lock-'))
