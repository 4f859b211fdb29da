/**
 * One request, one answer: no retry, no meaning. `hcloud-js`'s client carries the token, the base address and the user agent; the
 * bytes go through fetch, which can be aborted and does not follow redirects with our token.
 */

import type { AdapterConfig, AdapterResponse } from 'hcloud-js/lib/client.js'
import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'

export interface TransportRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Below the endpoint; starts with one slash. */
  readonly path: string
  /** Repeated keys stay repeated: the API does not know `key[]`. */
  readonly query?: readonly (readonly [name: string, value: string])[]
  /** Sent as JSON. */
  readonly body?: unknown
  /** Gives up waiting; a request that was sent may still have its effect. */
  readonly signal?: AbortSignal
  /** Awaited as the last thing before the request leaves; when it rejects, nothing was sent. */
  readonly beforeSend?: () => Promise<void>
}

export interface TransportResponse {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

export interface Transport {
  /**
   * @throws LandfallError `network`, with one of `TransportFailure` as its vendor code, or `cancelled`. Never with a cause: the
   * errors of HTTP clients hold the request, and with it the token.
   */
  send(request: TransportRequest): Promise<TransportResponse>
}

/** `unreachable`: certainly not sent. `untrusted`: the other side's certificate is not good; not sent. `no_answer`: may have arrived. */
export type TransportFailure = 'unreachable' | 'untrusted' | 'no_answer'

export interface TransportOptions {
  readonly token: Secret
  /** For example `https://api.hetzner.cloud/v1`. */
  readonly endpoint: string
  /** From the start of the request to the last byte of the answer. */
  readonly timeoutMs: number
}

/** Requests through `hcloud-js`, whose loading starts now and is awaited by the first request only. */
export function hcloudTransport({ token, endpoint, timeoutMs }: TransportOptions): Transport {
  const baseURL = checkedEndpoint(endpoint)
  const loading = import('hcloud-js/lib/client.js').then(
    ({ default: Client }) => new Client({ token: token.reveal(), baseURL, timeout: timeoutMs }),
  )
  // The first request reports a failed load; until then it must not count as an unhandled rejection.
  loading.catch(() => undefined)
  return {
    async send(request) {
      const url = targetOf(request)
      const client = await loading
      let answer: AdapterResponse | undefined
      try {
        await client.axios.request({
          url,
          method: request.method,
          ...(request.body === undefined ? {} : { data: request.body }),
          ...(request.signal === undefined ? {} : { signal: request.signal }),
          responseType: 'text',
          transformRequest: [],
          transformResponse: [],
          validateStatus: () => true,
          adapter: async config => {
            answer = await fetchAdapter(config, timeoutMs, request.beforeSend)
            // The library would look at each header several times, for nobody.
            return { ...answer, headers: {} }
          },
        })
      } catch (error) {
        if (error instanceof LandfallError) throw error
        // Anything else comes from axios and holds its config, so nothing of it goes further.
        throw request.signal?.aborted ? cancelled() : failure('no_answer', 'the HTTP client gave up')
      }
      if (!answer) throw new Error('bug: the HTTP client answered without its adapter')
      return { status: answer.status, headers: answer.headers, text: answer.data }
    },
  }
}

/**
 * The requests themselves. With an `Authorization` header among `headers` it can stand in for `hcloudTransport`: the swap is the one
 * line of `hetzner.ts` that names the transport.
 */
export function fetchTransport(
  options: Omit<TransportOptions, 'token'> & { readonly headers: Record<string, string> },
): Transport {
  return {
    async send(request) {
      const { signal, body } = request
      const url = `${options.endpoint}${targetOf(request)}`
      await request.beforeSend?.()
      const deadline = AbortSignal.timeout(options.timeoutMs)
      try {
        const response = await fetch(url, {
          method: request.method,
          headers: { ...options.headers, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          redirect: 'manual',
          signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
        })
        return { status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() }
      } catch (error) {
        if (signal?.aborted) throw cancelled()
        if (deadline.aborted) throw failure('no_answer', `there was no answer within ${options.timeoutMs / 1000} s`)
        throw failureOf(error)
      }
    },
  }
}

async function fetchAdapter(
  config: AdapterConfig,
  timeoutMs: number,
  beforeSend: TransportRequest['beforeSend'],
): Promise<AdapterResponse> {
  const { Authorization = '', 'User-Agent': userAgent = '' } = config.headers.toJSON()
  const headers = { Authorization: String(Authorization), 'User-Agent': String(userAgent) }
  const response = await fetchTransport({ endpoint: config.baseURL, headers, timeoutMs }).send({
    method: METHODS[config.method],
    path: config.url,
    ...(config.data === undefined ? {} : { body: config.data }),
    ...(config.signal === undefined ? {} : { signal: config.signal }),
    ...(beforeSend === undefined ? {} : { beforeSend }),
  })
  return { data: response.text, status: response.status, statusText: '', headers: { ...response.headers }, config }
}

/** axios hands methods on in lower case. */
const METHODS = { get: 'GET', post: 'POST', put: 'PUT', delete: 'DELETE' } as const satisfies Record<
  string,
  TransportRequest['method']
>

/** A name that is not in here may have reached the vendor. */
const UNSENT = {
  ECONNREFUSED: ['unreachable', 'the connection was refused'],
  ENOTFOUND: ['unreachable', 'its name could not be resolved'],
  EAI_AGAIN: ['unreachable', 'its name could not be resolved'],
  EHOSTUNREACH: ['unreachable', 'there is no route to it'],
  ENETUNREACH: ['unreachable', 'there is no route to it'],
} as const satisfies Record<string, readonly [TransportFailure, string]>

function failureOf(error: unknown): LandfallError {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
  const unsent = Object.entries(UNSENT).find(([name]) => name === code)?.[1]
  if (unsent) return failure(unsent[0], unsent[1])
  if (/CERT|SIGNED|ISSUER|ALTNAME/.test(code)) return failure('untrusted', `its certificate cannot be trusted (${code})`)
  return failure('no_answer', 'the connection was closed before the answer was complete')
}

const failure = (kind: TransportFailure, cause: string) => new LandfallError('network', cause, { vendorCode: kind })
const cancelled = () => new LandfallError('cancelled', 'Interrupted.')

function checkedEndpoint(endpoint: string): string {
  if (!/^https?:\/\/[^\s/?#]+[^\s?#]*$/.test(endpoint) || !URL.canParse(endpoint)) {
    throw new LandfallError('config', 'The address of the Hetzner API is not an http(s) URL.', {
      hint: 'Unset HCLOUD_ENDPOINT, or set it to something like https://api.hetzner.cloud/v1.',
    })
  }
  return endpoint.replace(/\/+$/, '')
}

function targetOf(request: TransportRequest): string {
  // axios would follow an absolute address, with our token.
  if (!request.path.startsWith('/') || request.path.startsWith('//')) throw new TypeError(`not a path: ${request.path}`)
  const query = new URLSearchParams((request.query ?? []).map(([name, value]): [string, string] => [name, value])).toString()
  return query === '' ? request.path : `${request.path}?${query}`
}
