/** SSH keys, private networks, primary addresses and placement groups: the small things that servers are made with. */

import { createHash } from 'node:crypto'
import { LandfallError } from '../../errors.ts'
import type { Cloud, Network, PlacementGroup, PrimaryIp, SshKey } from '../ports/cloud.ts'
import { type Created, createNamed, type Deps, findNamed, findOwn, takenBy, track } from './deps.ts'
import { firstAddress, labelsFromWire, type WireId, type WireNamed } from './wire.ts'

type Belongings = Pick<
  Cloud,
  | 'listSshKeys'
  | 'listNetworks'
  | 'listPrimaryIps'
  | 'listPlacementGroups'
  | 'createSshKey'
  | 'createNetwork'
  | 'createPrimaryIp'
  | 'keepPrimaryIp'
  | 'createPlacementGroup'
  | 'deleteSshKey'
  | 'deleteNetwork'
  | 'deletePrimaryIp'
  | 'deletePlacementGroup'
>

export function createBelongings(deps: Deps): Belongings {
  const { calls, likelyServers } = deps
  const remove = async (what: string, path: string, id: string): Promise<void> => {
    await calls.remove({ what: `delete ${what} ${id}`, path: `${path}/${encodeURIComponent(id)}` }, () => undefined)
  }

  /** A key is the same key under any name, and the vendor takes each only once. */
  const findKey = async (name: string, publicKey: string): Promise<Created<WireSshKey> | undefined> => {
    const query = [['fingerprint', fingerprintOf(publicKey)] as const]
    const byKey = await calls.list<WireSshKey>({ what: `find SSH key ${name}`, path: '/ssh_keys', query }, 'ssh_keys')
    const found = byKey.value.find(key => blobOf(key.public_key ?? '') === blobOf(publicKey))
    if (found) return { object: found, actions: [], receivedAtMs: byKey.receivedAtMs }
    const place = { what: `SSH key ${name}`, path: '/ssh_keys', key: 'ssh_keys' }
    if ((await findNamed<WireSshKey>(deps, { ...place, name })).value) throw takenBy(`SSH key ${name}`)
    return undefined
  }

  return {
    async listSshKeys() {
      const { value } = await calls.list<WireSshKey>({ what: 'list SSH keys', path: '/ssh_keys' }, 'ssh_keys')
      return value.map(sshKeyFromWire)
    },
    async createSshKey({ name, publicKey, labels }) {
      const { object } = await createNamed<WireSshKey>(deps, {
        what: `SSH key ${name}`,
        path: '/ssh_keys',
        key: 'ssh_key',
        body: { name, public_key: publicKey, labels },
        find: () => findKey(name, publicKey),
      })
      return sshKeyFromWire(object)
    },
    deleteSshKey: id => remove('SSH key', '/ssh_keys', id),

    async listNetworks() {
      const { value } = await calls.list<WireNetwork>({ what: 'list networks', path: '/networks' }, 'networks')
      return value.map(networkFromWire)
    },
    async createNetwork({ name, range, subnet, zone, labels }) {
      const place = { what: `network ${name}`, path: '/networks', key: 'networks' }
      const { object } = await createNamed<WireNetwork>(deps, {
        ...place,
        key: 'network',
        body: { name, ip_range: range, subnets: [{ type: 'cloud', ip_range: subnet, network_zone: zone }], labels },
        find: () => findOwn<WireNetwork>(deps, { ...place, name, labels }),
      })
      return networkFromWire(object)
    },
    deleteNetwork: id => remove('network', '/networks', id),

    async listPrimaryIps() {
      const request = { what: 'list primary IPs', path: '/primary_ips' } as const
      // A server has one of each family.
      const { value } = await calls.list<WirePrimaryIp>(request, 'primary_ips', 2 * likelyServers)
      return value.map(primaryIpFromWire)
    },
    async createPrimaryIp({ name, type, location, labels }) {
      const place = { what: `primary IP ${name}`, path: '/primary_ips', key: 'primary_ips' }
      const { object, actions, receivedAtMs } = await createNamed<WirePrimaryIp>(deps, {
        ...place,
        key: 'primary_ip',
        // Kept when its server goes: that is what it is for.
        body: { name, type, location, labels, auto_delete: false },
        find: () => findOwn<WirePrimaryIp>(deps, { ...place, name, labels }),
      })
      await track(deps, actions, { what: `create ${place.what}`, order: 'together', receivedAtMs })
      return primaryIpFromWire(object)
    },
    async keepPrimaryIp(id, labels) {
      const path = `/primary_ips/${encodeURIComponent(id)}`
      await calls.call(
        { what: `keep primary IP ${id}`, method: 'PUT', path, body: { auto_delete: false, labels } },
        () => undefined,
      )
    },
    deletePrimaryIp: id => remove('primary IP', '/primary_ips', id),

    async listPlacementGroups() {
      const { value } = await calls.list<WireGroup>(
        { what: 'list placement groups', path: '/placement_groups' },
        'placement_groups',
      )
      return value.map(groupFromWire)
    },
    async createPlacementGroup({ name, labels }) {
      const place = { what: `placement group ${name}`, path: '/placement_groups', key: 'placement_groups' }
      const { object, actions, receivedAtMs } = await createNamed<WireGroup>(deps, {
        ...place,
        key: 'placement_group',
        body: { name, labels, type: 'spread' },
        find: () => findOwn<WireGroup>(deps, { ...place, name, labels }),
      })
      await track(deps, actions, { what: `create ${place.what}`, order: 'together', receivedAtMs })
      return groupFromWire(object)
    },
    deletePlacementGroup: id => remove('placement group', '/placement_groups', id),
  }
}

/** The base64 part of an OpenSSH public key, without its type and comment. */
const blobOf = (publicKey: string): string => publicKey.trim().split(/\s+/)[1] ?? ''

/** As Hetzner writes it: MD5 of the key blob, hex in pairs. */
function fingerprintOf(publicKey: string): string {
  const blob = blobOf(publicKey)
  if (blob === '') {
    throw new LandfallError('config', 'The SSH public key is not in the OpenSSH format (type, key, comment).', {
      hint: 'Give the contents of a .pub file, as made by ssh-keygen.',
    })
  }
  const hex = createHash('md5').update(Buffer.from(blob, 'base64')).digest('hex')
  return hex.replace(/(..)(?=.)/g, '$1:')
}

interface WireSshKey extends WireNamed {
  readonly public_key?: string | null
}

interface WireNetwork extends WireNamed {
  readonly ip_range?: string | null
  readonly subnets?: readonly { readonly ip_range?: string | null; readonly network_zone?: string | null }[] | null
}

interface WirePrimaryIp extends WireNamed {
  readonly type?: string | null
  readonly ip?: string | null
  readonly location?: { readonly name?: string | null } | null
  readonly assignee_id?: WireId | null
  readonly assignee_type?: string | null
  readonly auto_delete?: boolean | null
}

interface WireGroup extends WireNamed {
  readonly servers?: readonly WireId[] | null
}

const sshKeyFromWire = (wire: WireSshKey): SshKey => ({
  id: String(wire.id),
  name: wire.name ?? '',
  publicKey: wire.public_key ?? '',
  labels: labelsFromWire(wire.labels),
})

const networkFromWire = (wire: WireNetwork): Network => ({
  id: String(wire.id),
  name: wire.name ?? '',
  range: wire.ip_range ?? '',
  subnets: (wire.subnets ?? []).map(subnet => ({ range: subnet.ip_range ?? '', zone: subnet.network_zone ?? '' })),
  labels: labelsFromWire(wire.labels),
})

const primaryIpFromWire = (wire: WirePrimaryIp): PrimaryIp => ({
  id: String(wire.id),
  name: wire.name ?? '',
  type: wire.type === 'ipv6' ? 'ipv6' : 'ipv4',
  ip: firstAddress(wire.ip ?? ''),
  location: wire.location?.name ?? '',
  ...(wire.assignee_id && wire.assignee_type !== 'unassigned' ? { serverId: String(wire.assignee_id) } : {}),
  deletedWithServer: wire.auto_delete ?? false,
  labels: labelsFromWire(wire.labels),
})

const groupFromWire = (wire: WireGroup): PlacementGroup => ({
  id: String(wire.id),
  name: wire.name ?? '',
  labels: labelsFromWire(wire.labels),
  serverIds: (wire.servers ?? []).map(String),
})
