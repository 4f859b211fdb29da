/**
 * Hetzner Cloud behind our own words. `hcloud-js` carries the requests; everything above it is here, because its resource classes
 * throw on today's servers after the create was sent and know no firewalls (facts/cloud-apis 2.1).
 */

import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import type { Cloud, CloudLocks } from '../ports/cloud.ts'
import { createActionPoller } from './actions.ts'
import { createBalancers } from './balancers.ts'
import { createBelongings } from './belongings.ts'
import { createCalls } from './call.ts'
import { createCatalog } from './catalog.ts'
import type { Deps } from './deps.ts'
import { createFirewalls } from './firewalls.ts'
import { createLocks } from './locks.ts'
import { createServers } from './servers.ts'
import { hcloudTransport, type Transport } from './transport.ts'
import { objectsIn, type WireAction } from './wire.ts'

export interface Hetzner extends Cloud {
  readonly locks: CloudLocks
  /**
   * Asks for one location: the cheapest request that needs a good token.
   * @throws LandfallError token_invalid | forbidden | network
   */
  verifyToken(): Promise<void>
  /** How many requests the project may send now; undefined before the vendor has said so. */
  requestsLeft(): number | undefined
}

const ENDPOINT = 'https://api.hetzner.cloud/v1'
const TIMEOUT_MS = 30_000

export interface HetznerOptions {
  readonly token: Secret
  /** With the version, for example `https://api.hetzner.cloud/v1`. */
  readonly endpoint?: string
  readonly context: ProviderContext
  /** For each request, to the last byte of its answer. */
  readonly timeoutMs?: number
  /** How many requests may be sent before the vendor's limit is felt, where that is known. */
  readonly requestsLeft?: number
  /** About how many servers the project has or will have. It only decides how many pages are asked for at once. */
  readonly likelyServers?: number
}

/** Every request of it counts as `hetzner` in the meter. The transport's library starts to load at once, and delays nothing. */
export function createHetzner({ endpoint = ENDPOINT, timeoutMs = TIMEOUT_MS, ...options }: HetznerOptions): Hetzner {
  return createHetznerOver(hcloudTransport({ token: options.token, endpoint, timeoutMs }), options)
}

/** The same over any transport. */
export function createHetznerOver(
  transport: Transport,
  { token, context, requestsLeft, likelyServers = 0 }: Omit<HetznerOptions, 'endpoint' | 'timeoutMs'>,
): Hetzner {
  const calls = createCalls(transport, token, context, requestsLeft)
  const actions = createActionPoller({
    clock: context.clock,
    signal: context.signal,
    token,
    roundTripMs: calls.roundTripMs,
    idle: signal => calls.idle('normal', signal),
    list: async ids => {
      // The reference has no page size for this list.
      const request = {
        what: 'follow running actions',
        method: 'GET',
        path: '/actions',
        rank: 'last',
        query: ids.map(id => ['id', id] as const),
      } as const
      return (await calls.call(request, json => objectsIn<WireAction>(json, 'actions'))).value
    },
  })
  const deps: Deps = { calls, actions, context, token, likelyServers }
  const { listedLocks, ...firewalls } = createFirewalls(deps)
  return {
    vendor: 'hetzner',
    ...createCatalog(deps),
    ...createBelongings(deps),
    ...firewalls,
    ...createServers(deps),
    ...createBalancers(deps),
    // Labels here are part of their objects and go with them.
    listIdleTags: async () => [],
    deleteIdleTags: async () => {},
    locks: createLocks(deps, listedLocks),

    requestsLeft: calls.requestsLeft,

    async verifyToken() {
      await calls.call(
        { what: 'check the token', method: 'GET', path: '/locations', query: [['per_page', '1']] },
        () => undefined,
      )
    },

    async probeWrite() {
      // Rights are checked before the input, and a firewall without a name is no valid input: nothing can come into being.
      const request = {
        what: 'check that the token may write',
        method: 'POST',
        path: '/firewalls',
        body: {},
        judgedAs: 'GET',
        effect: 'read',
      } as const
      try {
        await calls.call(request, () => undefined)
      } catch (error) {
        if (!(error instanceof LandfallError)) throw error
        if (error.vendorCode === 'invalid_input') return
        if (error.code === 'forbidden') throw readonlyToken(token, error)
        throw error
      }
      throw new LandfallError('vendor', 'Could not check that the token may write: Hetzner accepted a firewall without a name.', {
        hint: 'Look at the firewalls in the Hetzner Console, and delete one that has no name.',
      })
    },
  }
}

/** A project's token either reads or reads and writes, so a refused write by a token that is good means the former. */
const readonlyToken = (token: Secret, error: LandfallError): LandfallError =>
  new LandfallError('token_readonly', `The token ${token.label} may only read.`, {
    hint: `Make one in Hetzner Console → project → Security → API tokens with permission "Read & Write", and set ${token.label} to it.`,
    ...(error.correlationId === undefined ? {} : { correlationId: error.correlationId }),
    ...(error.status === undefined ? {} : { status: error.status }),
    ...(error.vendorCode === undefined ? {} : { vendorCode: error.vendorCode }),
  })
