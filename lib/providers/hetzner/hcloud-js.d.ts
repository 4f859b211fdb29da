/**
 * `hcloud-js` ships no types. Declared here is the little of it that Landfall uses: its client as a transport. Its resource
 * classes stay undeclared on purpose, so that using one is a type error (they throw on today's servers after the create was sent), and
 * patches/ takes them out of the client, because seventy files are a quarter of what a look loads.
 */
declare module 'hcloud-js/lib/client.js' {
  export interface AdapterConfig {
    readonly url: string
    readonly baseURL: string
    readonly method: 'get' | 'post' | 'put' | 'delete'
    readonly data?: unknown
    readonly headers: { toJSON(): Record<string, unknown> }
    readonly signal?: AbortSignal
  }

  export interface AdapterResponse {
    readonly data: string
    readonly status: number
    readonly statusText: string
    readonly headers: Record<string, string>
    readonly config: AdapterConfig
  }

  export interface ClientRequest {
    readonly url: string
    readonly method: string
    readonly data?: unknown
    readonly signal?: AbortSignal
    readonly responseType: 'text'
    readonly transformRequest: readonly []
    readonly transformResponse: readonly []
    readonly validateStatus: () => boolean
    readonly adapter: (config: AdapterConfig) => Promise<AdapterResponse>
  }

  export default class Client {
    constructor(options: { token: string; baseURL: string; timeout: number })
    readonly axios: {
      request(config: ClientRequest): Promise<AdapterResponse>
    }
  }
}
