/** What config.json says about previews, resolved: plain data with every default filled in, and the names that follow from a number. */

import { BASE_IMAGES, cloudOf, type ServerGroup, serverGroupsOf } from './derive.ts'
import type { Estate, ServerSpec } from './estate.ts'
import type { Config } from './schema.ts'

export interface PreviewSpec {
  readonly owner: string
  readonly repository: string
  readonly substrate: 'servers' | 'shared'
  /** Name of the server that previews are reached through. */
  readonly host: string
  /** "preview.example.com": what the wildcard is below. */
  readonly domain: string
  readonly max: number
  readonly ttlMs: number
  readonly label: string
  readonly types: readonly string[]
  readonly composeFile: string
  readonly service: string
  readonly port: number
  readonly variables: readonly string[]
  readonly memoryMb: number
}

type Say = (path: readonly (string | number)[], says: string, ...because: (readonly (string | number)[])[]) => void

const HOUR_MS = 3_600_000

/** A number and nothing else of a pull request goes into names: branches and titles are strangers' texts. */
export const previewHost = (domain: string, number: number): string => `pr-${number}.${domain}`
export const previewServerName = (estate: string, number: number): string => `${estate}-pr-${number}`

/** The server of one pull request. Small, in the host's place, behind a wall that lets only SSH in. */
export const previewServerSpec = (estate: Estate, spec: PreviewSpec, number: number): ServerSpec => {
  const host = estate.servers.find(each => each.name === spec.host)
  if (!host) throw new Error(`bug: no server ${spec.host}`)
  const { placementGroup: _, dokploy: __, ...rest } = host
  return {
    ...rest,
    name: previewServerName(estate.name, number),
    role: 'preview',
    types: spec.types,
    protected: false,
    pullRequest: number,
    ipv4: true,
  }
}

export const previewsOf = (config: Config): PreviewSpec | undefined => {
  const { previews } = config
  if (previews === undefined) return undefined
  const [owner = '', repository = ''] = (previews.repository ?? '').split('/')
  const host = serverGroupsOf(config).find(group => group.names.includes(previews.host ?? ''))
  const types = previews.type ?? [...(host?.types ?? [])]
  return {
    owner,
    repository,
    substrate: previews.substrate ?? 'shared',
    host: previews.host ?? '',
    domain: `${previews.subdomain ?? 'preview'}.${config.dns?.domain ?? ''}`,
    max: previews.max ?? 15,
    ttlMs: (previews.ttl_hours ?? 168) * HOUR_MS,
    label: previews.label ?? 'preview',
    types: typeof types === 'string' ? [types] : types,
    composeFile: previews.compose_file ?? 'compose.yml',
    service: previews.service ?? 'web',
    port: previews.port ?? 3000,
    variables: previews.variables ?? [],
    memoryMb: previews.memory_mb ?? 512,
  }
}

/** Debian's Compose is v2 from 13 on. */
const NO_COMPOSE = /^debian-(?:9|1[0-2])(?!\d)/

/** The host's system is that of the pull requests' own servers too. */
const checkSystem = (config: Config, group: ServerGroup, say: Say): void => {
  const why =
    group.nixos !== undefined
      ? 'has NixOS, whose firewall and units no program changes'
      : group.image.kind === 'golden'
        ? 'is made from the golden image, whose Dokploy holds ports 80 and 443'
        : NO_COMPOSE.test(group.image.name)
          ? `has ${group.image.name}, whose packages have no Compose v2`
          : undefined
  if (why === undefined) return
  const blame = [...group.path, group.nixos === undefined ? 'image' : 'os']
  const instead = `set servers.${group.name}.image to "${BASE_IMAGES[cloudOf(config)]}"${group.nixos === undefined ? '' : ' and leave out os'}`
  say(
    ['previews', 'host'],
    `names ${group.name}, which ${why}: ${instead}`,
    blame,
    ['hetzner', 'image'],
    ['digitalocean', 'image'],
  )
}

/** Every mistake about previews. */
export const checkPreviews = (config: Config, say: Say): void => {
  const { previews } = config
  if (previews === undefined) return
  const at = (name: string) => ['previews', name]
  if (config.dns?.domain === undefined) say(['previews'], 'needs dns.domain: previews have names', ['dns', 'domain'])
  if (previews.repository === undefined) say(at('repository'), 'is missing', at('repository'))
  const groups = serverGroupsOf(config)
  const group = groups.find(each => each.names.includes(previews.host ?? ''))
  if (previews.host === undefined) say(at('host'), 'is missing: name the server that previews are reached through', at('host'))
  else if (group === undefined)
    say(at('host'), `names no server of this file (${groups.flatMap(each => each.names).join(', ')})`, ['servers'])
  else {
    const { servers, workers } = config.cluster ?? {}
    if (group.dokploy) say(at('host'), 'must not be a server with Dokploy: ports 80 and 443 are taken there', group.path)
    else if (group.name === servers || group.name === workers)
      say(at('host'), 'must not be a machine of the cluster: ports 80 and 443 are taken there', group.path)
    else if (group.joins !== undefined)
      say(
        at('host'),
        `must not be a worker of ${group.joins}, whose containers the code of pull requests would run beside`,
        group.path,
      )
    else checkSystem(config, group, say)
    if (previews.substrate !== 'servers' && group.protected)
      say(at('host'), 'must not be a protected server: it runs the code of every pull request', [...group.path, 'protected'])
    if (!group.ipv4 && !group.ipv6) say(at('host'), 'needs a public address', group.path)
    if (previews.substrate === 'servers' && !group.network)
      say(at('host'), 'must be in the private network, through which it reaches the servers of previews: add "network": {}', [
        'network',
      ])
  }
  if (previews.substrate === 'servers' && config.digitalocean !== undefined)
    say(at('substrate'), 'must be "shared" at DigitalOcean')
  if (previews.substrate !== 'servers' && previews.type !== undefined)
    say(at('type'), 'has no meaning with the substrate "shared"', at('substrate'))
}
