/** The backend service: where it runs, what it is made of, and what must be so around it. */

import type { Say } from './check.ts'
import { type FirewallDraft, opens, type ServerGroup } from './derive.ts'
import type { Config } from './schema.ts'
import { quoted } from './words.ts'

export interface ServiceSpec {
  readonly server: string
  /** Where visitors find it. */
  readonly host: string
  readonly repository: string
  readonly branch: string
  /** Of devenv.nix. */
  readonly profile: string
  /** On the server's loopback. */
  readonly port: number
  readonly health: string
  /** As written in the config, beside it. */
  readonly envFile?: string
}

/** The service's server: the named one, or the only one with NixOS. */
const serverOf = (config: Config): string | undefined => {
  if (config.service?.server !== undefined) return config.service.server
  const nixos = Object.entries(config.servers ?? {}).filter(([, spec]) => spec.os === 'nixos')
  return nixos.length === 1 ? nixos[0]?.[0] : undefined
}

/** Whether the service runs on this group of servers. */
export const runsService = (config: Config, group: string): boolean => config.service !== undefined && serverOf(config) === group

/** Undefined where the file has none, or a wrong one, which `checkService` reports. */
export const serviceOf = (config: Config): ServiceSpec | undefined => {
  const { service, dns } = config
  const server = serverOf(config)
  if (service?.repository === undefined || dns?.domain === undefined || server === undefined) return undefined
  return {
    server,
    host: `${service.subdomain ?? server}.${dns.domain}`,
    repository: service.repository,
    branch: service.branch ?? 'main',
    profile: service.profile ?? 'prod',
    port: service.port ?? 3000,
    health: service.health ?? '/',
    ...(service.env_file === undefined ? {} : { envFile: service.env_file }),
  }
}

const PUBLIC_PORTS = [22, 80, 443] as const
const WHY = {
  22: 'which Landfall works through',
  80: 'which its certificate is ordered through',
  443: 'where it answers',
} as const

export const checkService = (
  config: Config,
  groups: readonly ServerGroup[],
  firewalls: readonly FirewallDraft[],
  say: Say,
): void => {
  const { service } = config
  if (service === undefined) return
  if (service.repository === undefined) say(['service', 'repository'], 'is missing', ['service', 'repository'])
  if (config.dns === undefined) say(['dns', 'domain'], 'is missing: the service needs a name for its certificate', ['dns'])
  const name = serverOf(config)
  const path = ['service', 'server']
  if (name === undefined) {
    say(path, 'is missing: not exactly one server has os "nixos"', path, ['servers'])
    return
  }
  const group = groups.find(each => each.name === name && each.path[0] === 'servers')
  if (group === undefined) {
    say(path, `names ${quoted(name)}, which is not among servers`, ['servers', name])
    return
  }
  if (group.nixos === undefined) say([...group.path, 'os'], 'must be "nixos": the service runs there', [...group.path, 'os'])
  if (group.names.length > 1) say([...group.path, 'count'], 'is more than 1, but the service runs on one server')
  if (group.dokploy) say([...group.path, 'dokploy'], 'is true, but the service needs ports 80 and 443 for itself')
  const guards = firewalls.filter(firewall => group.firewalls.includes(firewall.name))
  for (const port of guards.length > 0 ? PUBLIC_PORTS : [])
    if (!guards.some(firewall => firewall.rules.some(rule => opens(rule, port))))
      say([...group.path, 'firewalls'], `lets nobody reach port ${port}, ${WHY[port]}`, ...guards.map(guard => guard.path))
}
