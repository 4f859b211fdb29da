/**
 * Who answers for which name in the simulated internet: delegated zones, zones that the registrar still points elsewhere, the name servers'
 * own addresses, and names of other people (a former host, for example). What a resolver finds when it starts at the root.
 */

import type { Answer, Question, RecordType } from 'dns-packet'
import { type Answers, answerZone, type DnsRecordRow, type DnsZone, isWithin } from './dns-zone.ts'

export interface DelegatedZone extends DnsZone {
  /** `elsewhere`: the registrar points to `originalNameservers`, and nobody sees these records. */
  readonly delegation: 'here' | 'elsewhere'
  readonly originalNameservers: readonly string[]
}

/** The addresses of the authority, by name server name in the order of a zone's list. */
export const NAMESERVER_ADDRESSES = [
  { ipv4: '198.51.100.53', ipv6: '2001:db8:ffff::53' },
  { ipv4: '198.51.100.54', ipv6: '2001:db8:ffff::54' },
] as const
/** The registrar's own name servers; nothing in the sandbox answers there. */
const OTHER_ADDRESSES = ['203.0.113.253', '203.0.113.254'] as const

const MAX_CHASE = 8
const ROOT: DnsZone = { name: '', nameservers: ['a.root-servers.example'], serial: 1, records: [] }

/** Whether `address` is a name server's, on which the authority answers. */
export const isNameserver = (address: string): boolean =>
  NAMESERVER_ADDRESSES.some(one => one.ipv4 === address || one.ipv6 === address)

/** What the world's authorities answer, aliases followed across zones. */
export const askWorld = (zones: readonly DelegatedZone[], outside: readonly DnsRecordRow[], question: Question): Answers => {
  const answers: Answer[] = []
  let name = question.name.toLowerCase().replace(/\.$/, '')
  for (let hop = 0; hop < MAX_CHASE; hop++) {
    const part = askOne(zones, outside, name, question.type)
    answers.push(...part.answers)
    const alias = part.answers.at(-1)
    const next = question.type !== 'CNAME' && alias?.type === 'CNAME' ? alias.data.toLowerCase() : undefined
    if (next === undefined || part.status !== 'ok') return { ...part, answers }
    name = next
  }
  return { status: 'servfail', authoritative: false, answers: [], authorities: [] }
}

const askOne = (zones: readonly DelegatedZone[], outside: readonly DnsRecordRow[], name: string, type: RecordType): Answers => {
  const zone = zones.filter(one => isWithin(one, name)).sort((a, b) => b.name.length - a.name.length)[0]
  if (zone?.delegation === 'here') return answerZone(zone, name, type)
  if (zone && zone.originalNameservers.length > 0)
    return answerZone({ name: zone.name, nameservers: zone.originalNameservers, serial: 1, records: [] }, name, type)
  const address = zone ? [] : nameserverAddress(zones, name)
  return answerZone({ ...ROOT, records: [...address, ...outside] }, name, type)
}

const nameserverAddress = (zones: readonly DelegatedZone[], name: string): DnsRecordRow[] => {
  const make = (type: 'A' | 'AAAA', content: string): DnsRecordRow => ({ type, name, content, ttl: 3600, proxied: false })
  for (const zone of zones) {
    const place = zone.nameservers.indexOf(name)
    const own = place < 0 ? undefined : NAMESERVER_ADDRESSES[place % NAMESERVER_ADDRESSES.length]
    if (own) return [make('A', own.ipv4), make('AAAA', own.ipv6)]
    const other = zone.originalNameservers.indexOf(name)
    if (other >= 0) return [make('A', OTHER_ADDRESSES[other % OTHER_ADDRESSES.length] ?? OTHER_ADDRESSES[0])]
  }
  return []
}
