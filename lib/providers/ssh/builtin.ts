/**
 * Machines through ssh2, for rehearsals where no OpenSSH is installed: same pin, same protocol. Each program has a connection of
 * its own, because nothing would end a shared one when we are killed.
 */

import { existsSync, readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { env } from 'node:process'
import type { AnyAuthMethod, Client, ConnectConfig, ParsedKey, PublicKeyEntry } from 'ssh2'
import type { Clock } from '../../engine/clock.ts'
import { LandfallError } from '../../errors.ts'
import type { Route } from '../context.ts'
import type { ProgramResult, Target } from '../ports/machine.ts'
import { CONNECT_TIMEOUT_MS, type ConnectionLimits, KEEP_ALIVE, type SshClient } from './client.ts'
import { openThroughProxy } from './connect.ts'
import { type ConnectionFailure, connectionError } from './failures.ts'
import { agentKeysOf, describeIdentities, filesOf, type Identity } from './identity.ts'
import { OUTPUT_LIMIT_BYTES, PROBE, parseOutput, REMOTE_COMMAND, renderRequest } from './protocol.ts'
import { checkTarget } from './target.ts'
import { askPatiently } from './wait.ts'

export interface BuiltinClientOptions {
  readonly identities: readonly Identity[]
  readonly route: Route
  readonly clock: Clock
}

export function createBuiltinClient(options: BuiltinClientOptions): SshClient {
  const { clock } = options
  const offered = describeIdentities(options.identities)

  const login = async (target: Target, timeoutMs: number): Promise<Client> => {
    checkTarget(target)
    const { Client, ...ssh2 } = await import('ssh2')
    const sock =
      options.route.kind === 'proxy' ? await openThroughProxy(target.address, target.port, options.route, timeoutMs) : undefined
    const client = new Client()
    let isImpostor = false
    const config: ConnectConfig = {
      host: target.address,
      port: target.port,
      username: target.user,
      readyTimeout: timeoutMs,
      keepaliveInterval: KEEP_ALIVE.intervalS * 1000,
      keepaliveCountMax: KEEP_ALIVE.countMax,
      algorithms: { serverHostKey: ['ssh-ed25519'] },
      authHandler: authMethods(ssh2, target.user, options.identities),
      hostVerifier: (key: Buffer) => {
        isImpostor = `ssh-ed25519 ${key.toString('base64')}` !== target.hostKey
        return !isImpostor
      },
      ...(sock === undefined ? {} : { sock }),
    }
    return new Promise((resolve, reject) => {
      const fail = (error: Error & { level?: string }) => {
        client.destroy()
        sock?.destroy()
        reject(connectionError(isImpostor ? 'host_key' : kindOf(error), target, offered, error.message))
      }
      client.on('error', fail)
      client.on('close', () => fail(new Error('The connection was closed')))
      client.on('ready', () => resolve(client))
      client.connect(config)
    })
  }

  const exec: SshClient['exec'] = async (target, request, limits) => {
    if (limits.signal?.aborted) throw new LandfallError('cancelled', 'Interrupted.')
    const client = await askPatiently(() => login(target, Math.min(limits.timeoutMs, CONNECT_TIMEOUT_MS)), { ...limits, clock })
    try {
      return await runRemote(client, request, limits, said => connectionError('network', target, offered, said))
    } finally {
      client.end()
    }
  }

  return {
    async probe(target, limits) {
      await exec(target, renderRequest(PROBE), { ...limits, patienceMs: 0 })
    },
    exec,
    async forward(target, remotePort, limits) {
      const client = await askPatiently(() => login(target, CONNECT_TIMEOUT_MS), { ...limits, clock })
      const sockets = new Set<Socket>()
      const server = createServer(socket => {
        sockets.add(socket)
        socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket))
        client.forwardOut('127.0.0.1', 0, '127.0.0.1', remotePort, (error, channel) => {
          if (error) return void socket.destroy()
          channel.on('error', () => socket.destroy()).on('close', () => socket.destroy())
          socket.on('close', () => channel.close())
          socket.pipe(channel).pipe(socket)
        })
      })
      client.on('close', () => server.close())
      await new Promise<void>((resolve, reject) => server.on('error', reject).listen(0, '127.0.0.1', resolve))
      const address = server.address()
      return {
        localPort: typeof address === 'object' && address !== null ? address.port : 0,
        ended: new Promise<void>(resolve => client.once('close', resolve)),
        async close() {
          for (const socket of sockets) socket.destroy()
          client.end()
          server.close()
        },
      }
    },
    // Nothing is shared, so nothing is left to end.
    disconnect: async target => checkTarget(target),
  }
}

function runRemote(
  client: Client,
  request: Uint8Array,
  limits: ConnectionLimits,
  lost: (said: string) => LandfallError,
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const fail = (error: LandfallError) => {
      clearTimeout(timer)
      client.destroy()
      reject(error)
    }
    const timer = setTimeout(
      () => fail(new LandfallError('timeout', `It did not end within ${Math.round(limits.timeoutMs / 100) / 10} s.`)),
      limits.timeoutMs,
    )
    limits.signal?.addEventListener('abort', () => fail(new LandfallError('cancelled', 'Interrupted.')), { once: true })
    client.on('error', error => fail(lost(error.message)))
    client.on('close', () => fail(lost('it was closed')))
    client.exec(REMOTE_COMMAND, (error, channel) => {
      if (error) return fail(lost(error.message))
      const stdout: Buffer[] = []
      const stderr: Buffer[] = []
      let bytes = 0
      const collect = (into: Buffer[]) => (chunk: Buffer) => {
        into.push(chunk)
        bytes += chunk.length
        if (bytes > OUTPUT_LIMIT_BYTES) fail(new LandfallError('network', 'It sent more than 1 MiB.'))
      }
      let exitCode = 128
      channel.on('data', collect(stdout)).on('exit', (code: number | null) => {
        exitCode = code ?? 128
      })
      channel.stderr.on('data', collect(stderr))
      // A program that ends without reading its input breaks the pipe; its exit code says why it ended.
      channel.on('error', () => channel.resume())
      channel.on('close', () => {
        clearTimeout(timer)
        resolve({ exitCode, stdout: parseOutput(stdout), stderr: parseOutput(stderr) })
      })
      channel.end(Buffer.from(request))
    })
  })
}

function authMethods(
  { OpenSSHAgent }: Pick<typeof import('ssh2'), 'OpenSSHAgent'>,
  username: string,
  identities: readonly Identity[],
): AnyAuthMethod[] {
  const usual = ['id_ed25519', 'id_ecdsa', 'id_rsa'].map(name => join(homedir(), '.ssh', name))
  const keys = (identities.length === 0 ? usual : filesOf(identities))
    .filter(file => existsSync(file))
    .map(file => ({ type: 'publickey' as const, username, key: readFileSync(file) }))
  const socketPath = env.SSH_AUTH_SOCK
  const wanted = agentKeysOf(identities)
  if (socketPath === undefined || (identities.length > 0 && wanted.length === 0)) return keys
  /** Offers the wanted ones alone. */
  class Agent extends OpenSSHAgent {
    override getIdentities(answer: Parameters<InstanceType<typeof OpenSSHAgent>['getIdentities']>[0]): void {
      super.getIdentities((error, held) =>
        answer(
          error,
          held?.filter(key => wanted.length === 0 || wanted.includes(lineOf(key))),
        ),
      )
    }
  }
  return [{ type: 'agent', username, agent: new Agent(socketPath) }, ...keys]
}

const lineOf = (key: ParsedKey | PublicKeyEntry): string =>
  'getPublicSSH' in key ? `${key.type} ${key.getPublicSSH().toString('base64')}` : ''

/** ssh2 gives failures a level and the system's code. */
function kindOf(error: Error & { level?: string; code?: string }): ConnectionFailure {
  if (error.level === 'client-authentication') return 'forbidden'
  if (error.level === 'client-timeout' || error.code === 'ETIMEDOUT') return 'timeout'
  return 'network'
}
