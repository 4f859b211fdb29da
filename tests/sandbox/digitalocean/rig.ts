/** The adapter and the stand-in of DigitalOcean, joined by real HTTP. */

import { expect } from 'bun:test'
import type { Clock } from '../../../lib/engine/clock.ts'
import { systemClock } from '../../../lib/engine/clock.ts'
import { createMeter } from '../../../lib/engine/meter.ts'
import { LandfallError } from '../../../lib/errors.ts'
import { createDigitalOcean } from '../../../lib/providers/digitalocean/digitalocean.ts'
import type { CreateServer } from '../../../lib/providers/ports/cloud.ts'
import type { Hooks } from '../../../lib/sandbox/kit.ts'
import { SANDBOX_TOKENS, type Sandbox, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { Secret } from '../../../lib/secret.ts'

const open: Sandbox[] = []

/** For `afterEach`. */
export const closeRigs = async (): Promise<void> => {
  for (const sandbox of open.splice(0)) {
    await sandbox.close()
    expect(sandbox.bugs).toEqual([])
  }
}

export const LABELS = { 'landfall/estate': 'solo', 'landfall/role': 'backend', 'landfall/run': 'run-1' }
export const KEY = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'A'.repeat(43)}`

/** Waits are noted and not waited for, except for as long as the stand-in needs. */
export const openRig = async (token: string = SANDBOX_TOKENS.digitalocean, hooks: Hooks = {}) => {
  const sandbox = await startSandbox({ settings: { actionMs: { create_server: 20, other: 5 }, bootMs: 5 }, hooks })
  open.push(sandbox)
  const stop = new AbortController()
  const waits: number[] = []
  const clock: Clock = {
    ...systemClock,
    async sleep(ms, signal) {
      waits.push(ms)
      await systemClock.sleep(Math.min(ms, 10), signal)
    },
  }
  const cloud = createDigitalOcean({
    prices: { snapshotGbMonth: 0.06, volumeGbMonth: 0.1, backupPercent: 20 },
    token: new Secret('DIGITALOCEAN_TOKEN', token),
    endpoint: sandbox.environment.DIGITALOCEAN_ENDPOINT ?? '',
    context: {
      clock,
      meter: createMeter(),
      signal: stop.signal,
      random: () => 0,
      log: () => undefined,
      beforeWrite: async () => undefined,
    },
  })
  /** A request past the adapter. */
  const send = async (method: string, path: string, body?: unknown): Promise<Response> =>
    fetch(`${sandbox.environment.DIGITALOCEAN_ENDPOINT}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  return { sandbox, cloud, control: sandbox.controls.digitalocean, waits, send, interrupt: () => stop.abort() }
}

export const droplet = (more: Partial<CreateServer> = {}): CreateServer => ({
  name: 'backend',
  type: 's-1vcpu-2gb',
  location: 'fra1',
  image: 'debian-12-x64',
  sshKeyIds: [],
  firewallIds: [],
  networkIds: [],
  labels: LABELS,
  ipv4: 'new',
  ipv6: 'new',
  ...more,
})

export const failureOf = async (work: Promise<unknown>): Promise<LandfallError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof LandfallError) return error
  throw new Error(`it did not fail as it should: ${String(error)}`)
}
