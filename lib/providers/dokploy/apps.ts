/** One panel's applications and what belongs to them, behind our port. The parts lie beside it, by noun. */

import type { Secret } from '../../secret.ts'
import type { DokployApps } from '../ports/dokploy-apps.ts'
import { deployCalls } from './apps-deploy.ts'
import { operationCalls } from './apps-operations.ts'
import { serviceCalls } from './apps-services.ts'
import { createClient, type DokployContext, type FetchLike } from './client.ts'
import { createRequests } from './requests.ts'

export interface DokployAppsOptions {
  /** A tunnel's loopback end, or https. Without a trailing path. */
  readonly baseUrl: string
  readonly apiKey: Secret
  readonly context: DokployContext
  readonly fetch?: FetchLike
  /** How often a queued deployment is asked for. */
  readonly pollMs?: number
}

/** Nothing is sent before the first call. @throws LandfallError refused, when `baseUrl` would carry the key in clear across the network */
export function createDokployApps(options: DokployAppsOptions): DokployApps {
  const { context, apiKey } = options
  const client = createClient(options.baseUrl, context, options.fetch ?? ((url, init) => fetch(url, init)))
  const requests = createRequests(client, context, apiKey)
  return {
    ...serviceCalls(requests),
    ...deployCalls(requests, context, options.pollMs ?? 1_000),
    ...operationCalls(requests),
  }
}
