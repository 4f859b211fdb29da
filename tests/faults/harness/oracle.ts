/**
 * What is true in the sandbox's world, told so that two runs can be compared: ids, addresses, keys and times give way to names. The
 * product is not asked.
 */

import type { Sandbox } from '../../../lib/sandbox/sandbox.ts'
import { ZONE } from './strangers.ts'
import { REPOSITORY } from './theatre.ts'

export const ESTATE = 'example'
const LOCK = `landfall-lock-${ESTATE}`

export interface Truth {
  /** The estate's part of the world, in words that are the same for two worlds that are alike. */
  readonly estate: unknown
  /** Everything that is not the estate's, byte for byte. */
  readonly strangers: string
  /** What must never be: duplicates, orphans, locks left. */
  readonly problems: readonly string[]
}

/** Whatever a fresh label, key, id or time may be without making two worlds different. */
const VOLATILE = new Set(['landfall/run', 'landfall/hostkey'])

const ours = (labels: Readonly<Record<string, string>>): boolean => labels['landfall/estate'] === ESTATE

/** A snapshot that servers start from. */
const isGolden = ({ labels }: { readonly labels: Readonly<Record<string, string>> }): boolean => 'landfall/image' in labels

const stable = (labels: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(labels)
      .map(([key, value]): [string, string] => [key, VOLATILE.has(key) ? '<some>' : value])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )

/** The same person on another machine has a rule of their own; the addresses are what counts. */
const rulesOf = <T extends { readonly description: string | null }>(rules: readonly T[]): readonly T[] => {
  const plain = rules.map(rule => ({
    ...rule,
    description: rule.description?.replace(/^allow-me .*$/, 'allow-me <somebody>') ?? null,
  }))
  return plain.filter((rule, index) => plain.findIndex(each => JSON.stringify(each) === JSON.stringify(rule)) === index)
}

const pick = (row: Readonly<Record<string, unknown>>, names: readonly string[]) =>
  Object.fromEntries(names.map(name => [name, row[name]]))

const byName = (a: { readonly name: string }, b: { readonly name: string }): number =>
  a.name < b.name ? -1 : a.name > b.name ? 1 : 0

const doubled = (what: string, names: readonly string[]): string[] =>
  [...new Set(names.filter((name, index) => names.indexOf(name) !== index))].map(name => `duplicate ${what}: ${name}`)

export interface Look {
  /** A run is alive, so its lock may be there. */
  readonly lockAllowed?: boolean
}

export function lookAtWorld(sandbox: Sandbox, { lockAllowed = false }: Look = {}): Truth {
  const cloud = sandbox.controls.hetzner.dump()
  const servers = cloud.servers.filter(server => ours(server.labels)).sort(byName)
  const ids = new Map(cloud.servers.map(server => [server.id, server.name]))
  const ips = new Map(cloud.ips.map(ip => [ip.id, ip]))
  const addresses = new Map<string, string>(
    cloud.ips.flatMap(ip => {
      const name = ip.assignee === null ? undefined : ids.get(ip.assignee)
      return name === undefined ? [] : [[ip.ip.replace(/::\/64$/, '::1'), `${ip.type} of ${name}`] as const]
    }),
  )
  for (const { name, privateNets } of cloud.servers)
    for (const { ip } of privateNets) addresses.set(ip, `private address of ${name}`)
  const worded = (text: string): string =>
    [...ids].reduce((out, [id, name]) => out.replaceAll(String(id), `<${name}>`), addresses.get(text) ?? text)
  const firewalls = cloud.firewalls.filter(each => ours(each.labels)).sort(byName)
  const keys = cloud.keys.filter(each => ours(each.labels)).sort(byName)
  const networks = cloud.networks.filter(each => ours(each.labels)).sort(byName)
  const groups = cloud.groups.filter(each => ours(each.labels)).sort(byName)
  const records = sandbox.controls.cloudflare.records(ZONE)
  const isOurRecord = (comment: string | null | undefined) => comment?.startsWith(`landfall estate=${ESTATE} `) ?? false
  const ourRecords = records
    .filter(record => isOurRecord(record.comment))
    .map(record => ({
      name: record.name,
      type: record.type,
      content: worded(record.content),
      ttl: record.ttl,
      proxied: record.proxied,
      comment: worded(record.comment ?? ''),
    }))
    .sort((a, b) => (`${a.name} ${a.type} ${a.content}` < `${b.name} ${b.type} ${b.content}` ? -1 : 1))
  const ocean = lookAtDroplets(sandbox)
  const machines = (sandbox.world().machines as readonly MachineDump[])
    .filter(each => servers.some(server => server.name === each.name) || ocean.droplets.some(({ name }) => name === each.name))
    .map(each => ({
      name: each.name,
      booted: each.booted,
      dokploy: each.dokploy,
      login: [...(each.login ?? [])].sort(),
      nixos: each.nixos && pick(each.nixos, ['system', 'phase', 'content', 'settings', 'revision']),
      swarm: each.swarm && { ...each.swarm, peers: each.swarm.peers.map(worded).sort() },
      panel: each.panel && {
        admins: each.panel.admins,
        apiKeys: each.panel.apiKeys,
        host: each.panel.settings?.host,
        https: each.panel.settings?.https,
        letsEncryptEmail: each.panel.settings?.letsEncryptEmail,
        serverIp: worded(each.panel.settings?.serverIp ?? ''),
        apps: appsOf(each.panel.apps),
      },
      // An order that is under way is as good as one that has ended: the authority takes its time, and nobody waits for it.
      certificates: (each.certificates ?? []).map(({ host, accountEmail, state }) => ({
        host,
        accountEmail,
        state: state === 'failed' ? 'failed' : 'ordered',
      })),
    }))
    .sort(byName)
  const bareIps = cloud.ips.filter(ip => ip.assignee === null && ip.name.startsWith('primary_ip-'))
  const lock = cloud.firewalls.find(each => each.name === LOCK)

  return {
    estate: {
      servers: servers.map(server => ({
        name: server.name,
        status: server.status,
        type: server.type,
        location: server.location,
        labels: stable(server.labels),
        ipv4: server.ipv4 === null ? 'none' : ips.get(server.ipv4)?.type,
        ipv6: server.ipv6 === null ? 'none' : ips.get(server.ipv6)?.type,
        keys: server.publicKeys.length,
        networks: server.privateNets.length,
        firewalls: cloud.firewalls
          .filter(wall => wall.attachments.some(each => each.server === server.id && each.state === 'applied'))
          .map(wall => wall.name)
          .sort(),
      })),
      firewalls: firewalls.map(wall => ({ name: wall.name, labels: stable(wall.labels), rules: rulesOf(wall.rules) })),
      keys: keys.map(each => ({ name: each.name.replace(/-[0-9a-f]{8}$/, '-<fingerprint>'), labels: stable(each.labels) })),
      networks: networks.map(each => ({ name: each.name, range: each.range, subnets: each.subnets })),
      groups: groups.map(each => each.name),
      images: cloud.images.filter(isGolden).map(each => each.description),
      previews: previewsOf(
        sandbox,
        machines.map(({ name }) => name),
        worded,
      ),
      addresses: cloud.ips
        .filter(each => ours(each.labels))
        .map(({ type, assignee, autoDelete, labels }) => ({
          type,
          server: assignee === null ? 'none' : ids.get(assignee),
          autoDelete,
          labels: stable(labels),
        }))
        .sort((a, b) => (`${a.server} ${a.type}` < `${b.server} ${b.type}` ? -1 : 1)),
      records: ourRecords,
      ocean,
      hooks: sandbox.controls.github.hooks('acme/site').map(({ url, active }) => `${url.replace(/[^/]+$/, '<some>')} ${active}`),
      machines,
    },
    strangers: JSON.stringify(
      {
        servers: cloud.servers.filter(each => !ours(each.labels)),
        firewalls: cloud.firewalls.filter(each => !ours(each.labels) && each.name !== LOCK),
        keys: cloud.keys.filter(each => !ours(each.labels)),
        networks: cloud.networks.filter(each => !ours(each.labels)),
        groups: cloud.groups.filter(each => !ours(each.labels)),
        ips: cloud.ips.filter(
          ip => !(ip.assignee !== null && servers.some(server => server.id === ip.assignee)) && !bareIps.includes(ip),
        ),
        images: cloud.images.filter(each => !isGolden(each)),
        records: records.filter(record => !isOurRecord(record.comment)),
      },
      null,
      1,
    ),
    problems: [
      ...doubled(
        'server',
        servers.map(each => each.name),
      ),
      ...doubled(
        'firewall',
        firewalls.map(each => each.name),
      ),
      ...doubled(
        'SSH key',
        keys.map(each => each.publicKey),
      ),
      ...doubled(
        'network',
        networks.map(each => each.name),
      ),
      ...doubled(
        'DNS record',
        ourRecords.map(each => `${each.name} ${each.type}`),
      ),
      ...doubled(
        'droplet',
        ocean.droplets.map(each => each.name),
      ),
      ...doubled(
        'firewall at DigitalOcean',
        ocean.firewalls.map(each => each.name),
      ),
      ...machines.flatMap(each =>
        Object.entries(each.panel?.apps ?? {}).flatMap(([kind, rows]) => doubled(`${kind} of Dokploy on ${each.name}`, rows)),
      ),
      ...machines.flatMap(each => doubled(`node of the swarm of ${each.name}`, each.swarm?.nodes ?? [])),
      ...machines.flatMap(each => doubled(`API key of Dokploy on ${each.name}`, each.panel?.apiKeys ?? [])),
      ...machines.flatMap(each => doubled(`admin of Dokploy on ${each.name}`, each.panel?.admins ?? [])),
      ...bareIps.map(ip => `orphan address ${ip.ip}`),
      ...(sandbox.controls.digitalocean.dump().firewalls.some(each => each.name === LOCK) && !lockAllowed
        ? [`the lock ${LOCK} was left behind at DigitalOcean`]
        : []),
      ...(lock && !lockAllowed ? [`the lock ${LOCK} was left behind`] : []),
      ...sandbox.bugs.map(bug => `the sandbox failed: ${bug instanceof Error ? bug.message : String(bug)}`),
    ],
  }
}

/** What each machine serves of pull requests, and what the pull requests say of it. */
function previewsOf({ controls }: Sandbox, machines: readonly string[], worded: (text: string) => string) {
  return {
    machines: machines.map(name => {
      const { prepared, caddyfile, certificate, previews } = controls.machines.previews(name)
      return {
        name,
        prepared,
        caddyfile: caddyfile
          ?.split(/(?<=\s)|(?=[\s:])/)
          .map(worded)
          .join(''),
        certificate: certificate === undefined ? 'none' : 'some',
        previews: Object.entries(previews).map(([number, { head, state, variables }]) => ({ number, head, state, variables })),
      }
    }),
    // What it has cost so far is told further below.
    comments: controls.github.pulls(REPOSITORY).map(({ number }) => ({
      number,
      says: controls.github.comments(REPOSITORY, number).map(({ body }) => body.split('\n')[0]),
    })),
  }
}

/** This account has no strangers: everything in it is the estate's. */
function lookAtDroplets(sandbox: Sandbox) {
  const { droplets, firewalls, keys, vpcs, tags } = sandbox.controls.digitalocean.dump()
  const names = new Map(droplets.map(each => [each.id, each.name]))
  return {
    droplets: droplets
      .map(({ name, status, size, region, tags: own, publicKeys }) => ({
        name,
        status,
        size,
        region,
        tags: own.map(wordOfTag).sort(),
        keys: publicKeys.length,
      }))
      .sort(byName),
    firewalls: firewalls
      .filter(each => each.name !== LOCK)
      .map(({ name, inbound, outbound, tags: own, dropletIds }) => ({
        name,
        inbound,
        outbound,
        tags: own.map(wordOfTag).sort(),
        droplets: dropletIds.map(id => names.get(id) ?? 'none').sort(),
      }))
      .sort(byName),
    keys: keys.map(each => each.name.replace(/-[0-9a-f]{8} /, '-<fingerprint> ').replace(/ run=[^ )]+/, ' run=<some>')),
    networks: vpcs.map(each => each.range),
    tags: [...new Set(tags.map(wordOfTag))].sort(),
  }
}

const wordOfTag = (tag: string): string => tag.replace(/^(landfall-(?:firewall-)?(?:run|hostkey)):.*/, '$1:<some>')

/** Everything that `app.ts` makes in a panel, by what people call it. */
const appsOf = (apps: AppsDump | undefined): Record<string, string[]> =>
  Object.fromEntries(
    Object.entries(apps ?? {}).map(([kind, rows]) => [
      kind,
      rows
        .map(row => {
          if (typeof row !== 'object' || row === null) return String(row)
          const { appName: _, failures: __, ...lasting } = row as Record<string, unknown>
          return JSON.stringify(lasting)
        })
        .sort(),
    ]),
  )

type AppsDump = Readonly<Record<string, readonly unknown[]>>

interface MachineDump {
  readonly name: string
  readonly booted: boolean
  readonly dokploy: string
  readonly login?: readonly string[]
  readonly nixos?: Readonly<Record<string, unknown>>
  readonly swarm?: { readonly peers: readonly string[]; readonly nodes: readonly string[]; readonly isMember: boolean }
  readonly panel?: {
    readonly admins: readonly string[]
    readonly apiKeys: readonly string[]
    readonly apps?: AppsDump
    readonly settings?: {
      readonly host?: string
      readonly https?: boolean
      readonly letsEncryptEmail?: string
      readonly serverIp?: string
    }
  }
  readonly certificates?: readonly { readonly host: string; readonly accountEmail: string; readonly state: string }[]
}

/** Where two truths differ, in a few lines; empty when they are alike. */
export function differences(expected: unknown, found: unknown, path = ''): string[] {
  if (JSON.stringify(expected) === JSON.stringify(found)) return []
  if (typeof expected !== 'object' || typeof found !== 'object' || expected === null || found === null)
    return [
      `${path || 'world'}: expected ${JSON.stringify(expected)?.slice(0, 200)}, found ${JSON.stringify(found)?.slice(0, 200)}`,
    ]
  const keys = new Set([...Object.keys(expected), ...Object.keys(found)])
  return [...keys].flatMap(key => differences(Reflect.get(expected, key), Reflect.get(found, key), `${path}/${key}`))
}
