/**
 * One certificate for the names behind the load balancer, which passes TLS through. It lies in Nomad's variables, encrypted and on every
 * server, so that any of them, and one made anew, serves it; each has a copy for its Caddy.
 */

import { readPem } from '../cutover/store.ts'
import { blocked, done, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import { Secret } from '../secret.ts'
import { CERTIFICATE_STEP } from './cluster-node.ts'
import { NOMAD_READY_STEP } from './cluster-quorum.ts'
import { type ClusterDeps, hostOf, SHARED_CERTIFICATE_PATH, secretsOf } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'
import { type CertificateDeps, obtainCertificate, proofsIn, removeProofs } from './dns-certificate.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

/** The names of the cluster's apps have a certificate that is good for a month more, and no proof is left in the zone. */
export function sharedCertificateStep(deps: ClusterDeps & CertificateDeps): EstateStep {
  const { certificateNames: names } = deps.cluster
  return {
    id: CERTIFICATE_STEP,
    noun: 'cluster',
    title: `the cluster has a certificate for ${names.join(', ')}`,
    needs: [NOMAD_READY_STEP, 'zone'],
    reads: ['servers', 'clusterNodes', 'nomad', 'records', 'zone'],
    typicalMs: 20_000,
    look(world) {
      const order = { kind: 'create', summary: `order a certificate for ${names.join(', ')}, proved by DNS` } as const
      const nomad = world.get('nomad')
      if (nomad.state !== 'up' || nomad.token !== 'known') return blocked('Nomad', order)
      const have = nomad.certificate
      if (!have?.lasting || names.some(name => !have.names.includes(name)))
        return todo({ ...order, apply: ({ world: live, signal, log }) => obtain(deps, have?.index ?? 0, live, signal, log) })
      const left = proofsIn(deps, names, world.get('records'))
      if (left.length === 0) return done(`valid until ${new Date(have.notAfterMs).toISOString().slice(0, 10)}`)
      return todo({
        kind: 'change',
        summary: 'take the proofs for the certificate out of the zone',
        apply: ({ world: live }) => removeProofs(deps, live, left),
      })
    },
  }
}

async function obtain(
  deps: ClusterDeps & CertificateDeps,
  index: number,
  live: World<EstateWorld>,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const { estate, cluster } = deps
  const servers = live.get('servers')
  const [server] = cluster.servers.flatMap(name => findServer(estate.name, name, servers) ?? [])
  if (!server) throw new LandfallError('not_found', 'The cluster has no server.', { hint: 'bun scripts/cluster.ts apply' })
  const { certificate, privateKey } = await obtainCertificate(
    deps,
    {
      names: cluster.certificateNames,
      kept: 'cluster',
      keyLabel: 'key of the cluster’s certificate',
      mark: { estate: estate.name, server: server.name, serverId: server.id },
    },
    live,
    signal,
    log,
  )
  const nomad = await deps.nomadOn(hostOf(deps, live, 'nomad'), secretsOf(live.get('clusterNodes'))?.nomadManagement)
  const items = [
    ['certificate', new Secret('certificate', certificate, 'unlisted')],
    ['key', privateKey],
  ] as const
  await nomad.setVariables(SHARED_CERTIFICATE_PATH, items, index)
  log(`good until ${new Date(readPem(certificate)?.notAfterMs ?? 0).toISOString().slice(0, 10)}`)
  live.touch('nomad')
  await live.look(['nomad'])
}
