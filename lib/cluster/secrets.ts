/**
 * What the members of a cluster share and nobody else may know: gossip keys, the certificate authority, tokens. Made once, by whoever
 * sets the cluster up first, and kept on each of its servers in a file that only root reads; there is no other copy.
 */

import { randomBytes, randomUUID } from 'node:crypto'
import { LandfallError } from '../errors.ts'
import { Secret } from '../secret.ts'

export interface ClusterSecrets {
  /** Names this set; two servers with different ones belong to different clusters. */
  readonly id: string
  /** 32 bytes, base64. */
  readonly consulGossip: Secret
  readonly nomadGossip: Secret
  /** PEM. */
  readonly caCertificate: string
  readonly caKey: Secret
  /** May do everything; UUIDs of our own making, so that a repeated bootstrap is the same bootstrap. */
  readonly consulManagement: Secret
  readonly nomadManagement: Secret
  /** What Consul's agents say about themselves with. */
  readonly consulAgent: Secret
  /** What whoever shows no token may do on a machine, DNS too: find services. */
  readonly consulReader: Secret
  /** What Nomad registers services with. */
  readonly consulNomad: Secret
}

const FIELDS = [
  'consulGossip',
  'nomadGossip',
  'caKey',
  'consulManagement',
  'nomadManagement',
  'consulAgent',
  'consulReader',
  'consulNomad',
] as const

export const generateSecrets = (ca: { readonly certificate: string; readonly key: Secret }): ClusterSecrets => {
  const uuid = (name: string) => new Secret(name, randomUUID())
  const key = (name: string) => new Secret(name, randomBytes(32).toString('base64'))
  return {
    id: randomUUID(),
    consulGossip: key('consul gossip key'),
    nomadGossip: key('nomad gossip key'),
    caCertificate: ca.certificate,
    caKey: ca.key,
    consulManagement: uuid('consul token'),
    nomadManagement: uuid('nomad token'),
    consulAgent: uuid('consul agent token'),
    consulReader: uuid('consul reader token'),
    consulNomad: uuid('consul token of nomad'),
  }
}

/** As it is kept on a server: one line of JSON. */
export const renderSecrets = (secrets: ClusterSecrets): Secret =>
  new Secret(
    'cluster secrets',
    JSON.stringify({
      id: secrets.id,
      caCertificate: secrets.caCertificate,
      ...Object.fromEntries(FIELDS.map(name => [name, secrets[name].reveal()])),
    }),
  )

/** @throws LandfallError vendor when a server's file is damaged */
export const parseSecrets = (text: string, server: string): ClusterSecrets => {
  const damaged = () =>
    new LandfallError('vendor', `The cluster's secrets on ${server} are damaged.`, {
      hint: `Remove /etc/landfall/cluster.json there when another server of the cluster still has its own, then run the same command again.`,
    })
  let row: unknown
  try {
    row = JSON.parse(text)
  } catch {
    throw damaged()
  }
  const field = (name: string): string => {
    const value = typeof row === 'object' && row !== null ? Reflect.get(row, name) : undefined
    if (typeof value !== 'string' || value === '') throw damaged()
    return value
  }
  const secret = (name: (typeof FIELDS)[number]) => new Secret(`cluster ${name}`, field(name))
  return {
    id: field('id'),
    caCertificate: field('caCertificate'),
    consulGossip: secret('consulGossip'),
    nomadGossip: secret('nomadGossip'),
    caKey: secret('caKey'),
    consulManagement: secret('consulManagement'),
    nomadManagement: secret('nomadManagement'),
    consulAgent: secret('consulAgent'),
    consulReader: secret('consulReader'),
    consulNomad: secret('consulNomad'),
  }
}
