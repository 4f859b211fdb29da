/** Worlds for looks: an estate, its objects as they should be, and a view that offers a step no more than it says it reads. */

import type { MoveStore } from '../../../lib/cutover/store.ts'
import type { Finding } from '../../../lib/engine/step.ts'
import { encodeHostKey, LABEL_KEYS, labelsFor } from '../../../lib/estate/labels.ts'
import { renderRecordMark } from '../../../lib/estate/naming.ts'
import type { Firewall, Image, Pricing, PrimaryIp, Server, ServerType } from '../../../lib/providers/ports/cloud.ts'
import type { DnsRecord, Zone } from '../../../lib/providers/ports/dns.ts'
import type { NodeState } from '../../../lib/steps/cluster-world.ts'
import type { Deps, EstateStep } from '../../../lib/steps/deps.ts'
import type { Facts } from '../../../lib/steps/machine.ts'
import type { OutsideState } from '../../../lib/steps/outside.ts'
import type { PanelState } from '../../../lib/steps/panel.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { KEY, load, OTHER_KEY, twoServers } from '../estate/configs.ts'

export const HOST_KEY = OTHER_KEY
export const estate = load(twoServers, [], [{ name: 'alice', publicKey: KEY }])

/** Adapters that a look must not touch: each call fails. */
const untouched = <T extends object>(what: string): T =>
  new Proxy({} as T, {
    get: (_, name) => () => {
      throw new Error(`a look called ${what}.${String(name)}`)
    },
  })

export const deps: Deps = {
  estate,
  runId: 'run-1',
  clock: untouched('clock'),
  cloud: untouched('cloud'),
  dns: untouched('dns'),
  readsNames: true,
  machines: untouched('machines'),
  programs: untouched('programs'),
  panelOn: () => Promise.reject(new Error('a look opened a tunnel')),
  outside: untouched('outside'),
  nixos: {
    installer: untouched('installer'),
    flake: {
      directory: '/flake',
      content: 'abc',
      untracked: [],
      archive: () => Promise.reject(new Error('a look packed the flake')),
    },
    reinstall: [],
    lowMemory: false,
  },
  serviceVariables: () => Promise.reject(new Error('a look read a file')),
  takeOver: [],
}

export const store: MoveStore = { ...untouched<MoveStore>('store'), directory: '.landfall/nextnode' }

export const ours = labelsFor('nextnode', 'prod', 'run-0')
export const theirs = labelsFor('nextnode2', 'prod', 'run-0')

const offer = {
  location: 'nbg1',
  stock: 'available',
  hourly: { net: 0.01, gross: 0.012 },
  monthly: { net: 6.49, gross: 7.72 },
} as const

export const serverType = (name: string, change: Partial<ServerType> = {}): ServerType => ({
  id: name,
  name,
  cores: 2,
  memoryGb: 4,
  diskGb: 40,
  architecture: 'x86',
  offers: [offer],
  ...change,
})

export const pricing: Pricing = {
  currency: 'EUR',
  vatRate: 19,
  snapshotGbMonth: { net: 0.01, gross: 0.012 },
  volumeGbMonth: { net: 0.04, gross: 0.05 },
  servers: ['cx23', 'cx33'].map(type => ({
    type,
    location: 'nbg1',
    hourly: { net: 0.01, gross: 0.012 },
    monthly: { net: 6.49, gross: 7.72 },
  })),
  primaryIps: [{ type: 'ipv4', location: 'nbg1', hourly: { net: 0.0008, gross: 0.001 }, monthly: { net: 0.5, gross: 0.6 } }],
  serverBackupPercent: 20,
}

export const golden = (change: Partial<Image> = {}): Image => ({
  id: '9',
  description: 'built',
  kind: 'snapshot',
  status: 'available',
  architecture: 'x86',
  diskGb: 40,
  sizeGb: 2,
  createdAt: '2026-01-01T00:00:00Z',
  labels: { [LABEL_KEYS.image]: 'nixos-dokploy' },
  ...change,
})

export const server = (name: string, change: Partial<Server> = {}): Server => ({
  id: name === 'prod-dokploy' ? '2' : '1',
  name,
  status: 'running',
  labels: { ...ours, [LABEL_KEYS.hostKey]: encodeHostKey(HOST_KEY), [LABEL_KEYS.trust]: 'pinned' },
  type: name === 'prod-dokploy' ? 'cx33' : 'cx23',
  location: 'nbg1',
  ipv4: name === 'prod-dokploy' ? '203.0.113.2' : '203.0.113.1',
  ipv6: name === 'prod-dokploy' ? '2001:db8:2::1' : '2001:db8:1::1',
  privateIps: [],
  firewallIds: ['f1', 'f2'],
  createdAt: '2026-01-01T00:00:00Z',
  locked: false,
  deleteProtected: false,
  ...change,
})

/** Put aside for a server, and on it unless `change` says otherwise. */
export const address = (id: string, keptFor: string, change: Partial<PrimaryIp> = {}): PrimaryIp => ({
  id,
  name: `primary_ip-${id}`,
  type: 'ipv4',
  ip: `203.0.113.${100 + Number(id)}`,
  location: 'nbg1',
  serverId: keptFor,
  deletedWithServer: false,
  labels: { [LABEL_KEYS.estate]: 'acme', [LABEL_KEYS.keptFor]: keptFor },
  ...change,
})

export const firewall = (name: string, id: string, rules: Firewall['rules'], labels = ours): Firewall => ({
  id,
  name,
  labels,
  rules,
  serverIds: ['1', '2'],
})

export const zone: Zone = { id: 'z', name: 'nextnode.fr', status: 'active', nameservers: ['ns1.example.net', 'ns2.example.net'] }

export const record = (name: string, content: string, change: Partial<DnsRecord> = {}): DnsRecord => ({
  id: `${name} ${content}`,
  name,
  type: content.includes(':') ? 'AAAA' : 'A',
  content,
  ttl: 300,
  proxied: false,
  comment: renderRecordMark({ estate: 'nextnode', server: 'prod-dokploy', serverId: '2' }),
  raw: {},
  ...change,
})

export const facts: Facts = {
  os: 'nixos-26.05',
  memoryMb: 4000,
  diskFreeMb: 30_000,
  docker: '28',
  swarm: 'active',
  swarmNode: 'manager',
  swarmPeers: [],
  worker: 'absent',
  cloudInit: 'done',
  dokploy: 'installed',
  dokployLogin: 'present',
  system: 'stock',
  installPhase: 'none',
  installedBy: '',
  panelPort: 'unguarded',
  sshClient: '198.51.100.7',
  clockS: 0,
}
export const ready = { state: 'ready', trust: 'pinned', facts } as const
export const panel: PanelState = {
  state: 'up',
  admin: 'ours',
  version: 'v0.30.2',
  settings: { host: 'admin.nextnode.fr', https: true },
}
export const seen = {
  ports: { 22: 'open', 80: 'open', 443: 'open', 2377: 'filtered', 5432: 'filtered', 6379: 'filtered', 7946: 'filtered' },
  name: {
    host: 'admin.nextnode.fr',
    answers: [{ server: 'ns1.example.net', status: 'ok', values: ['203.0.113.2'] }],
    tls: { state: 'trusted', issuer: 'Test CA', names: ['admin.nextnode.fr'] },
    login: 'answers',
  },
} satisfies OutsideState

type Slices = Partial<EstateWorld>

/** Nothing of ours, and nobody else's either. */
const empty: Slices = {
  locations: [{ name: 'nbg1', city: 'Nuremberg', country: 'DE', networkZone: 'eu-central' }],
  serverTypes: [serverType('cx23'), serverType('cx33')],
  pricing,
  images: [golden()],
  keys: [],
  networks: [],
  firewalls: [],
  primaryIps: [],
  placementGroups: [],
  loadBalancers: [],
  servers: [],
  zone,
  records: [],
  machines: {},
  panels: {},
  swarms: {},
  outside: {},
  moves: {},
}

/** What a step says of `empty` with `change`; a slice that it does not name in its reads is not there. */
export const lookAt = (step: EstateStep, change: Slices = {}): Finding<EstateWorld> => {
  const world = { ...empty, ...change }
  const look = () =>
    step.look({
      get<K extends keyof EstateWorld>(slice: K): EstateWorld[K] {
        if (!step.reads.includes(slice)) throw new Error(`${step.id} looks at ${slice}, which is not in its reads`)
        if (!(slice in world)) throw new Error(`${step.id} looks at ${slice}, which no test world has`)
        return world[slice] as EstateWorld[K]
      },
    })
  const finding = look()
  if (JSON.stringify(look()) !== JSON.stringify(finding)) throw new Error(`${step.id} says two things of one world`)
  return finding
}

/** A finding as a line: `done detail`, `todo kind summary; …`, `blocked on | later …`, `refused why`. */
export const say = (finding: Finding<EstateWorld>): string => {
  const changes = (list: readonly { readonly kind: string; readonly summary: string }[]) =>
    list.map(({ kind, summary }) => `${kind} ${summary}`).join('; ')
  switch (finding.state) {
    case 'done':
      return `done ${finding.detail}`
    case 'todo':
      return `todo ${changes(finding.changes)}`
    case 'blocked':
      return `blocked ${finding.on} | ${changes(finding.later)}`
    case 'refused':
      return `refused ${finding.why}`
  }
}

/** A program of a cluster that runs as wanted. */
export const clusterPart = { version: '1.0.0', running: true, files: 'x', certificate: 'good', certificateHash: '' } as const

/** A machine of a cluster on which all of them do. */
export const openNode: Extract<NodeState, { state: 'open' }> = {
  state: 'open',
  privateIp: '172.16.0.2',
  interface: 'enp7s0',
  leaving: false,
  parts: { consul: clusterPart, nomad: clusterPart, caddy: clusterPart },
}
