/** Firewall rules: reading them as strictly as the vendor does, and what they let in. */
import { limitExceeded } from './answers.ts'
import { hasHostBits, parseCidr, renderCidr } from './cidr.ts'
import type { Body } from './input.ts'
import type { Rule } from './rows.ts'

const MAX_RULES = 50
const MAX_CIDRS = 100
const MAX_EFFECTIVE = 500

/** Something that the cloud firewall lets in: a protocol, its ports where it has any, and who may come. */
export interface Opening {
  readonly protocol: Rule['protocol']
  readonly ports: { readonly first: number; readonly last: number } | null
  readonly from: readonly string[]
}

const ANYWHERE = ['0.0.0.0/0', '::/0']
const ALL_PORTS = { first: 1, last: 65535 }

/** What reaches a server that has no firewall at all. */
export const EVERYTHING: readonly Opening[] = [
  { protocol: 'tcp', ports: ALL_PORTS, from: ANYWHERE },
  { protocol: 'udp', ports: ALL_PORTS, from: ANYWHERE },
  { protocol: 'icmp', ports: null, from: ANYWHERE },
  { protocol: 'esp', ports: null, from: ANYWHERE },
  { protocol: 'gre', ports: null, from: ANYWHERE },
]

const parsePorts = (text: string): Opening['ports'] => {
  const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text)
  if (!match) return null
  const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])]
  return first >= 1 && last <= 65535 && first <= last ? { first, last } : null
}

const readBlocks = (rule: Body, field: string): string[] => {
  const texts = rule.texts(field)
  if (texts.length > MAX_CIDRS) rule.problem(field, `at most ${MAX_CIDRS} CIDR blocks are allowed`)
  return texts.map(text => {
    const cidr = parseCidr(text)
    if (!cidr) rule.problem(field, `'${text}' is not in CIDR notation`)
    else if (hasHostBits(cidr)) rule.problem(field, `'${text}' is not a network address: host bits must be empty`)
    return cidr ? renderCidr(cidr) : text
  })
}

const readRule = (body: Body): Rule => {
  const direction = body.requiredWord('direction', ['in', 'out'])
  const protocol = body.requiredWord('protocol', ['tcp', 'udp', 'icmp', 'esp', 'gre'])
  const port = body.text('port') ?? null
  const description = body.text('description', { max: 255 }) ?? null
  const sourceIps = readBlocks(body, 'source_ips')
  const destinationIps = readBlocks(body, 'destination_ips')
  const hasPorts = protocol === 'tcp' || protocol === 'udp'
  if (hasPorts && port === null) body.problem('port', 'is required for protocols tcp and udp')
  if (!hasPorts && port !== null) body.problem('port', `is not allowed for protocol ${protocol}`)
  if (hasPorts && port !== null && !parsePorts(port)) body.problem('port', 'must be a port or a port range')
  if (direction === 'in' && sourceIps.length === 0) body.problem('source_ips', 'is required for direction in')
  if (direction === 'in' && destinationIps.length > 0) body.problem('destination_ips', 'is not allowed for direction in')
  if (direction === 'out' && destinationIps.length === 0) body.problem('destination_ips', 'is required for direction out')
  if (direction === 'out' && sourceIps.length > 0) body.problem('source_ips', 'is not allowed for direction out')
  return { direction, protocol, port, sourceIps, destinationIps, description }
}

/** The rules of a request; undefined when it has none. Problems are noted in the body; too many rules are refused at once. */
export const readRules = (body: Body): Rule[] | undefined => {
  const entries = body.objects('rules')
  if (entries && entries.length > MAX_RULES) throw limitExceeded('firewall rule limit exceeded', 'firewall_rule_limit')
  const rules = entries?.map(readRule)
  const effective = (rules ?? []).reduce((sum, rule) => sum + rule.sourceIps.length + rule.destinationIps.length, 0)
  if (effective > MAX_EFFECTIVE) throw limitExceeded('effective firewall rule limit exceeded', 'firewall_effective_rule_limit')
  return rules
}

/** What a set of rules lets in; nothing when there is no rule for `in`. */
export const openingsOf = (rules: readonly Rule[]): Opening[] =>
  rules.flatMap(rule =>
    rule.direction === 'in'
      ? [{ protocol: rule.protocol, ports: rule.port === null ? null : parsePorts(rule.port), from: rule.sourceIps }]
      : [],
  )

export const renderRule = (rule: Rule) => ({
  direction: rule.direction,
  protocol: rule.protocol,
  port: rule.port,
  source_ips: rule.sourceIps,
  destination_ips: rule.destinationIps,
  description: rule.description,
})
