/** SSH keys and private networks of the account. */

import { createHash } from 'node:crypto'
import { overlaps, parseCidr } from '../hetzner/cidr.ts'
import { REGIONS } from './catalogue.ts'
import {
  type Call,
  droplets,
  nextId,
  nextUuid,
  notFound,
  pageOf,
  Refusal,
  type Route,
  textOf,
  time,
  unprocessable,
  type VpcRow,
} from './state.ts'

const createKey = (call: Call) => {
  const name = textOf(call, 'name')
  const publicKey = textOf(call, 'public_key').trim()
  const [type, blob = ''] = publicKey.split(/\s+/)
  if (!/^(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-)/.test(type ?? '') || !/^[A-Za-z0-9+/]{40,}=*$/.test(blob))
    throw unprocessable('Key invalid, key should be of the format `TYPE DATA COMMENT`')
  if (call.account.keys.all().some(key => key.publicKey.split(/\s+/)[1] === blob))
    throw unprocessable('SSH Key is already in use on your account')
  const id = nextId(call.account, 'keys')
  const hex = createHash('md5').update(Buffer.from(blob, 'base64')).digest('hex')
  const row = { id, name, publicKey, fingerprint: hex.replace(/(..)(?=.)/g, '$1:') }
  call.account.keys.put(String(id), row)
  return { status: 201, json: { ssh_key: renderKey(row) } }
}

const renderKey = (row: { id: number; name: string; publicKey: string; fingerprint: string }) => ({
  id: row.id,
  name: row.name,
  public_key: row.publicKey,
  fingerprint: row.fingerprint,
})

const removeKey = (call: Call) => {
  if (!call.account.keys.delete(call.names[0] ?? '')) throw notFound()
  return { status: 204 }
}

/** The network that droplets of a region are in when none is named. */
export const defaultVpc = (call: Call, region: string): VpcRow => {
  const have = call.account.vpcs.all().find(vpc => vpc.region === region && vpc.isDefault)
  if (have) return have
  const row = {
    id: nextUuid(call.account),
    name: `default-${region}`,
    region,
    range: `10.${100 + REGIONS.findIndex(each => each.slug === region)}.0.0/20`,
    description: '',
    isDefault: true,
    createdAtMs: call.nowMs,
  }
  call.account.vpcs.put(row.id, row)
  return row
}

const createVpc = (call: Call) => {
  const name = textOf(call, 'name')
  if (!/^[A-Za-z0-9.-]{1,255}$/.test(name)) throw unprocessable('name may only hold letters, numbers, periods and dashes')
  const region = textOf(call, 'region')
  if (!REGIONS.some(each => each.slug === region)) throw unprocessable('region is invalid')
  const range = textOf(call, 'ip_range')
  const block = parseCidr(range)
  const prefix = Number(range.split('/')[1])
  if (!block || prefix < 16 || prefix > 28) throw unprocessable('ip_range must be between /16 and /28')
  if (call.account.vpcs.all().some(vpc => vpc.name === name)) throw unprocessable('name is already in use')
  if (call.account.vpcs.all().some(vpc => overlaps(parseCidr(vpc.range) ?? block, block)))
    throw unprocessable('ip_range overlaps with another VPC')
  const description = call.body().description
  const text = typeof description === 'string' ? description : ''
  if (text.length > 255) throw unprocessable('description is too long')
  const row = { id: nextUuid(call.account), name, region, range, description: text, isDefault: false, createdAtMs: call.nowMs }
  call.account.vpcs.put(row.id, row)
  return { status: 201, json: { vpc: renderVpc(row) } }
}

const removeVpc = (call: Call) => {
  const row = call.account.vpcs.get(call.names[0] ?? '')
  if (!row) throw notFound()
  if (droplets(call).some(droplet => droplet.vpc === row.id))
    throw new Refusal(403, 'forbidden', 'Can not delete VPC with members')
  call.account.vpcs.delete(row.id)
  return { status: 204 }
}

const renderVpc = (row: VpcRow) => ({
  id: row.id,
  name: row.name,
  region: row.region,
  ip_range: row.range,
  description: row.description,
  default: row.isDefault,
  created_at: time(row.createdAtMs),
  urn: `do:vpc:${row.id}`,
})

export const belongingRoutes: readonly Route[] = [
  { method: 'GET', path: '/account/keys', handle: call => pageOf(call, 'ssh_keys', call.account.keys.all(), renderKey) },
  { method: 'POST', path: '/account/keys', handle: createKey },
  { method: 'DELETE', path: '/account/keys/{}', handle: removeKey },
  { method: 'GET', path: '/vpcs', handle: call => pageOf(call, 'vpcs', call.account.vpcs.all(), renderVpc) },
  { method: 'POST', path: '/vpcs', handle: createVpc },
  { method: 'DELETE', path: '/vpcs/{}', handle: removeVpc },
]
