/** What a stranger reaches, through the cloud's firewall, at each moment of a world: the record that an oracle reads. Pure but for the list. */

import { asHost, contains, parseCidr, parseIp } from './hetzner/cidr.ts'
import type { SandboxClock } from './kit.ts'

/** Something that a cloud firewall lets in. */
export interface Exposure {
  readonly protocol: string
  /** Null where the protocol has none. */
  readonly ports: { readonly first: number; readonly last: number } | null
  readonly from: readonly string[]
}

export interface ExposedServer {
  readonly id: string
  readonly name: string
  readonly status: string
  readonly ipv4?: string
  readonly ipv6?: string
}

/** What an address that nobody allowed reaches of one server, over TCP. Ports are those of `WATCHED_PORTS`. */
export interface ServerExposure {
  readonly serverId: string
  readonly name: string
  readonly status: string
  readonly ipv4: readonly number[]
  readonly ipv6: readonly number[]
}

export interface Instant {
  readonly atMs: number
  readonly servers: readonly ServerExposure[]
}

export const STRANGER = { ipv4: '192.0.2.66', ipv6: '2001:db8:bad::66' } as const
export const WATCHED_PORTS = [22, 80, 443, 2377, 3000, 5432, 6379, 7946] as const

/** Whether a TCP connection from `source` to `port` passes. */
export const isLetIn = (openings: readonly Exposure[], source: string, port: number): boolean => {
  const ip = parseIp(source)
  if (!ip) return false
  return openings.some(
    opening =>
      opening.protocol === 'tcp' &&
      (opening.ports === null || (port >= opening.ports.first && port <= opening.ports.last)) &&
      opening.from.some(text => {
        const block = parseCidr(text)
        return block !== undefined && contains(block, asHost(ip))
      }),
  )
}

export const sameAddress = (a: string | undefined, b: string): boolean => {
  if (a === undefined) return false
  if (a === b) return true
  const [left, right] = [parseIp(a), parseIp(b)]
  return left !== undefined && left.version === right?.version && left.value === right.value
}

// Made or switched off, but without power: firewalls named in a create call are in force before the server starts.
const WITHOUT_POWER = new Set(['initializing', 'off'])

/** Every server and each watched port, as a stranger's packets fare now, whether or not something listens there. */
export const exposureSnapshot = (
  servers: readonly ExposedServer[],
  exposure: (serverId: string) => readonly Exposure[],
): ServerExposure[] =>
  servers.map(({ id, name, status, ipv4, ipv6 }) => {
    const openings = WITHOUT_POWER.has(status) ? [] : exposure(id)
    const reached = (source: string) => WATCHED_PORTS.filter(port => isLetIn(openings, source, port))
    return {
      serverId: id,
      name,
      status,
      ipv4: ipv4 === undefined ? [] : reached(STRANGER.ipv4),
      ipv6: ipv6 === undefined ? [] : reached(STRANGER.ipv6),
    }
  })

export interface Instants {
  /** To be called after each change; keeps what differs from the instant before. */
  record(): void
  all(): readonly Instant[]
  clear(): void
}

export const createInstants = (clock: SandboxClock, look: () => ServerExposure[]): Instants => {
  let instants: Instant[] = []
  let last = '[]'
  return {
    record() {
      const servers = look()
      const text = JSON.stringify(servers)
      if (text === last) return
      last = text
      instants.push({ atMs: clock.nowMs(), servers })
    },
    all: () => instants,
    clear() {
      instants = []
      last = '[]'
    },
  }
}
