/** The machines port over SSH: pinned host keys, bounded waits, values as data. */

import { env } from 'node:process'
import { hasCode, LandfallError } from '../../errors.ts'
import type { ProviderContext, Route } from '../context.ts'
import type { Machines, Program, Reachability, Target } from '../ports/machine.ts'
import { createBuiltinClient } from './builtin.ts'
import type { SshClient } from './client.ts'
import type { Identity } from './identity.ts'
import { generateKey } from './keys.ts'
import { effectOf } from './programs.ts'
import { PROBE, renderRequest } from './protocol.ts'
import { createSystemClient } from './system.ts'
import { checkTarget, isPort } from './target.ts'
import { askPatiently, waitUntilReady } from './wait.ts'

export interface MachinesOptions {
  /** Absolute directory of this estate for pins and sockets; made for its owner only. */
  readonly directory: string
  /** Without any, the agent's and the default identities are offered. */
  readonly identities?: readonly Identity[]
  readonly route: Route
  readonly context: ProviderContext
  readonly client?: 'system' | 'builtin'
}

const LOOK_TIMEOUT_MS = 6_000
/** What answered before in this run and is silent now is busy, starts again, or is just taking another key. */
const PATIENCE_MS = 60_000
/** sshd drops unauthenticated connections at random from 10 on, and takes 10 sessions in one connection. */
const STARTS_PER_HOST = 8

/** `system` where an ssh is on the PATH. */
export const findSshClient = (): 'system' | 'builtin' =>
  Bun.which('ssh', { PATH: env.PATH ?? '' }) === null ? 'builtin' : 'system'

/** Counts as provider `ssh`: a login or a reading program is a read. */
export function createMachines(options: MachinesOptions): Machines {
  const { context } = options
  const client = createClient(options)
  const answered = new Set<string>()
  const patienceWith = ({ address }: Target) => (answered.has(address) ? PATIENCE_MS : 0)
  const gates = new Map<string, <T>(work: () => Promise<T>) => Promise<T>>()

  const gated = <T>(target: Target, work: () => Promise<T>): Promise<T> => {
    const gate = gates.get(target.address) ?? createGate(STARTS_PER_HOST)
    gates.set(target.address, gate)
    return gate(work)
  }

  const attempt = async (target: Target, timeoutMs: number, signal: AbortSignal, patienceMs = 0): Promise<Reachability> => {
    const probe = () =>
      gated(target, () => {
        context.meter.count('ssh', 'read')
        return client.probe(target, { timeoutMs, signal })
      })
    try {
      await askPatiently(probe, { patienceMs, clock: context.clock, signal })
      answered.add(target.address)
      return { state: 'ready' }
    } catch (error) {
      if (hasCode(error, 'host_key')) return { state: 'impostor', why: error.message }
      if (hasCode(error, 'forbidden')) return { state: 'key_refused', why: error.message }
      if (hasCode(error, 'network', 'timeout')) return { state: 'unreachable', why: error.message }
      throw error
    }
  }

  return {
    async look(target) {
      checkTarget(target)
      return attempt(target, LOOK_TIMEOUT_MS, context.signal, patienceWith(target))
    },

    async waitReady(target, timeoutMs, signal) {
      checkTarget(target)
      const either = AbortSignal.any([signal, context.signal])
      const look = (limitMs: number) => attempt(target, limitMs, either)
      await waitUntilReady({ name: target.name, look, lookTimeoutMs: LOOK_TIMEOUT_MS, timeoutMs, signal: either, context })
    },

    async run(target, program, input, signal) {
      checkTarget(target)
      const request = renderRequest(program, input)
      const effect = effectOf(program.name)
      return gated(target, async () => {
        if (effect === 'write') {
          await context.beforeWrite({ provider: 'ssh', method: 'RUN', path: `/${target.name}/${program.name}` })
        }
        context.meter.count('ssh', effect)
        const patienceMs = patienceWith(target)
        const exec = () => client.exec(target, request, { timeoutMs: program.timeoutMs, signal, patienceMs })
        try {
          // What changes something is sent once: it may have begun when its answer is lost.
          const reading = { patienceMs: effect === 'read' ? patienceMs : 0, clock: context.clock, signal }
          const result = await askPatiently(exec, reading)
          answered.add(target.address)
          return result
        } catch (error) {
          throw runError(error, target, program)
        }
      })
    },

    async forward(target, remotePort) {
      checkTarget(target)
      if (!isPort(remotePort)) throw new LandfallError('usage', `${remotePort} is not a port.`)
      const { localPort, ended, close } = await gated(target, () =>
        client.forward(target, remotePort, { patienceMs: patienceWith(target) }),
      )
      return { url: `http://127.0.0.1:${localPort}`, ended, close }
    },

    disconnect: target => client.disconnect(target),

    generateKey: async () => generateKey(),
  }
}

function createClient(options: MachinesOptions): SshClient {
  const { directory, identities = [], route, context } = options
  return (options.client ?? findSshClient()) === 'builtin'
    ? createBuiltinClient({ identities, route, clock: context.clock })
    : createSystemClient({ directory, identities, route, clock: context.clock })
}

/** What a local program cannot know: which machine and which program it was. */
function runError(error: unknown, target: Target, program: Pick<Program, 'name'>): unknown {
  if (!(error instanceof LandfallError) || program.name === PROBE.name) return error
  if (error.code !== 'timeout' && error.code !== 'network') return error
  return new LandfallError(error.code, `The program ${program.name} on ${target.name} has no result: ${error.message}`, {
    hint: 'It may still be running there. Run the same command again: it looks first.',
    cause: error,
  })
}

/** At most `limit` pieces of work at a time, in the order of asking. */
function createGate(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0
  const waiting: (() => void)[] = []
  return async work => {
    if (running >= limit) await new Promise<void>(resolve => waiting.push(resolve))
    else running += 1
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) running -= 1
      else next()
    }
  }
}
