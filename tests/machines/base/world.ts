/** A sandbox with container machines as the tests use it: the Hetzner API, an operator's key, and the product's own SSH adapter. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../lib/engine/clock.ts'
import { createMeter } from '../../../lib/engine/meter.ts'
import { renderUserData } from '../../../lib/estate/cloud-init.ts'
import type { ProgramName } from '../../../lib/estate/programs.ts'
import type { ProviderContext } from '../../../lib/providers/context.ts'
import type { Machines, ProgramInput, ProgramResult, Target } from '../../../lib/providers/ports/machine.ts'
import { PROGRAM_TEXTS } from '../../../lib/providers/ssh/programs.ts'
import { createMachines } from '../../../lib/providers/ssh/ssh.ts'
import { STRANGER } from '../../../lib/sandbox/exposure.ts'
import { OPERATOR } from '../../../lib/sandbox/internet.ts'
import { type Sandbox, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { BASE_IMAGE, buildBase, machinesDirectory } from './build.ts'

/** Debian's packages are fetched and installed, once for each recipe. */
export const BUILD_TIMEOUT_MS = 10 * 60_000
export const CLOSE_TIMEOUT_MS = 2 * 60_000
/** A machine boots in seconds; a computer that does ten other things takes longer. */
export const BOOT_MS = 90_000

/** What must never be open to strangers, and what may. */
export const PORTS = [22, 80, 443, 2377, 3000, 5432, 6379, 7946] as const

type Json = Readonly<Record<string, unknown>>

export interface TestServer {
  readonly id: number
  readonly name: string
  readonly ipv4: string
  readonly ipv6: string
  readonly target: Target
}

export interface NewServer {
  readonly name: string
  readonly firewalls?: readonly number[]
  readonly image?: string
  /** Landfall's own image, which takes only name and key from the user data. */
  readonly stock?: boolean
}

export interface TestWorld {
  readonly sandbox: Sandbox
  readonly containers: NonNullable<Sandbox['controls']['containers']>
  readonly machines: Machines
  /** Keys and pins of this world. */
  readonly directory: string
  /** A call of the Hetzner API. Fails when the API refuses. */
  call(method: string, path: string, body?: Json): Promise<Json>
  createServer(server: NewServer): Promise<TestServer>
  createFirewall(name: string, rules: readonly Json[]): Promise<number>
  /** Replaces a firewall's rules and waits until they count. */
  setRules(firewall: number, rules: readonly Json[]): Promise<void>
  /** Every action of the cloud has ended, and the machines have followed. */
  quiet(): Promise<void>
  /** Waits until the machine takes programs over SSH. */
  ready(server: TestServer): Promise<void>
  /** What a shell command printed in a machine, past its network. Fails when the command does. */
  inside(server: TestServer, command: string): Promise<string>
  run(server: TestServer, program: ProgramName, input?: ProgramInput): Promise<ProgramResult>
  /** Of these ports, those that answer at all from an address outside: with a listener or with a refusal. */
  seen(who: keyof typeof PEOPLE, server: TestServer, ports: readonly number[]): Promise<{ ipv4: number[]; ipv6: number[] }>
  close(): Promise<void>
}

export const PEOPLE = { stranger: STRANGER, operator: OPERATOR } as const

export const rule = (port: string, from: readonly string[], protocol = 'tcp'): Json => ({
  direction: 'in',
  protocol,
  port,
  source_ips: from,
  destination_ips: [],
})

export const ANYWHERE = ['0.0.0.0/0', '::/0'] as const

/** Builds the base when its recipe changed. */
export async function openTestWorld(options: { readonly goldenImage?: boolean } = {}): Promise<TestWorld> {
  const directory = machinesDirectory()
  await buildBase(directory)
  const files = mkdtempSync(join(tmpdir(), 'landfall-machines-'))
  const sandbox = await startSandbox({
    machines: { kind: 'container', directory, image: BASE_IMAGE },
    settings: { actionMs: { other: 20 }, rateLimits: false },
    seed: { goldenImage: options.goldenImage ?? false },
  })
  const { containers } = sandbox.controls
  if (!containers) throw new Error('bug: the sandbox has no container machines')
  const internet = new URL(sandbox.environment.LANDFALL_INTERNET ?? '')
  const context: ProviderContext = {
    clock: systemClock,
    meter: createMeter(),
    signal: new AbortController().signal,
    random: Math.random,
    log: () => undefined,
    beforeWrite: async () => undefined,
  }
  const identityFile = join(files, 'id_ed25519')
  const machines = createMachines({
    directory: join(files, 'ssh'),
    identities: [{ file: identityFile }],
    route: { kind: 'proxy', host: internet.hostname, port: Number(internet.port) },
    context,
    client: 'system',
  })
  const operator = await machines.generateKey()
  writeFileSync(identityFile, operator.privateKey.reveal(), { mode: 0o600 })

  const call: TestWorld['call'] = async (method, path, body) => {
    const answer = await fetch(`${sandbox.environment.HCLOUD_ENDPOINT}${path}`, {
      method,
      headers: { authorization: `Bearer ${sandbox.environment.HCLOUD_TOKEN}`, 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path} was answered ${answer.status}: ${text}`)
    return text === '' ? {} : (JSON.parse(text) as Json)
  }
  const quiet = async (): Promise<void> => {
    const { nextEventAtMs } = sandbox.controls.hetzner
    await until(
      async () => nextEventAtMs(),
      next => next === undefined,
      10_000,
    )
    await containers.settled()
  }
  await call('POST', '/ssh_keys', { name: 'operator', public_key: operator.publicKey })
  const opened: TestServer[] = []

  return {
    sandbox,
    containers,
    machines,
    directory: files,
    call,
    quiet,
    async setRules(firewall, rules) {
      await call('POST', `/firewalls/${firewall}/actions/set_rules`, { rules })
      await quiet()
    },
    ready: ({ target }) => machines.waitReady(target, BOOT_MS, new AbortController().signal),
    async inside(server, command) {
      const { exitCode, stdout, stderr } = await containers.exec(server.name, ['sh', '-c', command])
      if (exitCode !== 0) throw new Error(`On ${server.name}, "${command}" ended with ${exitCode}: ${stderr.trim()}`)
      return stdout.trim()
    },
    async createServer({ name, firewalls = [], image = 'debian-12', stock = true }) {
      const hostKey = await machines.generateKey()
      const answer = (await call('POST', '/servers', {
        name,
        server_type: 'cx23',
        image,
        location: 'fsn1',
        ssh_keys: ['operator'],
        firewalls: firewalls.map(firewall => ({ firewall })),
        user_data: renderUserData({
          hostKeyPrivate: hostKey.privateKey.reveal(),
          hostKeyPublic: hostKey.publicKey,
          hostname: name,
          stock,
        }),
      })) as { server: { id: number; public_net: { ipv4: { ip: string }; ipv6: { ip: string } } } }
      const { id, public_net: net } = answer.server
      const server: TestServer = {
        id,
        name,
        ipv4: net.ipv4.ip,
        ipv6: net.ipv6.ip.replace('/64', '1'),
        target: {
          name,
          address: net.ipv4.ip,
          port: 22,
          user: 'root',
          hostKeyAlias: `test-${id}`,
          hostKey: hostKey.publicKey,
        },
      }
      opened.push(server)
      return server
    },
    async createFirewall(name, rules) {
      const answer = (await call('POST', '/firewalls', { name, rules })) as { firewall: { id: number } }
      return answer.firewall.id
    },
    run: (server, program, input) => machines.run(server.target, PROGRAM_TEXTS[program], input),
    async seen(who, server, ports) {
      const source = PEOPLE[who]
      const from = async (address: string, to: string): Promise<number[]> => {
        const states = await Promise.all(ports.map(port => containers.probe(address, to, port)))
        return ports.filter((_, index) => states[index] !== 'silent')
      }
      const [ipv4, ipv6] = await Promise.all([from(source.ipv4, server.ipv4), from(source.ipv6, server.ipv6)])
      return { ipv4, ipv6 }
    },
    async close() {
      for (const { target } of opened) await machines.disconnect(target)
      await sandbox.close()
      rmSync(files, { recursive: true, force: true })
    },
  }
}

/** Asks until the answer satisfies; the last answer is in the failure. */
export async function until<T>(ask: () => Promise<T>, satisfies: (answer: T) => boolean, timeoutMs: number): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (satisfies(answer)) return answer
    if (performance.now() > deadlineMs) throw new Error(`After ${timeoutMs} ms it is still ${JSON.stringify(answer)}.`)
    await Bun.sleep(250)
  }
}

/** `key=value` lines of a program. */
export const valuesOf = (stdout: string): Record<string, string> =>
  Object.fromEntries([...stdout.matchAll(/^([a-z_]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]))

/** The lines of `watch-dokploy-install` about what went wrong. */
export const logOf = (stdout: string): string[] =>
  [...stdout.matchAll(/^log (\S+)$/gm)].map(([, line = '']) => Buffer.from(line, 'base64').toString('utf8'))
