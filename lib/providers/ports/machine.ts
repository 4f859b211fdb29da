/** A machine as reached over SSH. Programs and their values travel on stdin; the remote command text is one constant. */

import type { Secret } from '../../secret.ts'

export interface Target {
  /** The server's name in the estate; for messages. */
  readonly name: string
  readonly address: string
  readonly port: number
  readonly user: string
  /** What the pin is filed under: `<estate>-<server id>`, because addresses are recycled. */
  readonly hostKeyAlias: string
  /** The only host key that is accepted: `ssh-ed25519 AAAA…`. */
  readonly hostKey: string
}

/** A shell program that ships with Landfall. `name` identifies it to the sandbox's simulated machines. */
export interface Program {
  readonly name: string
  readonly text: string
  readonly timeoutMs: number
}

export interface ProgramResult {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** Values for a program, by name; written to its stdin as `NAME <base64>` lines, closed by a line `.`. */
export type ProgramInput = Readonly<Record<string, string | Secret>>

export type Reachability =
  | { readonly state: 'ready' }
  | { readonly state: 'unreachable'; readonly why: string }
  /** Someone answers with another key: never retried, never sent anything. */
  | { readonly state: 'impostor'; readonly why: string }
  | { readonly state: 'key_refused'; readonly why: string }

export interface Tunnel {
  readonly url: string
  /** Resolves when it has ended, by `close` or because the connection broke: the port may be somebody else's from then on. */
  readonly ended: Promise<void>
  close(): Promise<void>
}

export interface Machines {
  /** One quick attempt (seconds), and more for a minute where it answered before. Never throws for a machine that does not answer. */
  look(target: Target): Promise<Reachability>
  /** Waits for a booting machine until `timeoutMs`. @throws timeout | host_key | forbidden */
  waitReady(target: Target, timeoutMs: number, signal: AbortSignal): Promise<void>
  /** Runs a program to its end. A non-zero exit is a result, not an error. @throws timeout | network | host_key */
  run(target: Target, program: Program, input?: ProgramInput, signal?: AbortSignal): Promise<ProgramResult>
  /** Opens a loopback port here that ends at `remotePort` on the machine's loopback; close it when done. */
  forward(target: Target, remotePort: number): Promise<Tunnel>
  /** Ends shared connections to it (after a key change, before a delete). */
  disconnect(target: Target): Promise<void>
  /** A new ed25519 pair: OpenSSH private key text and `ssh-ed25519 AAAA…` public line without a comment. */
  generateKey(): Promise<{ readonly privateKey: Secret; readonly publicKey: string }>
}
