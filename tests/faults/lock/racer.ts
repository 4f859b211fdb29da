/** A process that takes the estate's lock when it is told to. Lines on stdin: `take RUN`, `release`; one JSON line for each on stdout. */

import { createInterface } from 'node:readline'
import { systemClock } from '../../../lib/engine/clock.ts'
import { type HeldLock, holdLock } from '../../../lib/engine/lock.ts'
import { createMeter } from '../../../lib/engine/meter.ts'
import { LandfallError } from '../../../lib/errors.ts'
import { createHetzner } from '../../../lib/providers/hetzner/hetzner.ts'
import { Secret } from '../../../lib/secret.ts'

const { HCLOUD_ENDPOINT: endpoint = '', HCLOUD_TOKEN: token = '', HOST_ID: hostId = 'here' } = process.env
const signal = new AbortController().signal
const { locks } = createHetzner({
  token: new Secret('HCLOUD_TOKEN', token),
  endpoint,
  context: {
    clock: systemClock,
    meter: createMeter(),
    signal,
    random: Math.random,
    log: () => undefined,
    beforeWrite: async () => undefined,
  },
})

const isPidAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`)
let held: HeldLock | undefined

for await (const line of createInterface({ input: process.stdin })) {
  const [command = '', runId = ''] = line.split(' ')
  if (command === 'take') {
    const startedMs = performance.now()
    try {
      held = await holdLock({
        locks,
        estate: 'race',
        runId,
        command: 'bun scripts/setup.ts',
        host: { hostId, pid: process.pid, who: `${hostId}@race`, isPidAlive },
        clock: systemClock,
        signal,
      })
      say({ won: true, ms: performance.now() - startedMs })
    } catch (error) {
      if (!(error instanceof LandfallError)) throw error
      say({ won: false, ms: performance.now() - startedMs, code: error.code, message: error.message })
    }
  } else if (command === 'release') {
    await held?.release()
    held = undefined
    say({ released: true })
  }
}
