/**
 * The certificate authority as a container machine reaches it: one question per name, judged as Let's Encrypt would, by whether the
 * name leads to this machine and its port 80 is open to the world.
 */

import type { CertificateAuthority } from '../ca.ts'
import type { SandboxClock, Store } from '../kit.ts'
import { createAcme } from '../machines/acme.ts'
import { hasAddress, type MachineServer } from '../machines/state.ts'

export interface AuthorityDeps {
  readonly store: Store
  readonly clock: SandboxClock
  readonly ca: CertificateAuthority
  readonly resolve: (name: string) => string | undefined
  readonly openToWorld: (serverId: string, port: number) => boolean
}

export const AUTHORITY_PATH = '/sandbox/certificate'

export const createContainerAuthority = ({ store, clock, ca, resolve, openToWorld }: AuthorityDeps) => {
  const acme = createAcme({ rows: store.collection('machine.certificates'), ca, clock, issueMs: 50, retryMs: 2_000 })
  return {
    /** Query: host, email, generation. 200 with `{cert, key}`, or 204 while there is none. */
    async answer(server: MachineServer, query: URLSearchParams): Promise<Response> {
      const host = query.get('host') ?? ''
      const address = resolve(host)
      const certificate = await acme.obtain({
        serverId: server.id,
        host,
        email: query.get('email') ?? '',
        generation: Number(query.get('generation') ?? 0),
        reachable: address !== undefined && hasAddress(server, address) && openToWorld(server.id, 80),
      })
      return certificate ? Response.json({ cert: certificate.cert, key: certificate.key }) : new Response(null, { status: 204 })
    },
    forget: acme.forget,
  }
}
