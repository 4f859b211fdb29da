/** The estate as a stranger sees it: names, ports, certificates, pages. Reads only. */

export type PortState = 'open' | 'closed' | 'filtered'

export interface TlsReport {
  readonly state: 'trusted' | 'untrusted' | 'none'
  /** Why it is not trusted, in words. */
  readonly why?: string
  readonly issuer?: string
  readonly names: readonly string[]
  readonly notAfter?: string
}

export interface Page {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** At most the first 64 KiB. */
  readonly body: string
}

export interface DnsAnswer {
  readonly server: string
  readonly status: 'ok' | 'nxdomain' | 'servfail' | 'refused' | 'silent'
  readonly values: readonly string[]
  readonly ttl?: number
}

export interface Outside {
  probePort(address: string, port: number, timeoutMs: number): Promise<PortState>
  /** TLS handshake with `host` as SNI at `address`, checked against the trusted roots. */
  readTls(host: string, address: string, port?: number): Promise<TlsReport>
  /** GET with the name resolved to `address`, as `curl --resolve` does; OPTIONS asks as a browser does before a call. @throws network | timeout */
  fetchPage(
    url: string,
    options?: {
      address?: string
      timeoutMs?: number
      method?: 'GET' | 'OPTIONS'
      /** Further headers; names and values without control characters. */
      headers?: Readonly<Record<string, string>>
    },
  ): Promise<Page>
  /** The zone's nameservers as the parent delegates them, with their addresses. Empty when the zone is not delegated. */
  findNameservers(zone: string): Promise<readonly { readonly name: string; readonly addresses: readonly string[] }[]>
  /** Asks every authoritative server of `zone` directly, without recursion. */
  askAuthoritative(
    zone: string,
    name: string,
    type: 'A' | 'AAAA' | 'CNAME' | 'TXT' | 'CAA' | 'NS' | 'SOA',
  ): Promise<readonly DnsAnswer[]>
  /** Asks recursive resolvers, each with its own cache: public ones and this machine's, or the one that the environment names. */
  askResolvers(name: string, type: 'A' | 'AAAA' | 'CNAME' | 'CAA'): Promise<readonly DnsAnswer[]>
  /** The public addresses that this machine's connections come from. */
  findOwnAddresses(): Promise<{ readonly ipv4?: string; readonly ipv6?: string }>
}
