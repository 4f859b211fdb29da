/** A world of its own for one trial: a sandbox in this process and a state directory, empty or copied from a prepared one. */

import { cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Hooks } from '../../../lib/sandbox/kit.ts'
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { plantStrangers, ZONE } from './strangers.ts'

/** Memory where there is some: fsync is not what is measured here. */
const BASE = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

export const CONFIG = 'estate.json'

const ESTATE_CONFIG = {
  hetzner: { location: 'nbg1', server_types: { dev: 'cx23', prod: 'cx33', packer_build: 'cx23' } },
  dns: { domain: ZONE, admin_subdomain: 'admin', dev_admin_subdomain: 'dev.admin' },
}

/** Actions take milliseconds: what is tried is order and failure, not patience. */
export const QUICK = {
  actionMs: { create_server: 15, start_server: 10, other: 5 },
  bootMs: 10,
  dokployStartMs: 20,
  rateLimits: false,
}

export interface Theatre {
  readonly sandbox: Sandbox
  /** The operator's directory, with the config and `.landfall`. */
  readonly cwd: string
  /** Asked before and after each effect; may be set at any time. */
  hooks: Hooks
  /** Keeps the world and the state directory as a folder to begin other theatres from. */
  save(folder: string): Promise<void>
  close(): Promise<void>
}

export interface OpenTheatre {
  readonly from?: string
  readonly config?: unknown
  readonly settings?: SandboxOptions['settings']
  readonly seed?: SandboxOptions['seed']
  readonly clock?: SandboxOptions['clock']
}

export async function openTheatre({ from, config = ESTATE_CONFIG, settings, seed, clock }: OpenTheatre = {}): Promise<Theatre> {
  const folder = mkdtempSync(join(BASE, 'landfall-faults-'))
  const cwd = join(folder, 'home')
  mkdirSync(cwd)
  if (from) copy(from, folder)
  writeFileSync(join(cwd, CONFIG), JSON.stringify(config))
  let hooks: Hooks = {}
  const sandbox = await startSandbox({
    path: join(folder, 'world.sqlite'),
    seed: { zones: [ZONE], goldenImage: true, ...seed },
    settings: { ...QUICK, ...settings },
    ...(clock ? { clock } : {}),
    hooks: {
      beforeEffect: about => hooks.beforeEffect?.(about),
      afterEffect: about => hooks.afterEffect?.(about),
      afterAnswer: about => hooks.afterAnswer?.(about),
      beforeProgram: about => hooks.beforeProgram?.(about),
      afterProgram: about => hooks.afterProgram?.(about),
      afterProgramAnswer: about => hooks.afterProgramAnswer?.(about),
    },
  })
  if (!from) await plantStrangers(sandbox)
  let closed = false
  const close = async (): Promise<void> => {
    if (closed) return
    closed = true
    await sandbox.close()
    rmSync(folder, { recursive: true, force: true })
  }
  return {
    sandbox,
    cwd,
    get hooks() {
      return hooks
    },
    set hooks(next) {
      hooks = next
    },
    async save(target) {
      closed = true
      await sandbox.close()
      mkdirSync(target, { recursive: true })
      copy(folder, target)
      rmSync(folder, { recursive: true, force: true })
    },
    close,
  }
}

/** Sockets of shared ssh connections are left out: they belong to processes of the other world. */
const copy = (from: string, to: string): void =>
  cpSync(from, to, { recursive: true, filter: source => !lstatSync(source).isSocket() && !source.endsWith('/ctl') })
