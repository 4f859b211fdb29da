/** DigitalOcean behind our own words. `dots-wrapper` carries the requests; retry, paging, pacing and labels are here. */

import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import type { Cloud, CloudLocks } from '../ports/cloud.ts'
import { createBelongings } from './belongings.ts'
import { createCatalog, type ToldPrices } from './catalog.ts'
import { createClient } from './client.ts'
import { createDroplets } from './droplets.ts'
import { createFirewalls } from './firewalls.ts'
import { createLocks } from './locks.ts'
import { createShared } from './shared.ts'

export interface DigitalOcean extends Cloud {
  readonly locks: CloudLocks
  /** @throws LandfallError token_invalid | forbidden | network */
  verifyToken(): Promise<void>
}

const ENDPOINT = 'https://api.digitalocean.com/v2'
const TIMEOUT_MS = 30_000

export interface DigitalOceanOptions {
  readonly token: Secret
  /** With the version, for example `https://api.digitalocean.com/v2`. */
  readonly endpoint?: string
  readonly context: ProviderContext
  readonly prices: ToldPrices
  /** For each request. */
  readonly timeoutMs?: number
}

/** Every request of it counts as `digitalocean` in the meter. The library is loaded with the first of them. */
export function createDigitalOcean(options: DigitalOceanOptions): DigitalOcean {
  const { token, context, prices, endpoint = ENDPOINT, timeoutMs = TIMEOUT_MS } = options
  const client = createClient({ token, context, endpoint: endpoint.replace(/\/+$/, ''), timeoutMs })
  const shared = createShared(client)
  return {
    vendor: 'digitalocean',
    ...createCatalog(client, prices),
    ...createBelongings(client),
    ...createFirewalls(client, shared),
    ...createDroplets(client, shared),
    locks: createLocks(client, shared),

    // An estate there has no cluster, which is what Landfall puts balancers in front of.
    listLoadBalancers: async () => [],
    createLoadBalancer: async () => {
      throw new LandfallError('refused', 'Load balancers of DigitalOcean are not used by Landfall.')
    },
    setLoadBalancerService: async () => {},
    deleteLoadBalancer: async () => {},
    listIdleTags: () => shared.idleTags(),
    deleteIdleTags: names => shared.dropTags(names),

    async verifyToken() {
      const request = { what: 'check the token', method: 'GET', path: '/account' } as const
      await client.call(
        request,
        dots => dots.account.getAccount(),
        () => undefined,
      )
    },

    async probeWrite() {
      // Rights are checked before the input, and a firewall without a name and rules is no valid input: nothing can come into being.
      const what = 'check that the token may write'
      const request = { what, method: 'POST', path: '/firewalls', effect: 'read' } as const
      const nothing = { name: '', inbound_rules: [], outbound_rules: [], droplet_ids: [], tags: [] }
      try {
        await client.call(
          request,
          dots => dots.firewall.createFirewall(nothing),
          () => undefined,
        )
      } catch (error) {
        if (!(error instanceof LandfallError)) throw error
        if (error.status === 400 || error.status === 422) return
        if (error.code !== 'forbidden') throw error
        throw new LandfallError('token_readonly', `The token ${token.label} may only read.`, {
          hint: `Make one at cloud.digitalocean.com → API → Tokens with full access, and set ${token.label} to it.`,
          ...(error.correlationId === undefined ? {} : { correlationId: error.correlationId }),
          status: 403,
        })
      }
      throw new LandfallError(
        'vendor',
        'Could not check that the token may write: DigitalOcean accepted a firewall without a name.',
      )
    },
  }
}
