/** An oracle for what is reachable from where: asked after every request that took effect, and over every instant of the record. */

import { isLetIn, STRANGER, WATCHED_PORTS } from '../../../lib/sandbox/exposure.ts'
import { OPERATOR } from '../../../lib/sandbox/internet.ts'
import type { Hooks } from '../../../lib/sandbox/kit.ts'
import type { Sandbox } from '../../../lib/sandbox/sandbox.ts'

const FOR_EVERYBODY = [22, 80, 443]

export interface Watch {
  readonly hooks: Hooks
  /** From here on `sandbox` is judged; `names` are the servers that it is about. */
  begin(sandbox: Sandbox, names: readonly string[]): void
  /** How often it has looked at a server. */
  readonly looks: number
  readonly violations: readonly string[]
}

/** Dokploy's port is nobody's before its first admin exists: whoever comes first would become it. */
export const createWatch = (): Watch => {
  const violations: string[] = []
  let looks = 0
  let look: (after: string) => void = () => undefined
  return {
    hooks: { afterEffect: ({ vendor, method, path }) => look(`${vendor} ${method} ${path}`) },
    begin(sandbox, names) {
      const { hetzner, machines } = sandbox.controls
      look = after => {
        for (const { id, name, status } of hetzner.dump().servers.filter(server => names.includes(server.name))) {
          if (status === 'initializing') continue
          looks++
          const openings = hetzner.exposure(id)
          const reached = (source: string) => WATCHED_PORTS.filter(port => isLetIn(openings, source, port))
          for (const source of [STRANGER.ipv4, STRANGER.ipv6])
            for (const port of reached(source))
              if (!FOR_EVERYBODY.includes(port)) violations.push(`after ${after}: ${source} reaches ${port} of ${name}`)
          for (const source of [OPERATOR.ipv4, OPERATOR.ipv6])
            for (const port of reached(source))
              if (!FOR_EVERYBODY.includes(port) && !(port === 3000 && adminsOf(machines.dokploy(name).dump()) > 0))
                violations.push(`after ${after}: the operator reaches ${port} of ${name}, which has no admin`)
        }
      }
    },
    get looks() {
      return looks
    },
    violations,
  }
}

const adminsOf = (dump: unknown): number =>
  typeof dump === 'object' && dump !== null && 'admins' in dump && Array.isArray(dump.admins) ? dump.admins.length : 0

/** What a stranger could ever reach of these servers beyond what everybody may, by the sandbox's own record. */
export const exposedInstants = (sandbox: Sandbox, names: readonly string[]): readonly string[] =>
  sandbox
    .instants()
    .flatMap(({ servers }) =>
      servers
        .filter(server => names.includes(server.name))
        .flatMap(({ name, status, ipv4, ipv6 }) =>
          [...new Set([...ipv4, ...ipv6])]
            .filter(port => !FOR_EVERYBODY.includes(port))
            .map(port => `${name} (${status}): ${port}`),
        ),
    )
