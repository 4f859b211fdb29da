/**
 * What a simulated machine remembers, and what follows from it at a moment. Nothing here runs by itself: boot, installation and start of
 * Dokploy are read off the clock when somebody asks, so a machine that nobody talks to costs nothing and a restart loses nothing.
 */

import type { Collection, Store } from '../kit.ts'
import type { NixosRow, RemoteRow } from './nixos.ts'
import type { PreviewsDisk } from './preview-programs.ts'
import type { SwarmDisk } from './swarm-programs.ts'

/** A server of a cloud stand-in, as far as its machine depends on it. */
export interface MachineServer {
  readonly id: string
  readonly name: string
  /** The cloud's word; only "running" machines answer. */
  readonly status: string
  readonly ipv4?: string
  /** An address, or the /64 it is given, whose first host it has. */
  readonly ipv6?: string
  readonly userData?: string
  /** In the private networks. */
  readonly privateIps?: readonly string[]
  /** Public key lines that may log in as root. */
  readonly sshKeys: readonly string[]
  readonly image: { readonly name?: string; readonly labels: Readonly<Record<string, string>> }
  /** When it last became "running". */
  readonly runningSinceMs?: number
  /** When its disk was last written anew. */
  readonly rebuiltAtMs?: number
}

/** What is on the machine's disk. */
export interface DiskRow {
  readonly serverId: string
  /** The `rebuiltAtMs` that this disk belongs to; 0 for a server that never was rebuilt. */
  readonly builtAtMs: number
  readonly hostKey: HostKey
  /** What cloud-init said about the user data of this disk's first boot. */
  readonly cloudInitError?: string
  /** The kept Dokploy login: EMAIL, PASSWORD, API_KEY. */
  readonly login?: Readonly<Record<string, string>>
  readonly install?: InstallRow
  /** What the machine's own guard was told; absent: it has none, or leaves the port to the cloud firewall. */
  readonly panelPort?: 'open' | 'closed'
  readonly swarm?: SwarmDisk
  /** Releases of applications, by app: lines of base64. */
  readonly history?: Readonly<Record<string, readonly string[]>>
  readonly previews?: PreviewsDisk
  /** Present from the first phase of an installation of NixOS on. */
  readonly nixos?: NixosRow
}

export interface HostKey {
  /** OpenSSH private key text. */
  readonly privateKey: string
  /** `ssh-ed25519 AAAA…` */
  readonly publicKey: string
}

export interface InstallRow {
  readonly startedAtMs: number
  readonly durationMs: number
  /** With "v". */
  readonly version: string
  readonly advertiseAddr: string
  readonly pool: string
  /** The stage that it fails in; `none` before the first, as on a system that it cannot install on. */
  readonly failsAt?: InstallStage | 'none'
}

/** In the installer's order; after the last it writes "done". */
export const INSTALL_STAGES = [
  'boot',
  'host',
  'packages',
  'ssh',
  'updates',
  'docker',
  'swarm',
  'secrets',
  'postgres',
  'dokploy',
  'health',
  'traefik',
] as const
export type InstallStage = (typeof INSTALL_STAGES)[number]

/** Faults that a test or an operator of the sandbox laid on a machine, by server name. They outlive a rebuild. */
export interface FaultsRow {
  readonly name: string
  readonly neverBoots?: true
  readonly cloudInitError?: string
  /** cloud-init is still at work for so long after SSH answers. */
  readonly cloudInitLateMs?: number
  /** Taken by the next installation. */
  readonly failInstallAt?: InstallStage
  readonly diskFull?: true
  readonly dokployKilled?: true
}

export interface MachineState {
  readonly disks: Collection<DiskRow>
  readonly faults: Collection<FaultsRow>
  /** Repositories that services are cloned from. */
  readonly remotes: Collection<RemoteRow>
}

export const openMachineState = (store: Store): MachineState => ({
  disks: store.collection('machine.disks'),
  faults: store.collection('machine.faults'),
  remotes: store.collection('machine.remotes'),
})

export type InstallState =
  | { readonly unit: 'absent' }
  /** `interrupted`: a reboot ended it, so systemd knows no unit of that name any more, but its stage is written down. */
  | { readonly unit: 'running' | 'failed' | 'interrupted'; readonly stage: InstallStage | 'none' }
  | { readonly unit: 'done'; readonly doneAtMs: number }

/** What the machine is at `nowMs`. */
export interface Moment {
  readonly booted: boolean
  readonly bootedAtMs: number
  readonly cloudInit: 'done' | 'running' | 'error'
  readonly install: InstallState
  readonly dokploy: 'absent' | 'installing' | 'failed' | 'installed'
  /** Whether Dokploy's process serves its port. */
  readonly dokployUp: boolean
  /** Whether Traefik holds ports 80 and 443. */
  readonly traefikUp: boolean
}

/** Label that an image built by Landfall carries. */
const GOLDEN_LABEL = 'landfall/image'

export const isGolden = (server: MachineServer): boolean => Object.hasOwn(server.image.labels, GOLDEN_LABEL)

export const lookAt = (
  server: MachineServer,
  disk: Pick<DiskRow, 'install' | 'cloudInitError'> | undefined,
  faults: FaultsRow | undefined,
  settings: { readonly bootMs: number; readonly dokployStartMs: number },
  nowMs: number,
): Moment => {
  const restartedAtMs = server.runningSinceMs ?? 0
  const bootedAtMs = restartedAtMs + settings.bootMs
  const booted = server.status === 'running' && nowMs >= bootedAtMs && !faults?.neverBoots
  const install = lookAtInstall(restartedAtMs, disk?.install, nowMs)
  const freshlyDone = install.unit === 'done' && install.doneAtMs > restartedAtMs
  const hasPlatform = isGolden(server) || install.unit === 'done'
  // The installation waits for a healthy panel before it calls itself done; after a boot the panel takes its time.
  const startedAtMs = freshlyDone ? install.doneAtMs : bootedAtMs + settings.dokployStartMs
  return {
    booted,
    bootedAtMs,
    cloudInit:
      nowMs < bootedAtMs + (faults?.cloudInitLateMs ?? 0)
        ? 'running'
        : (faults?.cloudInitError ?? disk?.cloudInitError) === undefined
          ? 'done'
          : 'error',
    install,
    dokploy: INSTALL_TO_DOKPLOY[install.unit === 'absent' && isGolden(server) ? 'done' : install.unit],
    dokployUp: booted && !faults?.dokployKilled && ((hasPlatform && nowMs >= startedAtMs) || hasReached(install, 'traefik')),
    // The proxy is a container of its own that needs no database: after a boot it is there as soon as Docker is.
    traefikUp: booted && hasPlatform && nowMs >= (freshlyDone ? install.doneAtMs : bootedAtMs),
  }
}

/** Whether an installation is at or past a stage, in its present or last attempt. */
export const hasReached = (install: InstallState, stage: InstallStage): boolean => {
  if (install.unit === 'done') return true
  if (install.unit === 'absent' || install.stage === 'none') return false
  return INSTALL_STAGES.indexOf(install.stage) >= INSTALL_STAGES.indexOf(stage)
}

const INSTALL_TO_DOKPLOY = {
  absent: 'absent',
  running: 'installing',
  failed: 'failed',
  interrupted: 'failed',
  done: 'installed',
} satisfies Record<InstallState['unit'], Moment['dokploy']>

const lookAtInstall = (restartedAtMs: number, install: InstallRow | undefined, nowMs: number): InstallState => {
  if (!install) return { unit: 'absent' }
  const { startedAtMs, durationMs, failsAt } = install
  if (failsAt === 'none') return { unit: 'failed', stage: 'none' }
  const doneAtMs = startedAtMs + durationMs
  const stageAt = (atMs: number): number => {
    const part = durationMs > 0 ? (atMs - startedAtMs) / durationMs : 1
    return Math.floor(Math.min(1, part) * INSTALL_STAGES.length)
  }
  const failing = failsAt === undefined ? INSTALL_STAGES.length : INSTALL_STAGES.indexOf(failsAt)
  // After a reboot there is no unit any more, neither a running nor a failed one.
  const isCutOff = restartedAtMs > startedAtMs && (failsAt !== undefined || restartedAtMs < doneAtMs)
  const reached = stageAt(isCutOff ? restartedAtMs : nowMs)
  const stage = INSTALL_STAGES[Math.min(reached, failing, INSTALL_STAGES.length - 1)] ?? 'none'
  if (isCutOff) return { unit: 'interrupted', stage }
  if (reached >= failing && failsAt !== undefined) return { unit: 'failed', stage }
  return nowMs >= doneAtMs ? { unit: 'done', doneAtMs } : { unit: 'running', stage }
}

export const hasAddress = (server: MachineServer, address: string): boolean =>
  address === server.ipv4 || (server.ipv6 !== undefined && address === firstHost(server.ipv6))

/** The address that a machine has of the /64 that a cloud gives it: the first. */
export const firstHost = (ipv6: string | undefined): string | undefined => ipv6?.replace(/::\/\d+$/, '::1')
