/**
 * The SSH server of a simulated machine: real protocol, so that the real client with its real pinning is what gets rehearsed. Only root,
 * only public keys, one command (the launcher), and forwarding to the machine's own loopback.
 */

import type { Socket } from 'node:net'
import type { AuthContext, Connection, ParsedKey, PublicKeyAuthContext, ServerChannel } from 'ssh2'
import { LAUNCHER, type Launch, parseLaunch } from './launcher.ts'
import { type Listener, relay } from './listen.ts'
import type { Outcome } from './outcome.ts'
import { acceptedValues } from './programs.ts'

export interface SshHost {
  /** Private key text; read anew for each connection, so that a rotation counts for the next one. */
  hostKey(): string
  authorizedKeys(): readonly string[]
  /** @param remotePort the caller's port of the connection */
  run(launch: Launch, remotePort: number): Promise<Outcome>
  /** Told when the caller has the outcome. */
  answered?(launch: Launch): void | Promise<void>
  /** What listens on this port of the machine's loopback. */
  loopback(port: number): Promise<Pick<Listener, 'port'> | 'closed'>
}

/** Makes what answers a TCP connection with SSH. Loads the SSH library. */
export const createSshAcceptor = async (host: SshHost): Promise<(socket: Socket) => void> => {
  const { default: ssh2 } = await import('ssh2')
  const parseKeys = (lines: readonly string[]): ParsedKey[] =>
    lines.flatMap(line => {
      const parsed = ssh2.utils.parseKey(line)
      // A line that cannot be read is skipped, as sshd skips it.
      return parsed instanceof Error ? [] : parsed
    })
  return socket => {
    const remotePort = socket.remotePort ?? 0
    const server = new ssh2.Server({ hostKeys: [host.hostKey()], ident: 'OpenSSH_9.6' }, connection =>
      serveConnection(connection, host, parseKeys(host.authorizedKeys()), remotePort),
    )
    server.injectSocket(socket)
  }
}

const serveConnection = (connection: Connection, host: SshHost, authorized: readonly ParsedKey[], remotePort: number): void => {
  // Refused host keys, scans and resets end a connection with an error; the machine goes on.
  connection.on('error', () => connection.end())
  connection.on('authentication', context => authenticate(context, authorized))
  connection.on('session', accept => {
    const session = accept()
    session.on('exec', (acceptExec, _reject, info) => serveExec(acceptExec(), info.command, host, remotePort))
    session.on('shell', acceptShell => finish(acceptShell(), NOT_SIMULATED))
  })
  connection.on('tcpip', async (accept, reject, { destIP, destPort }) => {
    const target = LOOPBACK_NAMES.includes(destIP) ? await host.loopback(destPort) : 'closed'
    if (target === 'closed') return reject()
    const channel = accept()
    if (!(await relay(channel, target))) channel.close()
  })
}

const LOOPBACK_NAMES = ['127.0.0.1', 'localhost', '::1']

const authenticate = (context: AuthContext, authorized: readonly ParsedKey[]): void => {
  if (isAdmitted(context, authorized)) context.accept()
  else context.reject(['publickey'])
}

const isAdmitted = (context: AuthContext, authorized: readonly ParsedKey[]): boolean => {
  if (context.method !== 'publickey' || context.username !== 'root') return false
  const key = authorized.find(candidate => isSameKey(candidate, context))
  if (!key) return false
  // Without a signature the client only asks whether this key would do.
  if (!context.signature || !context.blob) return true
  return key.verify(context.blob, context.signature, context.hashAlgo)
}

const isSameKey = (candidate: ParsedKey, { key }: PublicKeyAuthContext) => candidate.getPublicSSH().equals(key.data)

const NOT_SIMULATED: Outcome = { exitCode: 127, stderr: 'sh: not simulated\n' }

const serveExec = (channel: ServerChannel, command: string, host: SshHost, remotePort: number): void => {
  if (command !== LAUNCHER) {
    finish(channel, NOT_SIMULATED)
    return
  }
  let received = Buffer.alloc(0)
  let state: 'reading' | 'started' = 'reading'
  const advance = async (ended: boolean) => {
    if (state === 'started') return
    const step = parseLaunch(received, acceptedValues, ended)
    if (step.state === 'more') return
    state = 'started'
    if (step.state === 'broken') finish(channel, { exitCode: step.exitCode, stderr: `${step.why}\n` })
    else {
      const { launch } = step
      const outcome = await host.run(launch, remotePort)
      channel.once('close', () => void host.answered?.(launch))
      finish(channel, outcome)
    }
  }
  channel.on('data', (chunk: Buffer) => {
    if (state === 'started') return
    received = Buffer.concat([received, chunk])
    void advance(false)
  })
  channel.on('end', () => void advance(true))
}

const finish = (channel: ServerChannel, { exitCode, stdout, stderr }: Outcome): void => {
  // What the caller still sends has to be taken in, or the channel never closes.
  channel.resume()
  if (stdout) channel.write(stdout)
  if (stderr) channel.stderr.write(stderr)
  channel.exit(exitCode)
  channel.end()
}
