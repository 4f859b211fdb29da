/** The part of the checks that is about servers: their names, places, guards and company. */

import type { Say } from './check.ts'
import { type FirewallDraft, isEverybody, opens, PANEL_PORT, projectOf, type ServerGroup } from './derive.ts'
import type { Path } from './json.ts'
import { MARK_NAMES_LIMIT } from './naming.ts'
import type { Config } from './schema.ts'
import { runsService } from './service.ts'
import { didYouMean, quoted } from './words.ts'

// Hetzner's limits (API reference: firewalls, placement groups).
const MAX_FIREWALLS = 5
const MAX_GROUP_MEMBERS = 10
const MAX_GROUPS = 50

const checkNames = (config: Config, groups: readonly ServerGroup[], say: Say) => {
  const owners = new Map<string, ServerGroup>()
  const panels = new Map<string, ServerGroup>()
  const estateName = projectOf(config) ?? ''
  for (const group of groups) {
    for (const name of group.names) {
      const other = owners.get(name)
      if (other !== undefined) say(group.path, `makes a server ${name}, which ${other.path.join('.')} makes too`)
      owners.set(name, group)
    }
    const longest = group.names.at(-1) ?? ''
    const limit = group.dokploy && config.dns ? Math.min(63, MARK_NAMES_LIMIT - estateName.length) : 63
    if (longest.length > limit)
      say(group.path, `makes the server name ${quoted(longest)}, of which at most ${limit} characters fit`)
    if (!group.dokploy) continue
    const other = panels.get(group.role)
    if (other !== undefined && config.dns)
      say(group.path, `has the role ${group.role}, whose panel is on ${other.name} already`, [...group.path, 'role'])
    panels.set(group.role, group)
  }
}

const checkPlaces = (config: Config, group: ServerGroup, say: Say) => {
  const pathOf = (key: string): Path => (group.path[0] === 'servers' ? [...group.path, key] : group.path)
  if (group.types.length === 0) say(pathOf('type'), 'is missing', pathOf('type'), ['digitalocean', 'size'])
  // With no place for anything, one message at hetzner.location says it for all.
  const place = config.digitalocean === undefined ? ['hetzner', 'location'] : ['digitalocean', 'region']
  if (group.locations.length === 0) say(place, 'is missing', place, pathOf('location'))
  const lists = [
    [pathOf('type'), group.types],
    [config.servers?.[group.name]?.location === undefined ? place : pathOf('location'), group.locations],
  ] as const
  for (const [path, values] of lists)
    for (const twice of new Set(values.filter((value, index) => values.indexOf(value) !== index)))
      say(path, `names ${quoted(twice)} twice`)
}

const checkGuards = (config: Config, group: ServerGroup, firewalls: readonly FirewallDraft[], say: Say) => {
  const path = [...group.path, 'firewalls']
  const isPublic = group.ipv4 || group.ipv6
  // One place stays free for the firewall that lets administrators in.
  const most = group.dokploy ? MAX_FIREWALLS - 1 : MAX_FIREWALLS
  const names = firewalls.filter(firewall => firewall.attach === 'at_create').map(firewall => firewall.name)
  for (const name of group.firewalls)
    if (!names.includes(name))
      say(path, `names ${quoted(name)}, which is not among firewalls${didYouMean(name, names)}`, ['firewalls', name])
  if (group.firewalls.length > most) say(path, `has ${group.firewalls.length} firewalls; ${most} fit`)
  if (new Set(group.firewalls).size < group.firewalls.length) say(path, 'names a firewall twice')
  if (group.firewalls.length === 0 && isPublic) say(path, 'is empty: everything on the server would be reachable from anywhere')
  if (!isPublic && (config.servers?.[group.name]?.firewalls ?? []).length > 0)
    say(
      path,
      'guards nothing: a cloud firewall filters public addresses, and this server has none',
      [...group.path, 'ipv4'],
      [...group.path, 'ipv6'],
    )
}

const checkDokploy = (group: ServerGroup, firewalls: readonly FirewallDraft[], say: Say) => {
  if (group.names.length > 1) say([...group.path, 'count'], 'is more than 1 with dokploy: give each Dokploy server its own entry')
  if (!group.ipv4 && !group.ipv6) say(group.path, 'runs Dokploy without a public address')
  const guards = firewalls.filter(firewall => group.firewalls.includes(firewall.name))
  for (const firewall of guards)
    for (const [index, rule] of firewall.rules.entries())
      if (opens(rule, PANEL_PORT))
        say(
          [...firewall.path, index],
          rule.from.some(isEverybody)
            ? `opens port ${PANEL_PORT} of ${group.name} to everybody: whoever comes first would own its Dokploy`
            : `opens port ${PANEL_PORT} of ${group.name}: leave it out, Landfall opens it to firewall.admin_addresses once Dokploy has its owner`,
        )
  if (guards.length > 0 && !guards.some(firewall => firewall.rules.some(rule => opens(rule, 22))))
    say(
      [...group.path, 'firewalls'],
      'lets nobody reach port 22, which Landfall needs to install Dokploy',
      ...guards.map(({ path }) => path),
    )
}

/** A worker of a swarm, and the server whose swarm it is. */
const checkJoins = (config: Config, group: ServerGroup, groups: readonly ServerGroup[], say: Say) => {
  if (group.joins === undefined) return
  const path = [...group.path, 'joins']
  const managers = groups.filter(each => each.dokploy)
  const manager = managers.find(each => each.name === group.joins)
  if (manager === undefined)
    return say(
      path,
      `names ${quoted(group.joins)}, which is no server with Dokploy${didYouMean(
        group.joins,
        managers.map(each => each.name),
      )}`,
      ['servers', group.joins],
      ['hetzner', 'server_types'],
    )
  if (group.dokploy) say(path, 'stands beside dokploy: a server has a Dokploy of its own, or works for that of another')
  if (runsService(config, group.name)) say(path, `is not for ${group.name}, which the service runs on`)
  if ([config.cluster?.servers, config.cluster?.workers].includes(group.name)) say(path, `is not for the cluster's ${group.name}`)
  for (const each of [group, manager]) {
    if (!each.network)
      say(
        path,
        `needs the private network, which ${each.name} is not in: a swarm never speaks over the internet`,
        ['network'],
        [...each.path, 'network'],
      )
    // The image that Landfall builds, and NixOS, keep the swarm's ports shut by settings that no program changes.
    if (each.image.kind === 'golden' || each.nixos !== undefined)
      say(
        path,
        `needs a system image like "debian-12" on ${each.name}: a system that Landfall builds keeps its swarm to itself`,
        [...each.path, 'image'],
        [...each.path, 'os'],
        ['hetzner', 'image'],
      )
  }
}

const checkServer = (
  config: Config,
  group: ServerGroup,
  groups: readonly ServerGroup[],
  firewalls: readonly FirewallDraft[],
  say: Say,
) => {
  checkPlaces(config, group, say)
  checkGuards(config, group, firewalls, say)
  checkJoins(config, group, groups, say)
  const spread = config.placement_groups ?? []
  if (group.placementGroup !== undefined && !spread.includes(group.placementGroup))
    say(
      [...group.path, 'placement_group'],
      `names ${quoted(group.placementGroup)}, which is not in placement_groups${didYouMean(group.placementGroup, spread)}`,
      ['placement_groups'],
    )
  if (config.servers?.[group.name]?.network === true && config.network === undefined)
    say([...group.path, 'network'], 'wants a network, but the file describes none', ['network'])
  if (!group.ipv4 && !group.ipv6 && !group.network)
    say(group.path, 'has no public address and no network: nobody could reach it', ['network'], group.path)
  if (group.dokploy) checkDokploy(group, firewalls, say)
  if (group.path[0] === 'servers') checkNixos(config, group, say)
}

const checkPlacementGroups = (config: Config, groups: readonly ServerGroup[], say: Say) => {
  const names = config.placement_groups ?? []
  if (names.length > MAX_GROUPS) return say(['placement_groups'], `has ${names.length} names; ${MAX_GROUPS} fit`)
  for (const [index, name] of names.entries()) {
    const members = groups.filter(group => group.placementGroup === name).flatMap(group => group.names)
    if (names.indexOf(name) !== index) say(['placement_groups', index], `names ${quoted(name)} twice`)
    else if (members.length > MAX_GROUP_MEMBERS)
      say(['placement_groups', index], `has ${members.length} servers; ${MAX_GROUP_MEMBERS} fit`)
  }
}

const NO_KEXEC = /^ubuntu-26[.-]04/

const checkNixos = (config: Config, group: ServerGroup, say: Say) => {
  if (config.servers?.[group.name]?.system !== undefined && group.nixos === undefined)
    say([...group.path, 'system'], 'counts only with os "nixos"', [...group.path, 'os'])
  if (group.nixos === undefined) return
  if (group.image.kind === 'golden')
    say([...group.path, 'image'], 'is "golden", but NixOS is installed over a system image like "ubuntu-24.04"')
  else if (NO_KEXEC.test(group.image.name))
    say([...group.path, 'image'], 'is one that the installer cannot be started from: take Ubuntu 24.04 or Debian 12')
}

/** What the vendor has not, found before anything is bought. */
const checkVendor = (config: Config, groups: readonly ServerGroup[], say: Say) => {
  if (config.digitalocean === undefined) return
  if (config.hetzner !== undefined)
    say(['digitalocean'], 'stands beside hetzner: an estate is at one of the two', ['hetzner'], ['digitalocean'])
  if ((config.placement_groups ?? []).length > 0) say(['placement_groups'], 'are not known to DigitalOcean')
  const { range, subnet } = config.network ?? {}
  if (config.network !== undefined && (range === undefined || subnet !== range))
    say(['network', 'subnet'], 'must be the same as network.range: a network at DigitalOcean is one subnet', ['network', 'range'])
  for (const group of groups) {
    if (!group.ipv4) say([...group.path, 'ipv4'], 'is false, but every droplet has a public IPv4 address')
    if (group.image.kind === 'golden')
      say([...group.path, 'image'], 'is "golden", which is built at Hetzner only: name a system image like "debian-12-x64"')
  }
}

/** Every mistake about the servers. */
export const checkServers = (
  config: Config,
  groups: readonly ServerGroup[],
  firewalls: readonly FirewallDraft[],
  say: Say,
): void => {
  checkVendor(config, groups, say)
  checkNames(config, groups, say)
  for (const group of groups) checkServer(config, group, groups, firewalls, say)
  checkPlacementGroups(config, groups, say)
}
