/** A cloud that is one array, a clock that is set by hand, and OpenSSH's own client, pinned as strictly as the product pins it. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { renderUserData } from '../../../lib/estate/cloud-init.ts'
import { createAuthority } from '../../../lib/sandbox/ca.ts'
import type { Store } from '../../../lib/sandbox/kit.ts'
import { LAUNCHER } from '../../../lib/sandbox/machines/launcher.ts'
import { createSimulatedMachines, type MachineServer } from '../../../lib/sandbox/machines/machines.ts'
import { openStore } from '../../../lib/sandbox/store.ts'

export const BOOT_MS = 20_000
export const DOKPLOY_START_MS = 30_000
export const ADDRESS = '203.0.113.10'
export const HOST = 'panel.example.com'

export interface KeyPair {
  readonly privateKey: string
  readonly publicKey: string
}

const inFolder = async <T>(work: (folder: string) => Promise<T>): Promise<T> => {
  const folder = mkdtempSync(join(tmpdir(), 'landfall-machines-'))
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export const generateKey = (): Promise<KeyPair> => inFolder(makeKey)

const makeKey = async (folder: string): Promise<KeyPair> => {
  const path = join(folder, 'key')
  const child = Bun.spawn(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', path])
  if ((await child.exited) !== 0) throw new Error('ssh-keygen failed')
  const [privateKey, publicKey] = await Promise.all([Bun.file(path).text(), Bun.file(`${path}.pub`).text()])
  return { privateKey, publicKey: publicKey.trim() }
}

export const operator = await generateKey()
export const hostKey = await generateKey()
const authority = await createAuthority()

const userDataFor = ({ privateKey, publicKey }: KeyPair) =>
  renderUserData({ hostKeyPrivate: privateKey, hostKeyPublic: publicKey, hostname: 'prod', stock: true })

export const golden = { labels: { 'landfall/image': 'dokploy' } }
export const debian = { name: 'debian-12', labels: {} }

const openRigs = new Set<() => Promise<void>>()
export const closeRigs = async () => {
  for (const close of openRigs) await close()
  openRigs.clear()
}

export interface RigOptions {
  readonly server?: Partial<MachineServer>
  readonly store?: Store
  readonly sourceOf?: (localPort: number) => string | undefined
  readonly openToWorld?: (serverId: string, port: number) => boolean
}

/** One server that has just been switched on. */
export const createRig = (options: RigOptions = {}) => {
  const startMs = Date.parse('2026-11-20T12:00:00Z')
  let nowMs = startMs
  const names = new Map([[HOST, ADDRESS]])
  let servers: readonly MachineServer[] = [
    {
      id: '42',
      name: 'prod',
      status: 'running',
      ipv4: ADDRESS,
      ipv6: '2001:db8:1::/64',
      userData: userDataFor(hostKey),
      sshKeys: [operator.publicKey],
      image: golden,
      runningSinceMs: startMs,
      ...options.server,
    },
  ]
  const machines = createSimulatedMachines({
    store: options.store ?? openStore(':memory:'),
    clock: { nowMs: () => nowMs },
    settings: () => ({ bootMs: BOOT_MS, dokployStartMs: DOKPLOY_START_MS }),
    servers: () => servers,
    resolve: name => names.get(name),
    ca: authority,
    installMs: () => 120_000,
    acme: { issueMs: 500, retryMs: 60_000 },
    ...(options.sourceOf && { sourceOf: options.sourceOf }),
    ...(options.openToWorld && { openToWorld: options.openToWorld }),
  })
  openRigs.add(machines.close)

  const portOf = async (port: number): Promise<number> => {
    const end = await machines.dial(ADDRESS, port)
    if (end === 'closed') throw new Error(`Nothing listens on port ${port}.`)
    return end.port
  }

  return {
    machines,
    names,
    portOf,
    nowMs: () => nowMs,
    advance: (ms: number) => {
      nowMs += ms
    },
    /** Changes the one server, as the cloud would, and says so. */
    change: (fields: Partial<MachineServer> | 'delete') => {
      servers = fields === 'delete' ? [] : servers.map(server => ({ ...server, ...fields }))
      machines.sync()
    },
    ssh: async (arguments_: SshArguments = {}) => runSsh(await portOf(22), arguments_),
    run: async (name: string, values: Readonly<Record<string, string>> = {}, extra: SshArguments = {}) =>
      runSsh(await portOf(22), { stdin: requestOf(name, values), ...extra }),
  }
}

export const requestOf = (name: string, values: Readonly<Record<string, string>> = {}): string => {
  const program = `# landfall:${name}\nexit 0\n`
  const lines = Object.entries(values).map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}\n`)
  return `${Buffer.byteLength(program)}\n${program}${lines.join('')}.\n`
}

export interface SshArguments {
  readonly pinned?: string
  /** Private key text. */
  readonly identity?: string
  readonly user?: string
  readonly command?: readonly string[]
  readonly options?: readonly string[]
  readonly stdin?: string
}

const sshArguments = (folder: string, port: number, given: SshArguments): string[] => {
  const identity = join(folder, 'identity')
  writeFileSync(identity, given.identity ?? operator.privateKey, { mode: 0o600 })
  const knownHosts = join(folder, 'known_hosts')
  writeFileSync(knownHosts, `estate-42 ${given.pinned ?? hostKey.publicKey}\n`)
  const options = {
    UserKnownHostsFile: knownHosts,
    GlobalKnownHostsFile: '/dev/null',
    StrictHostKeyChecking: 'yes',
    HostKeyAlias: 'estate-42',
    HostKeyAlgorithms: 'ssh-ed25519',
    BatchMode: 'yes',
    IdentitiesOnly: 'yes',
    IdentityAgent: 'none',
    LogLevel: 'ERROR',
  }
  const flags = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  return [
    'ssh',
    '-F',
    '/dev/null',
    ...flags,
    '-i',
    identity,
    '-p',
    `${port}`,
    '-l',
    given.user ?? 'root',
    ...(given.options ?? []),
  ]
}

const runSsh = (port: number, given: SshArguments) => inFolder(folder => runSshIn(folder, port, given))

const runSshIn = async (folder: string, port: number, given: SshArguments) => {
  const child = Bun.spawn([...sshArguments(folder, port, given), '--', '127.0.0.1', ...(given.command ?? [LAUNCHER])], {
    stdin: given.stdin === undefined ? 'ignore' : new Blob([given.stdin]),
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  return { stdout, stderr, exitCode, values: valuesOf(stdout) }
}

export const valuesOf = (stdout: string): Record<string, string> =>
  Object.fromEntries(stdout.split('\n').flatMap(line => (line.includes('=') ? [line.split(/=(.*)/s).slice(0, 2)] : [])))

/** A running `ssh -L`; its URL leads to `remotePort` on the machine's loopback. */
export const openTunnel = async (sshPort: number, remotePort: number, pinned?: string) => {
  const localPort = await freePort()
  const folder = mkdtempSync(join(tmpdir(), 'landfall-machines-'))
  const child = Bun.spawn(
    [
      ...sshArguments(folder, sshPort, {
        ...(pinned && { pinned }),
        options: ['-N', '-o', 'ExitOnForwardFailure=yes', '-L', `127.0.0.1:${localPort}:127.0.0.1:${remotePort}`],
      }),
      '--',
      '127.0.0.1',
    ],
    { stdin: 'ignore', stdout: 'ignore', stderr: 'pipe' },
  )
  while (!(await isListening(localPort))) {
    if (child.exitCode !== null) throw new Error(`ssh ended: ${await new Response(child.stderr).text()}`)
    await Bun.sleep(5)
  }
  return {
    url: `http://127.0.0.1:${localPort}`,
    close: async () => {
      child.kill()
      await child.exited
      rmSync(folder, { recursive: true })
    },
  }
}

const freePort = async (): Promise<number> => {
  const server = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } })
  const { port } = server
  server.stop(true)
  return port
}

const isListening = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port }, () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })

export interface Answer {
  readonly status: number
  readonly body: string
  readonly issuer: string
}

/** One HTTPS request to a port of ours, as if the name led there. Rejects when the certificate does not hold against the sandbox's root. */
export const getHttps = (port: number, path: string, options: { readonly host?: string; readonly verify?: boolean } = {}) =>
  new Promise<Answer>((resolve, reject) => {
    const host = options.host ?? HOST
    const sent = request(
      {
        host: '127.0.0.1',
        port,
        path,
        servername: host,
        headers: { host },
        ca: authority.pem,
        rejectUnauthorized: options.verify ?? true,
        agent: false,
      },
      response => {
        const socket = response.socket as import('node:tls').TLSSocket
        const issuer = String(socket.getPeerCertificate().issuer.CN)
        let body = ''
        response.on('data', chunk => {
          body += String(chunk)
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body, issuer }))
        response.on('error', reject)
      },
    )
    sent.on('error', reject)
    sent.end()
  })
