/** SSH keys: unique by name and by fingerprint. */
import { createHash } from 'node:crypto'
import { invalidField, listAnswer, notFound, notUnique, SORT_ID_NAME, visible, wireTime } from './answers.ts'
import { type Call, type Cloud, nextId, ofProject, own, patch, type Route } from './cloud.ts'
import type { KeyRow } from './rows.ts'

const TYPES =
  /^(ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com)$/

/** The MD5 fingerprint of an OpenSSH public key in colon notation; undefined when it is not one. */
export const fingerprintOf = (publicKey: string): string | undefined => {
  const [type = '', base64 = ''] = publicKey.trim().split(/\s+/)
  if (!TYPES.test(type) || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined
  const blob = Buffer.from(base64, 'base64')
  // The blob repeats the type: a length of four bytes, then the word.
  const named =
    blob.length > 4 + type.length && blob.readUInt32BE(0) === type.length && blob.toString('latin1', 4, 4 + type.length)
  if (named !== type) return undefined
  return createHash('md5').update(blob).digest('hex').match(/../g)?.join(':')
}

/** A key of the project by id or name. */
export const findKey = (cloud: Cloud, project: string, idOrName: string): KeyRow | undefined =>
  ofProject(cloud.keys, project).find(key => String(key.id) === idOrName || key.name === idOrName)

const theKey = (call: Call): KeyRow => {
  const [id = 0] = call.ids
  const key = own(call.cloud.keys, call.project, id)
  if (!key) throw notFound('ssh_key', id)
  return key
}

const refuseTakenName = (call: Call, name: string | undefined, self?: number): void => {
  if (ofProject(call.cloud.keys, call.project).some(key => key.name === name && key.id !== self))
    throw notUnique('SSH key name is already used', 'name')
}

const create = (call: Call) => {
  const { cloud, project } = call
  const body = call.body()
  const name = body.requiredText('name')
  const publicKey = body.requiredText('public_key').trim()
  const labels = body.labels() ?? {}
  body.check()
  const fingerprint = fingerprintOf(publicKey)
  if (fingerprint === undefined) throw invalidField('public_key', 'must be a valid OpenSSH public key')
  refuseTakenName(call, name)
  if (ofProject(cloud.keys, project).some(key => key.fingerprint === fingerprint))
    throw notUnique('SSH key with the same fingerprint already exists', 'public_key')
  const key: KeyRow = { id: nextId(cloud, 'keys'), project, createdAtMs: call.nowMs, labels, name, fingerprint, publicKey }
  cloud.keys.put(String(key.id), key)
  return { status: 201, json: { ssh_key: renderKey(key) } }
}

const update = (call: Call) => {
  const key = theKey(call)
  const body = call.body()
  const name = body.text('name', { min: 1 }) ?? key.name
  const labels = body.labels() ?? key.labels
  body.check()
  refuseTakenName(call, name, key.id)
  patch(call.cloud.keys, key.id, { name, labels })
  return { status: 200, json: { ssh_key: renderKey(theKey(call)) } }
}

export const keyRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/ssh_keys',
    handle: call => {
      const fingerprint = call.query.get('fingerprint')
      const rows = visible(call, ofProject(call.cloud.keys, call.project))
      return listAnswer(
        call,
        'ssh_keys',
        rows.filter(key => fingerprint === null || key.fingerprint === fingerprint),
        SORT_ID_NAME,
        renderKey,
      )
    },
  },
  { method: 'POST', path: '/ssh_keys', handle: create },
  { method: 'GET', path: '/ssh_keys/{id}', handle: call => ({ status: 200, json: { ssh_key: renderKey(theKey(call)) } }) },
  { method: 'PUT', path: '/ssh_keys/{id}', handle: update },
  {
    method: 'DELETE',
    path: '/ssh_keys/{id}',
    handle: call => {
      call.cloud.keys.delete(String(theKey(call).id))
      return { status: 204 }
    },
  },
]

const renderKey = (key: KeyRow) => ({
  id: key.id,
  name: key.name,
  fingerprint: key.fingerprint,
  public_key: key.publicKey,
  labels: key.labels,
  created: wireTime(key.createdAtMs),
})
