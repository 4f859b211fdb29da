/**
 * The estate's lock: a firewall on no server, because firewalls are what this vendor makes exclusive by name (a second one of a name
 * is refused with 409 "duplicate name"; tags, droplets and volumes in other regions may share names). Who holds it is written into a
 * rule's addresses, in the range kept for documentation: the one field that is made, replaced and read in a single request.
 */

import { hasCode, LandfallError } from '../../errors.ts'
import type { CloudLocks, LockHolder } from '../ports/cloud.ts'
import { type Client, objectIn } from './client.ts'
import { cleanText } from './failure.ts'
import { ALLOW_ALL_OUT } from './firewalls.ts'
import type { Shared, WireFirewall } from './shared.ts'

const PREFIX = 'landfall-lock-'
/** Longer user names and commands say nothing more. */
const LONGEST_WORD = 80
/** Of the 16 bytes of an address 4 are the documentation prefix and one is the place in the text. */
const BYTES_PER_ADDRESS = 11
const DOCUMENTATION = '2001:db8:'

export const isLock = ({ name }: Pick<WireFirewall, 'name'>): boolean => (name ?? '').startsWith(PREFIX)

/** A text of at most 2805 bytes as addresses, whose order does not matter. Pure. */
export function addressesFromText(text: string): string[] {
  const bytes = Buffer.from(text)
  const count = Math.ceil(bytes.length / BYTES_PER_ADDRESS)
  if (count > 255) throw new Error('bug: the text is too long for a lock')
  return Array.from({ length: count }, (_, index) => {
    const part = Buffer.alloc(BYTES_PER_ADDRESS)
    bytes.copy(part, 0, index * BYTES_PER_ADDRESS, (index + 1) * BYTES_PER_ADDRESS)
    const hex = Buffer.concat([Buffer.from([index + 1]), part]).toString('hex')
    return `${DOCUMENTATION}${(hex.match(/.{4}/g) ?? []).map(group => group.replace(/^0{1,3}/, '')).join(':')}`
  })
}

/** The text behind the addresses, in any order and any spelling of IPv6; undefined when it is none of ours. Pure. */
export function textFromAddresses(addresses: readonly string[]): string | undefined {
  const parts = addresses.flatMap(address => {
    const groups = expanded(address.replace(/\/128$/, ''))
    if (groups?.[0] !== '2001' || groups[1] !== '0db8') return []
    const bytes = Buffer.from(groups.slice(2).join(''), 'hex')
    return [{ at: bytes[0] ?? 0, bytes: bytes.subarray(1) }]
  })
  parts.sort((a, b) => a.at - b.at)
  if (parts.length === 0 || parts.some((part, index) => part.at !== index + 1)) return undefined
  return Buffer.concat(parts.map(part => part.bytes))
    .toString('utf8')
    .replace(/\0+$/, '')
}

/** The eight groups of an IPv6 address, four digits each; undefined for anything else. */
function expanded(address: string): string[] | undefined {
  const [head = '', tail, ...more] = address.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const missing = 8 - left.length - right.length
  if (more.length > 0 || (tail === undefined ? missing !== 0 : missing < 1)) return undefined
  const groups = [...left, ...Array<string>(tail === undefined ? 0 : missing).fill('0'), ...right]
  return groups.every(group => /^[0-9a-f]{1,4}$/i.test(group))
    ? groups.map(group => group.toLowerCase().padStart(4, '0'))
    : undefined
}

export function createLocks(client: Client, shared: Shared): CloudLocks {
  const quiet = { guarded: false } as const
  const bodyOf = (name: string, holder: LockHolder) => ({
    name,
    droplet_ids: [],
    tags: [],
    inbound_rules: [{ protocol: 'tcp' as const, ports: '9', sources: { addresses: addressesFromText(holderToText(holder)) } }],
    outbound_rules: ALLOW_ALL_OUT,
  })
  const nameOf = (estate: string): string => `${PREFIX}${estate}`
  const read = (firewall: WireFirewall): LockHolder | undefined =>
    holderFromText(textFromAddresses((firewall.inbound_rules ?? []).flatMap(rule => rule.sources?.addresses ?? [])) ?? '', text =>
      cleanText(text, client.token),
    )
  const find = async (estate: string): Promise<WireFirewall | undefined> =>
    (await shared.listFirewalls(false)).find(each => each.name === nameOf(estate))
  const readOne = async (id: string) => {
    const what = 'keep the lock of the estate'
    return client.call(
      { what, method: 'GET', path: `/firewalls/${id}`, ...quiet },
      dots => dots.firewall.getFirewall({ firewall_id: id }),
      data => objectIn<WireFirewall>(data, 'firewall', what),
    )
  }

  return {
    async create(holder) {
      const what = 'create the lock of the estate'
      const made = await client.create(
        { what, path: '/firewalls', ...quiet },
        dots => dots.firewall.createFirewall(bodyOf(nameOf(holder.estate), { ...holder, beatAtMs: 0 })),
        data => objectIn<WireFirewall>(data, 'firewall', what),
        () => find(holder.estate),
        error => error.code === 'name_taken',
      )
      const now = read(made)
      if (now?.runId === holder.runId) return { id: made.id }
      throw lockedBy(
        now
          ? `${now.who} holds the estate ${holder.estate} since ${made.created_at ?? 'a while'} (${now.command}, pid ${now.pid}).`
          : `A firewall called ${made.name} stands where the lock of ${holder.estate} belongs.`,
      )
    },

    async find(estate) {
      const found = await find(estate)
      const holder = found && read(found)
      if (found === undefined || holder === undefined) return undefined
      // The list has no date of its own; one more request tells the vendor's time.
      const { dateMs } = await readOne(found.id)
      const sinceMs = Date.parse(found.created_at ?? '')
      const beatAtMs = Math.max(holder.beatAtMs, Number.isNaN(sinceMs) ? 0 : sinceMs)
      return { id: found.id, holder: { ...holder, beatAtMs }, nowMs: dateMs, ...(Number.isNaN(sinceMs) ? {} : { sinceMs }) }
    },

    seen: () => undefined,

    async beat(id, runId) {
      try {
        const { value, dateMs } = await readOne(id)
        const now = read(value)
        if (now?.runId !== runId) throw lockedBy(`The lock of the estate now belongs to ${now?.who ?? 'another run'}.`)
        const body = { id, ...bodyOf(value.name ?? '', { ...now, beatAtMs: dateMs }) }
        const request = { what: 'keep the lock of the estate', method: 'PUT', path: `/firewalls/${id}`, ...quiet } as const
        await client.call(
          request,
          dots => dots.firewall.updateFirewall(body),
          () => undefined,
        )
      } catch (error) {
        if (hasCode(error, 'not_found')) throw lockedBy('The lock of the estate is gone: another run has broken it.')
        throw error
      }
    },

    delete: id =>
      client.remove({ what: 'release the lock of the estate', path: `/firewalls/${id}`, ...quiet }, dots =>
        dots.firewall.deleteFirewall({ firewall_id: id }),
      ),
  }
}

const lockedBy = (sentence: string): LandfallError =>
  new LandfallError('locked', sentence, {
    hint: 'Wait until that run has ended, then run the same command again: it looks first.',
  })

const holderToText = (holder: LockHolder): string =>
  JSON.stringify({
    ...holder,
    who: holder.who.slice(0, LONGEST_WORD),
    command: holder.command.slice(0, LONGEST_WORD),
  } satisfies LockHolder)

function holderFromText(text: string, clean: (text: string) => string): LockHolder | undefined {
  let fields: unknown
  try {
    fields = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof fields !== 'object' || fields === null) return undefined
  const { estate, runId, who, hostId, pid, command, beatAtMs } = Object.fromEntries(Object.entries(fields))
  if (typeof estate !== 'string' || typeof runId !== 'string' || typeof hostId !== 'string') return undefined
  return {
    estate: clean(estate),
    runId,
    who: typeof who === 'string' ? clean(who) : 'somebody',
    hostId,
    pid: typeof pid === 'number' ? pid : 0,
    command: typeof command === 'string' ? clean(command) : 'an unknown command',
    beatAtMs: typeof beatAtMs === 'number' && Number.isFinite(beatAtMs) ? beatAtMs : 0,
  }
}
