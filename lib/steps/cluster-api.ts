/** Consul's and Nomad's APIs at a server of the cluster, with the cluster's own tokens. */

import type { ClusterSecrets } from '../cluster/secrets.ts'
import type { WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { Consul, Nomad } from '../providers/ports/cluster.ts'
import type { Target } from '../providers/ports/machine.ts'
import { type ClusterDeps, hostOf, secretsOf } from './cluster-world.ts'
import { targetOf } from './machine.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

type View = WorldView<EstateWorld>

export const knownSecrets = (world: View): ClusterSecrets => {
  const secrets = secretsOf(world.get('clusterNodes'))
  if (secrets) return secrets
  throw new Error('bug: a step of the cluster runs before its secrets are there')
}

/** This very machine, not any that answers. @throws LandfallError not_found */
export const targetOn = (deps: Pick<ClusterDeps, 'estate'>, world: View, name: string): Target => {
  const server = findServer(deps.estate.name, name, world.get('servers'))
  const target = server && targetOf(deps.estate.name, server)
  if (target) return target
  throw new LandfallError('not_found', `${name} has no address or no recorded host key.`)
}

/** On the machine of that name, else on the first that answers. */
export const consulAt = async (deps: ClusterDeps, world: View, name?: string): Promise<Consul> =>
  deps.consulOn(
    name === undefined ? hostOf(deps, world, 'consul') : targetOn(deps, world, name),
    knownSecrets(world).consulManagement,
  )

/** As `consulAt`. */
export const nomadAt = async (deps: ClusterDeps, world: View, name?: string): Promise<Nomad> =>
  deps.nomadOn(
    name === undefined ? hostOf(deps, world, 'nomad') : targetOn(deps, world, name),
    knownSecrets(world).nomadManagement,
  )
