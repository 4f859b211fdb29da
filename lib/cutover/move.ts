/**
 * One name's move from its old host to a server of ours, as a record that outlives every crash: what stood there before, where it goes, and
 * how far it has come. It is what `rollback` needs, and all that it needs. Losing a mark costs a wait, never a wrong change.
 */

import { LandfallError } from '../errors.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { DnsRecord, RecordType } from '../providers/ports/dns.ts'
import { goneAtMs, longestTtlS } from './ttl.ts'

export interface Destination {
  readonly server: string
  readonly serverId: string
  readonly ipv4?: string
  readonly ipv6?: string
}

/** When each stage was known to be over, by this machine's clock. */
export interface Marks {
  readonly loweredAtMs?: number
  readonly drainedAtMs?: number
  readonly switchedAtMs?: number
  /** Old answers are gone and everybody sees the new place. */
  readonly settledAtMs?: number
  readonly rolledBackAtMs?: number
  /** The server that it leads to was deleted with its estate. */
  readonly deletedAtMs?: number
  /** Since when nobody has been seen to reach the old host, and when that was last looked at. */
  readonly quietSinceMs?: number
  readonly quietSeenAtMs?: number
}

export interface Move {
  readonly version: 1
  readonly estate: string
  readonly zone: string
  readonly zoneId: string
  readonly name: string
  readonly takenAtMs: number
  readonly to: Destination
  /** Fetched to see that the new place answers. */
  readonly path: string
  /** Whether Cloudflare's proxy stood before the name, which a move does not change. */
  readonly proxied: boolean
  /** The name's address records (A, AAAA, CNAME) as they stood, each with the vendor's whole object. */
  readonly before: readonly DnsRecord[]
  /** Addresses that the old records led to, aliases followed. */
  readonly oldAddresses: readonly string[]
  /** How long resolvers may keep an answer from before the TTL was last lowered, in seconds. */
  readonly oldTtlS: number
  readonly switchTtlS: number
  readonly finalTtlS: number
  readonly marks: Marks
}

const ADDRESS_TYPES = ['A', 'AAAA', 'CNAME'] as const satisfies readonly RecordType[]

/** The records that decide where a name's visitors go. */
export const isAddressRecord = (record: Pick<DnsRecord, 'type'>): boolean => ADDRESS_TYPES.some(type => type === record.type)

export const addressRecordsOf = (records: readonly DnsRecord[], name: string): DnsRecord[] =>
  records.filter(record => record.name === name && isAddressRecord(record))

export const isOpen = (move: Move | undefined): move is Move =>
  move !== undefined && move.marks.rolledBackAtMs === undefined && move.marks.deletedAtMs === undefined

/** Where a move leads, seen from a server. `remade`: to the one before it, whose addresses it has, so that no visitor goes elsewhere. */
export type Aim = 'here' | 'remade' | 'elsewhere'

type Place = Pick<Server, 'id' | 'name' | 'ipv4' | 'ipv6'>

export function aimOf({ to }: Pick<Move, 'to'>, server: Place): Aim {
  const isAt = (family: 'ipv4' | 'ipv6') => to[family] === undefined || to[family] === server[family]
  if (to.server !== server.name || !isAt('ipv4') || !isAt('ipv6')) return 'elsewhere'
  return to.serverId === server.id ? 'here' : 'remade'
}

/** Whether visitors were sent to where the server is. */
export const hasArrived = (move: Move | undefined, server: Place | undefined): boolean =>
  isOpen(move) && move.marks.switchedAtMs !== undefined && server !== undefined && aimOf(move, server) !== 'elsewhere'

/** The move as it is kept before the TTL of `standing` is lowered: what was waited out before says nothing of what is served now. */
export function beforeLowering(move: Move, standing: readonly Pick<DnsRecord, 'ttl' | 'proxied'>[]): Move {
  const { loweredAtMs: _, drainedAtMs, ...marks } = move.marks
  const ttlS = longestTtlS(standing, 0)
  return { ...move, oldTtlS: drainedAtMs === undefined ? Math.max(move.oldTtlS, ttlS) : ttlS, marks }
}

/** Whether no resolver can have an answer any more from before the TTL was lowered. */
export function isDrained({ proxied, before, oldTtlS, switchTtlS, marks }: Move): boolean {
  const { loweredAtMs, drainedAtMs } = marks
  if (proxied || oldTtlS <= switchTtlS || (before.length === 0 && loweredAtMs === undefined)) return true
  return drainedAtMs !== undefined && loweredAtMs !== undefined && drainedAtMs >= goneAtMs(loweredAtMs, oldTtlS)
}

/** The file's text; ends in a line break. */
export const renderMove = (move: Move): string => `${JSON.stringify(move, null, 2)}\n`

/** @throws LandfallError config, when the text is no move of this version */
export function parseMove(text: string, source: string): Move {
  const broken = (what: string) =>
    new LandfallError('config', `${source} can not be used: ${what}.`, {
      hint: 'It holds the records from before the move. Restore it from a backup, or set the records by hand at Cloudflare.',
    })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new LandfallError('config', `${source} is no JSON.`, { cause: error })
  }
  if (!isGroup(value)) throw broken('it holds no object')
  if (value.version !== 1) throw broken('it is of another version')
  const {
    estate,
    zone,
    zoneId,
    name,
    takenAtMs,
    to,
    path,
    proxied,
    before,
    oldAddresses,
    oldTtlS,
    switchTtlS,
    finalTtlS,
    marks,
  } = value
  const texts = { estate, zone, zoneId, name, path }
  for (const [key, each] of Object.entries(texts)) if (typeof each !== 'string') throw broken(`"${key}" is no text`)
  const numbers = { takenAtMs, oldTtlS, switchTtlS, finalTtlS }
  for (const [key, each] of Object.entries(numbers)) if (typeof each !== 'number') throw broken(`"${key}" is no number`)
  if (!isGroup(to) || typeof to.server !== 'string' || typeof to.serverId !== 'string') throw broken('"to" names no server')
  if (!Array.isArray(before) || !before.every(isRecord)) throw broken('"before" holds something that is no record')
  if (before.some(record => record.name !== name)) throw broken('"before" holds a record of another name')
  if (!Array.isArray(oldAddresses) || !isGroup(marks) || typeof proxied !== 'boolean') throw broken('it is not whole')
  return value as Record<string, unknown> & Move
}

const isGroup = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isRecord = (value: unknown): value is DnsRecord =>
  isGroup(value) &&
  ['id', 'name', 'type', 'content', 'comment'].every(key => typeof value[key] === 'string') &&
  typeof value.ttl === 'number' &&
  typeof value.proxied === 'boolean' &&
  isGroup(value.raw)
