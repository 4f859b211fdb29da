/**
 * Cloudflare as a DNS provider: zones, records, and what the token may do. Reads are repeated within bounds; a write whose answer was
 * lost is followed by a look at the zone, and only what is still missing is sent.
 */

import { backoffMs } from '../../engine/retry.ts'
import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import type { Dns, DnsRecord, RecordBatch, Zone } from '../ports/dns.ts'
import { BATCH_LIMIT, chunksOf, missingFrom, sizeOf } from './batch.ts'
import { isNameConflict, VENDOR_CODES } from './errors.ts'
import { askedWaitMs, CallFailed, createTransport, outward, POLICY, retryContext } from './transport.ts'
import { fromWireRecord, fromWireZone, toWireBatch } from './wire.ts'

export const CLOUDFLARE_ENDPOINT = 'https://api.cloudflare.com/client/v4'

/** Between the 100 that octoDNS uses and the 5000 that external-dns uses; a smaller page than asked for is followed as it comes. */
const RECORDS_PER_PAGE = 1_000
/** The most that `/zones` gives at once. */
const ZONES_PER_PAGE = 50
/** No zone has more pages than this; an endless list is cut here. */
const MAX_PAGES = 1_000

const RIGHT_ZONE_READ = 'Zone → Zone → Read'

export interface CloudflareOptions {
  readonly token: Secret
  /** CLOUDFLARE_BASE_URL; Cloudflare itself when absent. */
  readonly endpoint?: string
  readonly context: ProviderContext
  /** For one request, its body included. */
  readonly timeoutMs?: number
}

/** A port to one token's zones. Nothing is loaded or sent before the first call. */
export function createCloudflare(options: CloudflareOptions): Dns {
  const { context } = options
  const endpoint = (options.endpoint ?? CLOUDFLARE_ENDPOINT).replace(/\/+$/, '')
  const transport = createTransport({ token: options.token, endpoint, timeoutMs: options.timeoutMs ?? 30_000, context })
  const zoneNames = new Map<string, string>()

  const rightOn = (zoneId: string, right: string): string => `${right} on zone ${zoneNames.get(zoneId) ?? zoneId}`

  const listZones = async (query: { name?: string; per_page: number }): Promise<{ zones: Zone[]; total: number }> => {
    const { result, info } = await transport.read({
      right: RIGHT_ZONE_READ,
      ask: client => client.zones.list(query).asResponse(),
    })
    const zones = arrayOf(result, 'zones').map(wire => fromWireZone(wire) ?? unknownForm('zone'))
    for (const zone of zones) zoneNames.set(zone.id, zone.name)
    return { zones, total: countIn(info) ?? zones.length }
  }

  const findByName = async (name: string): Promise<Zone | undefined> => {
    const { zones } = await listZones({ name, per_page: ZONES_PER_PAGE })
    return preferred(zones.filter(zone => zone.name === name))
  }

  const listOnce = async (zoneId: string): Promise<{ records: readonly DnsRecord[]; total: number }> => {
    const byId = new Map<string, DnsRecord>()
    let total = 0
    for (let page = 1; page <= MAX_PAGES; page++) {
      const { result, info } = await transport.read({
        right: rightOn(zoneId, 'Zone → DNS → Read'),
        ask: client => client.dns.records.list({ zone_id: zoneId, page, per_page: RECORDS_PER_PAGE }).asResponse(),
      })
      const wire = arrayOf(result, 'records')
      for (const each of wire) {
        const record = fromWireRecord(each) ?? unknownForm('record')
        byId.set(record.id, record)
      }
      const counted = countIn(info)
      if (counted === undefined) throw unusable('the list of DNS records does not say how many there are')
      total = counted
      if (byId.size >= total || wire.length === 0) break
    }
    return { records: [...byId.values()], total }
  }

  const listRecords = async (zoneId: string): Promise<readonly DnsRecord[]> => {
    // Records that come and go between two pages move the others; one more pass tells that from a list that is cut short.
    for (let pass = 1; pass <= 2; pass++) {
      const { records, total } = await listOnce(zoneId)
      if (records.length >= total) return records
      context.log(`Cloudflare listed ${records.length} of ${total} DNS records (pass ${pass} of 2).`)
    }
    throw unusable('the list of DNS records ends before its own count')
  }

  const send = (zoneId: string, batch: RecordBatch) =>
    transport.send({
      kind: 'write',
      right: rightOn(zoneId, 'Zone → DNS → Edit'),
      ask: client => client.dns.records.batch(toWireBatch(zoneId, batch)).asResponse(),
    })

  /** What is left of `batch` after a failure: nothing when it did take effect. @throws LandfallError ambiguous, when the zone can't be read */
  const stillMissing = async (zoneId: string, batch: RecordBatch): Promise<RecordBatch> => {
    try {
      return missingFrom(await listRecords(zoneId), batch)
    } catch (error) {
      if (error instanceof LandfallError && error.code === 'cancelled') throw error
      throw new LandfallError(
        'ambiguous',
        'It is not known whether Cloudflare changed the DNS records: its answer was lost and the zone can not be read.',
        {
          hint: 'Run the same command again: it looks first, and continues with what is there.',
          cause: error,
        },
      )
    }
  }

  const applyChunk = async (zoneId: string, chunk: RecordBatch): Promise<void> => {
    let missing = chunk
    for (let attempt = 1; sizeOf(missing) > 0; attempt++) {
      try {
        await send(zoneId, missing)
        return
      } catch (error) {
        if (!(error instanceof CallFailed)) throw error
        const { outcome, vendorCodes } = error.failure
        const last = attempt > POLICY.maxRetries
        if (outcome !== 'fatal' && !last) {
          const waitMs = backoffMs(POLICY, attempt, context.random, askedWaitMs(error))
          retryContext(context).onWait({ attempt, waitMs, error })
          await context.clock.sleep(waitMs, context.signal)
        }
        if (outcome === 'refused') {
          if (last) throw outward(error)
          continue
        }
        // A batch that is refused over what exists or is gone may be one that our lost first try has already done.
        const settled = vendorCodes.some(code => isNameConflict(code) || code === VENDOR_CODES.recordGone)
        if (outcome === 'fatal' && !settled) throw outward(error)
        const left = await stillMissing(zoneId, missing)
        if (last || (outcome === 'fatal' && sizeOf(left) === sizeOf(missing))) {
          if (sizeOf(left) > 0) throw outward(error)
        }
        missing = left
      }
    }
  }

  return {
    async findZone(domain) {
      const name = domain.toLowerCase().replace(/\.$/, '')
      const [itself, ...parents] = suffixesOf(name)
      if (itself === undefined) return undefined
      const exact = await findByName(itself)
      if (exact !== undefined) return exact
      if (parents.length > 2) {
        // One page of all zones answers for every parent at once, unless the token sees more than a page.
        const { zones, total } = await listZones({ per_page: ZONES_PER_PAGE })
        const found = parents
          .map(parent => preferred(zones.filter(zone => zone.name === parent)))
          .find(zone => zone !== undefined)
        if (found !== undefined || total <= zones.length) return found
      }
      for (const parent of parents) {
        const found = await findByName(parent)
        if (found !== undefined) return found
      }
      return undefined
    },

    listRecords,

    async changeRecords(zoneId, batch) {
      const names = new Map<string, string>()
      if (sizeOf(batch) > BATCH_LIMIT && batch.deletes.length + batch.patches.length > 0)
        for (const record of await listRecords(zoneId)) names.set(record.id, record.name)
      for (const chunk of chunksOf(batch, id => names.get(id))) await applyChunk(zoneId, chunk)
    },

    async probeWrite(zoneId) {
      try {
        await transport.read({
          kind: 'probe',
          right: rightOn(zoneId, 'Zone → DNS → Edit'),
          ask: client => client.dns.records.batch({ zone_id: zoneId, deletes: [], patches: [], posts: [] }).asResponse(),
        })
      } catch (error) {
        // Rights are judged before the content: to be told that an empty batch is no batch, one must be allowed to send batches.
        if (error instanceof LandfallError && error.code === 'vendor' && error.status === 400) return
        throw error
      }
    },

    async verifyToken() {
      try {
        const { result } = await transport.read({
          right: RIGHT_ZONE_READ,
          ask: client => client.user.tokens.verify().asResponse(),
        })
        const status = typeof result === 'object' && result !== null && 'status' in result ? result.status : undefined
        if (status === 'active') return
        throw new LandfallError(
          'token_invalid',
          `The Cloudflare token is not active, but ${status === 'expired' ? 'expired' : 'disabled'}.`,
          {
            hint: 'Renew it at https://dash.cloudflare.com/profile/api-tokens.',
          },
        )
      } catch (error) {
        // A token of an account, not of a user, is unknown at this address, yet works: a list of zones tells.
        if (!(error instanceof LandfallError) || error.status === undefined || error.status >= 500) throw error
        await listZones({ per_page: 5 })
      }
    },
  }
}

/** a.b.example.com → itself, b.example.com, example.com. */
const suffixesOf = (name: string): string[] => {
  const labels = name.split('.')
  return labels.slice(0, -1).map((_, index) => labels.slice(index).join('.'))
}

/** The same name can stand in several accounts; at most one of them is active. @throws LandfallError refused, when none is and several exist */
function preferred(zones: readonly Zone[]): Zone | undefined {
  const active = zones.filter(zone => zone.status === 'active')
  const candidates = active.length > 0 ? active : zones
  if (candidates.length > 1)
    throw new LandfallError(
      'refused',
      `The token sees ${candidates.length} zones named ${candidates[0]?.name ?? ''} and none tells which one is meant.`,
      {
        hint: 'Limit the token to one zone at https://dash.cloudflare.com/profile/api-tokens.',
      },
    )
  return candidates[0]
}

const countIn = (info: Readonly<Record<string, unknown>>): number | undefined =>
  typeof info.total_count === 'number' ? info.total_count : undefined

const unusable = (what: string): LandfallError =>
  new LandfallError('network', `Cloudflare's answer is unusable: ${what}.`, { hint: 'Run the same command again.' })

const unknownForm = (what: string): never => {
  throw unusable(`it holds a ${what} of unknown form`)
}

const arrayOf = (value: unknown, what: string): readonly unknown[] => {
  if (!Array.isArray(value)) throw unusable(`it holds no list of ${what}`)
  return value
}
