/** `certificates.*`: certificates that somebody gives to the panel's Traefik. Traefik chooses among them by server name. */

import { X509Certificate } from 'node:crypto'
import { flag, nothing, nullable, object, optional, text } from './input.ts'
import { mutation, query, type Routes } from './router.ts'
import { type DokployState, isoOf, randomText } from './state.ts'
import { refuse } from './wire.ts'

export const certificateRoutes = {
  'certificates.all': query(nothing, ({ state }, _input, caller) =>
    state.certificates.all().filter(row => row.organizationId === caller.organizationId),
  ),

  'certificates.one': query(object({ certificateId: text({ min: 1 }) }), ({ state }, { certificateId }, caller) => {
    const row = state.certificates.get(certificateId)
    return row?.organizationId === caller.organizationId ? row : refuse('NOT_FOUND', 'Certificate not found')
  }),

  'certificates.create': mutation(
    object({
      name: text({ min: 1 }),
      certificateData: text({ min: 1 }),
      privateKey: text({ min: 1 }),
      certificatePath: optional(text()),
      autoRenew: optional(nullable(flag)),
      organizationId: text(),
      serverId: optional(nullable(text())),
    }),
    ({ state, clock }, input, caller) => {
      if (input.organizationId !== caller.organizationId)
        return refuse('UNAUTHORIZED', 'You are not authorized to create this certificate')
      const row = {
        certificateId: randomText(21),
        name: input.name,
        certificateData: input.certificateData,
        privateKey: input.privateKey,
        certificatePath: input.certificatePath ?? `certificate-${randomText(12)}`,
        autoRenew: input.autoRenew ?? null,
        organizationId: caller.organizationId,
        serverId: input.serverId ?? null,
        createdAt: isoOf(clock.nowMs()),
      }
      state.certificates.put(row.certificateId, row)
      return row
    },
  ),

  'certificates.remove': mutation(object({ certificateId: text({ min: 1 }) }), ({ state }, { certificateId }, caller) => {
    const row = state.certificates.get(certificateId)
    if (row?.organizationId !== caller.organizationId) return refuse('NOT_FOUND', 'Certificate not found')
    state.certificates.delete(certificateId)
    return row
  }),
} satisfies Routes

/** The given certificate for a server name, newest first, as Traefik picks it; undefined when none fits. */
export function givenCertificateFor(state: DokployState, host: string): { cert: string; key: string } | undefined {
  const fits = state.certificates.all().filter(row => parse(row.certificateData)?.checkHost(host) !== undefined)
  const row = fits.toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : -1))[0]
  return row === undefined ? undefined : { cert: row.certificateData, key: row.privateKey }
}

const parse = (pem: string): X509Certificate | undefined => {
  try {
    return new X509Certificate(pem)
  } catch {
    // Dokploy stores whatever it is given; Traefik passes over what is no certificate.
    return undefined
  }
}
