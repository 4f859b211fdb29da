/** One exchange with the API of Consul or Nomad on the near end of a tunnel: counted, bounded, reads repeated, writes sent once. */

import { type RetryPolicy, retry } from '../../engine/retry.ts'
import { type ErrorCode, hasCode, isServerFault, LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import type { FormedQuorum } from '../ports/cluster.ts'

export interface ClusterApi {
  readonly vendor: 'Consul' | 'Nomad'
  /** On loopback: the tunnel's near end. */
  readonly baseUrl: string
  /** Absent for what needs none. */
  readonly token?: Secret
  readonly context: ProviderContext
}

export type Exchange = (method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, body?: unknown) => Promise<unknown>

const HEALTH_PATH = '/v1/operator/autopilot/health'

const TIMEOUT_MS = 20_000
const POLICY: RetryPolicy = { maxRetries: 3, baseMs: 300, capMs: 3_000 }
const CODES: Readonly<Record<number, ErrorCode>> = {
  401: 'token_invalid',
  403: 'forbidden',
  404: 'not_found',
  429: 'rate_limited',
}

/** Answers with the JSON, or with the text where it is none. */
export function createExchange({ vendor, baseUrl, token, context }: ClusterApi): Exchange {
  const provider = vendor.toLowerCase()
  const header = vendor === 'Consul' ? 'x-consul-token' : 'x-nomad-token'

  const once = async (method: string, path: string, body: unknown): Promise<unknown> => {
    const writes = method !== 'GET'
    if (writes) await context.beforeWrite({ provider, method, path })
    context.meter.count(provider, writes ? 'write' : 'read')
    const deadline = AbortSignal.timeout(TIMEOUT_MS)
    let response: Response
    let text: string
    try {
      response = await fetch(`${baseUrl}${path}`, {
        method,
        headers: { 'content-type': 'application/json', ...(token ? { [header]: token.reveal() } : {}) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        redirect: 'manual',
        signal: writes ? deadline : AbortSignal.any([deadline, context.signal]),
      })
      text = await response.text()
    } catch {
      // What a fetch error holds is not ours to vouch for: it may carry the request's headers.
      if (!writes && context.signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
      throw new LandfallError(
        deadline.aborted ? 'timeout' : 'network',
        `${vendor} did not answer ${method} ${path.split('?')[0]}${deadline.aborted ? ` within ${TIMEOUT_MS / 1000} s` : ''}.`,
        { hint: 'See how the cluster is: bun scripts/cluster.ts status' },
      )
    }
    if (response.ok) return parse(text)
    // What autopilot has to say of servers of which one is unwell comes with this status.
    if (path === HEALTH_PATH && response.status === 429 && isRow(parse(text))) return parse(text)
    const said = text
      .replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
      .trim()
      .slice(0, 300)
    throw new LandfallError(
      CODES[response.status] ?? 'vendor',
      `${vendor} answered ${method} ${path.split('?')[0]} with status ${response.status}${said ? `: ${said.replace(/\.$/, '')}` : ''}.`,
      { status: response.status },
    )
  }

  return (method, path, body) =>
    method === 'GET'
      ? retry(() => once(method, path, body), {
          clock: context.clock,
          signal: context.signal,
          random: context.random,
          policy: POLICY,
          // Between two leaders the answer is a 500.
          mayRetry: error => hasCode(error, 'network', 'rate_limited') || isServerFault(error),
        })
      : once(method, path, body)
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

// ── reading answers ──

export type Row = Readonly<Record<string, unknown>>
const isRow = (value: unknown): value is Row => typeof value === 'object' && value !== null && !Array.isArray(value)
export const rowOf = (value: unknown): Row => (isRow(value) ? value : {})
export const rowsOf = (value: unknown): readonly Row[] => (Array.isArray(value) ? value.filter(isRow) : [])
export const textOf = (row: Row, name: string): string => (typeof row[name] === 'string' ? row[name] : '')
export const numberOf = (row: Row, name: string): number => (typeof row[name] === 'number' ? row[name] : 0)
export const wordOf = <W extends string>(row: Row, name: string, words: readonly W[], otherwise: W): W =>
  words.find(word => word === row[name]) ?? otherwise

/** Autopilot's word on the servers, the same for both. */
export async function readQuorum(exchange: Exchange, nameOf: (server: Row) => string): Promise<FormedQuorum> {
  const health = rowOf(await exchange('GET', HEALTH_PATH))
  const servers = rowsOf(health.Servers)
  const voting = servers.filter(server => server.Voter === true)
  return {
    state: 'formed',
    voters: voting.filter(server => textOf(server, 'SerfStatus') === 'alive').map(nameOf),
    size: voting.length,
    healthy: health.Healthy === true,
    failed: servers.filter(server => server.Healthy !== true).map(nameOf),
  }
}
