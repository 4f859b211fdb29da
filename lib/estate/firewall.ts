/** Firewall rules as sets of "who reaches what": wanted, compared, and said in words. */

import type { FirewallRule } from '../providers/ports/cloud.ts'
import { contains, normaliseCidr, parseCidr } from './address.ts'
import type { FirewallRuleSpec, FirewallSpec } from './estate.ts'
import { listed } from './words.ts'

const EVERYBODY = ['0.0.0.0/0', '::/0'] as const

/** `anywhere` and `admin` become ranges; spelling, order and repetition are settled. What is no range is a bug here. */
export const expandFrom = (from: readonly string[], adminAddresses: readonly string[]): readonly string[] => {
  const ranges = from.flatMap(word => (word === 'anywhere' ? EVERYBODY : word === 'admin' ? adminAddresses : [word]))
  const normalised = ranges.map(range => {
    const cidr = normaliseCidr(range)
    if (cidr === undefined) throw new Error(`bug: ${JSON.stringify(range)} is no range`)
    return cidr
  })
  return [...new Set(normalised)].sort()
}

const normalisedPort = (port: string): string => {
  const [from, to] = port.trim().split('-').map(Number)
  return to === undefined || to === from ? String(from) : `${from}-${to}`
}

const normalised = (rule: FirewallRuleSpec, adminAddresses: readonly string[]): FirewallRule => ({
  protocol: rule.protocol,
  ...(rule.port === undefined ? {} : { port: normalisedPort(rule.port) }),
  from: expandFrom(rule.from, adminAddresses),
  why: rule.why,
})

/** The rules to send to the vendor; a rule for nobody is left out. */
export const desiredRules = (
  spec: Pick<FirewallSpec, 'rules'>,
  adminAddresses: readonly string[] = [],
): readonly FirewallRule[] => spec.rules.map(rule => normalised(rule, adminAddresses)).filter(rule => rule.from.length > 0)

const serviceOf = (rule: FirewallRule): string => {
  const protocol = rule.protocol.toLowerCase()
  return rule.port === undefined ? protocol : `${normalisedPort(rule.port)}/${protocol}`
}

interface Opening {
  readonly ranges: Set<string>
  readonly reasons: Set<string>
}

/** Who reaches each service, whichever rules say so. */
const openings = (rules: readonly FirewallRule[]): Map<string, Opening> => {
  const found = new Map<string, Opening>()
  for (const rule of rules) {
    const opening = found.get(serviceOf(rule)) ?? { ranges: new Set(), reasons: new Set() }
    const ranges = [...expandFrom(rule.from, []), ...(rule.others ?? [])]
    for (const range of ranges) opening.ranges.add(range)
    if (rule.why !== '') opening.reasons.add(rule.why)
    if (ranges.length > 0) found.set(serviceOf(rule), opening)
  }
  return found
}

const inWords = (ranges: readonly string[]): string => {
  const [v4, v6] = EVERYBODY.map(range => ranges.includes(range))
  const others = ranges.filter(range => range !== EVERYBODY[0] && range !== EVERYBODY[1])
  const everybody = v4 && v6 ? ['anywhere'] : v4 ? ['anywhere over IPv4'] : v6 ? ['anywhere over IPv6'] : []
  return listed([...everybody, ...others.sort()])
}

const line = (service: string, ranges: readonly string[], reasons: ReadonlySet<string>): string =>
  `${service} from ${inWords(ranges)}${reasons.size > 0 ? ` (${[...reasons].join('; ')})` : ''}`

/**
 * What changes for those outside when `have` becomes `want`: `+ 3000/tcp from 198.51.100.7/32 (why)`, `- …`; empty when nothing
 * does. Order, case, spelling and the rules' division do not matter, and neither do reasons alone.
 */
export const diffRules = (have: readonly FirewallRule[], want: readonly FirewallRule[]): readonly string[] => {
  const before = openings(have)
  const after = openings(want)
  const lines = (mark: string, from: Map<string, Opening>, against: Map<string, Opening>) =>
    [...from].flatMap(([service, { ranges, reasons }]) => {
      const fresh = [...ranges].filter(range => !against.get(service)?.ranges.has(range))
      return fresh.length === 0 ? [] : [`${mark} ${line(service, fresh, reasons)}`]
    })
  return [...lines('+', after, before), ...lines('-', before, after)]
}

/** One line per source: `22/tcp, 443/tcp, icmp from anywhere`. Ports in rising order, icmp last. */
export const exposureLines = (rules: readonly FirewallRule[]): readonly string[] => {
  const portOf = (service: string) => (/^\d/.test(service) ? Number.parseInt(service, 10) : Number.POSITIVE_INFINITY)
  const services = [...openings(rules)]
    .sort(([a], [b]) => portOf(a) - portOf(b) || (a < b ? -1 : 1))
    .map(([service, { ranges }]) => ({ service, from: inWords([...ranges]) }))
  return [...Map.groupBy(services, each => each.from)].map(
    ([from, each]) => `${each.map(one => one.service).join(', ')} from ${from}`,
  )
}

/** Whether under `rules` nobody at `address` reaches TCP `port` any more: the lock-out guard, for SSH unless told otherwise. */
export const wouldCutOff = (rules: readonly FirewallRule[], address: string, port = 22): boolean => {
  const mine = parseCidr(address)
  if (mine === undefined) throw new Error(`bug: ${JSON.stringify(address)} is no address`)
  return !rules.some(rule => {
    const [from = 0, to = from] = (rule.port ?? '').split('-').map(Number)
    if (rule.protocol !== 'tcp' || port < from || port > to) return false
    return expandFrom(rule.from, []).some(range => {
      const cidr = parseCidr(range)
      return cidr !== undefined && contains(cidr, mine)
    })
  })
}
