/** SSH keys and private networks, whose labels stand in their free texts; and what this vendor has not. */

import { LandfallError } from '../../errors.ts'
import type { Cloud, Labels, Network, SshKey } from '../ports/cloud.ts'
import { type Client, objectIn } from './client.ts'
import { carries, takenBy } from './firewalls.ts'

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

/** The vendor answers this list ten times in 60 s; another process may change it meanwhile. */
const KEYS_KEPT_MS = 15_000
/** A network answers "has members" for a while after its last droplet is gone. */
const NETWORK_FREE_WITHIN_MS = 120_000

export function createBelongings(client: Client): Belongings {
  const { clock, signal } = client.context
  let kept: { readonly keys: Promise<readonly WireKey[]>; readonly atMs: number } | undefined
  const listKeys = (): Promise<readonly WireKey[]> => {
    if (kept && clock.monotonicMs() - kept.atMs < KEYS_KEPT_MS) return kept.keys
    const keys = client
      .list<WireKey>({ what: 'list SSH keys', path: '/account/keys' }, 'ssh_keys', (dots, page) => dots.sshKey.listSshKeys(page))
      .then(answer => answer.value)
    kept = { keys, atMs: clock.monotonicMs() }
    keys.catch(() => {
      kept = undefined
    })
    return keys
  }
  const listNetworks = async (): Promise<readonly WireVpc[]> =>
    (await client.list<WireVpc>({ what: 'list networks', path: '/vpcs' }, 'vpcs', (dots, page) => dots.vpc.listVpcs(page))).value

  const lacks = (what: string) => async (): Promise<never> => {
    throw new LandfallError('config', `DigitalOcean has no ${what}.`, { hint: `Take them out of config.json.` })
  }

  return {
    listSshKeys: async () => (await listKeys()).map(keyFromWire),

    async createSshKey({ name, publicKey, labels }) {
      const what = `create SSH key ${name}`
      const made = await client.create(
        { what, path: '/account/keys' },
        dots => dots.sshKey.createSshKey({ name: withLabels(name, labels), public_key: publicKey }),
        data => objectIn<WireKey>(data, 'ssh_key', what),
        async () => {
          kept = undefined
          // A key is the same key under any name, and the vendor takes each only once.
          return (await listKeys()).find(key => blobOf(key.public_key ?? '') === blobOf(publicKey))
        },
        error => error.status === 409 || error.status === 422,
      )
      kept = undefined
      return keyFromWire(made)
    },

    async deleteSshKey(id) {
      kept = undefined
      await client.remove({ what: `delete SSH key ${id}`, path: `/account/keys/${id}` }, dots =>
        dots.sshKey.destroySshKey({ ssh_key_id: Number(id) }),
      )
    },

    listNetworks: async () => (await listNetworks()).map(networkFromWire),

    async createNetwork({ name, range, subnet, zone, labels }) {
      const what = `create network ${name}`
      if (range !== subnet)
        throw new LandfallError(
          'config',
          `A network at DigitalOcean is one subnet, and ${name} shall be ${range} with ${subnet}.`,
          {
            hint: 'Set network.range and network.subnet in config.json to the same range.',
          },
        )
      const made = await client.create(
        { what, path: '/vpcs' },
        dots => dots.vpc.createVpc({ name, region: zone, ip_range: range, description: withLabels('', labels) }),
        data => objectIn<WireVpc>(data, 'vpc', what),
        async () => {
          const found = (await listNetworks()).find(each => each.name === name)
          if (found && !carries(readLabels(found.description ?? '').labels, labels)) throw takenBy(`network ${name}`)
          return found
        },
        error => error.status === 409 || error.status === 422,
      )
      return networkFromWire(made)
    },

    async deleteNetwork(id) {
      const deadlineMs = clock.monotonicMs() + NETWORK_FREE_WITHIN_MS
      for (let pauseMs = 500; ; pauseMs = Math.min(5_000, pauseMs * 1.5)) {
        try {
          return await client.remove({ what: `delete network ${id}`, path: `/vpcs/${id}` }, dots =>
            dots.vpc.deleteVpc({ vpc_id: id }),
          )
        } catch (error) {
          const inUse = error instanceof LandfallError && (error.status === 403 || error.status === 409)
          if (!inUse || clock.monotonicMs() > deadlineMs) throw error
          await clock.sleep(pauseMs, signal)
        }
      }
    },

    listPrimaryIps: async () => [],
    listPlacementGroups: async () => [],
    createPrimaryIp: lacks('primary IPs'),
    keepPrimaryIp: lacks('primary IPs'),
    createPlacementGroup: lacks('placement groups'),
    deletePrimaryIp: lacks('primary IPs'),
    deletePlacementGroup: lacks('placement groups'),
  }
}

/** The base64 part of an OpenSSH public key, without its type and comment. */
const blobOf = (publicKey: string): string => publicKey.trim().split(/\s+/)[1] ?? ''

/** `solo-root-ab12 (landfall estate=solo role=shared run=…)`: neither keys nor networks have tags. */
const withLabels = (name: string, labels: Labels): string =>
  `${name} (landfall ${Object.entries(labels)
    .map(([key, value]) => `${key.replace('landfall/', '')}=${value}`)
    .join(' ')})`.trim()

function readLabels(text: string): { readonly name: string; readonly labels: Labels } {
  const match = /^(.*?)\s*\(landfall ((?:[a-z-]+=[\w.-]+ ?)+)\)$/.exec(text)
  if (!match) return { name: text, labels: {} }
  const pairs = (match[2] ?? '').split(' ').map(pair => pair.split('=') as [string, string])
  return { name: match[1] ?? '', labels: Object.fromEntries(pairs.map(([key, value]) => [`landfall/${key}`, value])) }
}

interface WireKey {
  readonly id: number
  readonly name?: string | null
  readonly public_key?: string | null
}

interface WireVpc {
  readonly id: string
  readonly name?: string | null
  readonly description?: string | null
  readonly ip_range?: string | null
  readonly region?: string | null
}

const keyFromWire = (wire: WireKey): SshKey => ({
  id: String(wire.id),
  publicKey: wire.public_key ?? '',
  ...readLabels(wire.name ?? ''),
})

const networkFromWire = (wire: WireVpc): Network => ({
  id: wire.id,
  name: wire.name ?? '',
  range: wire.ip_range ?? '',
  subnets: [{ range: wire.ip_range ?? '', zone: wire.region ?? '' }],
  labels: readLabels(wire.description ?? '').labels,
})
