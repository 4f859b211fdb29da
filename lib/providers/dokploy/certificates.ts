/** Certificates that are given to a panel's Traefik, which then chooses them by server name (facts/dokploy 11). */

import { LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { GivenCertificate } from '../ports/dokploy.ts'
import { type Client, isObject, isUnknownOutcome } from './client.ts'

type Get = (path: string, apiKey: Secret) => Promise<unknown>

export async function listCertificates(get: Get, apiKey: Secret): Promise<GivenCertificate[]> {
  const wire = await get('/api/certificates.all', apiKey)
  if (!Array.isArray(wire)) throw new LandfallError('network', "Dokploy's answer to /api/certificates.all is no list.")
  return wire.flatMap(fromWire)
}

/** @throws LandfallError unverified, when the panel took it and does not show it */
export async function installCertificate(
  client: Pick<Client, 'call'>,
  get: Get,
  apiKey: Secret,
  input: { readonly name: string; readonly certificate: string; readonly privateKey: Secret },
): Promise<void> {
  const given = await listCertificates(get, apiKey)
  const isSame = (each: GivenCertificate) => each.name === input.name && each.certificate.trim() === input.certificate.trim()
  if (!given.some(isSame)) {
    const body = {
      name: input.name,
      certificateData: input.certificate,
      privateKey: input.privateKey.reveal(),
      organizationId: await readOrganization(get, apiKey),
      autoRenew: null,
    }
    try {
      await client.call({ method: 'POST', path: '/api/certificates.create', as: { apiKey }, body })
    } catch (error) {
      // A lost answer is not asked for again before the list was looked at: there is no key that would make two one.
      if (!isUnknownOutcome(error) || !(await listCertificates(get, apiKey)).some(isSame)) throw error
    }
  }
  const now = await listCertificates(get, apiKey)
  const [kept, ...twins] = now.filter(isSame)
  if (kept === undefined)
    throw new LandfallError('unverified', `Dokploy took the certificate "${input.name}", but does not show it.`, {
      hint: 'Look at Settings → Certificates in the panel.',
    })
  // Last, so that there is no moment without one.
  for (const old of [...twins, ...now.filter(each => each.name === input.name && !isSame(each))])
    await client.call({ method: 'POST', path: '/api/certificates.remove', as: { apiKey }, body: { certificateId: old.id } })
}

async function readOrganization(get: Get, apiKey: Secret): Promise<string> {
  const user = await get('/api/user.get', apiKey)
  if (isObject(user) && typeof user.organizationId === 'string') return user.organizationId
  throw new LandfallError('network', "Dokploy's answer to /api/user.get names no organization.")
}

/** The same answer holds the private key, which is left where it is. */
function fromWire(wire: unknown): GivenCertificate[] {
  if (!isObject(wire)) return []
  const { certificateId: id, name, certificateData: certificate } = wire
  return typeof id === 'string' && typeof name === 'string' && typeof certificate === 'string' ? [{ id, name, certificate }] : []
}
