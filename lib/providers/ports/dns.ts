/** Authoritative DNS, in our words. A record without our mark is somebody else's. */

export interface Zone {
  readonly id: string
  readonly name: string
  /** `pending`: the registrar does not point here yet. */
  readonly status: 'active' | 'pending' | 'moved' | 'paused'
  readonly nameservers: readonly string[]
}

export type RecordType = 'A' | 'AAAA' | 'CNAME' | 'TXT' | 'CAA' | 'MX' | 'NS' | 'SRV' | 'HTTPS' | 'SVCB' | 'PTR' | 'OTHER'

export interface DnsRecord {
  readonly id: string
  /** Full name, lower case, without a trailing dot. */
  readonly name: string
  readonly type: RecordType
  readonly content: string
  /** Seconds; 1 means "automatic" (always so for proxied records). */
  readonly ttl: number
  readonly proxied: boolean
  /** Free text; holds our mark. */
  readonly comment: string
  /** The vendor's whole object, for byte-exact restore. */
  readonly raw: Readonly<Record<string, unknown>>
}

export interface WantedRecord {
  readonly name: string
  readonly type: 'A' | 'AAAA' | 'CNAME' | 'TXT' | 'CAA'
  readonly content: string
  readonly ttl: number
  readonly proxied: boolean
  readonly comment: string
}

export interface RecordBatch {
  readonly deletes: readonly { readonly id: string }[]
  readonly patches: readonly { readonly id: string; readonly record: Partial<WantedRecord> }[]
  readonly posts: readonly WantedRecord[]
  /** Made like `posts`, from the settable fields of a vendor's own object: a record that is put back byte for byte. */
  readonly restores?: readonly Readonly<Record<string, unknown>>[]
}

export interface Dns {
  /** The zone that holds `domain`, or undefined when this token sees none. */
  findZone(domain: string): Promise<Zone | undefined>
  /** Every record of the zone, all pages; a short or empty page is never taken for the end. */
  listRecords(zoneId: string): Promise<readonly DnsRecord[]>
  /**
   * Applies one batch as one transaction (chunked at the vendor's limit, each chunk in the order deletes → patches → posts).
   * After an ambiguous answer it reads back and sends only what is missing.
   */
  changeRecords(zoneId: string, batch: RecordBatch): Promise<void>
  /** Asks, by a request that cannot have an effect, whether the token may edit this zone. @throws token_invalid | forbidden */
  probeWrite(zoneId: string): Promise<void>
  /** @throws LandfallError token_invalid */
  verifyToken(): Promise<void>
}
