/** A process that opens a tunnel and keeps it, to be killed by ssh.test.ts. */

import { systemClock } from '../../lib/engine/clock.ts'
import { createMeter } from '../../lib/engine/meter.ts'
import type { Target } from '../../lib/providers/ports/machine.ts'
import { createMachines } from '../../lib/providers/ssh/ssh.ts'

interface Trial {
  readonly directory: string
  readonly identityFile: string
  readonly target: Target
}

if (import.meta.main) {
  const { directory, identityFile, target }: Trial = JSON.parse(process.env.TRIAL ?? '{}')
  const machines = createMachines({
    directory,
    identities: [{ file: identityFile }],
    route: { kind: 'direct' },
    context: {
      clock: systemClock,
      meter: createMeter(),
      signal: new AbortController().signal,
      random: Math.random,
      log: () => undefined,
      beforeWrite: async () => undefined,
    },
    client: 'system',
  })
  const { url } = await machines.forward(target, target.port)
  process.stdout.write(`${new URL(url).port}\n`)
  await systemClock.sleep(60_000)
}
