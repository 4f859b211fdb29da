/** Somebody outside who tries every watched port of every server, over both families, again and again, with real packets. */

import { STRANGER } from '../../../lib/sandbox/exposure.ts'
import { firstHost } from '../../../lib/sandbox/machines/state.ts'
import type { Sandbox } from '../../../lib/sandbox/sandbox.ts'
import { PORTS } from './world.ts'

export interface Watch {
  /** One look at everything there is now. */
  look(): Promise<void>
  /** Ports that ever answered with a listener, and how often was looked and tried. */
  seen(): { readonly looks: number; readonly tries: number; readonly ipv4: readonly number[]; readonly ipv6: readonly number[] }
  stop(): Promise<void>
}

const PAUSE_MS = 200

/** Looks without an end until it is stopped. */
export const watchAsStranger = (sandbox: Sandbox): Watch => {
  const { containers, hetzner } = sandbox.controls
  if (!containers) throw new Error('bug: there are no container machines')
  const reached = { ipv4: new Set<number>(), ipv6: new Set<number>() }
  let looks = 0
  let tries = 0
  let stopped = false
  const look = async (): Promise<void> => {
    const aims = hetzner.serversForMachines().flatMap(server =>
      PORTS.flatMap(port => [
        { family: 'ipv4' as const, address: server.ipv4, port },
        { family: 'ipv6' as const, address: firstHost(server.ipv6), port },
      ]),
    )
    await Promise.all(
      aims.map(async ({ family, address, port }) => {
        if (address === undefined) return
        tries += 1
        if ((await containers.peek(STRANGER[family], address, port)) === 'open') reached[family].add(port)
      }),
    )
    if (aims.length > 0) looks += 1
  }
  const watching = (async () => {
    while (!stopped) {
      await look()
      await Bun.sleep(PAUSE_MS)
    }
  })()
  const sorted = (ports: ReadonlySet<number>) => [...ports].sort((a, b) => a - b)
  return {
    look,
    seen: () => ({ looks, tries, ipv4: sorted(reached.ipv4), ipv6: sorted(reached.ipv6) }),
    async stop() {
      stopped = true
      await watching
    },
  }
}
