/** A real OpenSSH server on a loopback port, with its own keys and settings, for the SSH tests. */

import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateKey } from '../../lib/providers/ssh/keys.ts'

export interface TestSshd {
  readonly directory: string
  readonly port: number
  readonly user: string
  readonly hostKey: string
  readonly identityFile: string
  readonly pid: () => number
  /** Everything sshd wrote to its log. */
  readonly log: () => string
  start(): Promise<void>
  stop(): Promise<void>
}

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })

/** `forced`: a command that every login runs instead of what it asked for. */
export async function createSshd(options: { readonly forced?: string } = {}): Promise<TestSshd> {
  const directory = mkdtempSync(join(tmpdir(), 'landfall-sshd-'))
  const port = await freePort()
  const host = generateKey()
  const login = generateKey()
  const write = (name: string, text: string, mode = 0o600) => {
    writeFileSync(join(directory, name), text, { mode })
    return join(directory, name)
  }
  chmodSync(directory, 0o700)
  const hostKeyFile = write('ssh_host_ed25519_key', host.privateKey.reveal())
  const identityFile = write('id_ed25519', login.privateKey.reveal())
  const authorized = write('authorized_keys', `${login.publicKey}\n`)
  const logFile = write('log', '')
  const config = write(
    'sshd_config',
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${hostKeyFile}`,
      `AuthorizedKeysFile ${authorized}`,
      `PidFile ${join(directory, 'sshd.pid')}`,
      'StrictModes no',
      'UsePAM no',
      // The settings of whoever runs the tests are not theirs: a shell over SSH reads ~/.bashrc, which may wait for other shells.
      `SetEnv HOME=${directory}`,
      'PasswordAuthentication no',
      'PermitRootLogin prohibit-password',
      ...(options.forced === undefined ? [] : [`ForceCommand ${options.forced}`]),
      '',
    ].join('\n'),
  )
  const user = new TextDecoder().decode(Bun.spawnSync(['id', '-un']).stdout).trim()
  // sshd refuses to start as root without it.
  if (user === 'root') mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  let child: ChildProcess | undefined
  return {
    directory,
    port,
    user,
    hostKey: host.publicKey,
    identityFile,
    pid: () => child?.pid ?? 0,
    log: () => readFileSync(logFile, 'utf8'),
    async start() {
      child = spawn('/usr/sbin/sshd', ['-D', '-f', config, '-E', logFile], { stdio: 'ignore' })
      for (let tries = 0; !(await accepts(port)); tries++) {
        if (tries > 200) throw new Error(`sshd did not start: ${readFileSync(logFile, 'utf8')}`)
        await Bun.sleep(20)
      }
    },
    async stop() {
      const pid = child?.pid
      if (pid !== undefined && child?.exitCode === null) {
        for (const session of descendants(pid)) endProcess(session)
        const ended = new Promise(resolve => child?.once('exit', resolve))
        endProcess(pid)
        await ended
      }
      child = undefined
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

/** Processes below `pid`, by /proc. */
export function descendants(pid: number): number[] {
  const parents = new Map<number, number>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const stat = readStat(entry)
    if (stat !== undefined) parents.set(Number(entry), stat)
  }
  const isBelow = (candidate: number): boolean => {
    const parent = parents.get(candidate)
    return parent !== undefined && (parent === pid || isBelow(parent))
  }
  return [...parents.keys()].filter(isBelow)
}

function readStat(pid: string): number | undefined {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1])
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')) return undefined
    throw error
  }
}

export const accepts = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    const answer = (yes: boolean) => {
      socket.destroy()
      resolve(yes)
    }
    socket.on('connect', () => answer(true)).on('error', () => answer(false))
  })
