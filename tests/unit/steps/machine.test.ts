/** The first session with a machine, and what a lost answer or a killed run may have left of it. */

import { describe, expect, test } from 'bun:test'
import { World } from '../../../lib/engine/world.ts'
import { type ErrorCode, LandfallError } from '../../../lib/errors.ts'
import { encodeHostKey, LABEL_KEYS } from '../../../lib/estate/labels.ts'
import { PROGRAMS, type ProgramName } from '../../../lib/estate/programs.ts'
import type { Labels, Server } from '../../../lib/providers/ports/cloud.ts'
import type { Machines, ProgramResult } from '../../../lib/providers/ports/machine.ts'
import { generateKey } from '../../../lib/providers/ssh/keys.ts'
import type { Deps } from '../../../lib/steps/deps.ts'
import { createMachineReader, machineStep } from '../../../lib/steps/machine.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { fakeClock } from '../fake-clock.ts'
import { deps, estate, server as serverCalled } from './worlds.ts'

const BOOTSTRAP = generateKey().publicKey
const SPEC = (() => {
  const [first] = estate.servers
  if (!first) throw new Error('the estate has no server')
  return first
})()

const FACTS = 'os=debian-12\ncloud_init=done\n'
const said = (stdout: string): ProgramResult => ({ exitCode: 0, stdout, stderr: '' })
const silence = (code: ErrorCode) => new LandfallError(code, 'nobody answers')

interface Given {
  readonly labels?: Labels
  /** The key that the machine serves at first. */
  readonly serves?: string
  /** What becomes of each try to run a program; absent: it runs. `lost`: it runs, and its answer is lost. */
  readonly fate?: Partial<Record<ProgramName, (ErrorCode | 'lost' | 'runs')[]>>
}

function stage({ labels = {}, serves = BOOTSTRAP, fate = {} }: Given) {
  const made = serverCalled(SPEC.name)
  const server: Server = {
    ...made,
    labels: { ...made.labels, [LABEL_KEYS.hostKey]: encodeHostKey(BOOTSTRAP), [LABEL_KEYS.trust]: 'bootstrap', ...labels },
  }
  let served = serves
  let kept: Labels = server.labels
  const ran: string[] = []
  const check = (hostKey: string) => {
    if (hostKey !== served) throw new LandfallError('host_key', 'another key')
  }
  const machines: Machines = {
    ...deps.machines,
    look: async target => (target.hostKey === served ? { state: 'ready' } : { state: 'impostor', why: 'another key' }),
    waitReady: async target => check(target.hostKey),
    disconnect: async () => undefined,
    generateKey: async () => generateKey(),
    async run(target, { name }, input) {
      check(target.hostKey)
      ran.push(name)
      const fated = fate[name as ProgramName]?.shift() ?? 'runs'
      if (fated !== 'runs' && fated !== 'lost') throw silence(fated)
      if (name === 'rotate-host-key') served = String(input?.PUBLIC)
      if (fated === 'lost') throw silence('timeout')
      return said(name === 'facts' ? FACTS : 'ok=1\n')
    },
  }
  const given: Deps = {
    ...deps,
    clock: fakeClock(),
    machines,
    programs: Object.fromEntries(
      Object.entries(PROGRAMS).map(([name, { timeoutMs }]) => [name, { name, text: '', timeoutMs }]),
    ) as Deps['programs'],
    cloud: {
      ...deps.cloud,
      setServerLabels: async (_, next) => {
        kept = next
      },
    },
  }
  return {
    server,
    given,
    ran,
    served: () => served,
    kept: () => kept,
    async connect(): Promise<void> {
      const world = new World<EstateWorld>({
        servers: async () => [server],
        machines: async () => ({ [SPEC.name]: { state: 'unreachable', why: 'it boots' } }),
      } as unknown as ConstructorParameters<typeof World<EstateWorld>>[0])
      await world.look(['servers', 'machines'])
      const finding = machineStep(given, SPEC).look(world)
      if (finding.state !== 'todo') throw new Error(`it says ${finding.state}`)
      for (const change of finding.changes)
        await change.apply({ world, signal: new AbortController().signal, log: () => undefined })
    },
  }
}

const isPinned = ({ kept, served }: ReturnType<typeof stage>) => {
  expect(kept()[LABEL_KEYS.hostKey]).toBe(encodeHostKey(served()))
  expect(kept()[LABEL_KEYS.trust]).toBe('pinned')
  expect(kept()[LABEL_KEYS.nextHostKey]).toBeUndefined()
  expect(served()).not.toBe(BOOTSTRAP)
}

describe('the first session', () => {
  test('replaces the key that travelled', async () => {
    const on = stage({})
    await on.connect()
    isPinned(on)
    expect(on.ran).toEqual(['rotate-host-key', 'facts'])
  })

  test.each(['network', 'timeout'] as const)('goes on when the machine gives no answer to it (%s)', async code => {
    const on = stage({ fate: { 'rotate-host-key': [code], facts: [code, code] } })
    await on.connect()
    isPinned(on)
    expect(on.ran).toEqual(['rotate-host-key', 'rotate-host-key', 'facts', 'facts', 'facts'])
  })

  test('does not replace the key twice when only the answer was lost', async () => {
    const on = stage({ fate: { 'rotate-host-key': ['lost'] } })
    await on.connect()
    isPinned(on)
    expect(on.ran).toEqual(['rotate-host-key', 'facts'])
  })

  test('finds the key that a killed run has put in place', async () => {
    const next = generateKey().publicKey
    const on = stage({ serves: next, labels: { [LABEL_KEYS.nextHostKey]: encodeHostKey(next) } })
    await on.connect()
    isPinned(on)
  })

  test('stops at a key that no label names', async () => {
    const on = stage({ serves: generateKey().publicKey, labels: { [LABEL_KEYS.nextHostKey]: encodeHostKey(BOOTSTRAP) } })
    const failure = await on.connect().catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'host_key' })
    expect(on.ran).toEqual([])
  })
})

describe('a look', () => {
  test.each(['network', 'timeout'] as const)('calls a machine that logs in and says nothing unreachable (%s)', async code => {
    const { given, server } = stage({ fate: { facts: [code] } })
    expect(await createMachineReader(given).read(SPEC, server)).toEqual({ state: 'unreachable', why: 'nobody answers' })
  })

  test('does not hide that a program fails', async () => {
    const { given, server } = stage({ fate: { facts: ['vendor'] } })
    const failure = await createMachineReader(given)
      .read(SPEC, server)
      .catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'vendor' })
  })
})
