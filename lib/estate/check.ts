/** What is wrong with a well-shaped config.json: things that are missing, clash, or would not be safe. Reports all of it at once. */

import { contains, overlaps, parseCidr } from './address.ts'
import { checkApps } from './check-apps.ts'
import { checkServers } from './check-servers.ts'
import { checkCluster } from './cluster.ts'
import {
  adminEmailOf,
  DEFAULT_NETWORK_RANGE,
  dokployRoles,
  type FirewallDraft,
  firewallsOf,
  isEverybody,
  isPrivateRange,
  networkOf,
  panelHostOf,
  projectOf,
  type ServerGroup,
  serverGroupsOf,
} from './derive.ts'
import type { Mistake, Path } from './json.ts'
import { checkMigration } from './migration.ts'
import { adminFirewallName, bareKey, ESTATE_NAME_LIMIT, LABEL_PATTERN } from './naming.ts'
import { nearest } from './near.ts'
import { checkPreviews } from './previews.ts'
import type { Config } from './schema.ts'
import { checkService } from './service.ts'
import { didYouMean, quoted } from './words.ts'

const OLDEST_DOKPLOY = '0.29.3'
// Hetzner's limits (API reference: firewalls).
const MAX_RULES = 50
const MAX_RANGES = 100
/** Docker's defaults: the overlay pool of a swarm, then docker0 and docker_gwbridge. */
const DOCKER_RANGES = ['10.0.0.0/8', '172.17.0.0/16', '172.18.0.0/16']

/** `because`: other places whose own mistake would explain this one. */
export type Say = (path: Path, says: string, ...because: Path[]) => void

const DOMAIN = /^(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$/

const checkDomain = (domain: string, say: Say) => {
  if (DOMAIN.test(domain)) return
  // The parser of addresses knows case, international names and pasted URLs; only a result that is a domain is offered.
  const pasted = domain.trim().replace(/\.$/, '')
  const host = URL.parse(/^https?:\/\//i.test(pasted) ? pasted : `http://${pasted}`)?.hostname ?? ''
  const offer = DOMAIN.test(host) ? `; did you mean ${quoted(host)}?` : ''
  say(['dns', 'domain'], `must be a domain like "example.com", not ${quoted(domain)}${offer}`)
}

const checkProject = (config: Config, say: Say) => {
  const domain = config.dns?.domain
  const project = projectOf(config)
  if (config.project !== undefined || (domain !== undefined && !DOMAIN.test(domain))) return
  if (project === undefined)
    return say(['project'], 'is missing: without dns.domain the estate needs a name', ['project'], ['dns', 'domain'])
  if (project.length > ESTATE_NAME_LIMIT || !/^[a-z]/.test(project))
    say(
      ['project'],
      `is missing: ${quoted(project)}, from dns.domain, does not begin with a letter or has more than ${ESTATE_NAME_LIMIT} characters`,
      ['project'],
    )
}

const checkRoles = (config: Config, say: Say) => {
  for (const [role] of dokployRoles(config)) {
    const path = ['hetzner', 'server_types', role]
    const near = nearest(role, ['packer_build'])
    if (near !== undefined) say(path, `is not a role; did you mean ${quoted(near)}?`)
    else if (!LABEL_PATTERN.test(role)) say(path, 'must be a role of lower-case letters, digits and hyphens')
  }
  if (Array.isArray(config.hetzner?.server_types?.packer_build))
    say(['hetzner', 'server_types', 'packer_build'], 'must be one server type: images are built on one')
}

const checkDns = (config: Config, groups: readonly ServerGroup[], say: Say) => {
  if (config.dns === undefined) return
  if (config.dns.domain === undefined) say(['dns', 'domain'], 'is missing', ['dns', 'domain'])
  else checkDomain(config.dns.domain, say)
  const roles = new Set(groups.filter(group => group.dokploy).map(group => group.role))
  const known = [...roles].filter(role => role !== 'prod').map(role => `${role}_admin_subdomain`)
  for (const key of Object.keys(config.dns)) {
    if (!key.endsWith('_admin_subdomain') || known.includes(key)) continue
    const role = key.slice(0, -'_admin_subdomain'.length)
    const causes = [
      ['hetzner', 'server_types', role],
      ['servers', role],
      ['servers', `${role}-dokploy`],
      ...groups.flatMap(({ path }) => [
        [...path, 'role'],
        [...path, 'dokploy'],
      ]),
    ]
    say(['dns', key], `names a role that no Dokploy server has${didYouMean(key, ['admin_subdomain', ...known])}`, ...causes)
  }
  const taken = new Map<string, string>()
  for (const role of roles) {
    const panel = panelHostOf(config, role)
    if (panel === undefined) continue
    const other = taken.get(panel.host)
    if (other !== undefined)
      say(panel.path, `gives role ${role} the host ${panel.host}, where the panel of role ${other} answers`, panel.path)
    if (panel.host.length > 253) say(panel.path, 'makes a host name of more than 253 characters')
    taken.set(panel.host, role)
  }
}

const checkRule = (path: Path, rule: FirewallDraft['rules'][number], say: Say) => {
  const [port, from, protocol] = [
    [...path, 'port'],
    [...path, 'from'],
    [...path, 'protocol'],
  ]
  if (rule.protocol === 'icmp' && rule.port !== undefined) say(port, 'is not allowed for icmp')
  if (rule.protocol !== 'icmp' && rule.port === undefined) say(port, 'is missing', port, protocol)
  if (rule.from.length === 0) say(from, 'is missing: say who may reach it', from)
  if (rule.from.length > MAX_RANGES) say(from, `has ${rule.from.length} ranges; ${MAX_RANGES} fit`)
  for (const [index, who] of rule.from.entries())
    if (who !== 'anywhere' && who !== 'admin' && parseCidr(who) === undefined)
      say([...from, index], `must be "anywhere", "admin" or a range, not ${quoted(who)}${didYouMean(who, ['anywhere', 'admin'])}`)
}

const checkFirewalls = (config: Config, firewalls: readonly FirewallDraft[], say: Say) => {
  const reserved = adminFirewallName(projectOf(config) ?? '')
  for (const firewall of firewalls.filter(each => each.attach === 'at_create')) {
    if (firewall.name === reserved && firewalls.some(each => each.attach === 'when_owned'))
      say(firewall.path, "is the name of the firewall that lets administrators in to Dokploy's panel: choose another")
    if (firewall.rules.length > MAX_RULES) say(firewall.path, `has ${firewall.rules.length} rules; ${MAX_RULES} fit`)
    for (const [index, rule] of firewall.rules.entries()) checkRule([...firewall.path, index], rule, say)
  }
  const addresses = config.firewall?.admin_addresses ?? []
  if (addresses.length > MAX_RANGES) say(['firewall', 'admin_addresses'], `has ${addresses.length} ranges; ${MAX_RANGES} fit`)
  for (const [index, address] of addresses.entries())
    if (isEverybody(address))
      say(['firewall', 'admin_addresses', index], `must not be ${quoted(address)}: that is practically everybody`)
}

const checkNetwork = (config: Config, groups: readonly ServerGroup[], say: Say) => {
  const network = networkOf(config)
  const range = parseCidr(network?.range ?? '')
  const subnet = parseCidr(network?.subnet ?? '')
  if (network === undefined || range === undefined || subnet === undefined) return
  const path = ['network', 'range']
  if (!isPrivateRange(network.range)) say(path, 'must lie in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16')
  if (range.prefix > 24) say(path, 'must have room: /24 or wider')
  if (!contains(range, subnet)) say(['network', 'subnet'], `must lie in the range ${network.range}`, path, ['network', 'subnet'])
  else if (subnet.prefix > 30) say(['network', 'subnet'], 'must have room: /30 or wider')
  if (config.network?.allow_docker_overlap === true) return
  if (config.cluster === undefined && !groups.some(group => group.dokploy)) return
  const clash = DOCKER_RANGES.find(text => {
    const docker = parseCidr(text)
    return docker !== undefined && overlaps(docker, range)
  })
  if (clash !== undefined)
    say(
      path,
      `overlaps ${clash}, which Docker gives to containers; take ${DEFAULT_NETWORK_RANGE}, or set network.allow_docker_overlap`,
    )
}

const KEY_TYPES = new Set([
  'ssh-ed25519',
  'ssh-rsa',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'sk-ssh-ed25519@openssh.com',
  'sk-ecdsa-sha2-nistp256@openssh.com',
])

/** What is wrong with one line of an SSH public key, to be put behind its name; or undefined. */
export const publicKeyProblem = (line: string): string | undefined => {
  if (line.includes('PRIVATE KEY')) return 'is a private key: never put it here, and replace it now that it was in a file'
  const [type = '', base64 = ''] = bareKey(line).split(' ')
  if (!KEY_TYPES.has(type)) return `must be an SSH public key like "ssh-ed25519 AAAA…", not ${quoted(line)}`
  // RFC 4253: fields, each with a four-byte length before it; the first names the type, and the last ends the key.
  const bytes = Buffer.from(base64, 'base64')
  let end = 0
  while (end + 4 <= bytes.length) end += 4 + bytes.readUInt32BE(end)
  const named = bytes.subarray(4, 4 + type.length).toString('latin1') === type
  return named && end === bytes.length ? undefined : 'is cut off or damaged: copy the whole line again'
}

const checkKeys = (config: Config, say: Say) => {
  const seen = new Map<string, number>()
  for (const [index, line] of (config.ssh?.public_keys ?? []).entries()) {
    const path = ['ssh', 'public_keys', index]
    const problem = publicKeyProblem(line)
    if (problem !== undefined) say(path, problem)
    const first = seen.get(bareKey(line))
    if (first !== undefined) say(path, `is the same key as ssh.public_keys[${first}]`)
    seen.set(bareKey(line), index)
  }
}

const isOlder = (version: string, than: string): boolean => {
  const limit = than.split('.').map(Number)
  for (const [index, part] of version.split('.').map(Number).entries()) {
    const other = limit[index] ?? 0
    if (part !== other) return part < other
  }
  return false
}

const checkDokploy = (config: Config, groups: readonly ServerGroup[], say: Say) => {
  const version = config.dokploy?.version
  if (version !== undefined && isOlder(version, OLDEST_DOKPLOY))
    say(['dokploy', 'version'], `must be ${OLDEST_DOKPLOY} or newer, not ${version}`)
  const path = ['dokploy', 'admin_email']
  if (groups.some(group => group.dokploy) && adminEmailOf(config) === undefined)
    say(path, 'is missing: without dns.domain the administrator needs an address', path, ['dns', 'domain'])
}

/** Every mistake in `config`. */
export const checkConfig = (config: Config): readonly Mistake[] => {
  const mistakes: Mistake[] = []
  const said = new Set<string>()
  const say: Say = (path, says, ...because) => {
    // Several servers may stumble over one cause.
    const key = JSON.stringify([path, says])
    if (!said.has(key)) mistakes.push({ path, says, because })
    said.add(key)
  }
  const groups = serverGroupsOf(config)
  const firewalls = firewallsOf(config)
  checkProject(config, say)
  checkRoles(config, say)
  if (groups.length === 0)
    say(
      ['hetzner', 'server_types'],
      'is missing: no server is described here or in servers',
      ['hetzner', 'server_types'],
      ['servers'],
    )
  checkDns(config, groups, say)
  checkServers(config, groups, firewalls, say)
  checkService(config, groups, firewalls, say)
  checkFirewalls(config, firewalls, say)
  checkNetwork(config, groups, say)
  checkKeys(config, say)
  checkDokploy(config, groups, say)
  checkApps(config, say)
  checkCluster(config, say)
  checkMigration(config, say)
  checkPreviews(config, say)
  return mistakes
}
