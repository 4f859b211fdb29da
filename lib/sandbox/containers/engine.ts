/**
 * The Docker Engine that container machines run in. One that answers already is used; where none does, one of our own is started,
 * with its own data, socket and containerd, no bridge and no firewall rules, and stopped by its process id.
 */

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { LandfallError } from '../../errors.ts'
import { type Ran, type RunOptions, run, tryRun } from './commands.ts'
import { liveRuns } from './fabric.ts'
import { isAlive } from './owners.ts'

export interface Engine {
  /** What `docker …` printed. @throws vendor */
  docker(words: readonly string[], options?: RunOptions): Promise<string>
  /** As it ended. */
  tryDocker(words: readonly string[], options?: RunOptions): Promise<Ran>
  /** The words before a docker command, for a pipe of one's own. */
  readonly command: readonly string[]
  /** Stops an engine of our own, also one that a killed process left behind, unless another run on this computer still uses it. */
  close(): Promise<void>
}

const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 30_000

/** @param directory where an engine of our own keeps its images; made when missing. @throws config | timeout */
export const openEngine = async (directory: string): Promise<Engine> => {
  if (await answers(['docker'])) return engineAt(['docker'], async () => undefined)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const socket = join(directory, 'docker.sock')
  const files = { pid: join(directory, 'docker.pid'), log: join(directory, 'docker.log') }
  const command = ['docker', '--host', `unix://${socket}`]
  if (!existsSync(socket) || !(await answers(command))) await startDaemon(directory, socket, command, files)
  return engineAt(command, () => stopDaemon(files))
}

interface Files {
  readonly pid: string
  readonly log: string
}

const engineAt = (command: readonly string[], close: () => Promise<void>): Engine => ({
  command,
  docker: (words, options) => run([...command, ...words], options),
  tryDocker: (words, options) => tryRun([...command, ...words], options),
  close,
})

const answers = async (command: readonly string[]): Promise<boolean> =>
  (await tryRun([...command, 'version', '--format', '{{.Server.Version}}'], { timeoutMs: 10_000 })).exitCode === 0

const startDaemon = async (directory: string, socket: string, command: readonly string[], files: Files): Promise<void> => {
  if (existsSync(files.pid) && !isAlive(readPid(files), 'dockerd')) rmSync(files.pid)
  const out = openSync(files.log, 'a', 0o600)
  const words = [
    ...['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')],
    ...['--host', `unix://${socket}`, '--pidfile', files.pid],
    // Machines get their cables from us; nothing of this computer's own network is touched.
    ...['--bridge', 'none', '--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false'],
    // Where a containerd of the system runs, it is shared; names of our own keep its other users out of it.
    ...['--containerd-namespace', 'landfall-machines', '--containerd-plugins-namespace', 'landfall-machines-plugins'],
  ]
  const daemon = spawn('dockerd', words, { stdio: ['ignore', out, out], detached: true })
  let failure: string | undefined
  daemon.once('error', error => {
    failure = error.message
  })
  daemon.once('exit', code => {
    failure ??= `it ended with exit code ${code}`
  })
  const deadlineMs = performance.now() + START_TIMEOUT_MS
  while (!(await answers(command))) {
    if (failure !== undefined || performance.now() > deadlineMs)
      throw new LandfallError('config', `The Docker Engine for container machines did not start: ${failure ?? 'no answer'}.`, {
        hint: `Look into ${files.log}; container machines need Linux, root and the package docker.io.`,
      })
    await Bun.sleep(100)
  }
  daemon.unref()
}

const stopDaemon = async (files: Files): Promise<void> => {
  // Another process of ours may still use it; then that one stops it.
  if (liveRuns().length > 0 || !existsSync(files.pid)) return
  const pid = readPid(files)
  if (!isAlive(pid, 'dockerd')) return
  process.kill(pid, 'SIGTERM')
  const deadlineMs = performance.now() + STOP_TIMEOUT_MS
  while (isAlive(pid, 'dockerd')) {
    if (performance.now() > deadlineMs)
      throw new LandfallError('timeout', `The Docker Engine for container machines (process ${pid}) did not end.`, {
        hint: `Look into ${files.log}.`,
      })
    await Bun.sleep(50)
  }
}

const readPid = (files: Files): number => Number(readFileSync(files.pid, 'utf8'))
