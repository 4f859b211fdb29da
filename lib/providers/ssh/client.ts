/** What the two SSH clients (OpenSSH's, and the built-in one for where there is none) do for ssh.ts. Internal to this folder. */

import type { ProgramResult, Target } from '../ports/machine.ts'

export interface ConnectionLimits {
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

export interface Patience {
  /** How long a login that gets no answer is tried again; nothing has been sent before one. */
  readonly patienceMs: number
}

export interface Forward {
  readonly localPort: number
  /** Resolves when it has ended, by `close` or because the connection broke. */
  readonly ended: Promise<void>
  close(): Promise<void>
}

export interface SshClient {
  /** Logs in and runs the probe. @throws host_key | forbidden | timeout | network | cancelled */
  probe(target: Target, limits: ConnectionLimits): Promise<void>
  /** Feeds `request` to the remote command. @throws as `probe` */
  exec(target: Target, request: Uint8Array, limits: ConnectionLimits & Patience): Promise<ProgramResult>
  forward(target: Target, remotePort: number, limits: Patience): Promise<Forward>
  disconnect(target: Target): Promise<void>
}

/** Seconds between keep-alives, and how many may stay unanswered: a half-open connection ends after about 20 s. */
export const KEEP_ALIVE = { intervalS: 5, countMax: 3 } as const

/** How long a connection may take until it is logged in. */
export const CONNECT_TIMEOUT_MS = 10_000
