/** `Config` → `Estate`: everything derived, nothing left to default. */

import { LandfallError } from '../errors.ts'
import { normaliseCidr } from './address.ts'
import { checkConfig, publicKeyProblem } from './check.ts'
import { clusterOf, clusterRecords } from './cluster.ts'
import {
  adminEmailOf,
  assumedPricesOf,
  cloudOf,
  DEFAULT_DOKPLOY_VERSION,
  firewallsOf,
  imageBuildTypeOf,
  networkOf,
  panelHostOf,
  projectOf,
  type ServerGroup,
  serverGroupsOf,
  ttlOf,
} from './derive.ts'
import { platformOf } from './derive-apps.ts'
import type { Alternative, DnsSpec, Estate, KeySpec, ServerSpec } from './estate.ts'
import { expandFrom } from './firewall.ts'
import { migrationOf } from './migration.ts'
import { bareKey, networkName, sshKeyName } from './naming.ts'
import { previewsOf } from './previews.ts'
import type { Config } from './schema.ts'
import { serviceOf } from './service.ts'
import { quoted, renderPath } from './words.ts'

/** What comes from the operator's machine instead of the file. */
export interface EstateInputs {
  /** Used when the file has no `firewall.admin_addresses`: addresses or ranges. */
  readonly adminAddresses?: readonly string[]
  /** The operator's keys; the file's keys are added. */
  readonly publicKeys: readonly { readonly name: string; readonly publicKey: string }[]
}

const bad = (what: string): LandfallError =>
  new LandfallError('config', what, { hint: 'Correct it and run the same command again.' })

const adminAddressesOf = (config: Config, inputs: EstateInputs): readonly string[] | undefined => {
  const addresses = (config.firewall?.admin_addresses ?? inputs.adminAddresses)?.map(address => {
    const cidr = normaliseCidr(address)
    if (cidr === undefined) throw bad(`${quoted(address)} is not an address that could be an administrator's.`)
    return cidr
  })
  return addresses && [...new Set(addresses)].sort()
}

const keysOf = (config: Config, inputs: EstateInputs, estate: string): readonly KeySpec[] => {
  const fromFile = (config.ssh?.public_keys ?? []).map(line => ({
    name: line.trim().split(/\s+/).slice(2).join(' '),
    publicKey: line,
  }))
  const byKey = new Map<string, KeySpec>()
  for (const { name, publicKey } of [...inputs.publicKeys, ...fromFile]) {
    const problem = publicKeyProblem(publicKey)
    if (problem !== undefined) throw bad(`The SSH public key ${quoted(name)} ${problem}.`)
    const key = bareKey(publicKey)
    if (!byKey.has(key)) byKey.set(key, { name: sshKeyName(estate, name, key), publicKey: key })
  }
  return [...byKey.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}

const serversOf = (config: Config, group: ServerGroup): readonly ServerSpec[] => {
  const host = panelHostOf(config, group.role)?.host
  const service = serviceOf(config)
  const dokploy = {
    ...(host === undefined ? {} : { host }),
    adminEmail: adminEmailOf(config) ?? '',
    version: config.dokploy?.version ?? DEFAULT_DOKPLOY_VERSION,
  }
  return group.names.map(name => ({
    name,
    role: group.role,
    types: group.types,
    locations: group.locations,
    image: group.image,
    // A cloud firewall filters public addresses only, and the vendor refuses one on a server without any.
    firewalls: group.ipv4 || group.ipv6 ? group.firewalls : [],
    network: group.network,
    ...(group.placementGroup === undefined ? {} : { placementGroup: group.placementGroup }),
    ipv4: group.ipv4,
    ipv6: group.ipv6,
    ...(group.dokploy ? { dokploy } : {}),
    ...(group.joins === undefined ? {} : { joins: group.joins }),
    ...(group.nixos === undefined ? {} : { nixos: group.nixos }),
    ...(service?.server === name ? { service } : {}),
    protected: group.protected,
  }))
}

const dnsOf = (config: Config, servers: readonly ServerSpec[]): DnsSpec | undefined => {
  const zone = config.dns?.domain
  if (zone === undefined) return undefined
  const records = servers.flatMap(({ name, dokploy, service }) =>
    [dokploy?.host, service?.host].flatMap(host =>
      host === undefined ? [] : [{ name: host, server: name, ttl: ttlOf(config), proxied: config.dns?.proxied ?? false }],
    ),
  )
  return { zone, records: [...records, ...clusterRecords(config)] }
}

const hasPlatform = ({ apps, databases, registries, buckets, backups, notifications }: Config): boolean =>
  [apps, databases, registries, buckets, backups, notifications].some(section => section !== undefined)

const alternativesOf = (compare: NonNullable<NonNullable<Config['cost']>['compare']>): readonly Alternative[] =>
  Object.entries(compare).map(([name, { monthly = 0, per_seat = 0, seats = 1, rate = 1 }]) => ({
    name,
    monthly,
    perSeat: per_seat,
    seats,
    rate,
  }))

const frozen = <T>(value: T): T => {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) frozen(inner)
  }
  return value
}

/**
 * The estate that `config` describes, frozen. The same inputs give the same estate, in the same order.
 * @throws LandfallError config when `config` was not made by `parseConfig` and is wrong, or an input is no address or key
 */
export const resolveEstate = (config: Config, inputs: EstateInputs): Estate => {
  const [mistake] = checkConfig(config)
  if (mistake !== undefined) throw bad(`${renderPath(mistake.path)}: ${mistake.says}.`)
  const name = projectOf(config) ?? ''
  const servers = serverGroupsOf(config).flatMap(group => serversOf(config, group))
  const network = networkOf(config)
  const dns = dnsOf(config, servers)
  const migration = migrationOf(config)
  const previews = previewsOf(config)
  const cluster = clusterOf(config)
  const imageBuildType = imageBuildTypeOf(config)
  const baseUrl = config.cloudflare?.api_base_url
  const adminAddresses = adminAddressesOf(config, inputs)
  const cap = config.cost?.monthly_cap
  const assumedPrices = assumedPricesOf(config)
  const estate: Estate = {
    name,
    cloud: cloudOf(config),
    servers,
    keys: keysOf(config, inputs, name),
    ...(adminAddresses === undefined ? {} : { adminAddresses }),
    ...(network === undefined
      ? {}
      : {
          network: {
            name: networkName(name),
            range: normaliseCidr(network.range) ?? network.range,
            subnet: normaliseCidr(network.subnet) ?? network.subnet,
          },
        }),
    firewalls: firewallsOf(config).map(({ name: firewall, attach, rules }) => ({
      name: firewall,
      attach,
      rules: rules.map(rule => ({ ...rule, from: expandFrom(rule.from, adminAddresses ?? []) })),
    })),
    placementGroups: (config.placement_groups ?? []).map(group => ({ name: group })),
    ...(dns === undefined ? {} : { dns }),
    ...(migration === undefined ? {} : { migration }),
    ...(imageBuildType === undefined ? {} : { imageBuildType }),
    ...(baseUrl === undefined ? {} : { cloudflareBaseUrl: baseUrl.replace(/\/+$/, '') }),
    ...(assumedPrices === undefined ? {} : { assumedPrices }),
    ...(cap === undefined ? {} : { monthlyCapNet: cap }),
    ...(config.cost?.compare === undefined ? {} : { alternatives: alternativesOf(config.cost.compare) }),
    ...(hasPlatform(config) ? { platform: platformOf(config) } : {}),
    ...(previews === undefined ? {} : { previews }),
    ...(cluster === undefined ? {} : { cluster }),
  }
  return frozen(estate)
}
