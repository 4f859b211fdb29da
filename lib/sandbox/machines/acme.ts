/**
 * How a simulated Traefik comes by its certificates: Let's Encrypt over HTTP-01. An order succeeds only when the name leads to this
 * machine and its port 80 is open to the world; a failed one is not repeated at once. Orders and failures are counted, because the real
 * authority counts them.
 */

import type { Certificate, CertificateAuthority } from '../ca.ts'
import type { Collection, SandboxClock } from '../kit.ts'

export interface CertificateRow {
  /** `<server id> <host>` */
  readonly id: string
  readonly serverId: string
  readonly host: string
  /** What the account was registered with: the first order's e-mail, for good. */
  readonly accountEmail: string
  readonly orders: number
  readonly failures: number
  readonly state:
    | { readonly kind: 'pending'; readonly readyAtMs: number }
    | ({ readonly kind: 'issued' } & Certificate)
    | { readonly kind: 'failed'; readonly retryAtMs: number; readonly generation: number }
}

export interface Order {
  readonly serverId: string
  readonly host: string
  /** Of the running Traefik's resolver. */
  readonly email: string
  /** Changes whenever Traefik looks at its routes again, which also ends the wait after a failure. */
  readonly generation: number
  /** Whether the authority would find this machine under the name now. */
  readonly reachable: boolean
}

export interface Acme {
  /** Orders what is due, and gives the certificate once there is one. */
  obtain(order: Order): Promise<Certificate | undefined>
  rowsOf(serverId: string): CertificateRow[]
  /** Issued certificates that were saved of a machine, given to this one. */
  restore(serverId: string, rows: readonly CertificateRow[]): void
  /** Forgets a machine's certificates, as its disk does. */
  forget(serverId: string): void
}

/** @param issueMs how long a good order takes  @param retryMs how long a failed one is let lie */
export const createAcme = (deps: {
  readonly rows: Collection<CertificateRow>
  readonly ca: CertificateAuthority
  readonly clock: SandboxClock
  readonly issueMs: number
  readonly retryMs: number
}): Acme => {
  const { rows, ca, clock } = deps
  const issuing = new Map<string, Promise<Certificate>>()

  const order = ({ serverId, host, email, generation, reachable }: Order, id: string): CertificateRow => {
    const before = rows.get(id)
    const nowMs = clock.nowMs()
    const row: CertificateRow = {
      id,
      serverId,
      host,
      accountEmail: before?.accountEmail ?? email,
      orders: (before?.orders ?? 0) + 1,
      failures: (before?.failures ?? 0) + (reachable ? 0 : 1),
      state: reachable
        ? { kind: 'pending', readyAtMs: nowMs + deps.issueMs }
        : { kind: 'failed', retryAtMs: nowMs + deps.retryMs, generation },
    }
    rows.put(id, row)
    return row
  }

  const issue = async (row: CertificateRow): Promise<Certificate> => {
    try {
      const certificate = await ca.issue([row.host])
      // The machine may be gone by now.
      if (rows.get(row.id)) rows.put(row.id, { ...row, state: { kind: 'issued', ...certificate } })
      return certificate
    } finally {
      issuing.delete(row.id)
    }
  }

  return {
    async obtain(wanted) {
      const id = `${wanted.serverId} ${wanted.host}`
      let row = rows.get(id)
      const due =
        row === undefined ||
        (row.state.kind === 'failed' && (clock.nowMs() >= row.state.retryAtMs || row.state.generation !== wanted.generation))
      if (due || row === undefined) row = order(wanted, id)
      if (row.state.kind === 'issued') return row.state
      if (row.state.kind === 'failed' || clock.nowMs() < row.state.readyAtMs) return undefined
      const running = issuing.get(id) ?? issue(row)
      issuing.set(id, running)
      return running
    },
    rowsOf: serverId => rows.all().filter(row => row.serverId === serverId),
    restore(serverId, saved) {
      for (const row of saved) {
        const id = `${serverId} ${row.host}`
        if (row.state.kind === 'issued') rows.put(id, { ...row, id, serverId })
      }
    },
    forget(serverId) {
      for (const row of rows.all()) if (row.serverId === serverId) rows.delete(row.id)
    },
  }
}
