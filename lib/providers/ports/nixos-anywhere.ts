/** NixOS over a running system, one phase at a time (nixos-anywhere's documentation, "Command Line Reference": `--phases`). */

import type { Secret } from '../../secret.ts'
import type { Target } from './machine.ts'

/** In their order. `kexec` starts the installer in place of the running system, `disko` erases the disk. */
export const INSTALL_PHASES = ['kexec', 'disko', 'install', 'reboot'] as const
export type InstallPhase = (typeof INSTALL_PHASES)[number]

/** Files of the new system by their path without the leading slash; they belong to its root. */
export type SeedFiles = Readonly<Record<string, { readonly content: string | Secret; readonly mode: number }>>

export interface PhaseRun {
  readonly phase: InstallPhase
  /** Its pinned host key is the only one that is spoken to. */
  readonly target: Target
  /** Directory with flake.nix. */
  readonly flake: string
  /** Name in the flake's nixosConfigurations. */
  readonly system: string
  /** Copied in the phase `install`. */
  readonly files: SeedFiles
  /** Leaves tools out of the installer that a machine with less than 1.5 GB cannot hold. */
  readonly lowMemory: boolean
  /** One line of its output. */
  readonly onLine: (line: string) => void
  readonly signal: AbortSignal
}

export type InstallerState =
  | { readonly state: 'ready' }
  | { readonly state: 'missing'; readonly why: string; readonly hint: string }

export interface NixosAnywhere {
  /** Whether everything is installed here that a phase needs. */
  look(): Promise<InstallerState>
  /**
   * Runs one phase to its end; ends it, and all that it started, at its deadline or when `signal` aborts. A phase that was ended may be
   * run again.
   * @throws LandfallError timeout | cancelled | vendor (its own failure) | config (not installed)
   */
  run(run: PhaseRun): Promise<void>
}
