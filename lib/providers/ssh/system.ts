/** Machines through the system's OpenSSH: strict pin, own known_hosts, one shared connection per machine. */

import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { execPath, pid } from 'node:process'
import type { Clock } from '../../engine/clock.ts'
import { LandfallError } from '../../errors.ts'
import type { Route } from '../context.ts'
import type { Target } from '../ports/machine.ts'
import { CONNECT_TIMEOUT_MS, type Forward, KEEP_ALIVE, type SshClient } from './client.ts'
import { classifyStderr, connectionError } from './failures.ts'
import { agentKeysOf, describeIdentities, filesOf, type Identity } from './identity.ts'
import { PROBE, REMOTE_COMMAND, renderRequest } from './protocol.ts'
import { quoteForSh } from './quote.ts'
import { type HeldProgram, holdLocal, type LocalOutcome, runLocal } from './shell.ts'
import { checkTarget, connectionId } from './target.ts'
import { askPatiently } from './wait.ts'

export interface SystemClientOptions {
  /** Absolute. Holds `known_hosts/`, `ctl/` and `agent-keys/`; made here, for its owner only. */
  readonly directory: string
  readonly identities: readonly Identity[]
  readonly route: Route
  readonly clock: Clock
}

/** ssh's own failures; none of our programs ends with it. */
const SSH_FAILED = 255
/** A shared connection lasts this long after its last use, also when we were killed. */
const PERSIST_S = 60
const FORWARD_TRIES = 3
/** ssh runs this when its forwards are listening, and without them it has ended before (ssh_config: LocalCommand, ExitOnForwardFailure). */
const SAY_WHEN_BOUND = ['PermitLocalCommand=yes', 'LocalCommand=echo bound']
/** ssh ends its own try earlier, and says why. */
const LOGIN_TIMEOUT_MS = CONNECT_TIMEOUT_MS + 5_000

export function createSystemClient(options: SystemClientOptions): SshClient {
  const { directory, identities, clock } = options
  const opening = new Map<string, Promise<void>>()
  const offered = describeIdentities(identities)
  // ssh asks the agent for the private half of a file that holds a public key alone.
  const agentFiles = agentKeysOf(identities).map(key => ({ name: `agent-keys/${hashOf(key)}.pub`, text: `${key}\n` }))
  const identityFiles = [...filesOf(identities), ...agentFiles.map(({ name }) => name)]

  /** Files are named relative to `directory`, where ssh is started: a socket's full path may hold no more than about 100 bytes. */
  const prepare = (target: Target): string => {
    checkTarget(target)
    const id = connectionId(target)
    const folders = ['known_hosts', 'ctl', ...(agentFiles.length > 0 ? ['agent-keys'] : [])]
    for (const folder of [directory, ...folders.map(name => join(directory, name))]) {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      chmodSync(folder, 0o700)
    }
    for (const { name, text } of agentFiles) writeFileSync(join(directory, name), text, { mode: 0o600 })
    const pinFile = join(directory, 'known_hosts', id)
    // Two runs may look at one machine at once.
    const newFile = `${pinFile}.${pid}.new`
    writeFileSync(newFile, `${target.hostKeyAlias} ${target.hostKey}\n`, { mode: 0o600 })
    renameSync(newFile, pinFile)
    return id
  }

  const words = (target: Target, id: string, sharing: readonly string[], connectTimeoutMs = CONNECT_TIMEOUT_MS): string[] => [
    'ssh',
    '-T',
    ...['-F', '/dev/null'],
    ...sshOptions([
      'StrictHostKeyChecking=yes',
      `UserKnownHostsFile=known_hosts/${id}`,
      'GlobalKnownHostsFile=/dev/null',
      `HostKeyAlias=${target.hostKeyAlias}`,
      'HostKeyAlgorithms=ssh-ed25519',
      'UpdateHostKeys=no',
      'CheckHostIP=no',
      'BatchMode=yes',
      'PasswordAuthentication=no',
      'KbdInteractiveAuthentication=no',
      'PreferredAuthentications=publickey',
      `IdentitiesOnly=${identities.length === 0 ? 'no' : 'yes'}`,
      'ForwardAgent=no',
      'LogLevel=ERROR',
      `ConnectTimeout=${Math.max(1, Math.ceil(connectTimeoutMs / 1000))}`,
      `ServerAliveInterval=${KEEP_ALIVE.intervalS}`,
      `ServerAliveCountMax=${KEEP_ALIVE.countMax}`,
      ...sharing,
      ...proxyOption(options.route, target),
    ]),
    ...identityFiles.flatMap(file => ['-i', file.replaceAll('%', '%%')]),
    ...['-l', target.user],
    ...['-p', String(target.port)],
    '--',
    target.address,
  ]

  const failure = (target: Target, said: string) => connectionError(classifyStderr(said), target, offered, said)

  const control = async (target: Target, id: string, command: 'stop' | 'exit'): Promise<void> => {
    if (!existsSync(join(directory, 'ctl', id))) return
    // A master that is gone, or hangs, is as good as one that obeyed: its socket is removed in both cases.
    const [ssh = 'ssh', ...rest] = words(target, id, [`ControlPath=ctl/${id}`])
    await runLocal({ words: [ssh, '-O', command, ...rest], directory, timeoutMs: 5_000 }).catch(error => {
      if (!(error instanceof LandfallError) || error.code !== 'timeout') throw error
    })
    rmSync(join(directory, 'ctl', id), { force: true })
  }

  const attempt = async (
    target: Target,
    sharing: (id: string) => readonly string[],
    request: Uint8Array,
    limits: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined; readonly connectTimeoutMs?: number },
  ): Promise<LocalOutcome> => {
    const id = prepare(target)
    let outcome: LocalOutcome
    try {
      outcome = await runLocal({
        words: [...words(target, id, sharing(id), limits.connectTimeoutMs), REMOTE_COMMAND],
        directory,
        input: request,
        timeoutMs: limits.timeoutMs,
        signal: limits.signal,
      })
    } catch (error) {
      // The next try makes a connection of its own instead of waiting on one that may be dead.
      if (error instanceof LandfallError && error.code === 'timeout') await control(target, id, 'stop')
      throw error
    }
    if (outcome.exitCode !== SSH_FAILED) return outcome
    await control(target, id, 'stop')
    throw failure(target, outcome.stderr)
  }

  const probe: SshClient['probe'] = async (target, limits) => {
    const missing = filesOf(identities).find(file => !existsSync(file))
    if (missing !== undefined) {
      throw new LandfallError('config', `The SSH key ${missing} does not exist.`, {
        hint: 'Name another one, or make it with ssh-keygen -t ed25519.',
      })
    }
    const sharing = (id: string) => ['ControlMaster=auto', `ControlPersist=${PERSIST_S}`, `ControlPath=ctl/${id}`]
    try {
      // ssh gives up by itself a second earlier than it is ended, because its words say why.
      await attempt(target, sharing, renderRequest(PROBE), { ...limits, connectTimeoutMs: limits.timeoutMs - 1_000 })
    } catch (error) {
      if (error instanceof LandfallError && error.code === 'timeout')
        throw connectionError('timeout', target, offered, error.message)
      throw error
    }
  }

  /** Only the first of several programs logs in; the others wait for its connection and share it. */
  const open = async (target: Target): Promise<void> => {
    const id = connectionId(target)
    if (existsSync(join(directory, 'ctl', id))) return
    const pending = opening.get(id) ?? probe(target, { timeoutMs: LOGIN_TIMEOUT_MS }).finally(() => opening.delete(id))
    opening.set(id, pending)
    await pending
  }

  const forward = async (target: Target, remotePort: number): Promise<Forward> => {
    const id = prepare(target)
    for (let tries = 1; ; tries++) {
      const localPort = await freePort()
      const [ssh = 'ssh', ...rest] = words(target, id, ['ControlPath=none', 'ExitOnForwardFailure=yes', ...SAY_WHEN_BOUND])
      const held = await holdLocal([ssh, '-N', '-L', `127.0.0.1:${localPort}:127.0.0.1:${remotePort}`, ...rest], directory)
      const said = await boundOrEnded(held, clock)
      if (said === undefined) return { localPort, ended: held.ended.then(() => undefined), close: held.close }
      // Another program may have taken the port in between; nothing else is worth another try at once.
      if (tries >= FORWARD_TRIES || !(await isTaken(localPort))) throw failure(target, said)
    }
  }

  return {
    probe,

    async exec(target, request, limits) {
      checkTarget(target)
      await askPatiently(() => open(target), { ...limits, clock })
      return attempt(target, id => ['ControlMaster=no', `ControlPath=ctl/${id}`], request, limits)
    },

    forward: (target, remotePort, limits) => askPatiently(() => forward(target, remotePort), { ...limits, clock }),

    async disconnect(target) {
      checkTarget(target)
      const id = connectionId(target)
      await control(target, id, 'exit')
      rmSync(join(directory, 'known_hosts', id), { force: true })
    },
  }
}

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16)

const sshOptions = (settings: readonly string[]): string[] => settings.flatMap(setting => ['-o', setting])

/** ssh hands this to a shell and expands %: every word is quoted, and the address and port were checked to be just that. */
function proxyOption(route: Route, target: Target): string[] {
  if (route.kind === 'direct') return []
  // Started without the settings files of a directory, which could run code of somebody else (facts/reliability 0.5).
  const program = [execPath, '--config=/dev/null', '--no-env-file', join(import.meta.dir, 'connect.ts')]
  const command = [...program, target.address, String(target.port), route.host, String(route.port)]
  return [`ProxyCommand=${command.map(quoteForSh).join(' ').replaceAll('%', '%%')}`]
}

/**
 * Undefined as soon as the local end is ours; what ssh said when it ended before that. That something accepts there proves nothing: it may
 * be somebody else's listener, and what goes through a tunnel is passwords.
 */
async function boundOrEnded(held: HeldProgram, clock: Clock): Promise<string | undefined> {
  const settled = new AbortController()
  const late = clock.sleep(LOGIN_TIMEOUT_MS, settled.signal).then(
    () => 'The connection timed out.',
    // Ended early, because one of the others was first.
    () => undefined,
  )
  const said = await Promise.race([held.spoken.then(() => undefined), held.ended.then(({ stderr }) => stderr), late])
  settled.abort()
  if (said !== undefined) await held.close()
  return said
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      server.close(() => resolve(port))
    })
  })

const isTaken = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    const answer = (taken: boolean) => {
      socket.destroy()
      resolve(taken)
    }
    socket.on('connect', () => answer(true)).on('error', () => answer(false))
  })
