/** One tunnel per machine and port for as long as it lasts; a broken one is opened anew for whoever asks next. */

import type { Machines, Target, Tunnel } from './providers/ports/machine.ts'

export interface Tunnels {
  /** Where `port` of the machine's loopback answers here: `http://127.0.0.1:…`. Ask again for each piece of work. */
  to(target: Target, port: number): Promise<string>
  close(): Promise<void>
}

export function createTunnels({ forward }: Pick<Machines, 'forward'>): Tunnels {
  const open = new Map<string, Promise<Tunnel>>()

  return {
    async to(target, port) {
      const key = `${target.hostKeyAlias} ${target.hostKey} ${port}`
      const tunnel = open.get(key) ?? forward(target, port)
      open.set(key, tunnel)
      const forget = () => {
        if (open.get(key) === tunnel) open.delete(key)
      }
      tunnel.then(({ ended }) => ended).then(forget, forget)
      return (await tunnel).url
    },

    async close() {
      await Promise.allSettled([...open.values()].map(async tunnel => (await tunnel).close()))
    },
  }
}
